"""What a client remembers of a conversation, and we do not."""

from __future__ import annotations

import pytest

from handlers.agent.conversations import Conversations, Elsewhere, Turn
from handlers.session import Session

LAMP = Elsewhere("turn on the lamp", "Turned it on.", ours=False)
FAN = Elsewhere("stop the fan", "Stopped it.", ours=False)
TEA = Elsewhere("Is the tea ready?", "It is.", ours=True)


@pytest.fixture
def conversations() -> Conversations:
    return Conversations(4, 600)


def questions(conversations: Conversations) -> list[str]:
    return [turn.question for turn in conversations.turns("c")]


def test_after_a_restart_all_of_it_is_restored_and_what_was_ours_is_not_trusted(conversations: Conversations) -> None:
    conversations.restore(Session(conversation="c"), [LAMP, TEA])
    turns = conversations.turns("c")
    assert [(turn.question, turn.answer, turn.untrusted) for turn in turns] == [
        ("turn on the lamp", "Turned it on.", False),
        ("Is the tea ready?", "It is.", True),
    ]


def test_what_came_since_our_last_answer_is_added_once(conversations: Conversations) -> None:
    conversations.add(Session(conversation="c"), Turn(TEA.question, TEA.answer))
    for _ in range(2):
        conversations.restore(Session(conversation="c"), [TEA, LAMP, FAN])
    assert questions(conversations) == [TEA.question, LAMP.question, FAN.question]


def test_what_was_dropped_of_a_conversation_is_not_brought_back(conversations: Conversations) -> None:
    """An answer that was interrupted, or that somebody asked to forget."""
    conversations.add(Session(conversation="c"), Turn("Goodbye", "See you."))
    conversations.restore(
        Session(conversation="c"), [LAMP, TEA, Elsewhere("Goodbye", "See you. One more thing", ours=True), FAN]
    )
    assert questions(conversations) == ["Goodbye", FAN.question]


def test_an_answer_that_the_client_does_not_know_stays_where_it_was(conversations: Conversations) -> None:
    conversations.restore(Session(conversation="c"), [LAMP])
    conversations.add(Session(conversation="c"), Turn("Tell me a story", "Once upon"))  # it was cancelled
    conversations.restore(Session(conversation="c"), [LAMP, FAN])
    assert questions(conversations) == [LAMP.question, "Tell me a story", FAN.question]


def test_only_the_last_turns_are_kept_in_their_order(conversations: Conversations) -> None:
    told = [Elsewhere(f"question {number}", "Done.", ours=False) for number in range(8)]
    conversations.restore(Session(conversation="c"), told[:6])
    conversations.restore(Session(conversation="c"), told)
    assert questions(conversations) == [f"question {number}" for number in range(4, 8)]


def test_without_an_id_there_is_nothing_to_remember_it_by(conversations: Conversations) -> None:
    conversations.restore(Session(conversation=""), [LAMP])
    assert len(conversations) == 0


def test_somebody_else_begins_anew(conversations: Conversations) -> None:
    anna, tom = Session("anna", conversation="c"), Session("tom", conversation="c")
    conversations.add(anna, Turn("My secret", "Noted."))
    conversations.restore(tom, [LAMP])
    assert [turn.question for turn in conversations.history(tom)] == [LAMP.question]
    assert conversations.history(anna) == []
