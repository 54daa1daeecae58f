"""How a turn went, as lines for a terminal and for the log."""

from __future__ import annotations

from collections.abc import Iterator

from handlers.timeline import Mark
from satellite.turn import TurnResult

_WIDTH = 12


def lines(result: TurnResult) -> Iterator[str]:
    """Transcript, answer, what the person waited, and the server's timeline; one `name value` line each."""
    yield _line("transcript", result.transcript)
    yield _line("answer", result.answer)
    yield _line("audio", f"{result.sent_seconds:.2f} s sent, {result.audio_seconds:.2f} s of answer")
    if waited := _waits(result):
        yield _line("latency", waited)
    if result.timeline:
        shown = [f"{key}={result.timeline[key]}" for key in ("turn_id", "route", "outcome") if key in result.timeline]
        yield _line("timeline", " ".join([*shown, *(f"{mark}={at:g}ms" for mark, at in _marks(result).items())]))


def summary(result: TurnResult) -> str:
    """One line for the log, without anybody's words."""
    if result.error is not None:
        return f"The turn failed: {result.error}"
    route = result.timeline.get("route") or "the server"
    return f"Answered by {route}: {_waits(result) or 'no audio'}, {result.audio_seconds:.1f} s spoken"


def _waits(result: TurnResult) -> str:
    """What came when, by the satellite's clock, after the end of speech, or where nobody knows that, of sending.

    The server counts from the request on, as the satellite does, so its mark can be taken over.
    """
    speech_end = _marks(result).get(Mark.SPEECH_END)
    since = result.arrivals.get("sent", 0.0) if speech_end is None else speech_end / 1000
    waits = [
        f"{what} {max(0.0, result.arrivals[what] - since) * 1000:.0f} ms"
        for what in ("transcript", "text", "audio")
        if what in result.arrivals
    ]
    if not waits:
        return ""
    return ", ".join(waits) + (" after the last audio sent" if speech_end is None else " after the end of speech")


def _marks(result: TurnResult) -> dict[str, float]:
    marks = result.timeline.get("marks_ms")
    if not isinstance(marks, dict):
        return {}
    return {str(mark): float(at) for mark, at in marks.items() if isinstance(at, int | float)}


def _line(name: str, value: str) -> str:
    return f"{name:<{_WIDTH}}{value}".rstrip()
