"""Tools that are a function of ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from handlers.agent.tools.arguments import question
from handlers.agent.tools.stage import Arguments, Tool, ToolSpec
from handlers.session import Role, Session


@dataclass(frozen=True)
class LocalTool:
    """A function, and what the language model is told about it."""

    spec: ToolSpec
    work: Callable[[Arguments, Session], Awaitable[str]]
    """Does it; raises ToolError."""
    role: Role = Role.USER
    destructive: bool = False
    untrusted: bool = False
    seconds: float = 10.0
    reads_only: bool = False
    """Whether it only tells something and changes nothing."""
    asks: Callable[[Arguments], str] | None = None
    """What is asked before a destructive call, if it has words of its own."""

    def question(self, arguments: Arguments) -> str:
        return self.asks(arguments) if self.asks is not None else question(self.spec.name, arguments)

    async def call(self, arguments: Arguments, session: Session) -> str:
        return await self.work(arguments, session)


@dataclass(frozen=True)
class LocalTools:
    """A source of tools that hold nothing which must be closed."""

    name: str
    offered: Sequence[Tool]

    def tools(self, session: Session) -> Sequence[Tool]:
        return self.offered

    async def close(self) -> None:
        """Nothing to let go of."""
