from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from babel import Locale
from babel.dates import format_time
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.schedule.entry import DAILY, WEEKDAYS, WEEKENDS
from handlers.agent.schedule.times import find_time, is_no_time, parse_time
from handlers.agent.schedule.words import LANGUAGES

NOW = datetime(2026, 6, 3, 15, 5)  # noqa: DTZ001 -- the wall's; a Wednesday

SAID = {
    "en": {
        "7": "06-03 19:00",
        "at 7": "06-03 19:00",
        "7:30": "06-03 19:30",
        "7.30": "06-03 19:30",
        "7 30 a.m.": "06-04 07:30",
        "half past seven": "06-03 19:30",
        "quarter to 8": "06-03 19:45",
        "five to seven in the morning": "06-04 06:55",
        "twenty to nine": "06-03 20:40",
        "7 o'clock": "06-03 19:00",
        "07:30": "06-04 07:30",
        "19:45": "06-03 19:45",
        "noon": "06-04 12:00",
        "midnight": "06-04 00:00",
        "12 am": "06-04 00:00",
        "12 pm": "06-04 12:00",
        "tonight at 12": "06-04 00:00",
        "tonight at 9": "06-03 21:00",
        "tomorrow at 8": "06-04 08:00",
        "6:30 tomorrow morning": "06-04 06:30",
        "the day after tomorrow at 10": "06-05 10:00",
        "on Monday at 9": "06-08 09:00",
        "Wednesday at 9": "06-10 09:00",
        "today at 2": "06-03 14:00",
        "December 24 at 6 pm": "12-24 18:00",
        "on the 3rd of July at 9": "07-03 09:00",
        "in 20 minutes": "06-03 15:25",
        "in an hour and a half": "06-03 16:35",
        "in two days": "06-05 15:05",
        "20 minutes from now": "06-03 15:25",
    },
    "de": {
        "um 7": "06-03 19:00",
        "7 Uhr": "06-03 19:00",
        "um halb acht": "06-03 19:30",
        "um fünf vor halb acht": "06-03 19:25",
        "viertel nach sieben": "06-03 19:15",
        "um 7 Uhr 30": "06-04 07:30",
        "um 7:30 Uhr": "06-04 07:30",
        "7.30": "06-04 07:30",
        "sieben Uhr dreißig": "06-04 07:30",
        "heute um 7:30": "06-03 19:30",
        "heute Abend um 7:30 Uhr": "06-03 19:30",
        "um 12:30 Uhr": "06-04 12:30",
        "um 0:30": "06-04 00:30",
        "am Montag um 7:30": "06-08 07:30",
        "um 7 Uhr morgens": "06-04 07:00",
        "um ein Uhr": "06-04 01:00",
        "um 20 Uhr": "06-03 20:00",
        "morgen um 8": "06-04 08:00",
        "morgen früh um 7": "06-04 07:00",
        "übermorgen um zehn": "06-05 10:00",
        "heute Abend um 8": "06-03 20:00",
        "am Montag um 9 Uhr": "06-08 09:00",
        "am 24. Dezember um 18 Uhr": "12-24 18:00",
        "in einer halben Stunde": "06-03 15:35",
    },
    "sv": {
        "klockan 7": "06-03 19:00",
        "klockan halv åtta": "06-03 19:30",
        "klockan 7.30": "06-04 07:30",
        "sju trettio ikväll": "06-03 19:30",
        "fem i halv åtta": "06-03 19:25",
        "fem över halv åtta": "06-03 19:35",
        "kvart i åtta": "06-03 19:45",
        "klockan ett": "06-04 01:00",
        "imorgon klockan 8": "06-04 08:00",
        "i morgon bitti klockan 7": "06-04 07:00",
        "ikväll klockan 8": "06-03 20:00",
        "på måndag klockan 9": "06-08 09:00",
        "kl 7 på kvällen": "06-03 19:00",
        "om en halvtimme": "06-03 15:35",
    },
    "fr": {
        "à 7 heures": "06-03 19:00",
        "à 7h30": "06-04 07:30",
        "à 7:30": "06-04 07:30",
        "à 7 h 30": "06-04 07:30",
        "ce soir à 7h30": "06-03 19:30",
        "demain à 7h30": "06-04 07:30",
        "à 7h": "06-03 19:00",
        "à sept heures et demie": "06-03 19:30",
        "à huit heures moins le quart": "06-03 19:45",
        "à sept heures vingt": "06-03 19:20",
        "à une heure": "06-04 01:00",
        "midi et demi": "06-04 12:30",
        "à minuit": "06-04 00:00",
        "demain à 8 heures": "06-04 08:00",
        "demain après-midi à 3 heures": "06-04 15:00",
        "ce soir à 20h": "06-03 20:00",
        "lundi à 9h": "06-08 09:00",
        "aujourd'hui à 18 heures": "06-03 18:00",
        "dans une demi-heure": "06-03 15:35",
    },
    "es": {
        "a las 7": "06-03 19:00",
        "a las siete y media": "06-03 19:30",
        "a las 7 y media": "06-03 19:30",
        "a las 7:30": "06-04 07:30",
        "a las 7.30 de la tarde": "06-03 19:30",
        "a las ocho menos cuarto": "06-03 19:45",
        "a las siete y veinte": "06-03 19:20",
        "a la una": "06-04 01:00",
        "mediodía": "06-04 12:00",
        "a medianoche": "06-04 00:00",
        "mañana a las 8": "06-04 08:00",
        "mañana por la mañana a las 7": "06-04 07:00",
        "pasado mañana a las 10": "06-05 10:00",
        "a las 8 de la tarde": "06-03 20:00",
        "el lunes a las 9": "06-08 09:00",
        "dentro de media hora": "06-03 15:35",
    },
}

REPEATED = {
    "en": {
        "every day at 7": (DAILY, "06-04 07:00"),
        "at 7 every morning": (DAILY, "06-04 07:00"),
        "every weekday at 7": (WEEKDAYS, "06-04 07:00"),
        "monday to friday at 6:45": (WEEKDAYS, "06-04 06:45"),
        "weekends at 9": (WEEKENDS, "06-06 09:00"),
        "every tuesday and thursday at 8": ({1, 3}, "06-04 08:00"),
        "on tuesdays at 8": ({1}, "06-09 08:00"),
    },
    "de": {
        "jeden Tag um sieben": (DAILY, "06-04 07:00"),
        "jeden Morgen um 6": (DAILY, "06-04 06:00"),
        "werktags um 6:30": (WEEKDAYS, "06-04 06:30"),
        "montags um 9": ({0}, "06-08 09:00"),
    },
    "sv": {
        "varje dag klockan sju": (DAILY, "06-04 07:00"),
        "varje vardag klockan 7": (WEEKDAYS, "06-04 07:00"),
        "på måndagar klockan 9": ({0}, "06-08 09:00"),
    },
    "fr": {
        "tous les jours à 7 heures": (DAILY, "06-04 07:00"),
        "en semaine à 7 heures": (WEEKDAYS, "06-04 07:00"),
        "tous les lundis à 9 heures": ({0}, "06-08 09:00"),
    },
    "es": {
        "todos los días a las 7": (DAILY, "06-04 07:00"),
        "de lunes a viernes a las 7": (WEEKDAYS, "06-04 07:00"),
        "los lunes a las 9": ({0}, "06-08 09:00"),
    },
}

NO_TIME = {
    "en": [
        "",
        "the store",
        "at 25",
        "10 minutes",
        "when the rain stops",
        "7 eggs",
        "at 7 and at 9",
        "tomorrow never dies",
    ],
    "de": ["der Laden", "um 25", "10 Minuten", "morgen stirbt nie"],
    "sv": ["affären", "10 minuter"],
    "fr": ["le magasin", "dix minutes"],
    "es": ["la tienda", "diez minutos"],
    "xx": ["at 7"],
}


def shown(at: datetime) -> str:
    return at.strftime("%m-%d %H:%M")


@pytest.mark.parametrize(("language", "said"), [(tag, said) for tag, all_said in SAID.items() for said in all_said])
def test_a_time_is_understood(language: str, said: str) -> None:
    when = parse_time(said, language, NOW)
    assert when is not None
    assert shown(when.at) == SAID[language][said]
    assert not when.repeat


@pytest.mark.parametrize(("language", "said"), [(tag, said) for tag, all_said in REPEATED.items() for said in all_said])
def test_a_repeated_time_is_understood(language: str, said: str) -> None:
    when = parse_time(said, language, NOW)
    assert when is not None
    assert (when.repeat, shown(when.at)) == REPEATED[language][said]


@pytest.mark.parametrize(("language", "said"), [(tag, said) for tag, texts in NO_TIME.items() for said in texts])
def test_what_is_no_time_is_none(language: str, said: str) -> None:
    assert parse_time(said, language, NOW) is None


@pytest.mark.parametrize(
    ("language", "said", "at", "rest"),
    [
        ("en", "to take out the bins tomorrow at 8", "06-04 08:00", "to take out the bins"),
        ("en", "tomorrow at 8 to take out the bins", "06-04 08:00", "to take out the bins"),
        ("en", "tomorrow to take out the bins at 8", "06-04 08:00", "to take out the bins"),
        ("en", "in 20 minutes to call mum", "06-03 15:25", "to call mum"),
        ("en", "to water the plants in the evening", "06-03 19:00", "to water the plants"),
        ("de", "morgen um 8 den Müll rauszubringen", "06-04 08:00", "den Müll rauszubringen"),
        ("sv", "om 20 minuter att ringa mamma", "06-03 15:25", "att ringa mamma"),
        ("fr", "de sortir les poubelles demain à 8 heures", "06-04 08:00", "de sortir les poubelles"),
        ("es", "sacar la basura mañana a las 8", "06-04 08:00", "sacar la basura"),
    ],
)
def test_a_time_is_found_in_a_sentence(language: str, said: str, at: str, rest: str) -> None:
    found = find_time(said, language, NOW)
    assert found is not None
    assert (shown(found.when.at), found.rest) == (at, rest)


@pytest.mark.parametrize("said", ["to buy 7", "to call mum", ""])
def test_a_lone_number_in_a_sentence_is_no_time(said: str) -> None:
    assert find_time(said, "en", NOW) is None


def test_a_time_beyond_the_calendar_is_far_away() -> None:
    when = parse_time("in 999999 weeks", "en", NOW)
    assert when is not None
    assert when.at.year > 2100


@pytest.mark.parametrize(
    ("language", "said", "either"),
    [("en", "7:30", True), ("de", "7:30", True), ("de", "17:30", False), ("fr", "7h30", True), ("fr", "07h30", False)],
)
def test_either_half_of_the_day_may_be_meant(language: str, said: str, either: bool) -> None:
    """So that "cancel the alarm at 7:30" finds that of the evening as well."""
    when = parse_time(said, language, NOW)
    assert when is not None
    assert when.either == either


def test_a_day_without_a_time_says_so() -> None:
    when = parse_time("tomorrow", "en", NOW)
    assert when is not None
    assert not when.timed


@given(
    language=st.sampled_from(LANGUAGES),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
@settings(max_examples=300, deadline=None)
def test_a_time_that_we_say_is_the_next_such_time(language: str, now: datetime, hour: int, minute: int) -> None:
    said = format_time(now.replace(hour=hour, minute=minute), "short", locale=Locale(language))
    when = parse_time(said, language, now)
    assert when is not None, said
    assert when.at.minute == minute
    assert timedelta(0) < when.at - now <= timedelta(days=1)
    assert when.at.hour == hour  # 24 hours, or AM and PM, leave nothing open


@given(language=st.sampled_from(LANGUAGES), text=st.text(max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_text_has_an_answer(language: str, text: str) -> None:
    when = parse_time(text, language, NOW)
    assert when is None or when.at.tzinfo is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("for 25 o'clock", "en"),
        ("at 7:75", "en"),
        ("at 30 tomorrow", "en"),
        ("um 25 Uhr", "de"),
        ("klockan 25", "sv"),
        ("à 25 heures", "fr"),
        ("a las 25", "es"),
    ],
)
def test_a_time_that_there_is_not(text: str, language: str) -> None:
    assert is_no_time(text, language, NOW)


@pytest.mark.parametrize("text", ["at 7", "at 24:00", "45 minutes", "in 90 minutes", "45", "when the rain stops", ""])
def test_what_is_a_time_or_none_at_all(text: str) -> None:
    assert not is_no_time(text, "en", NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 7", "06-04 07:00"),
        ("at 3", "06-04 03:00"),
        ("at 11", "06-04 11:00"),
        ("at 12", "06-04 00:00"),
        ("at 2", "06-04 02:00"),
        ("at 4", "06-04 04:00"),
        ("at 7 pm", "06-03 19:00"),
        ("tonight at 7", "06-03 19:00"),
        ("at 19:30", "06-03 19:30"),
        ("today at 7", "06-03 19:00"),
    ],
)
def test_whoever_wants_to_be_woken_means_the_morning(text: str, expected: str) -> None:
    when = parse_time(text, "en", NOW, waking=True)
    assert when is not None
    assert f"{when.at:%m-%d %H:%M}" == expected
