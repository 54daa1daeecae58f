"""A satellite that is connected to the server, not to Home Assistant."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import SatelliteConnected

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.support.speech import RATE, events

_PIECE_SECONDS = 0.03


class Satellite:
    """One of the server's, by its name."""

    def __init__(self, server: MeadowlarkServer, name: str) -> None:
        self._server = server
        self._context = {"satellite_id": name}

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The server knows that it is there, and can call it."""
        async with self._client() as client:
            connected = SatelliteConnected().event()
            connected.data["context"] = self._context
            await client.write_event(connected)
            answering = asyncio.create_task(_answer_pings(client))
            try:
                yield
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    async def speak(self, audio: bytes) -> Sequence[Event]:
        """One turn: speech in real time, then silence until it was understood; all that came, with the answer."""
        run = RunPipeline(start_stage=PipelineStage.ASR, end_stage=PipelineStage.TTS).event()
        run.data["context"] = self._context
        received = []
        async with self._client() as client:
            await client.write_event(run)
            speaking = asyncio.create_task(_speak(client, audio))
            try:
                async for event in events(client):
                    received.append(event)
                    if Transcript.is_type(event.type):
                        speaking.cancel()
                    if AudioStop.is_type(event.type):
                        break
            finally:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
        return received

    async def ask(self, text: str) -> str:
        """One turn without sound; its answer."""
        async with self._client() as client:
            await client.write_event(Transcript(text=text, language="en", context=self._context).event())
            async for event in events(client):
                if Handled.is_type(event.type):
                    return Handled.from_event(event).text or ""
        raise AssertionError("The server closed without an answer")

    def _client(self) -> AsyncTcpClient:
        return AsyncTcpClient(self._server.host, self._server.wyoming_port)


async def _speak(client: AsyncTcpClient, audio: bytes) -> None:
    await client.write_event(AudioStart(rate=RATE, width=2, channels=1).event())
    size = 2 * int(RATE * _PIECE_SECONDS)
    position = 0
    while True:
        piece = audio[position : position + size]
        piece += bytes(size - len(piece))
        await client.write_event(AudioChunk(rate=RATE, width=2, channels=1, audio=piece).event())
        position += size
        await asyncio.sleep(_PIECE_SECONDS)


async def _answer_pings(client: AsyncTcpClient) -> None:
    while (event := await client.read_event()) is not None:
        if Ping.is_type(event.type):
            await client.write_event(Pong(text=Ping.from_event(event).text).event())
