"""One connection of a Home Assistant to `/api/v1/house`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from aiohttp import WSMsgType, web
from pydantic_core import from_json

from handlers.agent.agent import Agent
from handlers.errors import RequestError, SettingsError
from handlers.timeline import Timeline
from server.access import OWNER, Access
from server.house_lender import HouseLender
from server.house_line import HouseLine
from server.house_protocol import (
    FROM_HOUSE,
    PROTOCOL,
    Cancel,
    Hello,
    Lend,
    Message,
    Refused,
    Reply,
    Turn,
    TurnError,
)
from server.house_turn import HouseTurn
from server.websocket import MessageError, read_message, say_goodbye, watch

_LOGGER = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
"""For the first message, which Home Assistant sends at once."""

MOST_TURNS = 16
"""Of one Home Assistant at the same time: more than it has satellites that anybody speaks to at once."""

CHECK_SECONDS = 30.0
"""Whether the token is good still is asked as often, and with each turn: revoked, it ends within a minute."""

_CANCEL_SECONDS = 5.0
"""How long cancelled turns may take: one that waits for a device to be switched ends with the connection."""

_CLOSE_CODES = {"protocol": 4406, "no-hello": 4408, "too-many": 4429}
"""Of what is refused; else 4400, a bad message."""

NO_ACCESS = 4401
TOO_SLOW = 4413
REPLACED = 4409
GOING_AWAY = 1001
_DONE = 1000
_INTERNAL = 1011


class HouseSession:
    """From `hello` to the close. Lends to the agent's house what is lent, and runs turns."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        agent: Agent,
        admit: Callable[[HouseSession, Hello], Message],
        on_timeline: Callable[[Timeline], None],
        access: Access = OWNER,
        access_now: Callable[[], Access | None] = lambda: OWNER,
    ) -> None:
        """`admit` answers a `hello`; RequestError where there is no place for it. Nobody may do more than `access`;
        `access_now` says what the token allows by then, None when it is worthless."""
        self.name = ""
        self.version = ""
        self._instance = ""
        self._began = time.monotonic()
        self._socket = socket
        self._agent = agent
        self._admit = admit
        self._on_timeline = on_timeline
        self._access = access
        self._access_now = access_now
        self._line = HouseLine(socket, lambda: self.end(TOO_SLOW, "too slow"))
        self._lender: HouseLender | None = None
        self._lend = Lend(type="lend")
        self._turns: dict[str, tuple[HouseTurn, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # also of turns that are cancelled, until they have ended
        self._close_as: tuple[int, str] | None = None
        self._refused: Refused | None = None
        self._ended = asyncio.Event()

    def as_dict(self) -> dict[str, object]:
        """For the status, without anybody's words."""
        return {
            "name": self.name,
            "version": self.version,
            "connected_seconds": round(time.monotonic() - self._began, 1),
            "tools": len(self._lend.toolset.tools) if self._lend.toolset is not None else 0,
            "names": len(self._lend.names),
        }

    def tell(self, message: Message, *, dispensable: bool = False) -> None:
        """Send something that was not asked for."""
        self._line.tell(message, dispensable=dispensable)

    def end(self, code: int, reason: str) -> None:
        """Close it soon, with this code; only the first one counts."""
        if self._close_as is not None:
            return
        self._close_as = (code, reason)
        if self._lender is not None:
            self._agent.house.leave(self._lender)
        self._line.close()
        self._ended.set()

    async def run(self) -> None:
        """Serve until either side ends it. Nothing is left of it then, but for bytes that were not taken."""
        working = [
            asyncio.create_task(work)
            for work in (self._read(), self._write(), watch(self._still_let_in, self._ended, CHECK_SECONDS))
        ]
        try:
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.end(_DONE, "")
            tasks = [*working, *self._tasks]
            for task in tasks:
                task.cancel()
            _, stuck = await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
            if stuck:
                _LOGGER.error("%d tasks of a turn of Home Assistant do not end when they are cancelled", len(stuck))
            code, reason = self._close_as or (_DONE, "")
            last_word = None if self._refused is None else self._refused.model_dump_json()
            await say_goodbye(self._socket, code, reason, last_word)

    def _still_let_in(self) -> bool:
        """Whether the token is as good as it was; else this is the end."""
        try:
            access = self._access_now()
        except SettingsError as error:
            _LOGGER.error("A Home Assistant is sent away: %s", error)
            self.end(_INTERNAL, "internal")
            return False
        if access is None or not access.covers(self._access):
            _LOGGER.info("A Home Assistant is sent away: its token '%s' was revoked or changed", self._access.token)
            self.end(NO_ACCESS, "token")
            return False
        return True

    async def _write(self) -> None:
        try:
            await self._line.write()
        except TimeoutError:
            self.end(TOO_SLOW, "too slow")
        except OSError:
            _LOGGER.debug("A Home Assistant is gone")

    async def _read(self) -> None:
        try:
            await self._greet()
            while (text := await self._receive()) is not None and not self._ended.is_set():
                if (message := read(text)) is not None:
                    self._take(message)
        except RequestError as error:
            _LOGGER.info("A Home Assistant was refused: %s: %s", error.code, error)
            self._refused = Refused(code=error.code, text=str(error))
            self.end(_CLOSE_CODES.get(error.code, 4400), error.code)
        except Exception:
            _LOGGER.exception("A message of Home Assistant could not be handled")
            self.end(_INTERNAL, "internal")

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                text = await self._receive()
        except TimeoutError:
            raise RequestError("no-hello", f"No 'hello' came within {HELLO_SECONDS:g} seconds") from None
        if text is None:
            return
        hello = read(text)
        if not isinstance(hello, Hello):
            raise RequestError("bad-message", "The first message must be 'hello'")
        if hello.protocol != PROTOCOL:
            older = "this server" if hello.protocol > PROTOCOL else "the integration in Home Assistant"
            raise RequestError(
                "protocol", f"This server speaks version {PROTOCOL}, not {hello.protocol}: update {older}"
            )
        self.name, self.version, self._instance = hello.name, hello.version, hello.instance
        self.tell(self._admit(self, hello))

    async def _receive(self) -> str | None:
        """The next message's text, None at the end."""
        received = await self._socket.receive()
        if received.type is WSMsgType.TEXT:
            return str(received.data)
        if received.type is WSMsgType.BINARY:
            raise RequestError("bad-message", "Messages are JSON in text frames, not binary ones")
        return None

    def _take(self, message: Message) -> None:
        match message:
            case Reply():
                self._line.answered(message)
            case Turn():
                self._begin(message)
            case Cancel(id=key):
                self._cancel(key)
            case Lend():
                self._change(message)
            case TurnError(id=key) if key not in self._turns:
                self._line.tell(message)
            case TurnError(text=text):
                raise RequestError("bad-message", text)
            case _:
                raise RequestError("bad-message", "'hello' was said before")

    def _change(self, lend: Lend) -> None:
        self._lend = lend
        if self._lender is None:
            self._lender = HouseLender(self._line, lend, self._instance)
        else:
            self._lender.update(lend)
        self._agent.house.enter(self._lender)

    def _begin(self, message: Turn) -> None:
        if message.id in self._turns:
            raise RequestError("bad-message", "turn.id: a turn with this id is under way")
        if not self._still_let_in():
            return
        lender = HouseLender(self._line, self._lend, self._instance, message)
        turn = HouseTurn(message, lender, self._agent, self._line.tell, self._on_timeline, self._access)
        if len(self._tasks) >= MOST_TURNS:
            turn.refuse("busy", f"{MOST_TURNS} turns run already: wait for the end of one")
            return
        task = asyncio.create_task(turn.run(), name="turn of Home Assistant")
        self._turns[message.id] = (turn, task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(message.id, done))

    def _cancel(self, key: str) -> None:
        if key in self._turns:
            turn, task = self._turns.pop(key)
            turn.silent = True
            task.cancel()

    def _over(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if key in self._turns and self._turns[key][1] is task:
            del self._turns[key]


def read(text: str) -> Message | None:
    """A message of Home Assistant; None where its type is newer than we are. RequestError says what is wrong; where
    that is a turn whose id can be read, it is the TurnError that is to be sent."""
    try:
        return read_message(FROM_HOUSE, text, "message")
    except MessageError as error:
        places = [place[:2] for place in error.places]
        if not places or places[0][:1] != ("turn",) or ("turn", "id") in places:
            raise
        return TurnError(id=from_json(text)["id"], code=error.code, text=str(error))
