"""The satellite under Home Assistant: its own `wyoming` integration connects to this port and runs its Assist pipeline.

Nobody is asked who they are, as the protocol has no word for it: whoever reaches the port can run the satellite. What
they hear begins with a wake word all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import socket
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from wyoming.event import Event
from wyoming.info import Attribution, Info, Satellite, WakeModel, WakeProgram

from handlers import __version__
from handlers.errors import ProtocolError, RequestError, SettingsError
from handlers.wire.announcement import announced
from handlers.wire.client import parse_uri
from handlers.wire.connection import Connection
from handlers.wire.discovery import WYOMING_TYPE
from handlers.wire.reader import DEFAULT_LIMITS
from handlers.wire.sockets import keep_alive
from satellite.happenings import Happenings, Kind, Value
from satellite.link import LinkLostError
from satellite.sink import Sink
from satellite.speech import Speech
from satellite.station_line import Line
from satellite.station_notices import RING_SECONDS, StationNotices
from satellite.station_turn import StationTurn
from satellite.turn import SILENT_SECONDS, TurnRequest

_LOGGER = logging.getLogger(__name__)

DEFAULT_PORT = 10700
"""Where Home Assistant's users expect a satellite."""

FIND_SECONDS = 15.0
"""Home Assistant tries to connect every 10 s."""

_UNIX = "unix://"

_MOST_CONNECTIONS = 8
"""Home Assistant has one that lasts, and one for a moment every 30 s."""

_IDLE_SECONDS = 30.0
"""For who connects and says nothing."""

_CLOSE_SECONDS = 5.0
"""For all connections to end: each takes at most two to say goodbye and three for its tasks."""

_ATTRIBUTION = Attribution(name="Meadowlark", url="https://github.com/meadowlark-voice/meadowlark")


class Station:
    """A `Partner` and the satellite's `Notices` (see `partner.py`, `machine.py`), both of them Home Assistant.

    `wake_words` are phrases by the names that requests have. `interfaces` are addresses of this machine to announce
    the satellite on; by default all, where it can be reached from elsewhere. Raises SettingsError for a bad `uri`.
    """

    def __init__(
        self,
        uri: str,
        sink: Sink,
        name: str,
        wake_words: Mapping[str, str],
        happenings: Happenings,
        *,
        interfaces: Sequence[str] | None = None,
        find_seconds: float = FIND_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
        ring_seconds: float = RING_SECONDS,
    ) -> None:
        self._path = uri.removeprefix(_UNIX) if uri.startswith(_UNIX) else ""
        self._host, self.port = ("", 0) if self._path else _address(uri)
        self._sink = sink
        self._name = name
        self._info = _info(name, wake_words)
        self._happenings = happenings
        self._interfaces = interfaces
        self._find_seconds = find_seconds
        self._silent_seconds = silent_seconds
        self._notices = StationNotices(sink, happenings, ring_seconds=ring_seconds)
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._numbers = itertools.count(1)
        self._line: Line | None = None
        self._there = asyncio.Event()
        self._replaced = False

    judges_wake_words = False
    """Home Assistant takes its satellites' word for it."""

    @property
    def uri(self) -> str:
        """Where it listens, once it does."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{_UNIX}{self._path}" if self._path else f"tcp://{host}:{self.port}"

    async def start(self) -> None:
        """Listen, if it does not yet. Raises SettingsError when that cannot be."""
        async with self._starting:
            if self._server is not None:
                return
            limit = DEFAULT_LIMITS.header
            try:
                if self._path:
                    self._server = await asyncio.start_unix_server(self._accept, self._path, limit=limit)
                    return
                self._server = await asyncio.start_server(self._accept, self._host, self.port, limit=limit)
            except OSError as error:
                raise _unusable(error, self.uri) from None
            self.port = self._server.sockets[0].getsockname()[1]
            _LOGGER.info("Home Assistant can use this satellite at port %d", self.port)

    async def close(self) -> None:
        """Say goodbye to Home Assistant and listen no more."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = list(self._connections)
        for connection in self._connections.values():
            connection.dismiss(ProtocolError("This satellite is being stopped", code="stopped"))
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Be found on the network and play what is said unasked, for as long as it is not cancelled."""
        await self.start()
        async with self._announcing():
            await self._notices.run()

    @property
    def is_there(self) -> bool:
        """Home Assistant is connected, and has not switched the satellite off."""
        return self._there.is_set()

    async def find(self) -> None:
        """Return when Home Assistant is there; LinkLostError when it does not come soon."""
        await self.start()
        try:
            async with asyncio.timeout(self._find_seconds):
                await self._there.wait()
        except TimeoutError:
            raise LinkLostError(
                f"Home Assistant does not use this satellite at {self.uri}: add the integration 'Wyoming Protocol' "
                "there, with this machine's address, or check that it is not muted there"
            ) from None

    async def wait(self) -> None:
        """Return when Home Assistant is there. Its absence is told once."""
        try:
            await self.find()
        except LinkLostError as error:
            _LOGGER.warning("%s. Waiting for it", error)
            await self._there.wait()

    def begin(self, request: TurnRequest) -> StationTurn:
        """A turn, not yet run."""
        return StationTurn(self._line, self._sink, request, self._happenings, silent_seconds=self._silent_seconds)

    @property
    def sounding(self) -> bool:
        """An announcement is being played, or a timer rings."""
        return self._notices.sounding

    def stop(self) -> bool:
        """Somebody wants quiet: end announcements and rings. False when there was none."""
        return self._notices.stop()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The length of a turn: what sounds is stopped, and what comes waits."""
        return self._notices.turn()

    def enter(self, line: Line) -> None:
        """Home Assistant wants to use the satellite on this line; who did so before is told."""
        before, self._line = self._line, line
        if before is not None and before is not line:
            if before.is_alive and not self._replaced:
                self._replaced = True
                _LOGGER.warning("Two Home Assistants use this satellite in turns: remove it from one of them")
            before.replace()
        self.look()

    def leave(self, line: Line) -> None:
        """Home Assistant is gone."""
        if self._line is line:
            self._line = None
        self.look()

    def look(self) -> None:
        """Whether Home Assistant is there may have changed."""
        there = self._line is not None and not self._line.is_paused
        if there == self._there.is_set():
            return
        if there:
            self._there.set()
            _LOGGER.info("Home Assistant uses this satellite")
        else:
            self._there.clear()
            _LOGGER.info("Home Assistant does not use this satellite any more")
        self._happenings.tell(Kind.CONNECTED if there else Kind.DISCONNECTED)

    def announce(self, speech: Speech, line: Line) -> None:
        """Home Assistant says something unasked."""
        self._notices.announce(speech, line.played)

    def timer(self, kind: Kind, data: dict[str, Value]) -> None:
        """A timer's event; one that has finished rings."""
        self._happenings.tell(kind, **data)
        timer = str(data.get("id"))
        if kind is Kind.TIMER_FINISHED:
            self._notices.ring(timer)
        elif kind is Kind.TIMER_CANCELLED:
            self._notices.forget(timer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= 2 * _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        sock: socket.socket | None = writer.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock, impatient=True)
        name = f"home-assistant-{next(self._numbers)}"
        connection = Connection(name, reader, writer, lambda: self._info, idle=_IDLE_SECONDS)
        if len(self._connections) >= _MOST_CONNECTIONS:
            text = f"This satellite serves at most {_MOST_CONNECTIONS} connections at a time; try again in a moment"
            connection.dismiss(ProtocolError(text, code="too-many-connections"))
        task = asyncio.create_task(self._serve(connection), name=name)
        self._connections[task] = connection
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _serve(self, connection: Connection) -> None:
        line = Line(connection, self)
        try:
            await connection.serve([line])
        except Exception:
            _LOGGER.exception("%s: unexpected error", connection.name)
        finally:
            line.close()
            await connection.close()

    def _announcing(self) -> AbstractAsyncContextManager[None]:
        if self._server is None or self._path:
            return contextlib.nullcontext()
        bound = [str(sock.getsockname()[0]) for sock in self._server.sockets]
        server = f"meadowlark-satellite-{uuid.getnode():012x}-{self.port}"
        return announced(WYOMING_TYPE, f"{self._name} satellite", server, self.port, bound, self._interfaces)


def _address(uri: str) -> tuple[str, int]:
    try:
        return parse_uri(uri, DEFAULT_PORT)
    except RequestError as error:
        raise SettingsError(f"{error}, such as tcp://0.0.0.0:{DEFAULT_PORT}") from None


def _info(name: str, wake_words: Mapping[str, str]) -> Event:
    """Made once, so that `describe` is answered at once. Home Assistant looks a wake word's phrase up in it."""
    models = [
        WakeModel(
            name=word,
            attribution=_ATTRIBUTION,
            installed=True,
            description=phrase,
            version=None,
            languages=[],
            phrase=phrase,
        )
        for word, phrase in wake_words.items()
    ]
    wake = WakeProgram(
        name="meadowlark-satellite",
        attribution=_ATTRIBUTION,
        installed=True,
        description="Wake words of this satellite",
        version=__version__,
        models=models,
    )
    satellite = Satellite(
        name=name,
        attribution=_ATTRIBUTION,
        installed=True,
        description="Meadowlark satellite",
        version=__version__,
        has_vad=False,
        active_wake_words=list(wake_words),
        max_active_wake_words=len(wake_words),
        supports_trigger=False,
    )
    return Info(wake=[wake] if models else [], satellite=satellite).event()


def _unusable(error: OSError, uri: str) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        return SettingsError(f"{uri} is in use: stop the other program or choose another port with --uri")
    if error.errno in (errno.EACCES, errno.EPERM):
        return SettingsError(f"{uri} is not allowed here: choose a port over 1023 with --uri")
    return SettingsError(f"Cannot listen on {uri} ({error.strerror or error}): choose another with --uri")
