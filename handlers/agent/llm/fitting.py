"""Makes a conversation fit into a model's context, and into a model that knows no tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from handlers.agent.stage import Message
from handlers.agent.tools.stage import ToolSpec

_BYTES_PER_TOKEN = 3
"""English has four and a half, JSON and Chinese have three."""

_MESSAGE_TOKENS = 8
"""The marks of a chat template around each message."""

_LEAST_TOKENS = 64
"""A question or a tool's result is never cut below this."""

_CUT = "… (cut)"
"""Tells the model that a tool's result went on."""


def count_tokens(messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
    """At most so many tokens, as a rule: an estimate from above that needs no tokenizer."""
    return sum(map(_tokens, messages)) + sum(
        _of_text(tool.name + tool.description + json.dumps(dict(tool.parameters))) + _MESSAGE_TOKENS for tool in tools
    )


def fitted(messages: Sequence[Message], room: int, tools: Sequence[ToolSpec] = ()) -> list[Message]:
    """The messages cut to about `room` tokens, the tools counted.

    The oldest turns go first, whole, because a chat template may refuse two messages of the same role in a row. What
    the system says, the last question and the tools' round that follows it stay; when they alone are too long, the ends
    of the longest tools' results go, then the beginning of the question.
    """
    kept = list(messages)
    room -= count_tokens((), tools)
    question = max((at for at, message in enumerate(kept) if message.role == "user"), default=0)
    while count_tokens(kept) > room and (turn := _oldest_turn(kept, question)):
        kept = [message for at, message in enumerate(kept) if at not in turn]
        question -= len(turn)
    while (excess := count_tokens(kept) - room) > 0:
        results = [at for at in range(question, len(kept)) if kept[at].role == "tool"]
        longest = max(results, key=lambda at: _tokens(kept[at]), default=question)
        if _tokens(kept[longest]) <= _LEAST_TOKENS + _MESSAGE_TOKENS:
            longest = question
        shorter = _shortened(kept[longest], excess)
        if shorter is None:
            break
        kept[longest] = shorter
    return kept


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """The same for a model that knows no tools: their results stand below the question that they answer."""
    plain: list[Message] = []
    question = 0
    for message in messages:
        if message.role == "tool":
            name = message.answers.name if message.answers else "a tool"
            asked = plain[question]
            plain[question] = replace(asked, content=f"{asked.content}\n\nResult of {name}: {message.content}")
        elif not message.calls:
            question = len(plain) if message.role == "user" else question
            plain.append(message)
    return plain


def _oldest_turn(messages: Sequence[Message], question: int) -> set[int]:
    """Places of the first turn before the question: all but the system's, up to the next question."""
    turn: set[int] = set()
    for at in range(question):
        if messages[at].role == "system":
            continue
        if turn and messages[at].role == "user":
            break
        turn.add(at)
    return turn


def _shortened(message: Message, excess: int) -> Message | None:
    """Less of it, but not less than the least; None when it has no more than that."""
    text = message.content.encode(errors="replace")
    least = _LEAST_TOKENS * _BYTES_PER_TOKEN
    if message.role not in ("tool", "user") or len(text) <= least:
        return None
    size = max(least - len(_CUT.encode()), len(text) - (excess + _MESSAGE_TOKENS) * _BYTES_PER_TOKEN)
    if message.role == "tool":
        return replace(message, content=text[:size].decode(errors="ignore") + _CUT)
    return replace(message, content=text[-size:].decode(errors="ignore"))


def _tokens(message: Message) -> int:
    calls = sum(_of_text(call.name + json.dumps(dict(call.arguments))) + _MESSAGE_TOKENS for call in message.calls)
    return _of_text(message.content) + calls + _MESSAGE_TOKENS


def _of_text(text: str) -> int:
    return len(text.encode(errors="replace")) // _BYTES_PER_TOKEN + 1
