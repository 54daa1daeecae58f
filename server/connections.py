"""How many connections HTTP takes: each is a file of the process, of which Wyoming and the memory need some."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import cast

from server.origin import network_of
from server.settings import is_loopback

MOST_CONNECTIONS = 512
"""All together: with the 256 of Wyoming they leave a quarter of the 1024 files that a process usually may open."""

MOST_OF_ADDRESS = MOST_CONNECTIONS // 2
"""Of one address: a household behind one router has a tenth. This machine may have all: a proxy brings everybody."""

_LOGGER = logging.getLogger(__name__)


class Connections:
    """Makes the protocols of connections, and closes those that are too many."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        most: int = MOST_CONNECTIONS,
        most_of_address: int = MOST_OF_ADDRESS,
    ) -> None:
        """`make` makes the protocol that serves one."""
        self._make = make
        self._most = most
        self._most_of_address = most_of_address
        self._open: Counter[str] = Counter()  # by network
        self._told = False

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Connection(self)

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    def enter(self, address: str) -> asyncio.Protocol | None:
        """Who serves a new one; None where it is one too many."""
        network = network_of(address)
        too_many = self.open >= self._most
        if too_many or (self._open[network] >= self._most_of_address and not is_loopback(address)):
            if not self._told:  # the log has it once, until there is room again
                _LOGGER.warning("HTTP refuses connections: %d are open", self.open)
            self._told = True
            return None
        self._told = False
        self._open[network] += 1
        return self._make()

    def leave(self, address: str) -> None:
        """One that was let in has ended."""
        self._open[network_of(address)] -= 1
        self._open += Counter()  # those without one are forgotten


class _Connection(asyncio.Protocol):
    """Passes all on to the protocol that serves it, if it is let in."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._address = ""
        self._served: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._served = self._connections.enter(self._address)
        if self._served is None:
            cast("asyncio.Transport", transport).abort()
        else:
            self._served.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._served is not None:
            self._connections.leave(self._address)
            self._served.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._served is not None:
            self._served.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._served is None else self._served.eof_received()

    def pause_writing(self) -> None:
        if self._served is not None:
            self._served.pause_writing()

    def resume_writing(self) -> None:
        if self._served is not None:
            self._served.resume_writing()
