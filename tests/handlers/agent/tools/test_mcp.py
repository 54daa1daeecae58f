"""The client against real servers of tools: the official package over stdio and HTTP, an old one, and broken ones."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from handlers.agent.safety.audit import Audit
from handlers.agent.stage import Request
from handlers.agent.tools.mcp import McpServer
from handlers.agent.tools.settings import McpSettings, ToolSettings
from handlers.agent.tools.stage import Tool, ToolCall, ToolError, ToolFinished
from handlers.agent.tools.toolbox import Toolbox
from handlers.session import ANYBODY, Role

FOLDER = Path(__file__).parent
SERVER = str(FOLDER / "mcp_server.py")
OLD_SERVER = str(FOLDER / "old_server.py")

PATIENCE = 30
"""Seconds to wait for what should come: starting Python with the package takes one on a free machine."""

Connect = Callable[..., McpServer]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Servers as in the settings, closed at the end: connect(command=…, args=[…])."""
    async with AsyncExitStack() as stack:

        def begin(name: str = "house", **settings: object) -> McpServer:
            server = McpServer(name, McpSettings.model_validate({"seconds": 10, **settings}))
            server.start()
            stack.push_async_callback(server.close)
            return server

        yield begin


class Http:
    """A server of tools on a free port, which can be ended and started again."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/mcp"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, SERVER, "http", str(self._port)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0


@pytest.fixture
def http() -> Iterator[Http]:
    http = Http()
    yield http
    http.stop()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server that many tests use, as starting one takes a while."""
    http = Http()
    http.start()
    yield http.url
    http.stop()


@pytest.fixture(params=["stdio", "http"])
async def server(request: pytest.FixtureRequest, connect: Connect, address: str) -> McpServer:
    """The same server, once as a program and once at an address."""
    if request.param == "stdio":
        server = connect(command=sys.executable, args=[SERVER, "stdio"])
    else:
        server = connect(url=address)
    assert await server.listed(PATIENCE), server.unavailable
    return server


def offered(server: McpServer) -> dict[str, Tool]:
    return {tool.spec.name: tool for tool in server.tools(ANYBODY)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- another process decides when
            await asyncio.sleep(0.02)


async def test_tools_are_listed_with_what_they_take(server: McpServer) -> None:
    tools = offered(server)
    assert {"add", "fail", "slow", "erase"} <= set(tools)
    assert server.unavailable == ""
    assert tools["add"].spec.description == "Adds two numbers."
    properties = tools["add"].spec.parameters["properties"]
    assert isinstance(properties, dict)
    assert properties["a"]["type"] == "integer"
    assert (tools["erase"].destructive, tools["add"].destructive) == (True, False)
    assert "<|" not in tools["erase"].spec.description
    assert tools["erase"].question({"name": "x.org"}) == "Run erase with name x.org?"
    assert tools["add"].untrusted


async def test_a_call_returns_text_and_a_failure_is_one(server: McpServer) -> None:
    tools = offered(server)
    assert await tools["add"].call({"a": 19, "b": 23}, ANYBODY) == "42"
    assert await tools["erase"].call({"name": "x.org"}, ANYBODY) == "one\nerased x.org"
    with pytest.raises(ToolError, match="Error executing tool fail"):
        await tools["fail"].call({}, ANYBODY)
    with pytest.raises(ToolError, match="Unknown tool"):
        await server.call("nothing", {})


async def test_calls_run_side_by_side(server: McpServer, tmp_path: Path) -> None:
    tools = offered(server)
    marker = tmp_path / "marker"
    slow = asyncio.create_task(tools["slow"].call({"marker": str(marker)}, ANYBODY))
    await until(marker.exists)
    assert await tools["add"].call({"a": 1, "b": 2}, ANYBODY) == "3"
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_cancelled_call_is_cancelled_in_the_server(server: McpServer, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    running = asyncio.create_task(offered(server)["slow"].call({"marker": str(marker)}, ANYBODY))
    await until(marker.exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: marker.read_text() == "cancelled\n")
    assert await offered(server)["add"].call({"a": 1, "b": 1}, ANYBODY) == "2"


async def test_the_list_is_followed(server: McpServer) -> None:
    assert await server.call("learn", {"name": "sing"}) == "learned"
    await until(lambda: "sing" in offered(server))
    assert await offered(server)["sing"].call({}, ANYBODY) == "sing done"


async def test_a_slow_call_ends_at_its_deadline(connect: Connect, tmp_path: Path) -> None:
    server = connect(command=sys.executable, args=[SERVER, "stdio"], seconds=0.3)
    assert await server.listed(PATIENCE)
    slow = offered(server)["slow"]
    with pytest.raises(ToolError, match=r"(?i)timed out"):
        await slow.call({"marker": str(tmp_path / "marker")}, ANYBODY)
    assert slow.seconds > 0.3


async def test_a_program_that_dies_comes_back(connect: Connect) -> None:
    server = connect(command=sys.executable, args=[SERVER, "stdio"])
    assert await server.listed(PATIENCE)
    add = offered(server)["add"]
    with pytest.raises(ToolError, match="went away during the call"):
        await server.call("die", {})
    await until(lambda: not server.tools(ANYBODY))
    assert "closed the connection" in server.unavailable
    with pytest.raises(ToolError, match="cannot be reached at the moment"):
        await add.call({"a": 1, "b": 2}, ANYBODY)  # a turn that began before
    await until(lambda: bool(server.tools(ANYBODY)))
    assert await add.call({"a": 1, "b": 2}, ANYBODY) == "3"
    assert server.unavailable == ""


async def test_a_server_at_an_address_that_dies_comes_back(connect: Connect, http: Http) -> None:
    http.start()
    server = connect(url=http.url)
    assert await server.listed(PATIENCE), server.unavailable
    http.stop()
    with pytest.raises(ToolError):
        await server.call("add", {"a": 1, "b": 2})
    await until(lambda: not server.tools(ANYBODY))
    await asyncio.to_thread(http.start)
    await until(lambda: bool(server.tools(ANYBODY)))
    assert await server.call("add", {"a": 1, "b": 2}) == "3"


async def test_a_program_gets_its_environment_and_not_the_servers(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEADOWLARK_TOKEN", "not for programs")
    server = connect(command=sys.executable, args=[SERVER, "stdio"], env={"KEY": "its own"})
    assert await server.listed(PATIENCE)
    assert await server.call("environment", {"name": "KEY"}) == "its own"
    assert await server.call("environment", {"name": "MEADOWLARK_TOKEN"}) == "not set"


async def test_settings_choose_tools_and_say_what_they_are(connect: Connect) -> None:
    server = connect(
        command=sys.executable,
        args=[SERVER, "stdio"],
        allow=["add", "erase"],
        destructive=["add"],
        role="admin",
        trusted=True,
    )
    assert await server.listed(PATIENCE)
    tools = offered(server)
    assert set(tools) == {"add", "erase"}
    assert all(tool.destructive and tool.role is Role.ADMIN and not tool.untrusted for tool in tools.values())


async def test_a_server_says_which_tools_only_read_and_the_settings_know_better(connect: Connect) -> None:
    server = connect(command=sys.executable, args=[SERVER, "stdio"], allow=["add", "erase", "environment"])
    wary = connect(command=sys.executable, args=[SERVER, "stdio"], destructive=["environment"])
    assert await server.listed(PATIENCE)
    assert await wary.listed(PATIENCE)
    assert {name for name, tool in offered(server).items() if tool.reads_only} == {"environment"}
    assert not offered(wary)["environment"].reads_only


async def test_an_old_server_is_spoken_to_as_it_wishes(connect: Connect, tmp_path: Path) -> None:
    server = connect("old", command=sys.executable, args=[OLD_SERVER])
    assert await server.listed(PATIENCE), server.unavailable
    text = "ok\n[image/png, which cannot be read aloud]\n[a link to notes: file:///notes.txt]"
    assert await server.call("learn", {}) == text
    await until(lambda: "learned" in offered(server))
    audit = Audit(tmp_path / "audit", keep_days=1)
    turn = Toolbox([server], ToolSettings(), audit).turn(Request(""))
    assert [spec.name for spec in turn.specs] == ["learn", "odd_name_with_signs", "learned"]
    events = [event async for event in turn.run([ToolCall("1", "odd_name_with_signs", {})])]
    assert isinstance(events[-1], ToolFinished)
    assert events[-1].result.text == text
    await audit.close()


async def test_noise_on_stdout_does_not_matter(connect: Connect) -> None:
    server = connect(command=sys.executable, args=[OLD_SERVER, "noise"])
    assert await server.listed(PATIENCE), server.unavailable
    assert (await server.call("learn", {})).startswith("ok")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"command": "no-such-program"}, "cannot be started: there is no program or folder 'no-such-program'"),
        ({"command": sys.executable, "args": [OLD_SERVER, "crash"]}, "closed the connection; it said: no such option"),
        ({"command": sys.executable, "args": [OLD_SERVER, "hang"], "connect_seconds": 0.3}, "did not answer in time"),
        ({"url": "http://127.0.0.1:9/mcp"}, "cannot be reached"),
    ],
)
async def test_a_server_that_is_not_there_says_why_and_holds_nobody_up(
    connect: Connect, settings: dict[str, object], reason: str
) -> None:
    server = connect(**settings)
    assert server.unavailable == "is being connected"
    assert server.tools(ANYBODY) == []
    with pytest.raises(ToolError, match="cannot be reached at the moment: it is being connected"):
        await server.call("add", {})
    await until(lambda: reason in server.unavailable)
    assert server.tools(ANYBODY) == []


async def test_a_token_is_sent_and_a_refusal_is_explained(connect: Connect) -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization"), request.headers.get("X-House")))
        return web.Response(status=401)

    app = web.Application()
    app.router.add_route("*", "/mcp", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server = connect(url=f"http://{host}:{port}/mcp", token="t0p", headers={"X-House": "one"})
    await until(lambda: "check its 'token'" in server.unavailable)
    assert set(seen) == {("Bearer t0p", "one")}
    await runner.cleanup()


async def test_closing_ends_the_program_also_while_it_connects(connect: Connect) -> None:
    before = children()
    servers: Sequence[McpServer] = [
        connect(command=sys.executable, args=[OLD_SERVER]),
        connect(command=sys.executable, args=[OLD_SERVER, "hang"]),
        connect(command="no-such-program"),
    ]
    assert await servers[0].listed(PATIENCE)
    await until(lambda: len(children() - before) == 2)
    ending: list[Awaitable[None]] = [server.close() for server in servers]
    await asyncio.gather(*ending)
    assert children() == before
    await servers[0].close()  # once more does no harm
    with pytest.raises(ToolError):
        await servers[0].call("learn", {})


def children() -> set[int]:
    """Programs that this test has started and that live."""
    return {
        process.pid
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    }
