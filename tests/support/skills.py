"""Skills asked as an agent asks them, at a fixed time in Berlin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from handlers.agent.conversations import Turn
from handlers.agent.skills import Skills, locale_of
from handlers.agent.skills.stage import Occasion, Reply
from handlers.agent.stage import Request
from handlers.session import Session

NOW = datetime(2026, 6, 3, 15, 5, tzinfo=ZoneInfo("Europe/Berlin"))
"""A Wednesday."""


async def ask(
    skills: Skills, text: str, tag: str = "en", history: Sequence[Turn] = (), now: datetime = NOW
) -> Reply | None:
    """What skills answer, None when no skill knows the sentence."""
    match = skills.match(text, tag)
    if match is None:
        return None
    return await skills.perform(
        match, Occasion(Request(text, Session(language=tag)), history, now, locale_of(tag, match.language))
    )


def understood(skills: Skills, text: str, tag: str) -> tuple[str, dict[str, str]] | None:
    """Intent and slots of a sentence."""
    match = skills.match(text, tag)
    return None if match is None else (match.intent, dict(match.slots))
