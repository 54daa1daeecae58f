"""Where a wake word ends and the request behind it begins, told from the loudness of the sound around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from handlers.audio import BYTES_PER_SECOND, WIDTH, to_float

MEMORY_SECONDS = 1.5
"""Pre-roll: the longest wake word and what is said until it is noticed."""

_LATE_SECONDS = 0.7
"""openWakeWord notices a word 0.1 to 0.45 s after its end, in fluent speech up to 0.7 s (measured with Piper)."""

_PAUSE_SECONDS = 0.2
"""A gap of this length lies between the wake word and the request; consonants ("what time") close for up to 0.15 s."""

MORE_SECONDS = 0.24
"""Some words are noticed 0.1 s after their end; so much later, a pause behind them can be told."""

_WORD_SECONDS = 0.3
"""The shortest wake word has more sound than this, so a gap after less of it lies before the word."""

_LONGEST_WORD_SECONDS = 0.7
"""More sound than this in one breath is a wake word and a request ("okay nabu stop"): the gap behind it is not the one
between them. Where somebody says the word more slowly, its end is sent along, which does no harm."""

_QUIET = 0.1
"""A gap is 20 dB below the loudest sound around it."""

_STEP_SECONDS = 0.02
_STEP_BYTES = int(_STEP_SECONDS * BYTES_PER_SECOND)


def since_wake_word(heard: bytes) -> bytes:
    """The end of `heard`, which goes a moment beyond the detection, from where the wake word can be over.

    That is the first gap after it, where what lies before the gap is no longer than a wake word. Without one (noise, or
    a request in the same breath) it is as much as a detection may be late: then the end of the wake word is sent along,
    because losing the first word would be worse.
    """
    steps = len(heard) // _STEP_BYTES
    heard = heard[len(heard) - steps * _STEP_BYTES :]
    if not steps:
        return b""
    loud = _loud(heard)
    earliest = max(0, steps - round((_LATE_SECONDS + MORE_SECONDS) / _STEP_SECONDS))
    pause = round(_PAUSE_SECONDS / _STEP_SECONDS)
    for step in range(earliest, steps - pause + 1):
        if not loud[step : step + pause].any() and loud[:step].sum() >= _WORD_SECONDS / _STEP_SECONDS:
            if _last_breath(loud[:step], pause) > _LONGEST_WORD_SECONDS / _STEP_SECONDS:
                break
            return heard[step * _STEP_BYTES :]
    return heard[earliest * _STEP_BYTES :]


def from_wake_word(memory: bytes) -> bytes:
    """A memory at a detection, of the same length, with silence in place of what was said before the wake word.

    It begins behind the last gap before it. Without one (noise, or speech without a pause) the longest time that a word
    and its detection take is kept.
    """
    steps = len(memory) // _STEP_BYTES
    loud = _loud(memory[: steps * _STEP_BYTES])
    pause = round(_PAUSE_SECONDS / _STEP_SECONDS)
    begin = max(0, steps - round((_LONGEST_WORD_SECONDS + _LATE_SECONDS) / _STEP_SECONDS))
    for step in range(steps - pause, begin, -1):
        if not loud[step : step + pause].any() and loud[step:].sum() >= _WORD_SECONDS / _STEP_SECONDS:
            begin = step + pause // 2  # a word begins softly
            break
    return bytes(begin * _STEP_BYTES) + memory[begin * _STEP_BYTES :]


def _loud(heard: bytes) -> npt.NDArray[np.bool_]:
    """Which steps of the audio, a whole number of them, are not quiet."""
    loudness = np.sqrt(np.mean(to_float(heard).reshape(-1, _STEP_BYTES // WIDTH) ** 2, axis=1))
    return np.asarray(loudness > _QUIET * loudness.max(initial=0.0))


def _last_breath(loud: npt.NDArray[np.bool_], pause: int) -> int:
    """Steps from the beginning of the last sound that is not interrupted by a pause, to its end."""
    sounding = np.flatnonzero(loud)
    if not sounding.size:
        return 0
    gaps = np.flatnonzero(np.diff(sounding) > pause)
    first = sounding[gaps[-1] + 1] if gaps.size else sounding[0]
    return int(sounding[-1] - first + 1)
