"""Tools that a house lends to an answer which may wait for a yes, and then goes on in another turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handlers.agent.house.stage import Lent
from handlers.agent.tools.stage import Arguments, Tool, ToolError, ToolSpec
from handlers.session import Role, Session


@dataclass
class BorrowedTool:
    """A tool of a house, as it was when it was borrowed; done by the turn that lends it now."""

    described: Tool
    lent: Tool | None
    """None where nobody lends it any more."""

    @property
    def spec(self) -> ToolSpec:
        return self.described.spec

    @property
    def role(self) -> Role:
        return self.described.role

    @property
    def destructive(self) -> bool:
        return self.described.destructive

    @property
    def reads_only(self) -> bool:
        return self.described.reads_only

    @property
    def untrusted(self) -> bool:
        return self.described.untrusted or (self.lent is not None and self.lent.untrusted)

    @property
    def seconds(self) -> float:
        return self.described.seconds

    def question(self, arguments: Arguments) -> str:
        return self.described.question(arguments)

    async def call(self, arguments: Arguments, session: Session) -> str:
        if self.lent is None:
            raise ToolError("Home Assistant does not lend this tool any more")
        return await self.lent.call(arguments, session)


class Borrowed:
    """The tools of one house for one answer. They keep their names and what is told of them."""

    def __init__(self, lent: Lent | None) -> None:
        self._house = lent.house if lent is not None else ""
        self._tools = [BorrowedTool(tool, tool) for tool in lent.tools] if lent is not None else []

    @property
    def tools(self) -> Sequence[Tool]:
        return self._tools

    def renew(self, lent: Lent | None) -> None:
        """The turn that asked for them is over, and they are what another turn lends: those of the same house that it
        has as well. Another house may call another thing by the same name."""
        same = lent is not None and lent.house == self._house
        now = {tool.spec.name: tool for tool in lent.tools} if same and lent is not None else {}
        for tool in self._tools:
            tool.lent = now.get(tool.spec.name)
