"""Limits of `WS /api/v1/house` that take long, or a server of another kind: in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from handlers.agent.house.stage import HouseError
from handlers.agent.memory.stage import HOUSEHOLD, Origin, Source
from handlers.agent.stage import AgentSettings
from handlers.models.store import ModelStore
from handlers.pipeline.notices import Notices
from handlers.session import Role, Session
from handlers.timeline import Timeline
from handlers.tts.piper import PiperSynthesizer
from server import house_line, house_session
from server.access import Access
from server.agent_engines import open_agent_engines
from server.house_api import Houses
from server.household import open_memories
from server.http import HttpServer, Status
from server.metrics import Metrics
from server.tokens import Tokens
from tests.support.house import House, open_house
from tests.support.house_client import TOOLS, HomeAssistant, connected
from tests.support.ollama import SOON, FakeOllama
from tests.support.tokens import with_first

LARGE = "x" * 1_000_000
"""A few of these fill what a connection buffers."""


@dataclass
class Served:
    """A server's HTTP side with a house behind it."""

    house: House
    houses: Houses
    url: str


@contextlib.asynccontextmanager
async def serving(status: Status, tokens: Tokens | None = None) -> AsyncIterator[str]:
    http = HttpServer(["127.0.0.1"], 0, status, Metrics(), tokens)
    await http.start()
    try:
        yield f"http://127.0.0.1:{http.port}/api/v1/house"
    finally:
        await http.close()


@pytest.fixture
async def served(tmp_path: Path, piper: PiperSynthesizer) -> AsyncIterator[Served]:
    async with FakeOllama() as ollama, open_house(tmp_path, ollama) as house:
        status = Status()
        status.own.houses = Houses(house.agent, Notices(piper), "its id", 10600, status.own.observe)
        async with serving(status) as url:
            yield Served(house, status.own.houses, url)
            await status.own.houses.close()


@dataclass
class Guarded:
    """A server that asks for a token."""

    served: Served
    tokens: Tokens
    folder: Path

    @contextlib.asynccontextmanager
    async def connected(self, instance: str, secret: str) -> AsyncIterator[HomeAssistant]:
        headers = {"Authorization": f"Bearer {secret}"}
        async with aiohttp.ClientSession() as session, session.ws_connect(self.served.url, headers=headers) as socket:
            await socket.send_json({"type": "hello", "protocol": 1, "instance": instance})
            yield HomeAssistant(socket, await socket.receive_json(timeout=SOON))


@pytest.fixture
async def guarded(tmp_path: Path, piper: PiperSynthesizer) -> AsyncIterator[Guarded]:
    async with FakeOllama() as ollama, open_house(tmp_path, ollama) as house:
        status, tokens = Status(), Tokens(tmp_path)
        status.own.houses = Houses(house.agent, Notices(piper), "its id", 10600, status.own.observe)
        async with serving(status, tokens) as url:
            yield Guarded(Served(house, status.own.houses, url), tokens, tmp_path)
            await status.own.houses.close()


async def until_alone(served: Served) -> None:
    async with asyncio.timeout(SOON):
        while served.houses.as_list():  # noqa: ASYNC110 -- ends with the connection
            await asyncio.sleep(0.005)


async def test_who_says_nothing_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_session, "HELLO_SECONDS", 0.01)
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url) as socket:
        refused = await socket.receive_json(timeout=SOON)
        assert (refused["type"], refused["code"]) == ("refused", "no-hello")
        assert (await socket.receive(SOON)).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4408


async def test_who_takes_nothing_is_dropped_and_the_others_are_not_kept_waiting(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house_line, "MOST_WAITING", 4)
    async with connected(served.url, {"instance": "quick"}) as quick, connected(served.url, toolset=TOOLS) as slow:
        await slow.say("What time is it?")
        announcing = [asyncio.create_task(served.house.agent.house.announce("", LARGE, "en")) for _ in range(32)]
        assert await asyncio.gather(*announcing) == [False] * 32
        assert (await quick.say("What time is it?"))["type"] == "turn-end"
        assert await slow.closed() == 4413
    await until_alone(served)


async def test_timelines_are_dropped_first(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_line, "MOST_WAITING", 4)
    async with connected(served.url) as home:
        for _ in range(100):  # without a wait between them nothing can be sent
            served.houses.tell_timeline(Timeline("a turn"))
        assert (await home.say("What time is it?"))["type"] == "turn-end"
        assert len(home.of("timeline")) <= 5


async def test_who_takes_nothing_more_at_all_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_line, "SEND_SECONDS", 0.05)
    async with connected(served.url, toolset=TOOLS) as home:
        await home.say("What time is it?")
        announcing = [asyncio.create_task(served.house.agent.house.announce("", LARGE, "en")) for _ in range(16)]
        assert await asyncio.gather(*announcing) == [False] * 16
        await until_alone(served)


async def test_the_server_says_goodbye(served: Served) -> None:
    async with connected(served.url, toolset=TOOLS) as home:
        await home.say("What time is it?")
        lent = served.house.agent.house.lent("en")
        assert lent is not None
        closing = asyncio.create_task(served.houses.close())
        assert await home.closed() == 1001
        async with asyncio.timeout(SOON):
            await closing
        assert served.house.agent.house.lent("en") is None
        with pytest.raises(HouseError):
            await lent.lender.announce("", "Hello", "en")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(served.url):
                pass
        assert refused.value.status == 503


async def test_half_a_character_is_a_question_mark(served: Served) -> None:
    """A language model may write one, and JSON cannot carry it."""
    async with connected(served.url, toolset=TOOLS) as home:
        await home.say("What time is it?")
        announcing = asyncio.create_task(served.house.agent.house.announce("", "caf\ud800", "en"))
        told = await home.until("announce")
        assert told["text"] == "caf?"
        await home.send("reply", to=told["id"], heard=True)
        assert await announcing is True


async def test_who_leaves_in_the_middle_of_the_upgrade_leaves_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    key = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    request = f"GET /api/v1/house HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    port = int(urlsplit(served.url).port or 0)
    for number in range(32):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.encode())
        if number % 2:
            writer.close()
        else:
            writer.transport.abort()
    async with connected(served.url) as home:
        assert (await home.say("What time is it?"))["type"] == "turn-end"
    await until_alone(served)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_server_that_is_loading_says_so() -> None:
    async with serving(Status()) as url, aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 503
        assert "loading" in (await answer.json())["error"]


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401), ("secret", 503)])
async def test_a_token_is_asked_for(tmp_path: Path, token: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with serving(Status(), with_first(tmp_path)) as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers=headers)
    assert refused.value.status == status


@pytest.mark.parametrize(("role", "user"), [(Role.USER, ""), (Role.ADMIN, "anna")], ids=["user", "person"])
async def test_a_token_that_is_not_for_houses_is_refused(guarded: Guarded, role: Role, user: str) -> None:
    """A person's would make everybody in that house this person."""
    secret = guarded.tokens.add("phone", role, user)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(guarded.served.url)
        assert refused.value.status == 403
        handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        handshake["Sec-WebSocket-Key"] = "MDEyMzQ1Njc4OWFiY2RlZg=="
        async with session.get(guarded.served.url, headers=handshake) as answer:
            told = (await answer.json())["error"]
    assert "'phone'" in told
    assert "meadowlark-server token add 'Home Assistant' --role admin" in told


async def test_one_token_has_half_of_the_places(guarded: Guarded) -> None:
    secret, other = (guarded.tokens.add(name, Role.ADMIN) for name in ("home", "another"))
    async with contextlib.AsyncExitStack() as staying:
        for number in range(4):
            home = await staying.enter_async_context(guarded.connected(f"house {number}", secret))
            assert home.welcome["type"] == "welcome"
        async with guarded.connected("one more", secret) as fifth:
            assert fifth.welcome["code"] == "too-many"
        home = await staying.enter_async_context(guarded.connected("house 3", other))  # replaces nobody
        assert home.welcome["type"] == "welcome"
        assert len(guarded.served.houses.as_list()) == 5
        await staying.enter_async_context(guarded.connected("house 3", secret))  # the one before
        assert len(guarded.served.houses.as_list()) == 5


async def test_one_token_has_half_of_the_connections(guarded: Guarded) -> None:
    """Those that have not said yet who they are count, too."""
    one, other = ({"Authorization": f"Bearer {guarded.tokens.add(name, Role.ADMIN)}"} for name in ("home", "another"))
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as opened:
        for _ in range(8):
            await opened.enter_async_context(session.ws_connect(guarded.served.url, headers=one))
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
            await session.ws_connect(guarded.served.url, headers=one)
        async with session.ws_connect(guarded.served.url, headers=other):
            pass


async def test_the_same_conversation_with_another_token_is_another_one(guarded: Guarded) -> None:
    names = ("home", "another")
    for name in names:
        async with guarded.connected("house", guarded.tokens.add(name, Role.ADMIN)) as home:
            for _ in range(2):
                end = await home.say("What time is it?", conversation_id="same")
                assert end["type"] == "turn-end"
    conversations = guarded.served.house.agent.conversations
    for name in names:
        session = Session(conversation=Access(name).conversation("same"))
        assert len(conversations.history(session)) == 2


@pytest.mark.parametrize("change", ["revoked", "guest", "unreadable"])
@pytest.mark.parametrize("noticed", ["by its next turn", "in time"])
async def test_a_token_that_is_worth_less_ends_its_connection(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, change: str, noticed: str
) -> None:
    if noticed == "in time":
        monkeypatch.setattr(house_session, "CHECK_SECONDS", 0.01)
    secret = guarded.tokens.add("home", Role.ADMIN)
    kept = guarded.tokens.add("another", Role.ADMIN)
    async with (
        guarded.connected("another", kept) as other,
        guarded.connected("home", secret) as home,
    ):
        assert (await home.say("What time is it?"))["type"] == "turn-end"
        file = guarded.folder / "tokens.json"
        if change == "revoked":
            guarded.tokens.revoke("home")
        elif change == "guest":
            document = json.loads(file.read_text())
            document["tokens"][0]["role"] = "guest"
            file.write_text(json.dumps(document))
        else:
            file.write_text("{")
        if noticed == "by its next turn":
            await home.send("turn", id="a", text="What time is it?", language="en")
        assert await home.closed() == (1011 if change == "unreadable" else 4401)
        assert len(home.of("turn-end")) == 1
        if change != "unreadable":
            assert (await other.say("What time is it?"))["type"] == "turn-end"


async def test_people_are_called_as_the_house_calls_them(tmp_path: Path, store: ModelStore) -> None:
    """Unless the settings say so; also when the house comes later, and by all of the memory."""
    settings = AgentSettings.model_validate(
        {"order": ["builtin"], "builtin": {"model": ""}, "access": {"users": {"b2": {"name": "Robert"}}}}
    )
    people: dict[str, str] = {}
    engines = await open_agent_engines(settings, store, lambda *_: None)
    memories, _ = await open_memories(settings, tmp_path, engines, people)
    assert memories is not None
    try:
        people |= {"a1": "Anna", "b2": "Bob"}
        assert [memories.name(user) for user in ("a1", "b2", "c3")] == ["Anna", "Robert", "c3"]
        for speaker in ("a1", "b2"):
            note = await memories.add(HOUSEHOLD, f"The ladder of {speaker} is red.", Source(Origin.SAID, speaker))
            assert memories.sentence(note).split(" (")[1].startswith(f"{memories.name(speaker)} said so")
        found = await memories.search([HOUSEHOLD], "What did Anna say about the ladder?", 1)
        assert [recalled.note.source.speaker for recalled in found] == ["a1"]
    finally:
        await memories.close()
        await engines.close()
