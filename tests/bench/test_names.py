"""What the benchmark of names counts."""

from __future__ import annotations

import pytest

from bench.clips import Clip
from bench.names import interval, line, score


def clip(reference: str) -> Clip:
    return Clip(reference, b"", 0.0, 0.0, reference)


def test_names_are_right_when_all_that_were_said_are_there_and_invented_when_not_said() -> None:
    clips = [clip("lock the Front Door"), clip("Bed Light and TV off"), clip("what time is it")]
    row = score(
        "names", clips, ["Lock the front door.", "Bed Light off", "What TV is it?"], ["Front Door", "TV", "Bed Light"]
    )
    assert (row.clips, row.named, row.names_right, row.invented) == (3, 2, 1, 1)
    assert (row.words, row.word_errors, row.exact) == (13, 3, 1)
    assert "1 of 2" in line(row)


@pytest.mark.parametrize(("right", "count", "low", "high"), [(0, 0, 0, 1), (15, 15, 0.796, 1), (17, 31, 0.378, 0.708)])
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    assert interval(right, count) == pytest.approx((low, high), abs=0.001)
