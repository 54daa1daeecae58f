"""Where speech ends in a recording, decided once on the whole file and never by the server that is measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from handlers.audio import BYTES_PER_SECOND, RATE, seconds, to_float
from handlers.errors import AudioError, MissingExtraError

Label = Callable[[bytes], float]
"""Internal audio in, the second at which speech ends out. Raises AudioError when nobody speaks."""

LABELLERS = ("auto", "silero", "energy")

_SPEECH_PROBABILITY = 0.5
"""Silero's own default for a frame of speech."""

_FRAME_SAMPLES = 320
"""20 ms: several periods of the lowest voice."""

_RUN_FRAMES = 2
"""A single frame is a click."""

_QUIETEST_DBFS = -60.0
"""Speech below this is lost in the noise of any microphone."""

_CONTRAST_DB = 10.0
"""Speech is at least so much louder than its background; less is steady noise."""

_SPEECH_SHARE = 0.4
"""Threshold between background and loudest speech, in dB: above breath and room, below soft consonants."""


def choose_labeller(name: str) -> tuple[str, Label]:
    """The labeller 'silero' or 'energy', with its name; 'auto' is Silero where the server extra is installed."""
    if name == "energy":
        return name, energy_label
    try:
        return "silero", _silero()
    except MissingExtraError:
        if name == "silero":
            raise
        return "energy", energy_label


def energy_label(pcm: bytes) -> float:
    """End of the last 40 ms that are clearly louder than the background."""
    samples = to_float(pcm)
    frames = samples[: len(samples) - len(samples) % _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    if len(frames) < _RUN_FRAMES:
        raise AudioError("The recording is too short to have speech in it")
    level = 20 * np.log10(np.sqrt(np.mean(np.square(frames), axis=1)) + 1e-6)
    background, loudest = np.percentile(level, (5, 98))
    if loudest - background < _CONTRAST_DB:
        raise AudioError("No speech stands out of the recording's background")
    threshold = max(background + _SPEECH_SHARE * (loudest - background), _QUIETEST_DBFS)
    loud = level >= threshold
    runs = np.flatnonzero(np.convolve(loud, np.ones(_RUN_FRAMES), mode="valid") == _RUN_FRAMES)
    if not len(runs):
        raise AudioError("No speech stands out of the recording's background")
    return float((runs[-1] + _RUN_FRAMES) * _FRAME_SAMPLES / RATE)


def _silero() -> Label:
    """End of the last 64 ms that Silero takes for speech. Raises MissingExtraError."""
    from handlers.asr.silero import FRAME_BYTES, Silero  # needs the server extra

    silero = Silero()

    def label(pcm: bytes) -> float:
        stream = silero.stream()
        end = run = 0
        for start in range(0, len(pcm), FRAME_BYTES):
            frame = pcm[start : start + FRAME_BYTES].ljust(FRAME_BYTES, b"\0")
            run = run + 1 if stream.probability(frame) >= _SPEECH_PROBABILITY else 0
            if run >= _RUN_FRAMES:  # a single frame is a click, as some recordings end with one
                end = start + FRAME_BYTES
        if not end:
            raise AudioError("Silero hears no speech in the recording")
        return min(end / BYTES_PER_SECOND, seconds(pcm))

    return label
