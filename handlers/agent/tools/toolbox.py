"""The tools of a turn: offered by role, called at most so often, so long and with so much to say, and written down."""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

from handlers.agent.safety.audit import Action, Audit
from handlers.agent.safety.data import as_data, clean
from handlers.agent.safety.repeated import Repeated
from handlers.agent.stage import Message, Request
from handlers.agent.tools.arguments import canonical, coerced, complaint, question
from handlers.agent.tools.settings import ToolSettings
from handlers.agent.tools.stage import (
    Tool,
    ToolCall,
    ToolError,
    ToolFinished,
    ToolResult,
    ToolSource,
    ToolSpec,
    ToolStarted,
)
from handlers.session import Session

_log = logging.getLogger(__name__)

_MOST_CALLS = 16
"""Calls of one round: a model that wants more at once has lost its way."""

_LONGEST_NAME = 64
"""Characters of a name; OpenAI's limit, and the least of all protocols."""


Key = tuple[str, str]
"""A call's name and arguments: what makes it the same as another."""


class Toolbox:
    """All tools from all sources. A name that an earlier source has is given its source's name in front."""

    def __init__(self, sources: Sequence[ToolSource], settings: ToolSettings, audit: Audit) -> None:
        self._sources = sources
        self._settings = settings
        self._audit = audit

    def specs(self, session: Session) -> list[ToolSpec]:
        """What may be used now in this session, as a language model sees it."""
        return self.turn(Request("", session=session)).specs

    def turn(self, request: Request, turn_id: str = "") -> ToolTurn:
        """The tools for one turn, as they are now, with those that the house lends to it: names mean the same tools
        until its end."""
        offered = [(source.name, tool) for source in self._sources for tool in source.tools(request.session)]
        if request.lent is not None:
            offered += [("house", tool) for tool in request.lent.tools]
        tools: dict[str, Tool] = {}
        for source, tool in offered:
            if request.session.role >= tool.role:
                tools[_free_name(tool.spec.name, source, tools)] = tool
        return ToolTurn(tools, request, turn_id, self._settings, self._audit)

    async def close(self) -> None:
        """Close the sources."""
        await asyncio.gather(*(source.close() for source in self._sources))


class ToolTurn:
    """What one turn does with tools. Calls come only from here, never from what a tool returned."""

    def __init__(
        self, tools: dict[str, Tool], request: Request, turn_id: str, settings: ToolSettings, audit: Audit
    ) -> None:
        self._tools = tools
        self._request = request
        self._turn_id = turn_id
        self._settings = settings
        self._audit = audit
        self._rounds = 0
        self._called: set[Key] = set()
        self._places = asyncio.Semaphore(settings.parallel)
        self._untrusted = False
        self._told: list[Message] = []

    @property
    def specs(self) -> list[ToolSpec]:
        """What the language model may call."""
        return [replace(tool.spec, name=name) for name, tool in self._tools.items()]

    @property
    def exhausted(self) -> bool:
        """Whether all rounds are used; the model has to answer with what it has."""
        return self._rounds >= self._settings.rounds

    @property
    def untrusted(self) -> bool:
        """Whether something that strangers may have written was read in this turn."""
        return self._untrusted

    def destructive(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Those that need a yes of the speaker first. Calls that are refused anyway are not among them.

        Once a text of strangers was read, whatever does more than read needs one: the text may have asked for it. So
        does a call that stands in a result of this turn: some servers take any JSON that a model reads out for a call.
        """
        checked = [self._checked(call) for call in calls]
        return [call for call in checked if isinstance(call, ToolCall) and self._needs_yes(call)]

    def question(self, call: ToolCall) -> str:
        """What is asked before a call out of `destructive`, made from its real arguments, not by a model."""
        return self._tools[call.name].question(self._coerced(call))

    def questions(self, calls: Sequence[ToolCall]) -> list[str]:
        """The question of each call out of `destructive`. Different calls never share one: where a tool's own words
        read alike, all arguments are named, and where these do too, the questions are numbered."""
        whole = [replace(call, arguments=self._coerced(call)) for call in calls]
        keys = [(call.name, canonical(call.arguments)) for call in whole]
        asked = dict(zip(keys, map(self.question, calls), strict=True))
        for alike in _alike(asked):
            asked |= {
                key: question(call.name, call.arguments) for key, call in zip(keys, whole, strict=True) if key in alike
            }
        for alike in _alike(asked):
            asked |= {key: f"{number}: {asked[key]}" for number, key in enumerate(alike, 1)}
        return [asked[key] for key in keys]

    async def run(
        self, calls: Sequence[ToolCall], confirmed: bool = False
    ) -> AsyncGenerator[ToolStarted | ToolFinished, None]:
        """Run one round of calls, side by side. Each gets exactly one ToolFinished, in the order in which they end.

        Never raises for a tool's failure: the result says what went wrong. confirmed: the speaker said yes to all of
        these; without, destructive ones are refused. Closing or cancelling the generator ends the calls.
        """
        exhausted = self.exhausted and not confirmed
        self._rounds += not confirmed
        events: asyncio.Queue[ToolStarted | ToolFinished] = asyncio.Queue()  # two for each call
        ready: list[tuple[ToolCall, ToolCall]] = []
        for number, call in enumerate(calls):
            checked = self._checked(call) if number < _MOST_CALLS else "Too many calls at once; call fewer."
            if exhausted:
                checked = "No more tools in this turn. Answer with what you know."
            elif isinstance(checked, ToolCall):
                checked = self._permitted(checked, confirmed)
            if isinstance(checked, str):
                yield ToolFinished(ToolResult(call, checked, failed=True, refused=True))
            else:
                ready.append((call, checked))
        tasks = [asyncio.create_task(self._run(wished, call, confirmed, events)) for wished, call in ready]
        try:
            unfinished = len(tasks)
            while unfinished:
                event = await events.get()
                unfinished -= isinstance(event, ToolFinished)
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _coerced(self, call: ToolCall) -> dict[str, object]:
        return coerced(call.arguments, self._tools[call.name].spec.parameters)

    def _needs_yes(self, call: ToolCall) -> bool:
        tool = self._tools[call.name]
        if tool.destructive or tool.reads_only:
            return tool.destructive
        return self._untrusted or Repeated(self._told).whole(call)

    def _checked(self, call: ToolCall) -> ToolCall | str:
        """The call with arguments that fit, or what the model is told."""
        tool = self._tools.get(call.name)
        if tool is None:
            near = difflib.get_close_matches(call.name, self._tools, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            return f"There is no tool '{call.name[:_LONGEST_NAME]}' here, or this person may not use it.{hint}"
        arguments = self._coerced(call)
        wrong = complaint(arguments, tool.spec.parameters)
        if wrong:
            return f"Not called, because the arguments do not fit: {wrong}. Correct them, or ask the person."
        return replace(call, arguments=arguments)

    def _permitted(self, call: ToolCall, confirmed: bool) -> ToolCall | str:
        if self._needs_yes(call) and not confirmed:
            return "Not done: it needs a yes of the person first."
        key = (call.name, canonical(call.arguments))
        if key in self._called:
            return "Already called with the same arguments in this turn; use the result that you have."
        self._called.add(key)
        return call

    async def _run(
        self, wished: ToolCall, call: ToolCall, confirmed: bool, events: asyncio.Queue[ToolStarted | ToolFinished]
    ) -> None:
        tool = self._tools[call.name]
        started = time.monotonic()
        text, failed, refused = "It failed inside the server.", True, True
        try:
            async with self._places:
                started = time.monotonic()
                request = self._request
                heard = "" if tool.reads_only else request.text  # the log is of what is done
                action = Action(
                    call.name, call.arguments, request.session, heard, self._turn_id, confirmed, request.private
                )
                await self._audit.attempt(action)
                refused = False
                events.put_nowait(ToolStarted(wished))
                try:
                    text, failed = await self._outcome(tool, call)
                except asyncio.CancelledError:
                    text = "The turn was cancelled."
                    raise
                finally:
                    seconds = time.monotonic() - started
                    self._audit.result(action, text, failed=failed, seconds=seconds)
        except ToolError as error:  # the log cannot be written
            text = str(error)
        finally:
            self._untrusted = self._untrusted or tool.untrusted
            shown = cut(text, self._settings.longest_result)
            seconds = time.monotonic() - started
            result = ToolResult(wished, shown, failed, seconds, refused, tool.untrusted)
            self._told.append(as_message(result))
            events.put_nowait(ToolFinished(result))

    async def _outcome(self, tool: Tool, call: ToolCall) -> tuple[str, bool]:
        """What the model reads, and whether that is a failure."""
        try:
            async with asyncio.timeout(tool.seconds):
                return await tool.call(call.arguments, self._request.session), False
        except ToolError as error:
            return str(error), True
        except TimeoutError:
            return f"It was stopped after {tool.seconds:g} seconds; what it did until then is done.", True
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return "It was stopped.", True  # a library cancelled its own work, not ours
        except Exception as error:  # one tool's fault does not end the turn
            _log.error("tool %s failed: %s", call.name, type(error).__name__)
            _log.debug("tool %s failed", call.name, exc_info=error)
            return "It failed inside the server; the server's log has more.", True


def as_message(result: ToolResult) -> Message:
    """A result as the language model reads it: marked as data, with nothing in it that a chat template understands.

    A refusal is told as it is, since it is ours and the model should follow it.
    """
    if result.refused:
        return Message("tool", clean(result.text), answers=result.call)
    text = f"It failed: {result.text}" if result.failed else result.text
    return Message("tool", as_data("tool", text or "Done.", result.call.name), answers=result.call)


def cut(text: str, limit: int) -> str:
    """At most about `limit` characters: the beginning and, as errors stand there, the end."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n[{len(text) - head - tail} characters left out here]\n{text[-tail:]}"


def _alike(asked: Mapping[Key, str]) -> list[list[Key]]:
    """Groups of different calls whose questions are the same."""
    texts = list(asked.values())
    return [
        [key for key, other in asked.items() if other == text] for text in dict.fromkeys(texts) if texts.count(text) > 1
    ]


def _free_name(name: str, source: str, taken: dict[str, Tool]) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name) or "tool"
    prefixed = re.sub(r"[^A-Za-z0-9_-]", "_", f"{source}_{name}")
    candidates = [plain[:_LONGEST_NAME], prefixed[:_LONGEST_NAME]]
    candidates += [f"{prefixed[: _LONGEST_NAME - 5]}_{number}" for number in range(2, 1000)]
    return next(candidate for candidate in candidates if candidate not in taken)
