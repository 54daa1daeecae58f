"""A Wyoming server for what a real one does not do on purpose: it breaks off, hangs, or sends errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from wyoming.event import Event, Eventable, async_read_event, async_write_event

type Script = Callable[[Peer], Awaitable[None]]
"""What is done on each connection, which is closed behind it."""

END_SECONDS = 10.0
"""The longest that a script waits for anything."""


class Peer:
    """A connection to the fake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self) -> Event | None:
        """The next event; None at the end."""
        async with asyncio.timeout(END_SECONDS):
            return await async_read_event(self.reader)

    async def receive_until(self, *types: str) -> Event:
        """Read on to the first event of these types."""
        while (event := await self.receive()) is not None:
            if event.type in types:
                return event
        raise AssertionError(f"closed before any of {types}")

    async def send(self, *messages: Eventable) -> None:
        for message in messages:
            await async_write_event(message.event(), self.writer)

    async def until_closed(self) -> None:
        """Say nothing until the other side has gone."""
        try:
            while await self.receive() is not None:
                pass
        except ConnectionError:
            pass


class FakeWyoming:
    """A server on a free port of 127.0.0.1 that follows a script. A context manager."""

    host = "127.0.0.1"

    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self.connections = 0
        """So many were there."""
        self.gone = asyncio.Event()
        """The last one has ended."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        problems = [result for result in results if isinstance(result, Exception)]
        if problems and failure == (None, None, None):
            raise problems[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.gone.clear()
        task = asyncio.create_task(self.script(Peer(reader, writer)))
        self._tasks.add(task)
        await asyncio.wait([task])
        writer.transport.abort() if task.cancelled() or task.exception() else writer.close()
        self.gone.set()
