"""A doubtful wake word is heard again by both engines, and the request behind it begins where the word is over."""

from __future__ import annotations

import pytest

from handlers.audio import seconds
from handlers.wake.engines import WakeEngines, open_engines
from handlers.wake.second_look import SecondLook, second_look
from tests.support.speech import Speaker, likeness, silence

PIECE = 2048


@pytest.fixture(scope="module")
def engines() -> WakeEngines:
    return open_engines()


def look_at(engines: WakeEngines, name: str, pcm: bytes) -> tuple[SecondLook, bytes]:
    """A look at audio that comes in pieces, and what it has not heard of it."""
    look = second_look(engines, name)
    assert look is not None
    at = 0
    while not look.is_over and at < len(pcm):
        look.process(pcm[at : at + PIECE])
        at += PIECE
    return look, pcm[at:]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("okay_nabu", "Okay Nabu."),
        ("hey_jarvis", "Hey Jarvis."),
        ("alexa", "Alexa."),
        ("hey_mycroft", "Hey Mycroft."),
        ("hey_rhasspy", "Hey Rhasspy."),
    ],
)
def test_a_call_is_confirmed_and_the_request_is_whole(
    engines: WakeEngines, speaker: Speaker, name: str, said: str
) -> None:
    request = speaker.say("What time is it?")
    pcm = silence(0.8) + speaker.say(said) + silence(0.4) + request + silence(2)
    look, later = look_at(engines, name, pcm)
    assert look.called
    rest = look.rest + later
    assert likeness(rest, request) > 0.999
    assert seconds(rest) <= 0.4 + seconds(request) + 2 + 0.3  # the end of the word may be sent along


def test_a_request_in_the_same_breath_is_whole(engines: WakeEngines, speaker: Speaker) -> None:
    spoken = speaker.say("Okay Nabu what time is it?")
    look, later = look_at(engines, "okay_nabu", silence(0.8) + spoken + silence(2))
    assert look.called
    assert likeness(look.rest + later, spoken[len(speaker.say("Okay Nabu.")) :]) > 0.999


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("okay_nabu", "Okay, now turn on the light."),
        ("hey_jarvis", "Hey Marvin, what time is it?"),
        ("alexa", "I'll ask her to be here at eight."),
        ("hey_mycroft", "Hey, my car is at the garage."),
    ],
)
def test_what_only_resembles_the_word_is_none(engines: WakeEngines, speaker: Speaker, name: str, said: str) -> None:
    look, _ = look_at(engines, name, silence(0.8) + speaker.say(said) + silence(4))
    assert look.is_over
    assert not look.called


def test_nothing_is_awaited_for_ever(engines: WakeEngines) -> None:
    look, _ = look_at(engines, "alexa", silence(10))
    assert look.is_over
    assert not look.called


@pytest.mark.parametrize("name", ["hello_house", ""])
def test_a_word_that_no_engine_knows_cannot_be_looked_at(engines: WakeEngines, name: str) -> None:
    assert second_look(engines, name) is None


def test_the_engine_that_the_satellite_named_makes_no_difference(engines: WakeEngines, speaker: Speaker) -> None:
    look, _ = look_at(engines, "micro/alexa", silence(0.8) + speaker.say("Alexa.") + silence(2))
    assert look.called
