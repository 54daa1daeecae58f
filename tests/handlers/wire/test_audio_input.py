"""Audio and text events as streams: formats, ends, bounds, and readers that leave."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from handlers.audio import BYTES_PER_SECOND, RATE
from handlers.errors import RequestError
from handlers.wire.audio_input import AudioInput
from handlers.wire.text_input import TextInput

SOON = 10.0
"""A deadline that only a defect reaches."""

START = AudioStart(RATE, 2, 1).event()
STOP = AudioStop().event()


def chunk(pcm: bytes, rate: int = RATE, width: int = 2, channels: int = 1) -> Event:
    return AudioChunk(rate, width, channels, pcm).event()


async def heard(audio: AudioInput) -> bytes:
    async with asyncio.timeout(SOON):
        return b"".join([piece async for piece in audio.chunks()])


async def feed(audio: AudioInput, *events: Event) -> None:
    async with asyncio.timeout(SOON):
        for event in events:
            await audio.feed(event)


async def test_audio_from_start_to_stop() -> None:
    audio = AudioInput()
    await feed(audio, START, chunk(b"ab"), chunk(b"cdef"), STOP)
    assert audio.ended
    assert await heard(audio) == b"abcdef"


async def test_audio_that_begins_without_a_start() -> None:
    audio = AudioInput()
    await feed(audio, chunk(b"ab"), STOP)
    assert await heard(audio) == b"ab"


@pytest.mark.parametrize("events", [[STOP], [START, STOP], [START, chunk(b""), STOP]])
async def test_no_audio_at_all_has_an_end(events: list[Event]) -> None:
    audio = AudioInput()
    await feed(audio, *events)
    assert await heard(audio) == b""


async def test_audio_after_the_end_is_dropped() -> None:
    audio = AudioInput()
    await feed(audio, START, chunk(b"ab"), STOP, START, chunk(b"cd"), STOP)
    assert await heard(audio) == b"ab"


async def test_another_format_is_converted_with_its_last_samples() -> None:
    audio = AudioInput()
    rate = 48_000
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype("<i2").repeat(2).tobytes()
    await feed(audio, AudioStart(rate, 2, 2).event())
    for start in range(0, len(tone), 4099):
        await feed(audio, chunk(tone[start : start + 4099], rate, 2, 2))
    await feed(audio, STOP)
    samples = np.frombuffer(await heard(audio), dtype="<i2")
    assert len(samples) == pytest.approx(RATE, abs=2)
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(8000, rel=0.01)


async def test_a_chunk_may_change_the_format_or_leave_it_out() -> None:
    audio = AudioInput()
    loud = np.full(160, 1000, dtype="<i2")
    await feed(
        audio,
        AudioStart(RATE, 2, 2).event(),
        Event("audio-chunk", {}, loud.repeat(2).tobytes()),
        chunk(loud.tobytes(), RATE, 2, 1),
        STOP,
    )
    assert await heard(audio) == loud.tobytes() * 2


@pytest.mark.parametrize(
    ("event", "code", "named"),
    [
        (Event("audio-start"), "bad-event", "'rate'"),
        (Event("audio-chunk", {}, b"ab"), "bad-event", "'rate'"),
        (Event("audio-start", {"rate": "16000", "width": 2, "channels": 1}), "bad-event", "'rate'"),
        (Event("audio-start", {"rate": 16000.0, "width": 2, "channels": 1}), "bad-event", "'rate'"),
        (Event("audio-start", {"rate": 16000, "width": True, "channels": 1}), "bad-event", "'width'"),
        (Event("audio-start", {"rate": 16000, "width": 2, "channels": None}), "bad-event", "'channels'"),
        (Event("audio-start", {"rate": 0, "width": 2, "channels": 1}), "bad-audio-format", "0 Hz"),
        (Event("audio-start", {"rate": 16000, "width": 7, "channels": 1}), "bad-audio-format", "7 bytes"),
        (Event("audio-start", {"rate": 16000, "width": 2, "channels": 10**9}), "bad-audio-format", "channels"),
    ],
)
async def test_a_format_that_cannot_be_is_a_request_error(event: Event, code: str, named: str) -> None:
    audio = AudioInput()
    with pytest.raises(RequestError, match=named) as caught:
        await audio.feed(event)
    assert caught.value.code == code
    await feed(audio, START, chunk(b"ab"), STOP)  # the right one after it
    assert await heard(audio) == b"ab"


async def test_a_reader_who_is_behind_slows_the_sender() -> None:
    audio = AudioInput()
    second = bytes(BYTES_PER_SECOND)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(10):
            await audio.feed(chunk(second))
            sent += 1
        await audio.feed(STOP)

    task = asyncio.create_task(send())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert 3 <= sent <= 5
    assert await heard(audio) == second * 10
    await task
    assert sent == 10


@pytest.mark.parametrize("event", [chunk(bytes(BYTES_PER_SECOND)), STOP])
async def test_a_sender_who_waits_goes_on_when_the_reader_leaves(event: Event) -> None:
    audio = AudioInput()
    await feed(audio, *[chunk(bytes(BYTES_PER_SECOND))] * 4)
    task = asyncio.create_task(audio.feed(event))
    for _ in range(1000):
        await asyncio.sleep(0)
    audio.close()
    async with asyncio.timeout(SOON):
        await task
    await feed(audio, chunk(bytes(BYTES_PER_SECOND)), STOP)
    assert len(await heard(audio)) <= 5 * BYTES_PER_SECOND


async def test_a_large_chunk_of_a_slow_rate_is_converted_in_turns() -> None:
    audio = AudioInput()
    payload = bytes(256 * 1024)
    task = asyncio.create_task(audio.feed(chunk(payload, 4000, 1, 1)))
    turns = read = 0
    async with asyncio.timeout(SOON):
        async for piece in audio.chunks():
            read += len(piece)
            turns += 1
            if task.done():
                break
            await asyncio.sleep(0)
    assert turns >= 8
    assert read <= len(payload) * 8


async def test_a_reader_that_waits_is_told_of_the_end() -> None:
    audio = AudioInput()
    task = asyncio.create_task(heard(audio))
    await asyncio.sleep(0)
    audio.close()
    assert await task == b""


async def test_text_comes_as_it_is_put_and_ends() -> None:
    text = TextInput(100)
    task = asyncio.create_task(collect(text))
    for piece in ("One. ", "", "Two."):
        text.put(piece)
        await asyncio.sleep(0)
    text.end()
    text.end()
    text.put("Too late.")
    assert await task == ["One. ", "Two."]
    assert await collect(text) == []


async def test_a_text_that_becomes_too_long_is_refused_once_and_what_came_is_kept() -> None:
    text = TextInput(10)
    text.put("12345")
    with pytest.raises(RequestError, match="over 10 characters") as caught:
        text.put("1234567")
    assert caught.value.code == "text-too-long"
    text.put("more")
    assert await collect(text) == ["12345"]


async def test_a_second_reader_takes_over() -> None:
    text = TextInput(100)
    for piece in "abc":
        text.put(piece)
    text.end()
    first = text.pieces()
    assert await anext(first) == "a"
    assert await collect(text) == ["b", "c"]


async def collect(text: TextInput) -> list[str]:
    async with asyncio.timeout(SOON):
        return [piece async for piece in text.pieces()]
