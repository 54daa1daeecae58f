"""What a language model streams, as the agent takes it: only words for the listener, whole calls, and in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

from handlers.agent.llm.calls import MOST_CALLS
from handlers.agent.llm.errors import AnswerError
from handlers.agent.llm.text_calls import TextCalls
from handlers.agent.safety.data import MarkFilter
from handlers.agent.stage import Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from handlers.errors import DeadlineError
from handlers.tts.thoughts import ThoughtFilter

T = TypeVar("T")

_CHARACTERS_PER_TOKEN = 12
"""Of the longest words of a vocabulary; English has four. An answer that is longer than this comes from a server that
knows no limit."""

_LONGEST = 4096
"""Tokens; the most that the settings allow."""


async def spoken(
    deltas: AsyncGenerator[Written, None],
    first_seconds: float,
    silence_seconds: float,
    tools: Sequence[ToolSpec] = (),
    *,
    told: Sequence[Message] = (),
    longest: int = _LONGEST,
) -> AsyncGenerator[Written, None]:
    """Pass on `deltas` without thoughts, marks of data and leading blanks, calls of `tools` also where they are written
    as text. The answer ends where it is far longer than `longest` tokens. `told` are the messages that it answers.

    Closes the deltas however it ends. Raises DeadlineError when the first word or call does not come within
    `first_seconds`, however much was thought, or no delta at all for `silence_seconds` after it; AnswerError for a
    call that cannot be read, or is written as text and only repeated from `told`, and for too many. The time that the
    reader takes does not count.
    """
    clean = _Clean(tools, told)
    room = longest * _CHARACTERS_PER_TOKEN
    loop = asyncio.get_running_loop()
    first_until = loop.time() + first_seconds
    begun = False
    async with contextlib.aclosing(deltas):
        while True:
            until = loop.time() + silence_seconds if begun else first_until
            delta = await next_until(deltas, until, silence_seconds if begun else first_seconds)
            if begun and isinstance(delta, str):  # the deadline ends what has not begun
                delta, room = delta[:room], room - max(1, len(delta))
            for piece in clean.take(delta):
                begun = True
                yield piece
            if delta is None:
                return
            if room <= 0:
                for piece in clean.take(None):
                    yield piece
                return


async def next_until(deltas: AsyncGenerator[T, None], until: float, seconds: float) -> T | None:
    """The next one, None after the last. Raises DeadlineError, which names `seconds`, at the loop's time `until`."""
    try:
        async with asyncio.timeout_at(until) as deadline:
            return await anext(deltas, None)
    except TimeoutError:
        if not deadline.expired():  # the connection's own
            raise
        raise DeadlineError(f"no word came for {seconds:g} seconds") from None


class _Clean:
    """Of what a model writes: what the agent takes."""

    def __init__(self, tools: Sequence[ToolSpec], told: Sequence[Message]) -> None:
        self._calls = TextCalls(tools, told)
        self._count = 0
        self._thoughts = ThoughtFilter()
        self._marks = MarkFilter()
        self._said = False

    def take(self, delta: Written | None) -> list[Written]:
        """One more delta, None at the end; returns what can be passed on now."""
        if delta is None:
            pieces = self._calls.finish()
        else:
            pieces = self._calls.feed(delta) if isinstance(delta, str) else [delta]
        self._count += sum(isinstance(piece, ToolCall) for piece in pieces)
        if self._count > MOST_CALLS:
            raise AnswerError(f"The model called more than {MOST_CALLS} tools at once")
        out = [self._words(self._thoughts.feed(piece)) if isinstance(piece, str) else piece for piece in pieces]
        if delta is None:
            out.append(self._words(self._thoughts.finish()))
            out.append(self._marks.finish())
        return [piece for piece in out if piece]

    def _words(self, text: str) -> str:
        text = self._marks.feed(text)
        text = text if self._said else text.lstrip()
        self._said = self._said or bool(text)
        return text
