"""When each thing happened in one turn. Metrics, logs, the status page and the benchmarks all read this object."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Mark(StrEnum):
    """The moments of a turn, in the order in which they normally come."""

    WAKE = "wake"
    SPEECH_START = "speech_start"
    SPEECH_END = "speech_end"
    ENDPOINT = "endpoint"
    TRANSCRIPT = "transcript"
    ROUTE = "route"
    FIRST_TOKEN = "first_token"  # noqa: S105 -- of a language model
    FIRST_SENTENCE = "first_sentence"
    FIRST_AUDIO = "first_audio"
    DONE = "done"


class Outcome(StrEnum):
    """How a turn ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


STAGES: dict[str, tuple[Mark, Mark]] = {
    "endpoint": (Mark.SPEECH_END, Mark.ENDPOINT),
    "transcript": (Mark.ENDPOINT, Mark.TRANSCRIPT),
    "route": (Mark.TRANSCRIPT, Mark.ROUTE),
    "first_token": (Mark.ROUTE, Mark.FIRST_TOKEN),
    "first_sentence": (Mark.FIRST_TOKEN, Mark.FIRST_SENTENCE),
    "first_audio": (Mark.FIRST_SENTENCE, Mark.FIRST_AUDIO),
    "response": (Mark.SPEECH_END, Mark.FIRST_AUDIO),
}
"""Named waits of a turn. `response` is what a person feels: end of speech to first audio."""


@dataclass
class Timeline:
    """Marks of one turn on the monotonic clock, plus how it was answered. Holds no words of anybody."""

    turn_id: str
    started: float = field(default_factory=time.monotonic)
    marks: dict[Mark, float] = field(default_factory=dict)
    route: str = ""
    """Who answered: the skill or the language model."""
    decision: str = ""
    """How the router chose to answer: fast, think or hybrid."""
    confidence: float | None = None
    """How sure it was that a skill understands the sentence, 0 to 1."""
    reason: str = ""
    """Why it chose so; without anybody's words."""
    outcome: Outcome = Outcome.RUNNING
    service: str = "pipeline"
    """What was asked for: a whole turn, or one service of it."""
    guesses_kept: int = 0
    """Transcriptions begun at a pause that turned out to be the end."""
    guesses_discarded: int = 0
    """Those after which more was said."""
    guesses_dropped: int = 0
    """Those that were not made because the processor was busy."""
    saved_seconds: float = 0.0
    """Transcription that nobody waited for, because it was made on a guess."""

    def mark(self, mark: Mark, at: float | None = None) -> None:
        """Set a mark once; later calls for the same mark change nothing."""
        self.marks.setdefault(mark, time.monotonic() if at is None else at)

    def decide(self, kind: str, confidence: float, reason: str) -> None:
        """The router has chosen."""
        self.decision, self.confidence, self.reason = kind, confidence, reason
        self.mark(Mark.ROUTE)

    def between(self, first: Mark, last: Mark) -> float | None:
        """Seconds from one mark to another, or None where either is missing."""
        if first not in self.marks or last not in self.marks:
            return None
        return self.marks[last] - self.marks[first]

    def finish(self, outcome: Outcome) -> None:
        """Set the outcome and the last mark, once."""
        if self.outcome is Outcome.RUNNING:
            self.outcome = outcome
            self.mark(Mark.DONE)

    def stages(self) -> dict[str, float]:
        """Seconds of each named wait that happened in this turn."""
        waits = {name: self.between(first, last) for name, (first, last) in STAGES.items()}
        return {name: wait for name, wait in waits.items() if wait is not None}

    def take_over(self, draft: Timeline, not_before: Mark) -> None:
        """Add the marks of a draft that became the answer; what came early counts from `not_before` on."""
        earliest = self.marks.get(not_before, self.started)
        for mark, at in draft.marks.items():
            self.mark(mark, max(at, earliest))
        self.route = draft.route
        self.decision, self.confidence, self.reason = draft.decision, draft.confidence, draft.reason

    def as_dict(self) -> dict[str, object]:
        """For the wire: marks in milliseconds since the turn started."""
        return {
            "turn_id": self.turn_id,
            "route": self.route,
            "decision": {"kind": self.decision, "confidence": self.confidence, "reason": self.reason},
            "outcome": str(self.outcome),
            "guesses": {
                "kept": self.guesses_kept,
                "discarded": self.guesses_discarded,
                "dropped": self.guesses_dropped,
                "saved_ms": round(self.saved_seconds * 1000, 1),
            },
            "marks_ms": {
                str(mark): round((self.marks[mark] - self.started) * 1000, 1) for mark in Mark if mark in self.marks
            },
        }


def ignore(timeline: Timeline) -> None:
    """Nobody is told."""


@contextlib.contextmanager
def recorded(timeline: Timeline, tell: Callable[[Timeline], None]) -> Iterator[Timeline]:
    """Give a timeline its outcome when the block ends, however it ends, and tell somebody of it.

    A peer that is gone (ConnectionError, as `Connection.send` raises it) has cancelled what was done for it.
    """
    try:
        yield timeline
        timeline.finish(Outcome.COMPLETED)
    except (asyncio.CancelledError, ConnectionError):
        timeline.finish(Outcome.CANCELLED)
        raise
    except BaseException:
        timeline.finish(Outcome.FAILED)
        raise
    finally:
        tell(timeline)
