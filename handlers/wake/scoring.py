"""From scores to detections: when a score counts as a wake word heard, the same for every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from handlers.audio import BYTES_PER_SECOND
from handlers.wake.stage import Detection, plain_name

FRAME_SAMPLES = 1280
"""80 ms: openWakeWord scores that often; microWakeWord every 30 ms, of which the best counts."""

FRAME_BYTES = FRAME_SAMPLES * 2


class Scorer(Protocol):
    """One engine's models for one stream of audio. They share their features."""

    def score(self, frame: bytes) -> Mapping[str, float]:
        """The best score in the next FRAME_BYTES of internal audio for each word, where there is one."""

    def reset(self) -> None:
        """Forget all audio."""


class ScoreDetector:
    """A detector on the scores of one or more engines.

    A word is refractory whichever engine heard it, so that two that listen for the same one report it once.
    """

    def __init__(self, scorers: Sequence[Scorer], thresholds: Mapping[str, float], refractory_seconds: float) -> None:
        self._scorers = scorers
        self._thresholds = thresholds
        self._refractory_bytes = int(refractory_seconds * BYTES_PER_SECOND)
        self._pending = b""
        self._heard_bytes = 0
        self._deaf_until: dict[str, int] = {}
        self._above: set[str] = set()

    def process(self, pcm: bytes) -> list[Detection]:
        detections = []
        self._pending += pcm
        whole = len(self._pending) - len(self._pending) % FRAME_BYTES
        for start in range(0, whole, FRAME_BYTES):
            frame = self._pending[start : start + FRAME_BYTES]
            self._heard_bytes += FRAME_BYTES
            for scorer in self._scorers:
                detections += self._judge(scorer.score(frame))
        self._pending = self._pending[whole:]
        return detections

    def reset(self) -> None:
        for scorer in self._scorers:
            scorer.reset()
        self._pending = b""
        self._heard_bytes = 0
        self._deaf_until.clear()
        self._above.clear()

    def _judge(self, scores: Mapping[str, float]) -> list[Detection]:
        heard = []
        for name, score in scores.items():
            if score < self._thresholds[name]:
                self._above.discard(name)
                continue
            # Only a score that rises is a word: it stays high for a second, which may be longer than we are deaf.
            rises = name not in self._above
            self._above.add(name)
            word = plain_name(name)
            if rises and self._heard_bytes >= self._deaf_until.get(word, 0):
                self._deaf_until[word] = self._heard_bytes + self._refractory_bytes
                heard.append(Detection(word, score, self._heard_bytes / BYTES_PER_SECOND))
        return heard
