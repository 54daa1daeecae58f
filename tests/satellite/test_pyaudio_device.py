"""Microphone and speaker through the real PyAudio, on a virtual sound card."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from handlers.audio import RATE, AudioFormat, Converter, read_wav, write_wav
from handlers.errors import AudioError
from handlers.wake.openwakeword import OpenWakeWordEngine
from satellite.ears import Microphone
from satellite.front_end import FrontEndSettings, open_front_end
from satellite.pieces import PIECE_BYTES, PIECE_SECONDS
from satellite.pyaudio_device import Inputs
from satellite.sink import open_sink
from satellite.source import Source, open_source
from tests.satellite.virtual_audio import SPEAKER_RATE, VirtualAudio
from tests.support.speech import Speaker, likeness, silence

VOICE = AudioFormat(SPEAKER_RATE)

ABORTS = 4
"""Tries: one that is late by a tenth of a second on a busy machine says nothing of the sink."""

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


async def test_a_lost_speaker_is_an_error_and_the_next_answer_opens_it_again(virtual_audio: VirtualAudio) -> None:
    sink = await open_sink("default")
    await sink.start(VOICE)
    virtual_audio.stop()
    async with asyncio.timeout(60):
        with pytest.raises(AudioError, match="speaker"):
            await for_ever(lambda: sink.write(noise(0.5)))
        with pytest.raises(AudioError, match="speaker"):
            await sink.start(VOICE)
        virtual_audio.start()
        await sink.start(VOICE)
        await sink.write(noise(0.5))
        await sink.drain()
    assert sink.played == pytest.approx(0.5, abs=0.001)
    await sink.close()


async def test_a_speaker_whose_sound_server_comes_later_is_waited_for(virtual_audio: VirtualAudio) -> None:
    virtual_audio.stop()
    sink = await open_sink("default", patient=True)
    with pytest.raises(AudioError, match="sound server"):
        await sink.start(VOICE)
    virtual_audio.start()
    await sink.start(VOICE)
    await sink.write(noise(0.1))
    await sink.drain()
    assert sink.played == pytest.approx(0.1, abs=0.001)
    await sink.close()


async def listen_for(source: Source, seconds: float) -> bytes:
    return b"".join([await source.read() for _ in range(int(seconds / PIECE_SECONDS))])


async def until_back(changes: asyncio.Queue[bool]) -> None:
    async with asyncio.timeout(60):
        assert await changes.get() is False
        assert await changes.get() is True


async def test_a_microphone_is_back_after_the_sound_server_was_restarted(
    virtual_audio: VirtualAudio, speaker: Speaker, wav: Callable[[bytes], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "satellite")
    changes: asyncio.Queue[bool] = asyncio.Queue()
    source = await open_source("default", changed=changes.put_nowait)
    await source.read()
    virtual_audio.stop()
    virtual_audio.start()
    await until_back(changes)
    spoken = speaker.say("Are you still there?")
    saying = asyncio.create_task(asyncio.to_thread(virtual_audio.say, wav(spoken + silence(0.3))))
    heard = b""
    async with asyncio.timeout(60):
        while not saying.done():
            heard += await source.read()
        heard += await listen_for(source, 0.5)
    await source.close()
    assert likeness(heard, spoken) >= ENOUGH
    assert [record.message.split(" (")[0] for record in caplog.records if record.levelno >= logging.INFO] == [
        "The microphone 'default' is gone",
        "The microphone 'default' is there",
    ]


async def test_a_sound_server_that_hangs_is_noticed_within_two_seconds(virtual_audio: VirtualAudio) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    source = await open_source("default", changed=changes.put_nowait)
    await source.read()
    loop = asyncio.get_running_loop()
    virtual_audio.hang()
    since = loop.time()
    async with asyncio.timeout(60):
        assert await changes.get() is False
        assert loop.time() - since <= 2.0
        virtual_audio.go_on()
        assert await changes.get() is True
        assert await source.read()
    await source.close()


@pytest.mark.parametrize("wanted", ["blue", "1"])
async def test_a_device_is_found_again_under_another_number(virtual_audio: VirtualAudio, wanted: str) -> None:
    virtual_audio.plug("green", "blue")
    changes: asyncio.Queue[bool] = asyncio.Queue()
    source = await open_source(wanted, changed=changes.put_nowait)
    await source.read()
    assert source.name == "blue"
    virtual_audio.stop()
    virtual_audio.plug("red", "yellow", "green", "blue")
    virtual_audio.start()
    await until_back(changes)
    assert source.name == "blue"
    await source.close()


async def test_the_chosen_channel_is_heard(virtual_audio: VirtualAudio, speaker: Speaker, tmp_path: Path) -> None:
    spoken = speaker.say("What time is it in the kitchen?")
    said = np.frombuffer(spoken + silence(0.3), dtype="<i2")
    other = np.random.default_rng(3).standard_normal(len(said)) * 8000
    write_wav(tmp_path / "s.wav", np.stack([other.astype("<i2"), said], axis=1).tobytes(), AudioFormat(16_000, 2, 2))
    heard = {}
    with virtual_audio.stereo():
        for channel in (None, 1, 2):
            source = await open_source("default", channel=channel)
            await source.read()
            saying = asyncio.create_task(asyncio.to_thread(virtual_audio.say, tmp_path / "s.wav", "stereo_feed"))
            heard[channel] = b""
            while not saying.done():
                heard[channel] += await source.read()
            heard[channel] += await listen_for(source, 0.5)
            await source.close()
    alike = {channel: likeness(pcm, spoken) for channel, pcm in heard.items()}
    assert alike[1] < alike[None] < alike[2]
    assert alike[2] >= ENOUGH


async def test_a_channel_that_the_microphone_has_not_is_an_error(virtual_audio: VirtualAudio) -> None:
    with pytest.raises(AudioError, match="no channel 99"):
        await open_source("default", channel=99)


async def test_after_an_abort_it_is_silent_within_a_tenth_of_a_second(
    virtual_audio: VirtualAudio, tmp_path: Path
) -> None:
    async def abort() -> bool:
        sink = await open_sink("default")
        with virtual_audio.record(tmp_path / "r.wav"):
            await sink.start(VOICE)
            await sink.write(noise(2.0))
            heard = sink.played  # the moment of the abort, by what was heard until then
            await sink.abort()
        await sink.close()
        return 1.5 < heard < 2.0 and _sounded(tmp_path / "r.wav") <= heard + 0.1

    assert await _once_of(ABORTS, abort)


async def test_an_abort_silences_the_last_sound_too(virtual_audio: VirtualAudio, tmp_path: Path) -> None:
    async def abort() -> bool:
        sink = await open_sink("default")
        with virtual_audio.record(tmp_path / "r.wav"):
            await sink.start(VOICE)
            await sink.write(noise(1.0))
            draining = asyncio.create_task(sink.drain())
            await asyncio.sleep(0)  # it has begun, and nearly 0.2 s are in the buffer
            draining.cancel()
            await sink.abort()
        heard = sink.played
        await sink.close()
        return heard < 0.95 and _sounded(tmp_path / "r.wav") <= heard + 0.1

    assert await _once_of(ABORTS, abort)


def _sounded(path: Path) -> float:
    """Seconds from the first sound in a recording to the last."""
    recorded = np.abs(np.frombuffer(read_wav(path), dtype="<i2").astype(np.int64))
    loud = np.flatnonzero(recorded > 200)
    return float(loud[-1] - loud[0]) / RATE


async def _once_of(tries: int, attempt: Callable[[], Awaitable[bool]]) -> bool:
    """Whether one of several attempts succeeds: the virtual sound card of a busy machine stutters and comes late."""
    for _ in range(tries):
        if await attempt():
            return True
    return False


async def test_what_does_not_open_holds_no_device(virtual_audio: VirtualAudio) -> None:
    virtual_audio.plug("green")
    sink = await open_sink("default")
    with pytest.raises(AudioError, match="width"):
        await sink.start(AudioFormat(SPEAKER_RATE, 7, 1))
    with pytest.raises(AudioError, match="Channel"):
        await asyncio.to_thread(Inputs("default", channel=0).open)
    virtual_audio.plug("red")  # seen only while nothing is open
    await (await open_sink("red")).close()


async def test_the_wake_word_is_heard_over_the_satellites_own_voice(
    virtual_audio: VirtualAudio, speaker: Speaker, wav: Callable[[bytes], Path]
) -> None:
    answer = speaker.say(
        "The weather will be mostly sunny today, and in the evening you can expect a light wind from the west. "
        "Tomorrow there may be some rain in the morning, but it should clear up by noon."
    )
    word = np.frombuffer(speaker.say("Hey Jarvis!"), dtype="<i2").astype(np.float32) / 3  # from across the room
    question = wav(word.astype("<i2").tobytes())
    front_end = open_front_end(FrontEndSettings())
    source = await open_source("default", changed=lambda present: front_end.reset())
    sink = await open_sink("default", tap=front_end.reference)
    words = OpenWakeWordEngine()

    async def answer_and_interrupt() -> tuple[bytes, bytes]:
        """What the microphone heard of both, and what the front end made of it."""
        raw, clean = b"", b""
        under_way = asyncio.Event()

        async def speak() -> None:
            await sink.start(AudioFormat())
            await sink.write(answer)
            await sink.drain()

        async def interrupt() -> None:
            await under_way.wait()
            await asyncio.to_thread(virtual_audio.say, question)

        both = asyncio.gather(speak(), interrupt())
        while not both.done():
            piece = await source.read()
            raw += piece
            clean += front_end.process(piece)
            if sink.played >= 3.0:
                under_way.set()
        await both
        return raw, clean

    with virtual_audio.echo(100):
        front_end.process(await listen_for(source, 0.5))
        for _ in range(4):  # on a busy machine the virtual sound card stumbles
            raw, clean = await answer_and_interrupt()
            heard = words.detector({"hey_jarvis": 0.5}).process(clean)
            if heard:
                break
    await source.close()
    await sink.close()
    assert heard
    assert not words.detector({"hey_jarvis": 0.5}).process(raw)


async def test_a_speaker_that_was_plugged_in_later_is_found_when_the_microphone_is_opened_anew(
    virtual_audio: VirtualAudio,
) -> None:
    virtual_audio.plug("green")
    source, sink = await open_source("default"), await open_sink("green")
    assert isinstance(source, Microphone)
    await source.read()
    virtual_audio.plug("red", "green")
    await source.refresh()
    async with asyncio.timeout(30):
        await source.read()
    await sink.start(VOICE)
    await sink.write(noise(0.1))
    await sink.drain()
    await sink.close()
    await source.close()


async def test_a_speaker_that_comes_later_is_found_by_an_answer(
    virtual_audio: VirtualAudio, caplog: pytest.LogCaptureFixture
) -> None:
    source = await open_source("default")
    assert isinstance(source, Microphone)
    await source.read()
    refreshed = []

    async def refresh() -> None:
        refreshed.append(True)
        await source.refresh()

    with pytest.raises(AudioError, match="no speaker 'green'"):
        await open_sink("green", refresh=refresh)
    sink = await open_sink("green", refresh=refresh, patient=True)
    assert "no speaker 'green'" in caplog.text
    async with asyncio.timeout(60):
        with pytest.raises(AudioError, match="no speaker 'green'"):
            await sink.start(VOICE)
        await source.read()
        virtual_audio.plug("green")
        await sink.start(VOICE)
        await sink.write(noise(0.1))
        await sink.drain()
        await source.read()
    assert len(refreshed) == 2  # once for each answer
    await sink.close()
    await source.close()


async def test_the_sound_library_keeps_out_of_our_output(
    virtual_audio: VirtualAudio, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "satellite")
    changes: asyncio.Queue[bool] = asyncio.Queue()
    source, sink = await open_source("default", changed=changes.put_nowait), await open_sink("default")
    await source.read()
    os.write(2, b"ours\n")
    virtual_audio.stop()
    assert await changes.get() is False
    with pytest.raises(AudioError):
        await sink.start(VOICE)
    os.write(2, b"in two")
    os.write(2, b" parts\n")
    await source.close()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr() == ("", "ours\nin two parts\nafterwards\n")
    assert any("sound library: ALSA lib" in record.message for record in caplog.records)


async def test_a_device_may_be_chosen_by_number_or_part_of_its_name(virtual_audio: VirtualAudio) -> None:
    for wanted in ("0", "DEFAU"):
        source = await open_source(wanted)
        assert source.is_live
        assert source.name == "default"
        assert len(await source.read()) == PIECE_BYTES
        await source.close()
