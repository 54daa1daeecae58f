"""Rings what is due: the schedule's entries as notices at their satellites."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from babel.dates import format_time
from wyoming.event import Event
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated

from handlers.agent.house.house import House
from handlers.agent.schedule.durations import say_duration
from handlers.agent.schedule.entry import LATE_SECONDS, Change, Clock, Entry, Heard, Kind
from handlers.agent.skills.skills import locale_of
from handlers.agent.skills.stage import Phrases
from handlers.pipeline.notices import Notices

_WAITING = 200
"""Timer events that may wait for their satellites; each is sent in milliseconds."""


class Bell:
    """Between a `Schedule` and the `Notices`: `ring` and `watch` are what the schedule asks for. What belongs to a
    satellite of Home Assistant's, or to no place that we can call, the house tells."""

    def __init__(
        self,
        notices: Notices,
        phrases: Callable[[str], Phrases],
        clock: Clock | None = None,
        house: House | None = None,
    ) -> None:
        """`phrases` are the answers of a language (`Skills.phrases`)."""
        self._notices = notices
        self._phrases = phrases
        self._clock = clock or Clock()
        self._house = house or House()
        self._events: asyncio.Queue[tuple[str, Event]] = asyncio.Queue(_WAITING)
        self._sending: asyncio.Task[None] | None = None

    async def ring(self, entry: Entry) -> Heard:
        """Tell an entry once at its place."""
        place, sentence, language = entry.owner.satellite, self.sentence(entry), entry.owner.language
        ours = place in self._notices.connected
        rings = "" if entry.kind is Kind.REMINDER else entry.id
        heard = await self._notices.say(place, sentence, language, chime=True, about=self._about(entry), rings=rings)
        if heard is not Heard.NOBODY or ours or not await self._house.announce(place, sentence, language):
            return heard
        return Heard.HEARD if place else Heard.STOPPED  # what everybody is shown stays: once is enough

    def watch(self, entry: Entry, change: Change) -> None:
        """Let the satellite know of its timers, for a light or a screen that shows them."""
        event = timer_event(entry, change)
        if event is None or self._events.full():
            return
        self._events.put_nowait((entry.owner.satellite, event))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="timer events")

    async def close(self) -> None:
        """Drop what was not sent."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    def sentence(self, entry: Entry) -> str:
        """What is said when it is due, or when it was while nobody could hear it."""
        phrases = self._phrases(entry.owner.language)
        locale = locale_of(entry.owner.language)
        late = self._clock.wall() - entry.due
        values = {
            "name": entry.name,
            "text": entry.text,
            "time": format_time(self._clock.local(entry.due), "short", locale=locale),
            "ago": say_duration(max(60.0, round(late / 60) * 60), locale),
        }
        name = {Kind.TIMER: "TimerRings", Kind.ALARM: "AlarmRings", Kind.REMINDER: "ReminderRings"}[entry.kind]
        if entry.kind is not Kind.REMINDER:
            name += "Named" if entry.name else ""
        if late > LATE_SECONDS:
            name += "Late"
        if entry.kind is Kind.ALARM and entry.wall:
            values["time"] = format_time(datetime.fromisoformat(entry.wall), "short", locale=locale)
        return phrases.say(name, **values)

    async def _send(self) -> None:
        while not self._events.empty():
            satellite, event = self._events.get_nowait()
            await self._notices.tell(satellite, event)

    def _about(self, entry: Entry) -> Event | None:
        return TimerFinished(entry.id).event() if entry.kind is Kind.TIMER else None


def timer_event(entry: Entry, change: Change) -> Event | None:
    """The protocol's event for what happened to a timer; `timer-finished` goes with the ringing."""
    if entry.kind is not Kind.TIMER:
        return None
    match change:
        case Change.STARTED:
            return TimerStarted(entry.id, round(entry.duration), entry.name or None).event()
        case Change.UPDATED:
            left = entry.remaining if entry.remaining is not None else max(0.0, entry.due - Clock().wall())
            return TimerUpdated(entry.id, entry.remaining is None, round(left)).event()
        case Change.CANCELLED:
            return TimerCancelled(entry.id).event()
    return None
