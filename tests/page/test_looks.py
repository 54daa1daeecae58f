"""For everybody: on narrow screens, without a mouse, with a screen reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.page.visit import Browsers, Scheme, Visit
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = ("Talk", "Memory", "Status", "Settings")

NARROW = (320, 640)
WIDE = (1280, 900)

AXE = Path(__file__).parent.parent.parent / "server" / "web" / "node_modules" / "axe-core" / "axe.min.js"


async def faults_of(visit: Visit) -> list[str]:
    """What axe finds serious or critical."""
    if not await visit.page.evaluate("'axe' in window"):
        await visit.page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = await visit.page.evaluate("axe.run()")
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.fixture(scope="session")
def axe() -> None:
    if not AXE.exists():
        pytest.skip("There is no axe-core: script/page tools fetches it")


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize(
    ("scheme", "size"), [("light", WIDE), ("dark", WIDE), ("light", NARROW)], ids=["light", "dark", "narrow"]
)
async def test_axe_finds_no_serious_fault(
    browsers: Browsers, house: Talking, scheme: Scheme, size: tuple[int, int]
) -> None:
    look = "narrow" if size == NARROW else scheme
    async with browsers.visit(house.address, scheme=scheme, size=size, forgiven=["status of 401"]) as visit:
        await visit.open()
        await expect(visit["sign-in"]).to_be_visible()
        assert await faults_of(visit) == []
        await visit["token"].fill(house.tokens["admin"])
        await visit["token"].press("Enter")
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        assert await faults_of(visit) == []
        await visit.ask("Remember that the window cleaner comes on Mondays.")
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        await visit["talk"].click()  # there is no microphone, which is said
        await expect(visit["microphone"]).to_have_attribute("data-state", "missing")
        for name in PAGES:
            await visit.go(name)
            await expect(visit.page.get_by_text("Asking the")).to_have_count(0)
            assert await faults_of(visit) == [], name
            await visit.shot(f"{look}-{name.lower()}")


async def test_a_narrow_screen_shows_all_of_it(browsers: Browsers, house: Talking) -> None:
    async with browsers.visit(house.address, size=NARROW, forgiven=["status of 401"]) as visit:
        await visit.open()
        assert await too_wide(visit) == []
        await visit["token"].fill(house.tokens["admin"])
        await visit["token"].press("Enter")
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        await expect(visit["talk"]).to_be_in_viewport(ratio=1)
        await visit["talk"].click(trial=True)  # nothing lies over it
        house.begin_anew()
        house.ollama.will_answer("Here is a verylongwordthatdoesnotwanttobebrokenanywhereandgoesonforevermore.")
        await visit.ask("Averylongquestionthatdoesnotwanttobebrokenanywhere?")
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        for mode in ("wake", "open", "push"):
            await visit.choose(mode)
            assert await too_wide(visit) == [], mode
        for name in PAGES:
            await visit.go(name)
            await expect(visit.page.get_by_text("Asking the")).to_have_count(0)
            assert await too_wide(visit) == [], name


async def too_wide(visit: Visit) -> list[str]:
    """Elements that reach beyond the right edge, where one has to scroll sideways."""
    found: list[str] = await visit.page.evaluate(
        """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
          [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth)
            .map((one) => one.outerHTML.slice(0, 200))"""
    )
    return found


async def test_the_keyboard_is_enough(browsers: Browsers, open_server: str) -> None:
    """Every control is reached by Tab, each is seen to have the focus, and the pages are walked through."""
    async with browsers.visit(open_server) as visit:
        await visit.open()
        keyboard = visit.page.keyboard
        await reach(visit, "[data-testid=text]")
        await keyboard.type("What is six times seven?")
        await keyboard.press("Enter")
        await expect(visit.turn.get_by_test_id("answer")).to_contain_text("42")
        await reach(visit, "[data-testid=talk]")
        await keyboard.press("Enter")
        await expect(visit["microphone"]).to_have_attribute("data-state", "missing")
        for name in PAGES[1:]:
            await reach(visit, f"nav a[href='#/{name.lower()}']")
            await keyboard.press("Enter")
            await expect(visit.page.get_by_role("heading", level=1, name=name)).to_be_focused()
        await reach(visit, "input[type=radio]:checked")
        await keyboard.press("ArrowRight")
        await expect(visit.page.locator("input[type=radio][value=open]")).to_be_checked()
        await reach(visit, "[role=switch]")
        before = await visit.page.evaluate("document.activeElement.ariaChecked")
        await keyboard.press("Space")
        assert await visit.page.evaluate("document.activeElement.ariaChecked") != before


_MOST_TABS = 80


async def reach(visit: Visit, selector: str) -> None:
    """Press Tab until an element has the focus, and see that it shows it."""
    for _ in range(_MOST_TABS):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            break
    else:
        raise AssertionError(f"{selector} is not reached by Tab")
    assert await visit.page.evaluate(
        """() => {
          const shown = [document.activeElement, document.activeElement.parentElement].map(getComputedStyle);
          return shown.some((style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
        }"""
    ), f"{selector} does not show that it has the focus"
