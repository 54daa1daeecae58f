"""What comes first, what comes at all: speakers, rooms, age, validity, links, the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from handlers.agent.memory.ranking import (
    Found,
    choose,
    fill,
    linked_ids,
    people_asked_about,
    rank,
    rerank,
    tokens_of,
)
from handlers.agent.memory.stage import HOUSEHOLD, Link, LinkKind, Meaning, Note, Origin, Query, Recalled, Source

NOW = 1_750_000_000.0
DAY = 86_400.0


def note(
    note_id: str,
    content: str = "",
    *,
    speaker: str = "",
    room: str = "",
    days: float = 100,
    valid_to: float | None = None,
    subject: str = "",
    previous: str = "",
) -> Note:
    return Note(
        note_id,
        HOUSEHOLD,
        content or f"the note {note_id}",
        Meaning(subject=subject),
        Source(Origin.SAID, speaker, room=room),
        NOW - days * DAY,
        valid_to=valid_to,
        previous_id=previous,
    )


def order(
    notes: Sequence[Note],
    query: Query | None = None,
    cosines: Mapping[str, float] | None = None,
    words: Mapping[str, float] | None = None,
    called: Mapping[str, str] | None = None,
) -> list[str]:
    query = query or Query("what about it")
    cosines = {entry.id: 0.5 for entry in notes} if cosines is None else cosines
    people = people_asked_about(query, called or {}, {entry.source.speaker for entry in notes})
    ranked = rank(Found(notes, cosines, words or {}), query, NOW, people, called)
    assert [entry.score for entry in ranked] == sorted((entry.score for entry in ranked), reverse=True)
    assert all(0 <= entry.score <= 1 for entry in ranked)
    assert all(sum(entry.parts.values()) == pytest.approx(entry.score) for entry in ranked if entry.score < 1)
    return [entry.note.id for entry in ranked]


def test_meaning_and_words_add_up() -> None:
    notes = [note("a"), note("b"), note("c")]
    assert order(notes, cosines={"a": 0.9, "b": 0.3, "c": 0.8}, words={"b": 3.0, "c": 2.9}) == ["c", "b", "a"]
    assert order(notes, cosines={}, words={"b": 3.0, "c": 4.0}) == ["c", "b"]


def test_what_is_neither_alike_nor_shares_a_word_does_not_come() -> None:
    notes = [note("a"), note("b"), note("c")]
    assert order(notes, cosines={"a": 0.6, "b": 0.1, "c": 0.1}, words={"c": 0.5}) == ["c", "a"]


@pytest.mark.parametrize(
    ("query", "people"),
    [
        (Query("what did Anna say about it"), {"u1"}),
        (Query("what is Anna's favourite colour", speaker="u2"), {"u1"}),
        (Query("did Anna or Ben see it"), set()),
        (Query("what is my favourite colour", speaker="u2"), {"u2"}),
        (Query("what is my favourite colour"), set()),
        (Query("what colour is the gate", speaker="u2"), set()),
    ],
)
def test_whose_words_are_asked_for(query: Query, people: set[str]) -> None:
    assert people_asked_about(query, {"u1": "Anna", "u2": "Ben Smith"}, {"u1", "u2", ""}) == people


def test_who_is_asked_about_comes_first_then_what_is_about_them() -> None:
    notes = [note("other", speaker="u3"), note("about", speaker="u3", subject="anna's car"), note("own", speaker="u1")]
    called = {"u1": "Anna", "u3": "Tom"}
    assert order(notes, Query("what does Anna want"), called=called) == ["own", "about", "other"]


def test_room_and_age_only_decide_between_equals() -> None:
    notes = [note("far", room="attic"), note("near", room="kitchen"), note("new", room="attic", days=0)]
    assert order(notes, Query("what about it", room="kitchen")) == ["near", "new", "far"]
    better = {"far": 0.9, "near": 0.5, "new": 0.5}
    assert order(notes, Query("what about it", room="kitchen"), cosines=better)[0] == "far"


def test_replaced_facts_come_only_when_the_past_is_asked_for() -> None:
    notes = [note("old", valid_to=NOW - DAY), note("new"), note("future", valid_to=NOW + DAY)]
    assert set(order(notes)) == {"new", "future"}
    assert set(order(notes, Query("what was it before", past=True))) == {"old", "new", "future"}


def test_an_answer_is_found_by_its_question() -> None:
    notes = [note("ask"), note("answer", previous="ask"), note("else")]
    assert order(notes, cosines={"ask": 0.9, "answer": 0.3, "else": 0.35})[:2] == ["ask", "answer"]


def recalled(*notes: Note) -> list[Recalled]:
    return [Recalled(entry, 1 - place / 10, {}) for place, entry in enumerate(notes)]


def scored(*scores: tuple[Note, float]) -> list[Recalled]:
    return [Recalled(entry, score, {"vector": score}) for entry, score in scores]


def test_links_raise_what_is_near_and_never_displace_what_is_better() -> None:
    ranked = scored((note("a"), 0.9), (note("b"), 0.51), (note("c"), 0.5))
    links = [Link("a", "c", LinkKind.RELATED)]
    assert [entry.note.id for entry in rerank(ranked, links)] == ["a", "c", "b"]
    far = scored((note("a"), 0.9), (note("b"), 0.7), (note("c"), 0.5))
    assert [entry.note.id for entry in rerank(far, links)] == ["a", "b", "c"]
    replaced = [Link("a", "c", LinkKind.REPLACES)]
    assert [entry.note.id for entry in rerank(ranked, replaced)] == ["a", "b", "c"]


def test_links_fill_only_what_is_left() -> None:
    direct = scored((note("a"), 0.9), (note("b"), 0.5))
    links = [Link("b", "y", LinkKind.SIMILAR), Link("x", "a", LinkKind.RELATED), Link("a", "b", LinkKind.RELATED)]
    assert linked_ids(direct, links) == ["x", "y"]
    filled = fill(direct, [note("x"), note("y", valid_to=NOW - DAY)], NOW)
    assert [entry.note.id for entry in filled] == ["a", "b", "x"]
    assert filled[2].score < filled[1].score
    assert [entry.note.id for entry in choose(filled, 2, 1000)] == ["a", "b"]


def test_the_budget_holds_and_nothing_comes_twice() -> None:
    long = "very long words indeed " * 40
    notes = [note("a", "The bins go out."), note("b", "the BINS go out"), note("c", long), note("d", "Short.")]
    chosen = choose(recalled(*notes), 5, 100)
    assert [entry.note.id for entry in chosen] == ["a", "d"]
    assert sum(tokens_of(entry.note.content) for entry in chosen) <= 100
    assert len(choose(recalled(*(note(str(n)) for n in range(9))), 5, 1000)) == 5
    assert choose(recalled(note("a")), 0, 1000) == []
