"""The words of numbers that are not cardinals: signs, decimal points, fractions. One entry a language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NumberWords:
    """What a language has beside its cardinal numbers."""

    minus: tuple[str, ...]
    point: tuple[str, ...]
    with_: tuple[str, ...]
    """Between a number and a fraction, and after hundreds."""
    fractions: Mapping[str, float]
    """As one says them after a number or an article: 'half', 'quarters'."""
    articles: tuple[str, ...] = ()
    """Before a fraction, hundred or thousand, where they are not a one of the language already."""
    wholes: Mapping[str, float] = field(default_factory=dict)
    half_suffix: str = ""
    """Ends a word that is a number and a half."""
    group: str = "."
    """Between thousands in digits."""


_HALF, _THIRD, _QUARTER = 1 / 2, 1 / 3, 1 / 4

WORDS: Mapping[str, NumberWords] = {
    "en": NumberWords(
        minus=("minus", "negative"),
        point=("point", "dot"),
        with_=("and",),
        fractions={
            "half": _HALF,
            "halves": _HALF,
            "third": _THIRD,
            "thirds": _THIRD,
            "quarter": _QUARTER,
            "quarters": _QUARTER,
            "fourth": _QUARTER,
            "fourths": _QUARTER,
            "fifth": 1 / 5,
            "fifths": 1 / 5,
            "sixth": 1 / 6,
            "sixths": 1 / 6,
            "eighth": 1 / 8,
            "eighths": 1 / 8,
            "tenth": 1 / 10,
            "tenths": 1 / 10,
        },
        articles=("a", "an"),
        wholes={"dozen": 12, "a dozen": 12, "half a dozen": 6, "half a": _HALF, "half an": _HALF, "half of": _HALF},
        group=",",
    ),
    "de": NumberWords(
        minus=("minus",),
        point=("komma", "punkt"),
        with_=("und",),
        fractions={
            "halb": _HALF,
            "halbe": _HALF,
            "halben": _HALF,
            "halber": _HALF,
            "halbes": _HALF,
            "hälfte": _HALF,
            "drittel": _THIRD,
            "viertel": _QUARTER,
            "fünftel": 1 / 5,
            "sechstel": 1 / 6,
            "achtel": 1 / 8,
            "zehntel": 1 / 10,
        },
        articles=("die", "der"),
        wholes={"anderthalb": 1.5, "dreiviertel": 0.75, "zwo": 2, "dutzend": 12, "ein dutzend": 12},
        half_suffix="einhalb",
    ),
    "sv": NumberWords(
        minus=("minus",),
        point=("komma", "punkt"),
        with_=("och",),
        fractions={
            "halv": _HALF,
            "halvt": _HALF,
            "halva": _HALF,
            "hälften": _HALF,
            "tredjedel": _THIRD,
            "tredjedelar": _THIRD,
            "fjärdedel": _QUARTER,
            "fjärdedelar": _QUARTER,
            "kvart": _QUARTER,
            "kvarts": _QUARTER,
            "femtedel": 1 / 5,
            "femtedelar": 1 / 5,
            "sjättedel": 1 / 6,
            "sjättedelar": 1 / 6,
            "åttondel": 1 / 8,
            "åttondelar": 1 / 8,
            "tiondel": 1 / 10,
            "tiondelar": 1 / 10,
        },
        wholes={"halvannan": 1.5, "halvtannat": 1.5, "trekvart": 0.75, "trekvarts": 0.75, "dussin": 12},
    ),
    "fr": NumberWords(
        minus=("moins",),
        point=("virgule", "point"),
        with_=("et",),
        fractions={
            "demi": _HALF,
            "demie": _HALF,
            "moitié": _HALF,
            "tiers": _THIRD,
            "quart": _QUARTER,
            "quarts": _QUARTER,
            "cinquième": 1 / 5,
            "cinquièmes": 1 / 5,
            "sixième": 1 / 6,
            "sixièmes": 1 / 6,
            "huitième": 1 / 8,
            "huitièmes": 1 / 8,
            "dixième": 1 / 10,
            "dixièmes": 1 / 10,
        },
        articles=("la", "le"),
        wholes={"septante": 70, "huitante": 80, "octante": 80, "nonante": 90, "douzaine": 12, "une douzaine": 12},
    ),
    "es": NumberWords(
        minus=("menos",),
        point=("coma", "punto"),
        with_=("y", "con"),
        fractions={
            "medio": _HALF,
            "media": _HALF,
            "mitad": _HALF,
            "tercio": _THIRD,
            "tercios": _THIRD,
            "cuarto": _QUARTER,
            "cuartos": _QUARTER,
            "quinto": 1 / 5,
            "quintos": 1 / 5,
            "sexto": 1 / 6,
            "sextos": 1 / 6,
            "octavo": 1 / 8,
            "octavos": 1 / 8,
            "décimo": 1 / 10,
            "décimos": 1 / 10,
        },
        articles=("la", "el"),
        wholes={"docena": 12, "una docena": 12},
    ),
}
