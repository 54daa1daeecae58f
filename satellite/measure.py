"""What a recording is like, and whether a sound that was played is in it. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handlers.audio import RATE, from_float, to_float

Samples = npt.NDArray[np.float32]

SILENCE = -100.0
"""dBFS of no sound at all: a 16-bit sample has no less than -90."""

_STEP = RATE // 50
"""20 ms, in which a voice hardly changes."""

_NOISE_SHARE = 0.1
"""The quietest tenth is taken for the room: there are gaps even in fluent speech."""

_WORD_STEPS = 22
"""The loudest 0.45 s are taken for the wake word: the shortest one takes so long."""

_CLIPPED = 0.99
"""Of full scale. What was cut off at the device's limit stays near it when it is resampled."""

_CONSTANT = 2
"""Steps of a 16-bit sample. No microphone's noise is within them all the time: that is a wire with nothing on it."""

_TEST_SECONDS = 4.0
"""The echo canceller finds the delay in 0.8 to 1.5, learns in about one, and is measured in the last."""

_TEST_LEVEL = -24.0
"""dBFS, as loud as speech is on average."""

_TEST_BAND = (150.0, 5000.0)
"""Hz. What small speakers play and small microphones hear."""

_FADE_SECONDS = 0.2

_CLEAR = 8.0
"""A peak so many times the rest is the sound's own; without it the highest is about 5 times the rest."""


@dataclass(frozen=True)
class Sound:
    """A recording. Levels are in dBFS: 0 is the loudest that there can be."""

    seconds: float
    peak: float
    level: float
    """Of all of it."""
    floor: float
    """Of its quietest tenth."""
    speech: float
    """Of its loudest 0.45 s."""
    clipped: float
    """Share of samples at the limit."""
    offset: float
    """Mean of the samples, as a share of full scale."""
    is_dead: bool
    """Nothing is on the wire: always the same number."""


def measure(pcm: bytes) -> Sound:
    """What internal audio is like; at least 20 ms of it."""
    samples = to_float(pcm)
    steps = samples[: len(samples) // _STEP * _STEP].reshape(-1, _STEP).astype(np.float64)
    offset = float(samples.mean())
    power = np.sort(np.mean((steps - offset) ** 2, axis=1))  # an offset is no sound
    return Sound(
        seconds=len(samples) / RATE,
        peak=decibels(float(np.abs(samples).max()) ** 2),
        level=decibels(float(power.mean())),
        floor=decibels(float(power[: max(1, round(_NOISE_SHARE * len(power)))].mean())),
        speech=decibels(float(power[-_WORD_STEPS:].mean())),
        clipped=float(np.mean(np.abs(samples) >= _CLIPPED)),
        offset=offset,
        is_dead=int(np.ptp(np.frombuffer(pcm, dtype="<i2").astype(np.int32))) <= _CONSTANT,
    )


def decibels(power: float) -> float:
    """Of full scale, no less than SILENCE."""
    return max(SILENCE, 10 * float(np.log10(power + 1e-12)))


def sea() -> bytes:
    """Internal audio that sounds like the sea; it is unlike any other sound, and unlike itself at any other time."""
    count = int(_TEST_SECONDS * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(6).standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    low, high = _TEST_BAND
    spectrum *= np.where((hertz >= low) & (hertz <= high), 1 / np.sqrt(np.maximum(hertz, 1.0)), 0.0)
    samples = np.fft.irfft(spectrum, count)
    samples *= 10 ** (_TEST_LEVEL / 20) / np.sqrt(np.mean(samples**2))
    fade = np.minimum(1.0, np.arange(count) / (_FADE_SECONDS * RATE))
    return from_float((samples * fade * fade[::-1]).astype(np.float32))


def find(played: bytes, heard: bytes) -> int | None:
    """The sample of `heard` at which `played` begins, or None where it is not in it. Both are internal audio."""
    near, far = to_float(heard).astype(np.float64), to_float(played).astype(np.float64)
    if len(near) < len(far):
        return None
    size = 1 << int(np.ceil(np.log2(len(near) + len(far))))
    played_spectrum = np.fft.rfft(far, size)
    cross = np.fft.rfft(near, size) * played_spectrum.conj()
    # Each frequency that was played counts the same: a room's answer is then a peak, and a hum is not.
    audible = np.abs(played_spectrum) > 1e-3 * np.abs(played_spectrum).max()
    likeness = np.abs(np.fft.irfft(np.where(audible, cross / (np.abs(cross) + 1e-12), 0.0), size))
    likeness = likeness[: len(near) - len(far) // 2]
    best = int(np.argmax(likeness))
    return best if likeness[best] > _CLEAR * np.sqrt(np.mean(likeness**2)) else None
