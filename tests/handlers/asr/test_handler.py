"""The Wyoming service `asr` over a real socket: what a client does wrong, or no longer wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from handlers.asr.handler import AsrHandler
from handlers.asr.recognizer import Recognizer
from handlers.asr.silero import Silero
from handlers.asr.stage import AsrSettings
from handlers.asr.whisper import WhisperTranscriber
from handlers.wire.client import WyomingClient
from tests.support.server import read_until
from tests.support.serving import served
from tests.support.speech import Speaker, silence

START = AudioStart(16_000, 2, 1).event()
STOP = AudioStop().event()
TRANSCRIPT = ["transcript-start", "transcript-chunk", "transcript", "transcript-stop"]


@pytest.fixture
async def client(whisper: WhisperTranscriber, silero: Silero) -> AsyncIterator[WyomingClient]:
    recognizer = Recognizer(whisper, silero, AsrSettings())
    async with served(lambda connection: [AsrHandler(connection, recognizer)]) as connected:
        yield connected


def audio(pcm: bytes, size: int = 4096) -> list[Event]:
    return [AudioChunk(16_000, 2, 1, pcm[start : start + size]).event() for start in range(0, len(pcm), size)]


async def send(client: WyomingClient, *events: Event) -> None:
    for event in events:
        await client.send(event)


async def transcript(client: WyomingClient) -> tuple[list[str], str]:
    """The types of the events up to a transcript's end, and the text."""
    events = await read_until(client, "transcript-stop")
    return [event.type for event in events], events[-2].data["text"].lower()


async def test_audio_without_a_transcribe_before_it(client: WyomingClient, speaker: Speaker) -> None:
    await send(client, *audio(speaker.say("What time is it?")), STOP)
    types, text = await transcript(client)
    assert types == TRANSCRIPT
    assert "what time is it" in text


async def test_a_format_that_cannot_be_is_one_error_and_the_next_audio_is_heard(
    client: WyomingClient, speaker: Speaker
) -> None:
    wrong = [AudioChunk(16_000, 7, 1, bytes(700)).event()] * 5
    await send(client, Transcribe().event(), AudioStart(16_000, 7, 1).event(), *wrong, STOP)
    await send(client, START, *audio(speaker.say("What time is it?")), STOP)
    types, text = await transcript(client)
    assert types == ["error", *TRANSCRIPT]
    assert "what time is it" in text


async def test_a_new_request_drops_the_utterance_before_it(client: WyomingClient, speaker: Speaker) -> None:
    await send(client, Transcribe().event(), START, *audio(speaker.say("Turn on the kitchen light.")))
    await send(client, Transcribe().event(), START, *audio(speaker.say("What time is it?")), STOP)
    await send(client, Event("ping", {"text": "last"}))
    events = await read_until(client, "transcript-stop")
    texts = [event.data["text"].lower() for event in events if event.type == "transcript"]
    assert len(texts) == 1
    assert "what time is it" in texts[0]


async def test_two_requests_that_are_whole_are_both_answered(client: WyomingClient, speaker: Speaker) -> None:
    for said in ("Turn on the kitchen light.", "What time is it?"):
        await send(client, Transcribe().event(), START, *audio(speaker.say(said)), STOP)
    answers = [await transcript(client) for _ in range(2)]
    assert ["kitchen" in text for _, text in answers] == [True, False]


async def test_audio_that_nobody_needs_does_not_stop_the_connection(client: WyomingClient, speaker: Speaker) -> None:
    # More than the connection keeps, after an utterance that has ended, and in a format of its own.
    await send(client, START, *audio(speaker.say("What time is it?")), STOP)
    await send(client, *[AudioChunk(8_000, 1, 1, bytes(100_000)).event()] * 10)
    assert "what time" in (await transcript(client))[1]
    await send(client, Event("describe"))
    await read_until(client, "info")


async def test_half_a_minute_in_one_event(client: WyomingClient, speaker: Speaker) -> None:
    pcm = silence(13) + speaker.say("What time is it?") + silence(13)
    await send(client, START, *audio(pcm, 1024 * 1024), STOP)
    assert "what time is it" in (await transcript(client))[1]


async def test_somebody_is_attended_to_from_the_first_audio_to_the_transcript(
    whisper: WhisperTranscriber, silero: Silero, speaker: Speaker
) -> None:
    """Home Assistant asks for each service alone: the memory's work must not begin between two words."""
    seen: list[str] = []
    begun = asyncio.Event()

    @contextlib.contextmanager
    def attending() -> Iterator[None]:
        seen.append("begun")
        begun.set()
        yield
        seen.append("ended")

    recognizer = Recognizer(whisper, silero, AsrSettings())
    async with (
        served(lambda connection: [AsrHandler(connection, recognizer, attending=attending)]) as client,
        asyncio.timeout(60),
    ):
        await send(client, Transcribe().event())
        assert seen == []
        await send(client, START, *audio(silence(0.1)))
        await begun.wait()
        assert seen == ["begun"]
        await send(client, *audio(speaker.say("What time is it?")), STOP)
        await transcript(client)
        assert seen == ["begun", "ended"]
