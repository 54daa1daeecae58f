"""Cuts a long recording into windows, at pauses, so that no word is cut in two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from handlers.audio import BYTES_PER_SECOND, RATE, WIDTH, to_float

_LONGEST_SECONDS = 30
"""Whisper's own window."""

_SHORTEST_SECONDS = 20
"""In the ten seconds between, somebody who reads or talks takes a breath."""

_PAUSE = RATE // 5
"""Samples of the quiet that is looked for: 200 ms, longer than the silence in a 't'."""

_STEP = RATE // 50
"""Samples between two places that are compared: 20 ms."""


def windows(pcm: bytes) -> Iterator[tuple[int, int]]:
    """First byte and end of each window of internal audio; none is longer than half a minute."""
    start = 0
    while len(pcm) - start > _LONGEST_SECONDS * BYTES_PER_SECOND:
        first = start + _SHORTEST_SECONDS * BYTES_PER_SECOND
        end = first + _quietest(pcm[first : start + _LONGEST_SECONDS * BYTES_PER_SECOND])
        yield start, end
        start = end
    if start < len(pcm):
        yield start, len(pcm)


def _quietest(pcm: bytes) -> int:
    """The byte in the middle of the quietest 200 ms."""
    power = np.concatenate([[0.0], np.cumsum(np.square(to_float(pcm), dtype=np.float64))])
    places = np.arange(0, len(power) - _PAUSE, _STEP)
    quietest = int(places[np.argmin(power[places + _PAUSE] - power[places])])
    return (quietest + _PAUSE // 2) * WIDTH
