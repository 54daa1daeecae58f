"""A server that lends what a real one does not do on purpose: it breaks off, hangs, is another one, or speaks nonsense.

It speaks the messages of server/house_protocol.py over real HTTP, and has a Wyoming port that offers nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from wyoming.info import Describe, Info

from .fake_wyoming import FakeWyoming, Peer

SOON = 10.0
"""A deadline that only a defect reaches."""

type Json = dict[str, Any]


class House:
    """The server's side of one connection."""

    def __init__(self, socket: web.WebSocketResponse, hello: Json) -> None:
        self.hello = hello
        self.seen: list[Json] = []
        """All that has come after `hello`."""
        self.over = asyncio.Event()
        """The connection has ended."""
        self._socket = socket
        self._unread: asyncio.Queue[Json | None] = asyncio.Queue()

    async def send(self, kind: str, **fields: object) -> None:
        await self._socket.send_json({"type": kind, **fields})

    async def send_text(self, text: str) -> None:
        """Anything."""
        await self._socket.send_str(text)

    async def until(self, *kinds: str) -> Json:
        """The next message of these types; others are skipped. ConnectionError at the end."""
        async with asyncio.timeout(SOON):
            while (message := await self._unread.get()) is not None:
                if message["type"] in kinds:
                    return message
        raise ConnectionError("the connection has ended")

    async def close(self, code: int = 1001) -> None:
        await self._socket.close(code=code)

    def break_off(self) -> None:
        """As a power cut does."""
        transport = self._socket._req.transport if self._socket._req else None
        if transport is not None:
            transport.abort()

    def of(self, kind: str) -> list[Json]:
        return [message for message in self.seen if message["type"] == kind]

    async def read(self) -> None:
        """Take what comes, until the connection ends."""
        async for frame in self._socket:
            if frame.type is WSMsgType.TEXT:
                message = frame.json()
                self.seen.append(message)
                self._unread.put_nowait(message)

    def end(self) -> None:
        self.over.set()
        self._unread.put_nowait(None)


class HouseServer:
    """A context manager. What it says may be changed while it runs; it counts for the next request."""

    host = "127.0.0.1"

    def __init__(self, *, token: str = "") -> None:
        self.id = "5e0d8a4f-7d3c-4c0e-9a68-0e3a3ae0a001"
        self.protocol = 1
        self.version = "0.1.0"
        self.token = token
        self.wyoming_port = 0
        self.http_port = 0
        self.mute = False
        """Takes connections and never says a word."""
        self.refuses: tuple[str, int] | None = None
        """A code and the number of the close, instead of a welcome."""
        self.house_status = 0
        """An HTTP status for who wants to connect."""
        self.satellites: list[Json] = []
        self.connections = 0
        """That were welcomed."""
        self.tries = 0
        """To connect, whatever came of them."""
        self._tried = asyncio.Event()
        self._houses: asyncio.Queue[House] = asyncio.Queue()
        self._port: int | None = None
        self._wyoming = FakeWyoming(_offer_nothing)
        self._server: TestServer | None = None

    async def __aenter__(self) -> Self:
        await self._wyoming.__aenter__()
        self.wyoming_port = self._wyoming.port
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()
        await self._wyoming.__aexit__(*failure)

    async def start(self) -> None:
        """Serve, again on the same port."""
        app = web.Application()
        app.router.add_get("/api/v1/voice/status", self._status)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/api/v1/house", self._house)
        self._server = TestServer(app, host=self.host, port=self._port)
        await self._server.start_server(shutdown_timeout=0.1)
        self.http_port = self._port = self._server.port or 0

    async def stop(self) -> None:
        """Close all connections and take none any more."""
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def tried(self, tries: int) -> None:
        """Wait until somebody has tried so often to connect, since the beginning."""
        async with asyncio.timeout(SOON):
            while self.tries < tries:
                self._tried.clear()
                await self._tried.wait()

    async def house(self) -> House:
        """The next connection that was welcomed and liked it, with its first `lend` read."""
        async with asyncio.timeout(SOON):
            while True:
                house = await self._houses.get()
                try:
                    await house.until("lend")
                except ConnectionError:
                    continue
                return house

    def _welcome(self) -> Json:
        return {
            "type": "welcome",
            "protocol": self.protocol,
            "version": self.version,
            "id": self.id,
            "wyoming_port": self.wyoming_port,
            "satellites": self.satellites,
            "busy": False,
        }

    async def _status(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return web.json_response({"error": "no token"}, status=401)
        said = {key: value for key, value in self._welcome().items() if key in ("id", "version", "wyoming_port")}
        return web.json_response({**said, "name": "Attic", "house_protocol": self.protocol, "engines": None})

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def _house(self, request: web.Request) -> web.StreamResponse:
        self.tries += 1
        self._tried.set()
        if not self._allowed(request):
            return web.json_response({"error": "no token"}, status=401)
        if self.house_status:
            return web.json_response({"error": "not now"}, status=self.house_status)
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        hello = await socket.receive_json()
        if self.mute:
            async for _ in socket:
                pass
            return socket
        if self.refuses is not None:
            code, number = self.refuses
            await socket.send_json({"type": "refused", "code": code, "text": "not with me"})
            await socket.close(code=number)
            return socket
        await socket.send_json(self._welcome())
        self.connections += 1
        house = House(socket, hello)
        self._houses.put_nowait(house)
        try:
            await house.read()
        finally:
            house.end()
        return socket

    def _allowed(self, request: web.Request) -> bool:
        return not self.token or request.headers.get("Authorization") == f"Bearer {self.token}"


async def _offer_nothing(peer: Peer) -> None:
    while (event := await peer.receive()) is not None:
        if Describe.is_type(event.type):
            await peer.send(Info())
