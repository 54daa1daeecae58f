"""One Wyoming connection on the serving side: its events, its tasks, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong

from handlers.errors import INTERNAL, MeadowlarkError, ProtocolError
from handlers.wire.reader import DEFAULT_LIMITS, EventReader, IdleError, Limits
from handlers.wire.writer import encode

_LOGGER = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""A peer that takes nothing for so long is gone; a satellite that plays a long answer takes some all the time."""

IDLE_SECONDS = 600.0
"""Silence after which an unused connection is closed. Home Assistant asks `describe` every 30 s on its own."""

GOODBYE_SECONDS = 2.0
"""How long a closing connection may take to take its last bytes."""

_CANCEL_SECONDS = 3.0
"""How long cancelled tasks may take; they only wait for what can be cancelled, so more is a defect that is logged."""

_LINGER_BYTES = 4 * 1024 * 1024
"""What is read and thrown away after an `error`: closing with unread bytes would reset the connection, and a peer
that is still sending would lose the answer. A peer that sends more than this is not listening anyway."""


class PeerGoneError(ConnectionError):
    """The peer left, or takes nothing any more. Services let it pass: there is nobody to tell."""


class Service(Protocol):
    """What one connection offers. Made anew for every connection."""

    def wants(self, event_type: str) -> bool:
        """Whether this service takes an event of this type in its present state."""

    async def handle(self, event: Event) -> None:
        """Take one event. Must return soon: work goes into `Connection.start`.

        A RequestError is answered on the wire and the connection goes on.
        """


class Connection:
    """Reads events, hands each to the first service that wants it, and owns every task that they start.

    When the peer goes away, all of those tasks are cancelled: closing the connection cancels the turn. Closing only
    the peer's own direction (as `nc` does at the end of its input) counts as going away, because the protocol has
    no other way to cancel; what was answered before, such as `describe`, still arrives.
    """

    def __init__(
        self,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        describe: Callable[[], Event],
        limits: Limits = DEFAULT_LIMITS,
        idle: float = IDLE_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self.name = name
        self._stream = reader
        self._events = EventReader(reader, limits)
        self._writer = writer
        self._describe = describe
        self._idle = idle
        self._send_seconds = send_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = False
        self._heard = asyncio.get_running_loop().time()
        self._closing = False

    @property
    def working(self) -> bool:
        """Whether a task runs for this peer."""
        return bool(self._tasks)

    @property
    def asked(self) -> bool:
        """Whether this peer ever sent an event."""
        return self._asked

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last event, or since the peer came."""
        return asyncio.get_running_loop().time() - self._heard

    async def serve(self, services: Sequence[Service]) -> None:
        """Serve until the peer leaves, is silent too long, or sends what is not Wyoming. Closes the connection."""
        try:
            while (event := await self._next()) is not None:
                self._asked = True
                await self._guarded(self._dispatch(event, services))
                self._heard = asyncio.get_running_loop().time()
        except ProtocolError as error:
            _LOGGER.info("%s: closed: %s", self.name, error)
            await self._cancel_tasks()
            await self._last_words(error)
        except OSError as error:
            _LOGGER.debug("%s: the peer is gone (%s)", self.name, type(error).__name__)
        finally:
            await self.close()

    async def send(self, event: Event) -> None:
        """Write one event; waits while the peer is slow. Raises PeerGoneError when it is gone or too slow.

        Events of one task arrive in order and no event is cut by another; between tasks nothing is ordered.
        """
        if self._closing:
            raise PeerGoneError("The connection is closed")
        try:
            async with asyncio.timeout(self._send_seconds) as deadline:
                self._writer.write(encode(event))
                await self._writer.drain()
        except OSError as error:  # TimeoutError is one: our deadline, or the socket's own
            reason = "takes nothing any more" if deadline.expired() else f"is gone ({type(error).__name__})"
            _LOGGER.info("%s: closed: the peer %s", self.name, reason)
            self._writer.transport.abort()  # a mere close would wait for the peer to take what is buffered
            raise PeerGoneError(f"The peer {reason}") from None

    async def send_error(self, error: MeadowlarkError) -> None:
        """Answer with an `error` event."""
        await self.send(Error(text=str(error), code=error.code).event())

    def start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task of this connection. What it raises is answered with an `error` event."""
        task = asyncio.create_task(self._guarded(work), name=f"{self.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # else Python warns when it was cancelled before it began
        if self._closing:
            task.cancel()
        return task

    def dismiss(self, reason: ProtocolError) -> None:
        """End the connection from outside, with `reason` as its `error` event, at its next wait for an event."""
        self._stream.set_exception(reason)

    async def close(self) -> None:
        """Cancel and await every task, then close the socket; all of it with deadlines."""
        if self._closing:
            return
        self._closing = True
        try:
            await self._cancel_tasks()
            self._writer.close()
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._writer.wait_closed()
        except OSError:  # TimeoutError is one
            pass
        finally:
            self._writer.transport.abort()  # what the peer did not take by now is lost

    async def _next(self) -> Event | None:
        while True:
            try:
                return await self._events.read(self._idle)
            except IdleError:
                if not self._tasks or self._stream.exception() is not None:
                    raise

    async def _dispatch(self, event: Event, services: Sequence[Service]) -> None:
        if Describe.is_type(event.type):
            await self.send(self._describe())
            return
        if Ping.is_type(event.type):
            await self.send(Pong(text=_text(event.data.get("text"))).event())
            return
        for service in services:
            if service.wants(event.type):
                await service.handle(event)
                return
        # Unknown events are dropped: the protocol's way of letting new ones in.

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as raised:
            error = _cause(raised)
            if isinstance(error, PeerGoneError):
                return
            if isinstance(error, MeadowlarkError):
                _LOGGER.info("%s: %s: %s", self.name, error.code, error)
            else:
                _LOGGER.exception("%s: unexpected error", self.name)
                error = MeadowlarkError(INTERNAL)
            with contextlib.suppress(PeerGoneError):
                await self.send_error(error)

    async def _cancel_tasks(self) -> None:
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, stuck = await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
        for task in stuck:
            _LOGGER.error("%s: the task '%s' does not end when it is cancelled", self.name, task.get_name())

    async def _last_words(self, error: ProtocolError) -> None:
        with contextlib.suppress(OSError, ProtocolError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.send_error(error)
                await linger(self._stream, self._writer)


async def linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close our direction, then drop what the peer still sends, so that it gets to read our last words.

    Ends when the peer closes or has sent too much; the caller sets the deadline.
    """
    writer.write_eof()
    dropped = 0
    while dropped < _LINGER_BYTES and (piece := await reader.read(64 * 1024)):
        dropped += len(piece)


def _cause(error: Exception) -> Exception:
    """What went wrong first, taken out of the groups in which a TaskGroup wraps it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
