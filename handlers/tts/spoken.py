"""Numbers, units and signs as words, where the phonemizer reads them wrong.

Every rule was measured with Piper's espeak-ng; the comment of a rule says what was heard without it. What espeak
reads right (decimals, "1,234,567", "1st", "14:30" in English, "+") is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from unicode_rbnf import FormatPurpose, RbnfEngine

from handlers.tts.words import WORDS, Words

_NUMBER = r"\d{1,18}(?:[.,]\d{1,9}){0,6}"
"""Digits with separators; the bounds keep a hostile text from costing more than its length."""
_ALONE = r"(?<![\w.,])"
_NEEDS_SPACE = frozenset("smtAJNKBb")
"""One-letter units that mean something else when attached: "the 80s", "4K", "room 3A", "5m"."""
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SIMPLE_FRACTIONS = {"1/2": "½", "1/4": "¼", "3/4": "¾", "1/3": "⅓", "2/3": "⅔"}

_LEADING_POINT = re.compile(r"(?<![\w.,])\.(?=\d)")
_MINUS = re.compile(r"(?<![\w.,)\]])[-−](?=\d)")
_ISO_DATE = re.compile(r"(?<![\w-])(\d{4})-(\d\d)-(\d\d)(?![\w-])")
_ISO_TIME = re.compile(r"(?<=\d\d\d\d-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?(?!\w)")
_DOTTED_DATE = re.compile(r"(?<![\w.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?![\w]|\.\d)")
_SLASHED_DATE = re.compile(r"(?<![\w/])(\d{1,2})/(\d{1,2})/(\d{4})(?![\w/])")
_CLOCK = re.compile(
    r"(?<![\w:.,])([01]?\d|2[0-4])[:h]([0-5]\d)(?::00)?(?![\w:])(\s?(?:Uhr|[ap]\.?m\b\.?))?", re.IGNORECASE
)
_PHONE = re.compile(
    r"(?<![\w+])\+\d[\d ()/.-]{7,22}\d(?!\w)"
    r"|(?<![\w-])(?:\(?\d{3}\)?[ -])?\d{3}-\d{4}(?![\w-])"
)
_DOTTED = re.compile(r"(?<![\w.])v?\d{1,4}(?:\.\d{1,4}){2,5}(?!\w|\.\d)")
_LONG = re.compile(r"(?<![\w.,])\d{11,40}(?![\w]|[.,]\d)")
_RANGE = re.compile(r"(?<=[\d%°CFVW])(\s?)(–|→|->|=>)\s?(?=[-−]?\d)|(?<=\w)–(?=\w)")
_DIFFERENCE = re.compile(r"(?<=\d)\s[-–]\s(?=\d{1,9}(?:[.,]\d{1,4})?\s?=)")
_HYPHEN_RANGE = re.compile(
    r"(?<![\w.,-])(\d{1,9}(?:[.,]\d{1,4})?)\s?[%°]?(?:-|\s-\s)(?=\d{1,9}(?:[.,]\d{1,4})?(?![\d-]))"
)
_TIMES = re.compile(r"(?<=\d)\s?[x×*]\s?(?=\d)|×")
_POWER = re.compile(r"(?<=[\w)])(?:([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9})|\^(-?\d{1,9}))")
_SLASH = re.compile(r"(?<=[^\W\d_])/(?=[^\W\d_])")
_SPELLED = re.compile(r"\b(CO)[₂2]\b")


def read_aloud(text: str, language: str) -> str:
    """One line of plain text with its numbers, units and signs as words of `language` (a tag such as "en-GB").

    A language without a table gets its text back.
    """
    primary, _, region = language.replace("_", "-").partition("-")
    words = WORDS.get(primary.lower())
    if words is None:
        return text
    month_first = primary.lower() == "en" and region.upper() in ("", "US")
    for rule in _rules(words, primary.lower(), month_first):
        text = rule(text)
    return text


@lru_cache(maxsize=16)
def _rules(words: Words, primary: str, month_first: bool) -> tuple[Callable[[str], str], ...]:
    """In this order: dates before ranges, ranges before units, units before single signs."""
    return (
        lambda text: _SPELLED.sub("C O 2", text),  # heard: "ko two"
        lambda text: _expand_abbreviations(text, words),
        lambda text: _LEADING_POINT.sub("0.", text),  # heard: "dot five"
        lambda text: _dates(text, words, month_first),
        lambda text: _ordinals(text, primary, words),
        lambda text: _CLOCK.sub(lambda found: _clock(found, words), text),
        lambda text: _digits(text, words),
        lambda text: _ranges(text, words),
        lambda text: _MINUS.sub(f"{words.minus} ", text),  # heard in fr, es: nothing; "−" is English in fr, es, sv
        lambda text: _money(text, words),
        lambda text: _units(text, words),
        lambda text: _fractions(text, words),
        lambda text: _signs(text, words),
    )


def _expand_abbreviations(text: str, words: Words) -> str:
    for short, long in words.abbreviations.items():
        if short in text:
            # "No." is a number only before a digit; a title stands before a name.
            before = r"\d" if long == words.number else r"[^\W\d_]" if short == "M." else r"\w"
            text = re.sub(rf"(?<!\w){re.escape(short)}(?=\s{{0,3}}{before})\s{{0,3}}", f"{long} ", text)
    return text


def _dates(text: str, words: Words, month_first: bool) -> str:
    """Heard: "two thousand twenty six dash eleven dash twenty"."""

    def date(original: str, year: str, month: str, day: str) -> str:
        if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
            return original
        return words.date.format(day=int(day), month=words.months.split()[int(month) - 1], year=year)

    def slashed(found: re.Match[str]) -> str:
        first, second, year = found.groups()
        us = int(second) > 12 or (month_first and int(first) <= 12)
        return date(found[0], year, *((first, second) if us else (second, first)))

    text = _ISO_TIME.sub(r" \1", text)
    text = _ISO_DATE.sub(lambda found: date(found[0], found[1], found[2], found[3]), text)
    text = _DOTTED_DATE.sub(lambda found: date(found[0], found[3], found[2], found[1]), text)
    return _SLASHED_DATE.sub(slashed, text)


@lru_cache(maxsize=1)
def _german_numbers() -> RbnfEngine:
    return RbnfEngine.for_language("de")


def _ordinals(text: str, primary: str, words: Words) -> str:
    """ "3. November" and "der 3. Platz". Heard: "drei", a full stop, "November"."""
    if primary != "de":
        return text
    months = words.months.replace(" ", "|")

    def ordinal(found: re.Match[str]) -> str:
        article = (found["article"] or "").strip().lower()
        # The ending follows the article: am dritten, die dritte; without one a date is masculine.
        ending = {"": "-r", "der": "", "die": "", "das": ""}.get(article, "-n")
        forms = _german_numbers().format_number(int(found["number"]), FormatPurpose.ORDINAL).text_by_ruleset
        return f"{found['article'] or ''}{forms['spellout-ordinal' + ending]} "

    return re.sub(
        rf"(?P<article>\b(?:der|die|das|dem|den|des|am|im|zum|zur|vom|beim|bis|ab|jeden)\s{{1,3}})?"
        rf"(?<![\w.,])(?P<number>\d{{1,2}})\.\s{{1,3}}(?=(?:{months})\b|(?(article)[^\W\d_]|(?!)))",
        ordinal,
        text,
        flags=re.IGNORECASE,
    )


def _clock(found: re.Match[str], words: Words) -> str:
    """Heard: "fourteen zero zero" and, in German, "vierzehn Uhr dreißig Uhr"."""
    if "h" in found[0][:3].lower() and "heure" not in words.clock.full:
        return found[0]  # "14h30" is French
    hour, minute = int(found[1]), int(found[2])
    half = (found[3] or "").strip().replace(".", "").upper()
    if half in ("AM", "PM"):
        tail = f" {half}" + ("." if found[0].endswith("..") else "")
        if minute == 0:
            return f"{hour}{tail}"
        return words.clock.few.format(h=hour, m=minute) + tail if minute < 10 else f"{hour}:{found[2]}{tail}"
    if minute == 0:
        template = words.clock.full
        if hour in (0, 24):
            template = words.clock.midnight or template
        elif hour <= 12:
            template = words.clock.full_to_12 or template
    else:
        template = words.clock.few if minute < 10 else words.clock.rest
    return template.format(h=hour, m=minute)


def _digits(text: str, words: Words) -> str:
    """Telephone numbers, addresses, versions and long identifiers, which are not amounts."""

    def spelled(found: re.Match[str]) -> str:
        # Heard: "forty nine one hundred seventy one million…", "five hundred fifty five dash".
        groups = re.findall(r"\d+", found[0])
        return ("plus " if found[0].startswith("+") else "") + ", ".join(" ".join(group) for group in groups)

    def dotted(found: re.Match[str]) -> str:
        # Heard: "one nine two point one six eight point…" without its groups. 1.234.567 is an amount.
        first, *rest = found[0].split(".")
        if all(len(group) == 3 for group in rest) and len(rest) != 3:
            return found[0]
        return f" {words.dot} ".join((first, *rest))

    text = _DOTTED.sub(dotted, text)
    return _LONG.sub(spelled, _PHONE.sub(spelled, text))


def _ranges(text: str, words: Words) -> str:
    """Heard: "ten twelve" for 10–12, "ten dash twelve" for 10-12."""
    text = _DIFFERENCE.sub(f" {words.minus} ", text)
    text = _RANGE.sub(f" {words.to} ", text)
    return _HYPHEN_RANGE.sub(lambda found: f"{found[0].rstrip(' -')} {words.to} ", text)


def _money(text: str, words: Words) -> str:
    """Heard: "dollar five", "euros five point two zero"."""
    before, behind = _money_patterns(words)

    def amount(found: re.Match[str]) -> str:
        one, many, cent, cents = words.currencies[found["currency"]]
        number, scale = found["number"], words.scales.get(found["scale"] or "", "")
        whole, decimal = _split_decimal(number)
        if scale:
            said = f"{number} {scale} {many}"
        elif len(decimal) == 2 and cent:
            small = f"{int(decimal)} {cent if int(decimal) == 1 else cents}" if int(decimal) else ""
            large = f"{whole} {one if whole == '1' else many}" if whole.strip("0") or not small else ""
            said = f" {words.and_} ".join(part for part in (large, small) if part)
        else:
            said = f"{number} {one if number == '1' else many}"
        return said + _per(found["per"], words)

    return behind.sub(amount, before.sub(amount, text))


@lru_cache(maxsize=16)
def _money_patterns(words: Words) -> tuple[re.Pattern[str], re.Pattern[str]]:
    currency = rf"(?P<currency>{_any_of(words.currencies)})"
    scale = rf"(?:\s?(?P<scale>{_any_of(words.scales)})(?!\w))?"
    number = rf"(?P<number>{_NUMBER})"
    per = r"(?P<per>/[^\W\d_]{1,12}[²³]?(?!\w))?"
    return (
        re.compile(rf"(?<!\w){currency}\s?{number}{scale}{per}"),
        re.compile(rf"{_ALONE}{number}{scale}\s?{currency}(?!\w){per}"),
    )


def _units(text: str, words: Words) -> str:
    """Heard: the letters ("kay em slash aitch", "double-u"), "em two" for m², and "degrees see"."""

    def unit(found: re.Match[str]) -> str:
        number, symbol = found["number"], found["unit"]
        if symbol in _NEEDS_SPACE and not found["space"] and not (symbol == "K" and len(number) > 2):
            return found[0]
        if symbol == "K" and len(number) < 3:
            return found[0]  # "4 K" is a screen, "2700 K" a light
        if symbol == "A" and len(number) > 3:
            return found[0]  # "In 2026 A new…"
        one, many = words.units[symbol]
        return f"{_comma(number, words)} {one if _is_one(number, words) else many}{_per(found['per'], words)}"

    text = _unit_pattern(words).sub(unit, text)
    if words.comma:
        text = re.sub(rf"{_ALONE}{_NUMBER}(?!\w)", lambda found: _comma(found[0], words), text)
    return text


@lru_cache(maxsize=16)
def _unit_pattern(words: Words) -> re.Pattern[str]:
    return re.compile(
        rf"{_ALONE}(?P<number>{_NUMBER})(?P<space>\s?)-?(?P<unit>{_any_of(words.units)})(?![\w²³])"
        r"(?P<per>/[^\W\d_]{1,12}[²³]?(?!\w))?"
    )


def _fractions(text: str, words: Words) -> str:
    """Heard: "one slash two", and in es the English "a half"; "one a half" for 1½."""
    text = re.sub(
        r"(?<![\w/.,])[123]/[234](?![\w/]|[.,]\d)", lambda found: _SIMPLE_FRACTIONS.get(found[0], found[0]), text
    )

    def fraction(found: re.Match[str]) -> str:
        said = words.fractions.get(found[2], found[2])
        return f"{found[1].rstrip()} {words.and_} {said} " if found[1] else f" {said} "

    return re.sub(r"(\d{1,9} ?)?([½¼¾⅓⅔⅛])", fraction, text)


def _signs(text: str, words: Words) -> str:
    """Single signs. Heard: "tilde", "hash", "right arrow", and nothing at all for < ≤ = in some languages."""
    text = _TIMES.sub(f" {words.times} ", text)
    text = _POWER.sub(lambda found: _power(found, words), text)
    text = re.sub(r"[~∼]\s?(?=\d)|≈", f" {words.about} ", text)
    text = re.sub(r"#(?=\d)|№", f" {words.number} ", text)
    text = re.sub(r"->|=>|→|⇒", ", ", text)
    text = re.sub(r"<=|≤", f" {words.at_most} ", text)
    text = re.sub(r">=|≥", f" {words.at_least} ", text)
    text = re.sub(r"<(?=\s?[-\d])", f" {words.less} ", text)
    text = re.sub(r">(?=\s?[-\d])", f" {words.more} ", text)
    text = re.sub(r"={2,}", " ", text)  # ==marked== or a ruler
    text = re.sub(r"=", f" {words.equals} ", text)
    for sign, word in (("&", words.and_), ("±", words.plus_minus), ("÷", words.divided), ("−", words.minus)):
        text = text.replace(sign, f" {word} ")
    return _SLASH.sub(" ", text)  # heard: "and slash or"


def _power(found: re.Match[str], words: Words) -> str:
    exponent = (found[1] or found[2]).translate(_SUPERSCRIPTS)
    if exponent in ("2", "3"):
        return f" {words.squared if exponent == '2' else words.cubed} "
    return f" {words.power} {exponent.replace('-', words.minus + ' ')} "


def _per(per: str | None, words: Words) -> str:
    if not per:
        return ""
    return f" {words.per} {words.units.get(per[1:], (per[1:], ''))[0]}"


def _split_decimal(number: str) -> tuple[str, str]:
    """ "1,200.50" is ("1,200", "50"); the last separator is decimal unless three digits follow it."""
    at = max(number.rfind("."), number.rfind(","))
    if at < 0 or len(number) - at == 4:
        return number, ""
    return number[:at], number[at + 1 :]


def _is_one(number: str, words: Words) -> bool:
    if words.one_below == 1.0:
        return number == "1"
    whole, decimal = _split_decimal(number)
    return whole.isdigit() and float(f"{whole}.{decimal or 0}") <= words.one_below


def _comma(number: str, words: Words) -> str:
    """Heard in Swedish: "punkt" for the decimal comma."""
    whole, decimal = _split_decimal(number)
    if not words.comma or not decimal or number[len(whole)] != ",":
        return number
    return f"{whole} {words.comma} {decimal}"


def _any_of(table: Iterable[str]) -> str:
    """An alternation of the keys, the longest first."""
    return "|".join(re.escape(key) for key in sorted(table, key=len, reverse=True))
