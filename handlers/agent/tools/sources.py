"""The tools that the settings name."""

from __future__ import annotations

from handlers.agent.tools.command import CommandTools
from handlers.agent.tools.settings import ToolSettings
from handlers.agent.tools.stage import ToolSource
from handlers.errors import MissingExtraError


def open_sources(settings: ToolSettings) -> list[ToolSource]:
    """Command tools, and servers of tools, which begin to connect in the background. Needs a running event loop.

    Raises SettingsError for a file of command tools that cannot be used.
    """
    sources: list[ToolSource] = [CommandTools(settings)] if settings.commands else []
    if settings.mcp:
        try:  # the library takes a second to import, and most houses do not need it
            from handlers.agent.tools.mcp import McpServer
        except ImportError as error:
            raise MissingExtraError("A server of tools (agent.tools.mcp)", "server") from error
        for name, server in settings.mcp.items():
            source = McpServer(name, server)
            source.start()
            sources.append(source)
    return sources
