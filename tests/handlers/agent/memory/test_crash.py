"""A killed process loses nothing that it acknowledged, and brings back nothing that was forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.memory_crash import run
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import HOUSEHOLD
from handlers.errors import EngineError


def test_kills_at_random_in_checkpoints_and_in_purges_lose_nothing() -> None:
    looked: list[int] = []

    def check(folder: Path, journal: Journal) -> int:
        looked.append(journal.count(HOUSEHOLD))
        return 0

    report = run(9, 7, check=check)
    assert report.clean, report
    assert (report.kills, len(looked)) == (9, 9)
    assert report.acknowledged > 100
    assert report.aimed["purge"] >= 1
    assert report.aimed["checkpoint"] >= 1


def test_a_fault_that_the_caller_finds_is_counted() -> None:
    report = run(1, 7, aims=["random"], check=lambda folder, journal: 2)
    assert report.faults == 2
    assert not report.clean


def test_a_child_that_ends_by_itself_is_an_error() -> None:
    with pytest.raises(EngineError, match="no_such_module"):
        run(1, 7, child_module="bench.no_such_module")
