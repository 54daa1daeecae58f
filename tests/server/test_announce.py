"""Announcements over HTTP: a real server of aiohttp, a real household, and satellites that are the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from wyoming.event import Event

from handlers.agent.stage import AgentSettings
from handlers.models.store import ModelStore
from handlers.pipeline.notices import NoticeHandler
from handlers.session import Role
from handlers.tts.piper import PiperSynthesizer
from handlers.wire.client import WyomingClient, connect
from server import announce_api
from server.access import Gate
from server.agent_engines import open_agent_engines
from server.announce_api import PATH, AnnounceApi
from server.household import Household, open_household
from server.json_api import answer_in_json
from server.tokens import Tokens
from server.wyoming import WyomingServer
from tests.support.server import ANSWER_SECONDS, read_until
from tests.support.tokens import with_first

NO_MODELS = {"order": ["builtin"], "builtin": {"model": ""}, "memory": {"enabled": False}}
"""Settings of an agent that is loaded in a moment."""


@dataclass
class Home:
    """What a test talks with: HTTP, and the port of satellites."""

    url: str
    session: aiohttp.ClientSession
    household: Household
    tokens: Tokens
    wyoming_port: int
    folder: Path

    async def announce(self, token: str = "first", **body: Any) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.post(self.url + PATH, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    @contextlib.asynccontextmanager
    async def satellite(self, name: str) -> AsyncIterator[WyomingClient]:
        async with connect("127.0.0.1", self.wyoming_port) as client:
            await client.send(Event("satellite-connected", {"context": {"satellite_id": name}}))
            await read_until(client, "ping")
            yield client

    async def acted(self) -> list[dict[str, object]]:
        """The attempts and results that were written down, with nothing under way any more."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                text = "".join(path.read_text() for path in sorted((self.folder / "audit").iterdir()))
                lines = [json.loads(line) for line in text.splitlines()]
                if len(lines) % 2 == 0:  # what follows an attempt is written a moment later
                    return lines
                await asyncio.sleep(0.005)


@pytest.fixture
async def home(tmp_path: Path, store: ModelStore, piper: PiperSynthesizer) -> AsyncIterator[Home]:
    settings = AgentSettings.model_validate(NO_MODELS)
    engines = await open_agent_engines(settings, store, lambda *_: None)
    household = await open_household(settings, tmp_path, engines, piper)
    wyoming = WyomingServer(
        "127.0.0.1",
        0,
        describe=lambda: Event("info", {}),
        services=lambda connection: [NoticeHandler(connection, household.notices)],
    )
    await wyoming.start()
    tokens = with_first(tmp_path, "first")
    app = web.Application(middlewares=[Gate(tokens).middleware(), answer_in_json])
    app.add_routes([AnnounceApi(lambda _: household).route()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    timeout = aiohttp.ClientTimeout(ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Home(url, session, household, tokens, wyoming.port, tmp_path)
    await runner.cleanup()
    await wyoming.close()
    await household.close()
    await engines.close()


async def hear(client: WyomingClient, **data: object) -> tuple[Event, bytes]:
    """Play one notice, and say what came of it."""
    events = await read_until(client, "audio-stop")
    await client.send(Event("played", {"notice": events[0].data["notice"], **data}))
    return events[0], b"".join(event.payload or b"" for event in events)


async def test_some_satellites_hear_it_at_the_same_time(home: Home) -> None:
    async with home.satellite("kitchen") as kitchen, home.satellite("hall") as hall, home.satellite("attic") as attic:
        told = asyncio.create_task(
            home.announce(text=" Dinner is ready. ", satellites=["kitchen", "hall", "cellar", "kitchen"])
        )
        both = [await read_until(client, "audio-stop") for client in (kitchen, hall)]  # neither waits for the other
        assert [events[0].type for events in both] == ["audio-start"] * 2
        assert sum(len(event.payload or b"") for event in both[0]) > 60_000
        assert "rings" not in both[0][0].data
        notice = both[0][0].data["notice"]
        await kitchen.send(Event("played", {"notice": notice, "seconds": 0.5, "stopped": True}))
        assert not told.done()  # whoever stops it in the kitchen does not stop it in the hall
        await hall.send(Event("played", {"notice": notice}))
        assert await told == (200, {"satellites": {"kitchen": "stopped", "hall": "heard", "cellar": "not-connected"}})
        await attic.send(Event("satellite-connected", {"context": {"satellite_id": "attic"}}))
        assert [event.type for event in await read_until(attic, "error")] == ["error"]  # and nothing before that
    attempt, result = await home.acted()
    assert (attempt["tool"], attempt["role"], attempt["token"]) == ("announce", "admin", "first")
    assert attempt["arguments"] == {"text": "Dinner is ready.", "satellites": ["kitchen", "hall", "cellar"]}
    assert result["result"] == "kitchen: stopped, hall: heard, cellar: not-connected"


@pytest.mark.parametrize("everywhere", [{}, {"satellites": "all"}])
async def test_all_satellites_hear_it(home: Home, everywhere: dict[str, Any]) -> None:
    async with home.satellite("kitchen") as kitchen, home.satellite("hall") as hall:
        told = asyncio.create_task(home.announce(text="Dinner is ready.", **everywhere))
        await hear(kitchen)
        await hear(hall, seconds=0.0)
        assert await told == (200, {"satellites": {"kitchen": "heard", "hall": "nobody"}})


async def test_with_and_without_a_chime_and_in_a_language(home: Home) -> None:
    async with home.satellite("kitchen") as kitchen:
        lengths = []
        for chime in (True, False):
            told = asyncio.create_task(home.announce(text="Dinner is ready.", chime=chime, language="xx"))
            lengths.append(len((await hear(kitchen))[1]))
            assert (await told)[0] == 200
        assert lengths[0] > lengths[1] + 30_000


async def test_one_that_never_answers_is_not_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce_api, "_PLAY_SECONDS", 0.5)
    async with home.satellite("kitchen") as kitchen:
        told = asyncio.create_task(home.announce(text="Dinner is ready."))
        await read_until(kitchen, "audio-stop")
        assert await told == (200, {"satellites": {"kitchen": "nobody"}})
        assert (await read_until(kitchen, "audio-stop"))[-1].data["abort"] is True
    assert (await home.acted())[1]["failed"] is True


async def test_nobody_is_there(home: Home) -> None:
    status, answer = await home.announce(text="Hello.", satellites=["kitchen"])
    assert (status, answer) == (404, {"error": "No satellite is connected to the server: start one, and try again"})
    async with home.satellite("hall"), home.satellite("attic"):
        status, answer = await home.announce(text="Hello.", satellites=["kitchen"])
        assert (status, answer) == (404, {"error": "No satellite of this name is connected; there are: hall, attic"})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "  "},
        {"text": "x" * 1001},
        {"text": "a\0b"},
        {"text": "Hello.", "satellites": []},
        {"text": "Hello.", "satellites": "kitchen"},
        {"text": "Hello.", "satellites": [5]},
        {"text": "Hello.", "satellites": ["kitchen"] * 101},
        {"text": "Hello.", "chime": "loud"},
        {"text": "Hello.", "volume": 3},
    ],
)
async def test_what_cannot_be_announced(home: Home, body: dict[str, Any]) -> None:
    async with home.satellite("kitchen"):
        status, answer = await home.announce(**body)
        assert status == 400
        assert str(answer["error"])


async def test_nothing_in_it_can_be_spoken(home: Home) -> None:
    async with home.satellite("kitchen"):
        status, answer = await home.announce(text="🙂")
        assert (status, answer) == (422, {"error": "There is nothing in this text that can be spoken"})


async def test_who_may(home: Home) -> None:
    guest, user = (home.tokens.add(role.word, role) for role in (Role.GUEST, Role.USER))
    async with home.satellite("kitchen") as kitchen:
        assert (await home.announce(token=guest, text="Hello."))[0] == 403
        assert (await home.announce(token="none", text="Hello."))[0] == 401
        told = asyncio.create_task(home.announce(token=user, text="Hello."))
        await hear(kitchen)
        assert (await told)[0] == 200


async def test_only_so_many_at_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce_api, "MOST_AT_ONCE", 1)
    async with home.satellite("kitchen") as kitchen:
        told = asyncio.create_task(home.announce(text="Hello."))
        started = (await read_until(kitchen, "audio-stop"))[0]
        assert (await home.announce(text="And again."))[0] == 429
        await kitchen.send(Event("played", {"notice": started.data["notice"]}))
        assert (await told)[0] == 200
        told = asyncio.create_task(home.announce(text="And again."))
        await hear(kitchen)
        assert (await told)[0] == 200


async def test_what_is_said_is_not_done(home: Home) -> None:
    async with home.satellite("kitchen") as kitchen:
        told = asyncio.create_task(home.announce(text="Set a timer for 5 minutes."))
        await hear(kitchen)
        assert (await told)[0] == 200
    assert [line["tool"] for line in await home.acted() if line["event"] == "attempt"] == ["announce"]


async def test_a_name_belongs_to_the_satellite_that_is_there(home: Home) -> None:
    async with home.satellite("kitchen") as first:

        async def live() -> None:
            while (event := await first.receive(60)) is not None:
                if event.type == "ping":
                    await first.send(Event("pong", {}))

        living = asyncio.create_task(live())
        try:
            async with connect("127.0.0.1", home.wyoming_port) as second:
                await second.send(Event("satellite-connected", {"context": {"satellite_id": "kitchen"}}))
                refused = (await read_until(second, "error"))[-1]
            assert list(home.household.notices.connected) == ["kitchen"]
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
        # One that answers no ping any more, as it was unplugged, is not in the way.
        async with connect("127.0.0.1", home.wyoming_port) as third:
            await third.send(Event("satellite-connected", {"context": {"satellite_id": "kitchen"}}))
            lost = (await read_until(first, "error"))[-1]
    assert refused.data["code"] == "replaced"
    assert "--name" in refused.data["text"]
    assert lost.data["code"] == "replaced"
