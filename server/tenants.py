"""The households and organisations on this server. They share its engines, and nothing else.

The server's own, that of the plain settings, has an empty key; the others are those of the setting `tenants`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from handlers.agent.memory.memories import Memories
from handlers.timeline import Timeline, ignore
from server.house_api import Houses
from server.household import Household
from server.settings import LimitSettings, ServerSettings
from server.voice_stream import Voices

_RECENT_TURNS = 20
"""Timelines that the status shows."""

_TURNS = ("pipeline", "handle")
"""Services that answer questions: each is a turn."""


class Tenant:
    """All that one of them has for itself, as far as it is open."""

    def __init__(self, key: str = "", name: str = "", limits: LimitSettings | None = None) -> None:
        """Without `limits` those of the server are its only ones."""
        self.key = key
        self.name = name
        self.limits = limits
        self.household: Household | None = None
        self.houses: Houses | None = None
        self.voices: Voices | None = None
        self.wyoming_port: Callable[[], int] = int
        """0 where it has none."""
        self.connections: Callable[[], int] = int
        """To its Wyoming port."""
        self.on_timeline: Callable[[Timeline], None] = ignore
        """Told of every turn that HTTP's clients had."""
        self._turns: deque[dict[str, object]] = deque(maxlen=_RECENT_TURNS)

    @property
    def memories(self) -> Memories | None:
        """None before they are open, and where there are none."""
        return self.household.agent.memories if self.household is not None else None

    def observe(self, timeline: Timeline) -> None:
        """Keep a turn that has ended, and tell the houses of it."""
        if timeline.service in _TURNS:
            self._turns.appendleft({"service": timeline.service, **timeline.as_dict()})
        if self.houses is not None:
            self.houses.tell_timeline(timeline)

    def as_dict(self) -> dict[str, object]:
        """For the status."""
        return {
            "name": self.name,
            "wyoming_port": self.wyoming_port(),
            "connections": self.connections(),
            "satellites": list(self.household.notices.satellites) if self.household else [],
            "houses": self.houses.as_list() if self.houses else [],
            "voice_sessions": self.voices.as_list() if self.voices else [],
            "turns": list(self._turns),
        }


def tenants_of(settings: ServerSettings) -> dict[str, Tenant]:
    """All of them by their keys, none of them open yet."""
    own = Tenant(name=settings.discovery.name)
    others = {key: Tenant(key, tenant.name or key, tenant.limits) for key, tenant in settings.tenants.items()}
    return {"": own, **others}
