"""Microphones that cannot be had: each is said, and writing works all the same."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.page.visit import STRANGER, Browsers, Visit
from tests.support.speech import silence
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def still_answers_in_writing(visit: Visit) -> None:
    await visit.ask("What is six times seven?")
    await expect(visit.turn.get_by_test_id("answer")).to_contain_text("42")
    await visit.sounds()


@pytest.mark.parametrize("mode", ["push", "open"])
async def test_it_was_not_allowed(browsers: Browsers, open_server: str, mode: str) -> None:
    """Browsers without a window of their own allow nothing that was not allowed before."""
    async with browsers.visit(open_server, silence(1), may_listen=False) as visit:
        await visit.open()
        await visit.choose(mode)
        await visit["talk"].click()
        await expect(visit["microphone"]).to_have_attribute("data-state", "denied")
        await expect(
            visit.page.get_by_text("not allowed").or_(visit.page.get_by_text("may not use"))
        ).not_to_have_count(0)
        await visit.is_doing("idle")
        await visit.shot("microphone-denied")
        await still_answers_in_writing(visit)


async def test_there_is_none(browsers: Browsers, open_server: str) -> None:
    async with browsers.visit(open_server) as visit:
        await visit.open()
        await visit["talk"].click()
        await expect(visit["microphone"]).to_have_attribute("data-state", "missing")
        await expect(visit.page.get_by_text("There is no microphone.")).to_be_visible()
        await visit.is_doing("idle")
        await visit.shot("microphone-missing")
        await still_answers_in_writing(visit)


async def test_plain_http_over_the_network_has_none(browsers: Browsers, house: Talking) -> None:
    """The browser is told that a name of the network is this machine: for it, that is another one."""
    address = house.address.replace("127.0.0.1", STRANGER)
    async with browsers.visit(address, silence(1), forgiven=["status of 401"]) as visit:
        await visit.open(f"#token={house.tokens['user']}")
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        assert not await visit.page.evaluate("window.isSecureContext")
        await visit["talk"].click()
        await expect(visit["microphone"]).to_have_attribute("data-state", "insecure")
        await expect(visit.page.get_by_text("https://")).to_be_visible()
        await visit.is_doing("idle")
        await visit.shot("microphone-insecure")
        await still_answers_in_writing(visit)
