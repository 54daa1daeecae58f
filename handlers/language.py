"""Language tags, as far as a voice assistant needs them: 'en-US' is served where 'en' is known."""

from __future__ import annotations

from collections.abc import Iterable

from handlers.errors import RequestError


def normalize(tag: str) -> str:
    """'en_us', 'EN-us' and 'en-US' are the same tag: language in lower case, region in upper."""
    language, *rest = tag.strip().replace("_", "-").split("-")
    return "-".join([language.lower(), *(part.upper() if len(part) == 2 else part for part in rest)])


def primary(tag: str) -> str:
    """The language without its region: 'en' for 'en-US'."""
    return normalize(tag).split("-")[0]


def match(tag: str, known: Iterable[str]) -> str | None:
    """The member of `known` that serves `tag` best: the same tag, else the same language, else None."""
    options = list(known)
    wanted = normalize(tag)
    for option in options:
        if normalize(option) == wanted:
            return option
    for option in options:
        if primary(option) == primary(tag):
            return option
    return None


def require(tag: str, known: Iterable[str], what: str) -> str:
    """Like `match`, but an unserved language is a RequestError that names what is served."""
    options = list(known)
    found = match(tag, options)
    if found is None:
        shown = ", ".join(options[:12]) + (", …" if len(options) > 12 else "")
        raise RequestError("unknown-language", f"{what} does not know the language '{tag}'; it knows {shown}")
    return found
