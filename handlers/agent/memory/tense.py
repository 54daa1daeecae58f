"""Whether somebody asks for what was true before, so that facts which were replaced count as well."""

from __future__ import annotations

import re

from handlers.language import primary

_PAST = {
    "en": r"was|were|wasn't|weren't|had|used to|previous(ly)?|former(ly)?|before|back then"
    r"|last (week|month|year)",
    "de": r"war|waren|warst|hatte|hatten|hattest|gewesen|wurde|wurden|früher\w*|vorher\w*|damals|ehemal\w+|zuvor"
    r"|(letzte|vorige)[snm]? (woche|monat|jahr)",
    "sv": r"hade|brukade|förut|tidigare|förr|dåvarande|förra (veckan|månaden|året)|i fjol|(?<!^)var",
    "fr": r"était|étaient|étais|avait|avais|avaient|avant|auparavant|autrefois|précédent\w*|ancien\w*"
    r"|(la semaine|le mois|l'année) (dernière|dernier|passée?)",
    "es": r"era|eran|eras|estaba|estaban|tenía|tenían|fue|fueron|había|antes|anterior\w*|antigu[oa]s?"
    r"|(la semana|el mes|el año) pasad[oa]",
}
"""By language: 'was' asks for a thing in German, and 'var' for a place in Swedish where it begins the question."""

_PATTERNS = {language: re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) for language, words in _PAST.items()}


def asks_about_past(text: str, language: str) -> bool:
    """Whether a question is about an earlier time; False in languages that are not known here."""
    pattern = _PATTERNS.get(primary(language))
    return pattern is not None and pattern.search(text.strip()) is not None
