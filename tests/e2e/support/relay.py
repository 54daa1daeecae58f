"""Stands between Home Assistant and a server's port: can lead to another server, break off, hold an answer back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from wyoming.event import async_read_event, async_write_event

from tests.e2e.support.home_assistant import SOON

_HOST = "127.0.0.1"


class Relay:
    """A context manager: passes every connection on to another port of this machine."""

    def __init__(self, target: int) -> None:
        self.host = _HOST
        self.port = 0
        self.target = target
        """The port to which new connections lead."""
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Break all connections off."""
        for task in self._connections:
            task.cancel()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, _HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection(_HOST, self.target)
            with contextlib.closing(server_writer):
                ways = [
                    asyncio.create_task(self._up(reader, server_writer)),
                    asyncio.create_task(self._down(server_reader, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _copy(reader, writer)

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _copy(reader, writer)


class WyomingRelay(Relay):
    """In front of a Wyoming port."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.seen: list[str] = []
        """Types of what Home Assistant sent."""
        self._held = ""
        self._passing = 0
        self._waits = asyncio.Event()
        self._open = asyncio.Event()

    def hold(self, type_: str, *, after: int) -> None:
        """Let so many of these events through to Home Assistant; the next waits, with all that follow it."""
        self._held, self._passing = type_, after
        self._open.clear()
        self._waits.clear()

    async def held(self) -> None:
        """Wait until something is held back."""
        async with asyncio.timeout(SOON):
            await self._waits.wait()

    def release(self) -> None:
        """Let everything through again."""
        self._held = ""
        self._open.set()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (event := await async_read_event(reader)) is not None:
            self.seen.append(event.type)
            await async_write_event(event, writer)

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (event := await async_read_event(reader)) is not None:
            if event.type == self._held:
                if self._passing == 0:
                    self._waits.set()
                    await self._open.wait()
                self._passing -= 1
            await async_write_event(event, writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
