"""How long to wait before something is tried again."""

from __future__ import annotations

import random

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
"""Seconds between attempts: at once after a restart, and not a burden while a server is away for the night."""


class Backoff:
    """Growing pauses with jitter, so that many satellites do not return to a restarted server all at once."""

    def __init__(self, first: float = _FIRST_PAUSE, longest: float = _LONGEST_PAUSE) -> None:
        """Seconds."""
        self._pause = first
        self._longest = longest

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        pause = self._pause * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret
        self._pause = min(self._longest, self._pause * 2)
        return pause
