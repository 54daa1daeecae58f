"""What the language model is told."""

from __future__ import annotations

from datetime import datetime

from babel import Locale, UnknownLocaleError
from babel.dates import format_date

from handlers.agent.conversations import Turn
from handlers.agent.stage import AgentSettings, Message, Request
from handlers.language import primary

_SPEECH = (
    "Your answer is read aloud. Use one to three short sentences of plain words: no lists, no markdown, no emoji, "
    "no web addresses. If you do not know something or cannot do it, say so. Ask back only when you must."
)


def build_messages(request: Request, history: list[Turn], settings: AgentSettings, now: datetime) -> list[Message]:
    """The system prompt, the last turns, and the question.

    The system prompt changes once a day at most, so that a model's prefix cache stays warm; the time of day is
    what the local skill answers.
    """
    today = format_date(now.date(), "EEEE, d MMMM y", locale="en")
    language = _in_english(request.language)
    messages = [Message("system", f"{settings.persona} {_SPEECH} Today is {today}. Answer in {language}.")]
    for turn in history[-settings.remembered_turns :] if settings.remembered_turns else []:
        messages.append(Message("user", turn.question))
        messages.append(Message("assistant", turn.answer))
    messages.append(Message("user", request.text))
    return messages


def _in_english(tag: str) -> str:
    """'German' for 'de': a small model makes nothing of a tag, and what a client made up stays out of the prompt."""
    for known in (tag, primary(tag)):
        try:
            return Locale.parse(known, sep="-").get_display_name("en") or known
        except (UnknownLocaleError, ValueError):
            continue
    return "the language of the question"
