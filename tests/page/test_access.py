"""Who comes without a token, with a wrong one, by a pairing link; and whose token is taken away."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.page.visit import Browsers
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = "status of 401"
"""Browsers write each into the console."""


async def test_sign_in_by_the_form(browsers: Browsers, house: Talking) -> None:
    async with browsers.visit(house.address, forgiven=[REFUSED]) as visit:
        await visit.open()
        await expect(visit["sign-in"]).to_be_visible()
        await visit.shot("sign-in")
        await visit["token"].fill("no such token")
        await visit["token"].press("Enter")
        await expect(visit.page.get_by_role("alert")).to_contain_text("not known")
        await visit.shot("sign-in-wrong")
        await visit["token"].fill(house.tokens["guest"])
        await visit["token"].press("Enter")
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        house.begin_anew()
        house.ollama.will_answer("Good day.")
        await visit.ask("Good day!")
        await expect(visit.turn.get_by_test_id("answer")).not_to_be_empty()
        await visit.page.reload()
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        await visit.go("Settings")
        await expect(visit.page.get_by_text("Signed in with the token")).to_contain_text("guest")
        await visit.page.get_by_role("button", name="Sign out").click()
        await expect(visit["sign-in"]).to_be_visible()
        await visit.page.reload()
        await expect(visit["sign-in"]).to_be_visible()


async def test_sign_in_by_the_pairing_link(browsers: Browsers, house: Talking) -> None:
    """The secret does not stay in the address, where it would be seen, kept and sent on."""
    async with browsers.visit(house.address, forgiven=[REFUSED]) as visit:
        await visit.page.goto(f"{house.address}/#token={house.tokens['user']}")
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        assert house.tokens["user"] not in visit.page.url
        assert not await visit.page.evaluate(
            "secret => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]).includes(secret)",
            house.tokens["user"],
        )
        await visit.page.go_back()
        assert house.tokens["user"] not in visit.page.url


async def test_a_link_with_a_wrong_token(browsers: Browsers, house: Talking) -> None:
    async with browsers.visit(house.address, forgiven=[REFUSED]) as visit:
        await visit.page.goto(f"{house.address}/#token=wrong")
        await expect(visit["sign-in"]).to_be_visible()
        await expect(visit.page.get_by_role("alert")).to_contain_text("not known")
        assert "wrong" not in visit.page.url
