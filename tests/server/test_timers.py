"""Timers that outlive their server and their satellite: real processes of both, ended without a word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from wyoming.event import Event

from handlers.wire.client import WyomingClient
from server.announce_api import PATH
from tests.server.test_pipeline import status
from tests.support.server import ANSWER_SECONDS, ServerProcess, own_data, read_until

pytestmark = pytest.mark.timeout(420)

CONFIG = {"agent": {"order": ["builtin"], "builtin": {"model": ""}, "memory": {"enabled": False}}}
"""Of an agent that is loaded in a moment."""

MAIN = "import sys; from satellite.cli import main; sys.exit(main())"
"""The command `meadowlark-satellite`."""

RING_BYTES = 50_000
"""Of what a satellite plays: a second and a half, which is more than the chime."""


class SatelliteProcess:
    """`meadowlark-satellite` with a microphone that hears nothing, and what it plays."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._played = bytearray()
        self._more = asyncio.Condition()

    async def listen(self) -> None:
        """Take what it plays, until it ends."""
        assert self._process.stdout is not None
        while heard := await self._process.stdout.read(65_536):
            async with self._more:
                self._played += heard
                self._more.notify_all()

    async def plays(self, size: int) -> None:
        """Wait until it has played so many bytes more."""
        wanted = len(self._played) + size
        async with asyncio.timeout(ANSWER_SECONDS), self._more:
            await self._more.wait_for(lambda: len(self._played) >= wanted)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def satellite_process(server: ServerProcess, folder: Path, name: str) -> AsyncIterator[SatelliteProcess]:
    uri = f"tcp://{server.host}:{server.port}"
    command = ["-c", MAIN, "--server", uri, "--mic", "-", "--speaker", "-", "--name", name]
    with (folder / "satellite.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    satellite = SatelliteProcess(process)
    listening = asyncio.create_task(satellite.listen())
    try:
        yield satellite
    finally:
        if process.returncode is None:
            await satellite.kill()
        await listening


@contextlib.asynccontextmanager
async def called(server: ServerProcess, name: str) -> AsyncIterator[WyomingClient]:
    """A satellite that is the test's own."""
    async with server.client() as client:
        await client.send(Event("satellite-connected", {"context": {"satellite_id": name}}))
        await read_until(client, "ping")
        yield client


async def say(client: WyomingClient, text: str, satellite: str) -> str:
    """One request as text; returns the answer."""
    context = {"conversation_id": satellite, "satellite_id": satellite}
    await client.send(Event("transcript", {"text": text, "context": context}))
    return str((await read_until(client, "handled", "error"))[-1].data["text"])


async def timers(client: WyomingClient, satellite: str, holds: Callable[[str], bool]) -> str:
    """Ask for the timers until the answer is as it must become."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while not holds(answer := await say(client, "What timers do I have?", satellite)):  # noqa: ASYNC110 -- asks
            await asyncio.sleep(0.05)
    return answer


def is_over(answer: str) -> bool:
    """Nothing runs or rings at this place, whatever there is elsewhere."""
    return not any(word in answer for word in ("ended", "tea", "rice"))


async def connected(server: ServerProcess, name: str, *, there: bool = True) -> None:
    """Wait until a satellite can be called, or cannot."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while there is not (name in await asyncio.to_thread(_satellites, server)):  # noqa: ASYNC110 -- asks
            await asyncio.sleep(0.05)


def _satellites(server: ServerProcess) -> list[object]:
    found = status(server)["satellites"]
    assert isinstance(found, list)
    return found


async def test_timers(tmp_path: Path, data_dir: Path) -> None:
    """One house for all of it, because its start is what takes time."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(CONFIG))
    arguments = ["--data-dir", str(own_data(tmp_path, data_dir)), "--config", str(config)]
    with ServerProcess(tmp_path, arguments) as server:
        await asyncio.to_thread(server.wait_ready)
        ids = await several_are_set(server)
        await asyncio.to_thread(server.stop, signal.SIGKILL)
    with ServerProcess(tmp_path, arguments) as server:
        await asyncio.to_thread(server.wait_ready)
        await they_ring_where_they_were_set_until_stopped(server, ids)
        await one_rings_at_a_satellite_that_was_started_again(server, tmp_path)
        await one_rings_when_its_satellite_comes(server, tmp_path)


async def several_are_set(server: ServerProcess) -> dict[str, str]:
    """Timers' ids by their names."""
    ids = {}
    async with server.client() as client, called(server, "kitchen") as kitchen, called(server, "hall") as hall:
        for satellite, place, request in (
            (kitchen, "kitchen", "Set a pasta timer for 15 seconds."),
            (hall, "hall", "Set an egg timer for 15 seconds."),
            (kitchen, "kitchen", "Set a bread timer for 2 hours."),
        ):
            await say(client, request, place)
            started = (await read_until(satellite, "timer-started"))[-1].data
            ids[str(started["name"])] = str(started["id"])
        answer = await say(client, "What timers do I have?", "kitchen")
        assert [name in answer for name in ("pasta", "bread")] == [True, True], answer
    assert set(ids) == {"pasta", "egg", "bread"}
    return ids


async def they_ring_where_they_were_set_until_stopped(server: ServerProcess, ids: dict[str, str]) -> None:
    async with server.client() as client, called(server, "kitchen") as kitchen, called(server, "hall") as hall:
        for satellite, name in ((kitchen, "pasta"), (hall, "egg")):
            events = await read_until(satellite, "audio-stop")
            finished = [event.data["id"] for event in events if event.type == "timer-finished"]
            assert finished == [ids[name]]
            started = next(event for event in events if event.type == "audio-start")
            assert started.data["rings"] == ids[name]
            assert sum(len(event.payload or b"") for event in events) > RING_BYTES
            stopped = {"seconds": 1.0, "stopped": True} if name == "pasta" else {}
            await satellite.send(Event("played", {"notice": started.data["notice"], **stopped}))
        again = next(event for event in await read_until(hall, "audio-stop") if event.type == "audio-start")
        assert again.data["rings"] == ids["egg"]  # nobody has stopped it
        await say(client, "Stop.", "hall")
        assert (await read_until(hall, "audio-stop"))[-1].data["abort"] is True
        answer = await timers(client, "kitchen", lambda answer: "pasta" not in answer and "egg" not in answer)
        assert "bread" in answer


async def one_rings_at_a_satellite_that_was_started_again(server: ServerProcess, folder: Path) -> None:
    async with server.client() as client:
        async with satellite_process(server, folder, "porch") as satellite:
            await connected(server, "porch")
            await an_announcement_is_heard(server, satellite)
            await say(client, "Set a tea timer for 10 seconds.", "porch")
            await satellite.kill()
        await connected(server, "porch", there=False)
        async with satellite_process(server, folder, "porch") as satellite:
            await satellite.plays(RING_BYTES)
            await say(client, "Stop.", "porch")
            await timers(client, "porch", is_over)


async def an_announcement_is_heard(server: ServerProcess, satellite: SatelliteProcess) -> None:
    async with aiohttp.ClientSession(f"http://{server.host}:{server.http_port}") as session:
        body = {"text": "Dinner is ready.", "satellites": ["porch", "cellar"]}
        plays = asyncio.create_task(satellite.plays(RING_BYTES))
        async with session.post(PATH, json=body) as answer:
            assert await answer.json() == {"satellites": {"porch": "heard", "cellar": "not-connected"}}
        await plays


async def one_rings_when_its_satellite_comes(server: ServerProcess, folder: Path) -> None:
    await connected(server, "porch", there=False)
    async with server.client() as client:
        await say(client, "Set a rice timer for 1 second.", "porch")
        await timers(client, "porch", lambda answer: "ended" in answer)  # and nobody was there
        async with satellite_process(server, folder, "porch") as satellite:
            await satellite.plays(RING_BYTES)
            await say(client, "Stop.", "porch")
            await timers(client, "porch", is_over)
        assert "bread" in await say(client, "What timers do I have?", "kitchen")
