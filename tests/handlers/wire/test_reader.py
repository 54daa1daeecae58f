"""The reader on its own; what it refuses is proved over a real socket in tests/server/test_wyoming.py."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from wyoming.audio import AudioChunk
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.tts import Synthesize

from handlers.errors import ProtocolError
from handlers.wire.reader import EventReader, IdleError, Limits
from handlers.wire.writer import encode

EVENTS = [
    Event("describe"),
    Event("ping", {"text": "a line\nof its own, ünïcode, 😀"}),
    AudioChunk(rate=16000, width=2, channels=1, audio=bytes(range(256)) * 8).event(),
    Synthesize(text="x" * 100_000).event(),
    Event("no-data-but-payload", {}, b"\n\n{}\n"),
]


async def _pair() -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter], asyncio.StreamWriter]:
    here, there = socket.socketpair()
    reading = await asyncio.open_connection(sock=here, limit=Limits().header)
    _, writer = await asyncio.open_connection(sock=there)
    return reading, writer


async def _read_all(reader: EventReader) -> list[Event]:
    found = []
    while (event := await reader.read()) is not None:
        found.append(event)
    return found


async def test_reads_what_the_library_writes() -> None:
    (stream, own), writer = await _pair()
    reading = asyncio.create_task(_read_all(EventReader(stream)))
    for event in EVENTS:
        await async_write_event(event, writer)
    writer.close()
    assert await reading == EVENTS
    own.close()


async def test_the_library_reads_what_we_write() -> None:
    (stream, own), writer = await _pair()
    for event in EVENTS:
        writer.write(encode(event))
        assert await async_read_event(stream) == event
    writer.close()
    own.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_events_may_be_cut_anywhere(size: int) -> None:
    stream = asyncio.StreamReader(limit=Limits().header)
    reader = EventReader(stream)
    wire = b"".join(encode(event) for event in EVENTS if len(event.data.get("text", "")) < 1000)
    reading = asyncio.create_task(_read_all(reader))
    for start in range(0, len(wire), size):
        stream.feed_data(wire[start : start + size])
        await asyncio.sleep(0)
    stream.feed_eof()
    assert [event.type for event in await reading] == ["describe", "ping", "audio-chunk", "no-data-but-payload"]


async def test_the_block_is_merged_over_the_inline_data() -> None:
    block = b'{"b": 3, "c": 4}'
    stream = asyncio.StreamReader()
    stream.feed_data(
        json.dumps({"type": "x", "data": {"a": 1, "b": 2}, "data_length": len(block)}).encode() + b"\n" + block
    )
    event = await EventReader(stream).read()
    assert event == Event("x", {"a": 1, "b": 3, "c": 4})


async def test_reading_goes_on_after_an_idle_deadline() -> None:
    stream = asyncio.StreamReader()
    reader = EventReader(stream)
    with pytest.raises(IdleError):
        await reader.read(idle=0.01)
    stream.feed_data(b'{"type":"describe"}\n')
    assert await reader.read(idle=0.01) == Event("describe")


async def test_a_timeout_of_the_socket_is_not_taken_for_idleness() -> None:
    """Keep-alive ends a dead connection with ETIMEDOUT, which Python raises as TimeoutError too."""
    stream = asyncio.StreamReader()
    stream.set_exception(TimeoutError(110, "Connection timed out"))
    with pytest.raises(TimeoutError, match="Connection timed out"):
        await EventReader(stream).read(idle=60)


async def test_nesting_is_bounded_exactly() -> None:
    async def read(depth: int) -> Event | None:
        stream = asyncio.StreamReader()
        inner = "[" * (depth - 2) + "]" * (depth - 2)  # inside the header and its data
        stream.feed_data(f'{{"type":"x","data":{{"a":{inner}}}}}\n'.encode())
        return await EventReader(stream, Limits(nesting=8)).read()

    assert (await read(8)) is not None
    with pytest.raises(ProtocolError, match="deeper than 8"):
        await read(9)


def test_half_a_surrogate_pair_never_breaks_writing() -> None:
    assert json.loads(encode(Event("ping", {"text": "a\ud800b"})).split(b"\n")[1]) == {"text": "a?b"}
