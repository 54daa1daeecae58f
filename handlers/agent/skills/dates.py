"""Days as people name them: 'tomorrow', 'next Friday', 'the 24th of December', 'Christmas', 'in two weeks'.

The names of months and weekdays and the ordinals come from the CLDR; the rest are word lists of the language: `today`,
`tomorrow`, `after_tomorrow`, `yesterday`, `before_yesterday`, `this`, `next`, `in`, `from_now`, `ago`, `days`, `weeks`,
`this_year`, `next_year`, `date_fillers` ('the', 'of', 'on'), `possessives` ("'s"), and a list for each of `FEASTS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from babel.dates import get_day_names, get_month_names
from unicode_rbnf import FormatPurpose, RbnfEngine

from handlers.agent.skills.numbers import parse_number
from handlers.agent.skills.stage import Phrases

_FARTHEST = 20_000
"""Days; nobody counts more than half a century of them."""


def easter(year: int) -> date:
    """Easter Sunday in the West, by the anonymous Gregorian algorithm (Meeus, Astronomical Algorithms, chapter 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def _midsummer_eve(year: int) -> date:
    """In Sweden, the Friday from 19 to 25 June."""
    return date(year, 6, 19) + timedelta(days=(4 - date(year, 6, 19).weekday()) % 7)


FEASTS: Mapping[str, Callable[[int], date]] = {
    "christmas": lambda year: date(year, 12, 25),
    "christmas_eve": lambda year: date(year, 12, 24),
    "boxing_day": lambda year: date(year, 12, 26),
    "new_year": lambda year: date(year, 1, 1),
    "new_years_eve": lambda year: date(year, 12, 31),
    "epiphany": lambda year: date(year, 1, 6),
    "valentines": lambda year: date(year, 2, 14),
    "halloween": lambda year: date(year, 10, 31),
    "saint_nicholas": lambda year: date(year, 12, 6),
    "lucia": lambda year: date(year, 12, 13),
    "bastille_day": lambda year: date(year, 7, 14),
    "midsummer_eve": _midsummer_eve,
    "easter": easter,
    "good_friday": lambda year: easter(year) - timedelta(days=2),
    "easter_monday": lambda year: easter(year) + timedelta(days=1),
    "ascension": lambda year: easter(year) + timedelta(days=39),
    "pentecost": lambda year: easter(year) + timedelta(days=49),
}


@dataclass(frozen=True)
class _Calendar:
    weekdays: Mapping[str, int]
    """Monday is 0."""
    months: Mapping[str, int]
    ordinals: Mapping[str, int]


def parse_day(text: str, phrases: Phrases, today: date) -> date | None:
    """The day that a text names and nothing else, else None. A day without a year is the next one, today included;
    'Friday' is the coming one, 'next Friday' that of the week after this one."""
    words = _plain(text)
    endings = [ending for ending in phrases.words("possessives") if words.endswith(ending)]  # "tomorrow's"
    for said in (words, *(words.removesuffix(ending) for ending in endings)):
        for parse in (_relative, _weekday, _counted, _feast, _dated) if said else ():
            found = parse(said, phrases, today)
            if found is not None:
                return found
    return None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[.,!?;:]+(?=\s|$)", " ", text.casefold().replace("’", "'")).split())


def _relative(words: str, phrases: Phrases, today: date) -> date | None:
    days = {"today": 0, "tomorrow": 1, "after_tomorrow": 2, "yesterday": -1, "before_yesterday": -2}
    for name, offset in days.items():
        if words in phrases.words(name):
            return today + timedelta(days=offset)
    return None


def _weekday(words: str, phrases: Phrases, today: date) -> date | None:
    weekdays = _calendar(phrases.language).weekdays
    for next_word in phrases.words("next"):
        rest = _without(words, next_word)
        if rest in weekdays:
            monday = today + timedelta(days=7 - today.weekday())
            return monday + timedelta(days=weekdays[rest])
    for this in ("", *phrases.words("this"), *phrases.words("date_fillers")):
        rest = _without(words, this) if this else words
        if rest in weekdays:
            return today + timedelta(days=(weekdays[rest] - today.weekday() - 1) % 7 + 1)
    return None


def _counted(words: str, phrases: Phrases, today: date) -> date | None:
    """'in three days', 'two weeks from now', 'five days ago'."""
    for name, sign in (("in", 1), ("from_now", 1), ("ago", -1)):
        for word in phrases.words(name):
            rest = _without(words, word)
            number, _, unit = rest.rpartition(" ")
            factor = 1 if unit in phrases.words("days") else 7 if unit in phrases.words("weeks") else 0
            count = 1.0 if number in phrases.words("one") else parse_number(number, phrases.language)
            if factor and count is not None and count % 1 == 0 and 0 <= count * factor <= _FARTHEST:
                return today + timedelta(days=sign * factor * round(count))
    return None


def _feast(words: str, phrases: Phrases, today: date) -> date | None:
    name, year = _split_year(words, phrases, today)
    bare = " ".join(_drop(name, phrases.words("date_fillers")))
    for feast, day_in in FEASTS.items():
        if {" ".join(name), bare} & set(phrases.words(feast)):
            if year:
                return day_in(year)
            return day_in(today.year) if day_in(today.year) >= today else day_in(today.year + 1)
    return None


def _dated(words: str, phrases: Phrases, today: date) -> date | None:
    """'the 24th of December', 'December twenty-fourth 2027', '24 décembre'."""
    calendar = _calendar(phrases.language)
    said, year = _split_year(words, phrases, today)
    rest = _drop(said, (*phrases.words("date_fillers"), *calendar.weekdays))
    months = [word for word in rest if word in calendar.months]
    if len(months) != 1:
        return None
    month = calendar.months[months[0]]
    day = _day_of_month(" ".join(word for word in rest if word != months[0]), phrases.language)
    if day is None:
        return None
    try:
        if year:
            return date(year, month, day)
        for candidate in range(today.year, today.year + 8):  # 29 February may be eight years away
            if (month, day) != (2, 29) or _is_leap(candidate):
                found = date(candidate, month, day)
                if found >= today:
                    return found
    except ValueError:  # 31 June
        return None
    return None


def _day_of_month(said: str, language: str) -> int | None:
    digits = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th|:?e|:?a|er|º)?", said)
    if digits:
        return int(digits[1])
    ordinal = _calendar(language).ordinals.get(re.sub(r"[\s-]", "", said))
    if ordinal:
        return ordinal
    number = parse_number(said, language)
    return round(number) if number is not None and number % 1 == 0 and 1 <= number <= 31 else None


def _split_year(text: str, phrases: Phrases, today: date) -> tuple[Sequence[str], int]:
    """The words before a year, or around "this year"; and the year, 0 where none was said."""
    for name, year in (("this_year", today.year), ("next_year", today.year + 1)):
        for words in phrases.words(name):
            if rest := _without(text, words):
                return rest.split(), year
    spoken = text.split()
    if len(spoken) > 1 and re.fullmatch(r"(19|20|21)\d\d", spoken[-1]):
        return spoken[:-1], int(spoken[-1])
    return spoken, 0


def _without(words: str, word: str) -> str:
    """What remains of a text that begins or ends with a word; empty when it does not."""
    if words.startswith(f"{word} "):
        return words[len(word) + 1 :]
    if words.endswith(f" {word}"):
        return words[: -len(word) - 1]
    return ""


def _drop(words: Sequence[str], fillers: Sequence[str]) -> list[str]:
    return [word for word in words if word not in fillers]


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@lru_cache(maxsize=16)
def _calendar(language: str) -> _Calendar:
    engine = RbnfEngine.for_language(language)
    ordinals = {}
    for day in range(1, 32):
        for text in engine.format_number(day, FormatPurpose.ORDINAL).text_by_ruleset.values():
            ordinals[re.sub(r"[\s\u00ad-]", "", text.casefold())] = day
    return _Calendar(
        {name.casefold(): day for day, name in get_day_names("wide", locale=language).items()},
        {
            name.casefold(): month
            for context in ("format", "stand-alone")
            for month, name in get_month_names("wide", context=context, locale=language).items()
        },
        ordinals,
    )
