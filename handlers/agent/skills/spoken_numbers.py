"""Numbers as an answer says them: rounded so that a listener can keep them."""

from __future__ import annotations

import math
import re

from babel import Locale
from babel.numbers import format_decimal

from handlers.agent.skills.stage import Phrases

_LARGEST = 1e15
"""Beyond it a float is not exact to the unit, and nobody follows so many digits."""

_SMALLEST = 1e-6


def rounded(value: float) -> float:
    """To what is worth saying: two decimals from 1 upwards, three significant digits below it."""
    if value == 0 or not math.isfinite(value):
        return value
    if abs(value) >= 1:
        return round(value, 2)
    return round(value, 2 - math.floor(math.log10(abs(value))))


def is_exact(value: float) -> bool:
    """Whether nothing is lost by rounding, but the noise of floating point."""
    return math.isclose(value, rounded(value), rel_tol=1e-12)


def is_sayable(value: float) -> bool:
    """Whether it can be said as plain digits."""
    return value == 0 or _SMALLEST <= abs(value) < _LARGEST


def number_text(value: float, locale: Locale, phrases: Phrases) -> str:
    """With the locale's decimal separator, and without separators between thousands, which voices stumble over."""
    digits = format_decimal(rounded(value), format="0.########", locale=locale, group_separator=False)
    return without_sign(digits, phrases)


def without_sign(text: str, phrases: Phrases) -> str:
    """The minus as a word."""
    return re.sub(r"(?<!\w)[-−](?=\d)", f"{(*phrases.words('minus'), 'minus')[0]} ", text)


def sentence_case(text: str) -> str:
    """The first letter large, the others as they are."""
    return text[:1].upper() + text[1:]
