"""Signs of life for a peer that waits: a tool may run for minutes, and a silent server looks like a dead one."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from wyoming.event import Event
from wyoming.ping import Ping

from handlers.wire.connection import Connection, PeerGoneError

PING_SECONDS = 10.0
"""A satellite gives up after 30 s without an event: two may be lost."""


class Heartbeat:
    """Sends events through a connection and, inside its `async with`, a `ping` whenever none was sent for a while."""

    def __init__(self, connection: Connection, seconds: float = PING_SECONDS) -> None:
        self.awake = True
        """While false nothing is sent unasked: nobody waits for an answer."""
        self._connection = connection
        self._seconds = seconds
        self._sending = 0
        self._sent = asyncio.get_running_loop().time()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def send(self, event: Event) -> None:
        """As `Connection.send`."""
        self._sending += 1
        try:
            await self._connection.send(event)
        finally:
            self._sending -= 1
            self._sent = asyncio.get_running_loop().time()

    async def _beat(self) -> None:
        with contextlib.suppress(PeerGoneError):  # the connection ends, and with it whatever is at work
            while True:
                left = self._sent + self._seconds - asyncio.get_running_loop().time()
                if left > 0:
                    await asyncio.sleep(left)
                elif self._sending or not self.awake:
                    await asyncio.sleep(self._seconds)
                else:
                    await self.send(Ping().event())
