"""What a tool is: a name, a JSON schema, who may use it, and a call that ends in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handlers.errors import MeadowlarkError
from handlers.session import Role, Session

Arguments = Mapping[str, object]
"""Arguments of a call, as JSON has them."""


class ToolError(MeadowlarkError):
    """A tool could not do it. The message is told to the language model and, where there is none, spoken."""

    code = "tool"


@dataclass(frozen=True)
class ToolSpec:
    """A tool as a language model sees it."""

    name: str
    """Letters, digits, '_' and '-', at most 64: what every model's protocol takes."""
    description: str
    parameters: Mapping[str, object] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """A JSON schema of an object."""


@dataclass(frozen=True)
class ToolCall:
    """A language model wants a tool run."""

    id: str
    """Its own, which the result repeats; made up where a protocol has none."""
    name: str
    arguments: Arguments


@dataclass(frozen=True)
class ToolResult:
    """What came of a call."""

    call: ToolCall
    text: str
    """What the model reads: the output, cut to size, or why it failed."""
    failed: bool = False
    seconds: float = 0.0
    refused: bool = False
    """Whether it never ran: the text is our own, not the tool's."""
    untrusted: bool = False
    """Whether strangers may have written it; see Tool.untrusted."""


@dataclass(frozen=True)
class ToolStarted:
    """A call runs now."""

    call: ToolCall


@dataclass(frozen=True)
class ToolFinished:
    """A call has come to an end, or was refused without a start."""

    result: ToolResult


class Tool(Protocol):
    """Something that can be done."""

    @property
    def spec(self) -> ToolSpec:
        """As the language model sees it."""

    @property
    def role(self) -> Role:
        """The least that the speaker must be."""

    @property
    def destructive(self) -> bool:
        """Whether it is confirmed by the speaker before it runs."""

    @property
    def reads_only(self) -> bool:
        """Whether it only tells something and changes nothing."""

    @property
    def untrusted(self) -> bool:
        """Whether strangers may have written what it returns: web pages, mail, programs of others."""

    @property
    def seconds(self) -> float:
        """How long a call may take; the toolbox ends it then."""

    def question(self, arguments: Arguments) -> str:
        """What is asked before a destructive call: 'Delete the record api.example.com?'. Without markdown."""

    async def call(self, arguments: Arguments, session: Session) -> str:
        """Do it. `arguments` fit the schema. Returns text for the model; raises ToolError. Cancellation ends it."""


class ToolSource(Protocol):
    """Where tools come from; what it offers may change, as a server comes and goes."""

    @property
    def name(self) -> str:
        """For the log and the status page."""

    def tools(self, session: Session) -> Sequence[Tool]:
        """What it offers now in this session. Costs no time."""

    async def close(self) -> None:
        """Let go of processes and connections."""
