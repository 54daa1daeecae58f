"""An agent with all its faculties, in front of a scripted Ollama: tools, a skill that acts, a memory, a log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handlers.agent.agent import Agent
from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.background import Pace, Upkeep
from handlers.agent.memory.memories import Memories
from handlers.agent.memory.stage import HOUSEHOLD, NewNote, Note, Origin, Owner, Source
from handlers.agent.response import Response
from handlers.agent.safety.audit import Audit
from handlers.agent.skills import Skills
from handlers.agent.skills.memory import MemorySkill
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import AgentSettings, AnswerPart, Request
from handlers.agent.tools.local import LocalTool, LocalTools
from handlers.agent.tools.stage import Arguments, ToolError, ToolFinished, ToolSpec
from handlers.agent.tools.toolbox import Toolbox
from handlers.errors import EngineError
from handlers.session import Role, Session
from handlers.timeline import Timeline
from tests.support.memories import opened
from tests.support.ollama import SOON, FakeOllama, Model

NOW = datetime(2026, 6, 3, 15, 5, tzinfo=UTC)
ANNA = Session("anna", "kitchen", "kitchen", Role.USER)
TOM = Session("tom", "hall", "hall", Role.USER)
BOSS = Session("boss", "kitchen", "kitchen", Role.ADMIN)
GUEST = Session("", "kitchen", "kitchen", Role.GUEST)

NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
QUESTION = "How is the weather in the cities of my friends?"
"""For the model: no skill knows it."""


@dataclass
class Things:
    """What the tools and the skill of the tests have done."""

    done: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """The tool `slow` waits for it."""
    running: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    page: str = "Sunny."

    def tools(self) -> LocalTools:
        def deletes(arguments: Arguments) -> str:
            return f"Delete the record {arguments['name']}?"

        return LocalTools(
            "house",
            [
                LocalTool(ToolSpec("weather", "Weather of a city.", NAMED), self.weather),
                LocalTool(ToolSpec("broken", "Fails.", NAMED), self.broken),
                LocalTool(ToolSpec("slow", "Takes long.", NAMED), self.slow, seconds=600),
                LocalTool(ToolSpec("read_page", "Reads the page."), self.read_page, untrusted=True),
                LocalTool(ToolSpec("time_of_tea", "When tea is.", NAMED), self.weather, role=Role.GUEST),
                LocalTool(
                    ToolSpec("delete_record", "Deletes a record.", NAMED), self.delete, destructive=True, asks=deletes
                ),
                LocalTool(ToolSpec("reboot", "Restarts it."), self.delete, role=Role.ADMIN, destructive=True),
            ],
        )

    async def weather(self, arguments: Arguments, session: Session) -> str:
        self.done.append(f"weather {arguments['name']}")
        return f"Rain in {arguments['name']}."

    async def broken(self, arguments: Arguments, session: Session) -> str:
        raise ToolError("The fuse has blown")

    async def slow(self, arguments: Arguments, session: Session) -> str:
        self.running.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.done.append(f"slow {arguments['name']}")
        return f"Slow {arguments['name']}."

    async def read_page(self, arguments: Arguments, session: Session) -> str:
        return self.page

    async def delete(self, arguments: Arguments, session: Session) -> str:
        self.done.append(f"deleted {arguments.get('name', '')}")
        return "Deleted."


@dataclass
class Lamp:
    """A skill that acts, can fail and can be slow; its sentence comes from the household's own file."""

    things: Things
    intents: frozenset[str] = frozenset({"SwitchLamp", "AskLamp"})
    acts: frozenset[str] = frozenset({"SwitchLamp"})
    discreet: bool = False
    fails: bool = False

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        if self.fails:
            raise EngineError("The bulb is out")
        if match.intent == "SwitchLamp":
            self.things.running.set()
            if match.slots["state"] == "dim":
                await self.things.gate.wait()
            self.things.done.append(f"lamp {match.slots['state']}")
        return Reply(f"The lamp is {match.slots.get('state', 'there')}.")


LAMP_SENTENCES = """
language: en
lists: {state: {values: ["on", "off", "dim"]}}
intents:
  SwitchLamp: {data: [{sentences: ["lamp {state}"]}]}
  AskLamp: {data: [{sentences: ["is the lamp there"]}]}
"""


@dataclass
class House:
    """An agent with all its faculties, in front of a scripted Ollama."""

    agent: Agent
    ollama: FakeOllama
    audit: Audit
    things: Things
    lamp: Lamp
    memories: Memories
    upkeep: Upkeep
    turns: int = 0

    def request(self, text: str, session: Session = ANNA, conversation: str = "c1") -> Request:
        return Request(text, replace(session, language="en", conversation=conversation))

    async def ask(self, text: str, session: Session = ANNA, conversation: str = "c1") -> str:
        """One whole turn; its words."""
        return "".join(part for part in (await self.turn(text, session, conversation))[0] if isinstance(part, str))

    async def turn(
        self, text: str, session: Session = ANNA, conversation: str = "c1"
    ) -> tuple[list[AnswerPart], Timeline]:
        """One whole turn; all its parts, and its timeline."""
        self.turns += 1
        timeline = Timeline(f"turn-{self.turns}")
        response = self.agent.respond(self.request(text, session, conversation), timeline)
        parts = await all_of(response)
        response.remember("".join(part for part in parts if isinstance(part, str)))
        return parts, timeline

    def draft(self, text: str, session: Session = ANNA) -> Draft:
        committed = asyncio.Event()
        timeline = Timeline("draft")
        return Draft(self.agent.respond(self.request(text, session), timeline, committed), committed, timeline)

    async def attempts(self) -> list[Mapping[str, object]]:
        """What the log of actions says was tried, oldest first."""
        return [line for line in reversed(await self.audit.read()) if line["event"] == "attempt"]

    async def logged(self) -> list[object]:
        return [line["tool"] for line in await self.attempts()]

    def told(self, chat: int) -> list[dict[str, Any]]:
        """The messages of a chat behind the system prompt and the question."""
        messages = self.ollama.chats[chat]["messages"]
        last = max(number for number, message in enumerate(messages) if message["role"] == "user")
        return list(messages[last + 1 :])

    def waits(self, place: str = "satellite kitchen") -> bool:
        """Whether a yes from there would do something."""
        session = Session(satellite=place.removeprefix("satellite "), conversation="nobody's")
        return self.agent.expects_answer(Request("", session))

    def note(self, text: str, owner: Owner = HOUSEHOLD) -> Note:
        return self.memories.journal.add(owner, NewNote(text, Source(Origin.SAID, "anna")))


@dataclass
class Draft:
    """An answer that is begun on a guess."""

    response: Response
    committed: asyncio.Event
    timeline: Timeline
    parts: list[AnswerPart] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """A part of it has come."""

    @contextlib.asynccontextmanager
    async def begun(self) -> AsyncIterator[asyncio.Task[None]]:
        """It works ahead, and is dropped in the end."""

        async def run() -> None:
            async with contextlib.aclosing(self.response.parts()) as parts:
                async for part in parts:
                    self.parts.append(part)
                    self.came.set()

        task = asyncio.create_task(run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def all_of(response: Response) -> list[AnswerPart]:
    async with asyncio.timeout(SOON):
        return [part async for part in response.parts()]


async def settle() -> None:
    """Everything that can go on does, as far as it needs nothing from outside."""
    for _ in range(100):
        await asyncio.sleep(0)


def words(parts: Sequence[AnswerPart]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def finished(parts: Sequence[AnswerPart]) -> list[ToolFinished]:
    return [part for part in parts if isinstance(part, ToolFinished)]


LATER = Pace(quiet_seconds=3600)
AT_ONCE = Pace(quiet_seconds=0, answer_seconds=SOON)
"""Of the memory's work in the background."""


@contextlib.asynccontextmanager
async def open_house(folder: Path, ollama: FakeOllama, pace: Pace = LATER, **settings: object) -> AsyncIterator[House]:
    """A house that keeps its things in a folder; keywords are the agent's settings."""
    ollama.models = [Model("llama3.2:latest", capabilities=("completion", "tools"))]
    (folder / "lamp.yaml").write_text(LAMP_SENTENCES)
    read = AgentSettings.model_validate({"think": {"retry_seconds": 0.01}, "quick_sentence_seconds": 0, **settings})
    async with contextlib.AsyncExitStack() as owned:
        model = OllamaModel(OllamaSettings.model_validate({"url": ollama.url, "schemas": True}))
        thinker = Thinker([model], read.think)
        owned.push_async_callback(thinker.close)
        await thinker.start()
        audit = Audit(folder / "audit", 30)
        owned.push_async_callback(audit.close)
        memories, upkeep = await owned.enter_async_context(opened(folder / "memory", model=model, pace=pace))
        things = Things()
        lamp = Lamp(things)
        toolbox = Toolbox([things.tools()], read.tools, audit)
        owned.push_async_callback(toolbox.close)
        skills = Skills([*standard_skills(), MemorySkill(memories), lamp], custom=[folder / "lamp.yaml"])
        agent = Agent(skills, thinker, toolbox, read, audit, memories, now=lambda: NOW)
        yield House(agent, ollama, audit, things, lamp, memories, upkeep)
