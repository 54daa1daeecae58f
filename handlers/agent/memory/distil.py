"""From finished turns to atomic notes: one fact, one sentence, names in place of pronouns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from handlers.agent.llm.errors import AnswerError
from handlers.agent.memory.heuristics import (
    describe,
    find_fact,
    find_keywords,
    is_state,
    normalise,
    normalise_attribute,
)
from handlers.agent.memory.prompts import distil_messages, distil_schema, shown_turn
from handlers.agent.memory.secrets import find_secret
from handlers.agent.memory.stage import Meaning, NewNote, Origin, Source
from handlers.agent.memory.structured import ask
from handlers.agent.stage import LanguageModel

MOST_TURNS = 6
"""In one call: about 600 tokens of the smallest context that is common, 4096, with room for an answer."""

_LONGEST_ANSWER = 900
"""Tokens: some ten notes, more than a conversation holds. Then the JSON is cut off, and the model asked again."""

_LONGEST_TURN = 1200
"""Characters of a turn that the model sees: a minute and a half of speech."""

_LONGEST_FACT = 300
"""Characters of one sentence; what is longer is not atomic."""

_LONGEST_WORD = 40
_LONGEST_SENTENCE = 200
_MOST_WORDS = 8
"""Of what a model writes beside a fact. Longer ones are a model that has lost its way."""

_SHARED = 1 / 3
"""Of the words that mean something in a fact, so many must have been said; the rest may be said in other words."""


@dataclass(frozen=True)
class FinishedTurn:
    """A turn that a language model answered, as it ended."""

    question: str
    answer: str
    at: float
    """Seconds since 1970."""
    speaker: str = ""
    """The person's id; empty for an unknown voice."""
    satellite: str = ""
    room: str = ""
    turn_id: str = ""
    conversation_id: str = ""
    language: str = "en"
    private: bool = False
    """Nothing of it may be remembered."""


async def distil(
    model: LanguageModel, turns: Sequence[FinishedTurn], names: Mapping[str, str], seconds: float
) -> list[tuple[int, NewNote]]:
    """The facts that people stated in these turns, each with the position of its turn. At most MOST_TURNS turns.

    names: what people are called, by id. seconds: for one answer of the model. What cannot have come from what was said
    is left out, whatever the model says. When its answers cannot be used, simple patterns must do. Raises EngineError
    when the model cannot answer.
    """
    shown = [_shown(turns, number, names) for number in range(len(turns))]
    messages, schema = distil_messages(shown), distil_schema(len(turns))
    try:
        written = await ask(model, messages, schema, _Notes, longest=_LONGEST_ANSWER, seconds=seconds)
    except AnswerError:
        return by_patterns(turns, names)
    found: dict[str, tuple[int, NewNote]] = {}
    for entry in written.notes:
        position, note = _checked(entry, turns, names)
        if note is not None:
            found.setdefault(normalise(note.content), (position, note))
    return sorted(found.values(), key=lambda pair: pair[0])


def by_patterns(turns: Sequence[FinishedTurn], names: Mapping[str, str]) -> list[tuple[int, NewNote]]:
    """The turns' own words as notes, where an English pattern finds a fact in them, with the position of the turn."""
    found = []
    for position, turn in enumerate(turns):
        words, name = turn.question, names.get(turn.speaker, turn.speaker)
        if (
            len(words) <= _LONGEST_FACT
            and find_secret(words, turn.language) is None
            and find_fact(words, name) is not None
        ):
            found.append((position, NewNote(words, _source(turn), describe(words, name), created=turn.at)))
    return found


def tidy_words(words: Sequence[str]) -> tuple[str, ...]:
    """Keywords or tags as a model wrote them: in lower case, once each, without blanks and without whole sentences."""
    tidied = (" ".join(word.casefold().split()) for word in words)
    return tuple(dict.fromkeys(word for word in tidied if word and len(word) <= _LONGEST_WORD))[:_MOST_WORDS]


def tidy_sentence(text: str) -> str:
    """A sentence as a model wrote it; '' when it is much more than one, or holds a secret."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SENTENCE and find_secret(text) is None else ""


def _words(value: object) -> object:
    """Some models write 'a, b' where a list was asked for, and null for nothing."""
    if isinstance(value, str):
        return [part for part in re.split(r"[,;]\s*", value) if part]
    return [] if value is None else value


def _text(value: object) -> object:
    return "" if value is None else value


Words = Annotated[list[str], BeforeValidator(_words)]
Text = Annotated[str, BeforeValidator(_text)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    turn: int
    fact: str
    subject: Text = ""
    attribute: Text = ""
    keywords: Words = []
    tags: Words = []
    context: Text = ""
    date: Text = ""


def _valid_entries(value: object) -> object:
    """One bad note does not cost the good ones beside it."""
    if not isinstance(value, list):
        return value
    entries = []
    for item in value:
        try:
            entries.append(_Entry.model_validate(item))
        except ValidationError:
            continue
    if value and not entries:
        raise ValueError("none of the notes has the fields that were asked for")
    return entries


class _Notes(BaseModel):
    model_config = ConfigDict(extra="ignore")

    notes: Annotated[list[_Entry], BeforeValidator(_valid_entries)]


def _checked(entry: _Entry, turns: Sequence[FinishedTurn], names: Mapping[str, str]) -> tuple[int, NewNote | None]:
    position = entry.turn - 1
    if not 0 <= position < len(turns):
        return position, None
    fact = " ".join(entry.fact.split())
    name = names.get(turns[position].speaker, turns[position].speaker)
    if not fact or len(fact) > _LONGEST_FACT or find_secret(fact) is not None:
        return position, None
    if is_state(fact) or not _was_said(fact, turns, position, name):
        return position, None
    meaning = Meaning(
        keywords=tidy_words(entry.keywords) or find_keywords(fact),
        tags=tidy_words(entry.tags),
        context=tidy_sentence(entry.context),
        subject=normalise(tidy_sentence(entry.subject)),
        attribute=normalise_attribute(tidy_sentence(entry.attribute)),
    )
    plain = find_fact(fact)
    if plain is not None:  # the same words for the same thing, whatever the model calls it this time
        meaning = Meaning(meaning.keywords, meaning.tags, meaning.context, plain.subject, plain.attribute)
    turn = turns[position]
    return position, NewNote(fact, _source(turn), meaning, created=turn.at, event_time=_day(entry.date))


def _was_said(fact: str, turns: Sequence[FinishedTurn], position: int, speaker: str) -> bool:
    """Whether a fact can come from what a person said, and is not what the assistant answered or the model made up."""
    turn = turns[position]
    before = [other for other in turns[:position] if _together(other, turn)]
    said = _stems(" ".join([turn.question, *(f"{other.question} {other.answer}" for other in before)]))
    answered = _stems(turn.answer) - said
    known = _stems(f"{speaker} {turn.room}")
    names = {_stem(word) for word in re.findall(r"(?<![.!?] )(?<!^)\b[A-Z\d][\w'-]*", fact)}
    told = _stems(" ".join(find_keywords(fact))) - known
    if names & answered - known:
        return False
    return bool(told) and len(told & said) >= len(told) * _SHARED and len(told & answered) <= len(told) / 2


def _together(earlier: FinishedTurn, turn: FinishedTurn) -> bool:
    return bool(turn.conversation_id) and earlier.conversation_id == turn.conversation_id


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in re.findall(r"\w+(?:'\w+)?", text)}


def _stem(word: str) -> str:
    """Enough of a word to know it again in another form; numbers as they are."""
    word = re.sub(r"'s$", "", word.casefold())
    return word if word.isdigit() else word[:5]


def _shown(turns: Sequence[FinishedTurn], number: int, names: Mapping[str, str]) -> str:
    """A turn in the prompt, with what the assistant had said before it; never with the answer to itself."""
    turn = turns[number]
    before = [other for other in turns[:number] if _together(other, turn)]
    answer = before[-1].answer[-_LONGEST_TURN:] if before else ""
    name = names.get(turn.speaker, turn.speaker)
    return shown_turn(turn.question[:_LONGEST_TURN], name, turn.room, turn.at, answer)


def _source(turn: FinishedTurn) -> Source:
    return Source(Origin.DISTILLED, turn.speaker, turn.satellite, turn.room, turn.turn_id)


def _day(text: str) -> float | None:
    """Noon of a day, so that no change of the clocks moves it to another."""
    try:
        return datetime.combine(date.fromisoformat(text.strip()[:10]), time(12)).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return None
