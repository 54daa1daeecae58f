"""Scripted Wyoming servers for the benchmarks. Their clock is the audio that they have heard, which comes in real time,
so that no event can come before its moment and nothing sleeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop
from wyoming.info import AsrModel, AsrProgram, Attribution, Info
from wyoming.vad import VoiceStopped

from handlers.audio import RATE, from_float
from tests.satellite.peer import PeerConnection, Script

_NOBODY = Attribution(name="", url="")
_MODEL = AsrModel(name="m", attribution=_NOBODY, installed=True, description=None, version=None, languages=["en"])
INFO = Info(
    asr=[
        AsrProgram(name="scripted", attribution=_NOBODY, installed=True, description=None, version="1", models=[_MODEL])
    ]
).event()


def sounds(lead: float, loud: float, tail: float) -> bytes:
    """Internal audio: faint noise, a tone, faint noise; lengths in seconds."""
    samples = np.random.default_rng(1).normal(0.0, 0.001, int((lead + loud + tail) * RATE)).astype(np.float32)
    start, end = int(lead * RATE), int((lead + loud) * RATE)
    samples[start:end] += 0.3 * np.sin(np.arange(end - start) * (2 * np.pi * 300 / RATE)).astype(np.float32)
    return from_float(samples)


def answer_audio(length: float) -> list[Event]:
    """A spoken answer at 22050 Hz, in two chunks."""
    half = bytes(2 * int(22050 * length / 2))
    chunk = AudioChunk(rate=22050, width=2, channels=1, audio=half).event()
    return [AudioStart(rate=22050, width=2, channels=1).event(), chunk, chunk]


def pipeline(
    transcript_at: float,
    text_at: float,
    audio_at: float,
    *,
    text: str = "what time is it",
    marks: dict[str, float] | None = None,
) -> Script:
    """A Meadowlark server that answers after so many seconds of audio, and speaks for anyone who asks."""

    async def script(connection: PeerConnection) -> None:
        request = await connection.receive()
        if request is None:
            return
        if request.type == "describe":
            await connection.send(INFO)
            return
        if request.type == "synthesize":
            await connection.send(*_spoken(sounds(0.1, 0.3, 0.1)), AudioStop().event())
            return
        await connection.receive_audio(transcript_at)
        await connection.send(VoiceStopped().event(), Transcript(text=text).event(), HandledStart().event())
        await connection.receive_audio(text_at)
        await connection.send(HandledChunk(text="It is noon.").event())
        await connection.receive_audio(audio_at)
        start, first, last = answer_audio(0.5)
        await connection.send(start, first, HandledStop().event(), Handled(text="It is noon.").event())
        await connection.receive_until("audio-stop")  # the client has heard the first audio
        timeline = {"turn_id": "t", "route": "time", "outcome": "completed", "marks_ms": marks or {}}
        await connection.send(last, Event(type="audio-stop", data={"timeline": timeline}))

    return script


def replying(*events: Event, after: float = 0.0) -> Script:
    """A server that sends these events after so much audio, then keeps silent until the client leaves."""

    async def script(connection: PeerConnection) -> None:
        request = await connection.receive()
        if request is not None and request.type == "describe":
            await connection.send(INFO)
            return
        await connection.receive_audio(after)
        await connection.send(*events)
        await connection.receive_until("never")

    return script


def asr(text: str, *, after: float | None) -> Script:
    """Speech to text that ends the turn itself after so much audio, or waits for `audio-stop`."""

    async def script(connection: PeerConnection) -> None:
        request = await connection.receive()
        if request is not None and request.type == "describe":
            await connection.send(INFO)
            return
        if after is None:
            await connection.receive_until("audio-stop")
        else:
            await connection.receive_audio(after)
        await connection.send(Transcript(text=text).event())
        await connection.receive_until("never")

    return script


async def tts(connection: PeerConnection) -> None:
    """Text to speech."""
    request = await connection.receive()
    if request is None:
        return
    if request.type == "describe":
        await connection.send(INFO)
        return
    if request.type == "synthesize":
        await connection.send(*answer_audio(0.5), AudioStop().event())
        await connection.receive_until("never")


def _spoken(pcm: bytes) -> Sequence[Event]:
    return [
        AudioStart(rate=RATE, width=2, channels=1).event(),
        AudioChunk(rate=RATE, width=2, channels=1, audio=pcm).event(),
    ]
