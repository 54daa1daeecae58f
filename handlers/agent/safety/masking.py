"""Secrets taken out of what is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MASK = "•••"

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|credential|authorization|cookie|(^|[_-])(pin|code|key|otp|cvv|cvc)([_-]|$)"
    r"|(api|private|access)_?key",
    re.IGNORECASE,
)
"""Names of values that are secrets, whatever the value is."""

_SECRET_TEXT = re.compile(
    r"""
      -----BEGIN[ ][A-Z ]{1,40}PRIVATE[ ]KEY-----.{0,8000}?(?:-----END|\Z)       # PEM
    | \beyJ[\w-]{8,2000}\.[\w-]{4,4000}\.[\w-]{4,2000}                           # a JSON web token
    | \b(?:sk|pk|rk|ghp|gho|ghs|glpat|xox[abps]|AKIA|hvs)[-_]?[A-Za-z0-9_-]{16,200}   # keys with a known beginning
    | (?<=://)[^/\s:@]{1,100}:[^/\s@]{1,200}(?=@)                                # name:password@ in an address
    | \b(?:\d[ -]?){13,19}\b                                                     # card numbers
    """,
    re.VERBOSE | re.DOTALL,
)
"""Texts that are secrets wherever they stand."""

_SAID = re.compile(
    r"""
      (?P<name>\b(?:pass(?:word|phrase|wort)|kennwort|l[öo]senord|mot\ de\ passe|contrase[ñn]a|secret|token
        |api[ _-]?key)
        (?:\ is\ |\ ist\ |\ [äa]r\ |\ est\ |\ es\ |\ to\ |\ ?[:=]\ ?)['"]?)\S{1,200}
    | (?P<scheme>\b(?:bearer|basic)\ )[\w.~+/=-]{6,2000}
    | (?P<code>\b(?:pin|passcode|(?:door|alarm|gate|access)\ code|geheimzahl|code\ pin)\b[^\d\n]{1,12}
        # Of whatever it is: 'code for the gate is', 'Türcode ist', 'dörrkoden är', 'code de la porte est'
        |\b(?:(?!post|zip|bar|qr)[^\W\d]{0,24}-?(?:code|kod|koden)|c[óo]digo|clave|geheimzahl|pin)\b[^\d\n.!?]{0,40}?
          (?:\b(?:is|ist|lautet|[äa]r|est|es)\ |[:=]\ ?)(?:now\ |jetzt\ |nu\ |maintenant\ |ahora\ |le\ |el\ )?)
      \#?\d(?:[ -]?\d){2,11}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Secrets that are announced: 'the pin is 1234', 'password=hunter2', 'Bearer abcdef'."""


def masked_text(text: str) -> str:
    """The text with what looks like a secret replaced by •••."""

    def announced(found: re.Match[str]) -> str:
        return (found["name"] or found["scheme"] or found["code"]) + MASK

    return _SAID.sub(announced, _SECRET_TEXT.sub(MASK, text))


def masked(value: object) -> object:
    """A JSON value, in which nothing looks like a secret any more, neither by its name nor by itself."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {
            str(key): MASK if _SECRET_KEY.search(str(key)) and inner not in (None, "") else masked(inner)
            for key, inner in value.items()
        }
    if isinstance(value, Sequence):
        return [masked(inner) for inner in value]
    if isinstance(value, int | float | None):
        return value
    return masked_text(str(value))
