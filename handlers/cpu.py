"""Who may compute now: a few slots for short inference, given out by urgency and then by order.

Without it, a server with many satellites works on guesses that will be thrown away while somebody waits for an
answer. Whisper, Piper and the turn detector take a slot for each run; the language model has threads of its own,
because it runs for seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import IntEnum

from handlers.errors import BusyError

_WAITING = 1024
"""Runs that may wait. A second of work waits behind ten; nobody waits for a thousand."""

_GUESSES_WAITING = 2
"""Waiting runs for each slot from which no guess is begun: it would come after the end that it is to anticipate."""


class Urgency(IntEnum):
    """What goes first."""

    VOICE = 0
    """Somebody hears a gap."""
    FINAL = 1
    """Somebody waits for an answer."""
    GUESS = 2
    """Perhaps of use."""
    RECORDING = 3
    """Of a file: whoever sent it expects to wait."""


class Ticket:
    """One run's place in the queue.

    Raise its urgency while it waits when a guess becomes what is waited for. A run that several wait for is as urgent
    as the most urgent of them: let it `join` their tickets.
    """

    def __init__(self, urgency: Urgency) -> None:
        self._urgency = urgency
        self._joined: list[Ticket] = []

    @property
    def urgency(self) -> Urgency:
        return min([self._urgency, *(ticket.urgency for ticket in self._joined)])

    @urgency.setter
    def urgency(self, urgency: Urgency) -> None:
        self._urgency = urgency

    def join(self, ticket: Ticket) -> None:
        """Be as urgent as `ticket` from now on, also when that is raised later."""
        self._joined.append(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Whoever holds `ticket` waits no longer."""
        self._joined.remove(ticket)


@dataclass(eq=False)
class _Place:
    """One run that waits."""

    ticket: Ticket
    cores: int
    granted: asyncio.Future[None]


class Cpu:
    """Slots, one for each core."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = slots
        self._waiting: list[_Place] = []

    @property
    def waiting(self) -> int:
        """Runs that wait for a slot."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def slot(self, ticket: Ticket, cores: int = 1) -> AsyncGenerator[None, None]:
        """Hold the slots of a run on `cores` threads for the length of a `with` block.

        Raises BusyError at once when too many wait; for guesses that is soon, so that they are dropped first.
        """
        cores = min(cores, self._slots)
        await self._acquire(ticket, cores)
        try:
            yield
        finally:
            self._release(cores)

    async def _acquire(self, ticket: Ticket, cores: int) -> None:
        if self._free >= cores and not any(_waits(place) for place in self._waiting):
            self._free -= cores
            return
        limit = self._slots * _GUESSES_WAITING if ticket.urgency is Urgency.GUESS else _WAITING
        if len(self._waiting) >= limit:
            raise BusyError(f"{len(self._waiting)} runs wait for the processor; try again in a moment")
        place = _Place(ticket, cores, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self._grant()
        try:
            await place.granted
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
                self._grant()  # it may have stood before others that fit
            else:  # granted at the same moment
                self._release(cores)
            raise

    def _release(self, cores: int) -> None:
        self._free += cores
        self._grant()

    def _grant(self) -> None:
        """Let the most urgent runs go, in their order. What does not fit yet is not overtaken, or it would starve."""
        while waiting := [place for place in self._waiting if _waits(place)]:
            first = min(waiting, key=lambda place: place.ticket.urgency)
            if first.cores > self._free:
                return
            self._free -= first.cores
            self._waiting.remove(first)
            first.granted.set_result(None)


def _waits(place: _Place) -> bool:
    """A cancelled task takes its place away when it next runs, which may be later than this."""
    return not place.granted.cancelled()
