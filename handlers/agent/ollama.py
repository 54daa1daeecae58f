"""A language model served by Ollama."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence

from handlers.agent.stage import Generation, Message, OllamaSettings
from handlers.errors import EngineError, MissingExtraError

try:
    import httpx
    import ollama
except ImportError:
    raise MissingExtraError("The Ollama client", "server") from None

_LOGGER = logging.getLogger(__name__)

_RETRY_SECONDS = 30.0
"""After a failure Ollama is left alone for so long; otherwise every turn would wait for a server that is not there."""

_SILENCE_SECONDS = 30.0
"""Between two tokens. A model that was pushed out of memory in the middle of an answer does not come back sooner."""


class OllamaModel:
    """A model of the Ollama at an address. Costs nothing until it is asked."""

    def __init__(self, settings: OllamaSettings) -> None:
        self._settings = settings
        self._model = settings.model
        self._address = str(settings.url).rstrip("/")
        self._failed_at: float | None = None
        self.unavailable = ""
        self._client = ollama.AsyncClient(
            host=self._address, timeout=httpx.Timeout(_SILENCE_SECONDS, connect=settings.connect_seconds)
        )

    @property
    def name(self) -> str:
        return f"ollama/{self._model or 'no model'}"

    async def check(self) -> bool:
        try:
            async with asyncio.timeout(2 * self._settings.connect_seconds):
                listed = await self._client.list()
        except (OSError, TimeoutError, httpx.HTTPError, ollama.ResponseError, ValueError) as error:
            return self._fail(f"No Ollama answers at {self._address} ({type(error).__name__})")
        names = [model.model for model in sorted(listed.models, key=_changed, reverse=True) if model.model]
        if self._settings.model:
            if not any(_same(self._settings.model, name) for name in names):
                return self._fail(
                    f"The Ollama at {self._address} has no model '{self._settings.model}': "
                    f"run  ollama pull {self._settings.model}"
                )
        elif names:
            self._model = names[0]
        else:
            return self._fail(f"The Ollama at {self._address} has no model: run  ollama pull llama3.2")
        self._failed_at = None
        self.unavailable = ""
        return True

    async def chat(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        if self._failed_at is not None and time.monotonic() - self._failed_at < _RETRY_SECONDS:
            raise EngineError(self.unavailable)
        if (self._failed_at is not None or not self._model) and not await self.check():
            raise EngineError(self.unavailable)
        try:
            async with contextlib.aclosing(self._stream(messages, generation)) as deltas:
                async for delta in deltas:
                    yield delta
        except (OSError, TimeoutError, httpx.HTTPError, ollama.ResponseError, ValueError) as error:
            self._fail(f"The Ollama at {self._address} failed ({type(error).__name__}: {error})")
            raise EngineError(self.unavailable) from error

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _stream(self, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str, None]:
        async with asyncio.timeout(self._settings.first_token_seconds) as deadline:
            answer = await self._client.chat(
                model=self._model,
                messages=[{"role": message.role, "content": message.content} for message in messages],
                stream=True,
                think=False,
                keep_alive=self._settings.keep_alive,
                options={
                    "num_predict": generation.longest,
                    "temperature": generation.temperature,
                    "num_ctx": self._settings.context,
                },
            )
            async for part in answer:
                deadline.reschedule(None)  # from here on the time between tokens counts, see _SILENCE_SECONDS
                if part.message.content:
                    yield part.message.content

    def _fail(self, reason: str) -> bool:
        self._failed_at = time.monotonic()
        self.unavailable = reason
        return False


def _changed(model: ollama.ListResponse.Model) -> float:
    return model.modified_at.timestamp() if model.modified_at else 0.0


def _same(wanted: str, listed: str) -> bool:
    """'llama3.2' is listed as 'llama3.2:latest'."""
    return listed in (wanted, f"{wanted}:latest")
