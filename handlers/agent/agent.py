"""The agent: answers at once what it can, thinks with tools about the rest, and remembers what matters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from datetime import datetime

from handlers.agent.conversations import Conversations, is_question
from handlers.agent.faculties import Faculties
from handlers.agent.house.house import House
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.memories import Memories
from handlers.agent.response import Response
from handlers.agent.router import Kind, Router
from handlers.agent.safety.audit import Audit
from handlers.agent.safety.confirm import Confirmations
from handlers.agent.skills import Skills
from handlers.agent.stage import AgentSettings, Request
from handlers.agent.tools.toolbox import Toolbox
from handlers.errors import BusyError
from handlers.session import ANYBODY, Role, Session
from handlers.timeline import Timeline

_MINUTE = 60.0


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
        house: House | None = None,
        now: Callable[[], datetime] = local_now,
        tenant: str = "",
        turns_a_minute: int = 0,
        private: Container[str] = frozenset(),
    ) -> None:
        """`tenant` is the key of the household that it serves; nobody else's sessions are answered. `turns_a_minute` is
        how many turns it may have; 0 is any number. `private` are the places in private mode, where no memory knows
        them."""
        self.settings = settings
        self.tenant = tenant
        self.thinker = thinker
        self.memories = memories
        self.conversations = Conversations(settings.remembered_turns, settings.conversation_minutes * 60)
        self.house = house or House()
        self._private = private if memories is None else memories.private
        self._toolbox = toolbox
        self._now = now
        self._attending = 0
        self._turns_a_minute = turns_a_minute
        self._begun: deque[float] = deque(maxlen=turns_a_minute or 1)
        self._watchers: list[Callable[[bool], None]] = []
        self._faculties = Faculties(
            settings=settings,
            skills=skills,
            thinker=thinker,
            toolbox=toolbox,
            audit=audit,
            memories=memories,
            private=self._private,
            house=self.house,
            router=Router(skills, self.house, thinker.expected_seconds, settings.quick_sentence_seconds),
            conversations=self.conversations,
            confirmations=Confirmations(),
            now=now,
        )

    def session(
        self,
        satellite: str = "",
        user: str = "",
        room: str = "",
        token: str = "",
        token_role: Role = Role.ADMIN,
        language: str = "",
        conversation: str = "",
    ) -> Session:
        """The session of somebody who comes to this household, as a client describes them. See `AccessSettings`."""
        who = self.settings.access.session(satellite, user, room, token, token_role)
        return replace(who, language=language, conversation=conversation, tenant=self.tenant)

    def is_private(self, session: Session) -> bool:
        """Whether nothing of what is said there is kept."""
        return session.place in self._private

    def respond(self, request: Request, timeline: Timeline, committed: asyncio.Event | None = None) -> Response:
        """The answer to a request. While `committed` is not set it is a draft on a guess: it acts on nothing.

        PermissionError for a session of another household: no border lets one in.
        """
        if request.session.tenant != self.tenant:
            raise PermissionError("a session of another tenant")
        if committed is None:
            committed = asyncio.Event()
            committed.set()
        return Response(self._faculties, self._lent(request), timeline, committed)

    def commands(self, request: Request) -> KnownCommands:
        """What whoever listens to this speaker asks about what they may have said; the text is none yet."""
        return KnownCommands(self._faculties, request, self._lent)

    def drafts(self, request: Request) -> bool:
        """Whether it is of use to begin the answer before the speaker has finished. A skill answers at once."""
        if self._faculties.confirmations.waits(request.session.place):
            return False
        history = self.conversations.history(request.session)
        return self._faculties.router.route(request, history).kind is not Kind.FAST

    def expects_answer(self, request: Request) -> bool:
        """Whether the assistant has asked something: then a lone name may be all that is said."""
        history = self.conversations.history(request.session)
        return (bool(history) and history[-1].asks) or self._faculties.confirmations.waits(request.session.place)

    def asks(self, request: Request, answer: str) -> bool:
        """Whether an answer wants one: then whoever gives it listens on, without a wake word."""
        return is_question(answer) or self._faculties.confirmations.waits(request.session.place)

    @contextlib.contextmanager
    def attending(self) -> Iterator[None]:
        """Somebody is being listened to or answered: the memory's work in the background waits.

        BusyError when the household has had all the turns that it may have in a minute.
        """
        self._count_turn()
        self._attending += 1
        if self._attending == 1:
            self._note_attention()
        try:
            yield
        finally:
            self._attending -= 1
            if self._attending == 0:
                self._note_attention()

    @property
    def busy(self) -> bool:
        """Whether somebody is being listened to or answered."""
        return self._attending > 0

    def on_attention(self, tell: Callable[[bool], None]) -> None:
        """Have `tell` called when that begins, and when it ends. It must not wait."""
        self._watchers.append(tell)

    def own_tools(self, session: Session) -> frozenset[str]:
        """Names of the tools that are the server's own, not lent by a house."""
        return frozenset(spec.name for spec in self._toolbox.specs(session))

    def _count_turn(self) -> None:
        now, begun = time.monotonic(), self._begun
        if self._turns_a_minute and len(begun) == begun.maxlen and now - begun[0] < _MINUTE:
            raise BusyError(f"There were {self._turns_a_minute} turns in a minute: wait a little, and try again")
        begun.append(now)

    def _note_attention(self) -> None:
        if self.memories is not None:
            (self.memories.pause if self.busy else self.memories.resume)()
        for tell in self._watchers:
            tell(self.busy)

    def _lent(self, request: Request) -> Request:
        """With what the house lends to it, and the room where it says that the satellite stands."""
        session = request.session
        if not session.room and (room := self.house.room(session.satellite)):
            session = replace(session, room=room)
        return replace(request, session=session, lent=request.lent or self.house.lent(session.language))

    async def warm_up(self) -> None:
        """Let every language model read the system prompt, so that the first question waits no longer than others."""
        request = self._lent(Request("Hello", replace(ANYBODY, language=self.settings.language)))
        specs = self._toolbox.turn(request, "").specs
        messages = self._faculties.messages(request, [], [], specs)
        await self.thinker.warm_up(messages, specs)


class KnownCommands:
    """Which sentences of one speaker are answered at once; see `handlers.asr.stage.Commands`."""

    def __init__(self, faculties: Faculties, request: Request, lent: Callable[[Request], Request]) -> None:
        """`lent` adds what the house lends, which comes and goes."""
        self._faculties = faculties
        self._request = request
        self._lent = lent

    async def consider(self, text: str, language: str) -> None:
        request = self._said(text, language)
        if not self._faculties.router.has_skill(request):
            await self._faculties.house.look_up(request)

    def knows(self, text: str, language: str) -> bool:
        return self._faculties.router.is_complete(self._said(text, language))

    def _said(self, text: str, language: str) -> Request:
        session = replace(self._request.session, language=language)
        return self._lent(replace(self._request, text=text, session=session))
