"""The connection to a server by which the house is lent to it, and over which turns of Home Assistant run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, __version__
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.helpers import instance_id
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.json import json_dumps
from yarl import URL

from .client import Client
from .connection import MOST_BYTES, Connection, read_message
from .const import DOMAIN, HOUSE_PROTOCOL, LOGGER
from .lending import LONGEST_NAME, LONGEST_TEXT, Lending, Shape
from .satellites import Satellite
from .turn import LinkError, Turn, TurnEvent

if TYPE_CHECKING:
    from .data import MeadowlarkConfigEntry

_PATH = "api/v1/house"

_CONNECT_SECONDS = 10.0
"""Until the server has said welcome: on a busy Raspberry Pi a second."""

_DEAD_SECONDS = 22.0
"""Without a word, or a pong, the connection is dead: two pings were lost then."""

_CLOSE_SECONDS = 2.0
"""For the other side of a good-bye, on the same network."""

_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 60.0
"""Before it is tried again: any time up to this, doubled with each failure."""

_GOOD_SECONDS = 30.0
"""A connection that lasted so long was a good one: the next wait is a short one again."""

_ARRIVAL_SECONDS = 3.0
"""How long a turn waits for the connection, which after a restart of the server is there in a second or two."""


class Link:
    """Keeps one connection to a server, and connects again when it is lost."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: MeadowlarkConfigEntry,
        client: Client,
        lending: Lending,
        on_timeline: Callable[[dict[str, object]], None],
    ) -> None:
        """`on_timeline` gets every message about a turn that has ended."""
        self.busy = False
        """Whether somebody is listened to or answered by the server."""
        self.lending = lending
        """What is lent over it."""
        self._hass = hass
        self._entry = entry
        self._client = client
        self._on_timeline = on_timeline
        self._listeners: list[Callable[[], None]] = []
        self._connection: Connection | None = None
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._server: tuple[str, int] | None = None
        self._lost = False

    @property
    def connected(self) -> bool:
        """Whether turns can run."""
        return self._connection is not None

    @property
    def satellites(self) -> Sequence[Satellite]:
        """Those that are connected to the server."""
        return self.lending.satellites.connected

    def subscribe(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Have `listener` called when connected, busy or satellites have changed. Returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def start(self) -> None:
        """Begin to connect, in the background."""

        async def stop(_event: Event) -> None:
            await self.close()

        self._task = self._entry.async_create_background_task(self._hass, self._stay_connected(), f"{DOMAIN} link")
        self._entry.async_on_unload(self._hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop))

    async def close(self) -> None:
        """End the connection, and every turn with it. The link is not used again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def turn(self, turn: Turn) -> AsyncGenerator[TurnEvent]:
        """Run a turn on the server. Closing it early cancels the turn. LinkError when it fails, at once when the
        connection is lost."""
        if len(turn.user_input.text) > LONGEST_TEXT:
            raise LinkError("too_long", "This is more than the Meadowlark server can take. Please say it in parts.")
        try:
            async with asyncio.timeout(_ARRIVAL_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            raise LinkError("not_connected", "The Meadowlark server cannot be reached. Check that it runs.") from None
        connection = self._connection
        if connection is None:  # lost again in the very moment
            raise LinkError("lost", "The connection to the Meadowlark server was lost. Please try again.")
        async with aclosing(connection.run_turn(turn)) as events:
            async for event in events:
                yield event

    async def _stay_connected(self) -> None:
        wait = _SHORTEST_WAIT
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                reason = await self._connect()
            except aiohttp.WSServerHandshakeError as error:
                if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # a weak one is forbidden
                    self._entry.async_start_reauth(self._hass)
                    return
                reason = f"HTTP status {error.status}"
            except TimeoutError:
                reason = "no answer in time"
            except (aiohttp.ClientError, OSError) as error:
                reason = str(error) or type(error).__name__
            except Exception as error:  # whatever it is, the house is lent again
                LOGGER.debug("The connection ended with a defect", exc_info=error)
                reason = f"defect: {type(error).__name__}"
            if reason is None:
                # Set-up looks at what has changed: it tells the user what to do, or uses the server as it is now.
                self._hass.config_entries.async_schedule_reload(self._entry.entry_id)
                return
            if not self._lost:
                self._lost = True
                LOGGER.warning("There is no connection to %s (%s); trying again", self._entry.title, reason)
            if loop.time() - began > _GOOD_SECONDS:
                wait = _SHORTEST_WAIT
            await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - not a secret
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _connect(self) -> str | None:
        """Be connected until that ends, and say why; None where the server is not the one it was at set-up."""
        async with asyncio.timeout(_CONNECT_SECONDS) as deadline:
            async with async_get_clientsession(self._hass).ws_connect(
                URL(self._client.url).joinpath(_PATH),
                headers=self._client.headers,
                max_msg_size=MOST_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_receive=_DEAD_SECONDS, ws_close=_CLOSE_SECONDS),
            ) as socket:
                await socket.send_str(
                    json_dumps(
                        {
                            "type": "hello",
                            "protocol": HOUSE_PROTOCOL,
                            "instance": await instance_id.async_get(self._hass),
                            "version": __version__,
                            "name": self._hass.config.location_name[:LONGEST_NAME],
                        }
                    )
                )
                welcome = read_message(await socket.receive())
                deadline.reschedule(None)
                match welcome:
                    case {
                        "type": "welcome",
                        "protocol": int(protocol),
                        "id": str(server_id),
                        "version": str(version),
                        "wyoming_port": int(wyoming_port),
                    }:
                        server = (version, wyoming_port)
                        if protocol != HOUSE_PROTOCOL or server_id != self._entry.unique_id:
                            return None
                        if self._server not in (None, server):
                            return None
                        self._server = server
                    case {"type": "refused", "code": "protocol"}:
                        return None
                    case {"type": "refused", "text": str(text)}:
                        return f"it refused: {text}"
                    case _:
                        return f"it closed the connection ({socket.close_code})"
                return await self._stay(Connection(self._hass, self._entry, socket, self.lending), welcome)

    async def _stay(self, connection: Connection, welcome: Shape) -> str:
        """Serve a connection until it ends, and say why."""
        self._connection = connection
        try:
            self._tell(welcome)
            self._arrived.set()
            if self._lost:
                self._lost = False
                LOGGER.info("The connection to %s is there again", self._entry.title)
            return await connection.serve(self._tell)
        finally:
            self._connection = None
            self._arrived.clear()
            self.busy = False
            connection.end()
            self.lending.satellites.update(())
            self._notify()

    def _tell(self, message: Mapping[str, object]) -> None:
        """Take what the server tells of itself."""
        if message.get("type") == "timeline":
            self._on_timeline(dict(message))
            return
        match message.get("satellites"):
            case list(satellites):
                self.lending.satellites.update(
                    [
                        Satellite(str(one["id"]), str(one.get("room", "")))
                        for one in satellites
                        if isinstance(one, dict) and "id" in one
                    ]
                )
        match message.get("busy"):
            case bool(busy):
                self.busy = busy
        self._notify()

    @callback
    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()
