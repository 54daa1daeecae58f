"""`WS /api/v1/voice/stream`: the connections of browsers, phones and programs, and the sessions behind them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from socket import SO_SNDBUF, SOL_SOCKET

from aiohttp import WSMsgType, web

from handlers.errors import RequestError, SettingsError
from handlers.pipeline.notices import Notices
from handlers.pipeline.turn import Pipeline
from server.access import Access, access_now, access_of
from server.json_api import error_answer, with_retry
from server.voice_protocol import (
    MOST_AUDIO_BYTES,
    MOST_TEXT_BYTES,
    PROTOCOL,
    Error,
    Listen,
    Start,
    Text,
    encode,
    read,
)
from server.voice_session import (
    BAD_FRAME,
    IDLE_SECONDS,
    RESUME_SECONDS,
    TOO_MANY,
    TOO_SLOW,
    TURNS_A_MINUTE,
    RefusedError,
    VoiceSession,
)
from server.websocket import say_goodbye, watch

_LOGGER = logging.getLogger(__name__)

PATH = "/api/v1/voice/stream"

MOST_SESSIONS = 64
"""Of the server's own household: more than two cores can answer at the same time, and 128 MiB of frames at the most."""

MOST_OF_TOKEN = 16
"""Sessions of one token, the browsers and phones of one household; and no more than half of all."""

_MOST_CONNECTIONS_OF_TOKEN = 2 * MOST_OF_TOKEN
"""With those that have not said yet who they are: nobody keeps the others of a household out."""

START_SECONDS = 10.0
"""For the first frame, which a client sends at once."""

SEND_SECONDS = 20.0
"""For one frame to be taken; its session can be resumed then, over a better connection."""

CHECK_SECONDS = 30.0
"""Whether the token is good still is asked as often, and with each turn: revoked, it ends within a minute."""

MOST_TEXTS = 100
"""Text frames a second. A client sends a handful a turn, and an `ack` now and then."""

_HEARTBEAT_SECONDS = 20.0
"""A ping of WebSocket as often: a client that is gone without a word is noticed after half a minute."""

_MOST_BYTES = 1024 * 1024
"""Of a frame that is read at all, to say with a code of our own that it is too large."""

_SEND_BUFFER = 128 * 1024
"""What the system keeps for a connection: the less, the more is known of what a client has not received."""

_CLOSE_SECONDS = 6.0
"""For the end of all turns and connections when the server stops."""

_MINUTE = 60.0

NO_ACCESS = 4401
BAD_VERSION = 4406
TAKEN_OVER = 4409
TOO_LARGE = 4413
RESTART = 1012
GONE = 1001
"""Of a client that is gone without a farewell, or comes again."""
_DONE = 1000
_INTERNAL = 1011

_LAST_CODES = frozenset({_DONE, RESTART, BAD_FRAME, NO_ACCESS, BAD_VERSION, TOO_LARGE})
"""With these the session is over; after all others it may be resumed."""


class Voices:
    """All sessions, by their ids, and the connections that some of them have."""

    def __init__(self, pipeline: Pipeline, notices: Notices, most: int = MOST_SESSIONS) -> None:
        """`most` sessions at the same time. Those that can be called are places of the `notices`."""
        self._pipeline = pipeline
        self._notices = notices
        notices.on_departure(self._call)
        self._most = most
        # With those that have not said yet who they are. Whoever comes again may have one that is not known to be gone.
        self._most_connections = max(4, 2 * most)
        self._sessions: dict[str, VoiceSession] = {}
        self._connected: dict[str, VoiceConnection] = {}
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._connections: dict[asyncio.Task[object], VoiceConnection] = {}
        self._turns: dict[str, deque[float]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closing = False

    def as_list(self) -> list[dict[str, object]]:
        """For the status."""
        return [{**session.as_dict(), "connected": key in self._connected} for key, session in self._sessions.items()]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from the upgrade to its end."""
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS, max_msg_size=_MOST_BYTES, compress=False)
        if not socket.can_prepare(request).ok:
            return error_answer(426, "This address is for WebSocket connections")
        task = asyncio.current_task()
        if task is None or self._closing or len(self._connections) >= self._most_connections:
            return error_answer(503, "The server stops" if self._closing else "Too many connections: try again later")
        access = access_of(request)
        ours = sum(other.access.token == access.token for other in self._connections.values())
        if access.token and ours >= min(_MOST_CONNECTIONS_OF_TOKEN, self._most_connections // 2):
            return with_retry(error_answer(429, f"The token '{access.token}' has {ours} connections: close some"))
        connection = VoiceConnection(socket, self, access, partial(access_now, request))
        self._connections[task] = connection
        try:
            if request.transport is not None and (raw := request.transport.get_extra_info("socket")) is not None:
                raw.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER)
            await socket.prepare(request)
            await connection.run()
        except ConnectionError:  # it left before the upgrade: then there is no socket to return
            return error_answer(400, "The connection was closed")
        finally:
            del self._connections[task]
            if request.transport is not None:
                request.transport.abort()  # what was not taken by now would stay for ever
        return socket

    def join(self, connection: VoiceConnection, start: Start, access: Access) -> VoiceSession:
        """The session that a connection wants to go on with, or a new one. RequestError or RefusedError where it gets
        none."""
        session = self._sessions.get(start.session)
        resumed = session is not None and session.access == access and session.outbox.rewind(start.received)
        if session is not None and not resumed and session.access == access:  # nobody can go on with it any more
            self._take_from_its_connection(session)
            self._end(session)
        if session is None or not resumed:
            session = self._open(start, access)
        self._take_from_its_connection(session)
        expiry = self._expiries.pop(session.id, None)
        if expiry is not None:
            expiry.cancel()
        self._connected[session.id] = connection
        session.outbox.greet(session.ready(resumed=resumed))
        return session

    def _take_from_its_connection(self, session: VoiceSession) -> None:
        connection = self._connected.pop(session.id, None)
        if connection is not None:
            connection.end(TAKEN_OVER, "taken over")

    def leave(self, connection: VoiceConnection, session: VoiceSession, code: int) -> None:
        """A connection has ended; its session waits for another, unless this was meant to be the end."""
        if self._connected.get(session.id) is not connection:
            return
        del self._connected[session.id]
        if code in _LAST_CODES:
            self._end(session)
        else:
            expire = partial(self._end, session)
            self._expiries[session.id] = asyncio.get_running_loop().call_later(RESUME_SECONDS, expire)

    async def close(self) -> None:
        """End all sessions, and let in no more."""
        self._closing = True
        for connection in self._connections.values():
            connection.end(RESTART, "the server stops")
        for session in list(self._sessions.values()):
            self._end(session)
        waiting = [*self._connections, *self._ending]
        if waiting:
            await asyncio.wait(waiting, timeout=_CLOSE_SECONDS)

    def _open(self, start: Start, access: Access) -> VoiceSession:
        session = VoiceSession(self._pipeline, access, start, partial(self._may_begin, access.token))
        ours = [key for key, other in self._sessions.items() if other.access.token == access.token]
        most_of_one = min(MOST_OF_TOKEN, max(1, self._most // 2)) if access.token else MOST_OF_TOKEN
        if len(ours) >= most_of_one or len(self._sessions) >= self._most:
            left = next((key for key in self._expiries if key in ours), None)  # that waits longest for its client
            if left is None:
                raise RefusedError(TOO_MANY, "too-many", "Too many sessions are open: close some, and try again")
            self._end(self._sessions[left])
        self._sessions[session.id] = session
        if session.place is not None:
            self._notices.enter(session.place.name, session.place)
        return session

    def _call(self, name: str) -> None:
        """Nothing is called by this name any more: the newest session that has it is, as of two pages of a browser."""
        places = [session.place for session in self._sessions.values() if session.place is not None]
        place = next((place for place in reversed(places) if place.name == name), None)
        if place is not None and not self._closing:
            self._notices.enter(name, place)

    def _may_begin(self, token: str) -> bool:
        """Count a turn of a token, and say whether it may have it."""
        now = time.monotonic()
        turns = self._turns.setdefault(token, deque(maxlen=TURNS_A_MINUTE))
        if len(turns) == TURNS_A_MINUTE and now - turns[0] < _MINUTE:
            return False
        turns.append(now)
        return True

    def _end(self, session: VoiceSession) -> None:
        expiry = self._expiries.pop(session.id, None)
        if expiry is not None:
            expiry.cancel()
        if self._sessions.pop(session.id, None) is None:
            return
        if session.place is not None:
            session.place.give_up()
            self._notices.leave(session.place.name, session.place)
        task = asyncio.create_task(session.close(), name="end of a voice session")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class VoiceConnection:
    """One connection, from `start` to the close: takes what comes to its session, and sends what that has to say."""

    def __init__(
        self, socket: web.WebSocketResponse, voices: Voices, access: Access, access_now: Callable[[], Access | None]
    ) -> None:
        """`access_now` says what the token allows by then, None when it is worthless."""
        self._socket = socket
        self._voices = voices
        self.access = access
        """What it could do when it was let in."""
        self._access_now = access_now
        self._session: VoiceSession | None = None
        self._working: list[asyncio.Task[None]] = []
        self._close_as: tuple[int, str] | None = None
        self._last_word: Error | None = None
        self._ended = asyncio.Event()
        self._second = (0.0, 0)  # when it began, and text frames in it

    def end(self, code: int, reason: str, last_word: Error | None = None) -> None:
        """Close it with this code; only the first one counts. Nothing more is taken or sent, but a last word."""
        if self._close_as is not None:
            return
        self._close_as = (code, reason)
        self._last_word = last_word
        for task in self._working:
            task.cancel()
        self._ended.set()

    async def run(self) -> None:
        """Serve until either side ends it."""
        try:
            self._begin(self._read())
            self._begin(watch(self._still_let_in, self._ended, CHECK_SECONDS))
            await self._ended.wait()
        finally:
            self.end(_INTERNAL, "internal")  # only where it was cancelled
            await asyncio.gather(*self._working, return_exceptions=True)
            code, reason = self._close_as or (_DONE, "")
            if self._session is not None:
                self._voices.leave(self, self._session, code)
            last_word = None if self._last_word is None else encode(self._last_word)
            await say_goodbye(self._socket, code, reason, last_word)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        """Work up to the end; what fails is the end."""
        task = asyncio.create_task(work)
        self._working.append(task)
        task.add_done_callback(self._look_at)

    def _look_at(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOGGER.error("A voice session failed", exc_info=error)
            self.end(_INTERNAL, "internal")

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                session = await self._start()
        except TimeoutError:
            self.end(TOO_SLOW, "no start", Error(code="no-start", text="No 'start' came in time", fatal=True))
            return
        except RequestError as error:
            code = BAD_VERSION if error.code == "protocol" else BAD_FRAME
            self.end(code, error.code, Error(code=error.code, text=str(error), fatal=True))
            return
        except RefusedError as refused:
            self._refuse(refused)
            return
        if session is None:
            return
        self._session = session
        self._begin(self._write(session))
        try:
            await self._listen_to(session)
        except TimeoutError:
            self.end(TOO_SLOW, "idle")
        except RefusedError as refused:
            self._refuse(refused)

    async def _start(self) -> VoiceSession | None:
        data = await self._receive()
        if data is None:
            return None
        start = read(data) if isinstance(data, str) else None
        if not isinstance(start, Start):
            raise RequestError("bad-frame", "The first frame must be 'start'")
        if start.protocol != PROTOCOL:
            older = "this server" if start.protocol > PROTOCOL else "the client"
            raise RequestError(
                "protocol", f"This server speaks version {PROTOCOL}, not {start.protocol}: update {older}"
            )
        return self._voices.join(self, start, self.access)

    async def _listen_to(self, session: VoiceSession) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await self._receive()
            if data is None:
                return
            if isinstance(data, bytes):
                session.take_audio(data)
                continue
            self._count_text()
            try:
                self._take(session, data)
            except RequestError as error:
                if error.code == "bad-frame":
                    raise RefusedError(BAD_FRAME, error.code, str(error)) from None
                session.refuse(error)
            if session.overflows:
                self.end(TOO_SLOW, "too slow")
                return

    def _take(self, session: VoiceSession, text: str) -> None:
        message = read(text)
        if message is None or (isinstance(message, Listen | Text) and not self._still_let_in()):
            return
        session.take(message)

    async def _receive(self) -> str | bytes | None:
        """The next frame, None at the end. RefusedError where it is too large."""
        received = await self._socket.receive()
        if received.type is WSMsgType.BINARY:
            if len(received.data) > MOST_AUDIO_BYTES:
                raise RefusedError(TOO_LARGE, "too-large", f"A binary frame may have {MOST_AUDIO_BYTES} bytes")
            return bytes(received.data)
        if received.type is WSMsgType.TEXT:
            if len(received.data.encode()) > MOST_TEXT_BYTES:
                raise RefusedError(TOO_LARGE, "too-large", f"A text frame may have {MOST_TEXT_BYTES} bytes")
            return str(received.data)
        said = received.data if received.type is WSMsgType.CLOSE else None
        self.end(_DONE if said == _DONE else GONE, "")
        return None

    def _count_text(self) -> None:
        now = time.monotonic()
        began, count = self._second
        self._second = (now, 1) if now - began >= 1 else (began, count + 1)
        if self._second[1] > MOST_TEXTS:
            raise RefusedError(TOO_MANY, "too-fast", f"More than {MOST_TEXTS} text frames a second")

    def _refuse(self, refused: RefusedError) -> None:
        """Close for a reason. A session that may be resumed gets no word that its next connection cannot count."""
        over = self._session is None or refused.close_code in _LAST_CODES
        word = Error(code=refused.code_word, text=str(refused), fatal=True) if over else None
        self.end(refused.close_code, refused.code_word, word)

    async def _write(self, session: VoiceSession) -> None:
        try:
            while True:
                data = await session.outbox.take()
                async with asyncio.timeout(SEND_SECONDS):
                    if isinstance(data, str):
                        await self._socket.send_str(data)
                    else:
                        await self._socket.send_bytes(data)
        except TimeoutError:
            self.end(TOO_SLOW, "too slow")
        except OSError:
            self.end(GONE, "")

    def _still_let_in(self) -> bool:
        """Whether the token is as good as it was; else this is the end."""
        try:
            access = self._access_now()
        except SettingsError as error:
            _LOGGER.error("A voice session is ended: %s", error)
            self.end(_INTERNAL, "internal")
            return False
        if access is None or not access.covers(self.access):
            text = "The token was revoked or changed: ask for another one"
            self.end(NO_ACCESS, "token", Error(code="no-access", text=text, fatal=True))
            return False
        return True
