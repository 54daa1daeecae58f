"""What the tests of the page share: its build, Chromium, a server open on loopback and one that asks for tokens.

All of them run in the loop of the session, as the browser and the language model of the second server do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from tests.page.visit import PATIENCE_MS, Browsers
from tests.support.server import ServerProcess
from tests.support.talking import Talking, talking

_ROOT = Path(__file__).parent.parent.parent

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

_BUILD_SECONDS = 300.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", type=Path, help="keep pictures of the page's main states there")


@pytest.fixture(scope="session")
def built() -> None:
    """The page is up to date before a server reads it."""
    try:
        subprocess.run(
            [_ROOT / "script" / "page"],
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        pytest.skip(f"The page cannot be built: {error.stderr.strip().rpartition('error: ')[2]}")


@pytest.fixture(scope="session")
def open_server(built: None, request: pytest.FixtureRequest) -> str:
    """The address of a server that asks nobody for a token."""
    server: ServerProcess = request.getfixturevalue("server")
    return f"http://{server.host}:{server.http_port}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(built: None, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talking]:
    """A server that asks for tokens, whose language model's answers the tests write down."""
    async with talking(tmp_path_factory.mktemp("house"), data_dir) as house:
        yield house


@pytest.fixture(scope="session")
def shots(request: pytest.FixtureRequest) -> Path | None:
    """Where somebody wants to have pictures."""
    folder: Path | None = request.config.getoption("--screenshots")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers(tmp_path_factory: pytest.TempPathFactory, shots: Path | None) -> AsyncIterator[Browsers]:
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("There is no Chromium: sudo apt install chromium, or set CHROMIUM")
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browsers = Browsers(playwright.chromium, program, tmp_path_factory.mktemp("browsers"), shots)
        yield browsers
        await browsers.close()
