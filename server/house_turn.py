"""One turn of Home Assistant: what was said there, answered by the agent with the tools that were lent for it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from uuid import uuid4

from handlers.agent.agent import Agent
from handlers.agent.conversations import Elsewhere
from handlers.agent.handler import require_question, with_language
from handlers.agent.stage import AnswerPart, Filler, Request, Volume
from handlers.agent.tools.stage import ToolFinished, ToolStarted
from handlers.errors import INTERNAL, MeadowlarkError
from handlers.timeline import Timeline, recorded
from server.access import Access
from server.house_lender import HouseLender
from server.house_protocol import Message, Turn, TurnDelta, TurnEnd, TurnError, TurnTool, TurnToolResult

_LOGGER = logging.getLogger(__name__)


class HouseTurn:
    """Answers one `turn`."""

    def __init__(
        self,
        turn: Turn,
        lender: HouseLender,
        agent: Agent,
        tell: Callable[[Message], None],
        on_timeline: Callable[[Timeline], None],
        access: Access,
    ) -> None:
        """`lender` is bound to this turn; `tell` sends to Home Assistant, which `access` let in."""
        self._turn = turn
        self._lender = lender
        self._agent = agent
        self._send = tell
        self._on_timeline = on_timeline
        self._access = access
        self._shown: set[int] = set()  # tools of our own that run, by the identity of their calls
        self._given = ""
        self._remembered = ""
        self.silent = False
        """Nobody listens any more: nothing is sent for it."""

    def refuse(self, code: str, text: str) -> None:
        """Answer it with an error."""
        self._tell(TurnError(id=self._turn.id, code=code, text=text))

    async def run(self) -> None:
        """From the question to its end. Never raises but for a cancellation."""
        try:
            listen = await self._answer()
        except MeadowlarkError as error:
            _LOGGER.info("A turn of Home Assistant failed: %s: %s", error.code, error)
            self.refuse(error.code, str(error))
        except Exception:
            _LOGGER.exception("A turn of Home Assistant failed")
            self.refuse("internal", INTERNAL)
        else:
            self._tell(TurnEnd(id=self._turn.id, text=self._given, listen=listen))

    async def _answer(self) -> bool:
        """Whether the answer wants one."""
        agent, request = self._agent, self._request()
        earlier = [Elsewhere(past.question, past.answer, past.ours) for past in self._turn.history]
        agent.conversations.interrupt(request.session.conversation)
        agent.conversations.restore(request.session, earlier)
        own_tools = agent.own_tools(request.session)
        with agent.attending(), recorded(Timeline(uuid4().hex, service="handle"), self._on_timeline) as timeline:
            response = agent.respond(request, timeline)
            try:
                async with contextlib.aclosing(response.parts()) as parts:
                    async for part in parts:
                        self._pass_on(part, own_tools)
            finally:
                response.remember(self._remembered)
        return agent.asks(request, self._given)

    def _request(self) -> Request:
        turn, settings = self._turn, self._agent.settings
        text = require_question(turn.text, settings)
        session = self._agent.session(
            satellite=turn.satellite,
            user=turn.user,
            room=turn.room,
            token=self._access.token,
            token_role=self._access.role,
            language=turn.language,
            conversation=self._access.conversation(turn.conversation_id or uuid4().hex),
        )
        session = with_language(session, settings)
        return Request(text, session, lent=self._lender.lend(session.language))

    def _pass_on(self, part: AnswerPart, own_tools: frozenset[str]) -> None:
        match part:
            case str():
                self._remembered += part
                self._say(part)
            case Filler(quick):
                self._say(quick + " ")
            case ToolStarted(call) if call.name in own_tools:
                self._shown.add(id(call))
                name, arguments = call.name, dict(call.arguments)
                self._tell(TurnTool(id=self._turn.id, call=call.id, name=name, arguments=arguments))
            case ToolFinished(result) if id(result.call) in self._shown:
                call_id, text, failed = result.call.id, result.text, result.failed
                self._tell(TurnToolResult(id=self._turn.id, call=call_id, text=text, failed=failed))
            case ToolStarted() | ToolFinished() | Volume():
                pass  # a tool of the house was asked for by itself; a satellite of the house has its own volume

    def _say(self, text: str) -> None:
        self._given += text
        self._tell(TurnDelta(id=self._turn.id, text=text))

    def _tell(self, message: Message) -> None:
        if not self.silent:
            self._send(message)
