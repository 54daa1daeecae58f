"""What the language model is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from babel import Locale, UnknownLocaleError
from babel.dates import format_date

from handlers.agent.conversations import Turn
from handlers.agent.profiles import LENGTHS, Profile
from handlers.agent.safety.data import DATA_RULE, as_data, clean
from handlers.agent.stage import Message, Request
from handlers.language import primary

_SPEECH = (
    "Your answer is read aloud. Use plain words: no lists, no markdown, no emoji, no web addresses; write units as "
    "words. If you do not know something or cannot do it, say so. Ask back only when you cannot go on without."
)

_TOOLS = "Use a tool when it helps; never say that something is done unless a tool has said so."


def build_messages(
    request: Request,
    history: Sequence[Turn],
    profile: Profile,
    now: datetime,
    *,
    notes: Sequence[str] | None = None,
    tools: bool = False,
    house: str = "",
) -> list[Message]:
    """The system prompt, the last turns, and the question with what helps to answer it.

    The system prompt changes once a day at most, and what belongs to one question stands beside that question, so
    that a model's prefix cache stays warm; the time of day is what the local skill answers. `notes` are memories, each
    a sentence, or None where there is no memory; they are data, whatever they say. `tools` says whether the model has
    any; `house` is what the house tells of itself and of its tools, the same for many turns.
    """
    data = tools or notes is not None
    prompt = system_prompt(request.session.language, profile, now, tools=tools, data=data)
    messages = [Message("system", f"{prompt}\n\n{house}" if house else prompt)]
    for turn in history:
        messages.append(Message("user", turn.question))
        messages.append(Message("assistant", turn.answer))
    messages.append(Message("user", "\n\n".join([*_circumstances(request, notes or (), now, tools), request.text])))
    return messages


def system_prompt(language: str, profile: Profile, now: datetime, *, tools: bool, data: bool) -> str:
    """What is the same for every question of a day. `data` says whether text of others may stand beside it."""
    today = format_date(now.date(), "EEEE, d MMMM y", locale="en")
    parts = [profile.persona, LENGTHS[profile.length], _SPEECH]
    if tools:
        parts.append(_TOOLS)
    if data:
        parts.append(DATA_RULE)
    return " ".join([*parts, f"Today is {today}. Answer in {_in_english(language)}."])


def _circumstances(request: Request, notes: Sequence[str], now: datetime, tools: bool) -> list[str]:
    """What a model cannot know but may need. A model without tools is a small one: it would only repeat it."""
    parts = []
    if notes:
        parts.append(as_data("memory", "\n".join(f"- {note}" for note in notes)))
    if tools:
        room = clean(request.session.room)  # a client may say what it likes
        place = f", in the room: {room}" if room else ""
        parts.append(f"(It is {now:%H:%M}{place}.)")
    return parts


def _in_english(tag: str) -> str:
    """'German' for 'de': a small model makes nothing of a tag, and what a client made up stays out of the prompt."""
    for known in (tag, primary(tag)):
        try:
            return Locale.parse(known, sep="-").get_display_name("en") or known
        except (UnknownLocaleError, ValueError):
            continue
    return "the language of the question"
