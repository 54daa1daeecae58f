"""The figures of a run as text for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from bench.record import TurnRecord
from bench.summary import WAITS, Beside, Spread, Summary, beside, by_route, divided, ratios

_NAME_WIDTH = 18
_CELL = "{:>9}{:>9}{:>9}"
_CELL_WIDTH = 27
_NOTHING = "-"

BUSY_MS = 50.0
"""A chunk that leaves so late has moved the figures."""

BUSY = "This machine was too busy to send the audio in time (see 'sent late'): do not trust these figures."


def lines(summaries: Mapping[str, Summary], records: Sequence[TurnRecord]) -> Iterator[str]:
    """The tables of a run. `summaries` by target, in the order of the columns."""
    yield "ms from the labelled end of speech"
    yield from _spread_table(summaries, WAITS, lambda summary: summary.ms, with_ratio=True)
    together = beside(records)
    if together is not None:
        yield ""
        yield from _beside_table(together)
    routes = by_route(records)
    if routes:
        yield ""
        yield "first audio by who answered"
        yield from _route_table(list(summaries), routes)
    marks = list(dict.fromkeys(mark for summary in summaries.values() for mark in summary.server_ms))
    if marks:
        yield ""
        yield "the server's own timeline, ms from the same moment"
        with_marks = {name: summary for name, summary in summaries.items() if summary.server_ms}
        yield from _spread_table(with_marks, marks, lambda summary: summary.server_ms)
    yield ""
    yield f"{'':<{_NAME_WIDTH}}" + "".join(f"{name:>{_CELL_WIDTH}}" for name in summaries)
    for name, show in _FACTS.items():
        yield f"{name:<{_NAME_WIDTH}}" + "".join(f"{show(summary):>{_CELL_WIDTH}}" for summary in summaries.values())
    failures = [record for record in records if record.error is not None]
    if failures:
        yield ""
        yield "failed turns"
        for record in failures:
            yield f"  {record.target}, round {record.round}, {record.clip}: {record.error} [{record.error_code}]"
    if any(summary.late_ms > BUSY_MS for summary in summaries.values()):
        yield ""
        yield BUSY


def progress(record: TurnRecord, number: int, total: int) -> str:
    """One turn as one line."""
    if record.error is not None:
        outcome = f"failed: {record.error}"
    else:
        outcome = f"first audio {record.ms['first_audio']:.0f} ms  {record.transcript!r}"
    return f"[{number}/{total}] {record.target}  {record.clip}  {'CUT OFF  ' if record.cut_off else ''}{outcome}"


def as_json(summaries: Mapping[str, Summary], records: Sequence[TurnRecord]) -> dict[str, object]:
    """The key `summary` of the JSON: one object a target, `first_audio_by_route`, `ratio_of_medians` where two are
    compared, `page_beside_satellite` where both were measured."""
    shown: dict[str, object] = {name: summary.as_dict() for name, summary in summaries.items()}
    shown["first_audio_by_route"] = {
        route: {name: asdict(values) for name, values in found.items()} for route, found in by_route(records).items()
    }
    pair = divided(summaries)
    if pair is not None:
        shown["ratio_of_medians"] = ratios(summaries[pair[0]], summaries[pair[1]])
    together = beside(records)
    if together is not None:
        shown["page_beside_satellite"] = asdict(together)
    return shown


def _spread_table(
    summaries: Mapping[str, Summary],
    names: Sequence[str],
    choose: Callable[[Summary], Mapping[str, Spread]],
    *,
    with_ratio: bool = False,
) -> Iterator[str]:
    pair = divided(summaries)
    compared = ratios(summaries[pair[0]], summaries[pair[1]]) if with_ratio and pair is not None else {}
    yield (
        f"{'':<{_NAME_WIDTH}}"
        + "".join(f"{name:>{_CELL_WIDTH}}" for name in summaries)
        + (f"{'ratio of':>10}" if compared else "")
    )
    yield (
        f"{'':<{_NAME_WIDTH}}"
        + _CELL.format("min", "median", "p95") * len(summaries)
        + (f"{'medians':>10}" if compared else "")
    )
    for name in names:
        row = "".join(_cell(choose(summary).get(name)) for summary in summaries.values())
        yield f"{name.replace('_', ' '):<{_NAME_WIDTH}}{row}" + (f"{compared[name]:>10.2f}" if name in compared else "")


_WITHIN: dict[bool | None, str] = {
    True: "the page's first answer comes within the satellite's time and one round trip",
    False: "the page's first answer comes later than the satellite's time and one round trip",
    None: "the page's first answer cannot be told apart from the satellite's time and one round trip",
}


def _beside_table(found: Beside) -> Iterator[str]:
    """Whether the page's first answer comes within the satellite's time and one round trip."""
    yield f"{'first audio, ms':<{_NAME_WIDTH}}{'median':>9}{'p95':>9}"
    rows = {
        "satellite": found.satellite,
        "page": found.page,
        "difference": found.difference,
        "round trip": found.round_trip,
    }
    for name, values in rows.items():
        yield f"{name:<{_NAME_WIDTH}}{values.median:>9.1f}{values.p95:>9.1f}"
    low, high = found.surely
    yield (
        f"page / satellite {found.ratio:.3f} of {found.n} questions; "
        f"the median difference is between {low:.1f} and {high:.1f} ms (95 %)"
    )
    yield _WITHIN[found.within]


def _route_table(names: Sequence[str], routes: Mapping[str, Mapping[str, Spread]]) -> Iterator[str]:
    pair = divided(names)
    for route, found in routes.items():
        row = "".join(_cell(found.get(name)) for name in names)
        ours, theirs = (found.get(pair[0]), found.get(pair[1])) if pair is not None else (None, None)
        ratio = ours.median / theirs.median if ours and theirs and theirs.median > 0 else None
        first = found.get(names[0])
        turns = f" ({first.n})" if first else ""
        yield f"{route + turns:<{_NAME_WIDTH}}{row}" + ("" if ratio is None else f"{ratio:>10.2f}")


def _cell(values: Spread | None) -> str:
    if values is None:
        return _CELL.format(_NOTHING, _NOTHING, _NOTHING)
    return _CELL.format(f"{values.min:.0f}", f"{values.median:.0f}", f"{values.p95:.0f}")


def _share(value: float | None, of: str = "") -> str:
    return _NOTHING if value is None else f"{value * 100:.1f} %{of}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"


_FACTS: dict[str, Callable[[Summary], str]] = {
    "turns": lambda summary: str(summary.turns),
    "answered": lambda summary: str(summary.answered),
    "failed": lambda summary: str(summary.failed),
    "cut off": lambda summary: f"{summary.cut_offs} ({_share(summary.cut_offs / max(1, summary.turns))})",
    "word errors": lambda summary: _share(summary.wer, f" of {summary.words}"),
    "exact": lambda summary: _share(summary.exact),
    "CPU s a turn": lambda summary: _number(summary.cpu_seconds),
    "peak RSS MiB": lambda summary: _NOTHING if summary.peak_rss_mib is None else f"{summary.peak_rss_mib:.0f}",
    "sent late, ms": lambda summary: f"{summary.late_ms:.0f}",
}
