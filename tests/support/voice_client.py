"""A client of `/api/v1/voice/stream`: the real frames, counted as its protocol wants them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from handlers.audio import BYTES_PER_SECOND

Json = dict[str, Any]

PATH = "/api/v1/voice/stream"

ANSWER_SECONDS = 60.0
"""The longest any test waits for a frame."""

CHUNK = 2560
"""80 ms, as a browser sends it."""


@dataclass
class Conversation:
    """What a client knows of its session, over all its connections."""

    session: str = ""
    received: int = 0
    """Frames, of both kinds."""
    seen: list[Json] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)

    def types(self, turn: int | None = None) -> list[str]:
        """Types of the messages without `ready` and `pong`, and without repetitions in a row."""
        result: list[str] = []
        for message in self.seen:
            wanted = turn is None or message.get("turn") == turn
            if wanted and message["type"] not in ("ready", "pong") and result[-1:] != [message["type"]]:
                result.append(message["type"])
        return result

    def of(self, kind: str) -> list[Json]:
        return [message for message in self.seen if message["type"] == kind]


@dataclass
class VoiceClient:
    """One connection that has said `start`."""

    socket: aiohttp.ClientWebSocketResponse
    talk: Conversation
    ready: Json = field(default_factory=dict)

    async def send(self, kind: str, **fields: object) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def say(self, pcm: bytes, *, paced: bool = False) -> None:
        """Send audio, at once or as fast as it is spoken."""
        began = time.monotonic()
        for start in range(0, len(pcm), CHUNK):
            await self.socket.send_bytes(pcm[start : start + CHUNK])
            if paced:
                await asyncio.sleep(max(0.0, began + (start + CHUNK) / BYTES_PER_SECOND - time.monotonic()))

    async def receive(self) -> Json | bytes | None:
        """The next frame, None at the end."""
        received = await self.socket.receive(ANSWER_SECONDS)
        if received.type is aiohttp.WSMsgType.TEXT:
            message: Json = json.loads(received.data)
            self.talk.received += 1
            self.talk.seen.append(message)
            return message
        if received.type is aiohttp.WSMsgType.BINARY:
            self.talk.received += 1
            self.talk.audio += received.data
            return bytes(received.data)
        return None

    async def until(self, *kinds: str, turn: int | None = None) -> Json:
        """Read up to a message of one of these types."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                message = await self.receive()
                assert message is not None, f"closed with {self.socket.close_code}: {self.talk.types()}"
                if isinstance(message, dict) and message["type"] in kinds and turn in (None, message.get("turn")):
                    return message

    async def until_audio(self, length: int) -> None:
        """Read until so many bytes of audio have come on this connection."""
        wanted = len(self.talk.audio) + length
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(self.talk.audio) < wanted:
                assert await self.receive() is not None, self.talk.types()

    async def ask(self, text: str) -> Json:
        """A turn from text; its `done`."""
        await self.send("text", text=text)
        return await self.until("done")

    async def closed(self) -> int:
        """Read to the close, and return its code."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while await self.receive() is not None:
                pass
        assert self.socket.close_code is not None
        return self.socket.close_code

    def drop(self) -> None:
        """The connection is gone without a word."""
        self.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextlib.asynccontextmanager
async def connected(
    url: str, talk: Conversation | None = None, headers: Mapping[str, str] | None = None, **start: object
) -> AsyncIterator[VoiceClient]:
    """A connection to a server's address that has said `start`: of a new session, or to go on with that of `talk`."""
    talk = talk or Conversation()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url + PATH, headers=headers, max_msg_size=0) as line,
    ):
        client = VoiceClient(line, talk)
        going_on = {"session": talk.session, "received": talk.received} if talk.session else {}
        await client.send("start", protocol=1, **going_on, **start)
        ready = await client.receive()
        assert isinstance(ready, dict), f"closed with {line.close_code}"
        if not ready.get("resumed"):
            talk.received = 1
        client.ready = ready
        talk.session = ready.get("session", "")
        yield client
