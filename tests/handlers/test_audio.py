"""Conversion of every PCM format into internal audio, and WAV files that are not what they should be."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from handlers.audio import (
    RATE,
    SPEECH,
    AudioFormat,
    Converter,
    from_float,
    open_wav,
    read_wav,
    seconds,
    to_float,
    wav_format,
    write_wav,
)
from handlers.errors import AudioError

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000]
TONE = 440.0


def tone(rate: int, length: float = 0.25, level: float = 0.5) -> npt.NDArray[np.float64]:
    return level * np.sin(2 * np.pi * TONE * np.arange(int(rate * length)) / rate)


def encode(samples: npt.NDArray[np.float64], width: int, channels: int) -> bytes:
    """Samples as PCM, written without the code under test; the same signal on all channels."""
    frames = b""
    for sample in samples:
        value = round(sample * (2 ** (8 * width - 1) - 1))
        one = bytes([value + 128]) if width == 1 else value.to_bytes(width, "little", signed=True)
        frames += one * channels
    return frames


def convert(converter: Converter, pcm: bytes, sizes: list[int]) -> bytes:
    """Convert `pcm` in chunks of these sizes, over and over."""
    out, start, turn = b"", 0, 0
    while start < len(pcm):
        size = sizes[turn % len(sizes)]
        out += converter.convert(pcm[start : start + size])
        start, turn = start + size, turn + 1
    return out + converter.flush()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_tone_stays_the_same_tone(rate: int, width: int, channels: int) -> None:
    pcm = encode(tone(rate), width, channels)
    out = convert(Converter(AudioFormat(rate, width, channels)), pcm, [1, 7, 640, 333])
    got = to_float(out)
    assert len(got) == pytest.approx(RATE // 4, abs=2)
    wanted = tone(RATE)[: len(got)]
    middle = slice(400, len(wanted) - 400)  # a resampler rings where a tone begins and ends
    step = 2.0 ** (1 - 8 * width)
    assert np.abs(got[: len(wanted)] - wanted)[middle].max() < 2 * step + 0.001


@pytest.mark.parametrize("rate", RATES)
def test_how_chunks_are_cut_changes_nothing(rate: int) -> None:
    audio_format = AudioFormat(rate, 3, 2)
    pcm = encode(tone(rate, 0.2), 3, 2)
    whole = convert(Converter(audio_format), pcm, [len(pcm)])
    assert convert(Converter(audio_format), pcm, [1]) == whole
    assert convert(Converter(audio_format), pcm, [5, 1, 4096, 3]) == whole


@pytest.mark.parametrize("width", [2, 3, 4])
def test_extreme_samples_keep_their_sign(width: int) -> None:
    largest = 2 ** (8 * width - 1)
    values = [-largest, -largest // 2, -(largest >> 12) if width > 2 else -16, 0, largest // 2, largest - 1]
    pcm = b"".join(value.to_bytes(width, "little", signed=True) for value in values)
    converter = Converter(AudioFormat(RATE, width, 1))
    got = np.frombuffer(converter.convert(pcm) + converter.flush(), dtype="<i2")
    wanted = [min(32767, round(value / largest * 32768)) for value in values]
    assert got.tolist() == wanted


def test_eight_bit_samples_are_unsigned() -> None:
    converter = Converter(AudioFormat(RATE, 1, 1))
    assert np.frombuffer(converter.convert(bytes([0, 128, 255])), dtype="<i2").tolist() == [-32768, 0, 32512]


def test_channels_are_averaged_or_one_is_chosen() -> None:
    stereo = np.array([[1000, -3000], [200, 400]], dtype="<i2").tobytes()
    for channel, wanted in ((None, [-1000, 300]), (0, [1000, 200]), (1, [-3000, 400])):
        converter = Converter(AudioFormat(RATE, 2, 2), channel=channel)
        assert np.frombuffer(converter.convert(stereo), dtype="<i2").tolist() == wanted


def test_internal_audio_passes_unchanged_and_half_samples_wait() -> None:
    converter = Converter(SPEECH)
    pcm = bytes(range(100))
    assert converter.convert(pcm[:33]) == pcm[:32]
    assert converter.convert(b"") == b""
    assert converter.convert(pcm[33:]) == pcm[32:]
    assert converter.flush() == b""


def test_nothing_becomes_nothing() -> None:
    converter = Converter(AudioFormat(44_100, 2, 2))
    assert converter.convert(b"") == b""
    assert converter.flush() == b""


def test_to_another_rate_than_ours() -> None:
    out = convert(Converter(SPEECH, rate=48_000), encode(tone(RATE), 2, 1), [999])
    assert len(out) == pytest.approx(24_000, abs=8)


@pytest.mark.parametrize(
    ("audio_format", "named"),
    [
        (AudioFormat(0, 2, 1), "0 Hz"),
        (AudioFormat(-16_000, 2, 1), "-16000 Hz"),
        (AudioFormat(10**9, 2, 1), "1000000000 Hz"),
        (AudioFormat(RATE, 0, 1), "0 bytes"),
        (AudioFormat(RATE, 8, 1), "8 bytes"),
        (AudioFormat(RATE, 2, 0), "0 audio channels"),
        (AudioFormat(RATE, 2, 33), "33 audio channels"),
    ],
)
def test_a_format_that_nothing_has_is_named(audio_format: AudioFormat, named: str) -> None:
    with pytest.raises(AudioError, match=named):
        Converter(audio_format)


def test_a_channel_that_is_not_there_is_named() -> None:
    with pytest.raises(AudioError, match=r"Channel 2 .* 0 to 1"):
        Converter(AudioFormat(RATE, 2, 2), channel=2)


def test_float_samples_are_clipped_not_wrapped() -> None:
    got = np.frombuffer(from_float(np.array([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=np.float32)), dtype="<i2")
    assert got.tolist() == [-32768, -32768, 0, 32767, 32767]


def test_wav_there_and_back(tmp_path: Path) -> None:
    pcm = encode(tone(RATE), 2, 1)
    write_wav(tmp_path / "a.wav", pcm)
    assert read_wav(tmp_path / "a.wav") == pcm
    assert read_wav((tmp_path / "a.wav").read_bytes()) == pcm
    assert seconds(pcm) == 0.25


def test_a_wav_of_another_format_is_converted() -> None:
    file = io.BytesIO()
    write_wav(file, encode(tone(44_100), 3, 2), AudioFormat(44_100, 3, 2))
    with open_wav(io.BytesIO(file.getvalue())) as reader:
        assert wav_format(reader) == AudioFormat(44_100, 3, 2)
    assert seconds(read_wav(file.getvalue())) == pytest.approx(0.25, abs=0.001)


def test_wav_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("This is not a sound at all, but a long enough text")
    for name, reason in (("empty.wav", "not a WAV file"), ("text.wav", "not a WAV file"), ("none.wav", "not exist")):
        with pytest.raises(AudioError, match=reason) as caught:
            read_wav(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(AudioError):
        read_wav(tmp_path)  # a folder


def test_damaged_wav_files_give_audio_or_an_audio_error() -> None:
    file = io.BytesIO()
    write_wav(file, bytes(3200))
    good = file.getvalue()
    chance = random.Random(1)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(good[: chance.randint(0, len(good))] if chance.random() < 0.3 else good)
        for _ in range(chance.randint(1, 4)):
            if damaged:
                damaged[chance.randrange(min(48, len(damaged)))] = chance.choice([0, 1, 128, 255])
        try:
            read_wav(bytes(damaged))
        except AudioError:
            refused += 1
    assert 0 < refused < 3000
