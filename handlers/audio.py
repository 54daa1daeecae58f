"""Audio inside Meadowlark is `bytes` of 16 kHz mono signed 16-bit little-endian PCM; this module is the edge."""

from __future__ import annotations

import contextlib
import io
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soxr

from handlers.errors import AudioError

RATE = 16_000
"""Samples a second of all audio between the edges."""

WIDTH = 2
"""Bytes a sample."""

BYTES_PER_SECOND = RATE * WIDTH

_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class AudioFormat:
    """Format of a PCM stream: rate in Hz, width in bytes a sample, number of interleaved channels."""

    rate: int = RATE
    width: int = WIDTH
    channels: int = 1

    def check(self) -> None:
        """Raise AudioError when no microphone, file or voice has such a format."""
        if not 4_000 <= self.rate <= 384_000:
            raise AudioError(f"An audio rate of {self.rate} Hz is outside 4000 to 384000 Hz")
        if self.width not in (1, 2, 3, 4):
            raise AudioError(f"An audio sample width of {self.width} bytes is not 1, 2, 3 or 4")
        if not 1 <= self.channels <= 32:
            raise AudioError(f"{self.channels} audio channels are not between 1 and 32")

    @property
    def bytes_per_second(self) -> int:
        return self.rate * self.width * self.channels


SPEECH = AudioFormat()


def seconds(pcm: bytes) -> float:
    """Length of internal audio in seconds."""
    return len(pcm) / BYTES_PER_SECOND


def to_float(pcm: bytes) -> npt.NDArray[np.float32]:
    """Internal audio as float32 samples in [-1, 1)."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / _FULL_SCALE


def from_float(samples: npt.NDArray[np.float32]) -> bytes:
    """float32 samples in [-1, 1] as s16le, clipped."""
    pcm: bytes = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767).astype("<i2").tobytes()
    return pcm


def tones(
    melody: Sequence[tuple[float, float]], level: float, edge_seconds: float, rate: int = RATE
) -> npt.NDArray[np.float32]:
    """Hertz and seconds, one tone after another, as samples of one channel.

    `level` is of full scale; each tone swells and fades over `edge_seconds`, else it clicks.
    """
    parts = []
    edge = np.hanning(2 * int(edge_seconds * rate))
    half = len(edge) // 2
    for hertz, length in melody:
        tone = level * np.sin(2 * np.pi * hertz * np.arange(int(length * rate)) / rate)
        tone[:half] *= edge[:half]
        tone[-half:] *= edge[half:]
        parts.append(tone)
    return np.concatenate(parts).astype(np.float32)


class Converter:
    """Streaming conversion of one PCM format into internal audio, or into another rate.

    Keeps what does not fill a whole frame, so that chunks may be cut anywhere. Call `flush` once at the end.
    With `channel` set, that channel is taken; otherwise channels are averaged.
    """

    def __init__(self, source: AudioFormat, rate: int = RATE, channel: int | None = None) -> None:
        source.check()
        if channel is not None and not 0 <= channel < source.channels:
            raise AudioError(f"Channel {channel} was chosen, but the audio has channels 0 to {source.channels - 1}")
        self._source = source
        self._channel = channel
        self._passthrough = source == AudioFormat(rate)
        self._left_over = b""
        self._resampler = (
            None
            if source.rate == rate
            else soxr.ResampleStream(source.rate, rate, num_channels=1, dtype="float32", quality="HQ")
        )

    def convert(self, chunk: bytes) -> bytes:
        """Convert one chunk; the answer may be shorter or longer than its share, never wrong."""
        frame = self._source.width * self._source.channels
        data = self._left_over + chunk
        whole = len(data) - len(data) % frame
        self._left_over = data[whole:]
        if self._passthrough:
            return data[:whole]
        samples = self._mono(data[:whole])
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return from_float(samples)

    def flush(self) -> bytes:
        """What the resampler still holds."""
        self._left_over = b""
        if self._resampler is None:
            return b""
        return from_float(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))

    def _mono(self, data: bytes) -> npt.NDArray[np.float32]:
        samples = _decode(data, self._source.width).reshape(-1, self._source.channels)
        if self._channel is not None:
            return np.ascontiguousarray(samples[:, self._channel])
        mono: npt.NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
        return mono


def _decode(data: bytes, width: int) -> npt.NDArray[np.float32]:
    """PCM of any integer width as float32 in [-1, 1). WAV's 8-bit samples are unsigned, all others signed."""
    if width == 1:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float32) - 128.0) / 128.0
    if width == 2:
        return np.frombuffer(data, dtype="<i2").astype(np.float32) / _FULL_SCALE
    if width == 3:
        triples = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        quads = np.zeros((len(triples), 4), dtype=np.uint8)
        quads[:, 1:] = triples  # as the upper bytes of an int32, so that the sign is kept
        return quads.view("<i4").reshape(-1).astype(np.float32) / 2147483648.0
    return np.frombuffer(data, dtype="<i4").astype(np.float32) / 2147483648.0


@contextlib.contextmanager
def open_wav(source: Path | BinaryIO) -> Iterator[wave.Wave_read]:
    """Open a PCM WAV file; raises AudioError with one sentence when that cannot be done."""
    name = str(source) if isinstance(source, Path) else "The audio"
    try:
        reader = wave.open(str(source) if isinstance(source, Path) else source, "rb")  # noqa: SIM115 -- closed below
    except FileNotFoundError:
        raise AudioError(f"{name} does not exist") from None
    except (OSError, EOFError, RuntimeError, wave.Error) as error:  # RuntimeError: a chunk's length leads out of it
        reason = str(error) or "it ends before its header does"
        raise AudioError(f"{name} is not a WAV file that can be read ({reason}); 16-bit PCM WAV is expected") from error
    with reader:
        yield reader


def wav_format(reader: wave.Wave_read) -> AudioFormat:
    """The format of an open WAV file."""
    return AudioFormat(reader.getframerate(), reader.getsampwidth(), reader.getnchannels())


def read_wav(source: Path | bytes) -> bytes:
    """A whole WAV file as internal audio."""
    with open_wav(io.BytesIO(source) if isinstance(source, bytes) else source) as reader:
        converter = Converter(wav_format(reader))
        return converter.convert(reader.readframes(reader.getnframes())) + converter.flush()


def write_wav(target: Path | BinaryIO, pcm: bytes, audio_format: AudioFormat = SPEECH) -> None:
    """Write PCM as a WAV file."""
    with wave.open(str(target) if isinstance(target, Path) else target, "wb") as writer:
        writer.setframerate(audio_format.rate)
        writer.setsampwidth(audio_format.width)
        writer.setnchannels(audio_format.channels)
        writer.writeframes(pcm)
