"""What a new note changes: links to its neighbours, what is known about them, facts that are no longer true.

A language model that is able judges; without one, alikeness makes links and patterns find contradictions. Alikeness
never finds a contradiction. Content never changes, and every change is a version that can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from handlers.agent.memory.distil import Text, Words, tidy_sentence, tidy_words
from handlers.agent.memory.heuristics import (
    OPINION,
    Fact,
    describe,
    find_fact,
    has_many_values,
    has_one_value,
    is_state,
    normalise,
    normalise_attribute,
    replaces,
    same_value,
    takes_back,
)
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.prompts import evolve_messages, evolve_schema, shown_note
from handlers.agent.memory.stage import Link, LinkKind, Meaning, MemoryStoreError, Note, Origin
from handlers.agent.memory.structured import ask
from handlers.agent.memory.vocabulary import SELF
from handlers.agent.stage import LanguageModel

NEIGHBOURS = 5
"""As in the paper: what a model of 3 billion parameters still keeps apart."""

MOST_SHOWN = 8
"""Neighbours and, beside them, notes about the same fact, which may be worded quite differently."""

_LONGEST_SHOWN = 300
"""Characters of a note that the model sees, so that nine of them and the answer fit in 4096 tokens."""

_LONGEST_ANSWER = 700
"""Tokens, with two neighbours rewritten."""


@dataclass(frozen=True)
class Changes:
    """What becomes of a new note and its neighbours."""

    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    """By the id of the note."""
    links: Sequence[Link] = ()
    replaced: Sequence[str] = ()
    """Ids of notes that are no longer true."""
    shown: Sequence[Note] = ()
    """What the model saw beside the new note, as it was then."""


async def judge(
    model: LanguageModel, note: Note, older: Sequence[Note], names: Mapping[str, str], seconds: float
) -> Changes:
    """What a language model makes of a new note beside older ones of the same owner, at most MOST_SHOWN.

    It sees small numbers, which stand for the ids of the notes that it was shown; any other number is left out. Raises
    EngineError, AnswerError when its answers cannot be used.
    """
    older = [other for other in older if other.owner == note.owner and other.id != note.id][:MOST_SHOWN]
    messages = evolve_messages(_shown(note, names), [_shown(other, names) for other in older])
    schema = evolve_schema(len(older))
    judged = await ask(model, messages, schema, _Judgement, longest=_LONGEST_ANSWER, seconds=seconds)
    numbered = dict(enumerate(older, 1))
    meanings = {note.id: _own_meaning(note, judged, names)}
    for update in judged.update:
        other = numbered.get(update.note)
        if other is not None:
            meanings[other.id] = _renewed(other.meaning, update)
    links = [
        Link(note.id, numbered[each.note].id, LinkKind.SAME_EVENT if each.how == "same-event" else LinkKind.RELATED)
        for each in judged.connect
        if each.note in numbered
    ]
    wanted = [numbered[number] for number in dict.fromkeys(judged.replaces) if number in numbered]
    replaced = [other.id for other in wanted if _may_replace(note, other, names)]
    replaced += [key for key in contradicted(note, older, names) if key not in replaced]
    return Changes(meanings, links, replaced, older)


def by_similarity(note: Note, near: Sequence[tuple[str, float]], above: float) -> Changes:
    """Links to the nearest notes, without a language model. near: ids and cosine similarities."""
    links = [
        Link(note.id, key, LinkKind.SIMILAR, min(1.0, alike))
        for key, alike in near
        if alike >= above and key != note.id
    ]
    return Changes(links=links[:NEIGHBOURS])


def contradicted(note: Note, older: Sequence[Note], names: Mapping[str, str]) -> list[str]:
    """The ids of those that the new note makes untrue, as far as patterns can tell."""
    new = _fact(note, names)
    if new is None:
        return []
    return [
        other.id
        for other in older
        if other.id != note.id
        and other.created <= note.created
        and other.valid_to is None
        and _contradicts(new, other, names)
    ]


def close_contradicted(journal: Journal, note: Note, names: Mapping[str, str]) -> list[str]:
    """Close at once what a note makes untrue by patterns; returns the ids. Blocks for some milliseconds."""
    about = note.meaning
    if note.valid_to is not None:
        return []  # what is no longer true makes nothing untrue
    if not about.subject:
        about = describe(note.content, names.get(note.source.speaker, note.source.speaker))
    closed = []
    for key in contradicted(note, journal.same_fact(note.owner, about.subject, about.attribute), names):
        try:
            journal.replace(note.owner, key, note.id, note.created, note.source)
            closed.append(key)
        except MemoryStoreError:
            if len(journal.get(note.owner, [key, note.id])) == 2:
                raise  # neither was forgotten meanwhile
    return closed


def apply(journal: Journal, note: Note, changes: Changes) -> list[str] | None:
    """Write it down; returns the ids of the notes whose meaning changed. Blocks. May be done again without harm.

    What somebody changed since the model saw it stays as it is. When something that the model saw was forgotten,
    nothing is written, because it may be in the model's words: None, judge again.
    """
    linked = [key for link in changes.links for key in (link.first, link.second)]
    ids = [note.id, *(shown.id for shown in changes.shown), *linked, *changes.replaced]
    while True:
        there = len(journal.get(note.owner, ids))
        try:
            return _write(journal, note, changes)
        except MemoryStoreError:
            if len(journal.get(note.owner, ids)) == there:
                raise  # it is not that one was forgotten meanwhile


def _write(journal: Journal, note: Note, changes: Changes) -> list[str] | None:
    """As `apply`; MemoryStoreError also when a note is forgotten at this moment."""
    owner = note.owner
    before = {known.id: known for known in (note, *changes.shown)}
    linked = {key for link in changes.links for key in (link.first, link.second)}
    now = {known.id: known for known in journal.get(owner, [*before, *linked, *changes.replaced])}
    if not before.keys() <= now.keys():
        return None
    source = replace(note.source, origin=Origin.EVOLVED)
    revised = []
    for key, meaning in changes.meanings.items():
        if key not in before or now[key].meaning != before[key].meaning:
            continue
        changed = meaning != now[key].meaning
        if changed or key == note.id:  # the new note's version also says that a model has seen it
            journal.revise(owner, key, meaning, source, because=list(before))
        if changed:
            revised.append(key)
    links = [link for link in changes.links if link.first in now and link.second in now]
    if links:
        journal.link(owner, links, source)
    for key in changes.replaced:
        if key in now and now[key].valid_to is None and now[key].created <= note.created:
            journal.replace(owner, key, note.id, note.created, source)
    return revised


class _Connection(BaseModel):
    model_config = ConfigDict(extra="ignore")

    note: int
    how: Literal["related", "same-event"] = "related"


class _Update(BaseModel):
    model_config = ConfigDict(extra="ignore")

    note: int
    keywords: Words = []
    tags: Words = []
    context: Text = ""


class _Judgement(BaseModel):
    model_config = ConfigDict(extra="ignore")

    subject: Text = ""
    attribute: Text = ""
    keywords: Words = []
    tags: Words = []
    context: Text = ""
    connect: list[_Connection] = []
    replaces: list[int] = []
    update: list[_Update] = []


def _shown(note: Note, names: Mapping[str, str]) -> str:
    speaker = names.get(note.source.speaker, note.source.speaker)
    return shown_note(
        note.content[:_LONGEST_SHOWN], speaker, note.created, note.meaning.subject, note.meaning.attribute
    )


def _fact(note: Note, names: Mapping[str, str]) -> Fact | None:
    return find_fact(note.content, names.get(note.source.speaker, note.source.speaker))


def _own_meaning(note: Note, judged: _Judgement, names: Mapping[str, str]) -> Meaning:
    """The new note's meaning. What a pattern is sure of stays, whatever the model calls it."""
    known = note.meaning
    fact = _fact(note, names)
    return Meaning(
        keywords=tidy_words(judged.keywords) or known.keywords,
        tags=tidy_words(judged.tags) or known.tags,
        context=tidy_sentence(judged.context) or known.context,
        subject=fact.subject if fact else normalise(tidy_sentence(judged.subject)) or known.subject,
        attribute=fact.attribute if fact else normalise_attribute(tidy_sentence(judged.attribute)) or known.attribute,
    )


def _renewed(known: Meaning, update: _Update) -> Meaning:
    """A neighbour's meaning; what the model left out stays, and so does what the fact is about."""
    return replace(
        known,
        keywords=tidy_words(update.keywords) or known.keywords,
        tags=tidy_words(update.tags) or known.tags,
        context=tidy_sentence(update.context) or known.context,
    )


def _contradicts(new: Fact, older: Note, names: Mapping[str, str]) -> bool:
    old = _fact(older, names)
    if old is not None:
        return replaces(new, old)
    # A language model said what it is about; its value is somewhere in its words.
    about = (older.meaning.subject, older.meaning.attribute)
    one_value = has_one_value(new.attribute) and not new.attribute.startswith(OPINION)
    return one_value and about == (new.subject, new.attribute) and not same_value(new.value, older.content)


def _may_replace(note: Note, older: Note, names: Mapping[str, str]) -> bool:
    """Whether to believe a model that says that the older note is no longer true. Small models say so too often."""
    if older.created > note.created or older.valid_to is not None or is_state(note.content) or is_state(older.content):
        return False
    new, old = _fact(note, names), _fact(older, names)
    if new is not None and old is not None:
        same = (new.subject, new.attribute) == (old.subject, old.attribute) and not same_value(new.value, old.value)
        return same and (not has_many_values(new.attribute) or takes_back(note.content))
    people, others = _people(note, names), _people(older, names)
    if people and others and not people & others:
        return False
    attribute = new.attribute if new is not None else normalise_attribute(older.meaning.attribute)
    return not has_many_values(attribute) or takes_back(note.content)


def _people(note: Note, names: Mapping[str, str]) -> set[str]:
    """The people of the household whom a note is about."""
    words = set(f"{normalise(note.content)} {note.meaning.subject}".replace("'s", "").split())
    people = {normalise(name) for name in names.values()} & words
    if words & SELF:
        people.add(normalise(names.get(note.source.speaker, note.source.speaker)))
    return people - {""}
