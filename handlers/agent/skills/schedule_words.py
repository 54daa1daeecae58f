"""Says when something is due, as people do: "tomorrow at 7", "every weekday at 7"."""

from __future__ import annotations

from datetime import datetime, timedelta

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time, get_day_names
from babel.lists import format_list

from handlers.agent.schedule.entry import DAILY, WEEKDAYS, WEEKENDS, Clock, Entry
from handlers.agent.skills.stage import Phrases

_WEEK_DAYS = 7
"""Up to a week away a day is called by its name."""


def say_due(entry: Entry, clock: Clock, locale: Locale, phrases: Phrases) -> str:
    """When an entry is due."""
    at = datetime.fromisoformat(entry.wall) if entry.wall else clock.local(entry.due)
    return say_when(at, entry.repeat, clock.now(), locale, phrases)


def say_when(at: datetime, repeat: frozenset[int], now: datetime, locale: Locale, phrases: Phrases) -> str:
    """A time on the wall, seen from now."""
    clock = format_time(at, "short", locale=locale)
    if repeat:
        if repeat == DAILY:
            return phrases.say("WhenDaily", time=clock)
        if repeat == WEEKDAYS:
            return phrases.say("WhenWeekdays", time=clock)
        if repeat == WEEKENDS:
            return phrases.say("WhenWeekends", time=clock)
        names = get_day_names("wide", locale=locale)
        days = format_list([names[day] for day in sorted(repeat)], locale=locale)
        return phrases.say("WhenEvery", days=days, time=clock)
    if at.date() == now.date():
        return phrases.say("WhenToday", time=clock)
    if at.date() == now.date() + timedelta(days=1):
        return phrases.say("WhenTomorrow", time=clock)
    if at.date() < now.date() + timedelta(days=_WEEK_DAYS):
        return phrases.say("WhenDay", day=format_date(at, "EEEE", locale=locale), time=clock)
    day = format_skeleton("MMMMd", at, locale=locale) if at.year == now.year else format_date(at, "long", locale=locale)
    return phrases.say("WhenDate", date=day, time=clock)
