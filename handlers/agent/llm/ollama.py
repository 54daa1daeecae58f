"""A language model served by Ollama."""

from __future__ import annotations

import contextlib
import json
import math
import re
import ssl
import time
from asyncio import timeout
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from handlers.agent.llm.calls import new_call, tools_as_json
from handlers.agent.llm.errors import AnswerError, PassingError, keep_apart
from handlers.agent.llm.fitting import fitted, without_tools
from handlers.agent.llm.locality import is_cloud_model, is_local
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.llm.spoken import spoken
from handlers.agent.stage import Generation, Message, Written
from handlers.agent.tools.stage import ToolSpec
from handlers.errors import DeadlineError, EngineError, MissingExtraError

try:
    import httpx
    import ollama
except ImportError:
    raise MissingExtraError("The Ollama client", "server") from None

_FAILURES = (
    *(OSError, TimeoutError, httpx.HTTPError, httpx.StreamError, ollama.ResponseError, DeadlineError),
    *(ValueError, TypeError, AttributeError),  # a line that is not JSON, or not an object
)

_CANDIDATES = 8
"""Of so many models, the last changed ones, we ask whether they can chat."""

_LONGEST_LINE = 1024 * 1024
"""Bytes. A line is a token, or a call with all its arguments."""

_ABLE_PARAMETERS = 1_000_000_000
"""The smallest model with which A-MEM's authors report sense in notes and links (Llama 3.2 1B, Qwen 2.5 1.5B)."""


@dataclass(frozen=True)
class _Shown:
    """What Ollama tells of a model."""

    chats: bool = True
    tools: bool = False
    able: bool = True
    context: int | None = None
    elsewhere: bool = False
    """It runs on another machine, at ollama.com as a rule."""


class OllamaModel:
    """A model of the Ollama at an address. Costs nothing until it is asked."""

    def __init__(self, settings: OllamaSettings, local_only: bool = True) -> None:
        self._settings = settings
        self._local_only = local_only
        self._model = settings.model
        self._shown: _Shown | None = None
        self._loaded_until = 0.0
        self._refused: set[str] = set()
        self._address = str(settings.url).rstrip("/")
        self.unavailable = ""
        # Not `ollama.AsyncClient`: it drops the nested parts of a tool's schema, and does not tell where a model runs.
        self._http = httpx.AsyncClient(
            base_url=self._address,
            timeout=httpx.Timeout(None, connect=settings.connect_seconds),  # `spoken` and `check` have the deadlines
            # With a transport of our own, because the default one sends even 127.0.0.1 through the proxy of the
            # environment.
            transport=httpx.AsyncHTTPTransport(verify=_trusted()) if is_local(settings.url) else None,
            verify=_trusted(),
        )

    @property
    def name(self) -> str:
        return f"ollama/{self._model or 'no model'}"

    @property
    def uses_tools(self) -> bool:
        if self._settings.tools is not None:
            return self._settings.tools and "tools" not in self._refused
        return self._shown is not None and self._shown.tools and "tools" not in self._refused

    @property
    def follows_schemas(self) -> bool:
        if self._settings.schemas is not None:
            return self._settings.schemas
        return self._shown is not None and self._shown.able

    @property
    def context_tokens(self) -> int:
        """Always the same for a model: Ollama loads it anew for another size."""
        made_for = self._shown.context if self._shown else None
        return min(self._settings.context, made_for or self._settings.context)

    @property
    def cold(self) -> bool:
        """Whether the model has to be loaded first, as far as we know."""
        return time.monotonic() >= self._loaded_until

    async def check(self) -> bool:
        try:
            async with timeout(2 * self._settings.connect_seconds):
                names = await self._names()
                if self._settings.model:
                    chosen = next((name for name in names if _same(self._settings.model, name)), "")
                    shown = await self._show(chosen) if chosen else None
                else:
                    chosen, shown = await self._first_that_chats(names)
                loaded = await self._is_loaded(chosen, shown) if shown else False
        except _FAILURES as error:
            return self._fail(f"No Ollama answers at {self._address} ({type(error).__name__})")
        if shown is None:
            return self._fail(
                self._missing(self._settings.model)
                if self._settings.model
                else f"The Ollama at {self._address} has no model to talk with: run  ollama pull llama3.2"
            )
        if self._local_only and (shown.elsewhere or is_cloud_model(chosen)):
            return self._fail(f"The model '{chosen}' runs at ollama.com: set  agent.local_only: false  to allow that")
        chosen = self._settings.model or chosen
        if chosen != self._model:
            self._refused.clear()
        self._model, self._shown = chosen, shown
        self._loaded_until = max(self._loaded_until, time.monotonic() + self._kept_seconds()) if loaded else 0.0
        self.unavailable = ""
        return True

    async def chat(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Written, None]:
        settings = self._settings
        if (self.unavailable or self._shown is None) and not await self.check():
            raise EngineError(self.unavailable)
        used = tools if self.uses_tools else ()
        deltas = self._stream(messages, generation, used)
        answer = spoken(
            deltas,
            settings.first_token_seconds,
            settings.silence_seconds,
            used,
            told=messages,
            longest=generation.longest,
        )
        try:
            async with contextlib.aclosing(answer):
                async for piece in answer:
                    self._loaded_until = time.monotonic() + self._kept_seconds()
                    yield piece
        except _FAILURES as error:
            failure = self._explain(error)
            if not isinstance(failure, AnswerError):
                self._fail(str(failure))
            raise failure from error

    async def close(self) -> None:
        await self._http.aclose()

    async def _stream(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[Written, None]:
        """The answer; again without what this model refuses to be told."""
        while True:
            used = tools if self.uses_tools else ()
            body = self._request(messages, generation, used)
            pieces = self._post(body)
            try:
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        yield piece
                return
            except ollama.ResponseError as error:
                refused = _refused_field(error, body)
                if not refused:
                    raise
                self._refused.add(refused)

    def _request(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec]
    ) -> dict[str, object]:
        known = messages if self.uses_tools else without_tools(messages)
        room = self.context_tokens - min(generation.longest, self.context_tokens // 2)
        body: dict[str, object] = {
            "model": self._model,
            "messages": [_as_json(message) for message in fitted(known, room, tools)],
            "stream": True,
            "keep_alive": _keep_alive(self._settings.keep_alive),
            "options": {
                "num_predict": generation.longest,
                "temperature": generation.temperature,
                "num_ctx": self.context_tokens,
                **({"num_thread": self._settings.threads} if self._settings.threads else {}),
            },
        }
        if "think" not in self._refused:
            body["think"] = False
        if tools:
            body["tools"] = tools_as_json(tools)
        if generation.schema is not None:
            body["format"] = dict(generation.schema)
        return body

    async def _post(self, body: dict[str, object]) -> AsyncGenerator[Written, None]:
        done = False
        # Closing the stream is what ends the HTTP request, and with it the generation.
        async with self._http.stream("POST", "/api/chat", json=body) as response:
            if response.is_error:
                raise ollama.ResponseError((await response.aread()).decode(errors="replace"), response.status_code)
            async with contextlib.aclosing(_lines(response)) as lines:
                async for line in lines:
                    part = _part(line)
                    done = bool(part.done)
                    yield part.message.content or ""
                    for call in part.message.tool_calls or ():
                        yield new_call(call.function.name, call.function.arguments)
        if not done:
            raise ValueError("the answer has no end")

    async def _names(self) -> list[str]:
        """All models, the last changed one first."""
        listed = ollama.ListResponse.model_validate(await self._get("/api/tags"))
        return [model.model for model in sorted(listed.models, key=_changed, reverse=True) if model.model]

    async def _first_that_chats(self, names: Sequence[str]) -> tuple[str, _Shown | None]:
        """The first that is no mere embedding model and runs in this house, not in Ollama's cloud; else ''."""
        for name in [name for name in names if not is_cloud_model(name)][:_CANDIDATES]:
            with contextlib.suppress(ollama.ResponseError, ValueError):  # a damaged model
                shown = await self._show(name)
                if shown.chats and not shown.elsewhere:
                    return name, shown
        return "", None

    async def _show(self, name: str) -> _Shown:
        return _shown(await self._get("/api/show", {"model": name}))

    async def _is_loaded(self, name: str, shown: _Shown) -> bool:
        context = min(self._settings.context, shown.context or self._settings.context)
        try:
            running = ollama.ProcessResponse.model_validate(await self._get("/api/ps")).models
        except ollama.ResponseError:  # an Ollama that is too old to say
            return False
        return any(model.model == name and model.context_length in (None, context) for model in running)

    async def _get(self, path: str, body: Mapping[str, object] | None = None) -> object:
        response = await self._http.request("GET" if body is None else "POST", path, json=body)
        if response.is_error:
            raise ollama.ResponseError(response.text, response.status_code)
        return response.json()

    def _kept_seconds(self) -> float:
        return _seconds(self._settings.keep_alive)

    def _explain(self, error: Exception) -> EngineError:
        keep_apart(self.name, str(error))
        reason = str(error) if type(error) is ValueError else type(error).__name__  # plain ones are ours
        failed = f"The Ollama at {self._address} failed ({reason})"
        if isinstance(error, DeadlineError):
            return DeadlineError(f"{self.name} is too slow: {error}")
        if isinstance(error, ollama.ResponseError):
            if error.status_code == 404:
                return EngineError(self._missing(self._model))
            if "parsing tool call" in error.error:
                return AnswerError(f"{self.name} wrote a call of a tool that cannot be read")
            if re.search("system memory|out of memory", error.error, re.IGNORECASE):
                return EngineError(f"{self._address} has too little memory for '{self._model}': choose a smaller model")
            failed = f"The Ollama at {self._address} failed ({_status(error)}): its own log says why"
            return PassingError(failed) if error.status_code in (502, 503, 504) else EngineError(failed)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return EngineError(f"No Ollama answers at {self._address} ({type(error).__name__})")
        return (
            PassingError(failed) if isinstance(error, httpx.NetworkError | httpx.ProtocolError) else EngineError(failed)
        )

    def _missing(self, model: str) -> str:
        return f"The Ollama at {self._address} has no model '{model}': run  ollama pull {model}"

    def _fail(self, reason: str) -> bool:
        self.unavailable = reason
        return False


def _as_json(message: Message) -> dict[str, object]:
    shaped: dict[str, object] = {"role": message.role, "content": message.content}
    if message.calls:
        shaped["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.calls
        ]
    if message.answers:
        shaped |= {"tool_name": message.answers.name, "tool_call_id": message.answers.id}
    return shaped


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The lines of an answer; ValueError when one is longer than any of Ollama's."""
    held = b""
    async for data in response.aiter_bytes():
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            yield line
        if len(held) > _LONGEST_LINE:
            raise ValueError("a line has no end")
    if held:
        yield held


def _part(line: bytes) -> ollama.ChatResponse:
    """One line of an answer; ValueError when it is none."""
    part = json.loads(line)
    if isinstance(part, dict) and part.get("error"):
        raise ollama.ResponseError(str(part["error"]))
    return ollama.ChatResponse.model_validate(part)


def _shown(answer: object) -> _Shown:
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    capabilities = answer.get("capabilities")
    info = answer.get("model_info")
    info = info if isinstance(info, dict) else {}
    parameters = info.get("general.parameter_count")
    context = next((value for key, value in info.items() if str(key).endswith(".context_length")), None)
    return _Shown(
        chats=capabilities is None or "completion" in capabilities,  # None: an Ollama too old to say
        tools=capabilities is not None and "tools" in capabilities,
        able=parameters >= _ABLE_PARAMETERS if isinstance(parameters, int) and parameters > 0 else True,
        context=context if isinstance(context, int) and context > 0 else None,
        elsewhere=bool(answer.get("remote_host")),
    )


def _refused_field(error: ollama.ResponseError, body: Mapping[str, object]) -> str:
    """The field of a request that its model has no use for, as in '"gemma:2b" does not support tools'; else ''."""
    if error.status_code != 400:
        return ""
    words = {"think": "think", "tools": "does not support tools"}
    return next((field for field, word in words.items() if field in body and word in error.error.lower()), "")


@cache
def _trusted() -> ssl.SSLContext:
    """Whom all models trust over TLS: reading the certificates takes 20 ms, each time."""
    return httpx.create_ssl_context()


def _status(error: ollama.ResponseError) -> str:
    return f"status {error.status_code}" if error.status_code > 0 else "within its answer"


def _changed(model: ollama.ListResponse.Model) -> float:
    return model.modified_at.timestamp() if model.modified_at else 0.0


def _same(wanted: str, listed: str) -> bool:
    """'llama3.2' is listed as 'llama3.2:latest'."""
    return listed in (wanted, f"{wanted}:latest")


def _keep_alive(value: str) -> str | float:
    """Ollama takes '30m' as text, but seconds and -1, for ever, only as a number."""
    try:
        return float(value)
    except ValueError:
        return value


def _seconds(keep_alive: str) -> float:
    """'1h30m', '300' and '-1' (for ever) in seconds."""
    value = _keep_alive(keep_alive)
    if isinstance(value, float):
        return value if value >= 0 else math.inf
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", value)
    return math.inf if value.startswith("-") else sum(float(number) * units[unit] for number, unit in parts)
