"""The agent: local skills first, then the first language model that answers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime

from handlers.agent.conversations import Conversations, Turn
from handlers.agent.prompt import build_messages
from handlers.agent.skills import Skills
from handlers.agent.stage import AgentSettings, Generation, LanguageModel, Request
from handlers.errors import EngineError
from handlers.timeline import Mark, Timeline
from handlers.tts.thoughts import ThoughtFilter

_LOGGER = logging.getLogger(__name__)


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
        self._skills = skills
        self._settings = settings
        self._now = now
        self.conversations = Conversations(settings.remembered_turns, settings.conversation_minutes * 60)

    async def answer(self, request: Request, timeline: Timeline) -> AsyncGenerator[str, None]:
        """Stream the answer as text. It always says something, if only that it cannot.

        Closing the iterator stops the language model; the conversation then keeps what was given out.
        """
        given: list[str] = []
        try:
            async with contextlib.aclosing(self._route(request, timeline)) as deltas:
                async for delta in deltas:
                    timeline.mark(Mark.FIRST_TOKEN)
                    given.append(delta)
                    yield delta
        finally:
            if text := "".join(given).strip():
                self.conversations.add(request.conversation_id, Turn(request.text, text))

    async def close(self) -> None:
        """Close every language model."""
        for model in self.models:
            await model.close()

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
            thoughts = ThoughtFilter()
            try:
                async with contextlib.aclosing(model.chat(messages, generation)) as deltas:
                    async for delta in deltas:
                        if text := thoughts.feed(delta):
                            if not said:
                                timeline.route = model.name
                            said = True
                            yield text
                if text := thoughts.finish():
                    said = True
                    yield text
            except EngineError as error:
                _LOGGER.warning("%s", error)
                if said:
                    yield " " + self._skills.sentence("BrokenOff", request.language)
                    return
                continue
            if said:
                return
        timeline.route = "none"
        yield self._skills.sentence("NoModel", request.language)
