"""What happens on a satellite, for whoever wants to know: sounds, hooks, lights, a socket.

Nobody who listens can hold up the satellite: an observer is called, and has to put away what it wants to keep.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

_LOGGER = logging.getLogger(__name__)

Value = str | int | float | bool | None


class Kind(StrEnum):
    """What can happen, and what is said of it."""

    CONNECTED = "connected"
    """The server, or Home Assistant, is there."""
    DISCONNECTED = "disconnected"
    """It is gone."""
    LISTENING = "listening"
    """For the wake word, or for a push; the satellite does nothing else."""
    WOKEN = "woken"
    """A turn begins. wake_word (null after a push or a question of the assistant), score (0 to 1)"""
    HEARD = "heard"
    """What was asked is over; the microphone's sound leaves the satellite no more."""
    TRANSCRIPT = "transcript"
    """text"""
    ANSWER = "answer"
    """The whole answer is known. text"""
    SPEAKING = "speaking"
    """The first sound of an answer is played."""
    FINISHED = "finished"
    """The turn is over, whatever came of it. seconds (of answer), interrupted, listen (it ended with a question)"""
    ERROR = "error"
    """code, text"""
    NOTICE = "notice"
    """The server says something unasked: a timer that ended, an announcement."""
    NOTICE_OVER = "notice-over"
    """stopped (by somebody here)"""
    TIMER_STARTED = "timer-started"
    """id, name, seconds"""
    TIMER_UPDATED = "timer-updated"
    """id, seconds, active"""
    TIMER_CANCELLED = "timer-cancelled"
    """id"""
    TIMER_FINISHED = "timer-finished"
    """id"""
    MUTED = "muted"
    UNMUTED = "unmuted"
    MICROPHONE_LOST = "microphone-lost"
    MICROPHONE_FOUND = "microphone-found"
    VOLUME = "volume"
    """percent"""


@dataclass(frozen=True)
class Happening:
    """Something that happened."""

    kind: Kind
    data: dict[str, Value] = field(default_factory=dict)


Observer = Callable[[Happening], None]
"""Called on the event loop; returns at once."""


class Happenings:
    """Tells every observer, in the order in which they were added."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []
        self._puzzled = False

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def tell(self, kind: Kind, **data: Value) -> None:
        """Never waits, never raises."""
        happening = Happening(kind, data)
        for observer in self._observers:
            try:
                observer(happening)
            except Exception:  # theirs; the satellite goes on
                if not self._puzzled:
                    self._puzzled = True
                    _LOGGER.exception("Whoever wanted to know of '%s' met an error that was not foreseen", kind)


def event_line(happening: Happening) -> bytes:
    """What happened as one line of JSON: its kind as `event`, and its data."""
    return json.dumps({"event": happening.kind, **happening.data}).encode() + b"\n"
