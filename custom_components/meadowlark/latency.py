"""How long turns took, from the timelines that the server sends."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

STAGES: Final = ("response", "endpoint", "transcript", "route", "first_token", "first_sentence", "first_audio")
"""The waits of a turn. `response` is what a person feels: from the end of speech to the first sound."""

KEPT: Final = 50
"""Turns that a median is of: a few days of one household, so that a change shows within days."""

FAILED: Final = "failed"
"""The outcome of a turn whose waits say nothing."""


class Latencies:
    """The last waits of each stage, in milliseconds."""

    def __init__(self) -> None:
        self._waits: dict[str, deque[float]] = {stage: deque(maxlen=KEPT) for stage in STAGES}
        self._listeners: list[Callable[[], None]] = []

    def add(self, timeline: Mapping[str, object]) -> None:
        """Take a `timeline` message. What is not understood of it is left out."""
        waits = timeline.get("stages_ms")
        if timeline.get("outcome") == FAILED or not isinstance(waits, Mapping):
            return
        for stage, kept in self._waits.items():
            wait = waits.get(stage)
            if isinstance(wait, int | float) and wait >= 0:
                kept.append(float(wait))
        for listener in list(self._listeners):
            listener()

    def last(self, stage: str) -> float | None:
        """The wait of the last turn that had this stage; None when none had."""
        waits = self._waits[stage]
        return waits[-1] if waits else None

    def median(self, stage: str) -> float | None:
        """Of the turns that are kept."""
        waits = self._waits[stage]
        return statistics.median(waits) if waits else None

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each turn. Returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
