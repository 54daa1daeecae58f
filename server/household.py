"""Puts the agent together: skills, language models, tools, memory, timers, and what they keep in the data folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import ChainMap
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.agent.agent import Agent, local_now
from handlers.agent.caller import names
from handlers.agent.house.house import House
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.background import Upkeep
from handlers.agent.memory.index import SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.memories import Memories
from handlers.agent.memory.places import PrivatePlaces
from handlers.agent.memory.recall import Recall
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.memory.stage import Embedder, MemoryStoreError
from handlers.agent.safety.audit import Audit
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.schedule.tools import ScheduleTools
from handlers.agent.skills import Skills
from handlers.agent.skills.memory import MemorySkill
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.standard import standard_skills
from handlers.agent.skills.tools import skill_tools
from handlers.agent.stage import AgentSettings, LanguageModel
from handlers.agent.tools.sources import open_sources
from handlers.agent.tools.stage import ToolSource
from handlers.agent.tools.toolbox import Toolbox
from handlers.errors import EngineError, MeadowlarkError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelProgress, ModelStore
from handlers.pipeline.bell import Bell
from handlers.pipeline.notices import Notices
from handlers.tts.stage import Synthesizer

_LOGGER = logging.getLogger(__name__)

_EMBEDDING = "all-minilm-l6-v2"

_OLLAMA_SECONDS = 5.0
"""The start waits so long for an embedding model in Ollama; one that is being loaded comes later."""


@dataclass(frozen=True)
class Household:
    """The agent, and what runs beside its turns. Close it when the server stops."""

    agent: Agent
    skills: Skills
    notices: Notices
    audit: Audit
    _no_memory: Callable[[], str]
    timers_not_kept: str
    """Why timers, alarms and reminders do not outlive the server; empty when they do."""
    _owned: contextlib.AsyncExitStack

    @property
    def no_memory(self) -> str:
        """Why there is no memory, or one that is searched by words alone for now; empty when all is well."""
        return self._no_memory()

    async def close(self) -> None:
        """End everything, the last opened first."""
        await self._owned.aclose()


async def open_household(
    settings: AgentSettings, folder: Path, store: ModelStore, progress: ModelProgress, synthesizer: Synthesizer
) -> Household:
    """Open everything; what is kept goes into the data folder. SettingsError for what is set and cannot be used."""
    async with contextlib.AsyncExitStack() as owned:
        audit = Audit(folder / "audit", settings.audit.keep_days)
        owned.push_async_callback(audit.close)
        models = await asyncio.to_thread(load_models, settings, store, progress)
        thinker = Thinker(models, settings.think)
        owned.push_async_callback(thinker.close)
        starting = asyncio.create_task(thinker.start())
        owned.push_async_callback(_ended, starting)
        house = House()
        memories, no_memory = await open_memories(settings, folder / "memory", store, progress, thinker, house.people)
        if memories is not None:
            owned.push_async_callback(memories.close)
        notices = Notices(synthesizer)
        bell = Bell(notices, lambda tag: skills.phrases(tag), house=house)
        owned.push_async_callback(bell.close)
        schedule = Schedule(folder / "schedule.sqlite", bell.ring, watch=bell.watch)
        owned.push_async_callback(schedule.close)
        skills = await asyncio.to_thread(_load_skills, settings, schedule, memories)
        tell_of_arrivals(schedule, notices, house)
        await schedule.start()
        sources: list[ToolSource] = [
            skill_tools(skills, local_now),
            ScheduleTools(schedule, settings.language),
            *open_sources(settings.tools),
        ]
        toolbox = Toolbox(sources, settings.tools, audit)
        owned.push_async_callback(toolbox.close)
        await starting
        agent = Agent(skills, thinker, toolbox, settings, audit, memories, house)
        return Household(agent, skills, notices, audit, no_memory, schedule.not_kept, owned.pop_all())


def tell_of_arrivals(schedule: Schedule, notices: Notices, house: House) -> None:
    """Let the schedule know who can be called again: a satellite, or a house, in which any place may be."""

    def house_came() -> None:
        for place in {entry.owner.satellite for entry in schedule.entries()}:
            schedule.came(place)

    notices.on_arrival(schedule.came)
    house.on_arrival(house_came)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def open_memories(
    settings: AgentSettings,
    folder: Path,
    store: ModelStore,
    progress: ModelProgress,
    thinker: Thinker,
    people: MutableMapping[str, str] | None = None,
) -> tuple[Memories | None, Callable[[], str]]:
    """The memory, or None; and what tells why there is none, or none with vectors: the server works without. `people`
    is what a house calls people whom the settings do not name, by their ids; it may change."""
    memory, called = settings.memory, ChainMap(names(settings.access.users), {} if people is None else people)
    if not memory.enabled:
        return None, lambda: "switched off (agent.memory.enabled)"
    embedder: Embedder | None = None
    try:
        private = await asyncio.to_thread(PrivatePlaces, folder / "private.json")
        embedder, no_vectors = await _load_embedder(memory, store, progress)
        journal, index = await asyncio.to_thread(_open_journal, memory, folder)
    except MeadowlarkError as error:
        if embedder is not None:
            await embedder.close()
        _LOGGER.error("There is no memory: %s", error)
        reason = str(error)
        return None, lambda: reason
    recall = Recall(journal, index, embedder, memory.recall, called)
    upkeep = Upkeep(journal, index, embedder, thinker.able, memory, names=called)
    memories = Memories(journal, index, embedder, recall, upkeep, memory, folder, private, called)
    upkeep.start()
    return memories, no_vectors


def load_models(settings: AgentSettings, store: ModelStore, progress: ModelProgress) -> list[LanguageModel]:
    """The language models in the order in which they are asked. Blocks while the built-in one is loaded."""
    from handlers.agent.llm.endpoint import EndpointModel
    from handlers.agent.llm.ollama import OllamaModel

    names = settings.order or ["ollama", *(endpoint.title for endpoint in settings.endpoints), "builtin"]
    models: list[LanguageModel] = []
    for name in names:
        if name == "ollama":
            models.append(OllamaModel(settings.ollama, settings.local_only))
        elif name == "builtin":
            models += _load_builtin(settings, store, progress)
        else:
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


async def _load_embedder(
    memory: MemorySettings, store: ModelStore, progress: ModelProgress
) -> tuple[Embedder, Callable[[], str]]:
    """An embedder, and what tells why it has no vectors yet. Ollama may come later: the work in the background asks
    again until it is there."""
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

    return await asyncio.to_thread(load), lambda: ""


def _open_journal(memory: MemorySettings, folder: Path) -> tuple[Journal, SearchIndex]:
    journal = Journal(folder)
    if journal.notice:
        _LOGGER.error("%s", journal.notice)
    try:
        return journal, open_index(memory.index, folder, journal)
    except BaseException:
        journal.close()
        raise


def _load_skills(settings: AgentSettings, schedule: Schedule, memories: Memories | None) -> Skills:
    memory = MemorySkill(memories, switched_off=not settings.memory.enabled)
    return Skills([*standard_skills(), ScheduleSkill(schedule), memory], custom=settings.custom_sentences)
