"""What the other pages are for: the memory, the status, settings that are kept."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.page.ingress import ingress
from tests.page.visit import Browsers
from tests.support.speech import Speaker
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_memory_is_read_and_changed(browsers: Browsers, house: Talking) -> None:
    async with browsers.visit(house.address, token=house.tokens["user"]) as visit:
        await visit.open()
        await visit.ask("Remember that the spare key is in the blue teapot.")
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        await visit.go("Memory")
        key, bins = (visit.page.get_by_role("listitem").filter(has_text=text) for text in ("blue teapot", "The bins"))
        await expect(key).to_have_count(1)
        await visit.page.get_by_label("Remember something").fill("The bins go out on Thursday.")
        await visit.page.get_by_role("button", name="Add").click()
        await expect(bins).to_have_count(1)
        await visit.shot("memory")
        await bins.get_by_role("button", name="Edit").click()
        await visit.page.get_by_role("listitem").get_by_role("textbox").first.fill("The bins go out on Friday.")
        await visit.page.get_by_role("button", name="Save").click()
        await expect(bins).to_contain_text("Friday")
        await key.get_by_role("button", name="Forget").click()
        await key.get_by_role("button", name="Forget", exact=True).click()
        await expect(key).to_have_count(0)
        await visit.page.reload()
        await expect(bins).to_contain_text("Friday")
        await expect(key).to_have_count(0)


async def test_the_status_shows_the_engines_and_the_last_turn(browsers: Browsers, open_server: str) -> None:
    async with browsers.visit(open_server) as visit:
        await visit.open()
        await visit.ask("What is six times seven?")
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        await visit.go("Status")
        await expect(visit.page.get_by_text("whisper-base")).to_be_visible()
        await expect(visit.page.get_by_text("en_US-joe-medium")).to_be_visible()
        await expect(visit.page.get_by_role("region", name="Last turns").get_by_role("listitem")).not_to_have_count(0)
        await visit.shot("status")


async def test_settings_and_history_are_kept_in_this_browser(browsers: Browsers, open_server: str) -> None:
    async with browsers.visit(open_server) as visit:
        await visit.open()
        await visit.ask("What is six times seven?")
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        await visit.go("Settings")
        await visit.shot("settings")
        await visit.choose("dark")
        await visit.choose("wake")
        await visit.page.get_by_role("switch", name="Noise suppression").click()
        await visit.page.get_by_label("Volume").fill("40")
        await visit.page.reload()
        await expect(visit.page.get_by_role("radio", name="Dark")).to_be_checked()
        await expect(visit.page.get_by_role("switch", name="Noise suppression")).not_to_be_checked()
        await expect(visit.page.get_by_label("Volume")).to_have_value("40")
        await visit.go("Talk")
        await expect(visit["handsfree"]).to_be_visible()
        await expect(visit.turn.get_by_test_id("answer")).to_contain_text("42")
        await visit["history-clear"].click()
        await expect(visit["turn"]).to_have_count(0)
        await visit.page.reload()
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        await expect(visit["turn"]).to_have_count(0)


async def test_it_works_below_a_path_of_another_server(browsers: Browsers, open_server: str, speaker: Speaker) -> None:
    """Home Assistant shows it so."""
    async with ingress(open_server) as address, browsers.visit(address, speaker.say("What time is it?")) as visit:
        await visit.open()
        await visit["talk"].click()
        await visit.sounds()
        await expect(visit.turn.get_by_test_id("heard")).to_contain_text("time")
        await visit.is_doing("idle")
        await visit.go("Status")
        await expect(visit.page.get_by_text("whisper-base")).to_be_visible()
        await visit.go("Memory")
        await expect(visit.page.get_by_label("Remember something")).to_be_visible()
