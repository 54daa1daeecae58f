"""A language model behind OpenAI's protocol: vLLM, llama.cpp's server, LM Studio, OpenAI, Grok and others."""

from __future__ import annotations

import contextlib
import re
from asyncio import timeout
from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus

from handlers.agent.llm.calls import CallPieces, as_json, first_choice, format_as_json, tools_as_json
from handlers.agent.llm.errors import AnswerError, PassingError, keep_apart, kind_of
from handlers.agent.llm.fitting import fitted, without_tools
from handlers.agent.llm.locality import is_local
from handlers.agent.llm.settings import EndpointSettings
from handlers.agent.llm.spoken import spoken
from handlers.agent.stage import Generation, Message, Written
from handlers.agent.tools.stage import ToolSpec
from handlers.errors import DeadlineError, EngineError, MissingExtraError

try:
    import openai
except ImportError:
    raise MissingExtraError("The client of OpenAI's protocol", "server") from None

_NO_LIST = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""Servers that have no list of models may answer all the same."""

_PASSING = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

_INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": ""}
"""Fields that OpenAI's newer models refuse, which every other server knows, and what they want in their place."""

_TOO_LONG = re.compile(r"context[ _](?:length|size|window)", re.IGNORECASE)
"""How servers say that a conversation does not fit."""

_FITTINGS = 3
"""Tries to make a conversation fit, each with half the text of the one before."""


class EndpointModel:
    """A model of the server at an address. Costs nothing until it is asked."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self._model = settings.model
        self._address = str(settings.url).rstrip("/")
        self._title = settings.title
        self._refused: set[str] = set()
        self.unavailable = ""
        # For a server in this network never the proxy of the environment; and no redirection leads out of the house.
        direct = {"http://": None, "https://": None, "all://": None} if is_local(settings.url) else None
        self._client = openai.AsyncOpenAI(
            base_url=self._address,
            api_key=settings.api_key.get_secret_value() or "none",  # the client insists on one
            timeout=openai.Timeout(None, connect=settings.connect_seconds),  # `spoken` and `check` have the deadlines
            max_retries=0,  # the thinker has another model to ask
            default_headers={name: value.get_secret_value() for name, value in settings.headers.items()},
            http_client=openai.DefaultAsyncHttpxClient(mounts=direct, follow_redirects=False),
        )
        # The client takes them from the environment, where they are meant for OpenAI and nobody else.
        self._client.organization = self._client.project = None

    @property
    def name(self) -> str:
        return f"{self._title}/{self._model or 'no model'}"

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
        listed: list[str] = []
        try:
            async with timeout(2 * self._settings.connect_seconds):
                listed = _ids(await self._client.get("/models", cast_to=object))
        except openai.APIStatusError as error:
            if error.status_code not in _NO_LIST:
                return self._fail(str(self._explain(error)))
        except Exception as error:  # of the client, its HTTP library, or JSON of another shape
            return self._fail(str(self._explain(error)))
        self._model = self._settings.model or (listed[0] if listed else "")
        if not self._model:
            return self._fail(f"{self._address} lists no model: name one in the settings, agent.endpoints")
        self.unavailable = ""
        return True

    async def chat(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Written, None]:
        settings = self._settings
        if (self.unavailable or not self._model) and not await self.check():
            raise EngineError(self.unavailable)
        used = tools if self.uses_tools else ()
        deltas = self._stream(messages, generation, used)
        try:
            async with contextlib.aclosing(
                spoken(
                    deltas,
                    settings.first_token_seconds,
                    settings.silence_seconds,
                    used,
                    told=messages,
                    longest=generation.longest,
                )
            ) as answer:
                async for piece in answer:
                    yield piece
        except Exception as error:
            failure = self._explain(error)
            if not isinstance(failure, AnswerError):
                self._fail(str(failure))
            if failure is error:
                raise
            raise failure from error

    async def close(self) -> None:
        await self._client.close()

    async def _stream(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec]
    ) -> AsyncGenerator[Written, None]:
        calls = CallPieces()
        finished = False
        stream = await self._open(messages, generation, tools)
        try:
            async for chunk in stream:
                yield calls.take(chunk)
                finished = finished or first_choice(chunk).get("finish_reason") is not None
        finally:
            await stream.close()  # ends the HTTP request, and with it the generation
        if not finished:
            raise PassingError(f"{self.name} broke its answer off")
        for call in calls.finish():
            yield call

    async def _open(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec]
    ) -> openai.AsyncStream[object]:
        """Begin an answer; again without what this model refuses to be told, or with less where it was too much."""
        known = messages if self.uses_tools else without_tools(messages)
        room = self.context_tokens - min(generation.longest, self.context_tokens // 2)
        fittings = 1
        while True:
            body = self._request(fitted(known, room, tools), generation, tools)
            try:
                return await self._client.post(
                    "/chat/completions",
                    cast_to=object,
                    body=body,
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
            except openai.BadRequestError as error:
                refused = next((field for field in _INSTEAD if field in body and field in error.message), "")
                if refused:
                    self._refused.add(refused)
                elif "context" in error.message.lower() and fittings < _FITTINGS:
                    fittings += 1
                    room //= 2
                else:
                    raise

    def _request(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec]
    ) -> dict[str, object]:
        limits: dict[str, object] = {"max_tokens": generation.longest, "temperature": generation.temperature}
        for refused in self._refused:
            value = limits.pop(refused)
            if _INSTEAD[refused]:
                limits[_INSTEAD[refused]] = value
        return {
            "model": self._model,
            "messages": as_json(messages),
            "stream": True,
            **limits,
            **({"tools": tools_as_json(tools)} if tools else {}),
            **format_as_json(generation),
            **self._settings.options,
        }

    def _explain(self, error: Exception) -> EngineError:
        """What happened, in one sentence; an error of ours as it is, where it says enough."""
        match error:
            case openai.APIStatusError(status_code=status):
                return self._explain_status(status, error)
            case openai.APITimeoutError():
                return EngineError(f"Nobody answers at {self._address} within {self._settings.connect_seconds:g} s")
            case openai.APIConnectionError():
                return PassingError(f"Nobody answers at {self._address} ({_reason(error)})")
            case openai.APIError():  # within the stream
                keep_apart(self.name, error.message)
                return EngineError(f"{self.name} failed within its answer{kind_of(error.code, error.type)}")
            case TimeoutError():
                return EngineError(f"Nobody answers at {self._address} in time")
            case DeadlineError():
                return DeadlineError(f"{self.name} is too slow: {error}")
            case EngineError():
                return error
            case ValueError() | TypeError() | AttributeError():  # JSON of another shape; they may repeat what was said
                return EngineError(f"{self.name} does not speak OpenAI's protocol ({type(error).__name__})")
            case _:  # the HTTP library's
                keep_apart(self.name, str(error))
                return PassingError(f"{self.name} failed ({type(error).__name__})")

    def _explain_status(self, status: int, error: openai.APIStatusError) -> EngineError:
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return EngineError(f"{self._address} refuses our key ({status}): set api_key in agent.endpoints")
        if status == HTTPStatus.NOT_FOUND:
            return EngineError(
                f"{self._address} has no model '{self._model}' or is no address of OpenAI's protocol (404): "
                "look at url, which often ends in /v1, and model in agent.endpoints"
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return EngineError(f"{self._address} takes no more requests for now (429): its limit is reached")
        keep_apart(self.name, error.message)
        if status == HTTPStatus.BAD_REQUEST and _TOO_LONG.search(f"{error.code} {error.message}"):
            return EngineError(
                f"{self.name} takes no conversation of this length (400): set context in agent.endpoints"
            )
        said = f"{self.name} failed ({status}{kind_of(error.code, error.type)})"
        return PassingError(said) if status in _PASSING else EngineError(said)

    def _fail(self, reason: str) -> bool:
        self.unavailable = reason
        return False


def _ids(listed: object) -> list[str]:
    """Names of models, as /models lists them."""
    models = listed.get("data") if isinstance(listed, dict) else None
    ids = [model.get("id") for model in models or () if isinstance(model, dict)]
    return [id for id in ids if isinstance(id, str)]


def _reason(error: Exception) -> str:
    return type(error.__cause__ or error).__name__
