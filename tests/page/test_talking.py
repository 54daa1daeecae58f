"""Questions that are spoken and written on the page, and answers that are heard."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.page.visit import LEAD_SECONDS, PATIENCE_MS, Browsers, Visit, understood
from tests.support.speech import Speaker, silence
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "What is six times seven?"

_LONGER_THAN_A_PAUSE = 5.0
"""Seconds: what was not stopped rings again after two."""

_BOTH_SOUNDED = """() => window.ear.contexts.filter(({ blocks }) =>
  blocks.some((block) => Math.max(...block) > 0.1)).length > 1"""
"""The answer, and the call after it; each has a context of its own."""

LONG = "The lark rises from the meadow and sings for a long time without a pause. "


async def answered(visit: Visit) -> None:
    """The newest turn is the question and its answer, which has been played."""
    await expect(visit.turn).to_have_attribute("data-outcome", "completed")
    await expect(visit.turn.get_by_test_id("heard")).to_have_text(re.compile("(6|six).*(7|seven)", re.IGNORECASE))
    await expect(visit.turn.get_by_test_id("answer")).to_contain_text("42")
    await expect(visit.turn.get_by_test_id("latency")).to_be_visible()


async def test_the_button_is_held_to_talk(browsers: Browsers, open_server: str, speaker: Speaker) -> None:
    said = speaker.say(QUESTION)
    async with browsers.visit(open_server, said) as visit:
        await visit.open()
        await visit.is_doing("idle")
        await visit.shot("talk-ready")
        await visit["talk"].hover()
        await visit.page.mouse.down()
        await visit.is_doing("listening|hearing")
        await expect(visit["microphone"]).to_have_attribute("data-state", "on")
        await visit.is_doing("hearing")
        await visit.shot("talk-hearing")
        await visit.sent(LEAD_SECONDS + len(said) / 32_000)
        await visit.page.mouse.up()
        await visit.sounds()
        await visit.shot("talk-answering")
        await answered(visit)
        await visit.is_doing("idle")
        await visit.shot("talk-answered")
        assert "42" in await understood(visit, open_server)


async def test_space_is_held_to_talk(browsers: Browsers, open_server: str, speaker: Speaker) -> None:
    said = speaker.say(QUESTION)
    async with browsers.visit(open_server, said) as visit:
        await visit.open()
        await visit.page.keyboard.down("Space")
        await visit.is_doing("listening|hearing")
        await visit.sent(LEAD_SECONDS + len(said) / 32_000)
        await visit.page.keyboard.up("Space")
        await visit.sounds()
        await answered(visit)


async def test_a_tap_listens_until_the_question_is_over(browsers: Browsers, open_server: str, speaker: Speaker) -> None:
    async with browsers.visit(open_server, speaker.say(QUESTION)) as visit:
        await visit.open()
        await visit["talk"].click()
        await visit.is_doing("thinking|speaking")
        await answered(visit)
        await visit.is_doing("idle")


async def test_an_open_microphone_needs_no_key(browsers: Browsers, open_server: str, speaker: Speaker) -> None:
    async with browsers.visit(open_server, speaker.say(QUESTION)) as visit:
        await visit.open()
        await visit.choose("open")
        await visit["handsfree"].click()
        await visit.sounds()
        await answered(visit)
        await visit.is_doing("listening")  # for the next question
        await visit.shot("talk-open")
        await visit["handsfree"].click()
        await visit.is_doing("idle")
        await expect(visit["microphone"]).to_have_attribute("data-state", "off")
        await expect(visit["turn"]).to_have_count(1)


async def test_a_wake_word_begins_a_turn(browsers: Browsers, open_server: str, speaker: Speaker) -> None:
    """What is said before it is nobody's business."""
    said = speaker.say("The weather is nice.") + silence(2) + speaker.say("Hey Jarvis!") + silence(0.2)
    async with browsers.visit(open_server, said + speaker.say(QUESTION)) as visit:
        await visit.open()
        await visit.choose("wake")
        await visit.page.get_by_role("checkbox", name="Hey Jarvis").check()
        await visit["handsfree"].click()
        await visit.is_doing("waiting")
        await visit.shot("talk-waiting")
        await visit.sounds()
        await answered(visit)
        await visit.is_doing("waiting")
        await expect(visit["turn"]).to_have_count(1)
        await expect(visit.turn.get_by_test_id("heard")).not_to_contain_text("weather")


async def test_who_says_nothing_is_told_so(browsers: Browsers, open_server: str) -> None:
    async with browsers.visit(open_server, silence(1)) as visit:
        await visit.open()
        await visit.page.keyboard.down("Space")
        await visit.sent(1)
        await visit.page.keyboard.up("Space")
        await expect(visit.turn.get_by_test_id("problem")).to_be_visible()
        await visit.is_doing("idle")
        await visit.shot("talk-no-speech")
        await visit.ask(QUESTION)
        await answered(visit)


async def test_a_timer_that_was_set_here_rings_here(browsers: Browsers, open_server: str) -> None:
    """On every page, again and again, until it is stopped."""
    async with browsers.visit(open_server) as visit:
        await visit.open()
        await visit.ask("Set a timer for one second.")
        await expect(visit["notice"]).to_have_attribute("data-rings", "true")
        await visit.page.wait_for_function(_BOTH_SOUNDED, timeout=PATIENCE_MS)
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        await visit.shot("talk-timer")
        await visit.go("Settings")
        await expect(visit.page.get_by_role("alert")).to_be_visible()
        await visit.page.get_by_role("button", name="Stop").click()
        await expect(visit["notice"]).to_have_count(0)
        await visit.is_silent_for(_LONGER_THAN_A_PAUSE)
        await expect(visit["notice"]).to_have_count(0)


async def test_an_answer_is_interrupted(browsers: Browsers, house: Talking) -> None:
    """By the button that stops it and by a key; the server stops as well, and the conversation goes on."""
    async with browsers.visit(house.address, token=house.tokens["user"]) as visit:
        await visit.open()
        for by_key in (False, True):
            house.begin_anew()
            before = house.ollama.abandoned
            house.ollama.will_answer(*[LONG] * 3, asyncio.Event())  # the rest is never written
            await visit.ask("Tell me of the lark.")
            await visit.sounds()
            await visit.is_doing("speaking")
            await (visit.page.keyboard.press("Escape") if by_key else visit["stop"].click())
            await visit.is_doing("idle")
            await visit.is_silent_for(1.0)
            await house.ollama.until(abandoned=before + 1)
            await expect(visit.turn).to_have_attribute("data-outcome", "cancelled")
            await expect(visit.turn.get_by_test_id("answer")).to_contain_text("lark")
        house.ollama.will_answer("It has landed.")
        await visit.ask("And now?")
        await expect(visit.turn.get_by_test_id("answer")).to_have_text("It has landed.")
        await visit.sounds()
        await visit.is_doing("idle")
        await expect(visit["turn"]).to_have_count(3)


async def test_to_speak_is_to_interrupt(browsers: Browsers, house: Talking, speaker: Speaker) -> None:
    said = speaker.say(QUESTION)
    async with browsers.visit(house.address, said, token=house.tokens["user"]) as visit:
        await visit.open()
        house.ollama.will_answer(*[LONG] * 3, asyncio.Event())
        await visit.ask("Tell me of the lark.")
        await visit.is_doing("speaking")
        await visit["talk"].hover()
        await visit.page.mouse.down()
        await visit.is_doing("listening|hearing")
        await visit.is_silent_for(1.0)
        await visit.sent(LEAD_SECONDS + len(said) / 32_000)
        await visit.page.mouse.up()
        await answered(visit)
        await expect(visit["turn"].nth(1)).to_have_attribute("data-outcome", "cancelled")
