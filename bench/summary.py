"""Figures over many turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.record import TurnRecord
from bench.words import word_errors
from handlers.timeline import Mark

WAITS = ("transcript", "first_text", "first_audio", "last_audio")
"""What is waited for, in order."""


@dataclass(frozen=True)
class Spread:
    """Statistics of some values; percentiles are interpolated linearly."""

    n: int
    min: float
    median: float
    p95: float
    max: float
    mean: float


@dataclass(frozen=True)
class Summary:
    """What came of one target's turns."""

    turns: int
    answered: int
    failed: int
    cut_offs: int
    ms: dict[str, Spread]
    """Waits from the labelled end of speech, of answered turns that were not cut off: a wrong answer is no fast one."""
    server_ms: dict[str, Spread]
    """The server's own marks of the same turns."""
    words: int
    """In the references of all turns, also of those that failed: what was not understood was got wrong."""
    wer: float | None
    exact: float | None
    """Share of the turns with a reference that were understood word for word."""
    cpu_seconds: float | None
    """Mean of a turn."""
    peak_rss_mib: float | None
    late_ms: float
    """How late the client's latest chunk of audio was, up to the transcript, in all these turns."""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def spread(values: Sequence[float]) -> Spread | None:
    """Statistics of the values; None when there are none."""
    if not values:
        return None
    low, median, p95, high = (round(float(np.percentile(values, q)), 1) for q in (0, 50, 95, 100))
    return Spread(len(values), low, median, p95, high, round(float(np.mean(values)), 1))


def summarise(records: Sequence[TurnRecord], peak_rss_mib: float | None = None) -> Summary:
    """Figures over the turns of one target."""
    good = [record for record in records if record.error is None and not record.cut_off]
    failed = sum(record.error is not None for record in records)
    errors = [word_errors(record.reference, record.transcript) for record in records if record.reference]
    words = sum(count for _, count in errors)
    cpu = [record.cpu_seconds for record in records if record.cpu_seconds is not None]
    return Summary(
        turns=len(records),
        answered=len(records) - failed,
        failed=failed,
        cut_offs=sum(record.cut_off for record in records),
        ms=_spreads([record.ms for record in good], WAITS),
        server_ms=_spreads([record.server_ms for record in good], [str(mark) for mark in Mark]),
        words=words,
        wer=round(sum(wrong for wrong, _ in errors) / words, 4) if words else None,
        exact=round(sum(wrong == 0 for wrong, _ in errors) / len(errors), 4) if errors else None,
        cpu_seconds=round(float(np.mean(cpu)), 3) if cpu else None,
        peak_rss_mib=peak_rss_mib,
        late_ms=max((record.late_ms or 0.0 for record in records), default=0.0),
    )


def by_route(records: Sequence[TurnRecord]) -> dict[str, dict[str, Spread]]:
    """First audio by who answered, as far as the server tells ('skill', 'llm' …), and for each target of the same
    questions: {'skill': {'server': …, 'chain': …}}. A command that was misheard is one for the language model."""
    good = [record for record in records if record.error is None and not record.cut_off]
    routes = {
        (record.clip, record.round): str(record.timeline["route"]).partition("/")[0]
        for record in good
        if record.timeline.get("route")
    }
    waits: dict[str, dict[str, list[float]]] = {}
    for record in good:
        route = routes.get((record.clip, record.round))
        if route:
            waits.setdefault(route, {}).setdefault(record.target, []).append(record.ms["first_audio"])
    return {
        route: _spreads([{name: value} for name, values in found.items() for value in values], list(found))
        for route, found in sorted(waits.items())
    }


def ratios(ours: Summary, theirs: Summary) -> dict[str, float]:
    """Our median as a share of theirs, for each wait that both have."""
    return {
        wait: round(ours.ms[wait].median / theirs.ms[wait].median, 3)
        for wait in WAITS
        if wait in ours.ms and wait in theirs.ms and theirs.ms[wait].median > 0
    }


def _spreads(turns: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, Spread]:
    found = {name: spread([turn[name] for turn in turns if name in turn]) for name in names}
    return {name: values for name, values in found.items() if values is not None}
