"""What a house is to the agent: names, sentences that it understands at once, tools, and loudspeakers of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from handlers.agent.tools.stage import Tool
from handlers.errors import MeadowlarkError

if TYPE_CHECKING:  # a request carries what is lent to it
    from handlers.agent.stage import Request


class HouseError(MeadowlarkError):
    """The house is gone, too slow, or could not do it. The message says which."""

    code = "house"


@dataclass(frozen=True)
class Understood:
    """A sentence that the house understands whole. Nothing has been done yet."""

    sentence: str
    language: str
    intent: str
    """The house's own name of what is meant, for the log of actions."""
    acts: bool
    """Whether it changes something; else it only tells."""
    open_ended: bool = False
    """Whether it ends with anybody's words, so that more may follow: "add bread" … "and butter"."""


@dataclass(frozen=True)
class Performed:
    """What came of a sentence that the house understood."""

    text: str
    """What the house says."""
    failed: bool = False


@dataclass(frozen=True)
class Lent:
    """What a house lends to one turn."""

    lender: Lender
    tools: Sequence[Tool] = ()
    instructions: str = ""
    """What the house tells a language model of itself: its rooms and devices, how to use the tools."""
    house: str = ""
    """Which one it is: the same after it has connected anew."""


class Lender(Protocol):
    """One Home Assistant, while it is connected. What waits raises HouseError, within a deadline of its own."""

    @property
    def names(self) -> Sequence[str]:
        """Devices, rooms and people, as they are said; the most used first."""

    @property
    def rooms(self) -> Mapping[str, str]:
        """Where our satellites stand, by their names, as the owner has told Home Assistant."""

    @property
    def people(self) -> Mapping[str, str]:
        """What each person is called, by the id that comes with their requests."""

    @property
    def understands_sentences(self) -> bool:
        """Whether it can be asked to recognize sentences."""

    def lend(self, language: str) -> Lent:
        """What it lends to a turn that did not come from it, in which this language is spoken."""

    async def recognize(self, request: Request) -> Understood | None:
        """Whether it understands the sentence. Changes nothing."""

    async def perform(self, understood: Understood, request: Request) -> Performed | None:
        """Do what was understood. None when it is not understood any more: a device has got another name."""

    async def announce(self, satellite: str, text: str, language: str) -> bool:
        """Say something at a satellite of Home Assistant's own, or show it to everybody for ''. Whether that worked."""
