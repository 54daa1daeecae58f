"""A server that asks for tokens, with a language model whose answers a test writes down."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.session import Role
from server.tokens import Tokens
from tests.support.ollama import FakeOllama, Model
from tests.support.server import START_SECONDS, ServerProcess, own_data

_COMMANDS = """
tools:
  water_plants:
    description: Waters the plants.
    parameters: {type: object, properties: {room: {type: string}}, required: [room]}
    argv: [touch, "--", "FOLDER/{room}"]
  sell_house:
    description: Sells the house.
    argv: [touch, "--", "FOLDER/sold"]
    destructive: true
    confirm: Sell the house?
"""

_TENANTS = """
tenants:
  miller: {name: The Millers, wyoming: "tcp://127.0.0.1:0"}
  smith: {wyoming: "tcp://127.0.0.1:0"}
  small: {wyoming: "tcp://127.0.0.1:0", limits: {questions: 1, sessions: 1, turns_a_minute: 3}}
"""


@dataclass(frozen=True)
class Talking:
    """The server, its model, where its tools leave files, and a token of each role and each tenant by its name."""

    server: ServerProcess
    address: str
    ollama: FakeOllama
    done: Path
    tokens: dict[str, str]
    data: Path
    """The data folder."""

    def begin_anew(self) -> None:
        """Forget what earlier tests asked and did."""
        self.ollama.asked.clear()
        for file in self.done.iterdir():
            file.unlink()


@contextlib.asynccontextmanager
async def talking(folder: Path, data_dir: Path, more: Sequence[tuple[str, str]] = ()) -> AsyncIterator[Talking]:
    """`more` are variables of its environment."""
    data = own_data(folder, data_dir)
    done, tools, config = folder / "done", folder / "tools.yaml", folder / "config.yaml"
    done.mkdir()
    tools.write_text(_COMMANDS.replace("FOLDER", str(done)))
    own = f"agent: {{tools: {{commands: [{tools}]}}, access: {{users: {{anna: {{name: Anna}}}}}}}}\n"
    config.write_text(own + _TENANTS)
    kept = Tokens(data)
    tokens = {role.word: kept.add(role.word, role, "anna" if role is Role.USER else "") for role in Role}
    tokens["other"] = kept.add("other", Role.USER)
    for tenant in ("miller", "smith", "small", "gone"):
        tokens[tenant] = kept.add(tenant, Role.ADMIN, tenant=tenant)
    model = Model("able:latest", capabilities=("completion", "tools"))
    async with FakeOllama([model], only_talks=True) as ollama:
        environment = {
            "MEADOWLARK_AGENT__OLLAMA__URL": ollama.url,
            "MEADOWLARK_AGENT__ORDER": '["ollama"]',
            "MEADOWLARK_AGENT__QUICK_SENTENCE_SECONDS": "0",
            "MEADOWLARK_DISCOVERY__ANNOUNCE": "off",
            **dict(more),
        }
        arguments = ["--lan", "--data-dir", str(data), "--config", str(config)]
        with ServerProcess(folder, arguments, environment) as server:
            async with asyncio.timeout(START_SECONDS):
                while (page := re.search(r"http://127\.0\.0\.1:(\d+)/", server.log())) is None:
                    assert server.process.poll() is None, server.log()
                    await asyncio.sleep(0.05)
            ollama.asked.clear()
            yield Talking(server, f"http://127.0.0.1:{page[1]}", ollama, done, tokens, data)
        # aiohttp logs a traceback of its own for what is no HTTP; ours are defects.
        assert not re.search(r'File "[^"]*/(server|handlers)/', server.log()), server.log()
