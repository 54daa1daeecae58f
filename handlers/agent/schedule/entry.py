"""What is scheduled: a timer, an alarm or a reminder."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from enum import IntEnum, StrEnum

from handlers.errors import MeadowlarkError

DAILY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
WEEKENDS = frozenset({5, 6})

LATE_SECONDS = 90.0
"""Told so much later than it was due (it may ring for a minute), an entry is told as late: the server or the satellite
was away."""


class ScheduleError(MeadowlarkError):
    """An entry cannot be kept or changed."""

    code = "schedule"


class ScheduleFullError(ScheduleError):
    """A place has as many entries as it may have."""

    code = "schedule-full"


class Kind(StrEnum):
    """What an entry is."""

    TIMER = "timer"
    """Runs for a duration, whatever the clock says."""
    ALARM = "alarm"
    """Rings at a time of day."""
    REMINDER = "reminder"
    """Says something at a time, until somebody has heard it."""


class Change(StrEnum):
    """What happened to an entry."""

    STARTED = "started"
    UPDATED = "updated"
    CANCELLED = "cancelled"
    FINISHED = "finished"


class Heard(IntEnum):
    """What came of telling somebody something; false when nobody heard it."""

    NOBODY = 0
    HEARD = 1
    STOPPED = 2
    """Heard, and somebody said that it is enough."""


@dataclass(frozen=True)
class Owner:
    """Whose an entry is, and where it is told."""

    satellite: str = ""
    """Empty for a client that cannot be called: it is told at every satellite."""
    user: str = ""
    language: str = "en"


@dataclass(frozen=True)
class Entry:
    """One timer, alarm or reminder."""

    id: str
    kind: Kind
    owner: Owner
    created: float
    """Seconds since 1970."""
    due: float
    """Seconds since 1970; of a paused timer, when it would have ended."""
    wall: str = ""
    """When it is due by the clock on the wall ('2026-11-20T07:00'), where that is what was said; empty otherwise."""
    repeat: frozenset[int] = frozenset()
    """Days of the week, Monday is 0, on which it comes again; empty for once."""
    name: str = ""
    text: str = ""
    """What a reminder says."""
    duration: float = 0.0
    """Seconds that a timer was set for; it is called by that also when time was added later."""
    remaining: float | None = None
    """Seconds that a paused timer has left; None while it runs."""


@dataclass(frozen=True)
class Clock:
    """The times that a schedule lives by. Only tests give others than the system's."""

    wall: Callable[[], float] = time.time
    """Seconds since 1970; may be set forward and back."""
    monotonic: Callable[[], float] = time.monotonic
    zone: tzinfo | None = None
    """None is the system's."""

    def now(self) -> datetime:
        """The time on the wall, without a zone."""
        return self.local(self.wall())

    def local(self, instant: float) -> datetime:
        """What the clock on the wall shows at an instant."""
        return datetime.fromtimestamp(instant, self.zone).replace(tzinfo=None)

    def instant(self, local: datetime) -> float:
        """When the clock on the wall shows a time: the first of two such moments in autumn; a time that spring leaves
        out is as much later as the clock was set forward."""
        return local.replace(tzinfo=self.zone).timestamp()


def next_time(entry: Entry, clock: Clock) -> Entry:
    """A repeated entry at its next day, after now."""
    local = datetime.fromisoformat(entry.wall)
    now = clock.now()
    if local < now:
        local = datetime.combine(now.date(), local.time())
    else:
        local += timedelta(days=1)
    local = on_day(local, entry.repeat, after=now)
    return replace(entry, wall=local.isoformat(), due=clock.instant(local))


def on_day(local: datetime, days: Collection[int], after: datetime) -> datetime:
    """The first time from `local` on, at its time of day, that is after `after` and on one of the days of the week."""
    while local <= after or (days and local.weekday() not in days):
        local += timedelta(days=1)
    return local
