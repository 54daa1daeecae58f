"""Plays Home Assistant's integration at `/api/v1/house`: the real messages, with answers that a test writes down."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.ollama import SOON

Json = dict[str, Any]
Answer = Callable[[Json], Mapping[str, object] | None]
"""From a request of the server to the fields of the reply; None: none is given."""

LIGHT = {
    "name": "light__HassTurnOn",
    "description": "Turns on a device.",
    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
    "open_world": False,
}
TOOLS: Json = {"instructions": "There is a lamp in the scullery.", "tools": [LIGHT]}


@dataclass
class HomeAssistant:
    """One connection that has said hello. Requests of the server are answered by `answers`, by their type."""

    socket: aiohttp.ClientWebSocketResponse
    welcome: Json
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Json] = field(default_factory=list)
    """All that has come."""

    async def send(self, kind: str, **fields: object) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def until(self, *kinds: str, where: Callable[[Json], bool] = lambda message: True) -> Json:
        """Read, and answer what is asked, up to a message of one of these types."""
        async with asyncio.timeout(SOON):
            while True:
                received = await self.socket.receive()
                assert received.type is aiohttp.WSMsgType.TEXT, f"closed with {self.socket.close_code}: {self.seen}"
                message: Json = json.loads(received.data)
                self.seen.append(message)
                if message["type"] in self.answers:
                    reply = self.answers[message["type"]](message)
                    if reply is not None:
                        await self.send("reply", to=message["id"], **reply)
                if message["type"] in kinds and where(message):
                    return message

    async def say(self, text: str, key: str = "t", **fields: object) -> Json:
        """One whole turn; its last message."""
        await self.send("turn", **{"id": key, "text": text, "language": "en", **fields})
        return await self.until("turn-end", "turn-error")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer what is asked, for the length of a `with` block."""
        task = asyncio.create_task(self.until("the end"))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def closed(self) -> int:
        """Read to the close, and return its code."""
        async with asyncio.timeout(SOON):
            while (received := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                self.seen.append(json.loads(received.data))
        assert self.socket.close_code is not None
        return self.socket.close_code

    def of(self, *kinds: str) -> list[Json]:
        """What has come of these types."""
        return [message for message in self.seen if message["type"] in kinds]


@contextlib.asynccontextmanager
async def connected(url: str, hello: Json | None = None, **lend: object) -> AsyncIterator[HomeAssistant]:
    """Says hello, and lends what is given, if anything is."""
    greeting = {"type": "hello", "protocol": 1, "instance": "home", "name": "Home", "version": "2026.11.0"}
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json({**greeting, **(hello or {})})
        async with asyncio.timeout(SOON):
            home = HomeAssistant(socket, await socket.receive_json())
        if lend:
            await home.send("lend", **lend)
        yield home
