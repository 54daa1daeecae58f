"""Times as people say them: "half past seven tomorrow", "every weekday at 7", "um halb acht", "a las siete y media".

A text is rewritten by the table of its language into signs ('@7:30' a time, 'AM', 'D1' tomorrow, 'W0' Monday…); only
where nothing but signs is left it is a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from handlers.agent.schedule.durations import parse_duration
from handlers.agent.schedule.entry import DAILY, WEEKDAYS, WEEKENDS, on_day
from handlers.agent.schedule.time_words import TIME_WORDS, TimeWords
from handlers.agent.schedule.words import words
from handlers.language import primary

_DEFAULT_HOURS = {"": 9, "AM": 9, "NOON": 12, "PM": 15, "EVE": 19, "NIGHT": 21}
"""For "tomorrow" or "this evening" without a time."""

_WAKING = range(3, 12)
"""Hours at which people get up; "wake me at 1" is after a nap."""

_TOO_LARGE = re.compile(r"(?P<hour>\d+)(?:[:.](?P<minutes>\d\d))?")
"""An hour, maybe with minutes, of whatever size."""

_LONGEST = 12
"""Words of a time: "on Wednesday the 23rd of December at half past seven in the evening" has 14 with its fillers."""

_LONGEST_SECONDS = 100 * 365 * 86_400.0
"""From now: what is longer would leave the calendar."""

_ARTICLES = frozenset(
    ["the", "den", "die", "das", "der", "dem", "an", "det", "le", "la", "les", "l'", "el", "los", "las"]
)
"""Behind a time at the beginning of a sentence they belong to what follows: "morgen um 8 den Müll"."""

_CLOCK = re.compile(r"@(\d{1,2}):(\d\d)([?!~]?)")
"""Hour, minutes, and what is known of the half of the day: "!" that it is the one that the hour says, "~" that it
probably is, "?" that even whether it is a time is not."""


@dataclass(frozen=True)
class When:
    """A time that somebody said."""

    at: datetime
    """On the wall, without a zone. It may have passed ("today at 7" in the evening)."""
    repeat: frozenset[int] = frozenset()
    timed: bool = True
    """Whether a time of day was said; else it is a usual one."""
    after: float | None = None
    """Seconds from now, where that is what was said."""
    either: bool = False
    """Whether the other half of the day may be meant as well: "7", without a day, is the next one."""
    sure: bool = True
    """False for a lone number, which is a time only where one is expected."""


@dataclass(frozen=True)
class FoundTime:
    """A time in a sentence, and what else it says."""

    when: When
    rest: str


def parse_time(text: str, language: str, now: datetime, *, waking: bool = False) -> When | None:
    """A text that is a time and nothing else. "7" is the next 7 o'clock; with a day, the morning's.
    Where clocks have 24 hours, "7:30" is the morning's, too.

    `now` is the time on the wall; a zone that it has is left out. Whoever is `waking` at "7" means the morning.
    """
    table = TIME_WORDS.get(primary(language))
    if table is None or not text.strip():
        return None
    now = now.replace(tzinfo=None)
    relative = _relative(text, language, table, now)
    if relative is not None:
        return relative
    signs = table.rewrite(" ".join(word.text for word in words(text, language)))
    return _interpret(signs, now, waking=waking) if signs else None


def is_no_time(text: str, language: str, now: datetime) -> bool:
    """Whether a text would be a time if its numbers were: "25 o'clock", "at 7:75"."""
    if parse_time(text, language, now) is not None:
        return False
    when = parse_time(" ".join(_possible(word.text) for word in words(text, language)), language, now)
    return when is not None and when.timed and when.after is None and when.sure


def _possible(word: str) -> str:
    """A number that an hour or its minutes can be, instead of one that is too large."""
    found = _TOO_LARGE.fullmatch(word)
    if found is None or (int(found["hour"]) <= 24 and int(found["minutes"] or 0) < 60):
        return word
    return "7:30" if found["minutes"] else "7"


def find_time(text: str, language: str, now: datetime) -> FoundTime | None:
    """The time at the beginning, at the end or at both ends of a sentence ("tomorrow take out the bins at 8")."""
    spoken = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    best: tuple[int, When, str] | None = None
    heads = [0, *_ends(text, spoken, language, now)]
    tails = [0, *_ends(text, spoken, language, now, backwards=True)]
    for head in heads:
        for tail in tails:
            length = head + tail
            if not length or length > len(spoken) or (best is not None and length <= best[0]):
                continue
            start = spoken[head][0] if head < len(spoken) else len(text)
            end = spoken[len(spoken) - tail][0] if tail else len(text)
            when = parse_time(f"{text[:start]} {text[end:]}", language, now)
            if when is not None and when.sure:
                best = (length, when, text[start:end].strip(" ,;"))
    return FoundTime(best[1], best[2]) if best else None


def _ends(
    text: str, spoken: list[tuple[int, int]], language: str, now: datetime, *, backwards: bool = False
) -> list[int]:
    """Numbers of words at one end that are a time."""
    lengths = []
    for length in range(1, min(_LONGEST, len(spoken)) + 1):
        part = text[spoken[-length][0] :] if backwards else text[: spoken[length - 1][1]]
        when = parse_time(part, language, now)
        if when is not None and when.sure and (backwards or part.split()[-1].casefold() not in _ARTICLES):
            lengths.append(length)
    return lengths


def _relative(text: str, language: str, table: TimeWords, now: datetime) -> When | None:
    found = table.relative.fullmatch(text.strip())
    if found is None:
        return None
    seconds = parse_duration(next(group for group in found.groups() if group), language)
    if seconds is None or seconds <= 0:
        return None
    seconds = min(seconds, _LONGEST_SECONDS)
    if seconds % 86_400 == 0:  # at the same time of another day, also over a change of the clock
        return When(now.replace(microsecond=0) + timedelta(seconds=seconds))
    return When(now + timedelta(seconds=seconds), after=seconds)


@dataclass
class _Said:
    """The signs of a text, sorted."""

    clock: tuple[int, int, str] | None = None
    part: str = ""
    days: int | None = None
    weekdays: frozenset[int] = frozenset()
    date: tuple[int, int] | None = None
    repeats: bool = False


def _interpret(signs: list[str], now: datetime, *, waking: bool = False) -> When | None:
    said = _sort(signs)
    if said is None:
        return None
    if said.clock is None:
        if said.days is None and not said.weekdays and said.date is None and not said.part and not said.repeats:
            return None
        hours, minutes, flag, either = [_DEFAULT_HOURS[said.part]], 0, "!", False
    else:
        hour, minutes, flag = said.clock
        hours = _hours(hour, flag, said.part)
        either = len(hours) > 1
        if flag == "~" and either and said.days != 0:  # "today at 7:30" may well be the evening
            hours = [hour]
    if not hours:
        return None
    repeat = (said.weekdays or DAILY) if said.repeats else frozenset()
    days = _day(said, now)
    if days is None:
        return None
    times = [datetime.combine(days, time(0)) + timedelta(hours=hour, minutes=minutes) for hour in hours]
    timed = said.clock is not None
    sure = flag != "?" or len(signs) > 1
    if repeat or said.weekdays:
        at = on_day(_usual(times), said.weekdays or repeat, after=now)
    elif said.days is None and said.date is None:
        if waking and either and hours[0] in _WAKING:
            times = times[:1]
        at = min(on_day(candidate, (), after=now) for candidate in times)
    elif said.days == 0:
        at = next((candidate for candidate in times if candidate > now), times[-1])
    else:
        at = _usual(times)
    return When(at, repeat, timed, either=either, sure=sure)


def _sort(signs: list[str]) -> _Said | None:
    said = _Said()
    for sign in signs:
        if clock := _CLOCK.fullmatch(sign):
            if said.clock is not None or int(clock[1]) > 24:
                return None
            said.clock = (int(clock[1]), int(clock[2]), clock[3])
        elif sign in _DEFAULT_HOURS:
            said.part = sign
        elif sign == "EVERY":
            said.repeats = True
        elif sign[0] == "D" and sign[1:].isdigit():
            said.days = int(sign[1:])
        elif sign[0] == "W" and sign[1:].isdigit():
            said.weekdays |= {int(sign[1:])}
        elif sign in ("WEEKDAYS", "WEEKENDS"):
            said.weekdays |= WEEKDAYS if sign == "WEEKDAYS" else WEEKENDS
            said.repeats = True
        elif sign[0] == "M" and "-" in sign:
            month, day = sign[1:].split("-")
            said.date = (int(month), int(day))
        else:
            return None
    return said


def _hours(hour: int, flag: str, part: str) -> list[int]:
    """Hours since midnight that can be meant, 24 for the midnight that ends the day."""
    if flag == "!" or hour > 12 or hour == 0:
        return [hour]
    if part == "AM":
        return [hour % 12]
    if part == "NOON":
        return [hour % 12 + 12 if hour < 10 else hour]
    if part in ("EVE", "NIGHT") and hour == 12:
        return [24]
    if part == "NIGHT" and hour < 6:
        return [hour]
    if part:
        return [hour % 12 + 12]
    return [hour % 12, hour % 12 + 12]


def _usual(times: list[datetime]) -> datetime:
    """Of morning and evening on a named day: the morning, but noon and not midnight."""
    return times[1] if len(times) == 2 and times[0].hour == 0 else times[0]


def _day(said: _Said, now: datetime) -> date | None:
    """The day that was said, or today."""
    if said.date is not None:
        month, day = said.date
        for year in range(now.year, now.year + 5):  # the 29th of February is up to four years away
            try:
                found = date(year, month, day)
            except ValueError:
                continue
            if found >= now.date():
                return found
        return None
    return now.date() + timedelta(days=said.days or 0)
