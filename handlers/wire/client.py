"""Calls a Wyoming server: used by the satellite, the tests and the benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from wyoming.event import Event

from handlers.errors import DeadlineError, RequestError
from handlers.wire.reader import DEFAULT_LIMITS, EventReader, IdleError, Limits
from handlers.wire.sockets import keep_alive
from handlers.wire.writer import encode

CONNECT_SECONDS = 5.0
"""A server on the same network answers in milliseconds; more means that it is not there."""

SEND_SECONDS = 30.0
"""A server that takes nothing for so long is stuck; ours reads at once, whatever its engines do."""

_GOODBYE_SECONDS = 1.0
"""How long a closing connection may take to send its last bytes."""


def parse_uri(uri: str, default_port: int) -> tuple[str, int]:
    """Host and port of 'tcp://HOST:PORT'; the scheme and the port may be left out, IPv6 goes in brackets."""
    try:
        parts = urlsplit(uri if "://" in uri else f"tcp://{uri}")
        port = parts.port
    except ValueError:
        raise RequestError(
            "bad-uri", f"'{uri}' is not an address of the form tcp://HOST:PORT with a port up to 65535"
        ) from None
    if parts.scheme != "tcp" or not parts.hostname or parts.path or parts.query or parts.fragment or "@" in uri:
        raise RequestError("bad-uri", f"'{uri}' is not an address of the form tcp://HOST:PORT")
    return parts.hostname, default_port if port is None else port


class WyomingClient:
    """One connection to a Wyoming server."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._events = EventReader(reader, limits)
        self._writer = writer

    async def send(self, event: Event) -> None:
        """Write one event. Raises OSError when the server is gone, DeadlineError when it takes nothing."""
        try:
            async with asyncio.timeout(SEND_SECONDS) as deadline:
                self._writer.write(encode(event))
                await self._writer.drain()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlineError(f"The server took nothing for {SEND_SECONDS:g} seconds") from None

    async def receive(self, timeout: float | None = None) -> Event | None:
        """The next event, or None when the server closed; DeadlineError when none begins within `timeout` s.

        May be called again after a DeadlineError. Raises ProtocolError for what is not Wyoming, OSError when the
        connection is lost. Do not cancel it and then go on: half an event may have been read.
        """
        try:
            return await self._events.read(timeout)
        except IdleError:
            raise DeadlineError(f"The server sent nothing for {timeout:g} seconds") from None

    async def close(self) -> None:
        """Close the connection, which also cancels what the server does for it."""
        self._writer.close()
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._writer.wait_closed()
        except OSError:  # TimeoutError is one
            pass
        finally:
            self._writer.transport.abort()  # or what a stuck server does not take would stay for ever


@contextlib.asynccontextmanager
async def connect(
    host: str, port: int, *, timeout: float = CONNECT_SECONDS, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[WyomingClient]:
    """A connection for the length of a `with` block. Raises DeadlineError or OSError when there is no server."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port, limit=limits.header)
    except TimeoutError:
        raise DeadlineError(f"{host}:{port} did not answer within {timeout:g} seconds") from None
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        keep_alive(sock, impatient=True)
    client = WyomingClient(reader, writer, limits)
    try:
        yield client
    finally:
        await client.close()
