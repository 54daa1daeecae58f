"""A household: its agent with skills, tools, memory and timers, and what they keep in its folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import ChainMap
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from handlers.agent.access import names
from handlers.agent.agent import Agent, local_now
from handlers.agent.house.house import House
from handlers.agent.memory.background import Upkeep
from handlers.agent.memory.index import SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.memories import Memories
from handlers.agent.memory.places import Everywhere, PrivatePlaces
from handlers.agent.memory.recall import Recall
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.safety.audit import Audit
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.schedule.tools import ScheduleTools
from handlers.agent.skills import Skills
from handlers.agent.skills.memory import MemorySkill
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.standard import standard_skills
from handlers.agent.skills.tools import skill_tools
from handlers.agent.stage import AgentSettings
from handlers.agent.tools.sources import open_sources
from handlers.agent.tools.stage import ToolSource
from handlers.agent.tools.toolbox import Toolbox
from handlers.errors import MeadowlarkError
from handlers.pipeline.bell import Bell
from handlers.pipeline.notices import Notices
from handlers.tts.stage import Synthesizer
from server.agent_engines import AgentEngines

_LOGGER = logging.getLogger(__name__)


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
    settings: AgentSettings,
    folder: Path,
    engines: AgentEngines,
    synthesizer: Synthesizer,
    tenant: str = "",
    turns_a_minute: int = 0,
) -> Household:
    """Open everything; what is kept goes into the folder. `engines` are others' too, and stay open. SettingsError for
    what is set and cannot be used."""
    async with contextlib.AsyncExitStack() as owned:
        audit = Audit(folder / "audit", settings.audit.keep_days)
        owned.push_async_callback(audit.close)
        house = House()
        memories, no_memory = await open_memories(settings, folder / "memory", engines, house.people, tenant)
        if memories is not None:
            owned.push_async_callback(memories.close)
        private = await asyncio.to_thread(_private_places, folder / "memory") if memories is None else memories.private
        notices = Notices(synthesizer)
        bell = Bell(notices, lambda tag: skills.phrases(tag), house=house)
        owned.push_async_callback(bell.close)
        schedule = Schedule(folder / "schedule.sqlite", bell.ring, watch=bell.watch)
        owned.push_async_callback(schedule.close)
        skills = await asyncio.to_thread(_load_skills, settings, schedule, memories, private)
        tell_of_arrivals(schedule, notices, house)
        await schedule.start()
        sources: list[ToolSource] = [
            skill_tools(skills, local_now),
            ScheduleTools(schedule, settings.language),
            *open_sources(settings.tools),
        ]
        toolbox = Toolbox(sources, settings.tools, audit)
        owned.push_async_callback(toolbox.close)
        agent = Agent(
            skills,
            engines.thinker,
            toolbox,
            settings,
            audit,
            memories,
            house,
            tenant=tenant,
            turns_a_minute=turns_a_minute,
            private=Everywhere() if private is None else private,
        )
        return Household(agent, skills, notices, audit, no_memory, schedule.not_kept, owned.pop_all())


def tell_of_arrivals(schedule: Schedule, notices: Notices, house: House) -> None:
    """Let the schedule know who can be called again: a satellite, or a house, in which any place may be."""

    def house_came() -> None:
        for place in {entry.owner.satellite for entry in schedule.entries()}:
            schedule.came(place)

    notices.on_arrival(schedule.came)
    house.on_arrival(house_came)


async def open_memories(
    settings: AgentSettings,
    folder: Path,
    engines: AgentEngines,
    people: MutableMapping[str, str] | None = None,
    tenant: str = "",
) -> tuple[Memories | None, Callable[[], str]]:
    """The memory, or None; and what tells why there is none, or none with vectors: the server works without. `people`
    is what a house calls people whom the settings do not name, by their ids; it may change. `tenant` keeps households
    apart in a database that they share."""
    memory, called = settings.memory, ChainMap(names(settings.access.users), {} if people is None else people)
    if not memory.enabled:
        return None, lambda: "switched off (agent.memory.enabled)"
    embedder = engines.embedder
    if embedder is None:
        return None, engines.problem
    try:
        private = await asyncio.to_thread(PrivatePlaces, folder / "private.json")
        journal, index = await asyncio.to_thread(_open_journal, memory, folder, tenant)
    except MeadowlarkError as error:
        _LOGGER.error("There is no memory: %s", error)
        reason = str(error)
        return None, lambda: reason
    recall = Recall(journal, index, embedder, memory.recall, called)
    upkeep = Upkeep(journal, index, embedder, engines.thinker.able, memory, names=called)
    memories = Memories(journal, index, embedder, recall, upkeep, memory, folder, private, called)
    upkeep.start()
    return memories, engines.problem


def _private_places(folder: Path) -> PrivatePlaces | None:
    """Where nothing is kept, though there is no memory; None where that cannot be read: then nothing is kept at all."""
    try:
        return PrivatePlaces(folder / "private.json")
    except MeadowlarkError as error:
        _LOGGER.error("No words and no sound are kept: %s", error)
        return None


def _open_journal(memory: MemorySettings, folder: Path, tenant: str) -> tuple[Journal, SearchIndex]:
    journal = Journal(folder)
    if journal.notice:
        _LOGGER.error("%s", journal.notice)
    try:
        return journal, open_index(memory.index, folder, journal, tenant)
    except BaseException:
        journal.close()
        raise


def _load_skills(
    settings: AgentSettings, schedule: Schedule, memories: Memories | None, places: PrivatePlaces | None
) -> Skills:
    memory = MemorySkill(memories, switched_off=not settings.memory.enabled, places=places)
    return Skills([*standard_skills(), ScheduleSkill(schedule), memory], custom=settings.custom_sentences)
