"""What day it is, what day it will be, and how many days are left."""

from __future__ import annotations

from datetime import date

from babel.dates import format_date

from handlers.agent.skills.dates import parse_day
from handlers.agent.skills.spoken_numbers import sentence_case
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply

_SOME_DAY = date(2024, 1, 1)
"""Whether words name a day does not depend on today."""


class Calendar:
    """Dates."""

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"GetDate", "GetDateOf", "GetDaysUntil"})

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return match.intent == "GetDate" or parse_day(match.slots["day"], phrases, _SOME_DAY) is not None

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        today = occasion.now.date()
        if match.intent == "GetDate":
            return Reply(phrases.say("GetDate", date=say_date(today, occasion, phrases)))
        said = _without_possessive(match.slots["day"], phrases)
        name = sentence_case(said)
        day = parse_day(said, phrases, today) or today
        distance = (day - today).days
        if match.intent == "GetDateOf":
            response = "GetDateOf" if distance >= 0 else "GetDatePast"
            return Reply(phrases.say(response, day=name, date=say_date(day, occasion, phrases)))
        if distance == 0:
            return Reply(phrases.say("DayIsToday", day=name))
        if distance < 0:
            return Reply(phrases.say("DayHasPassed", day=name, count=-distance))
        return Reply(phrases.say("GetDaysUntil", day=said, count=distance))


def _without_possessive(said: str, phrases: Phrases) -> str:
    """'Friday' of "Friday's date", where that is a day too; not of "Valentine's"."""
    for ending in phrases.words("possessives"):
        day = said.replace("’", "'").removesuffix(ending)
        if day != said and parse_day(day, phrases, _SOME_DAY) is not None:
            return day
    return said


def say_date(day: date, occasion: Occasion, phrases: Phrases) -> str:
    """With its weekday and year; a language whose written form is not the spoken one has a `date_pattern`."""
    pattern = next(iter(phrases.words("date_pattern")), "full")
    return format_date(day, pattern, locale=occasion.locale)
