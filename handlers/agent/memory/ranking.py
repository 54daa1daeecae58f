"""Which of the notes that were found come first, and which come at all. Arithmetic only, no store.

The score is a weighted sum of what says that a note helps, each between 0 and 1. Two things can be alike and opposite
("turn on", "turn off"), so no score ever says that two notes are the same or contradict each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from handlers.agent.memory.lexical import plain_words
from handlers.agent.memory.stage import Link, LinkKind, Note, Query, Recalled

# Tuned on conversations 0 to 4 of LoCoMo (see bench/README.md); 5 to 9 were only measured with the result.
VECTOR = 0.30
LEXICAL = 0.35
SPEAKER = 0.25
"""Whoever is asked about mostly said it themselves."""

ROOM = 0.04
RECENCY = 0.02
LINK = 0.04
"""These three only decide between notes that are about as good."""

_VECTOR_NEXT = 0.4
_VECTOR_PREVIOUS = 0.1
_LEXICAL_NEXT = 0.3
_LEXICAL_PREVIOUS = 0.2
"""Of the score of the note after or before in the same conversation: a question and its answer are found together."""

_ABOUT = 0.7
"""For a note about the person who is asked for, told by somebody else."""

_HALF_LIFE = 30 * 86_400.0
"""Seconds in which the little that being new counts is halved."""

_MIN_COSINE = 0.2
"""Below, and without a word in common, a note has nothing to do with the question: unrelated sentences have 0.06 to
0.13 with the built-in model, and the worst paraphrases that still mean the same 0.38."""

_NARROWEST = 0.3
"""Between the best and the worst cosine: a hundred notes are further apart, and of two that are nearly as good none is
worth nothing."""

_WITH_LINKS = 20
"""Best notes whose links count."""

_CHARACTERS_PER_TOKEN = 3.5
"""Of a language model that reads the notes, on the careful side; English has 4."""

_TOKENS_AROUND = 10
"""For the date and the name that stand beside a note."""

_SELF = frozenset(("i", "me", "my", "mine", "myself"))


@dataclass(frozen=True)
class Found:
    """What the searches say."""

    notes: Sequence[Note]
    cosines: Mapping[str, float] = field(default_factory=dict)
    """By note id; a note that the vector search did not find is not in it."""
    words: Mapping[str, float] = field(default_factory=dict)
    """BM25 scores, by note id."""


def people_asked_about(query: Query, called: Mapping[str, str], speakers: Collection[str]) -> frozenset[str]:
    """Whose words a question is after: the one person it names, or who asks about "my". `called`: names by id."""
    words = frozenset(plain_words(query.text))
    named = {person for person in {*called, *speakers} if person and _first_name(called.get(person, person)) in words}
    if named:
        return frozenset(named) if len(named) == 1 else frozenset()  # of two, either may have said it
    return frozenset((query.speaker,)) if query.speaker and words & _SELF else frozenset()


def rank(
    found: Found, query: Query, at: float, people: Collection[str], called: Mapping[str, str] | None = None
) -> list[Recalled]:
    """The notes that may help, best first. `at`: now, seconds since 1970; what did not hold then is left out unless the
    query asks for the past. `people`: see `people_asked_about`."""
    vector = _with_neighbours(_min_max(found.cosines), found.notes, _VECTOR_PREVIOUS, _VECTOR_NEXT)
    words = _with_neighbours(_to_best(found.words), found.notes, _LEXICAL_PREVIOUS, _LEXICAL_NEXT)
    names = {_first_name((called or {}).get(person, person)) for person in people}
    ranked = []
    for note in found.notes:
        if not (query.past or note.holds(at)):
            continue
        if note.id not in found.words and found.cosines.get(note.id, 0.0) < _MIN_COSINE:
            continue
        parts = {
            "vector": VECTOR * vector.get(note.id, 0.0),
            "lexical": LEXICAL * words.get(note.id, 0.0),
            "speaker": SPEAKER * _speaker(note, people, names),
            "room": ROOM * (bool(query.room) and query.room == note.source.room),
            "recency": RECENCY * 0.5 ** (max(0.0, at - note.created) / _HALF_LIFE),
        }
        ranked.append(_recalled(note, parts))
    return sorted(ranked, key=_by_score)


def best_ids(ranked: Sequence[Recalled]) -> list[str]:
    """The notes whose links `rerank` wants."""
    return [entry.note.id for entry in ranked[:_WITH_LINKS]]


def rerank(ranked: Sequence[Recalled], links: Sequence[Link]) -> list[Recalled]:
    """The same notes, those a little higher that are linked to a good one."""
    scores = {entry.note.id: entry.score for entry in ranked[:_WITH_LINKS]}
    raised: dict[str, float] = {}
    for here, there, strength in _both_ways(links):
        if there in scores:
            raised[here] = max(raised.get(here, 0.0), min(1.0, strength) * scores[there])
    return sorted(
        (_recalled(entry.note, {**entry.parts, "link": LINK * raised.get(entry.note.id, 0.0)}) for entry in ranked),
        key=_by_score,
    )


def linked_ids(chosen: Sequence[Recalled], links: Sequence[Link]) -> list[str]:
    """Notes linked to the chosen ones that are not among them, those of the best first: for what budget is left."""
    place = {entry.note.id: number for number, entry in enumerate(chosen)}
    ways = [(place[there], -strength, here) for here, there, strength in _both_ways(links) if there in place]
    return list(dict.fromkeys(here for _, _, here in sorted(ways) if here not in place))


def fill(chosen: Sequence[Recalled], linked: Sequence[Note], at: float, *, past: bool = False) -> list[Recalled]:
    """The chosen notes and, behind them, what they are linked to."""
    least = min((entry.score for entry in chosen), default=0.0)
    more = [Recalled(note, least / 2, {"link": least / 2}) for note in linked if past or note.holds(at)]
    return [*chosen, *more]


def choose(ranked: Sequence[Recalled], limit: int, tokens: int) -> list[Recalled]:
    """The first notes that fit, each once whatever its spelling. What is too long makes room for what is shorter."""
    chosen: list[Recalled] = []
    seen: set[tuple[str, ...]] = set()
    for entry in ranked:
        if len(chosen) == limit:
            break
        words = tuple(plain_words(entry.note.content))
        cost = tokens_of(entry.note.content)
        if words in seen or cost > tokens:
            continue
        seen.add(words)
        tokens -= cost
        chosen.append(entry)
    return chosen


def tokens_of(content: str) -> int:
    """About how many tokens of a prompt a note takes."""
    return _TOKENS_AROUND + round(len(content) / _CHARACTERS_PER_TOKEN)


def _recalled(note: Note, parts: Mapping[str, float]) -> Recalled:
    return Recalled(note, min(1.0, sum(parts.values())), parts)


def _by_score(entry: Recalled) -> tuple[float, float, str]:
    return (-entry.score, -entry.note.created, entry.note.id)


def _first_name(name: str) -> str:
    return next(iter(plain_words(name)), "")


def _speaker(note: Note, people: Collection[str], names: Collection[str]) -> float:
    if note.source.speaker in people:
        return 1.0
    return _ABOUT if names and _first_name(note.meaning.subject) in names else 0.0


def _min_max(values: Mapping[str, float]) -> dict[str, float]:
    """Cosines: 1 for the best of those found, 0 for the worst unless they are all about as good."""
    if not values:
        return {}
    high = max(values.values())
    spread = max(high - min(values.values()), _NARROWEST)
    return {key: 1 - (high - value) / spread for key, value in values.items()}


def _to_best(values: Mapping[str, float]) -> dict[str, float]:
    """BM25: 0 is a note without any of the words."""
    high = max(values.values(), default=0.0)
    return {key: max(0.0, value) / high for key, value in values.items()} if high > 0 else {}


def _with_neighbours(
    values: Mapping[str, float], notes: Sequence[Note], previous: float, following: float
) -> dict[str, float]:
    spread = dict(values)
    for note in notes:
        if note.previous_id:
            spread[note.id] = spread.get(note.id, 0.0) + previous * values.get(note.previous_id, 0.0)
            spread[note.previous_id] = spread.get(note.previous_id, 0.0) + following * values.get(note.id, 0.0)
    return spread


def _both_ways(links: Sequence[Link]) -> Iterator[tuple[str, str, float]]:
    for link in links:
        if link.kind is not LinkKind.REPLACES:  # the other end is no longer true
            yield link.first, link.second, link.strength
            yield link.second, link.first, link.strength
