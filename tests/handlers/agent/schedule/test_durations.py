from __future__ import annotations

import pytest
from babel import Locale
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.schedule.durations import find_durations, parse_duration, say_duration
from handlers.agent.schedule.words import LANGUAGES

SAID = {
    "en": {
        "10 minutes": 600,
        "half an hour": 1800,
        "a half hour": 1800,
        "an hour and a half": 5400,
        "one and a half hours": 5400,
        "2 ½ hours": 9000,
        "1 hour 20": 4800,
        "two hours and five": 7500,
        "three quarters of an hour": 2700,
        "a quarter of an hour": 900,
        "twenty-five minutes": 1500,
        "a minute and a half": 90,
        "half a minute": 30,
        "one hour, twenty minutes and ten seconds": 4810,
        "1.5 hours": 5400,
        "5-minute": 300,
        "45min": 2700,
        "two days": 172_800,
    },
    "de": {
        "zehn Minuten": 600,
        "eine halbe Stunde": 1800,
        "anderthalb Stunden": 5400,
        "zweieinhalb Stunden": 9000,
        "eine Viertelstunde": 900,
        "eine Dreiviertelstunde": 2700,
        "drei viertel Stunden": 2700,
        "1 Stunde 20": 4800,
        "1,5 Stunden": 5400,
        "fünfundzwanzig Minuten": 1500,
        "eine Stunde und zwanzig Minuten": 4800,
    },
    "sv": {
        "tio minuter": 600,
        "en halvtimme": 1800,
        "en och en halv timme": 5400,
        "två och en halv timme": 9000,
        "en kvart": 900,
        "trekvart": 2700,
        "en timme och tjugo minuter": 4800,
        "5 minuters": 300,
    },
    "fr": {
        "dix minutes": 600,
        "une demi-heure": 1800,
        "une heure et demie": 5400,
        "un quart d'heure": 900,
        "trois quarts d'heure": 2700,
        "1h30": 5400,
        "une heure vingt": 4800,
        "quatre-vingt-dix secondes": 90,
    },
    "es": {
        "diez minutos": 600,
        "media hora": 1800,
        "una hora y media": 5400,
        "hora y media": 5400,
        "un cuarto de hora": 900,
        "tres cuartos de hora": 2700,
        "treinta y cinco minutos": 2100,
        "una hora y veinte minutos": 4800,
    },
}

NO_DURATION = {
    "en": [
        "",
        "ten",
        "a walk",
        "the time it takes to boil an egg",
        "10 minute pasta",
        "two and a half",
        "seven o'clock",
    ],
    "de": ["zehn", "eine Weile", "halb acht"],
    "sv": ["tio", "en stund", "halv åtta"],
    "fr": ["dix", "un moment"],
    "es": ["diez", "un rato", "las siete y media"],
    "xx": ["10 minutes"],
}


@pytest.mark.parametrize(("language", "said"), [(tag, said) for tag, all_said in SAID.items() for said in all_said])
def test_a_length_of_time_is_understood(language: str, said: str) -> None:
    assert parse_duration(said, language) == SAID[language][said]
    assert parse_duration(said.upper(), language) == SAID[language][said]


@pytest.mark.parametrize(("language", "said"), [(tag, said) for tag, texts in NO_DURATION.items() for said in texts])
def test_what_is_no_length_of_time_is_none(language: str, said: str) -> None:
    assert parse_duration(said, language) is None


def test_every_language_has_examples() -> None:
    assert set(SAID) == set(LANGUAGES)


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("5 minutes and 10 minutes", [(300, "5 minutes"), (600, "10 minutes")]),
        ("a 5 minute timer and a 10 minute timer", [(300, "a 5 minute"), (600, "a 10 minute")]),
        ("one for 5 minutes and one for 8 minutes", [(300, "5 minutes"), (480, "8 minutes")]),
        ("pasta for 12 minutes", [(720, "12 minutes")]),
        ("nothing", []),
    ],
)
def test_several_are_found_where_they_stand(said: str, parts: list[tuple[int, str]]) -> None:
    found = find_durations(said, "en")
    assert [duration.seconds for duration in found] == [seconds for seconds, _ in parts]
    for duration, (_, words) in zip(found, parts, strict=True):
        assert words.endswith(said[duration.start : duration.end])


@pytest.mark.parametrize(
    ("tag", "seconds", "said"),
    [
        ("en", 600, "10 minutes"),
        ("en", 1, "1 second"),
        ("en", 4800, "1 hour and 20 minutes"),
        ("en", 3601, "1 hour"),
        ("en", 0.2, "0 seconds"),
        ("de", 5400, "1 Stunde und 30 Minuten"),
        ("sv", 61, "1 minut och 1 sekund"),
        ("fr", 7200, "2 heures"),
        ("es", 90, "1 minuto y 30 segundos"),
    ],
)
def test_a_length_of_time_is_said_in_the_language(tag: str, seconds: float, said: str) -> None:
    assert say_duration(seconds, Locale(tag)) == said


@given(language=st.sampled_from(LANGUAGES), seconds=st.integers(1, 7 * 86_400))
@settings(max_examples=300, deadline=None)
def test_what_we_say_we_also_understand(language: str, seconds: int) -> None:
    said = say_duration(seconds, Locale(language))
    understood = parse_duration(said, language)
    assert understood is not None, said
    assert abs(understood - seconds) <= (30 if seconds >= 3600 else 0), said


@given(language=st.sampled_from(LANGUAGES), text=st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_has_an_answer(language: str, text: str) -> None:
    for duration in find_durations(text, language):
        assert 0 <= duration.start < duration.end <= len(text)
        assert duration.seconds >= 0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("-5 minutes", "en"),
        ("minus five minutes", "en"),
        ("minus fünf Minuten", "de"),
        ("minus fem minuter", "sv"),
        ("moins cinq minutes", "fr"),
        ("menos cinco minutos", "es"),
    ],
)
def test_below_zero_is_not_above(text: str, language: str) -> None:
    assert parse_duration(text, language) == -300


def test_a_hyphen_is_no_sign() -> None:
    assert parse_duration("12-minute", "en") == 720
    assert [found.seconds for found in find_durations("the eggs - 5 minutes", "en")] == [300]
