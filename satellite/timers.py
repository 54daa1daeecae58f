"""What the protocol's timer events say, whether they come from the server or from Home Assistant."""

from __future__ import annotations

from wyoming.event import Event, Eventable
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated

from satellite.happenings import Happening, Kind, Value

_TOLD: dict[type[Eventable], tuple[Kind, dict[str, str]]] = {
    TimerStarted: (Kind.TIMER_STARTED, {"id": "id", "name": "name", "seconds": "total_seconds"}),
    TimerUpdated: (Kind.TIMER_UPDATED, {"id": "id", "seconds": "total_seconds", "active": "is_active"}),
    TimerCancelled: (Kind.TIMER_CANCELLED, {"id": "id"}),
    TimerFinished: (Kind.TIMER_FINISHED, {"id": "id"}),
}
"""What is told of each, and what the protocol calls that."""


def timer_happening(event: Event) -> Happening | None:
    """None for an event that is not a timer's. What it leaves out, or what makes no sense, is None."""
    for type_, (kind, keys) in _TOLD.items():
        if type_.is_type(event.type):
            return Happening(kind, {ours: _value(event.data.get(theirs)) for ours, theirs in keys.items()})
    return None


def _value(value: object) -> Value:
    return value if isinstance(value, str | int | float) else None
