"""Settings of the tools: what is possible, what is refused, and where secrets may come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.agent.tools.settings import ToolSettings
from handlers.errors import SettingsError
from handlers.settings import Section, load_settings


class Agent(Section):
    tools: ToolSettings = ToolSettings()


class Root(Section):
    """The part of the server's settings that is about tools."""

    agent: Agent = Agent()


def load(text: str, tmp_path: Path, environ: dict[str, str] | None = None) -> ToolSettings:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return load_settings(Root, flags={}, config_file=path, environ=environ or {}).agent.tools


def test_the_example_of_servers_is_part_of_a_settings_file(tmp_path: Path) -> None:
    example = Path(__file__).parents[4] / "examples" / "tools" / "servers.yaml"
    secret = tmp_path / "token"
    secret.write_text("from a file\n")
    variable = "MEADOWLARK_AGENT__TOOLS__MCP__HOME_ASSISTANT__TOKEN_FILE"
    servers = load(example.read_text(), tmp_path, {variable: str(secret)}).mcp
    home = servers["home_assistant"]
    assert (str(home.url), home.trusted) == ("http://homeassistant:8123/api/mcp", True)
    assert home.token.get_secret_value() == "from a file"
    assert "from a file" not in repr(servers)
    assert servers["files"].destructive == ["write_file"]


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("{}", "either a 'command' or a 'url'"),
        ("{command: npx, url: 'http://x/mcp'}", "either a 'command' or a 'url'"),
        ("{url: 'http://x/mcp', args: [y]}", "belong to a 'command'"),
        ("{command: npx, token: t0psecret}", "belong to a 'url'"),
        ("{url: x}", "url"),
        ("{command: npx, seconds: 0}", "seconds"),
        ("{command: npx, rôle: admin}", "no such key"),
    ],
)
def test_a_server_that_cannot_be_is_refused(server: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=says) as error:
        load(f"agent: {{tools: {{mcp: {{house: {server}}}}}}}", tmp_path)
    assert "house" in str(error.value)
    assert "t0psecret" not in str(error.value)
