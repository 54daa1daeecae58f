"""`WS /api/v1/house`: the connections of Home Assistant's integration. The messages are those of `house_protocol`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from aiohttp import web

from handlers import __version__
from handlers.agent.agent import Agent
from handlers.errors import RequestError
from handlers.pipeline.notices import Notices
from handlers.session import Role
from handlers.timeline import Timeline
from server.access import access_now, access_of
from server.house_protocol import (
    LONGEST_NAME,
    MOST_BYTES,
    Busy,
    Hello,
    Message,
    Satellites,
    SatelliteShape,
    TimelineMessage,
    Welcome,
)
from server.house_session import GOING_AWAY, REPLACED, HouseSession
from server.json_api import error_answer, with_retry

_LOGGER = logging.getLogger(__name__)

PATH = "/api/v1/house"

MOST_HOUSES = 8
"""Home Assistants at the same time: a home has one, its owner a second one to try things."""

_MOST_CONNECTIONS = 2 * MOST_HOUSES
"""With those that have not said yet who they are. One token has at most half of these, and of the houses."""

_HEARTBEAT_SECONDS = 20.0
"""A ping as often, so that a Home Assistant that is gone without a word is noticed after half a minute."""

_CLOSE_SECONDS = 4.0
"""For the farewell of all when the server stops."""


_REMEDY = "make another one with  meadowlark-server token add 'Home Assistant' --role admin"
"""What helps whoever came with one that is not for houses."""


class Houses:
    """All Home Assistants that are connected. One connection for each; of two with one `instance` and one token the
    newer stays. Only an admin's token is let in: a house says who speaks there, and what its tools do."""

    def __init__(
        self,
        agent: Agent,
        notices: Notices,
        server_id: str,
        wyoming_port: int,
        on_timeline: Callable[[Timeline], None],
    ) -> None:
        """`on_timeline` is told of every turn that runs here when it ends."""
        self._agent = agent
        self._notices = notices
        self._server_id = server_id
        self._wyoming_port = wyoming_port
        self._on_timeline = on_timeline
        self._connections: dict[asyncio.Task[object], tuple[str, HouseSession]] = {}  # with the token of each
        self._sessions: dict[tuple[str, str], HouseSession] = {}  # by token and instance
        self._closing = False
        agent.on_attention(lambda busy: self._tell_all(Busy(busy=busy)))
        notices.on_arrival(lambda _: self._tell_all(Satellites(satellites=self._satellites())))
        notices.on_departure(lambda _: self._tell_all(Satellites(satellites=self._satellites())))

    def as_list(self) -> list[dict[str, object]]:
        """For the status."""
        return [session.as_dict() for session in self._sessions.values()]

    def tell_timeline(self, timeline: Timeline) -> None:
        """A turn, or the use of one service, has ended, wherever it was asked for."""
        stages = {name: round(seconds * 1000, 1) for name, seconds in timeline.stages().items()}
        route, outcome = timeline.route[:LONGEST_NAME], str(timeline.outcome)
        message = TimelineMessage(service=timeline.service, outcome=outcome, route=route, stages_ms=stages)
        self._tell_all(message, dispensable=True)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from the upgrade to its end."""
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS, max_msg_size=MOST_BYTES, compress=False)
        if not socket.can_prepare(request).ok:
            return error_answer(426, "This address is for WebSocket connections of Home Assistant's integration")
        task = asyncio.current_task()
        if task is None or self._closing or len(self._connections) >= _MOST_CONNECTIONS:
            return error_answer(
                503, "The server stops" if self._closing else "Too many connections: close some, try again"
            )
        access = access_of(request)
        if access.user:
            return error_answer(403, f"The token '{access.token}' is one person's, and a house has several: {_REMEDY}")
        if access.role < Role.ADMIN:
            return error_answer(403, f"The token '{access.token}' is no admin's, who alone lends a house: {_REMEDY}")
        ours = sum(token == access.token for token, _ in self._connections.values())
        if access.token and ours >= _MOST_CONNECTIONS // 2:
            return with_retry(error_answer(429, f"The token '{access.token}' has {ours} connections: close some"))
        admit, again = partial(self._admit, access.token), partial(access_now, request)
        session = HouseSession(socket, self._agent, admit, self._on_timeline, access, again)
        self._connections[task] = (access.token, session)
        try:
            await socket.prepare(request)
            await session.run()
        except ConnectionError:  # it left before the upgrade: then there is no socket to return
            return error_answer(400, "The connection was closed")
        finally:
            del self._connections[task]
            for key in [key for key, other in self._sessions.items() if other is session]:
                del self._sessions[key]
                _LOGGER.info("A Home Assistant has gone")
            if request.transport is not None:
                request.transport.abort()  # what was not taken by now would stay for ever
        return socket

    async def close(self) -> None:
        """End all connections, and let in no more."""
        self._closing = True
        for _, session in self._connections.values():
            session.end(GOING_AWAY, "the server stops")
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=_CLOSE_SECONDS)

    def _admit(self, token: str, session: HouseSession, hello: Hello) -> Welcome:
        before = self._sessions.pop((token, hello.instance), None)
        ours = sum(key[0] == token for key in self._sessions)
        if before is not None:
            before.end(REPLACED, "replaced")
        elif len(self._sessions) >= MOST_HOUSES or (token and ours >= MOST_HOUSES // 2):
            raise RequestError(
                "too-many",
                f"{MOST_HOUSES} Home Assistants are connected, or {MOST_HOUSES // 2} with this token: stop one of them",
            )
        else:
            _LOGGER.info("A Home Assistant is connected: version %r", hello.version)
        self._sessions[token, hello.instance] = session
        return Welcome(
            version=__version__,
            id=self._server_id,
            wyoming_port=self._wyoming_port,
            satellites=self._satellites(),
            busy=self._agent.busy,
        )

    def _satellites(self) -> list[SatelliteShape]:
        named = self._agent.settings.access.satellites
        return [
            SatelliteShape(id=name, room=named[name].room[:LONGEST_NAME] if name in named else "")
            for name in self._notices.satellites
        ]

    def _tell_all(self, message: Message, *, dispensable: bool = False) -> None:
        for session in list(self._sessions.values()):
            session.tell(message, dispensable=dispensable)
