"""Numbers as people say them and as Whisper writes them: 'twenty-one', '3,5', 'zweieinhalb', 'tres cuartos'.

`parse_number(text, language)` reads a text that is one number and nothing else. `find_numbers(text, language)` finds
those in a text. Both know digits with the language's separators, words up to the millions, decimals ("three point
five"), fractions ("half", "three quarters", "two and a half", "3/4") and a minus; a language
without a table has digits only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from unicode_rbnf import RbnfEngine

from handlers import language as languages
from handlers.agent.skills.number_words import WORDS, NumberWords


@dataclass(frozen=True)
class Number:
    """A number in a text, from `start` to before `end`."""

    start: int
    end: int
    value: float


def parse_number(text: str, language: str) -> float | None:
    """The value of a text that is one number, else None. An article that is also a one ('ein', 'en', 'un', 'una') is
    1, the English 'a' is none. 'half a', 'half an' are 0.5."""
    primary = languages.primary(language)
    tokens = tuple(token for _, _, token in _tokens(text, primary))
    return _value(tokens, primary) if _spells(text, tokens) else None


def find_numbers(text: str, language: str) -> list[Number]:
    """All numbers in a text from left to right, each as long as it goes: 'two and a half' is one."""
    primary = languages.primary(language)
    tokens = list(_tokens(text, primary))
    found = []
    first = 0
    while first < len(tokens):
        for last in range(min(first + _LONGEST, len(tokens)), first, -1):
            value = _value(tuple(token for _, _, token in tokens[first:last]), primary)
            if value is not None:
                found.append(Number(tokens[first][0], tokens[last - 1][1], value))
                first = last - 1
                break
            if last == min(first + _LONGEST, len(tokens)) and not _starts(tokens[first][2], primary):
                break
        first += 1
    return found


_LONGEST = 10
"""Words of one number: "minus three hundred and forty five thousand and two point five" is as long as anybody goes."""

_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_SLASHED = re.compile(r"(\d{1,3})[/⁄]([1-9]\d{0,2})")
"""'3/4', as it is written."""
_TOKEN = re.compile(
    rf"(?<![\w.,])[-−](?=\d)|(?<![/\d.,]){_SLASHED.pattern}(?![/⁄\d])|\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|[½¼¾⅓⅔]"
)
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?![\d])(?:,\d+)?")
"""'10 000' in the languages that group with a space."""
_SIGNS = {"½": 1 / 2, "¼": 1 / 4, "¾": 3 / 4, "⅓": 1 / 3, "⅔": 2 / 3}


@dataclass(frozen=True)
class _Cardinals:
    """Words for whole numbers, without spaces and hyphens."""

    small: Mapping[str, int]
    """0 to 99."""
    hundreds: Mapping[str, int]
    """100, 200 … 900, also as they begin a longer number."""
    hundred: tuple[str, ...]
    thousand: tuple[str, ...]
    million: tuple[str, ...]


def _tokens(text: str, primary: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and plain form of each word and each number of digits."""
    text = unicodedata.normalize("NFC", text)
    grouped = {} if primary == "en" else {found.start(): found for found in _SPACED.finditer(text)}
    at = 0
    while found := _TOKEN.search(text, at):
        spaced = grouped.get(found.start())
        found = spaced or found
        yield found.start(), found.end(), re.sub(r"\s", "", found[0]).casefold().replace("−", "-")
        at = found.end()


def _spells(text: str, tokens: tuple[str, ...]) -> bool:
    """Whether nothing but these words, blanks and hyphens is in the text."""
    letters = re.sub(r"[\s\u00a0\u202f−-]", "", unicodedata.normalize("NFC", text).casefold())
    return bool(tokens) and letters == "".join(tokens).replace("-", "")


@lru_cache(maxsize=4096)
def _value(tokens: tuple[str, ...], primary: str) -> float | None:
    value = _number(tokens, primary)
    return None if value is None else float(value)


def _number(tokens: tuple[str, ...], primary: str) -> float | None:
    words = WORDS.get(primary)
    if tokens[0] == "-" or (words and tokens[0] in words.minus and len(tokens) > 1):
        value = _value(tokens[1:], primary) if len(tokens) > 1 else None
        return None if value is None else -value
    if words is None:
        return _digits(tokens[0], ",") if len(tokens) == 1 else None
    for value in (_decimal(tokens, words, primary), _fraction(tokens, words, primary)):
        if value is not None:
            return value
    for at, token in enumerate(tokens[1:-1], start=1):
        if token in words.with_:
            whole, part = _decimal(tokens[:at], words, primary), _fraction(tokens[at + 1 :], words, primary)
            if whole is not None and part is not None and part < 1:
                return whole + part
    part = _written_fraction(tokens[1]) if len(tokens) == 2 else None
    if part is not None and part < 1:
        whole = _decimal(tokens[:1], words, primary)
        return None if whole is None else whole + part
    return None


def _decimal(tokens: tuple[str, ...], words: NumberWords, primary: str) -> float | None:
    """A number without a fraction word: 'three point one four', '3,5', 'two thousand'."""
    for at, token in enumerate(tokens):
        if token in words.point and at < len(tokens) - 1:
            whole = _whole(tokens[:at], words, primary) if at else 0
            digits = "".join(_decimal_digits(word, words, primary) for word in _joined(tokens[at + 1 :], primary))
            if whole is None or not digits.isdigit() or whole != int(whole):
                return None
            return float(f"{int(whole)}.{digits}")
    return _whole(tokens, words, primary)


def _joined(tokens: tuple[str, ...], primary: str) -> tuple[str, ...]:
    """Behind the point 'twenty five' is one number, 'one four' two digits."""
    together = _integer("".join(tokens), primary)
    return ("".join(tokens),) if together is not None and together > 9 else tokens


def _decimal_digits(word: str, words: NumberWords, primary: str) -> str:
    if word.isdigit():
        return word
    value = 0 if primary == "en" and word in ("oh", "o") else _integer(word, primary)
    return str(value) if value is not None else "?"


def _whole(tokens: tuple[str, ...], words: NumberWords, primary: str) -> float | None:
    if len(tokens) == 1 and tokens[0][0].isdigit():
        return _digits(tokens[0], words.group)
    said = " ".join(tokens)
    if said in words.wholes:
        return words.wholes[said]
    if tokens[0] in words.articles and len(tokens) > 1:
        large = _integer("".join(tokens[1:]), primary)
        return large if large is not None and large >= 100 else None
    if tokens[0][0].isdigit():
        value = _digits(tokens[0], words.group)
        scale = _integer("".join(tokens[1:]), primary)
        return value * scale if value is not None and scale in (100, 1000, 1_000_000) else None
    compact = "".join(tokens)
    if words.half_suffix and compact.endswith(words.half_suffix) and compact != words.half_suffix:
        whole = _integer(compact.removesuffix(words.half_suffix), primary)
        return None if whole is None else whole + 0.5
    return _integer(compact, primary)


def _fraction(tokens: tuple[str, ...], words: NumberWords, primary: str) -> float | None:
    """'half', 'a quarter', 'three quarters'."""
    if len(tokens) == 1 and (written := _written_fraction(tokens[0])) is not None:
        return written
    part = words.fractions.get(tokens[-1])
    if part is None:
        return None
    if len(tokens) == 1 or (len(tokens) == 2 and tokens[0] in words.articles):
        return part
    count = _whole(tokens[:-1], words, primary)
    return None if count is None else count * part


def _written_fraction(token: str) -> float | None:
    """'¾', '3/4'."""
    slashed = _SLASHED.fullmatch(token)
    return int(slashed[1]) / int(slashed[2]) if slashed else _SIGNS.get(token)


def _digits(token: str, group: str) -> float | None:
    """Separators between thousands are left out; a single other one is the decimal point."""
    if not _DIGITS.fullmatch(token):
        return None
    parts = re.split(r"[.,]", token)
    if len(parts) == 1:
        return float(token)
    separators = re.findall(r"[.,]", token)
    thousands = all(len(part) == 3 for part in parts[1:]) and 0 < len(parts[0]) <= 3 and parts[0] != "0"
    if thousands and set(separators) == {group}:
        return float("".join(parts))
    if group in separators[:-1] or len(separators) == 1:
        return float("".join(parts[:-1]) + "." + parts[-1])
    return None


@lru_cache(maxsize=4096)
def _integer(compact: str, primary: str) -> int | None:
    """A whole number in words without spaces: 'twothousandfive'."""
    cardinals = _cardinals(primary)
    for factor, scale in ((1_000_000, cardinals.million), (1000, cardinals.thousand)):
        for word in scale:
            before, found, after = compact.partition(word)
            if found:
                many = 1 if not before else _below(before, 1000, primary)
                rest = _rest(after, factor, primary)
                if many is not None and rest is not None:
                    return many * factor + rest
    return _below(compact, 1000, primary)


def _below(compact: str, limit: int, primary: str) -> int | None:
    """A number below a thousand, or hundreds up to 'ninety-nine hundred'."""
    cardinals = _cardinals(primary)
    if compact in cardinals.small:
        return cardinals.small[compact]
    for word, value in cardinals.hundreds.items():
        if compact.startswith(word):
            rest = _rest(compact[len(word) :], 100, primary)
            if rest is not None:
                return value + rest
    for word in cardinals.hundred:
        before, found, after = compact.partition(word)
        if found and cardinals.small.get(before, 0) > 10:
            rest = _rest(after, 100, primary)
            if rest is not None:
                return cardinals.small[before] * 100 + rest
    return None


def _rest(compact: str, limit: int, primary: str) -> int | None:
    """What follows hundreds or thousands; nothing is zero."""
    if not compact:
        return 0
    for word in WORDS[primary].with_:
        if primary in ("en", "de", "sv") and compact.startswith(word):
            compact = compact.removeprefix(word)
    value = _integer(compact, primary) if compact else None
    return value if value is not None and 0 < value < limit else None


def _starts(token: str, primary: str) -> bool:
    """Whether a number may begin with this word."""
    words = WORDS.get(primary)
    if words is None or token in ("-", *words.minus, *words.point, *words.articles):
        return True
    begins_whole = any(whole.split()[0] == token for whole in words.wholes)
    return begins_whole or _value((token,), primary) is not None


@lru_cache(maxsize=16)
def _cardinals(primary: str) -> _Cardinals:
    """From the CLDR's spelling rules, whose genders and cases are all read."""
    engine = RbnfEngine.for_language(primary)

    def forms(number: int) -> set[str]:
        rulesets = engine.format_number(number).text_by_ruleset
        spelled = {text for name, text in rulesets.items() if "ordinal" not in name and "year" not in name}
        compact = {re.sub(r"[\s\u00ad-]", "", text.casefold()) for text in spelled}
        return compact | {_unaccented(text) for text in compact}  # Whisper writes "veintidos" too

    small = {form: number for number in range(100) for form in forms(number)}
    small.update(_wholes(primary))
    ones = sorted(forms(1), key=len, reverse=True)

    def without_one(number: int) -> list[str]:
        found = forms(number)
        bare = {form.removeprefix(one) for form in found for one in ones} - {""}
        return sorted(found | bare, key=len, reverse=True)

    hundreds: dict[str, int] = dict.fromkeys(without_one(100), 100)
    for number in range(100, 1000, 100):
        for form in forms(number) | {f.removesuffix(o) for f in forms(number + 1) for o in ones if f.endswith(o)}:
            hundreds[form] = number
    hundreds = dict(sorted(hundreds.items(), key=lambda item: len(item[0]), reverse=True))
    twos = forms(2)

    def scale(number: int) -> tuple[str, ...]:
        plural = {f.removeprefix(two) for f in forms(2 * number) for two in twos if f.startswith(two)}
        return tuple(sorted(plural | set(without_one(number)), key=len, reverse=True))

    return _Cardinals(
        small,
        hundreds,
        tuple(word for word in without_one(100) if not any(word.startswith(one) for one in ones)),
        scale(1000),
        scale(1_000_000),
    )


def _unaccented(text: str) -> str:
    """Spanish writes no accent on longer numbers, and listeners forget the others."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if char != "\u0301")


def _wholes(primary: str) -> dict[str, int]:
    """Whole numbers below a hundred that the CLDR does not have, with their compounds."""
    words = WORDS[primary].wholes
    extra = {word: int(value) for word, value in words.items() if value % 1 == 0 and " " not in word}
    if primary == "fr":  # Belgian and Swiss tens
        engine = RbnfEngine.for_language(primary)
        for tens in ("septante", "huitante", "octante", "nonante"):
            for one in range(1, 10):
                extra[tens + ("et" if one == 1 else "") + engine.format_number(one).text] = extra[tens] + one
    return extra
