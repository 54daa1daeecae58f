"""The built-in language model: a small GGUF in this process, by llama.cpp (`xllamacpp`)."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from handlers.agent.stage import BuiltinSettings, Generation, Message
from handlers.errors import EngineError, MissingExtraError, ModelError
from handlers.workers import Workers

try:
    import xllamacpp
except ImportError:
    raise MissingExtraError("The built-in language model", "server") from None

_MAX_THREADS = 4
"""Small models are bound by memory, not by cores."""

_PROMPT_CACHE_MIB = 64
"""Kept prompts of earlier conversations; llama.cpp's own default is 8 GiB."""

_CHARACTERS_PER_TOKEN = 3
"""A cautious mean for English, to keep a conversation inside the context."""

_QUIET = -1
"""llama.cpp's log level below errors, which reach us as exceptions."""


class BuiltinModel:
    """A loaded GGUF model. Making one blocks for some hundred milliseconds; do it in a thread."""

    def __init__(self, path: Path, settings: BuiltinSettings) -> None:
        self.name = f"builtin/{path.stem}"
        self.unavailable = ""
        self._settings = settings
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = settings.context
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = settings.threads or min(_MAX_THREADS, os.cpu_count() or 1)
        parameters.cache_ram_mib = _PROMPT_CACHE_MIB
        parameters.verbosity = _QUIET
        # The library also opens an HTTP port on loopback; without the key nobody on this machine can use it.
        parameters.api_keys = [secrets.token_urlsafe()]
        try:
            self._server: xllamacpp.Server | None = xllamacpp.Server(parameters)
        except Exception as error:  # the binding raises bare exceptions
            raise ModelError(
                f"The language model {path} cannot be loaded ({error}): put a whole .gguf there"
            ) from error
        self._workers = Workers("builtin-llm", threads=1)

    async def check(self) -> bool:
        return True

    async def chat(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        request = {
            "messages": [{"role": message.role, "content": message.content} for message in self._fitted(messages)],
            "max_tokens": generation.longest,
            "temperature": generation.temperature,
            "cache_prompt": True,
            "stream": True,
        }

        def generate(emit: Callable[[str], bool]) -> None:
            self._generate(request, emit)

        async with contextlib.aclosing(self._workers.stream_calls(generate)) as deltas:
            async for delta in deltas:
                yield delta

    async def close(self) -> None:
        await self._workers.close()
        self._server = None

    def _generate(self, request: dict[str, object], emit: Callable[[str], bool]) -> None:
        problem = ""

        def take(event: dict[str, object]) -> bool:
            """Called by llama.cpp for every token; True stops it."""
            nonlocal problem
            if "error" in event:
                problem = str(event["error"])
                return True
            text = _delta(event)
            return bool(text) and not emit(text)

        if self._server is None:
            raise EngineError(f"{self.name} is closed")
        self._server.handle_chat_completions(request, take)
        if problem:
            raise EngineError(f"{self.name} failed: {problem}")

    def _fitted(self, messages: Sequence[Message]) -> list[Message]:
        """Drop the oldest turns until the rest, and an answer as long as a third of the context, fits."""
        room = self._settings.context * _CHARACTERS_PER_TOKEN * 2 // 3
        fitted = list(messages)
        while len(fitted) > 2 and sum(len(message.content) for message in fitted) > room:
            del fitted[1]
        last = fitted[-1]
        fitted[-1] = Message(last.role, last.content[-room // 2 :])
        return fitted


def _delta(event: dict[str, object]) -> str:
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return ""
    content = choices[0].get("delta", {}).get("content")
    return content if isinstance(content, str) else ""
