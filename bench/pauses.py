"""Recordings with a pause where there was none: hesitation, made from what people said without it.

A piece of the recording's own room noise is put between two words. A person who hesitates also stretches the word
before; these pauses lack that, so a detector that listens for it is told less than it would be in life.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.clips import Clip
from bench.words import normalise
from handlers.audio import BYTES_PER_SECOND, RATE, from_float, to_float
from handlers.errors import MissingExtraError

PAUSES_MS = (300, 500, 700)
"""Lengths of hesitations within a sentence, without the word that is sought being quite lost."""

Words = Callable[[bytes], Sequence[tuple[str, float]]]
"""Internal audio in, its words with the second at which each ends out."""

_ROOM_SECONDS = 0.25
"""Long enough to hold the character of a room, short enough to be found before the first word."""

_LONGEST_NOISE = 8 * RATE
"""Samples; more than is ever put anywhere, so that a long noise begins like a short one."""

_STEP_SECONDS = 0.01
_NEAR_SECONDS = 0.08
"""Whisper's word ends are this exact; the quietest moment around is where a word ends."""

_FADE_SECONDS = 0.01
"""Over which two pieces of sound are joined without a click."""


@dataclass(frozen=True)
class Hesitation:
    """A clip with a pause in it."""

    clip: Clip
    before: str
    """What is said before the pause."""
    pause_ms: int


def hesitations(clip: Clip, words: Words) -> Iterator[Hesitation]:
    """The clip with a pause after each word but the last, in every length; none where Whisper misheard it, because then
    nobody knows where its words are."""
    said = words(clip.pcm)
    if clip.reference is None or normalise(" ".join(word for word, _ in said)) != normalise(clip.reference):
        return
    samples = to_float(clip.pcm)
    room = _room(samples[: int(clip.end_of_speech * RATE)])
    for index, (_, end) in enumerate(said[:-1]):
        at = _quietest(samples, end)
        before = " ".join(word for word, _ in said[: index + 1])
        for pause_ms in PAUSES_MS:
            noise = _stretch(room, pause_ms * RATE // 1000)
            pcm = from_float(_join(_join(samples[:at], noise), samples[at:]))
            longer = len(pcm) / BYTES_PER_SECOND - len(clip.pcm) / BYTES_PER_SECOND
            name = f"{clip.name} [{pause_ms} ms after '{before}']"
            yield Hesitation(
                replace(clip, name=name, pcm=pcm, end_of_speech=clip.end_of_speech + longer), before, pause_ms
            )


def with_room(clip: Clip, seconds: float) -> bytes:
    """The clip's audio, followed by its own room noise."""
    samples = to_float(clip.pcm)
    room = _room(samples[: int(clip.end_of_speech * RATE)])
    return from_float(_join(samples, _stretch(room, int(seconds * RATE))))


def whisper_words(folder: Path) -> Words:
    """Finds words by Whisper's own alignment. Raises MissingExtraError."""
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise MissingExtraError("Finding words", "server") from None
    model = WhisperModel(str(folder), compute_type="int8", local_files_only=True)

    def find(pcm: bytes) -> list[tuple[str, float]]:
        segments, _ = model.transcribe(to_float(pcm), language="en", beam_size=1, temperature=0.0, word_timestamps=True)
        return [(word.word.strip(), float(word.end)) for segment in segments for word in segment.words or ()]

    return find


def _room(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The quietest piece of the recording."""
    length = int(_ROOM_SECONDS * RATE)
    starts = range(0, max(1, len(samples) - length), int(_STEP_SECONDS * RATE))
    return samples[
        (best := min(starts, key=lambda start: float(np.std(samples[start : start + length])))) : best + length
    ]


def _stretch(room: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Noise with the room's spectrum and level, always the same. A loop of the room would sound like something."""
    spectrum = np.abs(np.fft.rfft(room)) / np.sqrt(len(room))
    white = np.fft.rfft(np.random.default_rng(0).standard_normal(_LONGEST_NOISE))
    coloured = white * np.interp(np.linspace(0, 1, len(white)), np.linspace(0, 1, len(spectrum)), spectrum)
    noise: npt.NDArray[np.float32] = np.fft.irfft(coloured).astype(np.float32)[:length]
    return noise


def _quietest(samples: npt.NDArray[np.float32], second: float) -> int:
    """The sample around a moment where the least is heard."""
    step = int(_STEP_SECONDS * RATE)
    first = max(0, int((second - _NEAR_SECONDS) * RATE))
    starts = range(first, max(first + 1, int((second + _NEAR_SECONDS) * RATE)), step)
    return min(starts, key=lambda start: float(np.sum(np.square(samples[start : start + step])))) + step // 2


def _join(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One after the other, overlapping for a moment."""
    length = min(int(_FADE_SECONDS * RATE), len(left), len(right))
    if not length:
        return np.concatenate((left, right))
    fade = np.linspace(0.0, 1.0, length, dtype=np.float32)
    middle = left[-length:] * (1 - fade) + right[:length] * fade
    return np.concatenate((left[:-length], middle, right[length:]))
