from __future__ import annotations

import os
import wave
from pathlib import Path

import pytest

from handlers.audio import AudioFormat, Converter
from handlers.errors import AudioError
from satellite.sink import NoSink, StandardOutput, WavSink, open_sink
from tests.satellite.peer import ANSWER_AUDIO

VOICE = AudioFormat(22_050)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def frames(path: Path) -> bytes:
    with wave.open(str(path), "rb") as reader:
        assert (reader.getframerate(), reader.getsampwidth(), reader.getnchannels()) == (22_050, 2, 1)
        return reader.readframes(reader.getnframes())


async def test_a_wav_file_appears_when_the_answer_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sink = await open_sink(str(path))
    await sink.start(VOICE)
    await sink.write(ANSWER_AUDIO[:1000])
    assert not path.exists()
    await sink.write(ANSWER_AUDIO[1000:])
    assert sink.played == pytest.approx(len(ANSWER_AUDIO) / 44_100)
    await sink.drain()
    assert frames(path) == ANSWER_AUDIO
    assert names(tmp_path) == ["a.wav"]


async def test_an_aborted_answer_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sink = WavSink(path)
    for pcm in (ANSWER_AUDIO, b"\1\0" * 100):
        await sink.start(VOICE)
        await sink.write(pcm)
        if pcm is ANSWER_AUDIO:
            await sink.drain()
    await sink.abort()
    assert frames(path) == ANSWER_AUDIO
    assert names(tmp_path) == ["a.wav"]


async def test_closing_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    sink = WavSink(tmp_path / "a.wav")
    await sink.start(VOICE)
    await sink.write(ANSWER_AUDIO)
    await sink.close()
    assert names(tmp_path) == []


async def test_an_answer_without_audio_is_no_file(tmp_path: Path) -> None:
    sink = WavSink(tmp_path / "a.wav")
    await sink.start(VOICE)
    await sink.drain()
    assert names(tmp_path) == []


async def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    for path in (tmp_path / "nowhere" / "a.wav", tmp_path / "folder.wav"):
        with pytest.raises(AudioError, match="cannot be written"):
            await open_sink(str(path))


async def test_standard_output_is_raw_internal_audio() -> None:
    reading, writing = os.pipe()
    sink = StandardOutput(writing)
    await sink.start(VOICE)
    await sink.write(ANSWER_AUDIO)
    await sink.drain()
    os.close(writing)
    got = os.read(reading, 65_536)
    os.close(reading)
    converter = Converter(VOICE)
    assert got == converter.convert(ANSWER_AUDIO) + converter.flush()


async def test_standard_output_that_nobody_reads_is_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = StandardOutput(writing)
    await sink.start(AudioFormat())
    with pytest.raises(AudioError, match="Nobody"):
        await sink.write(ANSWER_AUDIO)
    os.close(writing)


async def test_none_counts_what_would_have_been_heard() -> None:
    sink = await open_sink("none")
    assert isinstance(sink, NoSink)
    await sink.start(VOICE)
    await sink.write(ANSWER_AUDIO)
    await sink.drain()
    assert sink.played == pytest.approx(len(ANSWER_AUDIO) / 44_100)
