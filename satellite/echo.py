"""Takes the loudspeaker's sound out of the microphone's: a linear filter that learns the way from one to the other.

A partitioned frequency-domain Kalman filter. It knows for every frequency how sure it is of what it has learned, so it
learns fast from an echo alone and hardly anything while somebody speaks over it. Being linear it leaves that voice as
it is, where WebRTC's canceller suppresses much of it together with the echo (bench/echo.py compares them).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from handlers.audio import RATE

Samples = npt.NDArray[np.float32]

BLOCK = 160
"""Samples taken at a time: 10 ms, as WebRTC does."""

_BLOCKS = 16
"""Length of the filter, 160 ms: what is left of the delay and the first part of the room's answer."""

_FORGETTING = 0.9998
"""Of what was learned, for each block: half is doubted after 17 s. Faster forgetting learns from the voice, too."""

_DOUBT = 0.1
"""Variance of the filter before it has learned anything, for a path that neither amplifies nor weakens much. 0.01
learns a loud echo too slowly, 1 makes a quiet one louder for the first half second."""

_SMOOTHING = 0.9
"""Of what is not echo, over some 100 ms, about a syllable."""


class EchoFilter:
    """One answer's filter. It begins anew with each, because each begins some milliseconds earlier or later."""

    def __init__(self) -> None:
        shape = (_BLOCKS, BLOCK + 1)
        self._played = np.zeros(shape, np.complex64)  # spectra of the last blocks, the newest first
        self._path = np.zeros(shape, np.complex64)
        self._doubt = np.full(shape, _DOUBT, np.float32)
        self._rest: Samples = np.zeros(BLOCK + 1, np.float32)  # power of what is no echo
        self._before = np.zeros(BLOCK, np.float32)

    def cancel(self, near: Samples, far: Samples) -> Samples:
        """One block of the microphone without what it has of the speaker's, both as samples in [-1, 1)."""
        self._played = np.roll(self._played, 1, axis=0)
        self._played[0] = np.fft.rfft(np.concatenate([self._before, far]))
        self._before = far
        echo = np.fft.irfft((self._path * self._played).sum(axis=0))[BLOCK:].astype(np.float32)
        left: Samples = near - echo
        self._learn(left)
        return left if left @ left <= near @ near else near  # as long as it knows nothing, it does no harm

    def _learn(self, left: Samples) -> None:
        error = np.fft.rfft(np.concatenate([np.zeros(BLOCK, np.float32), left]))
        power: Samples = np.abs(error).astype(np.float32) ** 2
        self._rest = _SMOOTHING * self._rest + (1 - _SMOOTHING) * power if self._rest.any() else power
        played = np.abs(self._played) ** 2
        step = self._doubt / (0.5 * (self._doubt * played).sum(axis=0) + self._rest + 1e-6)
        change = np.fft.irfft(step * self._played.conj() * error, axis=1)
        change[:, BLOCK:] = 0  # a block of the filter is as long as a block of sound
        self._doubt = _FORGETTING**2 * (1 - 0.5 * step * played) * self._doubt
        self._doubt = (self._doubt + (1 - _FORGETTING**2) * np.abs(self._path) ** 2).astype(np.float32)
        self._path = (_FORGETTING * (self._path + np.fft.rfft(change, axis=1))).astype(np.complex64)


_LISTEN_SECONDS = 0.75
"""To find the delay once: two or three words."""

_LOUD = 0.003
"""Below -50 dBFS a block of the speaker's is a pause; in half of the blocks there must be sound."""

_EARLIEST_SECONDS = 0.1
_LATEST_SECONDS = 0.5
"""A sound server keeps 20 to 100 ms, Bluetooth 150 to 300 ms."""

_CLEAR = 8.0
"""A peak so many times the rest is the echo's. Without an echo the highest is about 4.5 times the rest."""


class DelayFinder:
    """Finds, again and again, by how much the echo is behind the speaker's sound."""

    def __init__(self) -> None:
        self._near: list[Samples] = []
        self._far: list[Samples] = []

    def listen(self, near: Samples, far: Samples) -> int | None:
        """Take the next block of each. When there is enough of them, the delay in samples, if there is a clear one.

        It is negative when the echo comes before what is said to be played.
        """
        self._near.append(near)
        self._far.append(far)
        if len(self._near) * BLOCK < _LISTEN_SECONDS * RATE:
            return None
        delay = self._find()
        self._near.clear()
        self._far.clear()
        return delay

    def _find(self) -> int | None:
        near, far = np.concatenate(self._near), np.concatenate(self._far)
        loud = np.mean(far.reshape(-1, BLOCK) ** 2, axis=1) > _LOUD**2
        if loud.mean() < 0.5:
            return None
        size = 2 * len(near)
        cross = np.fft.rfft(near, size) * np.fft.rfft(far, size).conj()
        likeness = np.fft.irfft(cross / (np.abs(cross) + 1e-9), size)
        early, late = int(_EARLIEST_SECONDS * RATE), int(_LATEST_SECONDS * RATE)
        likeness = np.concatenate([likeness[-early:], likeness[:late]])
        best = int(np.argmax(np.abs(likeness)))
        if np.abs(likeness[best]) <= _CLEAR * np.sqrt(np.mean(likeness**2)):
            return None
        return best - early
