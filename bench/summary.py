"""Figures over many turns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.record import TurnRecord
from bench.words import word_errors
from handlers.timeline import Mark

WAITS = ("transcript", "first_text", "first_audio", "last_audio")
"""What is waited for, in order."""


_DRAWS = 2000
"""Of a bootstrap: its interval moves by less than a millisecond from one run to the next."""


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
class Beside:
    """The page's first audio beside the satellite's, in ms, of the questions that both answered."""

    n: int
    satellite: Spread
    page: Spread
    difference: Spread
    """Page less satellite, of each question."""
    surely: tuple[float, float]
    """Between these the median of the differences lies, with 95 % confidence."""
    round_trip: Spread
    ratio: float
    """Of the medians."""
    within: bool | None
    """Whether the page is later by no more than one round trip; None where that lies in `surely`."""


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
    told = {(record.clip, record.round): route for record in reversed(good) if (route := _route(record))}
    waits: dict[str, dict[str, list[float]]] = {}
    for record in good:
        answered_by = _route(record) or told.get((record.clip, record.round))
        if answered_by:
            waits.setdefault(answered_by, {}).setdefault(record.target, []).append(record.ms["first_audio"])
    return {
        route: _spreads([{name: value} for name, values in found.items() for value in values], list(found))
        for route, found in sorted(waits.items())
    }


def divided(targets: Collection[str]) -> tuple[str, str] | None:
    """Whose medians are shown as a share of whose: ours of the chain's, or else the page's of the satellite's."""
    for ours, theirs in (("server", "chain"), ("websocket", "server")):
        if ours in targets and theirs in targets:
            return ours, theirs
    return None


def ratios(ours: Summary, theirs: Summary) -> dict[str, float]:
    """Our median as a share of theirs, for each wait that both have."""
    return {
        wait: round(ours.ms[wait].median / theirs.ms[wait].median, 3)
        for wait in WAITS
        if wait in ours.ms and wait in theirs.ms and theirs.ms[wait].median > 0
    }


def beside(records: Sequence[TurnRecord]) -> Beside | None:
    """The page and the satellite compared; None when no question was answered by both."""
    good = [record for record in records if record.error is None and not record.cut_off]
    satellite = {(record.clip, record.round): record for record in good if record.target == "server"}
    page = {(record.clip, record.round): record for record in good if record.target == "websocket"}
    both = [question for question in page if question in satellite]
    waits = [(satellite[asked].ms["first_audio"], page[asked].ms["first_audio"]) for asked in both]
    theirs, ours = spread([wait for wait, _ in waits]), spread([wait for _, wait in waits])
    differences = [our - their for their, our in waits]
    difference = spread(differences)
    round_trip = spread([trip for asked in both if (trip := page[asked].round_trip_ms) is not None])
    if theirs is None or ours is None or difference is None or round_trip is None:
        return None
    low, high = surely = _surely(differences)
    return Beside(
        n=len(both),
        satellite=theirs,
        page=ours,
        difference=difference,
        surely=surely,
        round_trip=round_trip,
        ratio=round(ours.median / theirs.median, 3),
        within=None if low <= round_trip.median < high else high <= round_trip.median,
    )


def _surely(values: Sequence[float]) -> tuple[float, float]:
    """Where the median of such values lies with 95 % confidence: what comes of drawing them again and again."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_DRAWS, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return round(float(low), 1), round(float(high), 1)


def _route(record: TurnRecord) -> str:
    """Who answered: 'skill' of 'skill/GetTime'; empty where the server does not tell."""
    return str(record.timeline.get("route") or "").partition("/")[0]


def _spreads(turns: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, Spread]:
    found = {name: spread([turn[name] for turn in turns if name in turn]) for name in names}
    return {name: values for name, values in found.items() if values is not None}
