"""How long turns took."""

from __future__ import annotations

import pytest

from custom_components.meadowlark.latency import KEPT, STAGES, Latencies


def timeline(**waits: object) -> dict[str, object]:
    return {"type": "timeline", "service": "pipeline", "outcome": "completed", "route": "think", "stages_ms": waits}


def test_nothing_is_known_before_the_first_turn() -> None:
    latencies = Latencies()
    assert {latencies.last(stage) for stage in STAGES} == {None}
    assert {latencies.median(stage) for stage in STAGES} == {None}


def test_last_and_median_of_each_stage() -> None:
    latencies = Latencies()
    for wait in (100, 900, 200):
        latencies.add(timeline(response=wait))
    latencies.add(timeline(transcript=50.5))
    assert (latencies.last("response"), latencies.median("response")) == (200, 200)
    assert (latencies.last("transcript"), latencies.median("transcript")) == (50.5, 50.5)
    assert latencies.last("endpoint") is None


def test_old_turns_are_forgotten() -> None:
    latencies = Latencies()
    for wait in [1] * KEPT + [9] * KEPT:
        latencies.add(timeline(response=wait))
    assert latencies.median("response") == 9


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"stages_ms": None},
        {"stages_ms": [1]},
        timeline(response="soon"),
        timeline(response=-1),
        timeline(unheard_of=5),
        {**timeline(response=5), "outcome": "failed"},
    ],
)
def test_what_is_not_understood_is_left_out(message: dict[str, object]) -> None:
    latencies = Latencies()
    latencies.add(message)
    assert latencies.last("response") is None


def test_listeners_are_told_until_they_leave() -> None:
    latencies = Latencies()
    told: list[float | None] = []
    leave = latencies.subscribe(lambda: told.append(latencies.last("response")))
    latencies.add(timeline(response=1))
    leave()
    latencies.add(timeline(response=2))
    assert told == [1]
