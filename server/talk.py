"""A question of HTTP's clients, and its answer: who may ask, and what is told while it is answered."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from handlers.agent.agent import Agent
from handlers.agent.conversations import Elsewhere
from handlers.agent.handler import check_language
from handlers.agent.stage import AnswerPart, Filler, Request
from handlers.errors import RequestError
from handlers.language import normalize
from handlers.timeline import Timeline, recorded
from server.access import Access
from server.engines import Engines
from server.json_api import Places
from server.settings import HttpSettings


@dataclass(frozen=True)
class Answered:
    """The whole of an answer."""

    text: str
    """As it was given, with what only filled the time."""
    asks: bool
    """Whether it is a question."""
    timeline: Timeline


class Talk:
    """Shared by all routes that answer questions, so that their bounds are those of the server."""

    def __init__(
        self, engines: Callable[[], Engines | None], settings: HttpSettings, on_timeline: Callable[[Timeline], None]
    ) -> None:
        """`engines` gives them once they are loaded, None before."""
        self._loaded = engines
        self._on_timeline = on_timeline
        self.questions = Places(settings.questions, "questions are being answered")

    @property
    def agent(self) -> Agent:
        """RequestError while it is being loaded."""
        engines = self._loaded()
        if engines is None:
            raise RequestError("loading", "The server is loading its engines: try again in a few seconds")
        return engines.agent

    def request(self, access: Access, text: str, conversation_id: str, language: str = "") -> Request:
        """What somebody asks whom `access` let in; RequestError for what cannot be asked."""
        settings = self.agent.settings
        text = text.strip()
        if not text:
            raise RequestError("no-text", "The text is empty: say or write something")
        if len(text) > settings.longest_question:
            raise RequestError("text-too-long", f"A question may have {settings.longest_question} characters")
        caller = settings.access.caller(user=access.user, token=access.token, token_role=access.role)
        tag = normalize(language or settings.profile("", caller).language or settings.language)
        check_language(tag)
        return Request(text, tag, access.conversation(conversation_id), caller)

    async def answer(
        self, request: Request, tell: Callable[[AnswerPart], Awaitable[None]], earlier: Sequence[Elsewhere] = ()
    ) -> Answered:
        """Answer it, and tell each part as it comes. `earlier` is what the client remembers of the conversation.

        Cancelling ends the work; so does a ConnectionError of `tell`.
        """
        agent = self.agent
        given = remembered = ""
        agent.conversations.interrupt(request.conversation_id)
        agent.conversations.restore(request.conversation_id, earlier, request.caller)
        with agent.attending(), recorded(Timeline(uuid4().hex, service="handle"), self._on_timeline) as timeline:
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
