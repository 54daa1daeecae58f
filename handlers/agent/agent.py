"""The agent: answers at once what it can, thinks with tools about the rest, and remembers what matters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

from handlers.agent.conversations import Conversations
from handlers.agent.faculties import Faculties
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.memories import Memories
from handlers.agent.response import Response
from handlers.agent.router import Kind, Router
from handlers.agent.safety.audit import Audit
from handlers.agent.safety.confirm import Confirmations
from handlers.agent.skills import Skills
from handlers.agent.stage import AgentSettings, Request, place_of
from handlers.agent.tools.toolbox import Toolbox
from handlers.timeline import Timeline


def local_now() -> datetime:
    """The time where the server stands."""
    return datetime.now().astimezone()


class Agent:
    """Answers requests, and remembers each conversation while it lasts."""

    def __init__(
        self,
        skills: Skills,
        thinker: Thinker,
        toolbox: Toolbox,
        settings: AgentSettings,
        audit: Audit,
        memories: Memories | None = None,
        now: Callable[[], datetime] = local_now,
    ) -> None:
        self.settings = settings
        self.thinker = thinker
        self.memories = memories
        self.conversations = Conversations(settings.remembered_turns, settings.conversation_minutes * 60)
        self._toolbox = toolbox
        self._now = now
        self._attending = 0
        self._faculties = Faculties(
            settings=settings,
            skills=skills,
            thinker=thinker,
            toolbox=toolbox,
            audit=audit,
            memories=memories,
            router=Router(skills, thinker.expected_seconds, settings.quick_sentence_seconds),
            conversations=self.conversations,
            confirmations=Confirmations(),
            now=now,
        )

    def respond(self, request: Request, timeline: Timeline, committed: asyncio.Event | None = None) -> Response:
        """The answer to a request. While `committed` is not set it is a draft on a guess: it acts on nothing."""
        if committed is None:
            committed = asyncio.Event()
            committed.set()
        return Response(self._faculties, request, timeline, committed)

    def knows(self, text: str, language: str) -> bool:
        """Whether a local skill answers this sentence and it needs no more words. Takes about a millisecond."""
        return self._faculties.router.is_complete(text, language)

    def drafts(self, request: Request) -> bool:
        """Whether it is of use to begin the answer before the speaker has finished. A skill answers at once."""
        if self._faculties.confirmations.waits(place_of(request)):
            return False
        history = self.conversations.history(request.conversation_id, request.caller)
        return self._faculties.router.route(request, history).kind is not Kind.FAST

    def expects_answer(self, request: Request) -> bool:
        """Whether the assistant has asked something: then a lone name may be all that is said."""
        history = self.conversations.history(request.conversation_id, request.caller)
        return (bool(history) and history[-1].asks) or self._faculties.confirmations.waits(place_of(request))

    @contextlib.contextmanager
    def attending(self) -> Iterator[None]:
        """Somebody is being listened to or answered: the memory's work in the background waits."""
        self._attending += 1
        if self._attending == 1 and self.memories is not None:
            self.memories.pause()
        try:
            yield
        finally:
            self._attending -= 1
            if self._attending == 0 and self.memories is not None:
                self.memories.resume()

    async def warm_up(self) -> None:
        """Let every language model read the system prompt, so that the first question waits no longer than others."""
        request = Request("Hello", self.settings.language)
        specs = self._toolbox.turn(request, "").specs
        messages = self._faculties.messages(request, [], [], specs)
        await self.thinker.warm_up(messages, specs)
