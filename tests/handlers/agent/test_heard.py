"""What a conversation keeps of an answer that was interrupted."""

from __future__ import annotations

import math
import time

import pytest

from handlers.agent.conversations import Conversations, Turn
from handlers.agent.heard import Playback
from handlers.session import Session

SENTENCES = ["Birds sing.", "They also fly.", "Some swim."]


def playback(ago: float, *, complete: bool = True) -> Playback:
    """Three sentences of a second each, of which the first began to sound `ago` seconds ago."""
    result = Playback(complete=complete)
    for text in SENTENCES:
        result.sentence(text)
        for _ in range(4):
            result.sounds(0.25)
    result.began = time.monotonic() - ago
    return result


def conversations(sounds: Playback | None) -> Conversations:
    result = Conversations(turns=4, idle_seconds=600)
    result.add(Session(conversation="kitchen"), Turn("Hello", "Hi."))
    result.add(Session(conversation="kitchen"), Turn("Tell me about birds.", " ".join(SENTENCES), sounds))
    return result


@pytest.mark.parametrize(
    ("ago", "kept"),
    [(0.1, None), (0.5, None), (1.2, "Birds sing."), (2.4, "Birds sing. They also fly."), (60.0, " ".join(SENTENCES))],
)
def test_elapsed_time_bounds_what_was_heard(ago: float, kept: str | None) -> None:
    memory = conversations(playback(ago))
    memory.interrupt("kitchen")
    answers = [turn.answer for turn in memory.turns("kitchen")]
    assert answers == (["Hi."] if kept is None else ["Hi.", kept])


@pytest.mark.parametrize(
    ("played", "kept"),
    [(0.0, None), (1.0, "Birds sing."), (1.9, "Birds sing."), (2.0, "Birds sing. They also fly."), (9.0, None)],
)
def test_the_satellite_knows_better(played: float, kept: str | None) -> None:
    sounds = playback(0.0)
    memory = conversations(sounds)
    memory.report("kitchen", sounds, played)
    answers = [turn.answer for turn in memory.turns("kitchen")]
    if played > 3:
        kept = " ".join(SENTENCES)
    assert answers == (["Hi."] if kept is None else ["Hi.", kept])


def test_an_answer_that_was_played_is_not_cut_later() -> None:
    sounds = playback(0.0)
    memory = conversations(sounds)
    memory.report("kitchen", sounds, math.inf)
    memory.interrupt("kitchen")
    assert memory.turns("kitchen")[-1].answer == " ".join(SENTENCES)


def test_an_answer_is_settled_once() -> None:
    """What the next turn says that it has played is not of this answer."""
    memory = conversations(playback(60.0))
    memory.interrupt("kitchen")
    memory.report("kitchen", playback(1.0), 0.5)
    assert memory.turns("kitchen")[-1].answer == " ".join(SENTENCES)


@pytest.mark.parametrize(("played", "kept"), [(0.0, None), (1.0, "Birds sing."), (math.inf, " ".join(SENTENCES))])
@pytest.mark.parametrize("ago", [0.5, 1.2, 60.0])
def test_a_report_that_was_on_its_way_decides(ago: float, played: float, kept: str | None) -> None:
    sounds = playback(ago)
    memory = conversations(sounds)
    memory.interrupt("kitchen")
    memory.report("kitchen", sounds, played)
    memory.interrupt("kitchen")
    memory.report("kitchen", sounds, 2.0)  # once
    answers = [turn.answer for turn in memory.turns("kitchen")]
    assert answers == (["Hi."] if kept is None else ["Hi.", kept])


def test_a_report_of_the_answer_before_does_not_stand_for_this_one() -> None:
    """It was on its way for longer, and nobody waits for it any more."""
    earlier, sounds = playback(60.0), playback(0.1)
    memory = conversations(sounds)
    memory.interrupt("kitchen")
    memory.report("kitchen", earlier, math.inf)
    memory.report("kitchen", sounds, 2.0)
    assert [turn.answer for turn in memory.turns("kitchen")] == ["Hi.", "Birds sing. They also fly."]


def test_a_report_that_comes_too_late_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.agent.conversations._REPORT_SECONDS", -1.0)
    sounds = playback(1.2)
    memory = conversations(sounds)
    memory.interrupt("kitchen")
    memory.report("kitchen", sounds, math.inf)
    assert memory.turns("kitchen")[-1].answer == "Birds sing."


def test_a_report_changes_nothing_behind_the_next_answer() -> None:
    sounds, next_one = playback(1.2), playback(60.0)
    memory = conversations(sounds)
    memory.interrupt("kitchen")
    memory.add(Session(conversation="kitchen"), Turn("And fish?", "They swim.", next_one))
    memory.report("kitchen", sounds, 0.0)
    memory.interrupt("kitchen")
    assert [turn.answer for turn in memory.turns("kitchen")] == ["Hi.", "Birds sing.", "They swim."]


def test_an_answer_that_was_never_spoken_is_not_cut() -> None:
    memory = conversations(None)
    memory.interrupt("kitchen")
    assert memory.turns("kitchen")[-1].answer == " ".join(SENTENCES)


def test_an_answer_that_broke_off_before_its_audio_was_not_heard() -> None:
    memory = conversations(Playback())
    memory.interrupt("kitchen")
    assert [turn.answer for turn in memory.turns("kitchen")] == ["Hi."]


def test_nothing_happens_to_a_conversation_that_is_not_there() -> None:
    memory = Conversations(turns=4, idle_seconds=600)
    memory.interrupt("cellar")
    memory.report("cellar", playback(0.0), 1.0)
    assert len(memory) == 0


@pytest.mark.parametrize(("played", "kept"), [(1.2, None), (2.4, "They also fly."), (9.0, "They also fly. Some swim.")])
def test_a_sentence_that_only_filled_the_time_is_not_kept(played: float, kept: str | None) -> None:
    sounds = playback(0.0, complete=False)
    sounds.aside = SENTENCES[0]
    memory = conversations(sounds)
    memory.report("kitchen", sounds, played)
    last = memory.turns("kitchen")[-1]
    assert last.answer == ("Hi." if kept is None else kept)


def test_a_sentence_like_the_one_that_filled_the_time_is_kept_elsewhere() -> None:
    sounds = playback(60.0)
    sounds.aside = SENTENCES[1]
    assert sounds.heard(9.0) == " ".join(SENTENCES)


def test_a_conversation_can_be_forgotten() -> None:
    memory = conversations(None)
    memory.add(Session(conversation="hall"), Turn("Hello", "Hi."))
    memory.forget("kitchen")
    memory.forget("nobody's")
    assert memory.turns("kitchen") == []
    assert len(memory.turns("hall")) == 1
