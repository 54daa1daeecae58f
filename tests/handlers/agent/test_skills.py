"""Local skills: what they answer, and above all what they leave to the language model."""

from __future__ import annotations

import string
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

import handlers.agent.skills
from handlers.agent.conversations import Turn
from handlers.agent.skills import Skills

NOW = datetime(2026, 6, 3, 15, 5, tzinfo=ZoneInfo("Europe/Berlin"))
FOLDER = Path(handlers.agent.skills.__file__).parent
LANGUAGES = sorted(path.parent.name for path in FOLDER.glob("*/sentences.yaml"))
FIXED = {"NothingToRepeat", "NoModel", "BrokenOff"}
"""Responses that no intent has."""

ENGLISH = {
    "GetTime": [
        "What time is it?",
        "what time is it",
        "WHAT TIME IS IT",
        "What's the time, please.",
        "What’s the time?",
        "What is the current time?",
        "What time is it right now, please?",
        "Meadowlark, what time is it?",
        "Hey Meadowlark, what time is it?",
        "Tell me the time.",
        "Can you tell me what time it is?",
        "Could you tell me the time, please?",
        "Do you have the time?",
        "Do you know what time it is?",
        "  What   time is it ?  ",
        "Time.",
    ],
    "GetDate": [
        "What's the date?",
        "What is today's date?",
        "What’s today’s date?",
        "What day is it today?",
        "What day is today?",
        "What day of the week is it?",
        "Tell me the date.",
        "Can you tell me what day it is?",
        "What year is it?",
    ],
    "Greeting": [
        "Hello.",
        "Hello!",
        "Hi there!",
        "Hey Meadowlark.",
        "Good morning, Meadowlark.",
        "How are you doing today?",
        "Hello, how are you?",
    ],
    "Thanks": [
        "Thank you.",
        "Thank you so much!",
        "Thanks a lot!",
        "Okay, thanks.",
        "Thank you very much, Meadowlark.",
        "That's very kind of you.",
    ],
    "Cancel": [
        "Never mind.",
        "Nevermind",
        "Stop.",
        "Stop it!",
        "Please stop.",
        "Cancel that.",
        "Forget it.",
        "Be quiet!",
        "No, thanks.",
        "Nothing.",
        "That's all.",
        "Stop talking.",
    ],
    "Repeat": [
        "Can you repeat that?",
        "Could you say that again, please?",
        "Sorry, can you repeat that?",
        "Say that again.",
        "Repeat, please.",
        "What did you just say?",
        "What did you say?",
        "What was that?",
        "Pardon?",
        "Sorry?",
        "Come again?",
    ],
    "Capabilities": ["What can you do?", "What can you do for me?", "Help.", "Who are you?", "What's your name?"],
}

NOT_FOR_SKILLS = [
    "What time is it in Tokyo?",
    "What time is it going to rain?",
    "What time does the sun set?",
    "What is the time difference to Japan?",
    "Tell me the time in London.",
    "What's the date of Easter?",
    "What is the date tomorrow?",
    "What day is Christmas?",
    "What year is the car from?",
    "Time flies.",
    "Thanks to the weather.",
    "Thank you for watching.",
    "Stop the music.",
    "Stop the timer.",
    "Cancel the timer.",
    "Cancel my subscription.",
    "Forget my birthday.",
    "Quiet the dog.",
    "Nothing compares to you.",
    "Help me write a letter.",
    "What can you do about the noise?",
    "Who are you going to call?",
    "How are you called in Spanish?",
    "Say hello.",
    "Say it in French.",
    "Repeat after me.",
    "Repeat the song.",
    "What was that song?",
    "Hello world program.",
    "Good morning America is on TV.",
    "Can you tell me a story?",
    "Turn on the kitchen light.",
    "?!",
    "{time}",
    "[what] (time|date)",
    "<time>",
    "🙂",
    "what time is it " * 200,
]


@pytest.fixture(scope="module")
def skills() -> Skills:
    return Skills()


@pytest.mark.parametrize(
    ("said", "expected"), [(said, skill) for skill, all_said in ENGLISH.items() for said in all_said]
)
def test_a_known_sentence_is_answered(skills: Skills, said: str, expected: str) -> None:
    answer = skills.answer(said, "en", [Turn("Hi", "Before.")], NOW)
    assert answer is not None
    assert answer.skill == expected
    assert answer.text


@pytest.mark.parametrize("said", NOT_FOR_SKILLS)
def test_a_near_miss_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert skills.answer(said, "en", [], NOW) is None


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("en", "It's 3:05 PM."),
        ("en-US", "It's 3:05 PM."),
        ("en_us", "It's 3:05 PM."),
        ("en-GB", "It's 15:05."),
        ("en-nonsense", "It's 3:05 PM."),
    ],
)
def test_the_time_is_said_as_where_the_speaker_lives(skills: Skills, tag: str, expected: str) -> None:
    answer = skills.answer("What time is it?", tag, [], NOW)
    assert answer is not None
    assert answer.text == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("en", "June 3, 2026"), ("en-US", "June 3, 2026"), ("en-GB", "3 June 2026")],
)
def test_the_date_is_said_as_where_the_speaker_lives(skills: Skills, tag: str, expected: str) -> None:
    answer = skills.answer("What's the date?", tag, [], NOW)
    assert answer is not None
    assert answer.text.startswith("Today is Wednesday")
    assert expected in answer.text


@pytest.mark.parametrize(("hour", "expected"), [(0, "12:00 AM"), (12, "12:00 PM"), (23, "11:00 PM")])
def test_noon_and_midnight(skills: Skills, hour: int, expected: str) -> None:
    answer = skills.answer("What time is it?", "en", [], NOW.replace(hour=hour, minute=0))
    assert answer is not None
    assert answer.text == f"It's {expected}."


def test_repeat_says_the_last_answer_as_it_was(skills: Skills) -> None:
    history = [Turn("One", "First."), Turn("Two", "Braces {time} stay.")]
    answer = skills.answer("Say that again.", "en", history, NOW)
    assert answer is not None
    assert answer.text == "Braces {time} stay."


def test_repeat_without_anything_said_before(skills: Skills) -> None:
    answer = skills.answer("Can you repeat that?", "en", [], NOW)
    assert answer is not None
    assert answer.text == "I haven't said anything yet."


def test_cancel_ends_politely(skills: Skills) -> None:
    answer = skills.answer("Never mind.", "en", [], NOW)
    assert answer is not None
    assert answer.text == "Okay."


@pytest.mark.parametrize("tag", ["xx", "tlh", "", "not a tag at all"])
def test_a_language_without_a_folder_goes_to_the_language_model(skills: Skills, tag: str) -> None:
    assert skills.answer("What time is it?", tag, [], NOW) is None
    assert skills.sentence("NoModel", tag) == skills.sentence("NoModel", "en")


def test_every_folder_is_a_language(skills: Skills) -> None:
    assert "en" in LANGUAGES
    assert list(skills.languages) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_folder_is_complete(language: str) -> None:
    sentences = yaml.safe_load((FOLDER / language / "sentences.yaml").read_text(encoding="utf-8"))
    responses = yaml.safe_load((FOLDER / language / "responses.yaml").read_text(encoding="utf-8"))
    english = yaml.safe_load((FOLDER / "en" / "sentences.yaml").read_text(encoding="utf-8"))
    assert sentences["language"] == language
    assert set(sentences["intents"]) == set(english["intents"])
    assert set(responses) == set(sentences["intents"]) | FIXED
    for name, response in responses.items():
        assert response.strip(), name
        placeholders = {field for _, field, _, _ in string.Formatter().parse(response) if field is not None}
        assert placeholders <= {"time", "date", "last"}, name
        assert not (name in FIXED and placeholders), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fixed_sentence_can_be_said(skills: Skills, language: str) -> None:
    assert len({skills.sentence(name, language) for name in FIXED}) == len(FIXED)


def test_how_long_matching_takes(skills: Skills) -> None:
    """Printed, because the machine decides; but a long dictation must not cost more than a command."""
    said = [text for texts in ENGLISH.values() for text in texts] + NOT_FOR_SKILLS
    waits = sorted(_seconds(skills, text) for text in said * 5)
    print(f"skills: p50 {waits[len(waits) // 2] * 1000:.2f} ms, p95 {waits[len(waits) * 95 // 100] * 1000:.2f} ms")
    assert min(_seconds(skills, "what time is it " * 5000) for _ in range(20)) < waits[len(waits) // 2]


def _seconds(skills: Skills, text: str) -> float:
    began = time.perf_counter()
    skills.answer(text, "en", [], NOW)
    return time.perf_counter() - began
