"""Conversions between units, by `pint`, with the names of the CLDR."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from babel import Locale
from babel.units import format_unit

from handlers.agent.skills.numbers import parse_number
from handlers.agent.skills.spoken_numbers import is_sayable, sentence_case, without_sign
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply
from handlers.agent.skills.unit_table import DEFINITIONS, GERMAN, IMPERIAL, METRIC, SMALLER, UNITS
from handlers.errors import MissingExtraError

try:
    from pint import UnitRegistry
except ImportError:
    raise MissingExtraError("Local skills", "server") from None


@dataclass(frozen=True)
class Part:
    """An amount of one unit, which goes by its CLDR name."""

    value: float
    unit: str


class Units:
    """Conversions."""

    def __init__(self) -> None:
        self._registry = _registry()
        self._dimensions = {
            unit: frozenset(self._registry.Unit(name).dimensionality.items()) for unit, name in UNITS.items()
        }
        self._names: dict[str, Mapping[str, str]] = {}

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"ConvertUnits"})

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return self._read(match, phrases) is not None

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        read = self._read(match, phrases)
        if read is None:
            return Reply(phrases.say("CalculateTooLarge"))
        parts, wanted = read
        locale = occasion.locale
        value = sum(self._convert(part, wanted, locale) for part in parts)
        if not is_sayable(value):
            return Reply(phrases.say("CalculateTooLarge"))
        value, exact = _rounded(value, wanted)
        amount = " ".join(_amount(_said(part.value), part.unit, locale) for part in parts)
        answer = phrases.say(
            "ConvertUnits" if exact else "ConvertUnitsAbout", amount=amount, result=_amount(value, wanted, locale)
        )
        return Reply(sentence_case(without_sign(answer, phrases)))

    def _read(self, match: Match, phrases: Phrases) -> tuple[list[Part], str] | None:
        """What is converted into what, if it can be."""
        names = self._units(phrases)
        wanted = names.get(_plain(match.slots["unit"]))
        parts = _quantity(_plain(match.slots["quantity"]), names, phrases) if wanted else None
        if not wanted or not parts:
            return None
        dimensions = {self._dimensions[unit] for unit in (wanted, *(part.unit for part in parts))}
        same = len(parts) == 1 and parts[0].unit == wanted
        scales = len(parts) > 1 and wanted.startswith("temperature")
        return None if len(dimensions) > 1 or same or scales else (parts, wanted)

    def _convert(self, part: Part, wanted: str, locale: Locale) -> float:
        local: Mapping[str, str] = {}
        if locale.language != "en":
            local = {**METRIC, **(GERMAN if locale.language == "de" else {})}
        elif locale.territory in ("GB", "IE"):
            local = IMPERIAL
        source, target = (local.get(UNITS[unit], UNITS[unit]) for unit in (part.unit, wanted))
        return float(self._registry.Quantity(part.value, source).to(target).magnitude)

    def _units(self, phrases: Phrases) -> Mapping[str, str]:
        """CLDR names of units by the words of a language."""
        if phrases.language not in self._names:
            names = dict(_cldr_names(phrases.language, tuple(phrases.words("plural_endings"))))
            for unit in UNITS:
                for name in phrases.words(unit):
                    names[_plain(name)] = unit
            self._names[phrases.language] = names
        return self._names[phrases.language]


@cache
def _registry() -> UnitRegistry[float]:
    """The one of all households: a third of a second goes by until it is made, and nothing changes it."""
    registry: UnitRegistry[float] = UnitRegistry(cache_folder=None)
    for definition in DEFINITIONS:
        registry.define(definition)
    return registry


@cache
def _cldr_names(language: str, plural_endings: Sequence[str]) -> Mapping[str, str]:
    """Units by the names that the CLDR has for them; also one for all households."""
    names: dict[str, str] = {}
    lengths: tuple[Literal["long", "short"], ...] = ("long", "short")
    for unit in UNITS:
        for locale in _locales(language):
            for length in lengths:
                for count in (1, 2, 5, 0.5):
                    name = _plain(_amount(count, unit, locale, length).lstrip("0123456789.,"))
                    names.setdefault(name, unit)
                    for ending in plural_endings:
                        names.setdefault(name + ending, unit)
    return names


def _locales(language: str) -> Sequence[Locale]:
    """Britain has litres where America has liters."""
    return [Locale("en"), Locale("en", "GB")] if language == "en" else [Locale(language)]


def _plain(text: str) -> str:
    quoted = text.casefold().replace("’", "'").replace("”", '"')
    spaced = re.sub(r"(?<=\d)(?=[^\W\d]|[°'\"′″])|(?<=['\"′″])(?=\d)", " ", quoted)
    return " ".join(spaced.replace("-", " ").replace("\u00a0", " ").replace("° ", "°").split()).strip(" .,?!")


def _quantity(text: str, names: Mapping[str, str], phrases: Phrases) -> list[Part] | None:
    """'5 feet 10', 'two pounds and three ounces', 'a litre'."""
    words = text.split()
    parts: list[Part] = []
    at = 0
    while at < len(words):
        if parts and words[at] in phrases.words("and"):
            at += 1
        part = _next_part(words, at, names, phrases)
        if part is not None:
            parts.append(part[0])
            at = part[1]
            continue
        rest = parse_number(" ".join(words[at:]), phrases.language)
        smaller = SMALLER.get(parts[-1].unit) if len(parts) == 1 else None
        if rest is None or smaller is None:
            return None
        parts.append(Part(rest, smaller))
        at = len(words)
    return parts if len(parts) <= 3 else None


def _next_part(words: Sequence[str], at: int, names: Mapping[str, str], phrases: Phrases) -> tuple[Part, int] | None:
    """A number and the longest unit behind it, and where they end."""
    for middle in range(min(len(words) - 1, at + 8), at, -1):
        number = " ".join(words[at:middle])
        value = 1.0 if number in phrases.words("one") else parse_number(number, phrases.language)
        if value is None:
            continue
        start = middle
        for name in ("of", "one") if value < 1 else ():  # "three quarters of a cup"
            start += start < len(words) and words[start] in phrases.words(name)
        for end in range(min(len(words), start + 4), start, -1):
            unit = names.get(" ".join(words[start:end]))
            if unit is not None:
                return Part(value, unit), end
    return None


def _rounded(value: float, unit: str) -> tuple[float, bool]:
    """What is worth saying of an amount, and whether it is exact. Nobody feels a hundredth of a degree."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 or unit.startswith("temperature") else 2
    short = round(value, digits) if abs(value) >= 1 or value == 0 else float(f"{value:.2g}")
    return short, abs(short - value) <= 1e-9 * max(1.0, abs(value))


def _said(value: float) -> float:
    """An amount that was asked about, without the endless digits of a third."""
    return value if abs(value) < 0.1 or abs(value - round(value, 4)) < 1e-9 else round(value, 2)


def _amount(value: float, unit: str, locale: Locale, length: Literal["long", "short"] = "long") -> str:
    """'2.5 liters', with the locale's separator and plural. Where the CLDR has no long name it has a short one."""
    lengths: tuple[Literal["long", "short"], ...] = (length, "short")
    for each in lengths:
        text = format_unit(value, unit, length=each, format="0.########", locale=locale)
        if unit not in text:
            return text.replace("\u00a0", " ").replace("\u202f", " ")
    raise ValueError(f"the CLDR has no name for {unit} in {locale}")
