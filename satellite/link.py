"""Finds the server and connects to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from handlers.errors import EngineError, MeadowlarkError
from handlers.wire.client import CONNECT_SECONDS, WyomingClient, connect, parse_uri
from handlers.wire.discovery import FIND_SECONDS, find_server
from satellite.backoff import Backoff

_LOGGER = logging.getLogger(__name__)

AUTO = "auto"

DEFAULT_PORT = 10600

LOCAL = ("127.0.0.1", DEFAULT_PORT)
"""Where a server on this very machine listens when nobody said otherwise."""

_HEAD_START_SECONDS = 0.2
"""This machine knows in a millisecond whether a server listens; then the network need not be asked."""

Address = tuple[str, int]


class LinkLostError(EngineError):
    """No server, or no longer the one that was there. Trying again later helps."""

    code = "no-server"


class Link:
    """The way to the server: a fixed address, or 'auto' for whichever answers first, here or on the network.

    Every turn has its own connection: what a turn left behind cannot disturb the next, a connection that died in the
    night is never used, and closing it cancels the turn's work on the server. Raises RequestError for a bad address.
    """

    def __init__(self, server: str = AUTO, *, local: Address = LOCAL, find_seconds: float = FIND_SECONDS) -> None:
        self._fixed = None if server == AUTO else parse_uri(server, DEFAULT_PORT)
        self._local = local
        self._find_seconds = find_seconds
        self._known: Address | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[WyomingClient]:
        """A connection for the length of a `with` block. Raises LinkLostError when there is no server."""
        async with contextlib.AsyncExitStack() as stack:
            yield await self._connect(stack)

    async def find(self) -> None:
        """Make sure that a server answers, or raise LinkLostError."""
        async with self.open():
            pass

    async def wait(self) -> None:
        """Return when a server answers. Its absence is told once."""
        pauses = Backoff()
        missing = False
        while True:
            try:
                await self.find()
            except LinkLostError as error:
                if not missing:
                    _LOGGER.warning("%s. Trying again until it does", str(error).rstrip("."))
                missing = True
                await asyncio.sleep(pauses.next())
            else:
                if missing:
                    _LOGGER.info("The server is there")
                return

    async def _connect(self, stack: contextlib.AsyncExitStack) -> WyomingClient:
        if self._fixed is not None:
            host, port = self._fixed
            try:
                return await stack.enter_async_context(connect(host, port))
            except (OSError, MeadowlarkError) as error:
                raise LinkLostError(
                    f"No server answers at tcp://{host}:{port} ({_reason(error)}): check that meadowlark-server runs "
                    "there and, on another machine, that it was started with --lan"
                ) from None
        if self._known is not None:
            with contextlib.suppress(OSError, MeadowlarkError):  # it may have moved: look again
                return await stack.enter_async_context(connect(*self._known))
        self._known = await self._look()
        try:
            return await stack.enter_async_context(connect(*self._known))
        except (OSError, MeadowlarkError) as error:
            host, port = self._known
            raise LinkLostError(f"The server at tcp://{host}:{port} was found but is gone ({_reason(error)})") from None

    async def _look(self) -> Address:
        """Ask this machine and the network at the same time; the first answer wins."""
        searches = {asyncio.create_task(self._look_here()), asyncio.create_task(self._look_around())}
        try:
            for search in asyncio.as_completed(searches, timeout=self._find_seconds + 2 * CONNECT_SECONDS):
                with contextlib.suppress(OSError, MeadowlarkError):  # TimeoutError is an OSError
                    if (address := await search) is not None:
                        return address
        finally:
            for task in searches:
                task.cancel()
            await asyncio.gather(*searches, return_exceptions=True)
        raise LinkLostError(
            "No Meadowlark server was found on this machine or its network: start one with  meadowlark-server --lan,"
            "  or name it with  --server tcp://HOST:PORT"
        )

    async def _look_here(self) -> Address | None:
        return await _reachable(self._local)

    async def _look_around(self) -> Address | None:
        await asyncio.sleep(_HEAD_START_SECONDS)
        server = await find_server(self._find_seconds)
        for host in server.addresses if server is not None else ():
            assert server is not None
            with contextlib.suppress(OSError, MeadowlarkError):
                return await _reachable((host, server.wyoming_port))
        return None


async def _reachable(address: Address) -> Address:
    async with connect(*address):
        return address


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"  # asyncio's own words name the address a second time
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
