"""A household of our own (memory_household.yaml): what four people tell in 60 days, and what they ask.

Measures what LoCoMo does not: questions in other words and misheard ones, facts that changed, opposites, who and when,
what one person told for themselves alone, what nobody ever said, and what was forgotten.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from bench.memory_store import Store, opened
from handlers.agent.memory.heuristics import describe
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Embedder,
    Index,
    NewNote,
    Note,
    Origin,
    Owner,
    OwnerKind,
    Query,
    Recalled,
    Source,
)

FILE = Path(__file__).with_name("memory_household.yaml")

GATES = {"recall@5": 90.0, "stale": 2.0, "leaks": 0, "residue": 0}
"""At least, at most, and none."""

_FIRST_DAY = 1_750_000_000.0
_DAY = 86_400.0

_SHOWN = 5
"""Notes that an answer is given with."""

_GUEST = Owner(OwnerKind.GUEST, "visitor")


@dataclass(frozen=True)
class Fact:
    """Something told."""

    id: str
    day: int
    who: str
    private: bool
    words: str
    subject: str
    attribute: str

    @property
    def owner(self) -> Owner:
        return Owner(OwnerKind.PERSON, self.who) if self.private else HOUSEHOLD


@dataclass(frozen=True)
class Asked:
    """A question and the facts that answer it."""

    who: str
    words: str
    answers: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Household:
    """The data."""

    facts: tuple[Fact, ...]
    questions: tuple[Asked, ...]
    never: tuple[tuple[str, str], ...]
    """Who asks, and what nobody ever said."""
    forget: tuple[tuple[str, str, str, str], ...]
    """Who, which fact, a word that only it has, a question."""
    secrets: tuple[tuple[str, str, str], ...]
    """Whose, which fact, a question by everybody else."""

    @classmethod
    def load(cls, path: Path = FILE) -> Household:
        data = yaml.safe_load(path.read_text("utf-8"))
        facts = []
        for fact_id, (day, who, words, *about) in data["facts"].items():
            subject, _, attribute = (about[0] if about else "").partition("/")
            facts.append(Fact(fact_id, day, who.rstrip("!"), who.endswith("!"), words, subject, attribute))
        return cls(
            tuple(facts),
            tuple(Asked(who, words, tuple(answers), kind) for who, words, answers, kind in data["questions"]),
            tuple((who, words) for who, words in data["never"]),
            tuple((who, fact, word, words) for who, fact, word, words in data["forget"]),
            tuple((who, fact, words) for who, fact, words in data["secrets"]),
        )


@dataclass
class HouseholdReport:
    """Percent, except for the counts."""

    index: str = ""
    facts: int = 0
    questions: int = 0
    recall_at_5: float = 0.0
    by_kind: dict[str, float] = field(default_factory=dict)
    stale: float = 0.0
    """Of the questions about something that changed: those with an old fact among the notes."""
    leaks: int = 0
    """Notes that came back to somebody whom they do not belong to."""
    leak_questions: int = 0
    forgotten: int = 0
    came_back: int = 0
    residue: int = 0
    """Forgotten notes of which a file still has words, or the index a vector."""
    abstained: float = 0.0
    """Of the questions about what nobody said: those with nothing that looks relevant."""
    answered: float = 0.0
    """Of all other questions: those with something that looks as relevant."""
    missed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return (
            self.recall_at_5 >= GATES["recall@5"]
            and self.stale <= GATES["stale"]
            and not (self.leaks or self.residue or self.came_back)
        )


async def measure(embedder: Embedder, kind: Index, household: Household | None = None) -> HouseholdReport:
    """Tell everything, ask everything, then forget some of it and look for traces."""
    household = household or Household.load()
    report = HouseholdReport(facts=len(household.facts), questions=len(household.questions))
    with tempfile.TemporaryDirectory(prefix="memory-household-") as scratch:
        folder = Path(scratch)
        async with opened(folder, embedder, kind) as store:
            notes = _tell(store, household)
            await store.embed(store.journal.owners())
            report.index = store.index.status
            await _ask(store, household, notes, report)
            await _spy(store, household, report)
            vectors = await _forget(store, household, notes, report)
        words = [word for _, _, word, _ in household.forget]
        report.residue = _traces(folder, [word.encode() for word in words] + vectors)
    return report


def _tell(store: Store, household: Household) -> dict[str, Note]:
    notes: dict[str, Note] = {}
    for fact in household.facts:
        meaning = describe(fact.words, fact.who)
        if fact.subject:
            meaning = replace(meaning, subject=fact.subject, attribute=fact.attribute)
        at = _FIRST_DAY + fact.day * _DAY
        source = Source(Origin.SAID, speaker=fact.who, turn_id=fact.id)
        older = store.journal.same_fact(fact.owner, fact.subject, fact.attribute) if fact.subject else []
        note = store.journal.add(fact.owner, NewNote(fact.words, source, meaning, created=at))
        for old in older:
            store.journal.replace(fact.owner, old.id, note.id, at, source)
        notes[fact.id] = note
    return notes


async def _ask(store: Store, household: Household, notes: dict[str, Note], report: HouseholdReport) -> None:
    outdated = {
        old.id: new.id
        for new in household.facts
        for old in household.facts
        if new.subject and (old.subject, old.attribute) == (new.subject, new.attribute) and old.day < new.day
    }
    facts = {note.id: fact_id for fact_id, note in notes.items()}
    found_by_kind: dict[str, list[float]] = {}
    stale = updates = 0
    best: list[float] = []
    for question in household.questions:
        found = await _recall(store, question.who, question.words, past=question.kind == "past")
        ids = {facts[entry.note.id] for entry in found}
        share = len(ids & set(question.answers)) / len(question.answers)
        found_by_kind.setdefault(question.kind, []).append(share)
        best.append(_relevance(found))
        if share < 1:
            report.missed.append(question.words)
        if question.kind == "update":
            updates += 1
            stale += any(old in ids and new in question.answers for old, new in outdated.items())
    report.by_kind = {kind: _percent(shares) for kind, shares in found_by_kind.items()}
    report.recall_at_5 = _percent([share for shares in found_by_kind.values() for share in shares])
    report.stale = _percent([stale / updates])
    never = [_relevance(await _recall(store, who, words)) for who, words in household.never]
    # Where to draw the line is the answering model's affair; this is what it has to go by.
    line = sorted(best)[len(best) // 10]
    report.answered = _percent([score >= line for score in best])
    report.abstained = _percent([score < line for score in never])


async def _spy(store: Store, household: Household, report: HouseholdReport) -> None:
    people = sorted({fact.who for fact in household.facts})
    for owner, _, words in household.secrets:
        for owners in [*([_person(who), HOUSEHOLD] for who in people if who != owner), [_GUEST, HOUSEHOLD], [_GUEST]]:
            found = await store.recall.recall(owners, Query(words, speaker=owners[0].name, past=True), 50, 100_000)
            report.leaks += sum(entry.note.owner not in owners for entry in found)
            report.leak_questions += 1


async def _forget(store: Store, household: Household, notes: dict[str, Note], report: HouseholdReport) -> list[bytes]:
    """Forget as the product does. Returns the beginnings of the vectors that must be gone."""
    space = store.embedder.space
    vectors = []
    for _, fact_id, _, _ in household.forget:
        note = notes[fact_id]
        ids, rows = store.journal.vectors(note.owner, space)
        vectors.append(rows[ids.index(note.id)][:8].tobytes())
        report.forgotten += store.journal.forget(note.owner, [note.id])
        await store.index.remove(note.owner, space, [note.id])
    store.journal.purge()
    for owner in {notes[fact_id].owner for _, fact_id, _, _ in household.forget}:
        await store.index.purge(owner, space)
    for who, fact_id, _, words in household.forget:
        found = await _recall(store, who, words, past=True)
        report.came_back += any(entry.note.id == notes[fact_id].id for entry in found)
    return vectors


async def _recall(store: Store, who: str, words: str, *, past: bool = False) -> list[Recalled]:
    at = _FIRST_DAY + 61 * _DAY
    query = Query(words, speaker=who, at=at, past=past)
    return await store.recall.recall([_person(who), HOUSEHOLD], query, _SHOWN)


def _person(name: str) -> Owner:
    return Owner(OwnerKind.PERSON, name)


def _relevance(found: Sequence[Recalled]) -> float:
    return max((entry.score for entry in found), default=0.0)


def _traces(folder: Path, needles: Sequence[bytes]) -> int:
    """How many of these bytes some file still has."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return sum(any(needle in content for content in files) for needle in needles)


def _percent(shares: Sequence[float]) -> float:
    return round(100 * sum(shares) / len(shares), 1) if shares else 0.0
