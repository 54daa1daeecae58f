"""The built-in language model: a small GGUF in this process, by llama.cpp (`xllamacpp`)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from handlers.agent.openmp import provide_openmp
from handlers.agent.spoken import spoken
from handlers.agent.stage import BuiltinSettings, Generation, Message
from handlers.errors import DeadlineError, EngineError, MissingExtraError, ModelError
from handlers.workers import Workers, usable_cores

provide_openmp()
try:
    import xllamacpp
except ModuleNotFoundError:
    raise MissingExtraError("The built-in language model", "server") from None
except ImportError as error:
    raise EngineError(f"The built-in language model cannot start ({error}): sudo apt install libgomp1") from None

_REPEAT_PENALTY = 1.15
"""A model this small says the same sentence again and again without one."""

_MAX_THREADS = 4
"""Small models are bound by memory, not by cores."""

_POLL = 0
"""Threads that wait for each other sleep. llama.cpp's default spins; beside a busy Piper on two cores, one token then
takes up to half a second instead of 8 ms."""

_PROMPT_CACHE_MIB = 64
"""Kept prompts of earlier conversations; llama.cpp's own default is 8 GiB."""

_BYTES_PER_TOKEN = 3
"""English has four and a half. What is written in other scripts may have one: then we try again with less."""

_FITTINGS = 3
"""Tries to make a conversation fit, each with half the text of the one before."""

_SILENCE_SECONDS = 30.0
"""Between two tokens, on the slowest machine with the largest model that fits."""

_QUIET = -1
"""llama.cpp's log level below errors, which reach us as exceptions."""


class BuiltinModel:
    """A loaded GGUF model. Making one blocks for some hundred milliseconds; do it in a thread."""

    def __init__(self, path: Path, settings: BuiltinSettings) -> None:
        self.name = f"builtin/{path.stem}"
        self.unavailable = ""
        self._settings = settings
        self._closed = False
        try:
            self._server: xllamacpp.Server | None = xllamacpp.Server(_parameters(path, settings))
        except Exception as error:  # the binding raises bare exceptions
            raise ModelError(
                f"The language model {path} cannot be loaded ({error}): put a whole .gguf there"
            ) from error
        self._workers = Workers("builtin-llm", threads=1)

    async def check(self) -> bool:
        return True

    async def chat(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        if self._closed:
            raise EngineError(f"{self.name} is closed")

        def generate(emit: Callable[[str], bool]) -> None:
            self._generate(messages, generation, emit)

        deltas = self._workers.stream_calls(generate)
        answer = spoken(deltas, self._settings.first_token_seconds, _SILENCE_SECONDS)
        try:
            async with contextlib.aclosing(answer):
                async for text in answer:
                    yield text
        except DeadlineError as error:
            raise DeadlineError(f"{self.name} is too slow: {error}") from None

    async def close(self) -> None:
        self._closed = True
        await self._workers.close()
        self._server = None

    def _generate(self, messages: Sequence[Message], generation: Generation, emit: Callable[[str], bool]) -> None:
        """Write an answer. When the conversation does not fit, nothing was written and less of it is tried."""
        room = self._settings.context * _BYTES_PER_TOKEN * 2 // 3  # the last third is for the answer
        problem: dict[str, object] = {}
        for _ in range(_FITTINGS):
            problem = self._attempt(_fitted(messages, room), generation, emit)
            if problem.get("type") != "exceed_context_size_error":
                break
            room //= 2
        if problem:
            raise EngineError(f"{self.name} failed: {problem.get('message', problem)}")

    def _attempt(
        self, messages: Sequence[Message], generation: Generation, emit: Callable[[str], bool]
    ) -> dict[str, object]:
        """Returns llama.cpp's error object, empty when there is none."""
        problem: dict[str, object] = {}

        def take(event: dict[str, object]) -> bool:
            """Called by llama.cpp for every token; True stops it."""
            if "error" in event:
                error = event["error"]
                problem.update(error if isinstance(error, dict) else {"message": str(error)})
                return True
            text = _delta(event)
            return self._closed or (bool(text) and not emit(text))

        if self._server is None:
            raise EngineError(f"{self.name} is closed")
        request = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": min(generation.longest, self._settings.longest_answer),
            "repeat_penalty": _REPEAT_PENALTY,
            "temperature": generation.temperature,
            "cache_prompt": True,
            "stream": True,
        }
        try:
            self._server.handle_chat_completions(request, take)
        except Exception as error:  # the binding raises bare exceptions
            raise EngineError(f"{self.name} failed: {error}") from error
        return problem


def _parameters(path: Path, settings: BuiltinSettings) -> xllamacpp.CommonParams:
    cores = usable_cores()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = settings.context
    parameters.n_parallel = 1
    # Writing leaves a core to the voice, which speaks at the same time; reading the question comes before that.
    parameters.cpuparams.n_threads = settings.threads or max(1, min(_MAX_THREADS, cores - 1))
    parameters.cpuparams_batch.n_threads = settings.threads or min(_MAX_THREADS, cores)
    parameters.cpuparams.poll = parameters.cpuparams_batch.poll = _POLL
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.verbosity = _QUIET
    # The library also opens an HTTP port on loopback; without the key, others on this machine can only see that it is
    # alive.
    parameters.api_keys = [secrets.token_urlsafe()]
    parameters.ui = False
    return parameters


def _fitted(messages: Sequence[Message], room: int) -> list[Message]:
    """Drop the oldest turns, then the beginning of the question, until the rest has at most `room` bytes.

    `messages` are the system prompt, pairs of a question and its answer, and the question.
    """
    fitted = list(messages)
    while len(fitted) > 3 and sum(len(message.content.encode()) for message in fitted) > room:
        del fitted[1:3]  # a chat template may refuse two messages of the same role in a row
    last = fitted[-1]
    fitted[-1] = Message(last.role, last.content.encode()[-(room // 2) :].decode(errors="ignore"))
    return fitted


def _delta(event: dict[str, object]) -> str:
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return ""
    content = choices[0].get("delta", {}).get("content")
    return content if isinstance(content, str) else ""
