"""A TCP wire between a satellite and its server that loses segments, freezes, breaks, and knows what went over it.

What is lost is really lost: a filter of the kernel drops segments that arrive at the wire's own sockets, with their
acknowledgements, and TCP on both ends does what it does on a bad network. No privileges are needed for that on an
ordinary Linux, nor is a network device touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from types import TracebackType
from typing import Self

_SO_ATTACH_FILTER = 26
"""Of every Linux but Alpha, PA-RISC and SPARC; Python does not name it."""

_RANDOM = 0xFFFFF000 + 56
"""Where a filter program finds a random number (SKF_AD_OFF + SKF_AD_RANDOM)."""

_LOAD, _AT_LEAST, _RETURN = 0x20, 0x35, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JGE|BPF_K and BPF_RET|BPF_K."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


class Wire:
    """Carries every connection to its own port on to the server's. An address that stays while the server goes."""

    def __init__(self, server_port: int) -> None:
        self.sent = bytearray()
        """All that clients have sent, in the order of arrival."""
        self._server_port = server_port
        self.port = 0
        self._share = 0.0
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Take connections, at the same address as before."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Break all connections and take none until `open`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        tasks = [connection.task for connection in self._connections]
        self.reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reset(self) -> None:
        """Break the connections that there are."""
        for connection in self._connections:
            connection.reset()

    def freeze(self) -> None:
        """Nothing moves any more on the connections that there are; both ends go on acknowledging."""
        for connection in self._connections:
            connection.moving.clear()

    def lose(self, share: float) -> None:
        """From now on lose this share (0 to 1) of what arrives from each side; 1.0 leaves connections half-open.

        Raises PermissionError where the system does not let a process filter its own sockets.
        """
        self._share = share
        for connection in self._connections:
            connection.lose(share)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self.sent)
        self._connections.add(connection)
        connection.lose(self._share)
        connection.task = asyncio.create_task(self._follow(connection))

    async def _follow(self, connection: _Connection) -> None:
        try:
            await connection.carry(self._server_port, self._share)
        finally:
            connection.reset()
            self._connections.discard(connection)


class _Connection:
    """A client's connection to the wire, and the wire's to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytearray) -> None:
        self.task: asyncio.Task[None]
        """Carries it; whoever accepts it makes it at once."""
        self.moving = asyncio.Event()
        self.moving.set()
        self._sent = sent
        self._reader = reader
        self._writers = [writer]

    async def carry(self, port: int, share: float) -> None:
        """Until either side has ended its direction and the other has, too; or it breaks."""
        with contextlib.suppress(OSError, asyncio.CancelledError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._writers.append(writer)
            self.lose(share)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(self._reader, writer, self._sent))
                group.create_task(self._pump(reader, self._writers[0], bytearray()))

    def reset(self) -> None:
        for writer in self._writers:
            with contextlib.suppress(OSError):  # it is closed already
                _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self.task.cancel()

    def lose(self, share: float) -> None:
        for writer in self._writers:
            _filter(_socket(writer), share)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        try:
            while data := await reader.read(65536):
                await self.moving.wait()
                seen += data
                writer.write(data)
                await writer.drain()
            await self.moving.wait()
            writer.write_eof()
        except OSError:  # one side is broken, and so is the other
            self.reset()


def _socket(writer: asyncio.StreamWriter) -> socket.socket:
    found: socket.socket = writer.get_extra_info("socket")
    return found


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def _filter(sock: socket.socket, share: float) -> None:
    """Make the kernel drop this share of the segments that arrive."""
    if share <= 0 or sock.fileno() < 0:
        return
    random = [(_LOAD, 0, 0, _RANDOM), (_AT_LEAST, 0, 1, int((1 - share) * 0xFFFFFFFF))] if share < 1 else []
    steps = [*random, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFFFFFF)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_Program(len(steps), ctypes.addressof(code))))
