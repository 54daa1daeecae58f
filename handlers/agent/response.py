"""One request's way to its answer: routed, then answered by a skill, or thought about with tools and memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from handlers.agent.conversations import Turn
from handlers.agent.faculties import Faculties
from handlers.agent.heard import Playback
from handlers.agent.house.borrowed import Borrowed
from handlers.agent.house.stage import Performed, Understood
from handlers.agent.memory.stage import Note
from handlers.agent.router import Kind, Route
from handlers.agent.safety.audit import Action
from handlers.agent.safety.confirm import Doing, Pending
from handlers.agent.skills import locale_of
from handlers.agent.skills.stage import Match, Occasion, Reply
from handlers.agent.stage import AnswerPart, Filler, Message, Request, Volume, Written
from handlers.agent.tools.stage import ToolCall, ToolFinished, ToolResult, ToolStarted
from handlers.agent.tools.toolbox import ToolTurn, as_message
from handlers.errors import EngineError, MeadowlarkError
from handlers.session import Role
from handlers.timeline import Mark, Timeline
from handlers.whole import to_its_end

_LOGGER = logging.getLogger(__name__)

NOBODY = "none"
"""The route of a turn for which no language model answered."""

_GRACE_SECONDS = 0.3
"""A language model that begins so soon after the end of the question needs no sentence before it."""

_UNEXPECTED = 2
"""A model that is usually quick is given so many times the patience before a sentence fills the time."""


@dataclass(frozen=True)
class _Quick:
    """What is said where a model has not begun after some seconds."""

    sentence: str
    seconds: float


class Response:
    """The answer to one request. It may be a draft: it does nothing and settles nothing before `committed` is set."""

    def __init__(self, faculties: Faculties, request: Request, timeline: Timeline, committed: asyncio.Event) -> None:
        self.request = replace(request, private=request.session.place in faculties.private)
        self._faculties = faculties
        self._timeline = timeline
        self._committed = committed
        self._place = request.session.place
        self._history = faculties.conversations.history(request.session)
        self._untrusted = any(turn.untrusted for turn in self._history)
        self._match: Match | None = None
        self._borrowed = Borrowed(self.request.lent)
        self._tools: ToolTurn | None = None
        self._notes: Sequence[Note] = ()

    async def parts(self) -> AsyncGenerator[AnswerPart, None]:
        """The answer as it comes. It always says something, if only that it cannot; closing it stops all work."""
        confirming = self._faculties.confirmations.waits(self._place)
        if not self._faculties.router.has_skill(self.request):
            await self._faculties.house.look_up(self.request)
        route = self._faculties.router.route(self.request, self._history, confirming)
        self._timeline.decide(str(route.kind), route.confidence, route.reason)
        answer = self._settle(route) if confirming else self._answer(route)
        async with contextlib.aclosing(answer) as parts:
            async for part in parts:
                if isinstance(part, str | Filler):
                    self._timeline.mark(Mark.FIRST_TOKEN)
                elif isinstance(part, ToolFinished):
                    self._untrusted = self._untrusted or part.result.untrusted
                yield part

    def remember(self, answer: str, playback: Playback | None = None) -> None:
        """Keep the turn in its conversation, the answer as far as it was given, and offer it to the memory."""
        answer = answer.strip()
        if not answer or self._timeline.route == NOBODY:  # an apology would only teach the model to apologise
            return
        untrusted = self._untrusted or (self._tools is not None and self._tools.untrusted)
        turn = Turn(self.request.text, answer, playback, self._match, untrusted)
        self._faculties.conversations.add(self.request.session, turn)
        memories = self._faculties.memories
        if memories is None or self._tools is None:  # a skill remembers by itself what should be remembered
            return
        memories.told(self.request, self._notes)
        learnt = "" if untrusted else answer  # strangers do not write our memories
        memories.turn_finished(self.request, learnt, self._timeline.turn_id)

    def _answer(self, route: Route) -> AsyncGenerator[AnswerPart, None]:
        if route.match is not None:
            return self._perform(route.match)
        return self._think(route) if route.understood is None else self._let_house(route, route.understood)

    async def _settle(self, route: Route) -> AsyncGenerator[AnswerPart, None]:
        """An action waits for a yes. Whatever was said, it waits no longer."""
        await self._committed.wait()
        pending = self._faculties.confirmations.take(self._place)
        intent = route.match.intent if route.match is not None else ""
        if intent not in ("Yes", "No"):
            async with contextlib.aclosing(self._answer(route)) as parts:
                async for part in parts:
                    yield part
            return
        self._timeline.route = f"skill/{intent}"
        if intent == "No" or pending is None:  # it has waited too long since the route was chosen
            yield self._sentence("NotConfirmed")
        elif self.request.session.role < pending.role:
            yield self._sentence("NotAllowed")
        else:
            async with contextlib.aclosing(self._confirmed(pending)) as parts:
                async for part in parts:
                    yield part

    async def _confirmed(self, pending: Pending[Doing]) -> AsyncGenerator[AnswerPart, None]:
        """Do what waited for the yes."""
        if pending.borrowed is not None:
            pending.borrowed.renew(self.request.lent)
        doing = pending.action()
        if isinstance(doing, AsyncGenerator):
            async with contextlib.aclosing(doing) as parts:
                async for part in parts:
                    yield part
            return
        try:
            text = await to_its_end(doing)
        except MeadowlarkError as error:
            text = self._failed("The confirmed action", error)
        finally:
            if pending.forgets:
                self._faculties.conversations.forget(self.request.session.conversation)
        yield text

    async def _perform(self, match: Match) -> AsyncGenerator[AnswerPart, None]:
        """Let a skill answer, and act."""
        self._match = match
        self._timeline.route = f"skill/{match.intent}"
        await self._committed.wait()
        locale = locale_of(self.request.session.language, match.language)
        occasion = Occasion(self.request, self._history, self._faculties.now(), locale)
        perform = partial(self._faculties.skills.perform, match, occasion)
        try:
            reply = await to_its_end(self._written_down(match, perform))
        except MeadowlarkError as error:
            yield self._failed(match.intent, error)
            return
        if reply.pending is not None:
            pending = replace(reply.pending, action=partial(self._after_yes, match, reply.pending))
            self._faculties.confirmations.ask(self._place, pending)
        if reply.volume is not None or reply.volume_to is not None:
            yield Volume(reply.volume, reply.volume_to)
        yield reply.text

    async def _let_house(self, route: Route, understood: Understood) -> AsyncGenerator[AnswerPart, None]:
        """Let the house do what it understood. Where it understands it no more, a language model thinks about it."""
        self._timeline.route = f"house/{understood.intent}"
        await self._committed.wait()
        request = self.request
        if request.session.role < Role.USER:  # whether somebody is at home is not for everybody either
            yield self._sentence("NotAllowed")
            return
        intent, turn_id = f"house/{understood.intent}", self._timeline.turn_id
        action = Action(intent, {}, request.session, request.text, turn_id, discreet=request.private)
        try:
            done = await to_its_end(self._in_house(understood, action))
        except MeadowlarkError as error:
            yield self._failed(understood.intent, error)
            return
        if done is not None:
            yield done.text or self._sentence("Failed" if done.failed else "Done")
            return
        async with contextlib.aclosing(self._think(route)) as parts:
            async for part in parts:
                yield part

    async def _in_house(self, understood: Understood, action: Action) -> Performed | None:
        """Have it done. What changes something is written down before and after, as with a skill."""
        house, audit = self._faculties.house, self._faculties.audit
        if not understood.acts:
            return await house.perform(understood, self.request)
        async with audit.acting(action) as ending:
            try:
                done = await house.perform(understood, self.request)
            except MeadowlarkError as error:
                ending.text = str(error)
                raise
            if done is None:
                ending.text = "not understood any more"
            else:
                ending.text, ending.failed = done.text, done.failed
            return done

    async def _after_yes(self, match: Match, pending: Pending[Awaitable[str]]) -> str:
        async def act() -> Reply:
            return Reply(await pending.action())

        return (await self._written_down(match, act, confirmed=True)).text

    async def _written_down(
        self, match: Match, work: Callable[[], Awaitable[Reply]], *, confirmed: bool = False
    ) -> Reply:
        """Let a skill work. What changes something is written down before and after; raises ToolError where it cannot
        be, and then nothing is done."""
        skills = self._faculties.skills
        if not skills.acts(match.intent):
            return await work()
        request, turn_id = self.request, self._timeline.turn_id
        discreet = request.private or skills.discreet(match.intent)
        intent = f"skill/{match.intent}"
        action = Action(intent, match.slots, request.session, request.text, turn_id, confirmed, discreet)
        async with self._faculties.audit.acting(action) as ending:
            reply = await work()
            ending.text, ending.failed, ending.asked = reply.text, False, reply.pending is not None
            return reply

    async def _think(self, route: Route) -> AsyncGenerator[AnswerPart, None]:
        """Let a language model answer, with what is remembered and with tools."""
        faculties = self._faculties
        if not faculties.thinker.uses_tools and self._asks_to_act():
            self._timeline.route = "skill/CannotAct"  # a small model would claim that it is done
            yield self._sentence("CannotAct")
            return
        self._tools = tools = faculties.toolbox.turn(self._borrowing(), self._timeline.turn_id)
        if faculties.memories is not None:
            self._notes = await faculties.memories.recall(self.request, self._history)
        messages = faculties.messages(self.request, self._history, self._notes, tools.specs)
        filler = self._filler(route)
        async with contextlib.aclosing(self._rounds(messages, tools, filler)) as parts:
            async for part in parts:
                yield part

    async def _rounds(
        self, messages: list[Message], tools: ToolTurn, filler: _Quick | None = None, results: Sequence[ToolResult] = ()
    ) -> AsyncGenerator[AnswerPart, None]:
        """Let the model write, run the tools that it asks for, and let it go on, until it asks for none. `results` are
        those of an earlier round."""
        spoken, goes_on = "", False
        while True:
            said = ""
            calls: list[ToolCall] = []
            try:
                async with contextlib.aclosing(self._written(messages, tools, filler)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, ToolCall):
                            calls.append(piece)
                            continue
                        if isinstance(piece, str):
                            said += piece
                            if goes_on:
                                goes_on = not piece.strip()
                                piece = _apart(spoken, piece)
                            if not piece:
                                continue
                            spoken += piece
                        yield piece
            except EngineError:
                if results and not said:  # what was done is done, whether or not there is a model to say so
                    name = "Failed" if any(result.failed for result in results) else "Done"
                else:
                    name = "BrokenOff" if spoken else "NoModel"
                if name == "NoModel":
                    self._timeline.route = NOBODY
                yield _sentence_after(spoken, self._sentence(name))
                return
            if not calls:
                return
            if tools.exhausted:  # it was given none, and asks for them all the same
                yield _sentence_after(spoken, self._sentence("BrokenOff"))
                return
            filler = None
            await self._committed.wait()  # no tool runs on a guess
            if doubtful := tools.destructive(calls):
                action, role = partial(self._go_on, messages, said, calls, tools), self.request.session.role
                pending = Pending(action, role=role, borrowed=self._borrowed)
                self._faculties.confirmations.ask(self._place, pending)
                yield _sentence_after(spoken, self._question(tools, doubtful))
                return
            came: list[ToolResult] = []
            async with contextlib.aclosing(_run(tools, calls, came)) as events:
                async for event in events:
                    yield event
            results = [*results, *came]
            messages = [*messages, Message("assistant", said, tuple(calls)), *map(as_message, came)]
            goes_on = bool(spoken)  # what comes now is a sentence of its own

    async def _go_on(
        self, messages: list[Message], said: str, calls: list[ToolCall], tools: ToolTurn
    ) -> AsyncGenerator[AnswerPart, None]:
        """After the yes: run the tools, and let the model say what came of it."""
        self._timeline = Timeline(self._timeline.turn_id)  # the one of the question is finished
        came: list[ToolResult] = []
        async with contextlib.aclosing(_run(tools, calls, came, confirmed=True)) as events:
            async for event in events:
                yield event
        told = [*messages, Message("assistant", said, tuple(calls)), *map(as_message, came)]
        async with contextlib.aclosing(self._rounds(told, tools, results=came)) as parts:
            async for part in parts:
                yield part

    async def _written(
        self, messages: list[Message], tools: ToolTurn, filler: _Quick | None
    ) -> AsyncGenerator[Written | Filler, None]:
        """What the model writes; after `filler`, if it has not begun in time once the question is known to be whole."""
        faculties = self._faculties
        specs = () if tools.exhausted else tools.specs
        chat = faculties.thinker.chat(messages, faculties.generation, specs, self._timeline)
        async with contextlib.aclosing(chat) as pieces:
            if filler is not None:
                first = asyncio.create_task(_next(pieces))
                try:
                    await _either(first, self._committed)
                    await asyncio.wait({first}, timeout=filler.seconds)
                    if not first.done():
                        yield Filler(filler.sentence)
                    piece = await first
                finally:
                    first.cancel()
                    await asyncio.gather(first, return_exceptions=True)
                if piece is not None:
                    yield piece
            async for piece in pieces:
                yield piece

    def _failed(self, what: str, error: MeadowlarkError) -> str:
        """The owner reads why in the log; the listener hears that it was not done."""
        _LOGGER.warning("%s failed: %s", what, error)
        return self._sentence("Failed")

    def _question(self, tools: ToolTurn, calls: Sequence[ToolCall]) -> str:
        """What is asked before destructive calls, from their real arguments."""
        what = " ".join(dict.fromkeys(tools.questions(calls)))  # only the same call twice has the same one
        return f"{what} {self._sentence('SayYes')}"

    def _borrowing(self) -> Request:
        """The request, with tools that another turn may go on with."""
        lent = self.request.lent
        return self.request if lent is None else replace(self.request, lent=replace(lent, tools=self._borrowed.tools))

    def _filler(self, route: Route) -> _Quick | None:
        patience = self._faculties.settings.quick_sentence_seconds
        if not patience:
            return None
        seconds = _GRACE_SECONDS if route.kind is Kind.HYBRID else patience * _UNEXPECTED
        return _Quick(self._sentence("OneMoment"), seconds)

    def _asks_to_act(self) -> bool:
        """Whether the first word is one of a request to do something, rather than of a question."""
        first = self.request.text.casefold().split(maxsplit=1)[:1]
        actions = self._faculties.skills.spoken_words(self.request.session.language, "actions")
        return bool(first) and first[0].strip(",.!") in actions

    def _sentence(self, name: str) -> str:
        return self._faculties.skills.sentence(name, self.request.session.language)


async def _run(
    tools: ToolTurn, calls: Sequence[ToolCall], came: list[ToolResult], *, confirmed: bool = False
) -> AsyncGenerator[ToolStarted | ToolFinished, None]:
    """Run a round of calls; their results are then in `came`, in the order of the calls: some models tell them apart by
    nothing else."""
    async with contextlib.aclosing(tools.run(calls, confirmed)) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                came.append(event.result)
            yield event
    order = [id(call) for call in calls]
    came.sort(key=lambda result: order.index(id(result.call)))


def _apart(before: str, text: str) -> str:
    """What is written on, after a tool has run: one blank stands between."""
    if before[-1:].isspace():
        return text.lstrip()
    return text if text[:1].isspace() else f" {text}"


def _sentence_after(before: str, sentence: str) -> str:
    """A sentence of ours behind what the model has said."""
    return f" {sentence}" if before and not before[-1:].isspace() else sentence


async def _next(pieces: AsyncGenerator[Written, None]) -> Written | None:
    return await anext(pieces, None)


async def _either(task: asyncio.Task[Written | None], event: asyncio.Event) -> None:
    """Wait until one of them is done."""
    waiting = asyncio.create_task(event.wait())
    tasks: list[asyncio.Task[object]] = [task, waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
