"""Reads spoken text word by word: lower case, numbers as digits, and where each word stood."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from unicode_rbnf import RbnfEngine

from handlers.language import primary

LANGUAGES = ("en", "de", "sv", "fr", "es")
"""What durations and times are understood in."""

_HIGHEST = 120
"""Spoken numbers up to here are known as words; nobody says "two hundred minutes" and Whisper would write digits."""

_LONGEST_NUMBER = 4
"""Words of one number: "quatre vingt dix neuf"."""

_TOKEN = re.compile(r"\d{1,2}[:.]\d\d(?!\d)(?::\d\d)?|\d{1,6}[.,]\d{1,3}(?!\d)|\d{1,6}|[½¼¾]|[^\W\d_]+'?")

_PERIODS = re.compile(r"\b([ap])\.?\s?m\b\.?")

_ARTICLES = {"ein", "eine", "einen", "einer", "en", "ett", "un", "une", "una", "uno"}
"""Also the number one; which it is, the words around them say."""


@dataclass(frozen=True)
class Word:
    """A word as it is compared, and where it stands in the text."""

    text: str
    start: int
    end: int


def words(text: str, language: str) -> list[Word]:
    """The words of a text; punctuation and hyphens part words, spoken numbers become digits."""
    plain = _plain(text)
    found = [Word(match[0], match.start(), match.end()) for match in _TOKEN.finditer(plain)]
    numbers = _numbers(primary(language))
    merged: list[Word] = []
    at = 0
    while at < len(found):
        for length in range(min(_LONGEST_NUMBER, len(found) - at), 0, -1):
            number = numbers.get(" ".join(word.text for word in found[at : at + length]))
            if number is not None:
                merged.append(Word(number, found[at].start, found[at + length - 1].end))
                at += length
                break
        else:
            merged.append(found[at])
            at += 1
    return merged


def _plain(text: str) -> str:
    """Lower case, with every character where it was."""
    lower = "".join(low if len(low := character.lower()) == 1 else character for character in text)
    lower = lower.replace("’", "'")
    return _PERIODS.sub(lambda found: (found[1] + "m").ljust(len(found[0])), lower)


@lru_cache(maxsize=8)
def _numbers(language: str) -> dict[str, str]:
    """Spoken numbers of a language, by their words."""
    if language not in LANGUAGES:
        return {}
    engine = RbnfEngine.for_language(language)
    found: dict[str, str] = {}
    for number in range(_HIGHEST + 1):
        for name, said in engine.format_number(number).text_by_ruleset.items():
            if "cardinal" in name or "numbering" in name:
                said = said.replace("\xad", "").replace("-", " ")
                if said not in _ARTICLES and not said[:1].isdigit():
                    found.setdefault(said, str(number))
    if language == "de":
        found |= {said.replace("ß", "ss"): number for said, number in found.items()} | {"zwo": "2"}
    return found
