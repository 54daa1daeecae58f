"""Partial transcripts as the protocol streams them: pieces that are only ever added to."""

from __future__ import annotations

import re

_WORD = re.compile(r"\S+\s*")


class Partials:
    """Turns transcripts of a growing utterance into `transcript-chunk`s.

    A piece is sent when it continues what was sent; punctuation and capitals do not count. Where a later transcript
    begins otherwise, nothing more is sent: the `transcript` event has the whole text, and is what counts.
    """

    def __init__(self) -> None:
        self._sent: list[str] = []

    def partial(self, text: str) -> str:
        """The piece for what was said so far; empty when there is none. More words are to come."""
        return self._advance(text.rstrip(" .!?,…") + " ")

    def final(self, text: str) -> str:
        """The piece for the whole text."""
        return self._advance(text)

    def _advance(self, text: str) -> str:
        words = _WORD.findall(text)
        keys = [_key(word) for word in words]
        if keys[: len(self._sent)] != self._sent:
            return ""
        piece = "".join(words[len(self._sent) :])
        self._sent = keys
        return piece


def _key(word: str) -> str:
    return re.sub(r"[^\w']", "", word).lower()
