"""The agent: local skills first, then the first language model that answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime

from handlers.agent.conversations import Conversations, Turn
from handlers.agent.heard import Playback
from handlers.agent.prompt import build_messages
from handlers.agent.skills import Skills
from handlers.agent.stage import AgentSettings, Generation, LanguageModel, Request
from handlers.errors import EngineError
from handlers.timeline import Mark, Timeline

_LOGGER = logging.getLogger(__name__)

NOBODY = "none"
"""The route of a turn for which no language model answered."""


def local_now() -> datetime:
    """The time where the server stands."""
    return datetime.now().astimezone()


class Agent:
    """Answers requests, and remembers each conversation while it lasts."""

    def __init__(
        self,
        skills: Skills,
        models: Sequence[LanguageModel],
        settings: AgentSettings,
        now: Callable[[], datetime] = local_now,
    ) -> None:
        """`models` are tried in this order."""
        self.models = models
        self.language = settings.language
        self.longest_question = settings.longest_question
        self._skills = skills
        self._settings = settings
        self._now = now
        self._down = {model for model in models if model.unavailable}
        self.conversations = Conversations(settings.remembered_turns, settings.conversation_minutes * 60)

    async def answer(self, request: Request, timeline: Timeline) -> AsyncGenerator[str, None]:
        """Stream the answer as text. It always says something, if only that it cannot.

        Closing the iterator stops the language model. Nothing is remembered: an answer may be a draft on a guess.
        """
        async with contextlib.aclosing(self._route(request, timeline)) as deltas:
            async for delta in deltas:
                timeline.mark(Mark.FIRST_TOKEN)
                yield delta

    def remember(self, request: Request, answer: str, timeline: Timeline, playback: Playback | None = None) -> None:
        """Keep a turn in its conversation: the answer as far as it was given."""
        answer = answer.strip()
        if answer and timeline.route != NOBODY:  # an apology would only teach the model to apologise
            self.conversations.add(request.conversation_id, Turn(request.text, answer, playback))

    def knows(self, text: str, language: str) -> bool:
        """Whether a local skill answers this sentence, so that it needs no more words. Takes about a millisecond."""
        return self._skills.answer(text, language, [], self._now()) is not None

    async def warm_up(self) -> None:
        """Let every language model read the system prompt, so that the first question waits no longer than others.

        A model that cannot is left alone; its first question will tell.
        """
        await asyncio.gather(*(self._warm_up(model) for model in self.models))

    async def close(self) -> None:
        """Close every language model."""
        for model in self.models:
            await model.close()

    async def _warm_up(self, model: LanguageModel) -> None:
        began = time.monotonic()
        messages = build_messages(Request("Hello", self._settings.language), [], self._settings, self._now())
        try:
            async with contextlib.aclosing(model.chat(messages, Generation(1, self._settings.temperature))) as deltas:
                async for _ in deltas:
                    pass
        except EngineError as error:
            _LOGGER.debug("No warm-up: %s", error)
        else:
            _LOGGER.info("%s warmed up in %.1f s", model.name, time.monotonic() - began)

    async def _route(self, request: Request, timeline: Timeline) -> AsyncGenerator[str, None]:
        history = self.conversations.history(request.conversation_id)
        skill = self._skills.answer(request.text, request.language, history, self._now())
        if skill is not None:
            timeline.route = f"skill/{skill.skill}"
            timeline.mark(Mark.ROUTE)
            yield skill.text
            return
        timeline.mark(Mark.ROUTE)
        async with contextlib.aclosing(self._think(request, history, timeline)) as deltas:
            async for delta in deltas:
                yield delta

    async def _think(self, request: Request, history: list[Turn], timeline: Timeline) -> AsyncGenerator[str, None]:
        messages = build_messages(request, history, self._settings, self._now())
        generation = Generation(self._settings.longest_answer, self._settings.temperature)
        for model in self.models:
            said = False
            try:
                async with contextlib.aclosing(model.chat(messages, generation)) as deltas:
                    async for delta in deltas:
                        if not said:
                            timeline.route = model.name
                        said = True
                        yield delta
                if not said:
                    raise EngineError(f"{model.name} gave an empty answer")
            except EngineError as error:
                self._note_failure(model, error)
                if said:
                    yield " " + self._skills.sentence("BrokenOff", request.language)
                    return
            else:
                self._note_success(model)
                return
        timeline.route = NOBODY
        yield self._skills.sentence("NoModel", request.language)

    def _note_failure(self, model: LanguageModel, error: EngineError) -> None:
        """Warn when a model goes, not at every turn that does without it."""
        _LOGGER.log(logging.DEBUG if model in self._down else logging.WARNING, "%s", error)
        self._down.add(model)

    def _note_success(self, model: LanguageModel) -> None:
        if model in self._down:
            self._down.discard(model)
            _LOGGER.info("Questions are answered by %s again", model.name)
