"""Actions that wait for a clear yes from the place where they were asked for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from handlers.agent.house.borrowed import Borrowed
from handlers.agent.stage import AnswerPart
from handlers.session import Role

CONFIRM_SECONDS = 30.0
"""After this a yes means something else."""

_MAX_PLACES = 1000
"""Many more than a house has; a client that makes up satellites cannot fill the memory."""


Doing = Awaitable[str] | AsyncGenerator[AnswerPart, None]
"""Something that is done, and said: in the end, or as it happens."""

D = TypeVar("D", bound=Doing, covariant=True)


@dataclass(frozen=True)
class Pending(Generic[D]):
    """Something that happens only after a yes."""

    action: Callable[[], D]
    """Does it. Called at most once."""
    role: Role = Role.GUEST
    """The least that whoever says yes must be."""
    forgets: bool = False
    """Whether the conversation forgets what was said before, too."""
    borrowed: Borrowed | None = None
    """What a house lends to it; the turn of the yes has to lend it anew."""
    expires: float = field(default_factory=lambda: time.monotonic() + CONFIRM_SECONDS)
    """On the monotonic clock."""


class Confirmations:
    """At most one pending action for each place. Whatever is said next there settles it."""

    def __init__(self) -> None:
        self._by_place: OrderedDict[str, Pending[Doing]] = OrderedDict()

    def ask(self, place: str, pending: Pending[Doing]) -> None:
        """Wait for the next words from `place`; what waited there before is dropped."""
        self._by_place.pop(place, None)
        self._by_place[place] = pending
        while len(self._by_place) > _MAX_PLACES:
            self._by_place.popitem(last=False)

    def waits(self, place: str) -> bool:
        """Whether a yes from there would do something."""
        pending = self._by_place.get(place)
        return pending is not None and time.monotonic() < pending.expires

    def take(self, place: str) -> Pending[Doing] | None:
        """What waits there, which waits no longer."""
        waits = self.waits(place)
        pending = self._by_place.pop(place, None)
        return pending if waits else None
