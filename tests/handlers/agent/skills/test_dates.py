"""Days by their names."""

from __future__ import annotations

from datetime import date

import pytest

from handlers.agent.skills import Skills
from handlers.agent.skills.dates import FEASTS, easter, parse_day
from tests.support.skills import ask

TODAY = date(2026, 6, 3)
"""A Wednesday."""

ENGLISH = {
    "today": date(2026, 6, 3),
    "tomorrow": date(2026, 6, 4),
    "the day after tomorrow": date(2026, 6, 5),
    "yesterday": date(2026, 6, 2),
    "Friday": date(2026, 6, 5),
    "on Friday": date(2026, 6, 5),
    "this Friday": date(2026, 6, 5),
    "Wednesday": date(2026, 6, 10),
    "next Friday": date(2026, 6, 12),
    "next Wednesday": date(2026, 6, 10),
    "in three days": date(2026, 6, 6),
    "in a week": date(2026, 6, 10),
    "two weeks from now": date(2026, 6, 17),
    "ten days ago": date(2026, 5, 24),
    "Christmas": date(2026, 12, 25),
    "Christmas 2027": date(2027, 12, 25),
    "Christmas this year": date(2026, 12, 25),
    "Christmas next year": date(2027, 12, 25),
    "Easter this year": date(2026, 4, 5),
    "the first of May this year": date(2026, 5, 1),
    "tomorrow's": date(2026, 6, 4),
    "Friday's": date(2026, 6, 5),
    "Valentine's": date(2027, 2, 14),
    "Christmas Eve": date(2026, 12, 24),
    "New Year's Day": date(2027, 1, 1),
    "Halloween": date(2026, 10, 31),
    "Easter": date(2027, 3, 28),
    "Good Friday": date(2027, 3, 26),
    "the 24th of December": date(2026, 12, 24),
    "December 24": date(2026, 12, 24),
    "December twenty-fourth": date(2026, 12, 24),
    "the first of May": date(2027, 5, 1),
    "the fourth of July 2027": date(2027, 7, 4),
    "June 3rd": date(2026, 6, 3),
    "February 29": date(2028, 2, 29),
}

OTHERS = {
    "de": {
        "übermorgen": date(2026, 6, 5),
        "am Freitag": date(2026, 6, 5),
        "nächsten Freitag": date(2026, 6, 12),
        "in drei Tagen": date(2026, 6, 6),
        "in einer Woche": date(2026, 6, 10),
        "vor zwei Wochen": date(2026, 5, 20),
        "zum 24. Dezember": date(2026, 12, 24),
        "der vierundzwanzigste Dezember": date(2026, 12, 24),
        "Heiligabend": date(2026, 12, 24),
        "Silvester": date(2026, 12, 31),
        "Karfreitag": date(2027, 3, 26),
        "dieses Jahr Ostern": date(2026, 4, 5),
    },
    "sv": {
        "i övermorgon": date(2026, 6, 5),
        "på fredag": date(2026, 6, 5),
        "nästa fredag": date(2026, 6, 12),
        "om tre dagar": date(2026, 6, 6),
        "för två veckor sedan": None,
        "den 24 december": date(2026, 12, 24),
        "den 24:e december": date(2026, 12, 24),
        "den tjugofjärde december": date(2026, 12, 24),
        "lucia": date(2026, 12, 13),
        "midsommarafton": date(2026, 6, 19),
    },
    "fr": {
        "après-demain": date(2026, 6, 5),
        "vendredi": date(2026, 6, 5),
        "vendredi prochain": date(2026, 6, 12),
        "dans trois jours": date(2026, 6, 6),
        "il y a deux semaines": date(2026, 5, 20),
        "le 24 décembre": date(2026, 12, 24),
        "le premier mai": date(2027, 5, 1),
        "le 1er mai": date(2027, 5, 1),
        "Pâques": date(2027, 3, 28),
    },
    "es": {
        "pasado mañana": date(2026, 6, 5),
        "el viernes": date(2026, 6, 5),
        "el próximo viernes": date(2026, 6, 12),
        "dentro de tres días": date(2026, 6, 6),
        "hace dos semanas": date(2026, 5, 20),
        "el 24 de diciembre": date(2026, 12, 24),
        "el veinticuatro de diciembre": date(2026, 12, 24),
        "el primero de mayo": date(2027, 5, 1),
        "Nochebuena": date(2026, 12, 24),
    },
}

NO_DAYS = [
    "",
    "Narnia",
    "the 31st of June",
    "December",
    "the 40th of May",
    "day",
    "in days",
    "next",
    "my birthday",
    "24",
]


@pytest.mark.parametrize(("said", "day"), list(ENGLISH.items()))
def test_a_day_has_a_name(skills: Skills, said: str, day: date) -> None:
    assert parse_day(said, skills.phrases("en"), TODAY) == day


@pytest.mark.parametrize(
    ("language", "said", "day"),
    [(language, said, day) for language, days in OTHERS.items() for said, day in days.items()],
)
def test_a_day_has_a_name_in_each_language(skills: Skills, language: str, said: str, day: date | None) -> None:
    assert parse_day(said, skills.phrases(language), TODAY) == day


@pytest.mark.parametrize("said", NO_DAYS)
def test_what_names_no_day_is_none(skills: Skills, said: str) -> None:
    assert parse_day(said, skills.phrases("en"), TODAY) is None


def test_easter_is_when_the_churches_keep_it() -> None:
    assert [easter(year).isoformat() for year in (2000, 2024, 2025, 2026, 2038)] == [
        "2000-04-23",
        "2024-03-31",
        "2025-04-20",
        "2026-04-05",
        "2038-04-25",
    ]


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "sv"])
def test_the_great_feasts_have_names_in_each_language(skills: Skills, language: str) -> None:
    named = {feast for feast in FEASTS if skills.spoken_words(language, feast)}
    assert named >= {"christmas", "new_year", "easter", "halloween"}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("What day is it tomorrow?", "Tomorrow is Thursday, June 4, 2026."),
        ("What day was yesterday?", "Yesterday was Tuesday, June 2, 2026."),
        ("What date is next Friday?", "Next Friday is Friday, June 12, 2026."),
        ("How many days until Christmas?", "205 days until Christmas."),
        ("How many days until tomorrow?", "One day until tomorrow."),
        ("How many days until today?", "Today is today."),
        ("How many days until Christmas 2025?", "Christmas 2025 was 160 days ago."),
    ],
)
async def test_what_is_said_of_a_day(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said)
    assert reply is not None
    assert reply.text == answer
