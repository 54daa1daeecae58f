"""A question of HTTP's clients, and its answer: who may ask, and what is told while it is answered."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from handlers.agent.agent import Agent
from handlers.agent.conversations import Elsewhere
from handlers.agent.handler import require_question, with_language
from handlers.agent.stage import AnswerPart, Filler, Request
from handlers.timeline import Timeline, recorded
from server.access import Access
from server.json_api import LoadingError, Places
from server.tenants import Tenant


@dataclass(frozen=True)
class Answered:
    """The whole of an answer."""

    text: str
    """As it was given, with what only filled the time."""
    asks: bool
    """Whether it is a question."""
    timeline: Timeline


class Talk:
    """Of one household. All routes that answer questions share it, so that their bounds are the household's."""

    def __init__(self, tenant: Tenant, questions: int) -> None:
        """`questions` are answered at the same time, unless the tenant has limits of its own."""
        self._tenant = tenant
        most = questions if tenant.limits is None else tenant.limits.questions
        self.questions = Places(most, "questions are being answered")

    @property
    def agent(self) -> Agent:
        """LoadingError while it is being loaded."""
        household = self._tenant.household
        if household is None:
            raise LoadingError
        return household.agent

    def request(self, access: Access, text: str, conversation_id: str, language: str = "") -> Request:
        """What somebody asks whom `access` let in; RequestError for what cannot be asked."""
        settings = self.agent.settings
        text = require_question(text, settings)
        session = self.agent.session(
            user=access.user,
            token=access.token,
            token_role=access.role,
            language=language,
            conversation=access.conversation(conversation_id),
        )
        return Request(text, with_language(session, settings))

    async def answer(
        self, request: Request, tell: Callable[[AnswerPart], Awaitable[None]], earlier: Sequence[Elsewhere] = ()
    ) -> Answered:
        """Answer it, and tell each part as it comes. `earlier` is what the client remembers of the conversation.

        Cancelling ends the work; so does a ConnectionError of `tell`.
        """
        agent = self.agent
        given = remembered = ""
        agent.conversations.interrupt(request.session.conversation)
        agent.conversations.restore(request.session, earlier)
        with agent.attending(), recorded(Timeline(uuid4().hex, service="handle"), self._tenant.on_timeline) as timeline:
            response = agent.respond(request, timeline)
            try:
                async with contextlib.aclosing(response.parts()) as parts:
                    async for part in parts:
                        if isinstance(part, str):
                            remembered += part
                        given += said(part)
                        await tell(part)
            finally:
                response.remember(remembered)
        return Answered(given, agent.asks(request, given), timeline)


def said(part: AnswerPart) -> str:
    """The words of a part; none where it is something else."""
    if isinstance(part, Filler):
        return part.text + " "
    return part if isinstance(part, str) else ""
