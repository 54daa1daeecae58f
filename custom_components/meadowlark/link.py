"""The connection to a server by which the house is lent to it, and over which turns of Home Assistant run."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from homeassistant.components.conversation import ChatLog, ConversationInput
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, __version__
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import instance_id
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.json import json_dumps
from homeassistant.util.ulid import ulid_now
from yarl import URL

from .client import Client
from .const import DOMAIN, HOUSE_PROTOCOL, LOGGER
from .lending import LONGEST_NAME, LONGEST_TEXT, Lending, Shape
from .satellites import Satellite

if TYPE_CHECKING:
    from .data import MeadowlarkConfigEntry

_PATH = "api/v1/house"

_CONNECT_SECONDS = 10.0
"""Until the server has said welcome: on a busy Raspberry Pi a second."""

_PING_SECONDS = 10.0
"""Without anything to say for so long, the server is pinged. aiohttp's own heartbeat would leave a timer behind."""

_DEAD_SECONDS = 22.0
"""Without a word, or a pong, the connection is dead: two pings were lost then."""

_CLOSE_SECONDS = 2.0
"""For the other side of a good-bye, on the same network."""

_SEND_SECONDS = 10.0
"""For one message: a server that reads so slowly is gone, or will be."""

_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 60.0
"""Before it is tried again: any time up to this, doubled with each failure."""

_GOOD_SECONDS = 30.0
"""A connection that lasted so long was a good one: the next wait is a short one again."""

_ARRIVAL_SECONDS = 3.0
"""How long a turn waits for the connection, which after a restart of the server is there in a second or two."""

_SILENCE_SECONDS = 120.0
"""Of the server in a turn. A large language model on a small machine may need most of it to begin."""

_ANSWER_SECONDS = 300.0
"""For what the server asks of the house, such as a script; the server withdraws what it does not wait for."""

_TOGETHER_SECONDS = 0.02
"""Wishes for tools that come within this are run at the same time: they come back to back, if at all."""

_LENDING_SECONDS = 1.0
"""Changes of the house are collected for so long: when Home Assistant starts, there are thousands."""

_MOST_BYTES = 1 << 20
"""Of one message, as the server has it."""

_MOST_WAITING = 1000
"""Messages that nobody has sent or read yet, of the connection or of one turn."""

_MOST_ASKED = 32
"""Requests of the server that are worked on at the same time: a few for each of its turns."""

_MOST_SATELLITES = 200
"""That are looked at in one message."""


class LinkError(Exception):
    """A turn failed. `code` is the link's own (not_connected, lost, silent, too_long) or the server's."""

    def __init__(self, code: str, text: str) -> None:
        """`text` is a sentence for the user."""
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Delta:
    """Text for the listener."""

    text: str


@dataclass(frozen=True)
class ServerTool:
    """One of the server's own tools runs now."""

    call: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class ServerToolResult:
    """What came of it."""

    call: str
    text: str
    failed: bool


@dataclass(frozen=True)
class HouseTool:
    """The server wants a tool of the house, and waits for `Link.answer`."""

    request: int
    call: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class HouseTools:
    """Those that it wants at the same time."""

    tools: Sequence[HouseTool]


@dataclass(frozen=True)
class End:
    """The turn has ended."""

    text: str
    """The whole answer."""
    listen: bool
    """Whether it is a question: then the microphone opens again."""


type TurnEvent = Delta | ServerTool | ServerToolResult | HouseTools | End


@dataclass(frozen=True)
class Turn:
    """Something that was said to Home Assistant and is for the server's agent."""

    user_input: ConversationInput
    chat_log: ChatLog
    message: Shape
    """What the server is told of it: the fields of `turn`, but its id."""


@dataclass
class _Running:
    """A turn that runs on the server."""

    turn: Turn
    events: asyncio.Queue[Delta | ServerTool | ServerToolResult | HouseTool | End | LinkError] = field(
        default_factory=lambda: asyncio.Queue(_MOST_WAITING)
    )

    def fail(self, error: LinkError) -> None:
        """Have the turn fail, whatever was to come before."""
        while self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(error)


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
        self._connection: _Connection | None = None
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

    def answer(self, tool: HouseTool, reply: Shape) -> None:
        """Tell the server what came of a tool. Nothing happens when it does not wait for it any more."""
        if self._connection is not None:
            self._connection.reply(tool.request, reply)

    async def _stay_connected(self) -> None:
        wait = _SHORTEST_WAIT
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                reason = await self._connect()
            except aiohttp.WSServerHandshakeError as error:
                if error.status == HTTPStatus.UNAUTHORIZED:
                    self._entry.async_start_reauth(self._hass)
                    return
                reason = f"HTTP status {error.status}"
            except TimeoutError:
                reason = "no answer in time"
            except (aiohttp.ClientError, OSError) as error:
                reason = str(error) or type(error).__name__
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
                max_msg_size=_MOST_BYTES,
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
                welcome = _message(await socket.receive())
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
                return await self._stay(_Connection(self._hass, self._entry, socket, self.lending), welcome)

    async def _stay(self, connection: _Connection, welcome: Shape) -> str:
        """Serve a connection until it ends, and say why."""
        if self._lost:
            self._lost = False
            LOGGER.info("The connection to %s is there again", self._entry.title)
        self._connection = connection
        self._tell(welcome)
        self._arrived.set()
        try:
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
                        for one in satellites[:_MOST_SATELLITES]
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


class _Connection:
    """One connection that the server has welcomed."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: MeadowlarkConfigEntry,
        socket: aiohttp.ClientWebSocketResponse,
        lending: Lending,
    ) -> None:
        self._hass = hass
        self._entry = entry
        self._socket = socket
        self._lending = lending
        self._outbox: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)
        self._turns: dict[str, _Running] = {}
        self._asked: dict[int, asyncio.Task[None] | None] = {}
        """What the server waits for, by its numbers. A tool in a turn is run by the turn, and has no task."""
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self, tell: Callable[[Mapping[str, object]], None]) -> str:
        """Read until the connection ends, and say why it did. `tell` gets what is not about one turn."""
        self._tasks = [self._background(self._write(), "writer"), self._background(self._lend(), "lending")]
        async for frame in self._socket:
            message = _message(frame)
            try:
                self._take(message, tell)
            except Exception as error:  # one message that fits nobody must not end the link
                LOGGER.debug("A message of the server could not be taken", exc_info=error)
        broken = self._socket.exception()
        return str(broken) or type(broken).__name__ if broken else f"closed with {self._socket.close_code}"

    def end(self) -> None:
        """Have everything fail that still waits for the server, and stop what it has asked for."""
        for running in self._turns.values():
            running.fail(LinkError("lost", "The connection to the Meadowlark server was lost. Please try again."))
        for task in (*self._asked.values(), *self._tasks):
            if task is not None:
                task.cancel()
        self._asked.clear()

    async def run_turn(self, turn: Turn) -> AsyncGenerator[TurnEvent]:
        """Run a turn; see Link.turn."""
        turn_id = ulid_now()
        running = self._turns[turn_id] = _Running(turn)
        over = False
        try:
            self._send({"type": "turn", "id": turn_id, **turn.message})
            waiting: HouseTool | Delta | ServerTool | ServerToolResult | End | LinkError | None = None
            while True:
                event = waiting or await self._next(running, _SILENCE_SECONDS)
                waiting = None
                if isinstance(event, HouseTool):
                    tools = [event]
                    while isinstance(waiting := await self._next(running, _TOGETHER_SECONDS), HouseTool):
                        tools.append(waiting)
                    yield HouseTools(tools)
                    continue
                if event is None:
                    raise LinkError("silent", "The Meadowlark server did not answer in time. Please try again.")
                over = isinstance(event, LinkError | End)
                if isinstance(event, LinkError):
                    raise event
                yield event
                if over:
                    return
        finally:
            del self._turns[turn_id]
            if not over:
                self._send({"type": "cancel", "id": turn_id})

    def reply(self, request: int, reply: Shape) -> None:
        """Answer a request, if the server still waits for it."""
        if request in self._asked:
            del self._asked[request]
            self._send({"type": "reply", "to": request, **reply})

    async def _next(
        self, running: _Running, seconds: float
    ) -> Delta | ServerTool | ServerToolResult | HouseTool | End | LinkError | None:
        """What comes next in a turn; None when nothing does in time."""
        try:
            async with asyncio.timeout(seconds):
                return await running.events.get()
        except TimeoutError:
            return None

    def _take(self, message: Shape, tell: Callable[[Mapping[str, object]], None]) -> None:
        """Do what a message is for. One that is unknown, or for a turn that is over, is for nothing."""
        match message:
            case {"type": "turn-delta", "id": str(turn), "text": str(text)}:
                self._pass(turn, Delta(text))
            case {"type": "turn-tool", "id": str(turn), "call": str(call), "name": str(name), "arguments": dict(given)}:
                self._pass(turn, ServerTool(call, name, given))
            case {"type": "turn-tool-result", "id": str(turn), "call": str(call), "text": str(text)}:
                self._pass(turn, ServerToolResult(call, text, bool(message.get("failed"))))
            case {"type": "turn-end", "id": str(turn), "text": str(text)}:
                self._pass(turn, End(text, bool(message.get("listen"))))
            case {"type": "turn-error", "id": str(turn), "code": str(code), "text": str(text)}:
                self._pass(turn, LinkError(code, text))
            case {"type": "recognize" | "perform" | "tool" | "announce", "id": int(request)}:
                self._ask(request, message)
            case {"type": "withdraw", "id": int(request)}:
                task = self._asked.pop(request, None)
                if task is not None:
                    task.cancel()
            case {"type": "timeline" | "busy" | "satellites"}:
                tell(message)
                if message["type"] == "satellites":
                    self._changed.set()
            case _:
                LOGGER.debug("A message of the server is not known: %s", message.get("type"))

    def _pass(self, turn_id: str, event: Delta | ServerTool | ServerToolResult | HouseTool | End | LinkError) -> None:
        """Give a turn what happened in it."""
        running = self._turns.get(turn_id)
        if running is None:
            return
        try:
            running.events.put_nowait(event)
        except asyncio.QueueFull:
            running.fail(LinkError("silent", "The answer came faster than it could be said. Please try again."))

    def _ask(self, request: int, message: Shape) -> None:
        """Begin with something that the server asks of the house."""
        if len(self._asked) >= _MOST_ASKED:
            self._send({"type": "reply", "to": request, "error": _problem("busy", "Home Assistant has too much to do")})
            return
        self._asked[request] = None
        turn_id = message.get("turn")
        running = self._turns.get(turn_id) if isinstance(turn_id, str) else None
        if turn_id is not None and running is None:
            self.reply(request, {"error": _problem("no_turn", "This turn is over")})
            return
        match message:
            case {"type": "tool", "name": str(name), "arguments": dict(given), "call": str(call)} if running:
                self._pass(str(turn_id), HouseTool(request, call, name, given))
            case _:
                turn = running.turn if running else None
                self._asked[request] = self._background(self._work(request, message, turn), f"{message['type']}")

    async def _work(self, request: int, message: Shape, turn: Turn | None) -> None:
        """Do what the server asks, and reply."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reply = await self._lending.answer(message, turn)
        except TimeoutError:
            reply = {"error": _problem("timeout", "Home Assistant took too long")}
        except HomeAssistantError as error:
            reply = {"error": _problem("failed", str(error) or type(error).__name__)}
        except Exception as error:  # a defect in anybody's automation or tool must not end the link
            LOGGER.warning("Home Assistant could not do what the server asked for (%s)", type(error).__name__)
            LOGGER.debug("%s", message["type"], exc_info=error)
            reply = {"error": _problem("failed", str(error) or type(error).__name__)}
        self.reply(request, reply)

    async def _lend(self) -> None:
        """Tell the server what the house lends, and again whenever that has changed."""
        lent: str | None = None
        end = self._lending.listen(self._changed.set)
        try:
            while True:
                self._changed.clear()
                try:
                    now = json_dumps(await self._lending.lend())
                    if now != lent:
                        self._put(now)
                        lent = now
                except Exception as error:  # names and tools come from anybody's integrations
                    LOGGER.warning("The house cannot be lent to %s: %r", self._entry.title, error)
                await self._changed.wait()
                await asyncio.sleep(_LENDING_SECONDS)
        finally:
            end()

    def _send(self, message: Shape) -> None:
        self._put(json_dumps(message))

    def _put(self, message: str) -> None:
        """Have a message sent. One that is lost with the connection is not needed any more."""
        if len(message.encode()) > _MOST_BYTES:
            raise LinkError("too_long", "This is more than the Meadowlark server can take. Please say it in parts.")
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            LOGGER.debug("The server does not read what it is sent")
            self._background(self._close(), "close")

    async def _write(self) -> None:
        """Send what is to be sent. A server that does not read is as good as gone."""
        try:
            while True:
                try:
                    async with asyncio.timeout(_PING_SECONDS):
                        message = await self._outbox.get()
                except TimeoutError:
                    message = ""
                async with asyncio.timeout(_SEND_SECONDS):
                    await (self._socket.send_str(message) if message else self._socket.ping())
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            LOGGER.debug("Sending failed: %s", error)
            await self._close()

    async def _close(self) -> None:
        await self._socket.close()

    def _background(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._entry.async_create_background_task(self._hass, work, f"{DOMAIN} {name}")


def _message(frame: aiohttp.WSMessage) -> Shape:
    """What a frame says; nothing where it is not a JSON object."""
    if frame.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        value = json.loads(frame.data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _problem(code: str, text: str) -> Shape:
    return {"code": code, "text": text[:LONGEST_TEXT]}
