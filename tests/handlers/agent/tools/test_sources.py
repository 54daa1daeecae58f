"""From settings to tools that can be called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from handlers.agent.tools.local import LocalTool
from handlers.agent.tools.settings import McpSettings, ToolSettings
from handlers.agent.tools.sources import open_sources
from handlers.agent.tools.stage import ToolSpec
from handlers.errors import SettingsError
from handlers.session import ANYBODY, Role

FOLDER = Path(__file__).parent


async def test_settings_open_their_sources() -> None:
    machine = FOLDER.parents[3] / "examples" / "tools" / "machine.yaml"
    server = McpSettings(command=sys.executable, args=[str(FOLDER / "old_server.py")])
    sources = open_sources(ToolSettings(commands=[machine], mcp={"old": server}))
    assert [source.name for source in sources] == ["commands", "old"]
    assert [tool.spec.name for tool in sources[0].tools(ANYBODY)] == ["disk_space", "uptime"]
    for source in sources:
        await source.close()


async def test_no_settings_open_nothing(tmp_path: Path) -> None:
    assert open_sources(ToolSettings()) == []
    with pytest.raises(SettingsError, match=r"lost\.yaml"):
        open_sources(ToolSettings(commands=[tmp_path / "lost.yaml"]))


async def test_a_local_tool_asks_in_its_own_words() -> None:
    async def forget(arguments: object, session: object) -> str:
        return "forgotten"

    plain = LocalTool(ToolSpec("forget_all", "Forgets."), forget, Role.ADMIN, destructive=True)
    worded = LocalTool(plain.spec, forget, asks=lambda arguments: f"Forget {arguments['what']}?")
    assert plain.question({"what": "the code"}) == "Run forget all with what the code?"
    assert worded.question({"what": "the code"}) == "Forget the code?"
    assert await plain.call({}, ANYBODY) == "forgotten"
