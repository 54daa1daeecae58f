"""What one Home Assistant lends: to turns of the server's own satellites, or to one of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict
from uuid import uuid4

from handlers.agent.house.stage import HouseError, Lent, Performed, Understood
from handlers.agent.stage import Request
from handlers.agent.tools.local import LocalTool
from handlers.agent.tools.stage import Arguments, ToolError, ToolSpec
from handlers.session import Session
from server.house_line import HouseLine
from server.house_protocol import Announce, Lend, Perform, Recognize, Tool, ToolShape, Turn

_RECOGNIZE_SECONDS = 5.0
"""Whoever asks waits less; after this the work in Home Assistant is stopped as well."""

_PERFORM_SECONDS = 30.0
"""Home Assistant waits for a device so long itself, or less."""

_TOOL_SECONDS = 30.0
"""A script or a slow cloud device; who waits for it hears a sentence in the meantime."""

_MOST_LANGUAGES = 16
"""For which the tools are kept ready; a house speaks one or two."""

_ANNOUNCE_SECONDS = 90.0
"""A satellite has to finish what it says, make the speech, and play it."""


class _Place(TypedDict):
    satellite: str
    user: str
    room: str


class HouseLender:
    """One Home Assistant. With a `turn` of its own it works for that turn alone, with the turn's tools and device."""

    def __init__(self, line: HouseLine, lend: Lend, house: str, turn: Turn | None = None) -> None:
        """`house` is what Home Assistant calls itself, at every connection."""
        self._line = line
        self._house = house
        self._turn = turn
        self.update(lend)

    def update(self, lend: Lend) -> None:
        """What is lent has changed."""
        self._lend = lend
        self._names = [plain for name in lend.names if (plain := " ".join(name.split()))]
        self._lent: dict[str, Lent] = {}

    @property
    def names(self) -> Sequence[str]:
        return self._names

    @property
    def rooms(self) -> Mapping[str, str]:
        return self._lend.rooms

    @property
    def people(self) -> Mapping[str, str]:
        return self._lend.people

    @property
    def understands_sentences(self) -> bool:
        """A turn that may use no tools may not act by a sentence either."""
        return self._lend.sentences and (self._turn is None or self._turn.toolset is not None)

    def lend(self, language: str) -> Lent:
        if language not in self._lent:
            if len(self._lent) >= _MOST_LANGUAGES:
                self._lent.clear()
            self._lent[language] = self._made(language)
        return self._lent[language]

    async def recognize(self, request: Request) -> Understood | None:
        text, language, place = request.text, request.session.language, self._place(request.session)
        reply = await self._line.ask(
            lambda number: Recognize(id=number, turn=self._turn_id, text=text, language=language, **place),
            _RECOGNIZE_SECONDS,
        )
        if (found := reply.understood) is None:
            return None
        return Understood(text, language, found.intent, found.acts, found.open_ended)

    async def perform(self, understood: Understood, request: Request) -> Performed | None:
        text, language, place = understood.sentence, understood.language, self._place(request.session)
        reply = await self._line.ask(
            lambda number: Perform(id=number, turn=self._turn_id, text=text, language=language, **place),
            _PERFORM_SECONDS,
        )
        return Performed(reply.text, reply.failed) if reply.understood is not None else None

    async def announce(self, satellite: str, text: str, language: str) -> bool:
        reply = await self._line.ask(
            lambda number: Announce(id=number, satellite=satellite, text=text, language=language), _ANNOUNCE_SECONDS
        )
        return reply.heard

    @property
    def _turn_id(self) -> str | None:
        return self._turn.id if self._turn is not None else None

    def _place(self, session: Session) -> _Place:
        """Home Assistant knows by itself from where its own turns come."""
        if self._turn is not None:
            return {"satellite": "", "user": "", "room": ""}
        return {"satellite": session.satellite, "user": session.user, "room": session.room}

    def _made(self, language: str) -> Lent:
        turn = self._turn
        toolset = self._lend.toolset if turn is None else turn.toolset
        told = [toolset.instructions if toolset is not None else "", turn.instructions if turn is not None else ""]
        tools = [self._tool(shape, language) for shape in toolset.tools] if toolset is not None else []
        return Lent(self, tools, "\n\n".join(text.strip() for text in told if text.strip()), self._house)

    def _tool(self, shape: ToolShape, language: str) -> LocalTool:
        """Not destructive: what is exposed to an assistant in Home Assistant is its owner's choice."""

        async def work(arguments: Arguments, session: Session) -> str:
            call, given, place = uuid4().hex, dict(arguments), self._place(session)
            try:
                reply = await self._line.ask(
                    lambda number: Tool(
                        id=number,
                        turn=self._turn_id,
                        language=language,
                        call=call,
                        name=shape.name,
                        arguments=given,
                        **place,
                    ),
                    _TOOL_SECONDS,
                )
            except HouseError as error:
                raise ToolError(str(error)) from None
            if reply.failed:
                raise ToolError(reply.text or "Home Assistant does not say why")
            return reply.text

        parameters = {"properties": {}, **shape.parameters, "type": "object"}
        return LocalTool(
            ToolSpec(shape.name, shape.description, parameters),
            work,
            untrusted=shape.open_world,
            seconds=_TOOL_SECONDS,
            reads_only=shape.read_only,
        )
