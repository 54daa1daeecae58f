"""One connection to a server: turns run over it, and what the server asks of the house is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import probatio
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import llm
from homeassistant.helpers.json import json_dumps
from homeassistant.util.ulid import ulid_now

from .const import DOMAIN, LOGGER
from .lending import LONGEST_TEXT, Lending, Shape, failure, told
from .turn import (
    MOST_WAITING,
    Delta,
    End,
    HouseTool,
    HouseToolResult,
    LinkError,
    RunningTurn,
    ServerTool,
    ServerToolResult,
    Turn,
    TurnEvent,
)

if TYPE_CHECKING:
    from .data import MeadowlarkConfigEntry

_PING_SECONDS = 10.0
"""Without anything to say for so long, the server is pinged. aiohttp's own heartbeat would leave a timer behind."""

_SEND_SECONDS = 10.0
"""For one message: a server that reads so slowly is gone, or will be."""

_SILENCE_SECONDS = 120.0
"""Of the server in a turn. A large language model on a small machine may need most of it to begin."""

_ANSWER_SECONDS = 300.0
"""For what the server asks of the house, such as a script; the server withdraws what it does not wait for."""

_STOP_SECONDS = 5.0
"""For a tool that is to stop, as it may have to tidy up."""

_LENDING_SECONDS = 1.0
"""Changes of the house are collected for so long: when Home Assistant starts, there are thousands."""

_MOST_ASKED = 32
"""Requests of the server that are worked on at the same time: a few for each of its turns."""

MOST_BYTES = 1 << 20
"""Of one message, as the server has it."""


@dataclass
class _Request:
    """Something that the server asks of the house."""

    task: asyncio.Task[None] | None = None
    running: RunningTurn | None = None
    call: str = ""
    """Where it is a tool for a turn."""

    def stop(self) -> None:
        """The server does not wait for it any more."""
        if self.running is not None:
            unwanted = failure(HomeAssistantError("The server did not wait for it any longer"))
            self.running.add(HouseToolResult(self.call, unwanted))
        if self.task is not None:
            self.task.cancel()


class Connection:
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
        self._outbox: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)
        self._turns: dict[str, RunningTurn] = {}
        self._asked: dict[int, _Request] = {}
        """What the server waits for, by its numbers."""
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self, tell: Callable[[Mapping[str, object]], None]) -> str:
        """Read until the connection ends, and say why it did. `tell` gets what is not about one turn."""
        self._tasks = [self._background(self._write(), "writer"), self._background(self._lend(), "lending")]
        async for frame in self._socket:
            message = read_message(frame)
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
        for request in self._asked.values():
            if request.task is not None:
                request.task.cancel()
        self._asked.clear()
        for task in self._tasks:
            task.cancel()

    async def run_turn(self, turn: Turn) -> AsyncGenerator[TurnEvent]:
        """Run a turn; see Link.turn."""
        turn_id = ulid_now()
        running = self._turns[turn_id] = RunningTurn(turn)
        over = False
        try:
            self._send({"type": "turn", "id": turn_id, **turn.message})
            while not over:
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        event = await running.events.get()
                except TimeoutError:
                    if running.tools:  # it is the server that waits
                        continue
                    raise LinkError(
                        "silent", "The Meadowlark server did not answer in time. Please try again."
                    ) from None
                over = isinstance(event, LinkError | End)
                if isinstance(event, LinkError):
                    raise event
                yield event
        finally:
            del self._turns[turn_id]
            if not over:
                self._send({"type": "cancel", "id": turn_id})
            await _stop(running.tools)

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
                asked = self._asked.pop(request, None)
                if asked is not None:
                    asked.stop()
            case {"type": "timeline" | "busy" | "satellites"}:
                tell(message)
                if message["type"] == "satellites":
                    self._changed.set()
            case _:
                LOGGER.debug("A message of the server is not known: %s", message.get("type"))

    def _pass(self, turn_id: str, event: TurnEvent | LinkError) -> None:
        """Give a turn what happened in it."""
        if turn_id in self._turns:
            self._turns[turn_id].add(event)

    def _ask(self, request: int, message: Shape) -> None:
        """Begin with something that the server asks of the house."""
        if len(self._asked) >= _MOST_ASKED:
            self._send({"type": "reply", "to": request, "error": _problem("busy", "Home Assistant has too much to do")})
            return
        asked = self._asked[request] = _Request()
        turn_id = message.get("turn")
        running = self._turns.get(turn_id) if isinstance(turn_id, str) else None
        if turn_id is not None and running is None:
            self._reply(request, {"error": _problem("no_turn", "This turn is over")})
            return
        match message:
            case {"type": "tool", "name": str(name), "arguments": dict(given), "call": str(call)} if running:
                tool = llm.ToolInput(name, given, id=call or ulid_now())
                asked.running, asked.call = running, tool.id
                running.add(HouseTool(tool.id, name, given))
                asked.task = running.context.run(self._background, self._run_tool(request, tool, running), "tool")
                running.tools.add(asked.task)
                asked.task.add_done_callback(running.tools.discard)
            case _:
                turn = running.turn if running else None
                asked.task = self._background(self._work(request, message, turn), str(message["type"]))

    async def _run_tool(self, request: int, tool: llm.ToolInput, running: RunningTurn) -> None:
        """Run a tool of the house for a turn; the server is told what came of it, and the turn."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                result = await self._lending.run_tool(tool, running.turn)
            reply = told(result)
        except asyncio.CancelledError:
            self._asked.pop(request, None)
            raise
        except Exception as error:  # a defect in anybody's tool must not end the turn
            if not isinstance(error, (HomeAssistantError, probatio.Invalid, TimeoutError)):
                LOGGER.warning("A tool of Home Assistant failed (%s)", type(error).__name__)
                LOGGER.debug("%s", tool.tool_name, exc_info=error)
            result = failure(error)
            reply = told(result)
        running.add(HouseToolResult(tool.id, result))
        self._reply(request, reply)

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
        self._reply(request, reply)

    def _reply(self, request: int, reply: Shape) -> None:
        """Answer a request, if the server still waits for it."""
        if request in self._asked:
            del self._asked[request]
            self._send({"type": "reply", "to": request, **reply})

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
        if len(message.encode()) > MOST_BYTES:
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


def read_message(frame: aiohttp.WSMessage) -> Shape:
    """What a frame says; nothing where it is not a JSON object."""
    if frame.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        value = json.loads(frame.data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _stop(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tuple(tasks), timeout=_STOP_SECONDS)


def _problem(code: str, text: str) -> Shape:
    return {"code": code, "text": text[:LONGEST_TEXT]}
