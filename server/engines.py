"""Loads every engine, all at the same time, and says how long each took."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from handlers import language as languages
from handlers.agent.agent import Agent
from handlers.agent.llm.thinker import ModelStatus
from handlers.agent.skills import Skills
from handlers.asr.recognizer import Recognizer
from handlers.asr.silero import Silero
from handlers.asr.smart_turn import SmartTurn, load_smart_turn
from handlers.asr.stage import Transcriber
from handlers.cpu import Cpu
from handlers.errors import MeadowlarkError, ModelError, RequestError, SettingsError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelProgress, ModelStore, Where
from handlers.pipeline.recordings import Recordings
from handlers.pipeline.turn import Stages
from handlers.tts.cache import CachedSynthesizer
from handlers.tts.speaker import once, sentences
from handlers.wake.stage import WakeEngine
from handlers.workers import Workers, usable_cores
from server import data_folder
from server.agent_engines import AgentEngines, open_agent_engines
from server.household import Household, open_household
from server.settings import ServerSettings

_LOGGER = logging.getLogger(__name__)

_WAKE_THREADS = 2
"""A detector needs 2 ms for 80 ms of audio; two threads keep up with some fifty streams."""

_WAKE_WAITING = 512
"""One call at most waits for each connection, so this is a bound that is never met before theirs."""

_WARM_UP_SECONDS = 10.0
"""The built-in model needs two. An Ollama that loads a large model from a slow disk goes on while the server serves."""

_SMALL_BYTES = 10_000_000
"""Files below are not worth a line in the log."""

T = TypeVar("T")


@dataclass(frozen=True)
class Engines:
    """The loaded engines, and the households that share them. Close them when the server stops."""

    transcriber: Transcriber
    vad: Silero
    turns: SmartTurn | None
    wake: WakeEngine
    wake_workers: Workers
    synthesizer: CachedSynthesizer
    agent_engines: AgentEngines
    households: Mapping[str, Household]
    """All that share these engines, by the keys of their tenants; '' is the server's own."""
    recordings: Mapping[str, Recordings]
    """Of what is said in each of them, where that is switched on."""
    settings: ServerSettings
    warming: asyncio.Task[None]
    rehearsing: asyncio.Task[None]

    @property
    def household(self) -> Household:
        """The server's own."""
        return self.households[""]

    @property
    def agent(self) -> Agent:
        """The server's own household's."""
        return self.household.agent

    def stages(self, tenant: str = "") -> Stages:
        """What the turns of one household go through: shared, but for its agent, and the words that it expects.

        SettingsError for a tenant's language that the speech model does not know.
        """
        agent, asr, language = self.households[tenant].agent, self.settings.asr, None
        if tenant:
            own = self.settings.tenants[tenant].asr
            asr, language = asr.model_copy(update=dict(own)), self._spoken(tenant, own.language)
        recognizer = Recognizer(
            self.transcriber,
            self.vad,
            asr,
            turns=self.turns,
            phrases=[word.phrase for word in self.wake.words.values()],
            names=lambda: agent.house.names,
            language=language,
        )
        return Stages(
            self.wake,
            self.wake_workers,
            self.settings.wake,
            recognizer,
            agent,
            self.synthesizer,
            self.recordings[tenant],
        )

    def _spoken(self, tenant: str, language: str) -> str | None:
        if language == "auto":
            if self.settings.asr.language != "auto":
                raise SettingsError(f"tenants.{tenant}.asr.language: 'auto' is for servers with  asr.language: auto")
            return None
        try:
            return languages.require(language, self.transcriber.languages, "The speech model")
        except RequestError as error:
            raise SettingsError(f"tenants.{tenant}.asr.language: {error}") from None

    async def close(self) -> None:
        """Let running work end, then free the models. Raises the first failure after all are closed."""
        self.warming.cancel()
        self.rehearsing.cancel()
        await asyncio.gather(self.warming, self.rehearsing, return_exceptions=True)
        closing = [self.transcriber.close(), self.synthesizer.close(), self.wake_workers.close()]
        closing += [recordings.close() for recordings in self.recordings.values()]
        closing.append(_close_all(self.households.values(), self.agent_engines))
        if self.turns is not None:
            closing.append(self.turns.close())
        outcomes = await asyncio.gather(*closing, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


async def load_engines(settings: ServerSettings) -> Engines:
    """Load all engines in parallel. Raises the first failure after all have come to an end."""
    store = ModelStore(settings.data_dir, settings.models.hub, settings.models.offline)
    cpu = Cpu(usable_cores())
    async with contextlib.AsyncExitStack() as owned:
        async with _Loading() as loading:
            progress = loading.progress
            transcriber = loading.start("speech to text", lambda: _load_whisper(settings, store, cpu, progress))
            vad = loading.start("voice activity", Silero)
            turns = loading.start("turn detection", lambda: _load_turns(settings, cpu))
            synthesizer = loading.start("text to speech", lambda: _load_voices(settings, store, cpu, progress))
            wake = loading.start("wake words", lambda: _load_wake(settings))
            agents = loading.begin("agent", _open_households(settings, store, progress, synthesizer, owned))
        agent_engines, households = agents.result()
        _log_models(agent_engines.thinker.status())
        own = households[""]
        engines = Engines(
            transcriber=transcriber.result(),
            vad=vad.result(),
            turns=turns.result(),
            wake=wake.result(),
            wake_workers=Workers("wake", _WAKE_THREADS, _WAKE_WAITING),
            synthesizer=synthesizer.result(),
            agent_engines=agent_engines,
            households=households,
            recordings={
                key: Recordings(settings.folder_of(key) / "recordings", settings.recordings) for key in households
            },
            settings=settings,
            warming=asyncio.create_task(own.agent.warm_up(), name="warm-up"),
            rehearsing=asyncio.create_task(_rehearse(own.skills, synthesizer.result()), name="rehearse"),
        )
        owned.pop_all()  # from here on the engines close it
    try:
        await _warmed(engines.warming)
    except asyncio.CancelledError:
        await engines.close()
        raise
    return engines


async def _warmed(warming: asyncio.Task[None]) -> None:
    """Wait for the warm-up, but not for long, and never fail because of it."""
    await asyncio.wait({warming}, timeout=_WARM_UP_SECONDS)
    if not warming.done():
        _LOGGER.info("A language model is still loading: the first answer may have to wait for it")
    elif (error := warming.exception()) is not None:
        _LOGGER.warning("The warm-up failed; the first answer comes later than others", exc_info=error)


async def _rehearse(skills: Skills, synthesizer: CachedSynthesizer) -> None:
    """Speak the skills' fixed answers into the cache, one by one, while nobody needs the processor."""
    choice = synthesizer.choose()
    answers = skills.fixed_answers(choice.language)
    try:
        for answer in answers:
            async for sentence in sentences(once(answer), choice.language):
                await synthesizer.prepare(sentence, choice)
        _LOGGER.info("%d frequent answers were spoken beforehand", len(answers))
    except MeadowlarkError as error:
        _LOGGER.warning("The frequent answers could not be spoken beforehand (%s)", error)


class _Loading:
    """Loads in threads, side by side. Threads cannot be cancelled, so a failure waits for the others to finish.

    `progress` is for loads that fetch something: it ends them when the loading is cancelled.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[object]] = []
        self._given_up = threading.Event()
        self.progress = log_progress(self._given_up)

    async def __aenter__(self) -> _Loading:
        return self

    async def __aexit__(self, *failure: object) -> None:
        try:
            outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        except asyncio.CancelledError:
            self._given_up.set()
            raise
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def start(self, what: str, load: Callable[[], T]) -> asyncio.Task[T]:
        """Call something that blocks, and log how long it took."""
        return self.begin(what, asyncio.to_thread(load))

    def begin(self, what: str, load: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run something that waits, and log how long it took."""

        async def timed() -> T:
            began = time.monotonic()
            loaded = await load
            _LOGGER.info("%s ready in %.1f s", what, time.monotonic() - began)
            return loaded

        task = asyncio.create_task(timed())
        self._tasks.append(task)
        return task


def _load_whisper(settings: ServerSettings, store: ModelStore, cpu: Cpu, progress: ModelProgress) -> Transcriber:
    from handlers.asr.whisper import WhisperTranscriber

    folder = store.locate(settings.asr.model, ModelKind.ASR, progress=progress)
    return WhisperTranscriber(folder, Path(settings.asr.model).name, settings.asr, cpu)


def _load_turns(settings: ServerSettings, cpu: Cpu) -> SmartTurn | None:
    return load_smart_turn(cpu) if settings.asr.smart_turn else None


def _load_voices(settings: ServerSettings, store: ModelStore, cpu: Cpu, progress: ModelProgress) -> CachedSynthesizer:
    from handlers.tts.piper import PiperSynthesizer

    default = store.locate(settings.tts.voice, ModelKind.TTS, progress=progress)
    voices = {default.stem: default}
    for model in store.known():
        if model.kind is not ModelKind.TTS or store.where(model) is Where.NOWHERE:
            continue
        try:
            path = store.locate(model.name, ModelKind.TTS)
        except ModelError as error:  # not the voice that was asked for: the server works without it
            _LOGGER.warning("A voice is left out: %s", error)
        else:
            voices.setdefault(path.stem, path)
    return CachedSynthesizer(PiperSynthesizer(voices, settings.tts, cpu), settings.tts)


def _load_wake(settings: ServerSettings) -> WakeEngine:
    from handlers.wake.engines import open_engines

    return open_engines(settings.data_dir / "models" / "wake")


async def _open_households(
    settings: ServerSettings,
    store: ModelStore,
    progress: ModelProgress,
    synthesizer: asyncio.Task[CachedSynthesizer],
    owned: contextlib.AsyncExitStack,
) -> tuple[AgentEngines, dict[str, Household]]:
    """All of them, and what they share. `owned` closes them where another engine cannot be loaded."""
    remembers = any(agent.memory.enabled for agent in settings.households.values())
    engines = await open_agent_engines(settings.agent, store, progress, remembers=remembers)
    owned.push_async_callback(engines.close)
    await asyncio.wait({synthesizer})  # an agent needs a voice, for what it says unasked
    households = {}
    for key, agent in settings.households.items():
        folder, most = settings.folder_of(key), settings.tenants[key].limits.turns_a_minute if key else 0
        await asyncio.to_thread(data_folder.prepare, folder)
        try:
            households[key] = await open_household(agent, folder, engines, synthesizer.result(), key, most)
        except SettingsError as error:
            raise SettingsError(f"tenants.{key}: {error}" if key else str(error)) from None
        owned.push_async_callback(households[key].close)
    _rest_together([household.agent for household in households.values()])
    return engines, households


def _rest_together(agents: Sequence[Agent]) -> None:
    """While anybody is listened to or answered, no memory works in the background: they share the engines."""

    def note(_: bool) -> None:
        busy = any(agent.busy for agent in agents)
        for agent in agents:
            if agent.memories is not None:
                (agent.memories.pause if busy else agent.memories.resume)()

    for agent in agents:
        agent.on_attention(note)


async def _close_all(households: Iterable[Household], engines: AgentEngines) -> None:
    """The engines last: what works in the background of a household asks them."""
    try:
        for outcome in await asyncio.gather(*(one.close() for one in households), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
    finally:
        await engines.close()


def _log_models(models: Sequence[ModelStatus]) -> None:
    """Who answers; why others do not, the thinker has logged."""
    ready = [model.name for model in models if model.ready]
    if ready:
        _LOGGER.info("Questions are answered by %s", ready[0])
    else:
        _LOGGER.warning("No language model: only local skills answer. Start Ollama, or install the extra 'models'")


def log_progress(given_up: threading.Event) -> ModelProgress:
    """A download's progress in the log, every tenth of it. Ends the download when the server stops meanwhile."""
    shown: dict[str, int] = {}

    def show(name: str, done: int, total: int | None) -> None:
        if given_up.is_set():
            raise ModelError(
                f"Fetching {name} was given up because the server stops; the next start goes on from there"
            )
        if total and total < _SMALL_BYTES:
            return
        tenth = done * 10 // total if total else done // 50_000_000
        if tenth > shown.get(name, 0):
            shown[name] = tenth
            size = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            _LOGGER.info("Preparing %s: %s", name, size)

    return show
