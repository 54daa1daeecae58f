"""The language models of this house, as one that answers: the first that can, in the order of the settings.

A model that failed is left alone, so that no turn waits for it (a circuit breaker); a task in the background asks it
now and then whether it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from handlers.agent.llm.errors import AnswerError, PassingError
from handlers.agent.llm.settings import ThinkSettings
from handlers.agent.stage import Generation, LanguageModel, Message, Written
from handlers.agent.tools.stage import ToolSpec
from handlers.errors import BusyError, DeadlineError, EngineError
from handlers.timeline import Timeline

_LOGGER = logging.getLogger(__name__)

_AT_ONCE_SECONDS = 1.0
"""A failure within this time may be tried again without being noticed by the listener."""

_REMEMBERED_WAITS = 9
"""Enough for a median that one slow answer does not move, few enough to notice that a machine became slower."""

_FIRST_GUESS_SECONDS = 1.0
"""Of a model that nobody has waited for yet."""

_COLD_GUESS_SECONDS = 6.0
"""Of one that has to be loaded first: some gigabytes from a disk."""


class BrokenOffError(EngineError):
    """A model failed after it had begun to answer: its words may have been spoken. Its calls are not to be run."""


@runtime_checkable
class Loadable(Protocol):
    """A model that may have to be loaded into memory before it answers."""

    @property
    def cold(self) -> bool:
        """Whether it has to, as far as is known."""


@dataclass(frozen=True)
class ModelStatus:
    """One model on the status page."""

    name: str
    ready: bool
    problem: str
    """Why it is not; empty when it is."""
    first_token_seconds: float | None
    """Median of the last waits for the first word; None when there were none."""


class Thinker:
    """Several models in order. They are its own: it closes them."""

    def __init__(self, models: Sequence[LanguageModel], settings: ThinkSettings) -> None:
        self._settings = settings
        self._candidates = [_Candidate(model) for model in models]

    @property
    def models(self) -> list[LanguageModel]:
        """All of them, in order."""
        return [candidate.model for candidate in self._candidates]

    async def start(self) -> None:
        """Ask every model whether it would answer; those that would not are watched."""
        await asyncio.gather(*(self._is_there(candidate) for candidate in self._candidates))
        for candidate in self._candidates:
            if candidate.is_open and not candidate.is_told:
                candidate.is_told = True
                _LOGGER.info("%s", candidate.model.unavailable)
        self._watch()

    async def chat(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec], timeline: Timeline
    ) -> AsyncGenerator[Written, None]:
        """The answer of the first model that gives one; `timeline.route` becomes its name with the first piece.

        Raises EngineError when no model answers, BrokenOffError when one breaks off. Closing the iterator stops the
        generation.
        """
        self._watch()
        candidates = self._available() or self._candidates  # when all have failed, they are asked all the same
        problems = []
        for candidate in candidates:
            begun = False
            # The last one may take all the time that its own settings give it.
            patience = self._settings.first_token_seconds if candidate is not candidates[-1] else None
            pieces = self._ask(candidate, messages, generation, tools, patience)
            try:
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        if not begun:
                            begun = True
                            timeline.route = candidate.model.name
                        yield piece
            except EngineError as error:
                self._note_failure(candidate, error)
                if begun:
                    raise BrokenOffError(str(error)) from error
                problems.append(str(error))
            else:
                self._note_success(candidate)
                return
        what = "; ".join(problems) or "there is none; start Ollama, or install the extra 'models'"
        raise EngineError(f"No language model answers: {what}")

    async def warm_up(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        """Let every model that is there read what all turns begin with, so that the first question waits no longer.

        `messages` and `tools` must be those of a real turn, up to the question. A model that cannot is left alone; its
        first question will tell.
        """
        await asyncio.gather(*(self._warm_up(candidate, messages, tools) for candidate in self._available()))

    def expected_seconds(self, tools: bool = False) -> float:
        """How long the first word will probably take: the median of the last waits of the model that would be asked."""
        candidates = self._available() or self._candidates
        return candidates[0].expected_seconds(tools) if candidates else 0.0

    @property
    def uses_tools(self) -> bool:
        """Whether the model that would be asked can be trusted with tools; the prompt speaks of them only then."""
        candidates = self._available() or self._candidates
        return bool(candidates) and candidates[0].model.uses_tools

    def able(self, schema: bool = True) -> LanguageModel | None:
        """The first model that is there and, where asked for, can fill a schema with sense."""
        models = (candidate.model for candidate in self._available())
        return next((model for model in models if model.follows_schemas or not schema), None)

    def status(self) -> list[ModelStatus]:
        """Of every model, in order."""
        return [candidate.status() for candidate in self._candidates]

    async def close(self) -> None:
        """End the watch over models that failed, and close them all."""
        watches = [candidate.watch for candidate in self._candidates if candidate.watch]
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        for candidate in self._candidates:
            await candidate.model.close()

    def _available(self) -> list[_Candidate]:
        return [candidate for candidate in self._candidates if not candidate.is_open]

    async def _ask(
        self,
        candidate: _Candidate,
        messages: Sequence[Message],
        generation: Generation,
        tools: Sequence[ToolSpec],
        patience: float | None,
    ) -> AsyncGenerator[Written, None]:
        """One model's answer; a second try where the first failed at once and before any word."""
        began = time.monotonic()
        for last_try in (False, True):
            begun = False
            pieces = self._ask_once(candidate, messages, generation, tools, patience)
            try:
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        begun = True
                        yield piece
                if begun:
                    return
                raise AnswerError(f"{candidate.model.name} gave an empty answer")
            except (PassingError, AnswerError) as error:
                if last_try or begun or time.monotonic() - began > _AT_ONCE_SECONDS:
                    raise
                _LOGGER.debug("Once more: %s", error)

    async def _ask_once(
        self,
        candidate: _Candidate,
        messages: Sequence[Message],
        generation: Generation,
        tools: Sequence[ToolSpec],
        patience: float | None,
    ) -> AsyncGenerator[Written, None]:
        model = candidate.model
        if not candidate.is_known and not await self._is_there(candidate):  # only then it tells whether it uses tools
            raise EngineError(model.unavailable)
        used = tools if model.uses_tools else ()
        cold = candidate.is_cold
        began = time.monotonic()
        pieces = model.chat(messages, generation, used)
        async with contextlib.aclosing(pieces):
            try:
                # Loading a model takes as long as it takes; whoever goes on to the next one never gets it loaded.
                async with asyncio.timeout(None if cold else patience):
                    first = await anext(pieces, None)
            except TimeoutError:
                raise DeadlineError(f"{model.name} said no word for {patience:g} seconds") from None
            if first is None:
                return
            candidate.note_wait(time.monotonic() - began, cold, bool(used))
            yield first
            async for piece in pieces:
                yield piece

    async def _warm_up(self, candidate: _Candidate, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        model = candidate.model
        began = time.monotonic()
        try:
            if not candidate.is_known and not await self._is_there(candidate):
                return
            pieces = model.chat(messages, Generation(1, 0.0), tools if model.uses_tools else ())
            async with contextlib.aclosing(pieces):
                async for _ in pieces:
                    pass
        except EngineError as error:
            _LOGGER.debug("No warm-up: %s", error)
        else:
            _LOGGER.info("%s warmed up in %.1f s", model.name, time.monotonic() - began)

    async def _is_there(self, candidate: _Candidate) -> bool:
        candidate.is_known = True
        candidate.is_open = not await candidate.model.check()
        return not candidate.is_open

    def _note_failure(self, candidate: _Candidate, error: EngineError) -> None:
        """Warn when a model goes, not at every turn that does without it."""
        if isinstance(error, BusyError | AnswerError):  # it is there, and says nothing about the next question
            _LOGGER.debug("%s", error)
            return
        _LOGGER.log(logging.DEBUG if candidate.is_told else logging.WARNING, "%s", error)
        candidate.is_told = candidate.is_open = True
        candidate.problem = str(error)
        candidate.failures += 1
        self._watch()

    def _note_success(self, candidate: _Candidate) -> None:
        if candidate.watch:
            candidate.watch.cancel()
        candidate.is_open = False
        candidate.failures = 0
        self._note_return(candidate)

    def _note_return(self, candidate: _Candidate) -> None:
        if candidate.is_told:
            candidate.is_told = False
            _LOGGER.info("%s answers again", candidate.model.name)

    def _watch(self) -> None:
        for candidate in self._candidates:
            if candidate.is_open and (candidate.watch is None or candidate.watch.done()):
                candidate.watch = asyncio.create_task(self._until_back(candidate))

    async def _until_back(self, candidate: _Candidate) -> None:
        settings = self._settings
        checks = 0
        while True:
            failures = max(0, candidate.failures - 1) + checks
            delay = min(settings.retry_seconds * 2 ** min(failures, 16), settings.longest_retry_seconds)
            await asyncio.sleep(delay)
            checks += 1
            if await self._answers(candidate):
                break
        candidate.is_open = False
        # Where the very first check found it there, it may fail again with the next question: that is one outage still.
        if checks > 1:
            self._note_return(candidate)

    async def _answers(self, candidate: _Candidate) -> bool:
        """Whether a model is back. A defect in its check must not end the watch: the model would be lost for ever."""
        try:
            return await candidate.model.check()
        except Exception:
            _LOGGER.exception("%s could not be checked", candidate.model.name)
            return False


@dataclass(eq=False)
class _Candidate:
    """A model, whether it may be asked, and how long it took."""

    model: LanguageModel
    is_open: bool = field(init=False)
    """Its breaker: the model failed and is not asked."""
    is_told: bool = field(init=False)
    """The log knows of it."""
    is_known: bool = field(init=False)
    """It was checked, so that it can tell what it is able to do."""
    failures: int = 0
    """In a row."""
    problem: str = ""
    """The last one."""
    watch: asyncio.Task[None] | None = None
    waits: dict[tuple[bool, bool], deque[float]] = field(default_factory=dict)
    """Seconds to the first piece, by whether the model was cold and whether it was given tools."""

    def __post_init__(self) -> None:
        self.is_open = self.is_told = self.is_known = bool(self.model.unavailable)

    @property
    def is_cold(self) -> bool:
        return isinstance(self.model, Loadable) and self.model.cold

    def note_wait(self, seconds: float, cold: bool, tools: bool) -> None:
        self.waits.setdefault((cold, tools), deque(maxlen=_REMEMBERED_WAITS)).append(seconds)

    def expected_seconds(self, tools: bool) -> float:
        cold, tools = self.is_cold, tools and self.model.uses_tools
        known = self.waits.get((cold, tools)) or self.waits.get((cold, not tools))
        return statistics.median(known) if known else _COLD_GUESS_SECONDS if cold else _FIRST_GUESS_SECONDS

    def status(self) -> ModelStatus:
        waits = [wait for (cold, _), some in self.waits.items() if not cold for wait in some]
        problem = self.model.unavailable or (self.problem if self.is_open else "")
        return ModelStatus(self.model.name, not problem, problem, statistics.median(waits) if waits else None)
