"""What the integration's tests share: Home Assistant with the integration in it, and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import CodeType

import psutil
import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

# Before any `hass` is made: the test kit has a folder of this name, too, and the first one imported stays.
import custom_components.meadowlark
from custom_components.meadowlark.const import DOMAIN, NAME

from .support.server import MeadowlarkServer

OURS = str(Path(custom_components.meadowlark.__path__[0]))
"""The integration's folder: what runs code of it is ours."""

END_SECONDS = 5.0
"""How long what was cancelled or closed may take to be gone."""

type SetUp = Callable[[MockConfigEntry], Awaitable[MockConfigEntry]]
"""Add an entry to Home Assistant and set it up, whatever becomes of it; the test's end unloads it."""


@pytest.fixture(scope="session")
def meadowlark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeadowlarkServer]:
    """A real server on 127.0.0.1, open, shared by all tests that only talk to it."""
    with MeadowlarkServer(tmp_path_factory.mktemp("meadowlark")) as server:
        yield server


@pytest.fixture(scope="session")
def guarded_meadowlark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeadowlarkServer]:
    """A real server that runs with --lan: HTTP asks for its `token`. It is not announced."""
    quiet = {"MEADOWLARK_DISCOVERY__ANNOUNCE": "off"}
    with MeadowlarkServer(tmp_path_factory.mktemp("guarded"), ["--lan"], quiet) as server:
        yield server


@pytest.fixture
def own_meadowlark(tmp_path: Path) -> Iterator[MeadowlarkServer]:
    """A real server of the test's own, to be stopped, killed, paused and started again."""
    with MeadowlarkServer(tmp_path) as server:
        yield server


@pytest.fixture
def config_entry(meadowlark: MeadowlarkServer) -> MockConfigEntry:
    """An entry for the shared server, not yet added to Home Assistant."""
    return entry_for(meadowlark)


@pytest.fixture
async def setup_integration(set_up: SetUp, config_entry: MockConfigEntry) -> MockConfigEntry:
    """The integration, set up with the shared server."""
    entry = await set_up(config_entry)
    assert entry.state is ConfigEntryState.LOADED, entry.reason
    return entry


@pytest.fixture
async def set_up(hass: HomeAssistant) -> AsyncIterator[SetUp]:
    """Set up entries of any server. At the end they are unloaded, and nothing of ours may be left running."""
    entries: list[MockConfigEntry] = []

    async def add(entry: MockConfigEntry) -> MockConfigEntry:
        entry.add_to_hass(hass)
        entries.append(entry)
        await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        return entry

    yield add
    for entry in entries:
        if entry.state is ConfigEntryState.LOADED:
            assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    await _until_none(_our_tasks, "tasks of the integration are left after its entry was unloaded")


def entry_for(
    server: MeadowlarkServer, *, token: str | None = None, options: dict[str, object] | None = None
) -> MockConfigEntry:
    """A config entry for a server, as the config flow makes it."""
    data: dict[str, object] = {CONF_HOST: server.host, CONF_PORT: server.http_port}
    if token is not None:
        data[CONF_TOKEN] = token
    return MockConfigEntry(domain=DOMAIN, title=NAME, unique_id=server.id, data=data, options=options or {})


@pytest.fixture(autouse=True)
def _house(request: pytest.FixtureRequest) -> None:
    """Where a test has Home Assistant: it loads our integration, and `homeassistant`, which conversation needs, is up.

    Where it has a real server, or says `socket_enabled`, it may connect to 127.0.0.1, and only there.
    """
    names = set(request.fixturenames)
    if names & {"meadowlark", "guarded_meadowlark", "own_meadowlark"}:
        request.getfixturevalue("socket_enabled")
    if "hass" in names:
        request.getfixturevalue("enable_custom_integrations")
        request.getfixturevalue("_homeassistant_component")


@pytest.fixture
async def _homeassistant_component(hass: HomeAssistant) -> None:
    assert await async_setup_component(hass, "homeassistant", {})


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    """After every test, when Home Assistant has ended: no task of ours and no connection. The kit looks for more."""
    before = _connections()
    yield
    await _until_none(_our_tasks, "tasks of the integration are left")
    await _until_none(lambda: _connections() - before, "connections are left")


async def _until_none(find: Callable[[], set[str]], problem: str) -> None:
    """Wait until nothing is found any more: what was closed is gone one or two turns of the loop later."""
    deadline = asyncio.get_running_loop().time() + END_SECONDS
    while (found := find()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  -- nothing tells
        await asyncio.sleep(0.01)
    assert not found, f"{problem}: {', '.join(sorted(found))}"


def _our_tasks() -> set[str]:
    """Tasks that run a coroutine of the integration."""
    found = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if isinstance(code, CodeType) and code.co_filename.startswith(OURS):
            found.add(f"{task.get_name()} ({code.co_qualname})")
    return found


def _connections() -> set[str]:
    """TCP connections that this process has open, by their two ends."""
    return {
        f"{connection.laddr} to {connection.raddr}"
        for connection in psutil.Process().net_connections("tcp")
        if connection.raddr and connection.status != psutil.CONN_NONE
    }
