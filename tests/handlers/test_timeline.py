"""The timeline of a turn."""

from __future__ import annotations

import pytest

from handlers.timeline import STAGES, Mark, Outcome, Timeline


def timeline(**marks: float) -> Timeline:
    made = Timeline("turn", started=100.0)
    for name, at in marks.items():
        made.mark(Mark(name), at)
    return made


def test_a_mark_is_set_once() -> None:
    made = timeline(endpoint=101.0)
    made.mark(Mark.ENDPOINT, 105.0)
    made.mark(Mark.ENDPOINT)
    assert made.marks == {Mark.ENDPOINT: 101.0}


def test_a_mark_without_a_time_is_now() -> None:
    made = Timeline("turn")
    made.mark(Mark.WAKE)
    made.mark(Mark.SPEECH_START)
    assert made.started <= made.marks[Mark.WAKE] <= made.marks[Mark.SPEECH_START]


def test_waits_that_happened_are_named_and_others_left_out() -> None:
    made = timeline(speech_end=101.0, endpoint=101.8, transcript=102.0, first_audio=103.5)
    assert made.stages() == {
        "endpoint": pytest.approx(0.8),
        "transcript": pytest.approx(0.2),
        "response": pytest.approx(2.5),
    }
    assert made.between(Mark.WAKE, Mark.DONE) is None


def test_every_named_wait_goes_forward() -> None:
    order = list(Mark)
    assert all(order.index(first) < order.index(last) for first, last in STAGES.values())


def test_the_first_outcome_stays() -> None:
    made = Timeline("turn")
    made.finish(Outcome.CANCELLED)
    done = made.marks[Mark.DONE]
    made.finish(Outcome.COMPLETED)
    assert made.outcome is Outcome.CANCELLED
    assert made.marks[Mark.DONE] == done


def test_on_the_wire_marks_are_milliseconds_since_the_start_in_order() -> None:
    made = timeline(transcript=102.0, wake=100.25, route=102.5)
    made.route = "skill/GetTime"
    made.decide("fast", 1.0, "a skill knows the whole sentence")
    assert made.as_dict() == {
        "turn_id": "turn",
        "route": "skill/GetTime",
        "decision": {"kind": "fast", "confidence": 1.0, "reason": "a skill knows the whole sentence"},
        "outcome": "running",
        "guesses": {"kept": 0, "discarded": 0, "dropped": 0, "saved_ms": 0.0},
        "marks_ms": {"wake": 250.0, "transcript": 2000.0, "route": 2500.0},
    }
    assert list(made.as_dict()["marks_ms"]) == ["wake", "transcript", "route"]  # type: ignore[call-overload]


def test_without_a_decision_the_wire_says_so() -> None:
    assert timeline().as_dict()["decision"] == {"kind": "", "confidence": None, "reason": ""}


def test_a_draft_that_became_the_answer_hands_over_its_decision_and_its_marks() -> None:
    draft, made = timeline(), timeline(transcript=102.0)
    draft.mark(Mark.ROUTE, 101.0)
    draft.decide("think", 0.5, "it may be an answer")
    draft.mark(Mark.FIRST_TOKEN, 103.0)
    draft.route = "ollama/llama3.2"
    made.take_over(draft, not_before=Mark.TRANSCRIPT)
    assert (made.decision, made.confidence, made.reason) == ("think", 0.5, "it may be an answer")
    assert made.route == "ollama/llama3.2"
    assert (made.marks[Mark.ROUTE], made.marks[Mark.FIRST_TOKEN]) == (102.0, 103.0)
