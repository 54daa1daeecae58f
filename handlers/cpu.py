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


@dataclass(eq=False)
class Ticket:
    """One run's place in the queue. Raise its urgency while it waits when a guess becomes what is waited for."""

    urgency: Urgency


class Cpu:
    """Slots, one for each core."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = slots
        self._waiting: list[tuple[Ticket, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """Runs that wait for a slot."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def slot(self, ticket: Ticket) -> AsyncGenerator[None, None]:
        """Hold a slot for the length of a `with` block.

        Raises BusyError at once when too many wait; for guesses that is soon, so that they are dropped first.
        """
        await self._acquire(ticket)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, ticket: Ticket) -> None:
        if self._free:
            self._free -= 1
            return
        limit = self._slots * _GUESSES_WAITING if ticket.urgency is Urgency.GUESS else _WAITING
        if len(self._waiting) >= limit:
            raise BusyError(f"{len(self._waiting)} runs wait for the processor; try again in a moment")
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (ticket, granted)
        self._waiting.append(place)
        try:
            await granted
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            else:  # granted at the same moment
                self._release()
            raise

    def _release(self) -> None:
        # A cancelled task takes its place away when it next runs, which may be after this.
        waiting = [place for place in self._waiting if not place[1].cancelled()]
        if not waiting:
            self._free += 1
            return
        first = min(waiting, key=lambda place: place[0].urgency)  # the first of the most urgent
        self._waiting.remove(first)
        first[1].set_result(None)
