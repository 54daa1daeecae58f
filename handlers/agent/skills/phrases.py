"""The answers and word lists of one language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from babel import Locale

Response = str | Mapping[str, str]
"""A text, or its plural forms (`one`, `other` …), of which `count` chooses."""

_PLACE = re.compile(r"\{(\w+)\}")
"""What is not known is left out, so that a slip in a file of one's own is not a turn that fails."""

_NARROW_SPACES = str.maketrans("\u202f\u00a0", "  ")
"""Babel sets them in times, dates and numbers, for the eye."""


@dataclass
class PhraseBook:
    """As the files of a language have them."""

    language: str
    """A primary tag: 'en'."""
    responses: Mapping[str, Response]
    word_lists: Mapping[str, Sequence[str]]
    fallback: PhraseBook | None = None
    """Says what this book cannot: a household's own language may have a few responses only."""

    def say(self, name: str, /, **values: str | int) -> str:
        """The response `name` with its {places} filled; KeyError when there is none."""
        response = self.responses.get(name)
        if response is None:
            if self.fallback is None or self.fallback is self:
                raise KeyError(f"no response '{name}' in the language '{self.language}'")
            return self.fallback.say(name, **values)
        if not isinstance(response, str):
            form = Locale(self.language).plural_form(int(values.get("count", 0)))
            response = response.get(form, response["other"])
        filled = _PLACE.sub(lambda found: str(values.get(found[1], "")), response)
        return filled.translate(_NARROW_SPACES)

    def words(self, name: str, /) -> Sequence[str]:
        """The word list `name`, empty where the language has none."""
        return self.word_lists.get(name, ())

    def fixed(self) -> list[str]:
        """Every answer without places."""
        texts = (
            text
            for response in self.responses.values()
            for text in ([response] if isinstance(response, str) else response.values())
        )
        return [text for text in texts if not _PLACE.search(text)]
