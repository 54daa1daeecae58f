"""What is searched: words that mean something, the turn before where it is needed, never a broken FTS5 query."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.memory.journal import Journal
from handlers.agent.memory.lexical import content_words, embedding_text, match_expression, question
from handlers.agent.memory.stage import HOUSEHOLD, Meaning, NewNote, Note, Origin, Query, Source


def note(content: str, speaker: str = "", meaning: Meaning | None = None) -> Note:
    return Note("1", HOUSEHOLD, content, meaning or Meaning(), Source(Origin.SAID, speaker), 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Where is the spare key?", ["spare", "key"]),
        ("Wann hat Zoë Geburtstag?", ["wann", "zoe", "geburtstag"]),
        ("What's the code of gate 7", ["code", "gate", "7"]),
        ("the of and is", []),
        ("", []),
    ],
)
def test_only_words_that_mean_something_are_searched(text: str, words: list[str]) -> None:
    assert content_words(text) == words


def test_words_that_only_ask_are_left_out_unless_there_are_no_others() -> None:
    assert match_expression("Tell me how much the ferry costs") == '"ferry" OR "costs"'
    assert match_expression("what did she say last time") == '"last" OR "time"'
    assert match_expression("what is it") == ""


def test_a_question_that_says_too_little_is_asked_together_with_the_turn_before() -> None:
    before = "When does Ida have choir?"
    assert question(Query("and Tom?", previous=before)) == f"{before} and Tom?"
    assert question(Query("when is swimming class for Tom", previous=before)) == "when is swimming class for Tom"
    assert question(Query("and Tom?")) == "and Tom?"


def test_the_embedding_sees_who_said_it_and_what_is_known_about_it() -> None:
    meaning = Meaning(("key", "neighbour"), ("home",), "Where the spare key is.")
    assert embedding_text(note("It is with Mrs. Brandt", "u7", meaning), "Felix") == (
        "Felix: It is with Mrs. Brandt\nkeywords: key, neighbour\ntags: home\nWhere the spare key is."
    )
    assert embedding_text(note("The bins go out on Tuesday")) == "The bins go out on Tuesday\nkeywords: tuesday, bins"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    journal = Journal(tmp_path_factory.mktemp("journal"))
    first = journal.add(HOUSEHOLD, NewNote("Did Mila give back the skateboard?", Source(Origin.SAID)))
    journal.add(HOUSEHOLD, NewNote("She brought it yesterday", Source(Origin.SAID), previous_id=first.id))
    journal.add(HOUSEHOLD, NewNote("The ferries leave at nine", Source(Origin.SAID)))
    yield journal
    journal.close()


def found(journal: Journal, text: str) -> list[str]:
    ids = [note_id for note_id, _ in journal.lexical(HOUSEHOLD, match_expression(text), 10)]
    return [entry.content for entry in journal.get(HOUSEHOLD, ids)]


def test_stems_are_found_and_the_answer_behind_a_question(journal: Journal) -> None:
    assert found(journal, "when is the ferry leaving") == ["The ferries leave at nine"]
    assert found(journal, "the skateboards") == ["Did Mila give back the skateboard?", "She brought it yesterday"]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200))
def test_no_question_breaks_the_search(journal: Journal, text: str) -> None:
    assert len(journal.lexical(HOUSEHOLD, match_expression(text), 10)) <= 3
