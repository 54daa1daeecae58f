"""Says the requests of a set to a real agent in this process, and judges what comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from bench.agent_set import Case, CaseSet, Wanted
from handlers.agent.agent import Agent
from handlers.agent.memory.memories import RefusedError
from handlers.agent.response import NOBODY
from handlers.agent.safety.audit import Audit
from handlers.agent.stage import AgentSettings, Filler, Generation, Message, Request
from handlers.audio import AudioFormat
from handlers.cpu import Ticket
from handlers.errors import EngineError, MeadowlarkError, SettingsError
from handlers.models.store import ModelStore
from handlers.session import Session
from handlers.timeline import Mark, Timeline
from handlers.tts.stage import Voice, VoiceChoice
from server.agent_engines import open_agent_engines
from server.household import open_household

_TIDY = ("Delete all timers.", "Delete all alarms.", "Delete all reminders.")
"""Said after each entry, since a timer can be heard of in all rooms."""

_SKILL = "skill/"
"""How the timeline and the audit log begin the name of a skill."""

_TOLD_SECONDS = 3.0
"""For what was told to get its vectors; without, it is recalled by words alone."""


class Mute:
    """A voice that says nothing: only a timer that ends during the run would be spoken."""

    voices: Sequence[Voice] = (Voice("mute", ("en",)),)

    def choose(self, name: str | None = None, language: str | None = None, speaker: str | None = None) -> VoiceChoice:
        return VoiceChoice(self.voices[0])

    def format(self, choice: VoiceChoice) -> AudioFormat:
        return AudioFormat(16_000)

    async def synthesize(
        self, text: str, choice: VoiceChoice, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        yield b""

    async def close(self) -> None:
        """Nothing was opened."""


@dataclass(frozen=True)
class Model:
    """The language model that answers, as far as the judging depends on it."""

    name: str
    """Empty when there is none."""
    uses_tools: bool


@dataclass
class Result:
    """What came of one request."""

    case: Case
    round: int
    able: bool
    """Whether the language model could have done what is asked; if not, only the route is judged."""
    decision: str = ""
    """fast, think or hybrid."""
    reason: str = ""
    answered_by: str = ""
    intent: str = ""
    slots: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    """Tools that ran, as the audit log has them."""
    answer: str = ""
    ms: dict[str, float] = field(default_factory=dict)
    """From the request: 'route', 'first_word', 'whole'."""
    judged: dict[str, str] = field(default_factory=dict)
    """What was looked at, and what is wrong with it: route, intent, tool, answer; empty is right."""
    error: str = ""

    @property
    def right(self) -> bool:
        return not self.error and not any(self.judged.values())

    @property
    def needless(self) -> bool:
        """Whether a language model was asked about what a skill should know."""
        return self.case.entry.wanted_route == "fast" and self.decision in ("think", "hybrid")


@contextlib.asynccontextmanager
async def opened(settings: AgentSettings, tools: Mapping[str, object], store: ModelStore) -> AsyncIterator[Runner]:
    """A household of its own in a temporary folder. SettingsError for tools or a model that cannot be used."""
    with tempfile.TemporaryDirectory(prefix="meadowlark-bench-agent-") as scratch:
        folder = Path(scratch)
        if tools:
            file = folder / "tools.yaml"
            file.write_text(yaml.safe_dump({"tools": dict(tools)}, allow_unicode=True), encoding="utf-8")
            settings = settings.model_copy(
                update={"tools": settings.tools.model_copy(update={"commands": [file]})},
            )
        engines = await open_agent_engines(settings, store, lambda name, done, size: None)
        try:
            household = await open_household(settings, folder, engines, Mute())
        except SettingsError as error:
            await engines.close()
            raise SettingsError(str(error).replace(f"{folder / 'tools.yaml'}", "The tools of the set")) from None
        audit = Audit(folder / "audit", settings.audit.keep_days)
        try:
            model = await _the_model(household.agent, settings)
            await household.agent.warm_up()
            yield Runner(household.agent, model, audit, household.no_memory)
        finally:
            await audit.close()
            await household.close()
            await engines.close()


async def _the_model(agent: Agent, settings: AgentSettings) -> Model:
    """The one that answers; SettingsError when it is wanted and would not."""
    for model in agent.thinker.models:
        if not await model.check():
            raise SettingsError(model.unavailable)
        try:  # some servers list no models, and say only now that they do not have this one
            async with contextlib.aclosing(model.chat([Message("user", "Hello")], Generation(1, 0.0))) as words:
                async for _ in words:
                    pass
        except EngineError as error:
            raise SettingsError(f"The language model cannot be used: {error}") from None
        return Model(model.name, model.uses_tools)
    if settings.builtin.model:
        raise SettingsError("There is no built-in language model here: install the extra 'models'")
    return Model("", False)


@dataclass
class Runner:
    """Takes one request after the other."""

    agent: Agent
    model: Model
    _audit: Audit
    no_memory: str = ""
    """Why there is no memory; empty when there is one."""

    async def run(self, cases: CaseSet, number: int, timeout: float, show: Callable[[Result], None]) -> list[Result]:
        """All of a set, in its order; `number` counts the rounds. `timeout` is of one turn, in seconds."""
        await self._tell(cases.cases)
        results = []
        for position, case in enumerate(cases.cases):
            able = bool(self.model.name) if not case.entry.needs_tools else self.model.uses_tools
            result = Result(case, number, able or (case.entry.wanted_route == "fast" and not case.entry.needs_tools))
            if result.able or not case.entry.after:  # what a yes is for, only such a model can have asked
                await self._take(result, f"{number}-{position}", case.caller(position), timeout)
            show(result)
            results.append(result)
        return results

    async def _take(self, result: Result, name: str, caller: Session, timeout: float) -> None:
        entry = result.case.entry
        try:
            with self.agent.attending():
                for number, said in enumerate(entry.after):
                    before = Result(result.case, result.round, result.able)
                    await self._turn(
                        before,
                        Request(said, replace(caller, language=entry.language, conversation=name)),
                        f"{name}-{number}",
                        timeout,
                    )
                calls = len(await self._calls(caller))
                await self._turn(
                    result,
                    Request(entry.say, replace(caller, language=entry.language, conversation=name)),
                    name,
                    timeout,
                )
                result.calls = (await self._calls(caller))[calls:]
                for said in _TIDY:
                    await self._turn(
                        Result(result.case, 0, True), Request(said, replace(caller, language="en")), "tidy", timeout
                    )
        except TimeoutError:
            result.error = f"no whole answer within {timeout:g} s"
        except MeadowlarkError as error:
            result.error = str(error)
        else:
            if self.model.name and result.answered_by == NOBODY:
                result.error = "the language model did not answer"
            judge(result)

    async def _tell(self, cases: Sequence[Case]) -> None:
        """What the memory is to hold already."""
        told = [(number, case, text) for number, case in enumerate(cases) for text in case.entry.told]
        if not told or self.agent.memories is None:
            return
        for number, case, text in told:
            request = Request(
                text, replace(case.caller(number), language=case.entry.language, conversation=f"told-{number}")
            )
            try:
                await self.agent.memories.remember(request, text)
            except RefusedError as error:
                raise SettingsError(f"{case.place}: {text!r} cannot be 'told': {error}") from None
        await asyncio.sleep(_TOLD_SECONDS)

    async def _turn(self, result: Result, request: Request, turn_id: str, timeout: float) -> None:
        """One turn, as the pipeline takes it."""
        timeline = Timeline(turn_id)
        answer = ""
        response = self.agent.respond(request, timeline)
        async with asyncio.timeout(timeout), contextlib.aclosing(response.parts()) as parts:
            async for part in parts:
                if isinstance(part, str):
                    answer += part
                elif isinstance(part, Filler):
                    result.ms.setdefault("first_word", _ms(timeline.started))
                if answer.strip():
                    result.ms.setdefault("first_word", _ms(timeline.started))
        result.ms["whole"] = _ms(timeline.started)
        result.ms["route"] = round(1000 * (timeline.marks[Mark.ROUTE] - timeline.started), 3)
        response.remember(answer)
        result.answer = answer.strip()
        result.decision, result.reason, result.answered_by = timeline.decision, timeline.reason, timeline.route
        result.intent = timeline.route.removeprefix(_SKILL) if timeline.route.startswith(_SKILL) else ""
        history = self.agent.conversations.turns(request.session.conversation)
        match = history[-1].match if history else None
        result.slots = dict(match.slots) if match is not None and match.intent == result.intent else {}

    async def _calls(self, caller: Session) -> list[tuple[str, Mapping[str, object]]]:
        """What tools did from a satellite, oldest first; skills have lines of their own in the log."""
        lines = [line for line in await self._audit.read(1000) if line.get("event") == "attempt"]
        found = [line for line in reversed(lines) if line.get("satellite") == caller.satellite]
        return [
            (str(line["tool"]), arguments if isinstance(arguments := line.get("arguments"), dict) else {})
            for line in found
            if not str(line["tool"]).startswith(_SKILL)
        ]


def judge(result: Result) -> None:
    """Say of each thing that the entry names whether it is right."""
    entry, judged = result.case.entry, result.judged
    wanted = entry.wanted_route
    fits = result.decision in (wanted, "hybrid" if wanted == "think" else wanted)
    judged["route"] = "" if fits else f"{result.decision}, not {wanted} ({result.reason})"
    if not result.able:
        return
    if entry.intent:
        judged["intent"] = _wrong_intent(result)
    if isinstance(entry.tool, Wanted):
        judged["tool"] = _wrong_tool(result, entry.tool)
    elif entry.tool == "none":
        judged["tool"] = f"{', '.join(name for name, _ in result.calls)} ran" if result.calls else ""
    if entry.answer is not None:
        judged["answer"] = "" if _answers(entry.answer, result.answer) else f"{result.answer!r}"


def _wrong_intent(result: Result) -> str:
    entry = result.case.entry
    if result.intent not in entry.intents:
        return f"{result.intent or 'none'}, not {' or '.join(entry.intents)}"
    for name, wanted in entry.slots.items():
        found = result.slots.get(name)
        if found is None or found.casefold().strip() != wanted.casefold():
            return f"{name} is {found!r}, not {wanted!r}"
    return ""


def _wrong_tool(result: Result, wanted: Wanted) -> str:
    for name, arguments in result.calls:
        if name == wanted.name and all(_same(arguments.get(key), value) for key, value in wanted.arguments.items()):
            return ""
    ran = ", ".join(f"{name} {dict(arguments)}" for name, arguments in result.calls)
    return f"{ran or 'nothing'} ran, not {wanted.name} {wanted.arguments}"


def _same(found: object, wanted: object) -> bool:
    """Texts are the same whatever their case, and '360' is 360; of a time, the wanted part."""
    if isinstance(wanted, str) and isinstance(found, str):
        return wanted.casefold().strip() in found.casefold()
    return found == wanted or (not isinstance(wanted, bool) and str(found) == str(wanted))


def _answers(wanted: str | Sequence[str], answer: str) -> bool:
    if isinstance(wanted, str):
        return re.search(wanted, answer, re.IGNORECASE) is not None
    plain = answer.casefold()
    return any(phrase.casefold() in plain for phrase in wanted)


def _ms(since: float) -> float:
    return round(1000 * (time.monotonic() - since), 3)
