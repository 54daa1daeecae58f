"""The server goes and comes again, and so does the network."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.page.cable import Cable
from tests.page.visit import Browsers, understood
from tests.support.server import ServerProcess, own_data
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOST = ("WebSocket connection to", "ERR_CONNECTION_REFUSED", "ERR_INTERNET_DISCONNECTED", "ERR_SOCKET_NOT_CONNECTED")
"""Browsers write each attempt into the console."""


@pytest.mark.timeout(300)  # two starts
async def test_the_server_is_started_again(browsers: Browsers, built: None, data_dir: Path, tmp_path: Path) -> None:
    """It knows nothing of the session any more; the page begins another one and keeps what was said."""
    data = ["--data-dir", str(own_data(tmp_path, data_dir))]
    async with AsyncExitStack() as stack:
        server = await started(stack, tmp_path, data)
        address = f"http://127.0.0.1:{server.http_port}"
        visit = await stack.enter_async_context(browsers.visit(address, forgiven=[*LOST, "status of 503"]))
        await visit.open()
        await visit.ask("What is six times seven?")
        await visit.sounds()
        await visit.is_doing("idle")
        await asyncio.to_thread(server.stop)
        await expect(visit["connection"]).to_have_attribute("data-state", "reconnecting")
        await expect(visit.page.get_by_role("button", name="Try now")).to_be_visible()
        await visit.shot("server-gone")
        await visit["text"].fill("What is two times four?")
        await started(stack, tmp_path, ["--http", f"127.0.0.1:{server.http_port}", *data])
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        await visit["send"].click()
        await expect(visit.turn.get_by_test_id("answer")).to_contain_text(re.compile("8|eight"))
        await expect(visit["turn"].nth(1).get_by_test_id("answer")).to_contain_text("42")


async def started(stack: AsyncExitStack, folder: Path, arguments: Sequence[str]) -> ServerProcess:
    """A server of the test's own. It does without a language model, which takes long to load."""
    without = {"MEADOWLARK_AGENT__ORDER": '["ollama"]', "MEADOWLARK_AGENT__OLLAMA__URL": "http://127.0.0.1:9"}
    server = stack.enter_context(ServerProcess(folder, arguments, without))
    await asyncio.to_thread(server.wait_ready)
    return server


async def test_the_network_is_gone_for_a_while(browsers: Browsers, house: Talking, open_server: str) -> None:
    """The answer goes on meanwhile; all of it is heard, and nothing twice."""
    more = asyncio.Event()
    house.begin_anew()
    house.ollama.will_answer(
        "The red bird sings in the old tree. ",
        "The green bird sleeps in the long grass. ",
        more,
        "The black bird drinks from the cold river. ",
        "The white bird flies over the high hill.",
    )
    async with (
        Cable(int(house.address.rpartition(":")[2])) as cable,
        browsers.visit(cable.address, token=house.tokens["user"], forgiven=LOST) as visit,
    ):
        await visit.open()
        await visit.ask("Tell me of the birds.")
        await visit.sounds()
        await cable.pull_out()
        await expect(visit["connection"]).to_have_attribute("data-state", "reconnecting")
        await visit.shot("network-gone")
        more.set()
        await cable.plug_in()
        await expect(visit["connection"]).to_have_attribute("data-state", "connected")
        await expect(visit.turn).to_have_attribute("data-outcome", "completed")
        await expect(visit.turn.get_by_test_id("answer")).to_contain_text("high hill")
        await visit.is_doing("idle")
        heard = re.findall("red|green|black|white", (await understood(visit, open_server)).lower())
        assert heard == ["red", "green", "black", "white"]
