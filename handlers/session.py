"""Who talks, from where, in which conversation, and what they may do: one object on the whole way through a turn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal


class Role(IntEnum):
    """What somebody may do; a higher one may do all that a lower one may."""

    GUEST = 1
    """Talk, and set timers. Nothing of it is remembered, and nothing else is done in the house."""
    USER = 2
    """Talk, have a memory of their own, act."""
    ADMIN = 3
    """Also what can break things."""

    @property
    def word(self) -> str:
        """As in the settings."""
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> Role:
        """The role that a setting names."""
        return cls[word.upper()]


RoleName = Literal["guest", "user", "admin"]


@dataclass(frozen=True)
class Session:
    """One speaker in one place and one conversation. The server's border makes it; nothing behind it is asked twice."""

    user: str = ""
    """A person, by the id that the client vouches for; empty for a voice that nobody knows."""
    satellite: str = ""
    """The place where it is spoken, by its name: a satellite, or a browser that stands for one; empty for text."""
    room: str = ""
    """Where the satellite stands, as it is said: 'kitchen'."""
    role: Role = Role.USER
    token: str = ""
    """Name of the access token, where one was shown."""
    language: str = ""
    """Tag of the language of speech and answer; empty while nobody has chosen one."""
    conversation: str = ""
    """Requests with the same id are one conversation."""
    tenant: str = ""
    """The household or organisation that is spoken to; empty for the server's own."""

    @property
    def place(self) -> str:
        """Where it is said: at a satellite, else in a conversation. There a yes counts, and private mode."""
        return f"satellite {self.satellite}" if self.satellite else f"conversation {self.conversation}"


ANYBODY = Session(language="en")
"""A voice that nobody knows, in no conversation."""
