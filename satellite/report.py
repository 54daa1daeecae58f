"""How a turn went, as lines for a terminal and for the log."""

from __future__ import annotations

from collections.abc import Iterator

from satellite.turn import TurnResult

_WIDTH = 12


def lines(result: TurnResult) -> Iterator[str]:
    """Transcript, answer, what the person waited, and the server's timeline; one `name value` line each."""
    yield _line("transcript", result.transcript)
    yield _line("answer", result.answer)
    yield _line("audio", f"{result.sent_seconds:.2f} s sent, {result.audio_seconds:.2f} s of answer")
    if result.waits:
        waits = ", ".join(f"{what} {seconds * 1000:.0f} ms" for what, seconds in result.waits.items())
        yield _line("latency", f"{waits} after the last audio sent")
    timeline = result.timeline
    if timeline:
        shown = [f"{key}={timeline[key]}" for key in ("turn_id", "route", "outcome") if timeline.get(key)]
        marks = timeline.get("marks_ms")
        if isinstance(marks, dict):
            shown += [f"{mark}={at}ms" for mark, at in marks.items()]
        yield _line("timeline", " ".join(shown))


def summary(result: TurnResult) -> str:
    """One line for the log, without anybody's words."""
    if result.error is not None:
        return f"The turn failed: {result.error}"
    waits = ", ".join(f"{what} after {seconds:.2f} s" for what, seconds in result.waits.items())
    route = result.timeline.get("route") or "unknown"
    return f"Turn done by {route}: {waits or 'no answer'}, {result.audio_seconds:.1f} s spoken"


def _line(name: str, value: str) -> str:
    return f"{name:<{_WIDTH}}{value}".rstrip()
