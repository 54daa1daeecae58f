"""One request's way to its answer: routed, then answered by a skill, or thought about with tools and memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from handlers.agent.conversations import Turn
from handlers.agent.faculties import Faculties
from handlers.agent.heard import Playback
from handlers.agent.prompt import build_messages
from handlers.agent.router import Kind, Route
from handlers.agent.safety.confirm import Pending
from handlers.agent.skills import locale_of
from handlers.agent.skills.stage import Match, Occasion
from handlers.agent.stage import AnswerPart, Filler, Message, Request, Volume, Written, place_of
from handlers.agent.tools.stage import ToolCall, ToolFinished, ToolResult
from handlers.agent.tools.toolbox import ToolTurn, as_message
from handlers.errors import EngineError, MeadowlarkError
from handlers.timeline import Mark, Timeline

_LOGGER = logging.getLogger(__name__)

NOBODY = "none"
"""The route of a turn for which no language model answered."""

_GRACE_SECONDS = 0.3
"""A language model that begins so soon after the end of the question needs no sentence before it."""


class Response:
    """The answer to one request. It may be a draft: it does nothing and settles nothing before `committed` is set."""

    def __init__(self, faculties: Faculties, request: Request, timeline: Timeline, committed: asyncio.Event) -> None:
        self.request = request
        self._faculties = faculties
        self._timeline = timeline
        self._committed = committed
        self._place = place_of(request)
        self._history = faculties.conversations.history(request.conversation_id)
        self._match: Match | None = None

    async def parts(self) -> AsyncGenerator[AnswerPart, None]:
        """The answer as it comes. It always says something, if only that it cannot; closing it stops all work."""
        confirming = self._faculties.confirmations.waits(self._place)
        route = self._faculties.router.route(self.request, self._history, confirming)
        self._timeline.decide(str(route.kind), route.confidence, route.reason)
        answer = self._settle(route) if confirming else self._answer(route)
        async with contextlib.aclosing(answer) as parts:
            async for part in parts:
                if isinstance(part, str | Filler):
                    self._timeline.mark(Mark.FIRST_TOKEN)
                yield part

    def remember(self, answer: str, playback: Playback | None = None) -> None:
        """Keep the turn in its conversation, the answer as far as it was given, and offer it to the memory."""
        answer = answer.strip()
        if not answer or self._timeline.route == NOBODY:  # an apology would only teach the model to apologise
            return
        turn = Turn(self.request.text, answer, playback, self._match)
        self._faculties.conversations.add(self.request.conversation_id, turn)
        if self._match is None and self._faculties.memories is not None:
            self._faculties.memories.turn_finished(self.request, answer, self._timeline.turn_id)

    def _answer(self, route: Route) -> AsyncGenerator[AnswerPart, None]:
        return self._think(route) if route.match is None else self._perform(route.match)

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
        elif self.request.caller.role < pending.role:
            yield self._sentence("NotAllowed")
        else:
            try:
                text = await pending.action()
            except MeadowlarkError as error:
                text = self._failed("The confirmed action", error)
            yield text

    async def _perform(self, match: Match) -> AsyncGenerator[AnswerPart, None]:
        """Let a skill answer, and act."""
        self._match = match
        self._timeline.route = f"skill/{match.intent}"
        await self._committed.wait()
        locale = locale_of(self.request.language, match.language)
        occasion = Occasion(self.request, self._history, self._faculties.now(), locale)
        try:
            reply = await self._faculties.skills.perform(match, occasion)
        except MeadowlarkError as error:
            yield self._failed(match.intent, error)
            return
        if reply.pending is not None:
            self._faculties.confirmations.ask(self._place, reply.pending)
        if reply.volume is not None or reply.volume_to is not None:
            yield Volume(reply.volume, reply.volume_to)
        yield reply.text

    async def _think(self, route: Route) -> AsyncGenerator[AnswerPart, None]:
        """Let a language model answer, with what is remembered and with tools."""
        faculties = self._faculties
        tools = faculties.toolbox.turn(self.request, self._timeline.turn_id)
        notes: Sequence[str] = ()
        if faculties.memories is not None:
            notes = await faculties.memories.recall(self.request, self._history)
        turns = faculties.settings.remembered_turns
        messages = build_messages(
            self.request,
            self._history[-turns:] if turns else [],
            faculties.settings.profile(self.request.wake_word, self.request.caller),
            faculties.now(),
            notes=notes,
            tools=bool(tools.specs) and faculties.thinker.uses_tools,
        )
        filler = self._sentence("OneMoment") if route.kind is Kind.HYBRID else ""
        async with contextlib.aclosing(self._rounds(messages, tools, filler)) as parts:
            async for part in parts:
                yield part

    async def _rounds(
        self, messages: list[Message], tools: ToolTurn, filler: str = ""
    ) -> AsyncGenerator[AnswerPart, None]:
        """Let the model write, run the tools that it asks for, and let it go on, until it asks for none."""
        spoken = ""
        results: list[ToolResult] = []
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
                            piece = _apart(spoken, piece)
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
            filler = ""
            await self._committed.wait()  # no tool runs on a guess
            if doubtful := tools.destructive(calls):
                pending = Pending(partial(self._confirmed, messages, said, calls, tools), role=self.request.caller.role)
                self._faculties.confirmations.ask(self._place, pending)
                yield _sentence_after(spoken, self._question(tools, doubtful))
                return
            messages = [*messages, Message("assistant", said, tuple(calls))]
            async with contextlib.aclosing(tools.run(calls)) as events:
                async for event in events:
                    if isinstance(event, ToolFinished):
                        results.append(event.result)
                        messages.append(as_message(event.result))
                    yield event
            spoken = spoken and spoken.rstrip() + "\n"  # what comes now is a sentence of its own

    async def _confirmed(self, messages: list[Message], said: str, calls: list[ToolCall], tools: ToolTurn) -> str:
        """After the yes: run the tools, and let the model say what came of it."""
        results = [event.result async for event in tools.run(calls, confirmed=True) if isinstance(event, ToolFinished)]
        told = [*messages, Message("assistant", said, tuple(calls)), *map(as_message, results)]
        written = [part async for part in self._rounds(told, tools) if isinstance(part, str)]
        if self._timeline.route == NOBODY:
            self._timeline.route = "skill/Yes"
            return self._sentence("Failed" if any(result.failed for result in results) else "Done")
        return "".join(written)

    async def _written(
        self, messages: list[Message], tools: ToolTurn, filler: str
    ) -> AsyncGenerator[Written | Filler, None]:
        """What the model writes; after `filler`, if it has not begun when the question is known to be whole."""
        faculties = self._faculties
        specs = () if tools.exhausted else tools.specs
        chat = faculties.thinker.chat(messages, faculties.generation, specs, self._timeline)
        async with contextlib.aclosing(chat) as pieces:
            if filler:
                first = asyncio.create_task(_next(pieces))
                try:
                    await _either(first, self._committed)
                    await asyncio.wait({first}, timeout=_GRACE_SECONDS)
                    if not first.done():
                        yield Filler(filler)
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
        what = " ".join(tools.question(call) for call in calls)
        return f"{what} {self._sentence('SayYes')}"

    def _sentence(self, name: str) -> str:
        return self._faculties.skills.sentence(name, self.request.language)


def _apart(before: str, text: str) -> str:
    """What is written on, after a tool has run."""
    return f" {text}" if before.endswith("\n") and not text[:1].isspace() else text


def _sentence_after(before: str, sentence: str) -> str:
    """A sentence of ours behind what the model has said."""
    return f" {sentence}" if before.rstrip("\n") and not before.endswith(" ") else sentence


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
