"""Lengths of time as people say them: "an hour and a half", "1 hour 20", "anderthalb Stunden"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale
from babel.lists import format_list
from babel.units import format_unit

from handlers.agent.schedule.words import LANGUAGES, Word, words
from handlers.language import primary

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}

_UNITS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "w": "week weeks",
        "d": "day days",
        "h": "hour hours hr hrs h",
        "m": "minute minutes min mins m",
        "s": "second seconds sec secs s",
    },
    "de": {
        "w": "woche wochen",
        "d": "tag tage tagen",
        "h": "stunde stunden std h",
        "m": "minute minuten min m",
        "s": "sekunde sekunden sek s",
    },
    "sv": {
        "w": "vecka veckor veckors",
        "d": "dag dagar dagars dygn",
        "h": "timme timmar timma timmes timmars tim h",
        "m": "minut minuter minuters min m",
        "s": "sekund sekunder sekunders sek s",
    },
    "fr": {
        "w": "semaine semaines",
        "d": "jour jours",
        "h": "heure heures h",
        "m": "minute minutes min mn m",
        "s": "seconde secondes sec s",
    },
    "es": {
        "w": "semana semanas",
        "d": "día días dia dias",
        "h": "hora horas h",
        "m": "minuto minutos min m",
        "s": "segundo segundos seg s",
    },
}

_PHRASES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "half": "½",
        "quarter": "¼",
        "3 quarters": "¾",
        "3 quarter": "¾",
        "a couple": "2",
        "a couple of": "2",
        "and": "&",
        "a": "A",
        "an": "A",
        "of": "of",
    },
    "de": {
        "halbe": "½",
        "halben": "½",
        "halb": "½",
        "halbstunde": "½ h",
        "viertel": "¼",
        "viertelstunde": "¼ h",
        "3 viertel": "¾",
        "dreiviertelstunde": "¾ h",
        "dreiviertel": "¾",
        "anderthalb": "1 ½",
        "eineinhalb": "1 ½",
        "zweieinhalb": "2 ½",
        "dreieinhalb": "3 ½",
        "viereinhalb": "4 ½",
        "und": "&",
        "ein": "A",
        "eine": "A",
        "einen": "A",
        "einer": "A",
        "eins": "A",
    },
    "sv": {
        "halv": "½",
        "halvt": "½",
        "halva": "½",
        "halvtimme": "½ h",
        "halvtimma": "½ h",
        "halvtimmes": "½ h",
        "kvart": "¼ h",
        "kvarts": "¼ h",
        "trekvart": "¾ h",
        "halvannan": "1 ½",
        "och": "&",
        "en": "A",
        "ett": "A",
    },
    "fr": {
        "demi": "½",
        "demie": "½",
        "quart": "¼",
        "3 quarts": "¾",
        "et": "&",
        "un": "A",
        "une": "A",
        "d'": "of",
        "de": "of",
    },
    "es": {
        "media": "½",
        "medio": "½",
        "cuarto": "¼",
        "3 cuartos": "¾",
        "y": "&",
        "un": "A",
        "una": "A",
        "de": "of",
    },
}

_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75}

_LONGEST_PHRASE = 3

_TERM = re.compile(
    r"(?P<both>[NA]&A?F|NF)U"  # one and a half hours, 2½ hours
    r"|A?(?P<part>F)O?A?U"  # half an hour, three quarters of an hour
    r"|(?P<whole>[NA])U(?:&A?(?P<and>F)(?!O?A?U))?"  # an hour and a half, 5 minutes
    r"|(?P<one>U)&A?F"  # hora y media
)
"""Over one letter for each word: N number, A article, F fraction, U unit, & and, O of."""

_MINUS = re.compile(r"(?<!\S)(?:[-−–]|(?:minus|moins|menos)\s+)\Z", re.IGNORECASE)
"""A sign before a number; a hyphen between words is none."""

_NARROW_SPACES = str.maketrans("\u202f\u00a0", "  ")
"""Babel sets them for the eye."""

_SMALLER = {"h": "m", "m": "s"}
"""What a number behind a unit counts: "1 hour 20"."""


@dataclass(frozen=True)
class Duration:
    """A length of time, and where it stands in the text."""

    seconds: float
    start: int
    end: int


@dataclass(frozen=True)
class _Sign:
    letter: str
    word: Word
    value: float = 0.0
    unit: str = ""


def parse_duration(text: str, language: str) -> float | None:
    """Seconds of a text that is a length of time and nothing else, None where it is not."""
    found = find_durations(text, language)
    if len(found) != 1:
        return None
    rest = text[: found[0].start] + text[found[0].end :]
    return None if re.search(r"\w", rest) else found[0].seconds


def find_durations(text: str, language: str) -> list[Duration]:
    """The lengths of time in a text, in order. "5 minutes and 10 minutes" are two, as units only become smaller.
    "-5 minutes" and "minus 5 minutes" are below zero, and nothing that can be set."""
    signs = _read(words(text, language), primary(language))
    code = "".join(sign.letter for sign in signs)
    found: list[Duration] = []
    at = 0
    while at < len(signs):
        duration, behind = _one(signs, code, at)
        if duration is not None:
            minus = _MINUS.search(text[: duration.start])
            found.append(Duration(-duration.seconds, minus.start(), duration.end) if minus else duration)
        at = max(behind, at + 1)
    return found


def say_duration(seconds: float, locale: Locale) -> str:
    """'1 hour and 20 minutes': as short as it is exact; from an hour on without seconds."""
    rest = max(0, round(seconds))
    if rest >= 3600:
        rest = round(rest / 60) * 60
    parts = []
    for unit, name in (
        ("d", "duration-day"),
        ("h", "duration-hour"),
        ("m", "duration-minute"),
        ("s", "duration-second"),
    ):
        count, rest = divmod(rest, _SECONDS[unit])
        if count:
            parts.append(format_unit(count, name, "long", locale=locale))
    said = format_list(parts or [format_unit(0, "duration-second", "long", locale=locale)], locale=locale)
    return said.translate(_NARROW_SPACES)


def _one(signs: list[_Sign], code: str, at: int) -> tuple[Duration | None, int]:
    """A length of time that begins with a word, and the word behind it."""
    term = _TERM.match(code, at)
    if term is None:
        return None, at
    total, last, behind = 0.0, "", at
    while term is not None:
        unit = signs[term.end() - 1].unit
        if term["and"] or term["one"]:
            unit = next(sign.unit for sign in signs[term.start() : term.end()] if sign.letter == "U")
        if last and _SECONDS[unit] >= _SECONDS[last]:
            break
        numbers = [sign.value for sign in signs[term.start() : term.end()] if sign.letter in "NAF"]
        if term["part"]:
            numbers = [sign.value for sign in signs[term.start() : term.end()] if sign.letter == "F"]
        elif term["both"] or term["and"]:
            fraction = next(sign.value for sign in signs[term.start() : term.end()] if sign.letter == "F")
            numbers = [numbers[0], fraction]
        elif term["one"]:
            numbers.append(1.0 if len(numbers) == 1 else 0.0)
        total += sum(numbers) * _SECONDS[unit]
        last, behind = unit, term.end()
        term = _TERM.match(code, behind + (code[behind : behind + 1] == "&"))
    extra = behind
    if code.endswith("&N") and behind == len(code) - 2:  # "5 minutes and one for the eggs" is not five and one
        extra += 1
    if code[extra : extra + 1] == "N" and last in _SMALLER and _alone(code, extra) and signs[extra].value < 60:
        total += signs[extra].value * _SECONDS[_SMALLER[last]]
        behind = extra + 1
    return Duration(total, signs[at].word.start, signs[behind - 1].word.end), behind


def _alone(code: str, at: int) -> bool:
    """Whether a number has no unit of its own."""
    return not re.match(r"N(?:&A?F|F)?U", code[at:])


def _read(found: list[Word], language: str) -> list[_Sign]:
    phrases = _phrases(language)
    signs: list[_Sign] = []
    at = 0
    while at < len(found):
        for length in range(min(_LONGEST_PHRASE, len(found) - at), 0, -1):
            meaning = phrases.get(" ".join(word.text for word in found[at : at + length]))
            if meaning is not None:
                spot = Word("", found[at].start, found[at + length - 1].end)
                signs += [_sign(part, spot) for part in meaning.split()]
                at += length
                break
        else:
            signs.append(_sign(found[at].text, found[at]))
            at += 1
    return signs


def _sign(text: str, word: Word) -> _Sign:
    if text in _FRACTIONS:
        return _Sign("F", word, _FRACTIONS[text])
    if text in _SECONDS:
        return _Sign("U", word, unit=text)
    if text == "A":
        return _Sign("A", word, 1.0)
    if text in ("&", "of"):
        return _Sign({"&": "&", "of": "O"}[text], word)
    if re.fullmatch(r"\d+(?:[.,]\d+)?", text):
        return _Sign("N", word, float(text.replace(",", ".")))
    return _Sign("X", word)


@lru_cache(maxsize=8)
def _phrases(language: str) -> dict[str, str]:
    if language not in LANGUAGES:
        return {}
    units = {name: unit for unit, names in _UNITS[language].items() for name in names.split()}
    return {**units, **_PHRASES[language]}
