"""A language model served by Ollama."""

from __future__ import annotations

import contextlib
import time
from asyncio import timeout
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from handlers.agent.spoken import spoken
from handlers.agent.stage import Generation, Message, OllamaSettings
from handlers.errors import DeadlineError, EngineError, MissingExtraError

try:
    import httpx
    import ollama
except ImportError:
    raise MissingExtraError("The Ollama client", "server") from None

_FAILURES = (
    *(OSError, TimeoutError, httpx.HTTPError, ollama.ResponseError, DeadlineError),
    *(ValueError, TypeError, AttributeError),  # a line that is not JSON, or not an object
)

_CANDIDATES = 8
"""Of so many models, the last changed ones, we ask whether they can chat."""


class OllamaModel:
    """A model of the Ollama at an address. Costs nothing until it is asked."""

    def __init__(self, settings: OllamaSettings) -> None:
        self._settings = settings
        self._model = settings.model
        self._address = str(settings.url).rstrip("/")
        self._failed_at: float | None = None
        self.unavailable = ""
        # A transport of our own, because the default one sends even 127.0.0.1 through the proxy of the environment.
        self._client = ollama.AsyncClient(
            host=self._address,
            timeout=httpx.Timeout(None, connect=settings.connect_seconds),  # `spoken` and `check` have the deadlines
            transport=httpx.AsyncHTTPTransport(),
        )

    @property
    def name(self) -> str:
        return f"ollama/{self._model or 'no model'}"

    async def check(self) -> bool:
        try:
            async with timeout(2 * self._settings.connect_seconds):
                names = await self._names()
                chosen = self._settings.model or await self._first_that_chats(names)
        except _FAILURES as error:
            return self._fail(f"No Ollama answers at {self._address} ({type(error).__name__})")
        if not chosen:
            return self._fail(f"The Ollama at {self._address} has no model to talk with: run  ollama pull llama3.2")
        if not any(_same(chosen, name) for name in names):
            return self._fail(self._missing(chosen))
        self._model = chosen
        self._failed_at = None
        self.unavailable = ""
        return True

    async def chat(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        settings = self._settings
        if self._failed_at is not None and time.monotonic() - self._failed_at < settings.retry_seconds:
            raise EngineError(self.unavailable)
        if (self._failed_at is not None or not self._model) and not await self.check():
            raise EngineError(self.unavailable)
        answer = spoken(self._stream(messages, generation), settings.first_token_seconds, settings.silence_seconds)
        try:
            async with contextlib.aclosing(answer):
                async for text in answer:
                    yield text
        except _FAILURES as error:
            self._fail(self._explain(error))
            raise EngineError(self.unavailable) from error

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _stream(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        answer = await self._client.chat(
            model=self._model,
            messages=[{"role": message.role, "content": message.content} for message in messages],
            stream=True,
            think=False,
            keep_alive=_keep_alive(self._settings.keep_alive),
            options={
                "num_predict": generation.longest,
                "temperature": generation.temperature,
                "num_ctx": self._settings.context,
            },
        )
        # Closing it is what ends the HTTP request, and with it the generation.
        async with contextlib.aclosing(cast("AsyncGenerator[ollama.ChatResponse, None]", answer)) as parts:
            async for part in parts:
                yield part.message.content or ""

    async def _names(self) -> list[str]:
        """All models, the last changed one first."""
        listed = await self._client.list()
        return [model.model for model in sorted(listed.models, key=_changed, reverse=True) if model.model]

    async def _first_that_chats(self, names: Sequence[str]) -> str:
        """The first that is no mere embedding model and runs in this house, not in Ollama's cloud; else ''."""
        for name in [name for name in names if not name.endswith(("-cloud", ":cloud"))][:_CANDIDATES]:
            try:
                capabilities = (await self._client.show(name)).capabilities
            except (ollama.ResponseError, ValueError):  # a damaged model, or an Ollama too old to say
                continue
            if capabilities is None or "completion" in capabilities:
                return name
        return ""

    def _explain(self, error: Exception) -> str:
        if isinstance(error, ollama.ResponseError) and error.status_code == 404:
            return self._missing(self._model)
        if isinstance(error, ConnectionError):
            return f"No Ollama answers at {self._address} ({type(error).__name__})"
        return f"The Ollama at {self._address} failed ({type(error).__name__}: {error})"

    def _missing(self, model: str) -> str:
        return f"The Ollama at {self._address} has no model '{model}': run  ollama pull {model}"

    def _fail(self, reason: str) -> bool:
        self._failed_at = time.monotonic()
        self.unavailable = reason
        return False


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
