"""The figures of bench/agent.py as text for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.agent_run import Result
from bench.summary import Spread, spread

ROUTE_P95_MS = 25.0
"""The bar for a route decision."""

_CHECKS = ("route", "intent", "tool", "answer")
_WAITS = {"first_word": "first word", "whole": "whole answer"}
_NOTHING = "-"


@dataclass(frozen=True)
class Accuracy:
    """Of some requests."""

    requests: int
    not_able: int
    """Those that this language model cannot do; only their route is judged."""
    right: int
    """In everything, of the others."""
    checks: dict[str, tuple[int, int]]
    """Right and judged, by what was looked at."""

    @property
    def able(self) -> int:
        return self.requests - self.not_able


def accuracy(results: Sequence[Result]) -> dict[str, Accuracy]:
    """By what was wanted: 'fast', 'think' (with 'hybrid'), 'tools'."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(_group(result), []).append(result)
    return {
        name: Accuracy(
            len(found),
            sum(not result.able for result in found),
            sum(result.right for result in found if result.able),
            {
                check: (sum(not result.judged[check] for result in judged), len(judged))
                for check in _CHECKS
                if (judged := [result for result in found if check in result.judged])
            },
        )
        for name, found in sorted(groups.items())
    }


def decisions(results: Sequence[Result]) -> dict[str, Spread]:
    """Milliseconds of a route decision: of all, and by language."""
    by_language: dict[str, list[float]] = {}
    for result in results:
        if "route" in result.ms:
            by_language.setdefault("all", []).append(result.ms["route"])
            by_language.setdefault(result.case.entry.language.partition("-")[0], []).append(result.ms["route"])
    return {name: values for name, found in by_language.items() if (values := spread(found)) is not None}


def waits(results: Sequence[Result]) -> dict[str, dict[str, Spread]]:
    """Milliseconds to the first word and to the whole answer, by the route that was taken."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for wait in _WAITS:
            if wait in result.ms and not result.error:
                found.setdefault(result.decision, {}).setdefault(wait, []).append(result.ms[wait])
    return {
        route: {wait: values for wait, times in own.items() if (values := spread(times)) is not None}
        for route, own in sorted(found.items())
    }


def lines(results: Sequence[Result]) -> Iterator[str]:
    """The tables of a run."""
    groups = accuracy(results)
    yield f"{'right':<10}{'requests':>9}{'not able':>10}{'all':>9}" + "".join(f"{check:>10}" for check in _CHECKS)
    for name, group in groups.items():
        cells = "".join(f"{_of(group.checks.get(check)):>10}" for check in _CHECKS)
        yield f"{name:<10}{group.requests:>9}{group.not_able:>10}{_share(group.right, group.able):>9}{cells}"
    needless = sum(result.needless for result in results)
    yield f"needless calls of a language model: {needless}"
    yield ""
    yield f"{'route decision, ms':<22}{'n':>6}{'median':>9}{'p95':>9}{'max':>9}"
    for language, values in decisions(results).items():
        yield f"{language:<22}{values.n:>6}{values.median:>9.1f}{values.p95:>9.1f}{values.max:>9.1f}"
    if "all" in decisions(results):
        met = decisions(results)["all"].p95 < ROUTE_P95_MS
        yield f"p95 under {ROUTE_P95_MS:g} ms: {'yes' if met else 'NO'}"
    yield ""
    yield f"{'ms from the request':<22}{'n':>6}{'median':>9}{'p95':>9}"
    for route, own in waits(results).items():
        for wait, values in own.items():
            yield f"{f'{route}, {_WAITS[wait]}':<22}{values.n:>6}{values.median:>9.1f}{values.p95:>9.1f}"
    wrong = [result for result in results if not result.right]
    if wrong:
        yield ""
        yield f"wrong: {len(wrong)}"
        for result in wrong:
            yield from _complaint(result)


def as_json(results: Sequence[Result]) -> dict[str, object]:
    """The keys `summary` and `requests`."""
    return {
        "summary": {
            "right": {
                name: {
                    "requests": group.requests,
                    "not_able": group.not_able,
                    "right": group.right,
                    **{check: {"right": right, "judged": judged} for check, (right, judged) in group.checks.items()},
                }
                for name, group in accuracy(results).items()
            },
            "needless_calls": sum(result.needless for result in results),
            "route_ms": {name: asdict(values) for name, values in decisions(results).items()},
            "ms": {route: {wait: asdict(v) for wait, v in own.items()} for route, own in waits(results).items()},
        },
        "requests": [
            {
                "place": result.case.place,
                "say": result.case.entry.say,
                "language": result.case.entry.language,
                "round": result.round,
                "able": result.able,
                "right": result.right,
                "decision": result.decision,
                "reason": result.reason,
                "answered_by": result.answered_by,
                "intent": result.intent,
                "slots": result.slots,
                "calls": [{"name": name, "arguments": dict(arguments)} for name, arguments in result.calls],
                "answer": result.answer,
                "ms": result.ms,
                "wrong": {check: problem for check, problem in result.judged.items() if problem},
                "error": result.error or None,
            }
            for result in results
        ],
    }


def _complaint(result: Result) -> Iterator[str]:
    entry = result.case.entry
    yield f"  {result.case.place} [{entry.language}] {entry.say!r}"
    if result.error:
        yield f"      failed: {result.error}"
    for check, problem in result.judged.items():
        if problem:
            yield f"      {check}: {problem}"


def _group(result: Result) -> str:
    if result.case.entry.needs_tools:
        return "tools"
    return "fast" if result.case.entry.wanted_route == "fast" else "think"


def _share(right: int, of: int) -> str:
    return f"{100 * right / of:.1f} %" if of else _NOTHING


def _of(counts: tuple[int, int] | None) -> str:
    return _NOTHING if counts is None else f"{counts[0]}/{counts[1]}"
