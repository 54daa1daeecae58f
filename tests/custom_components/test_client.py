"""The HTTP API, asked of a real server, and of servers that break off, hang, or are something else."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession

from custom_components.meadowlark import client as client_module
from custom_components.meadowlark.client import (
    CannotConnectError,
    Client,
    ClientError,
    InvalidAuthError,
    NoMemoryError,
    NoSuchMemoryError,
    NotMeadowlarkError,
    NotReadyError,
    RefusedError,
    TooManyTriesError,
    TooNewError,
    TooOldError,
    WeakTokenError,
)
from custom_components.meadowlark.const import HOUSE_PROTOCOL

from .support.http_server import STATUS, HttpServer
from .support.server import MeadowlarkServer

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def test_a_real_server_says_what_it_is(session: ClientSession, meadowlark: MeadowlarkServer) -> None:
    client = Client(session, meadowlark.host, meadowlark.http_port, None)
    server = await client.server()
    await client.check_ready()
    assert server.id == meadowlark.id
    assert (server.host, server.wyoming_port) == (meadowlark.host, meadowlark.wyoming_port)
    assert server.house_protocol == HOUSE_PROTOCOL
    assert server.url == f"{meadowlark.url}/"
    assert server.version
    assert server.name
    assert (await client.status())["version"] == server.version


async def test_a_guarded_server_wants_its_token(session: ClientSession, guarded_meadowlark: MeadowlarkServer) -> None:
    port = guarded_meadowlark.http_port
    for token in (None, "", "wrong"):
        refused = Client(session, "127.0.0.1", port, token)
        with pytest.raises(InvalidAuthError):
            await refused.server()
        with pytest.raises(InvalidAuthError):
            await refused.recall("anything", 1)
        await refused.check_ready()  # a health check needs none
    client = Client(session, "127.0.0.1", port, guarded_meadowlark.token)
    assert (await client.server()).id == guarded_meadowlark.id
    assert client.headers == {"Authorization": f"Bearer {guarded_meadowlark.token}"}


async def test_a_memory_is_kept_found_and_forgotten(session: ClientSession, meadowlark: MeadowlarkServer) -> None:
    client = Client(session, meadowlark.host, meadowlark.http_port, None)
    word = f"zebra{uuid.uuid4().hex[:8]}"
    first = await client.remember(f"The {word} eats hay at noon.")
    second = await client.remember(f"The {word} sleeps in the barn.", language="en")

    found = await client.recall(f"{word} hay", 5)
    assert found[0].content == first.content
    assert found[0].created > 0
    assert found[0].score > 0

    assert await client.forget(first.id) == first
    assert first.id not in {memory.id for memory in await client.recall(f"{word} hay", 5)}
    with pytest.raises(NoSuchMemoryError):
        await client.forget(first.id)

    assert await client.forget_about(f"{word} hay") == (0, [])
    assert await client.forget_about(word) == (1, [second])
    assert second.id not in {memory.id for memory in await client.recall(word, 5)}


async def test_memories_of_a_person_are_theirs(session: ClientSession, meadowlark: MeadowlarkServer) -> None:
    client = Client(session, meadowlark.host, meadowlark.http_port, None)
    word = f"quince{uuid.uuid4().hex[:8]}"
    mine = await client.remember(f"The {word} jam is for me.", "person:anna")
    assert word not in str(await client.recall(word, 100))
    assert (await client.recall(word, 1, "person:anna"))[0].id == mine.id
    with pytest.raises(NoSuchMemoryError):
        await client.forget(mine.id)
    assert await client.forget_about(word, "person:anna") == (1, [mine])


async def test_the_server_refuses_what_it_must_not_keep(session: ClientSession, meadowlark: MeadowlarkServer) -> None:
    client = Client(session, meadowlark.host, meadowlark.http_port, None)
    with pytest.raises(RefusedError, match="password"):
        await client.remember("The password of the router is hunter2.")
    with pytest.raises(RefusedError):
        await client.remember("")


@pytest.mark.parametrize("memory_id", ["..", "a/b", "%2e%2e", "?tenant=person:anna", "söder", "#"])
async def test_an_id_is_never_a_path(session: ClientSession, meadowlark: MeadowlarkServer, memory_id: str) -> None:
    client = Client(session, meadowlark.host, meadowlark.http_port, None)
    with pytest.raises(NoSuchMemoryError):
        await client.forget(memory_id)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"house_protocol": None}, TooOldError),
        ({"house_protocol": HOUSE_PROTOCOL + 1}, TooNewError),
        ({"house_protocol": "1"}, TooOldError),
        ({"id": None}, NotMeadowlarkError),
        ({"id": ""}, NotMeadowlarkError),
        ({"version": 3}, NotMeadowlarkError),
        ({"wyoming_port": None}, NotMeadowlarkError),
    ],
)
async def test_other_versions_are_told_apart(
    session: ClientSession, said: dict[str, object], error: type[ClientError]
) -> None:
    async with HttpServer(**said) as server:
        with pytest.raises(error) as raised:
            await Client(session, server.host, server.http_port, None).server()
    if error in (TooOldError, TooNewError):
        assert str(raised.value) == STATUS["version"]


@pytest.mark.parametrize(
    ("refusal", "error"), [(401, InvalidAuthError), (403, InvalidAuthError), (429, TooManyTriesError)]
)
async def test_refusals_are_told_apart(session: ClientSession, refusal: int, error: type[ClientError]) -> None:
    async with HttpServer() as server:
        server.refusal = refusal
        with pytest.raises(ClientError) as raised:
            await Client(session, server.host, server.http_port, "some").server()
    assert type(raised.value) is error


@pytest.mark.parametrize("role", ["guest", "user", None])
async def test_a_house_needs_an_admins_token(session: ClientSession, role: str | None) -> None:
    async with HttpServer(access={"role": "admin", "token": "mine"}) as server:
        client = Client(session, server.host, server.http_port, "some")
        assert (await client.server()).id == STATUS["id"]
        server.status = {**server.status, "access": {"role": role, "token": "theirs"}}
        with pytest.raises(WeakTokenError):
            await client.server()


async def test_why_it_is_not_ready(session: ClientSession) -> None:
    async with HttpServer(problem="engines are loading") as server:
        with pytest.raises(NotReadyError, match="engines are loading"):
            await Client(session, server.host, server.http_port, None).check_ready()


async def test_a_server_without_memory_says_so(session: ClientSession) -> None:
    async with HttpServer() as server:
        client = Client(session, server.host, server.http_port, None)
        for ask in (client.remember("x"), client.recall("x", 1), client.forget("x"), client.forget_about("x")):
            with pytest.raises(NoMemoryError, match="switched off"):
                await ask


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")


async def _speak_something_else(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")


async def _flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


def _answer(body: bytes, status: str = "200 OK") -> Callable[..., Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)

    return answer


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (_hang, CannotConnectError),
        (_break_off, CannotConnectError),
        (_speak_something_else, CannotConnectError),
        (_flood, NotMeadowlarkError),
    ],
)
async def test_what_misbehaves_ends_within_the_deadline(
    session: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    error: type[ClientError],
) -> None:
    if behave is _hang:
        monkeypatch.setattr(client_module, "_ANSWER_SECONDS", 0.2)
    async with _listening(behave) as port:
        with pytest.raises(error):
            await Client(session, "127.0.0.1", port, None).server()


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"<html>router</html>", "200 OK", NotMeadowlarkError),
        (b"[1]", "200 OK", NotMeadowlarkError),
        (b'{"version": "2"}', "200 OK", NotMeadowlarkError),
        (b"", "404 Not Found", NotMeadowlarkError),
        (b"", "302 Found", NotMeadowlarkError),
        (b"oops", "502 Bad Gateway", CannotConnectError),
        (b"", "403 Forbidden", NotMeadowlarkError),
    ],
)
async def test_something_else_is_recognized(
    session: ClientSession, body: bytes, status: str, error: type[ClientError]
) -> None:
    async with _listening(_answer(body, status)) as port:
        with pytest.raises(error):
            await Client(session, "127.0.0.1", port, None).server()


def test_an_ipv6_address_gets_its_brackets(session: ClientSession) -> None:
    assert Client(session, "fd00::5", 10680, None).url == "http://[fd00::5]:10680/"


class _listening:  # noqa: N801 - reads as what it does
    """A TCP server on a free port that behaves in one way to everybody, until the block ends."""

    def __init__(self, behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._behave = behave
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *failure: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._behave(reader, writer)
        except OSError, asyncio.IncompleteReadError:
            return
        finally:
            writer.close()
