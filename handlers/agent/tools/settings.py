"""Settings of the tools."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, HttpUrl, SecretStr, model_validator

from handlers.agent.access import Id
from handlers.session import RoleName
from handlers.settings import Section


class McpSettings(Section):
    """A server of tools that speaks the Model Context Protocol: a program of this machine, or an address."""

    command: str = ""
    """Program that is started and spoken to over stdin and stdout."""

    args: list[str] = Field(default_factory=list)
    """Its arguments."""

    env: dict[str, SecretStr] = Field(default_factory=dict)
    """Its environment, beside PATH, HOME and the like."""

    cwd: Path | None = None
    """The folder in which it runs."""

    url: HttpUrl | None = None
    """Address of a server that speaks streamable HTTP, instead of a command."""

    token: SecretStr = SecretStr("")
    """Sent to the address as 'Authorization: Bearer …'."""

    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent to the address with every request."""

    role: RoleName = "user"
    """The least that somebody must be to use its tools: guest, user or admin."""

    allow: list[str] = Field(default_factory=list)
    """Names of the tools that are offered; empty offers all."""

    destructive: list[str] = Field(default_factory=list)
    """Names of tools that are confirmed before they run, beside those that the server itself calls destructive."""

    trusted: bool = False
    """Whether no stranger can have written what its tools return, as with the states of lamps."""

    seconds: float = Field(20.0, gt=0, le=600)
    """How long a call may take."""

    connect_seconds: float = Field(60.0, gt=0, le=600)
    """How long a connection may take; a launcher such as npx or uvx may have to download the program first."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if bool(self.command) == (self.url is not None):
            raise ValueError("a server of tools has either a 'command' or a 'url'; set one of them")
        if self.url is not None and (self.args or self.env or self.cwd):
            raise ValueError("'args', 'env' and 'cwd' belong to a 'command'; remove them or the 'url'")
        if self.command and (self.headers or self.token.get_secret_value()):
            raise ValueError("'token' and 'headers' belong to a 'url'; a command takes its secrets from 'env'")
        return self


class ToolSettings(Section):
    """What the language model can do."""

    commands: list[Path] = Field(default_factory=list)
    """YAML files of command tools; see examples/tools."""

    mcp: dict[Id, McpSettings] = Field(default_factory=dict)
    """Servers of tools, by a name of your own."""

    rounds: int = Field(8, ge=1, le=50)
    """How often the language model may ask for tools in one turn."""

    parallel: int = Field(4, ge=1, le=32)
    """Calls of one turn that run at the same time."""

    seconds: float = Field(20.0, gt=0, le=600)
    """How long a call of a command tool may take that sets no time of its own."""

    longest_result: int = Field(4000, ge=200, le=200_000)
    """Characters of a result that the language model reads: a thousand tokens."""
