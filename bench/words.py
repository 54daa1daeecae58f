"""Compares what was said with what was understood, word by word, blind to how it is written.

Both texts become lower-case words without punctuation; apostrophes go ("what's" = "whats"); digits become words
("50%" = "fifty percent", "7:30" = "seven thirty", "1,000" = "one thousand"); "and" inside a number goes; a few words
that are written together or apart, or differently in Britain and America, get one form. Contractions are not expanded:
"what is" and "what's" are different words that can be heard.
"""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {"%": "percent", "°": "degrees", "&": "and", "+": "plus", "_": " "}

_PAIRS = {
    ("never", "mind"): "nevermind",
    ("all", "right"): "alright",
    ("good", "night"): "goodnight",
    ("per", "cent"): "percent",
    ("wi", "fi"): "wifi",
    ("t", "v"): "tv",
}

_SPELLINGS = {
    "ok": "okay",
    "colour": "color",
    "grey": "gray",
    "centre": "center",
    "mum": "mom",
    "favourite": "favorite",
}

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

_LARGEST = 999_999
"""Longer digit strings are codes rather than numbers, and stay as they are."""


def normalise(text: str) -> list[str]:
    """The words of a text in the form in which they are compared."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"['’`]", "", text)
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text)  # a.m.
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)  # 1,000
    text = re.sub(r"(?<=\d):00\b", "", text)  # 7:00 is said "seven"
    text = re.sub(r"(?<=\d)\.(?=\d)", " point ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, f" {word} ")
    text = re.sub(r"(?<=\d)(?=[^\W\d])", " ", text)  # 7pm
    words = [part for word in re.findall(r"\w+", text) for part in _spell(word)]
    return _join([_SPELLINGS.get(word, word) for word in words])


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """Words substituted, inserted or deleted (Levenshtein), and words in the reference."""
    wanted, got = normalise(reference), normalise(heard)
    row = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(wanted)


def number_words(number: int) -> list[str]:
    """English words of a number from 0 to 999999, without 'and'."""
    if number < 20:
        return [_ONES[number]]
    if number < 100:
        return [_TENS[number // 10], *(number_words(number % 10) if number % 10 else [])]
    scale, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    return [*number_words(number // scale), name, *(number_words(number % scale) if number % scale else [])]


def _spell(word: str) -> list[str]:
    return number_words(int(word)) if word.isdecimal() and int(word) <= _LARGEST else [word]


def _join(words: list[str]) -> list[str]:
    joined: list[str] = []
    for index, word in enumerate(words):
        before = joined[-1] if joined else ""
        after = words[index + 1] if index + 1 < len(words) else ""
        if word == "and" and before in ("hundred", "thousand") and after in (*_ONES, *_TENS):
            continue
        if (before, word) in _PAIRS:
            joined[-1] = _PAIRS[before, word]
        else:
            joined.append(word)
    return joined
