"""The way to one Home Assistant: what is sent to it, in order, and what it is asked."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable

from aiohttp import web

from handlers.agent.house.stage import HouseError
from server.house_protocol import Message, Reply, Withdraw

MOST_WAITING = 512
"""Messages that may wait to be taken: some seconds of several answers. The connection itself buffers as much again."""

SEND_SECONDS = 20.0
"""A Home Assistant that takes nothing for so long is gone, or does not serve anybody else either."""


class HouseLine:
    """Sends to one WebSocket without ever making the sender wait, and matches replies with what was asked."""

    def __init__(self, socket: web.WebSocketResponse, too_slow: Callable[[], None]) -> None:
        """`too_slow` is called when more waits than may; what is sent after that is dropped."""
        self._socket = socket
        self._too_slow = too_slow
        self._waiting: deque[tuple[bool, str]] = deque()  # whether it is dispensable, and its JSON
        self._something = asyncio.Event()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Reply | None]] = {}  # None: nobody answers any more
        self._closed = False

    def tell(self, message: Message, *, dispensable: bool = False) -> None:
        """Send a message behind those that wait. What is dispensable is dropped first where too many do."""
        if self._closed:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting = deque(entry for entry in self._waiting if not entry[0])
            if dispensable:
                return
        if len(self._waiting) >= MOST_WAITING:
            self.close()
            self._too_slow()
            return
        self._waiting.append((dispensable, _json(message)))
        self._something.set()

    async def ask(self, make: Callable[[int], Message], seconds: float) -> Reply:
        """Send what `make` makes of a number, and wait for the reply to it. Raises HouseError. Where nobody waits any
        more, the other side is told."""
        if self._closed:
            raise HouseError("Home Assistant is not connected any more")
        number = next(self._numbers)
        answer: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self.tell(make(number))
            async with asyncio.timeout(seconds):
                reply = await answer
        except TimeoutError:
            self.tell(Withdraw(id=number))
            raise HouseError(f"Home Assistant did not answer within {seconds:g} seconds") from None
        except asyncio.CancelledError:
            self.tell(Withdraw(id=number))
            raise
        finally:
            self._asked.pop(number, None)
        if reply is None:
            raise HouseError("Home Assistant has gone")
        if reply.error is not None:
            raise HouseError(reply.error.text or reply.error.code)
        return reply

    def answered(self, reply: Reply) -> None:
        """A reply has come. Nobody may wait for it any more."""
        answer = self._asked.get(reply.to)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def close(self) -> None:
        """Take and send nothing more; whoever waits for a reply gets a HouseError."""
        self._closed = True
        self._waiting.clear()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)

    async def write(self) -> None:
        """Send what waits, for ever. Raises OSError when the other side is gone or takes nothing (TimeoutError)."""
        while True:
            while self._waiting:
                _, text = self._waiting.popleft()
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.send_str(text)
            self._something.clear()
            await self._something.wait()


def _json(message: Message) -> str:
    """A language model may write half a character; it is a question mark then."""
    try:
        return message.model_dump_json()
    except ValueError:
        text = json.dumps(message.model_dump(), ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()
