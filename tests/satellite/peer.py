"""A scripted Wyoming server on a real socket. It stands for servers that go wrong in ways that ours does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop
from wyoming.vad import VoiceStarted, VoiceStopped

_PATIENCE = 20.0

TIMELINE = {"turn_id": "t1", "route": "time", "outcome": "completed", "marks_ms": {"speech_end": 100.0, "done": 321.5}}

ANSWER = "It is noon. Time to eat."

ANSWER_AUDIO = bytes(range(256)) * 80
"""22050 Hz mono s16le, 0.46 s."""


class PeerConnection:
    """One client of the scripted server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received: list[Event] = []

    @property
    def audio(self) -> bytes:
        return b"".join(event.payload or b"" for event in self.received if event.type == "audio-chunk")

    @property
    def request(self) -> Event:
        """The run-pipeline event."""
        return next(event for event in self.received if event.type == "run-pipeline")

    async def send(self, *events: Event) -> None:
        for event in events:
            await async_write_event(event, self._writer)

    async def send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hang_up(self) -> None:
        """End our direction and read on, so that what was sent arrives before the connection closes."""
        self._writer.write_eof()
        await self.receive_until("never")

    async def receive(self) -> Event | None:
        async with asyncio.timeout(_PATIENCE):
            event = await async_read_event(self._reader)
        if event is not None:
            self.received.append(event)
        return event

    async def receive_until(self, event_type: str) -> None:
        """Read up to the first event of a type, or to the end of the connection."""
        while (event := await self.receive()) is not None and event.type != event_type:
            pass

    async def receive_audio(self, seconds: float) -> None:
        """Read until so much audio has come in."""
        while len(self.audio) < seconds * 32_000 and await self.receive() is not None:
            pass

    async def answer(self, conversation_id: str = "c1") -> None:
        """A complete answer, in the order of the contract."""
        await self.send(
            VoiceStarted().event(),
            VoiceStopped().event(),
            Transcript(text="What time is it?").event(),
            HandledStart().event(),
            HandledChunk(text="It is noon. ").event(),
            *self.audio_events()[:2],
            HandledChunk(text="Time to eat.").event(),
            HandledStop().event(),
            Handled(text=ANSWER, context={"conversation_id": conversation_id}).event(),
            *self.audio_events()[2:],
        )
        await self.send(Event(type=AudioStop().event().type, data={"timeline": TIMELINE}))

    @staticmethod
    def audio_events() -> list[Event]:
        half = len(ANSWER_AUDIO) // 2
        return [
            AudioStart(rate=22050, width=2, channels=1).event(),
            AudioChunk(rate=22050, width=2, channels=1, audio=ANSWER_AUDIO[:half]).event(),
            AudioChunk(rate=22050, width=2, channels=1, audio=ANSWER_AUDIO[half:]).event(),
        ]


Script = Callable[[PeerConnection], Awaitable[None]]


class Peer:
    """Follows its script on every connection and closes it at the script's end."""

    def __init__(self, script: Script, port: int = 0) -> None:
        self._script = script
        self._wanted_port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[PeerConnection] = []
        self.ended: asyncio.Queue[PeerConnection] = asyncio.Queue()
        """Connections whose script is over."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._wanted_port)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def turns(self) -> list[PeerConnection]:
        """Connections on which something was asked; looking whether a server is there leaves empty ones."""
        return [connection for connection in self.connections if connection.received]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._follow(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = PeerConnection(reader, writer)
        self.connections.append(connection)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._script(connection)
        finally:
            self.ended.put_nowait(connection)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def well_behaved(connection: PeerConnection) -> None:
    """Hears half a second, answers, and takes the next turn."""
    await connection.receive_audio(0.5)
    if connection.received:
        await connection.answer()
        await connection.receive_until("never")
