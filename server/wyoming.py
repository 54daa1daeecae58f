"""The Wyoming port: listens, admits a bounded number of connections, and ends them all when the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import resource
import socket
from collections.abc import Callable, Sequence

from wyoming.error import Error
from wyoming.event import Event

from handlers.errors import ProtocolError, SettingsError
from handlers.wire.connection import (
    GOODBYE_SECONDS,
    IDLE_SECONDS,
    SEND_SECONDS,
    Connection,
    Service,
    linger,
)
from handlers.wire.reader import DEFAULT_LIMITS, Limits
from handlers.wire.sockets import keep_alive
from handlers.wire.writer import encode

_LOGGER = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Far more than a house has satellites; each may cost up to a header, a data block and a payload of memory."""

SPARE_SECONDS = 30.0
"""At the limit, who was silent for so long makes place for a newcomer. Home Assistant and satellites come back."""

_MAX_LEAVING = 128
"""Refused or dismissed peers that still get time to read why; beyond that they are closed at once."""

_BACKLOG = 1024
"""Peers that the kernel keeps waiting while we are busy; it cuts this to its own limit."""

_OTHER_FILES = 256
"""Open files of everything else: models, databases, HTTP, the log."""

_ACCEPT_RETRY_SECONDS = 0.5
"""Pause after an accept that failed for lack of files or memory: they come back when somebody leaves."""

_COMPLAIN_SECONDS = 60.0
"""At most one line in the log about refused peers in this time."""

_CLOSE_SECONDS = 8.0
"""For all connections to end; a connection itself needs at most five."""


class WyomingServer:
    """Accepts Wyoming connections on one port of one or more addresses.

    `services` makes the services of a new connection. After `start`, `addresses` are the IP addresses that are
    listened on and `port` is the port, the same on all of them. `refused` counts the peers that found no place.
    """

    def __init__(
        self,
        host: str | Sequence[str],
        port: int,
        *,
        describe: Callable[[], Event],
        services: Callable[[Connection], Sequence[Service]],
        limits: Limits = DEFAULT_LIMITS,
        max_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
        send_seconds: float = SEND_SECONDS,
        spare_seconds: float = SPARE_SECONDS,
    ) -> None:
        self.addresses: list[str] = []
        self.port = port
        self.refused = 0
        self._hosts = [host] if isinstance(host, str) else list(host)
        self._describe = describe
        self._services = services
        self._limits = limits
        self._max_connections = max_connections
        self._idle_seconds = idle_seconds
        self._send_seconds = send_seconds
        self._spare_seconds = spare_seconds
        self._ids = itertools.count(1)
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._serving: dict[asyncio.Task[None], Connection] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._complained = float("-inf")

    @property
    def connections(self) -> int:
        """Connections that are served now."""
        return len(self._serving)

    async def start(self) -> None:
        """Begin to listen. Raises SettingsError when an address or the port cannot be used."""
        _allow_open_files(self._max_connections + _MAX_LEAVING + _OTHER_FILES)
        self._listeners = await _listen(self._hosts, self.port)
        self.addresses = [listener.getsockname()[0] for listener in self._listeners]
        self.port = self._listeners[0].getsockname()[1]
        # Our own accept loop, because asyncio's tries `backlog` times in a row when files run out (Python 3.11).
        self._accepting = [
            asyncio.create_task(self._accept(listener), name=f"wyoming accept {address}")
            for listener, address in zip(self._listeners, self.addresses, strict=True)
        ]

    async def close(self) -> None:
        """Stop listening, cancel the work of every connection and close it. Takes seconds at most."""
        for accepting in self._accepting:
            accepting.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        connections = list(self._serving.values())
        tasks = [*self._serving, *self._leaving]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        # For those whose task was cancelled before it began; all others are closed already.
        await asyncio.gather(*(connection.close() for connection in connections))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._complain(f"Cannot accept a connection now ({error.strerror}); trying again")
                await asyncio.sleep(_ACCEPT_RETRY_SECONDS)
                continue
            try:
                await self._admit(sock, str(address[0]))
            except OSError:  # gone before we could look at it
                sock.close()
            except Exception:
                sock.close()
                _LOGGER.exception("A connection could not be set up")

    async def _admit(self, sock: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        keep_alive(sock)  # TCP_NODELAY is set by asyncio
        reader = asyncio.StreamReader(limit=self._limits.header)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        if not self._make_place():
            self._refuse(reader, writer)
            return
        connection = Connection(
            f"wyoming-{next(self._ids)} from {peer}",
            reader,
            writer,
            self._describe,
            limits=self._limits,
            idle=self._idle_seconds,
            send_seconds=self._send_seconds,
        )
        task = asyncio.create_task(self._serve(connection), name=connection.name)
        self._serving[task] = connection
        task.add_done_callback(lambda done: self._serving.pop(done, None))

    async def _serve(self, connection: Connection) -> None:
        _LOGGER.debug("%s: connected", connection.name)
        try:
            await connection.serve(self._services(connection))
        except Exception:
            _LOGGER.exception("%s: unexpected error", connection.name)
        finally:
            await connection.close()

    def _make_place(self) -> bool:
        """Whether one more connection can be served; may dismiss the one that is missed least."""
        if len(self._serving) < self._max_connections:
            return True
        idle = [
            (not connection.asked, connection.silent_seconds, task)
            for task, connection in self._serving.items()
            if not connection.working and connection.silent_seconds >= self._spare_seconds
        ]
        if not idle or len(self._leaving) >= _MAX_LEAVING:
            return False
        *_, task = max(idle, key=lambda candidate: candidate[:2])
        connection = self._serving.pop(task)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        connection.dismiss(ProtocolError("The server is full and this connection was silent longest", code="idle"))
        return True

    def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.refused += 1
        self._complain(
            f"All {self._max_connections} Wyoming connections are in use; peers refused so far: {self.refused}"
        )
        text = f"This server serves at most {self._max_connections} connections at a time; try again in a moment"
        # The socket's own buffer takes this whole, so it is on its way even when the peer never reads.
        writer.write(encode(Error(text=text, code="too-many-connections").event()))
        if len(self._leaving) >= _MAX_LEAVING:
            writer.close()
            return
        task = asyncio.create_task(_see_off(reader, writer), name="wyoming refused")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    def _complain(self, message: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._complained >= _COMPLAIN_SECONDS:
            self._complained = now
            _LOGGER.warning("%s", message)


async def _see_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await linger(reader, writer)


async def _listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets for every address of every host. Port 0 becomes one free port for all of them."""
    listeners: list[socket.socket] = []
    seen: set[str] = set()
    try:
        for host in hosts:
            failure: OSError | None = None
            bound = False
            for family, address, scope in await _resolve(host, port):
                if address in seen:
                    bound = True
                    continue
                try:
                    listeners.append(_bind(family, address, port, scope))
                except OSError as error:
                    # A system without IPv6 still resolves '::' and 'localhost' to it.
                    if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        raise _unusable(error, address, port) from None
                    failure = error
                    continue
                bound = True
                seen.add(address)
                port = listeners[-1].getsockname()[1]
            if failure is not None and not bound:
                if host != "::" or not listeners:
                    raise _unusable(failure, host, port)
                _LOGGER.warning("This system has no IPv6: Wyoming is served on IPv4 only")
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str, int]]:
    """Family, address and IPv6 scope (0 where there is none) of all that `host` means."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise SettingsError(f"The host '{host}' is not known: give an address of this machine with --wyoming") from None
    return [
        (family, str(address[0]), int(address[3]) if len(address) == 4 else 0) for family, _, _, _, address in found
    ]


def _bind(family: socket.AddressFamily, address: str, port: int, scope: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named; without it a small event waits 40 ms for an ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own socket
        sock.bind((address, port, 0, scope) if family == socket.AF_INET6 else (address, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _unusable(error: OSError, address: str, port: int) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        return SettingsError(
            f"Port {port} on {address} is in use: stop the other program or choose another with --wyoming"
        )
    if error.errno == errno.EACCES:
        return SettingsError(f"Port {port} on {address} is not allowed here: choose one over 1023 with --wyoming")
    if error.errno == errno.EADDRNOTAVAIL:
        return SettingsError(f"{address} is not an address of this machine: choose another with --wyoming")
    return SettingsError(f"Cannot listen on {address} port {port} ({error.strerror}): choose another with --wyoming")


def _allow_open_files(needed: int) -> None:
    """Raise this process's limit of open files to `needed`, or say what that costs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        wanted = soft
    if wanted < needed:
        _LOGGER.warning(
            "This process may open only %d files, but all its connections may need %d: raise `ulimit -n` "
            "(systemd: LimitNOFILE=)",
            wanted,
            needed,
        )
