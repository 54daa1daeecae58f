"""Arithmetic of the benchmarks: words, percentiles, what counts and what does not."""

from __future__ import annotations

import pytest

from bench.record import TurnRecord
from bench.summary import by_route, ratios, spread, summarise
from bench.words import normalise, number_words, word_errors


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Set brightness to 50%.", "set brightness to fifty percent"),
        ("Never mind!", "nevermind"),
        ("What’s the date?", "what's the date"),
        ("set a timer for 3 hours and 10 minutes", "Set a timer for three hours and ten minutes."),
        ("twenty-five degrees", "25°"),
        ("It costs 1,250 dollars", "it costs one thousand two hundred and fifty dollars"),
        ("wake me at 7:30 a.m.", "Wake me at seven thirty AM"),
        ("at 7:00", "at seven"),
        ("2.5 litres", "two point five litres"),
        ("skip on T.V.", "skip on TV"),
        ("turn_on the LIGHT", "turn on the light"),
    ],
)
def test_the_same_words_written_differently_are_the_same(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("reference", "heard", "errors", "words"),
    [
        ("turn on the light", "turn on the light", 0, 4),
        ("turn on the light", "turn off the light", 1, 4),
        ("turn on the light", "turn on the", 1, 4),
        ("turn on the light", "please turn on the light now", 2, 4),
        ("turn on the light", "", 4, 4),
        ("next", "text", 1, 1),
        ("what is it", "what's it", 2, 3),
    ],
)
def test_word_errors_count_substitutions_insertions_and_deletions(
    reference: str, heard: str, errors: int, words: int
) -> None:
    assert word_errors(reference, heard) == (errors, words)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (342, "three hundred forty two"),
        (12_005, "twelve thousand five"),
        (700_000, "seven hundred thousand"),
    ],
)
def test_numbers_are_spelled(number: int, words: str) -> None:
    assert " ".join(number_words(number)) == words


def test_percentiles_are_interpolated() -> None:
    values = spread([40.0, 10.0, 30.0, 20.0])
    assert values is not None
    assert (values.n, values.min, values.median, values.p95, values.max) == (4, 10.0, 25.0, 38.5, 40.0)
    assert values.mean == 25.0
    assert spread([]) is None


def _record(first_audio: float, **changed: object) -> TurnRecord:
    record = TurnRecord("server", "a.wav", 1, "turn on the light", "turn on the light")
    record.ms = {"transcript": first_audio - 50, "first_audio": first_audio}
    for name, value in changed.items():
        setattr(record, name, value)
    return record


def test_wrong_answers_count_as_such_and_not_as_fast_ones() -> None:
    cut = _record(-100.0, transcript="turn on")
    cut.judge()
    failed = _record(1.0, transcript="")
    failed.fail("timeout", "late")
    summary = summarise([_record(400.0, cpu_seconds=1.0), _record(600.0, cpu_seconds=2.0), cut, failed], 100.0)
    assert (summary.turns, summary.answered, summary.failed, summary.cut_offs) == (4, 3, 1, 1)
    assert summary.ms["first_audio"].n == 2
    assert summary.ms["first_audio"].median == 500.0
    assert summary.wer == pytest.approx(6 / 16)
    assert summary.exact == 0.5
    assert summary.cpu_seconds == 1.5
    assert "last_audio" not in summary.ms


def test_without_references_there_is_no_word_error_rate() -> None:
    summary = summarise([_record(400.0, reference=None)])
    assert (summary.wer, summary.exact, summary.words) == (None, None, 0)


def test_the_ratio_is_of_the_medians() -> None:
    compared = ratios(summarise([_record(300.0)]), summarise([_record(1200.0)]))
    assert compared["first_audio"] == 0.25
    assert compared["transcript"] == pytest.approx(250 / 1150, abs=0.001)


def test_an_endpoint_before_the_label_is_a_cut_off_even_when_the_transcript_is_later() -> None:
    record = _record(400.0, timeline={"marks_ms": {"endpoint": 900.0, "transcript": 1400.0, "odd": "x"}})
    record.place_timeline(began=10.0, end_of_speech=11.0)
    record.judge()
    assert record.server_ms == {"endpoint": -100.0, "transcript": 400.0}
    assert record.cut_off


def test_turns_are_told_apart_by_who_answered_and_compared_on_the_same_questions() -> None:
    local, thought = _record(300.0, timeline={"route": "skill/GetTime"}), _record(900.0, timeline={"route": "llm/x"})
    thought.clip = "b.wav"
    theirs = [_record(1000.0, target="chain"), _record(1200.0, target="chain", clip="b.wav")]
    unknown = _record(5.0, clip="c.wav")
    found = by_route([local, theirs[0], thought, theirs[1], unknown])
    medians = {route: {name: values.median for name, values in waits.items()} for route, waits in found.items()}
    assert medians == {"skill": {"server": 300.0, "chain": 1000.0}, "llm": {"server": 900.0, "chain": 1200.0}}
