"""The built-in language model: a small GGUF in this process, by llama.cpp (`xllamacpp`)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from handlers.agent.llm.calls import CallPieces, as_json, format_as_json, tools_as_json
from handlers.agent.llm.errors import keep_apart, kind_of
from handlers.agent.llm.fitting import fitted, without_tools
from handlers.agent.llm.openmp import provide_openmp
from handlers.agent.llm.settings import BuiltinSettings
from handlers.agent.llm.spoken import spoken
from handlers.agent.stage import Generation, Message, Written
from handlers.agent.tools.stage import ToolSpec
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

_FITTINGS = 3
"""Tries to make a conversation fit, each with half the text of the one before. Scripts that the model does not know
well have more tokens than we estimate."""

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

    @property
    def uses_tools(self) -> bool:
        return self._settings.tools

    @property
    def follows_schemas(self) -> bool:
        return self._settings.schemas

    @property
    def context_tokens(self) -> int:
        return self._settings.context

    async def check(self) -> bool:
        return True

    async def chat(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Written, None]:
        if self._closed:
            raise EngineError(f"{self.name} is closed")
        tools = tools if self.uses_tools else ()
        messages = messages if self.uses_tools else without_tools(messages)

        def generate(emit: Callable[[Written], bool]) -> None:
            self._generate(messages, generation, tools, emit)

        deltas = self._workers.stream_calls(generate)
        answer = spoken(
            deltas,
            self._settings.first_token_seconds,
            _SILENCE_SECONDS,
            tools,
            told=messages,
            longest=generation.longest,
        )
        try:
            async with contextlib.aclosing(answer):
                async for piece in answer:
                    yield piece
        except DeadlineError as error:
            raise DeadlineError(f"{self.name} is too slow: {error}") from None

    async def close(self) -> None:
        self._closed = True
        await self._workers.close()
        self._server = None

    def _generate(
        self,
        messages: Sequence[Message],
        generation: Generation,
        tools: Sequence[ToolSpec],
        emit: Callable[[Written], bool],
    ) -> None:
        """Write an answer. When the conversation does not fit, nothing was written and less of it is tried."""
        room = self._settings.context * 2 // 3  # the last third is for the answer
        problem: dict[str, object] = {}
        for _ in range(_FITTINGS):
            request = self._request(fitted(messages, room, tools), generation, tools)
            problem = self._attempt(request, emit)
            if problem.get("type") != "exceed_context_size_error":
                break
            room //= 2
        if problem:
            keep_apart(self.name, str(problem.get("message", problem)))
            raise EngineError(f"{self.name} failed{kind_of(problem.get('type'))}: the log at the level debug says why")

    def _request(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec]
    ) -> dict[str, object]:
        request: dict[str, object] = {
            "messages": as_json(messages),
            "max_tokens": min(generation.longest, self._settings.longest_answer),
            "temperature": generation.temperature,
            "cache_prompt": True,
            "stream": True,
            **format_as_json(generation),
        }
        if generation.schema is not None:
            request["max_tokens"] = generation.longest  # half a JSON text is of no use
        else:
            request["repeat_penalty"] = _REPEAT_PENALTY
        if tools:
            request["tools"] = tools_as_json(tools)
        return request

    def _attempt(self, request: dict[str, object], emit: Callable[[Written], bool]) -> dict[str, object]:
        """Returns llama.cpp's error object, empty when there is none."""
        problem: dict[str, object] = {}
        calls = CallPieces()
        failures: list[EngineError] = []

        def take(event: dict[str, object]) -> bool:
            """Called by llama.cpp for every token; True stops it. Nothing may be raised through it."""
            if "error" in event:
                error = event["error"]
                problem.update(error if isinstance(error, dict) else {"message": str(error)})
                return True
            try:
                text = calls.take(event)
            except EngineError as error:
                failures.append(error)
                return True
            return self._closed or (bool(text) and not emit(text))

        if self._server is None:
            raise EngineError(f"{self.name} is closed")
        try:
            self._server.handle_chat_completions(request, take)
        except Exception as error:  # the binding raises bare exceptions
            keep_apart(self.name, str(error))
            raise EngineError(f"{self.name} failed ({type(error).__name__})") from error
        if failures:
            raise failures[0]
        if not problem:
            for call in calls.finish():
                emit(call)
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
