"""A scripted web port for the benchmarks: `WS /api/v1/voice/stream`, whose clock is the audio that it has heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

from handlers.audio import BYTES_PER_SECOND

Json = dict[str, Any]

_PATIENCE = 20.0


@dataclass
class WebConnection:
    """One client of the scripted server, which has said `start`."""

    socket: web.WebSocketResponse
    headers: dict[str, str]
    received: list[Json] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    frames: list[int] = field(default_factory=list)
    """Bytes of each binary frame."""

    def types(self) -> list[str]:
        return [message["type"] for message in self.received]

    async def send(self, kind: str, **fields: object) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def receive(self) -> Json | bytes | None:
        """The next frame, None at the end. A `ping` is answered at once."""
        frame = await self.socket.receive(_PATIENCE)
        if frame.type is WSMsgType.BINARY:
            self.audio += frame.data
            self.frames.append(len(frame.data))
            return bytes(frame.data)
        if frame.type is not WSMsgType.TEXT:
            return None
        message: Json = json.loads(frame.data)
        self.received.append(message)
        if message["type"] == "ping":
            await self.send("pong")
        return message

    async def receive_audio(self, seconds: float) -> None:
        """Read until so much audio has come in."""
        while len(self.audio) < seconds * BYTES_PER_SECOND and await self.receive() is not None:
            pass

    async def receive_until(self, kind: str) -> None:
        """Read up to the first message of a type, or to the end of the connection."""
        while (message := await self.receive()) is not None:
            if isinstance(message, dict) and message["type"] == kind:
                return


WebScript = Callable[[WebConnection], Awaitable[None]]


class WebPeer:
    """Serves one script for each connection, on a free port. `greeting` is its first frame."""

    def __init__(self, script: WebScript, *, greeting: Json | None = None, status: int = 101) -> None:
        self._script = script
        self._greeting = greeting or {"type": "ready", "session": "s"}
        self._status = status
        self.connections: list[WebConnection] = []
        self.ended: asyncio.Queue[WebConnection] = asyncio.Queue()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/api/v1/voice/stream", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._status != 101:
            return web.Response(status=self._status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = WebConnection(socket, dict(request.headers))
        await connection.receive()
        await socket.send_json(self._greeting)
        self.connections.append(connection)
        try:
            await self._script(connection)
        finally:
            await self.ended.put(connection)
        return socket


def voice_stream(
    transcript_at: float, text_at: float, audio_at: float, *, marks: dict[str, float] | None = None
) -> WebScript:
    """A server that answers after so many seconds of audio."""

    async def script(connection: WebConnection) -> None:
        await connection.receive_until("listen")
        await connection.send("listening", turn=1)
        await connection.receive_audio(transcript_at)
        await connection.send("voice_stopped", turn=1)
        await connection.send("transcript", turn=1, text="what time is it", language="en")
        await connection.receive_audio(text_at)
        await connection.send("handled_chunk", turn=1, text="It is noon.")
        await connection.receive_audio(audio_at)
        await connection.send("audio_start", turn=1, rate=22050, width=2, channels=1)
        await connection.socket.send_bytes(bytes(22050))
        await connection.receive_until("end_audio")  # the client has heard the first audio
        await connection.socket.send_bytes(bytes(22050))
        await connection.send("handled", turn=1, text="It is noon.")
        timeline = {"turn_id": "t", "route": "time", "outcome": "completed", "marks_ms": marks or {}}
        await connection.send("done", turn=1, outcome="completed", timeline=timeline)
        await connection.receive_until("never")

    return script


def sending(*frames: Json | bytes, close: int = 0) -> WebScript:
    """A server that sends these once it was told to listen, and keeps silent or closes."""

    async def script(connection: WebConnection) -> None:
        await connection.receive_until("listen")
        for frame in frames:
            await (
                connection.socket.send_bytes(frame) if isinstance(frame, bytes) else connection.socket.send_json(frame)
            )
        if close:
            await connection.socket.close(code=close)
        else:
            await connection.receive_until("never")

    return script
