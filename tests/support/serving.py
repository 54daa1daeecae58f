"""Serves Wyoming services in the test's own process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from wyoming.event import Event

from handlers.wire.client import WyomingClient, connect
from handlers.wire.connection import Connection, Service
from server.wyoming import WyomingServer


@contextlib.asynccontextmanager
async def served(services: Callable[[Connection], Sequence[Service]]) -> AsyncIterator[WyomingClient]:
    """A client of a server that offers these services, over a real socket."""
    server = WyomingServer("127.0.0.1", 0, describe=lambda: Event("info", {}), services=services)
    await server.start()
    try:
        async with connect("127.0.0.1", server.port) as client:
            yield client
    finally:
        await server.close()
