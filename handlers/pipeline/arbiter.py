"""Several satellites hear the same wake word: lets the one answer that heard it best.

A satellite says how well it heard (`run-pipeline` with `wake: {"score": 0.9, "snr": 18}`); those that say so within a
moment are compared. Meanwhile their audio is kept, so that whoever may answer has lost nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

WAIT_SECONDS = 0.15
"""For others to say that they heard it, too: engines score every 80 ms, and a Wi-Fi needs some ten. A request takes
longer to say, so that nobody waits for it."""

LATE_SECONDS = 0.8
"""A wake word is noticed 0.1 to 0.7 s after its end, depending on the room: who comes so late heard the same word."""

_FLOOR_DB = 1.0
"""A signal-to-noise ratio below counts as this: the score alone then decides."""


@dataclass(frozen=True)
class Heard:
    """How well a satellite heard its wake word."""

    score: float
    """Of the wake word engine, 0 to 1."""
    snr: float = 0.0
    """Loudness of the word above that of the room before it, in dB."""
    in_audio: bool = False
    """Whether the turn's audio begins with the wake word: then the transcript shows whether it was one."""

    @property
    def quality(self) -> float:
        """The nearest satellite has both: a clear word and a loud one."""
        return self.score * max(_FLOOR_DB, self.snr)


@dataclass
class _Round:
    """Those that heard one wake word at about the same time."""

    began: float
    claims: dict[str, Heard] = field(default_factory=dict)
    winner: str | None = None


class Arbiter:
    """Chooses among the satellites of one server."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS, late_seconds: float = LATE_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._late_seconds = late_seconds
        self._rounds: dict[str, _Round] = {}

    async def may_answer(self, satellite: str, wake_word: str, heard: Heard) -> bool:
        """Whether this satellite is the one. Takes WAIT_SECONDS for the first that heard the word, less for others."""
        now = asyncio.get_running_loop().time()
        self._forget(now)
        ours = self._rounds.setdefault(wake_word, _Round(now))
        if ours.winner is not None:
            if ours.winner != satellite:
                return False
            ours = self._rounds[wake_word] = _Round(now)  # its own next word
        ours.claims[satellite] = heard
        try:
            await asyncio.sleep(ours.began + self._wait_seconds - now)
        except asyncio.CancelledError:  # whoever is gone does not win
            ours.claims.pop(satellite, None)
            raise
        if ours.winner is None:
            ours.winner = max(ours.claims, key=lambda name: ours.claims[name].quality)
        return ours.winner == satellite

    def _forget(self, now: float) -> None:
        over = [word for word, known in self._rounds.items() if now - known.began > self._late_seconds]
        for word in over:
            del self._rounds[word]
