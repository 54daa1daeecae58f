"""Microphone and speaker through the real PyAudio, on a virtual sound card."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from handlers.audio import AudioFormat, Converter, read_wav
from handlers.errors import AudioError
from satellite.sink import open_sink
from satellite.source import PIECE_BYTES, open_source
from tests.satellite.virtual_audio import SPEAKER_RATE, VirtualAudio
from tests.support.speech import Speaker, likeness, silence

VOICE = AudioFormat(SPEAKER_RATE)

ENOUGH = 0.7
"""Correlation from which two sounds are the same; a busy machine loses a block now and then."""


def noise(seconds: float) -> bytes:
    """Noise at the voice's rate, no two parts of which are alike."""
    samples = np.random.default_rng(7).standard_normal(int(seconds * SPEAKER_RATE)) * 4000
    return samples.astype("<i2").tobytes()


def internal(pcm: bytes) -> bytes:
    converter = Converter(VOICE)
    return converter.convert(pcm) + converter.flush()


async def for_ever(work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await work()


async def test_the_microphone_hears_what_is_said(
    virtual_audio: VirtualAudio, speaker: Speaker, wav: Callable[[bytes], Path]
) -> None:
    spoken = speaker.say("What time is it in the kitchen?")
    source = await open_source("default")
    await source.read()  # it runs
    saying = asyncio.create_task(asyncio.to_thread(virtual_audio.say, wav(spoken + silence(0.3))))
    pieces = []
    while not saying.done():
        pieces.append(await source.read())
    pieces += [await source.read() for _ in range(25)]  # what is still on its way
    await saying
    await source.close()
    assert {len(piece) for piece in pieces} == {PIECE_BYTES}
    assert likeness(b"".join(pieces), spoken) >= ENOUGH


async def test_the_speaker_plays_all_of_an_answer(virtual_audio: VirtualAudio, tmp_path: Path) -> None:
    played = noise(1.5)
    sink = await open_sink("default")
    with virtual_audio.record(tmp_path / "r.wav"):
        await sink.start(VOICE)
        for start in range(0, len(played), 2048):
            await sink.write(played[start : start + 2048])
        heard = sink.played
        await sink.drain()
        assert sink.played == pytest.approx(1.5, abs=0.001)
    await sink.close()
    assert 0 < heard < 1.5  # the rest was in the buffers
    recorded = read_wav(tmp_path / "r.wav")
    assert likeness(recorded, internal(played)) >= ENOUGH
    assert likeness(recorded, internal(played)[-6400:]) >= ENOUGH  # the last 0.2 s
    assert likeness(recorded, internal(played)[-1600:]) >= ENOUGH  # and its end, which is a quarter of that


async def test_an_answer_shorter_than_the_buffer_is_played(virtual_audio: VirtualAudio, tmp_path: Path) -> None:
    played = noise(0.05)
    sink = await open_sink("default")
    with virtual_audio.record(tmp_path / "r.wav"):
        await sink.start(VOICE)
        await sink.write(played)
        await sink.drain()
    await sink.close()
    assert likeness(read_wav(tmp_path / "r.wav"), internal(played)) >= ENOUGH


async def test_an_aborted_answer_stops(virtual_audio: VirtualAudio, tmp_path: Path) -> None:
    played = noise(3.0)
    sink = await open_sink("default")
    with virtual_audio.record(tmp_path / "r.wav"):
        await sink.start(VOICE)
        await sink.write(played[: SPEAKER_RATE * 2])
        writing = asyncio.create_task(sink.write(played[SPEAKER_RATE * 2 :]))
        await asyncio.sleep(0)
        writing.cancel()
        await sink.abort()
    assert 0 < sink.played < 3.0
    await sink.close()
    assert likeness(read_wav(tmp_path / "r.wav"), internal(played)[-32_000:]) < ENOUGH


async def test_the_speaker_takes_a_voice_of_any_format(virtual_audio: VirtualAudio, tmp_path: Path) -> None:
    mono = np.frombuffer(noise(0.5), dtype="<i2").astype("<i4") << 16
    sink = await open_sink("default")
    with virtual_audio.record(tmp_path / "r.wav"):
        await sink.start(AudioFormat(SPEAKER_RATE, 4, 2))
        await sink.write(np.repeat(mono, 2).tobytes())
        await sink.drain()
    await sink.close()
    assert likeness(read_wav(tmp_path / "r.wav"), internal(noise(0.5))) >= ENOUGH


@pytest.mark.parametrize("wanted", ["blue microphone", "4711"])
async def test_an_unknown_device_is_an_error_that_names_those_there_are(
    virtual_audio: VirtualAudio, wanted: str
) -> None:
    for opening in (open_source(wanted), open_sink(wanted)):
        with pytest.raises(AudioError, match=re.escape(f"'{wanted}'; choose one of 0 (")) as caught:
            await opening
        assert caught.value.exit_code == 2


async def test_no_sound_card_is_an_error(virtual_audio: VirtualAudio) -> None:
    virtual_audio.stop()
    for opening in (open_source("default"), open_sink("default")):
        with pytest.raises(AudioError, match="sound server"):
            await opening


async def test_a_lost_microphone_and_speaker_are_errors_and_open_again(virtual_audio: VirtualAudio) -> None:
    source, sink = await open_source("default"), await open_sink("default")
    await source.read()
    await sink.start(VOICE)
    virtual_audio.stop()
    async with asyncio.timeout(60):
        with pytest.raises(AudioError, match="microphone"):
            await for_ever(source.read)
        with pytest.raises(AudioError, match="speaker"):
            await for_ever(lambda: sink.write(noise(0.5)))
        await sink.close()
        await source.close()
        virtual_audio.start()
        source = await open_source("default")
        assert await source.read()
        await source.close()


async def test_the_sound_library_keeps_out_of_our_output(
    virtual_audio: VirtualAudio, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "satellite")
    source, sink = await open_source("default"), await open_sink("default")
    await sink.start(VOICE)
    await sink.drain()
    await source.close()
    assert capfd.readouterr() == ("", "")
    assert any("sound library" in record.message for record in caplog.records)


async def test_a_device_may_be_chosen_by_number_or_part_of_its_name(virtual_audio: VirtualAudio) -> None:
    for wanted in ("0", "DEFAU"):
        source = await open_source(wanted)
        assert source.is_live
        assert source.name == "default"
        assert len(await source.read()) == PIECE_BYTES
        await source.close()
