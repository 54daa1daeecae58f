"""A turn of Home Assistant that runs on the server, and what happens in it."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from homeassistant.components.conversation import ChatLog, ConversationInput
from homeassistant.helpers import llm

from .lending import Shape

MOST_WAITING = 1000
"""Messages that nobody has sent or read yet, of the connection or of one turn."""


class LinkError(Exception):
    """A turn failed. `code` is the link's own (not_connected, lost, silent, too_long) or the server's."""

    def __init__(self, code: str, text: str) -> None:
        """`text` is a sentence for the user."""
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Delta:
    """Text for the listener."""

    text: str


@dataclass(frozen=True)
class ServerTool:
    """One of the server's own tools runs now."""

    call: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class ServerToolResult:
    """What came of it."""

    call: str
    text: str
    failed: bool


@dataclass(frozen=True)
class HouseTool:
    """A tool of the house runs now, as the server wants."""

    call: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class HouseToolResult:
    """What came of it, which the server has been told unless it waits no longer."""

    call: str
    result: llm.ToolResult


@dataclass(frozen=True)
class End:
    """The turn has ended."""

    text: str
    """The whole answer."""
    listen: bool
    """Whether it is a question: then the microphone opens again."""


type TurnEvent = Delta | ServerTool | ServerToolResult | HouseTool | HouseToolResult | End


@dataclass(frozen=True)
class Turn:
    """Something that was said to Home Assistant and is for the server's agent."""

    user_input: ConversationInput
    chat_log: ChatLog
    message: Shape
    """What the server is told of it: the fields of `turn`, but its id."""


@dataclass
class RunningTurn:
    """A turn that runs on the server."""

    turn: Turn
    events: asyncio.Queue[TurnEvent | LinkError] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))
    tools: set[asyncio.Task[None]] = field(default_factory=set)
    """Of the house, that run for it."""
    context: Context = field(default_factory=copy_context)
    """Of whoever asked: Home Assistant's trace of the conversation gets the tools, too."""

    def add(self, event: TurnEvent | LinkError) -> None:
        """Have something happen in the turn."""
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            self.fail(LinkError("silent", "The answer came faster than it could be said. Please try again."))

    def fail(self, error: LinkError) -> None:
        """Have the turn fail, whatever was to come before."""
        while self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(error)
