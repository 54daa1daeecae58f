"""The Wyoming service `wake` over a real socket: when it is told to begin anew, and when it cannot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.wake import Detect

from handlers.wake.handler import WakeHandler
from handlers.wake.openwakeword import OpenWakeWordEngine
from handlers.wake.stage import WakeSettings
from handlers.wire.client import WyomingClient
from handlers.workers import Workers
from tests.support.server import read_until
from tests.support.serving import served
from tests.support.speech import Speaker, silence

START = AudioStart(16_000, 2, 1).event()
STOP = AudioStop().event()
SOON = 10.0
"""A deadline that only a defect reaches."""


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers("wake", threads=1, waiting=0)
    yield made
    await made.close()


@pytest.fixture
async def client(workers: Workers) -> AsyncIterator[WyomingClient]:
    engine = OpenWakeWordEngine()
    async with served(lambda connection: [WakeHandler(connection, engine, workers, WakeSettings())]) as connected:
        yield connected


async def send(client: WyomingClient, *events: Event) -> None:
    for event in events:
        await client.send(event)


def audio(pcm: bytes) -> list[Event]:
    return [AudioChunk(16_000, 2, 1, pcm[start : start + 4096]).event() for start in range(0, len(pcm), 4096)]


async def types(client: WyomingClient, last: str) -> list[str]:
    return [event.type for event in await read_until(client, last)]


async def test_a_new_detect_drops_the_audio_before_it(client: WyomingClient, speaker: Speaker) -> None:
    await send(client, Detect(["alexa"]).event(), START, *audio(silence(1)))
    await send(client, Detect(["hey_jarvis"]).event(), START, *audio(speaker.say("Hey Jarvis!") + silence(1)), STOP)
    events = await read_until(client, "detection")
    assert [event.type for event in events] == ["detection"]  # no 'not-detected' of the first
    assert events[0].data["name"] == "hey_jarvis"


async def test_audio_after_audio_is_heard_from_its_beginning(client: WyomingClient, speaker: Speaker) -> None:
    await send(client, Detect(["alexa"]).event(), START, *audio(silence(0.5)), STOP)
    assert await types(client, "not-detected") == ["not-detected"]
    await send(client, START, *audio(silence(0.5) + speaker.say("Alexa!") + silence(1)), STOP)
    event = (await read_until(client, "detection"))[-1]
    assert 500 < event.data["timestamp"] < 2000


async def test_when_no_worker_is_free_it_says_so_and_the_connection_lives(
    client: WyomingClient, workers: Workers
) -> None:
    free = threading.Event()
    other = asyncio.create_task(workers.run(lambda: free.wait(SOON)))
    try:
        await send(client, Detect().event(), START)
        await read_until(client, "error")
        await send(client, *audio(silence(8)))  # more than the connection keeps for a reader
        await send(client, Event("describe"))
        assert await types(client, "info") == ["info"]
    finally:
        free.set()
        await other


async def test_a_format_that_cannot_be_is_one_error(client: WyomingClient) -> None:
    wrong = [AudioChunk(16_000, 7, 1, bytes(700)).event()] * 5
    await send(client, Detect(["alexa"]).event(), AudioStart(16_000, 7, 1).event(), *wrong, STOP, START, STOP)
    assert await types(client, "not-detected") == ["error", "not-detected"]
