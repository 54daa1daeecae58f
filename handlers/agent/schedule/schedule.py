"""The schedule of the house: keeps entries, and has them told when they are due."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from handlers.agent.schedule.entry import (
    LATE_SECONDS,
    Change,
    Clock,
    Entry,
    Heard,
    Kind,
    Owner,
    ScheduleError,
    ScheduleFullError,
    next_time,
)
from handlers.agent.schedule.store import EntryStore
from handlers.whole import to_its_end
from handlers.workers import Workers

_LOGGER = logging.getLogger(__name__)

MOST_ENTRIES = 100
"""At one satellite. Nobody keeps track of more, and a voice that is misheard in a loop cannot fill the disk."""

LONGEST_TIMER = 7 * 86_400.0
"""Seconds. What is further away is a reminder."""

FURTHEST = 5 * 366 * 86_400.0
"""Seconds to an alarm or reminder: more is a slip of the tongue."""

LONGEST_TEXT = 500
"""Characters of a name or of what a reminder says."""

RING_SECONDS = 60.0
"""A timer or alarm rings so long, or until it is stopped."""

_PAUSE_SECONDS = 2.0
"""Between two rings, so that "stop" is heard."""

_TELL_SECONDS = 120.0
"""For telling it once: it may have to wait for the end of a turn, and is over in seconds."""

_RECENT_SECONDS = 3600.0
"""A timer or alarm that nobody could hear is told as long afterwards; later it is of no use."""

_LOOK_SECONDS = 15.0
"""The clock on the wall may be set at any moment, so alarms are looked at as often."""

_RETRY_SECONDS = 60.0
"""What nobody heard is tried again after this, and when a satellite comes."""

_STOPPED_SECONDS = 20.0
"""So long after a ringing was ended by the wake word, "stop the timer" means the one that rang."""

_LAST_STOPPED = 64
"""Places of which that is remembered."""

_DRIFT_SECONDS = 2.0
"""By which a timer's end on the wall may be off before it is written anew."""

Ring = Callable[[Entry], Awaitable[Heard]]
"""Tells an entry once, at its place, and says whether somebody heard. Cancelling it makes it silent."""

Watch = Callable[[Entry, Change], None]
"""Is told of every change. Never waits."""


def _unwatched(entry: Entry, change: Change) -> None:
    """Nobody is told."""


@dataclass
class _Ringing:
    """An entry that is being told."""

    entry: Entry
    task: asyncio.Task[None] | None = None
    silenced: bool = False
    """It is not to be interrupted any more: somebody stopped it, or it is over and that is being written down."""


class Schedule:
    """Timers, alarms and reminders of all satellites.

    What a call has returned from is on disk. Raises ScheduleError where it cannot be kept.
    """

    def __init__(
        self,
        path: Path,
        ring: Ring,
        *,
        watch: Watch = _unwatched,
        clock: Clock | None = None,
        ring_seconds: float = RING_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self.clock = clock or Clock()
        self.not_kept = ""
        """Why nothing of it outlives the process, and what to do; empty when it does."""
        self._store = EntryStore(path)
        self._workers = Workers("schedule")
        self._ring = ring
        self._watch = watch
        self._ring_seconds = ring_seconds
        self._look_seconds = look_seconds
        self._entries: dict[str, Entry] = {}
        self._ends: dict[str, float] = {}  # of running timers, on the monotonic clock
        self._ringing: dict[str, _Ringing] = {}
        self._unheard: dict[str, float] = {}  # entries that nobody heard, and when to try again, monotonic
        self._stopped: deque[tuple[str, float]] = deque(maxlen=_LAST_STOPPED)  # places and monotonic times
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what was kept and begin to tell. Where the file cannot be used, timers work, but are not kept."""
        try:
            entries = await self._workers.run(self._store.load)
        except ScheduleError as error:
            self.not_kept = str(error)
            _LOGGER.error("Timers, alarms and reminders are lost when the server stops: %s", error)
            self._store = EntryStore(None)
            entries = await self._workers.run(self._store.load)
        for entry in entries:
            self._put(entry)
        self._owner = asyncio.create_task(self._run(), name="schedule")

    async def close(self) -> None:
        """Stop telling. Everything is kept."""
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await self._workers.run(self._store.close)
        await self._workers.close()

    async def timer(self, owner: Owner, seconds: float, name: str = "") -> Entry:
        """Start a timer."""
        if not 1 <= seconds <= LONGEST_TIMER:
            raise ScheduleError("A timer can run from one second to a week")
        now = self.clock.wall()
        return await self._add(Entry(_new_id(), Kind.TIMER, owner, now, now + seconds, name=name, duration=seconds))

    async def alarm(self, owner: Owner, at: datetime, repeat: frozenset[int] = frozenset(), name: str = "") -> Entry:
        """Set an alarm for a time on the wall (without a zone)."""
        return await self._add(self._at(Kind.ALARM, owner, at, repeat, name=name))

    async def reminder(
        self, owner: Owner, text: str, at: datetime | float, repeat: frozenset[int] = frozenset()
    ) -> Entry:
        """Remind of something at a time on the wall (without a zone), or in so many seconds."""
        if isinstance(at, datetime):
            return await self._add(self._at(Kind.REMINDER, owner, at, repeat, text=text))
        now = self.clock.wall()
        return await self._add(Entry(_new_id(), Kind.REMINDER, owner, now, now + at, text=text))

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """All entries, the next one first; paused timers last."""
        found = [entry for entry in self._entries.values() if kind is None or entry.kind is kind]
        return sorted(found, key=lambda entry: (entry.remaining is not None, self.left(entry)))

    def visible(self, kind: Kind, owner: Owner) -> list[Entry]:
        """Those that somebody may know of at a place: reminders of a person are theirs alone."""
        found = self.entries(kind)
        if kind is Kind.REMINDER:
            return [
                entry
                for entry in found
                if (entry.owner.user and entry.owner.user == owner.user)
                or (not entry.owner.user and entry.owner.satellite == owner.satellite)
            ]
        return found

    def here(self, kind: Kind, owner: Owner) -> list[Entry]:
        """Those that belong to a place, or to the person who speaks there."""
        return [
            entry
            for entry in self.visible(kind, owner)
            if entry.owner.satellite == owner.satellite or (owner.user and entry.owner.user == owner.user)
        ]

    def left(self, entry: Entry) -> float:
        """Seconds until it is due; below zero when it should have been told."""
        if entry.remaining is not None:
            return entry.remaining
        end = self._ends.get(entry.id)
        if end is not None:
            return end - self.clock.monotonic()
        return (self.clock.instant(datetime.fromisoformat(entry.wall)) if entry.wall else entry.due) - self.clock.wall()

    def ringing(self, satellite: str) -> list[Entry]:
        """What rings at a place now, or everywhere."""
        return [ringing.entry for ringing in self._ringing.values() if ringing.entry.owner.satellite in (satellite, "")]

    def rang(self, satellite: str) -> bool:
        """Whether something rang at a place until a moment ago."""
        since = self.clock.monotonic() - _STOPPED_SECONDS
        return any(at >= since and place in (satellite, "") for place, at in self._stopped)

    def silence(self, satellite: str) -> bool:
        """Stop what rings at a place; it is over then. Says whether anything did."""
        found = self.ringing(satellite)
        for entry in found:
            self._hush(entry.id)
        return bool(found)

    def came(self, satellite: str) -> None:
        """A satellite can be called again: tell what nobody heard."""
        for key in list(self._unheard):
            entry = self._entries.get(key)
            if entry is None or entry.owner.satellite in (satellite, ""):
                del self._unheard[key]
        self._changed.set()

    async def cancel(self, entries: Sequence[Entry]) -> None:
        """Remove entries, also those that ring."""
        async with self._changing:
            await to_its_end(self._remove([entry for entry in entries if entry.id in self._entries]))

    async def pause(self, entry: Entry) -> Entry:
        """Stop a timer's time."""
        return await self._change(entry, lambda known: replace(known, remaining=max(0.0, self.left(known))))

    async def resume(self, entry: Entry) -> Entry:
        """Let a paused timer go on."""

        def resumed(known: Entry) -> Entry:
            return replace(known, due=self.clock.wall() + self.left(known), remaining=None)

        return await self._change(entry, resumed)

    async def extend(self, entry: Entry, seconds: float) -> Entry:
        """Give a timer more time, or less. One that would be over by that raises ScheduleError."""

        def extended(known: Entry) -> Entry:
            left = self.left(known) + seconds
            if not 0 < left <= LONGEST_TIMER:
                raise ScheduleError("A timer can run from one second to a week")
            remaining = left if known.remaining is not None else None
            return replace(known, due=self.clock.wall() + left, remaining=remaining)

        return await self._change(entry, extended)

    def _at(
        self, kind: Kind, owner: Owner, at: datetime, repeat: frozenset[int], name: str = "", text: str = ""
    ) -> Entry:
        now = self.clock.wall()
        try:
            due = self.clock.instant(at)
        except (OverflowError, ValueError, OSError):  # thousands of years away
            raise ScheduleError("There is no such time") from None
        return Entry(_new_id(), kind, owner, now, due, at.isoformat(), repeat, name=name, text=text)

    async def _add(self, entry: Entry) -> Entry:
        wait = entry.due - self.clock.wall()
        if not wait <= FURTHEST:  # nor what is no number
            raise ScheduleError("That is more than five years away")
        if wait <= 0:
            raise ScheduleError("That time has passed")
        entry = replace(entry, name=entry.name[:LONGEST_TEXT], text=entry.text[:LONGEST_TEXT])
        async with self._changing:
            same_place = [one for one in self._entries.values() if one.owner.satellite == entry.owner.satellite]
            if len(same_place) >= MOST_ENTRIES:
                raise ScheduleFullError(f"{MOST_ENTRIES} timers, alarms and reminders are set here: cancel some first")
            await to_its_end(self._keep(entry, Change.STARTED))
        return entry

    async def _change(self, entry: Entry, change: Callable[[Entry], Entry]) -> Entry:
        async with self._changing:
            known = self._entries.get(entry.id)
            if known is None or entry.id in self._ringing:
                raise ScheduleError("That timer is over")
            changed = change(known)
            await to_its_end(self._keep(changed, Change.UPDATED))
        return changed

    async def _keep(self, entry: Entry, change: Change) -> None:
        """On disk and here, or in neither place."""
        await self._save([entry])
        self._put(entry)
        self._watch(entry, change)

    async def _remove(self, entries: Sequence[Entry]) -> None:
        """From disk and from here, or from neither place."""
        await self._save([], entries)
        for entry in entries:
            self._hush(entry.id)
            self._drop(entry)
            self._watch(entry, Change.CANCELLED)

    async def _save(self, entries: Sequence[Entry], removed: Sequence[Entry] = ()) -> None:
        keys = [entry.id for entry in removed]
        await self._workers.run(lambda: self._store.save(entries, keys))

    def _put(self, entry: Entry) -> None:
        """Take what is on disk into account."""
        self._entries[entry.id] = entry
        self._ends.pop(entry.id, None)
        if entry.kind is Kind.TIMER and entry.remaining is None:
            self._ends[entry.id] = self.clock.monotonic() + entry.due - self.clock.wall()
        self._changed.set()

    def _drop(self, entry: Entry) -> None:
        for known in (self._entries, self._ends, self._unheard):
            known.pop(entry.id, None)
        self._changed.set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                await self._follow_clock()
                for entry in self._due():
                    ringing = _Ringing(entry)
                    self._ringing[entry.id] = ringing
                    ringing.task = group.create_task(self._tell(ringing), name=f"ring {entry.kind}")
                    ringing.task.add_done_callback(functools.partial(self._told, entry.id))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._until_next()):
                        await self._changed.wait()

    def _due(self) -> list[Entry]:
        now = self.clock.monotonic()
        return [
            entry
            for entry in self._entries.values()
            if entry.remaining is None
            and entry.id not in self._ringing
            and self.left(entry) <= 0
            and self._unheard.get(entry.id, now) <= now
        ]

    def _until_next(self) -> float:
        waits = [
            self.left(entry)
            for entry in self._entries.values()
            if entry.remaining is None and entry.id not in self._ringing and entry.id not in self._unheard
        ]
        return max(0.0, min([self._look_seconds, *waits]))

    async def _follow_clock(self) -> None:
        """After a jump of the clock, write anew when timers end: a restart only has the clock on the wall."""
        async with self._changing:
            moved = []
            for key, end in self._ends.items():
                entry = self._entries[key]
                due = self.clock.wall() + end - self.clock.monotonic()
                if abs(due - entry.due) > _DRIFT_SECONDS:
                    moved.append(replace(entry, due=due))
            if moved:
                with contextlib.suppress(ScheduleError):  # a full disk; the timers run on
                    await self._save(moved)
                self._entries |= {entry.id: entry for entry in moved}

    async def _tell(self, ringing: _Ringing) -> None:
        entry = ringing.entry
        over = True
        try:
            late = -self.left(entry)
            if entry.kind is Kind.REMINDER or late <= _RECENT_SECONDS:
                over = await self._ring_on(entry, once=entry.kind is Kind.REMINDER or late > LATE_SECONDS)
            else:
                _LOGGER.info("A %s was due while nobody could hear it", entry.kind)
        except asyncio.CancelledError:
            if not ringing.silenced:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # this is a task
        except Exception:
            _LOGGER.exception("A %s could not be told", entry.kind)
            over = False
        if over:
            ringing.silenced = True  # else "stop" would cancel what writes down that it is over
            await to_its_end(self._conclude(entry))
        else:
            self._unheard[entry.id] = self.clock.monotonic() + _RETRY_SECONDS

    def _told(self, key: str, task: asyncio.Task[None]) -> None:
        self._ringing.pop(key, None)
        self._changed.set()

    async def _ring_on(self, entry: Entry, *, once: bool) -> bool:
        """Tell it, a timer or alarm again and again; whether somebody heard."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        heard = Heard.NOBODY
        while True:
            at = loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TELL_SECONDS):
                    came = await self._ring(entry)
                    if heard is Heard.NOBODY and came is not Heard.NOBODY:
                        began = at  # whoever came late hears it for as long
                    heard = max(heard, came)
            rung = loop.time() - began + _PAUSE_SECONDS
            if once or heard is Heard.STOPPED or rung >= self._ring_seconds:
                return heard is not Heard.NOBODY
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _conclude(self, entry: Entry) -> None:
        """It was told: it is over, or comes again another day."""
        async with self._changing:
            known = self._entries.get(entry.id)
            if known is None:  # cancelled meanwhile
                return
            self._stopped.append((entry.owner.satellite, self.clock.monotonic()))
            again = next_time(known, self.clock) if known.repeat else None
            try:
                await self._save([again] if again else [], [] if again else [known])
            except ScheduleError as error:  # it was told all the same; a full disk must not make it ring for ever
                _LOGGER.warning("%s", error)
            self._drop(known)
            if again:
                self._put(again)
        self._watch(entry, Change.FINISHED)

    def _hush(self, key: str) -> None:
        ringing = self._ringing.get(key)
        if ringing is not None and ringing.task is not None and not ringing.silenced:
            ringing.silenced = True
            ringing.task.cancel()


def _new_id() -> str:
    return uuid.uuid4().hex
