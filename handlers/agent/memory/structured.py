"""Asks a language model for one JSON object and checks that it is what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from handlers.agent.llm.errors import AnswerError
from handlers.agent.stage import Generation, LanguageModel, Message
from handlers.errors import DeadlineError

A = TypeVar("A", bound=BaseModel)

_CHARACTERS_PER_TOKEN = 12
"""More than any language has: an answer that is longer than its tokens allow comes from a model that ignores them."""

_SHOWN_AGAIN = 1000
"""Characters of a broken answer that the model sees again; what is wrong with it is mostly at the beginning."""


async def ask(
    model: LanguageModel,
    messages: Sequence[Message],
    schema: Mapping[str, object],
    answer: type[A],
    *,
    longest: int,
    seconds: float,
) -> A:
    """The model's answer as `answer`. It is asked a second time when the first was no JSON or something else.

    longest: tokens of an answer; seconds: for each of the two. Raises AnswerError, DeadlineError and the model's
    EngineError. Cancelling closes the model's generator, which ends its generation.
    """
    generation = Generation(longest, temperature=0.0, schema=schema)
    text = await _collect(model, messages, generation, seconds)
    try:
        return _parse(text, answer)
    except ValueError as error:
        again = [
            *messages,
            Message("assistant", text[:_SHOWN_AGAIN] or "{}"),
            Message("user", f"That cannot be used ({_brief(error)}). Answer again, with the JSON object only."),
        ]
    text = await _collect(model, again, generation, seconds)
    try:
        return _parse(text, answer)
    except ValueError as error:
        raise AnswerError(f"{model.name} twice gave an answer that cannot be used: {_brief(error)}") from None


async def _collect(model: LanguageModel, messages: Sequence[Message], generation: Generation, seconds: float) -> str:
    text = ""
    try:
        async with asyncio.timeout(seconds), contextlib.aclosing(model.chat(messages, generation)) as parts:
            async for part in parts:
                if isinstance(part, str):  # it was offered no tools; a call of one is not an answer
                    text += part
                if len(text) > generation.longest * _CHARACTERS_PER_TOKEN:
                    break
    except TimeoutError:
        raise DeadlineError(f"{model.name} did not finish a task of the memory within {seconds:.0f} s") from None
    return text.strip()


def _parse(text: str, answer: type[A]) -> A:
    """The object in the text; models that ignore the schema like to put words or a code fence around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError("no JSON object")
    try:
        return answer.model_validate(json.loads(text[start : end + 1]))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _brief(error: ValueError) -> str:
    """What is wrong, without repeating what the model wrote."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return str(error)[:200]
