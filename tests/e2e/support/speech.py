"""Speech for tests, made and understood by the server itself, over Wyoming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.tts import Synthesize

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.support.home_assistant import SOON

RATE = 16_000
"""Samples in a second of all audio here, mono, each of 16 bits."""

_CHUNK_BYTES = 2048


def silence(seconds: float) -> bytes:
    return bytes(2 * int(seconds * RATE))


async def events(client: AsyncTcpClient) -> AsyncIterator[Event]:
    """What comes, until the other side closes. An `error` fails the test."""
    async with asyncio.timeout(SOON):
        while (event := await client.read_event()) is not None:
            assert not Error.is_type(event.type), event
            yield event


class Speaker:
    """Says any text, and writes down what was said. The same text is made once."""

    def __init__(self, server: MeadowlarkServer) -> None:
        self._server = server
        self._said: dict[str, bytes] = {}

    async def say(self, text: str) -> bytes:
        """Audio of a text."""
        if text not in self._said:
            audio, rate = bytearray(), RATE
            async with AsyncTcpClient(self._server.host, self._server.wyoming_port) as client:
                await client.write_event(Synthesize(text=text).event())
                async for event in events(client):
                    if AudioStop.is_type(event.type):
                        break
                    if AudioChunk.is_type(event.type):
                        chunk = AudioChunk.from_event(event)
                        audio += chunk.audio
                        rate = chunk.rate
            self._said[text] = _resampled(bytes(audio), rate)
        return self._said[text]

    async def understand(self, audio: bytes) -> str:
        """What is said in audio."""
        async with AsyncTcpClient(self._server.host, self._server.wyoming_port) as client:
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(rate=RATE, width=2, channels=1).event())
            for position in range(0, len(audio), _CHUNK_BYTES):
                chunk = AudioChunk(rate=RATE, width=2, channels=1, audio=audio[position : position + _CHUNK_BYTES])
                await client.write_event(chunk.event())
            await client.write_event(AudioStop().event())
            async for event in events(client):
                if Transcript.is_type(event.type):
                    return Transcript.from_event(event).text
        raise AssertionError("The server closed without a transcript")


async def decoded(file: bytes | bytearray) -> bytes:
    """The audio of a file as browsers get it, such as MP3."""
    ffmpeg = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-loglevel", "error", "-i", "pipe:0", "-f", "s16le", "-ar", str(RATE), "-ac", "1", "pipe:1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SOON):
        audio, _ = await ffmpeg.communicate(bytes(file))
    assert ffmpeg.returncode == 0
    return audio


def _resampled(audio: bytes, rate: int) -> bytes:
    """The same sound at RATE, which is below `rate`, without what lies above the half of it."""
    samples = np.frombuffer(audio, "<i2").astype(np.float64)
    wanted = len(samples) * RATE // rate
    spectrum = np.fft.rfft(samples)[: wanted // 2 + 1]
    fewer = np.fft.irfft(spectrum, wanted) * (wanted / len(samples))
    return np.clip(fewer, -32768, 32767).astype("<i2").tobytes()
