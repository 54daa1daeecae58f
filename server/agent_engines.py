"""What all households think and remember with: the language models and the embedder, each loaded once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.memory.stage import Embedder, MemoryStoreError
from handlers.agent.stage import AgentSettings, LanguageModel
from handlers.errors import EngineError, MeadowlarkError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelProgress, ModelStore

_LOGGER = logging.getLogger(__name__)

_EMBEDDING = "all-minilm-l6-v2"

_OLLAMA_SECONDS = 5.0
"""The start waits so long for an embedding model in Ollama; one that is being loaded comes later."""


@dataclass(frozen=True)
class AgentEngines:
    """Close them when all households are closed."""

    thinker: Thinker
    embedder: Embedder | None
    """None where nobody remembers, or where it cannot be loaded."""
    problem: Callable[[], str]
    """Why there is no embedder, or none that works yet; empty when all is well."""

    async def close(self) -> None:
        """Let running work end, then free the models."""
        await self.thinker.close()
        if self.embedder is not None:
            await self.embedder.close()


async def open_agent_engines(
    settings: AgentSettings, store: ModelStore, progress: ModelProgress, *, remembers: bool = True
) -> AgentEngines:
    """Load them, side by side; `remembers` says whether any household does. SettingsError for what is set and cannot be
    used."""
    async with contextlib.AsyncExitStack() as owned:
        thinker = Thinker(await asyncio.to_thread(load_models, settings, store, progress), settings.think)
        owned.push_async_callback(thinker.close)
        starting = asyncio.create_task(thinker.start())
        owned.push_async_callback(_ended, starting)
        embedder, problem = await _open_embedder(settings.memory, store, progress) if remembers else (None, str)
        if embedder is not None:
            owned.push_async_callback(embedder.close)
        await starting
        owned.pop_all()
        return AgentEngines(thinker, embedder, problem)


def load_models(settings: AgentSettings, store: ModelStore, progress: ModelProgress) -> list[LanguageModel]:
    """The language models in the order in which they are asked. Blocks while the built-in one is loaded."""
    from handlers.agent.llm.ollama import OllamaModel

    names = settings.order or ["ollama", *(endpoint.title for endpoint in settings.endpoints), "builtin"]
    models: list[LanguageModel] = []
    for name in names:
        if name == "ollama":
            models.append(OllamaModel(settings.ollama, settings.local_only))
        elif name == "builtin":
            models += _load_builtin(settings, store, progress)
        else:
            from handlers.agent.llm.endpoint import EndpointModel  # OpenAI's library takes long to load

            models += [EndpointModel(endpoint) for endpoint in settings.endpoints if endpoint.title == name]
    return models


def _load_builtin(settings: AgentSettings, store: ModelStore, progress: ModelProgress) -> Sequence[LanguageModel]:
    if not settings.builtin.model:
        return []
    try:
        from handlers.agent.llm.builtin import BuiltinModel
    except EngineError as error:  # other models and the local skills answer without it
        _LOGGER.warning("%s", error)
        return []
    path = store.locate(settings.builtin.model, ModelKind.LLM, progress=progress)
    return [BuiltinModel(path, settings.builtin)]


async def _open_embedder(
    memory: MemorySettings, store: ModelStore, progress: ModelProgress
) -> tuple[Embedder | None, Callable[[], str]]:
    """An embedder, and what tells why it has no vectors yet; or None, and why. Ollama may come later: the work in the
    background asks again until it is there."""
    if memory.embedder == "ollama":
        from handlers.agent.memory.ollama_embed import OllamaEmbedder

        ollama = OllamaEmbedder(memory.ollama)
        try:
            async with asyncio.timeout(_OLLAMA_SECONDS):
                await ollama.reach()
        except (MemoryStoreError, TimeoutError):
            _LOGGER.warning("The memory is searched by words alone for now: %s", ollama.unavailable)
        return ollama, lambda: f"by words alone for now: {ollama.unavailable}" if ollama.unavailable else ""

    def load() -> Embedder:
        from handlers.agent.memory.minilm import MiniLM

        return MiniLM(store.locate(_EMBEDDING, ModelKind.EMBEDDING, progress=progress))

    try:
        return await asyncio.to_thread(load), str
    except MeadowlarkError as error:
        _LOGGER.error("There is no memory: %s", error)
        reason = str(error)
        return None, lambda: reason


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
