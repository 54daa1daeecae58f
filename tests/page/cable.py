"""A network cable between the page and its server that can be pulled out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

_HOST = "127.0.0.1"


class Cable:
    """A context manager: passes the connections to a port of its own on to another one of this machine."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"http://{_HOST}:{self.port}"

    async def plug_in(self) -> None:
        self._listener = await asyncio.start_server(self._accept, _HOST, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def pull_out(self) -> None:
        """All connections are lost, and no other can be made."""
        assert self._listener is not None
        self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.plug_in()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.pull_out()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            up, down = await asyncio.open_connection(_HOST, self._target)
            with contextlib.closing(down):
                ways = [asyncio.create_task(_copy(reader, down)), asyncio.create_task(_copy(up, writer))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
