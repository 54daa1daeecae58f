"""One connection's life, over real sockets, with the `wyoming` library as the peer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

import pytest
from wyoming.error import Error
from wyoming.event import Event, async_read_event
from wyoming.ping import Ping, Pong

from handlers.errors import DeadlineError, ProtocolError, RequestError
from handlers.wire.client import WyomingClient, connect, parse_uri
from handlers.wire.connection import Connection, PeerGoneError, Service
from handlers.wire.reader import DEFAULT_LIMITS

INFO = Event("info", {"asr": []})
SOON = 10.0
"""A deadline that only a defect reaches."""


class Work:
    """A service with one kind of request for every way in which work can go."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.gone = asyncio.Event()

    def wants(self, event_type: str) -> bool:
        return event_type.startswith("test-")

    async def handle(self, event: Event) -> None:
        match event.type:
            case "test-wait":
                self.connection.start(self._wait(), "wait")
            case "test-flood":
                self.connection.start(self._flood(), "flood")
            case "test-request-error":
                raise RequestError("unknown-voice", "There is no such voice")
            case "test-defect":
                self.connection.start(self._defect(ValueError("a defect")), "defect")
            case "test-engine-gone":
                self.connection.start(self._defect(ConnectionRefusedError("the engine's own")), "defect")
            case "test-engine-slow":
                self.connection.start(self._defect(TimeoutError()), "defect")
            case "test-group":
                self.connection.start(self._group(), "group")

    async def _wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            with contextlib.suppress(PeerGoneError):
                await self.connection.send(Event("audio-stop"))  # what a service may do on its way out

    async def _flood(self) -> None:
        try:
            while True:
                await self.connection.send(Event("flood", {}, bytes(64 * 1024)))
        finally:
            self.gone.set()

    async def _defect(self, error: Exception) -> None:
        raise error

    async def _group(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._defect(RequestError("busy", "Try again")))


class Host:
    """Accepts one connection and serves it."""

    def __init__(self, send_seconds: float, idle: float) -> None:
        self._send_seconds = send_seconds
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[tuple[Connection, Work]] = self._loop.create_future()
        self.served: asyncio.Future[None] = self._loop.create_future()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection("test", reader, writer, lambda: INFO, idle=self._idle, send_seconds=self._send_seconds)
        work = Work(connection)
        services: list[Service] = [work]
        self.accepted.set_result((connection, work))
        await connection.serve(services)
        self.served.set_result(None)


@contextlib.asynccontextmanager
async def hosting(send_seconds: float = 30.0, idle: float = 600.0) -> AsyncIterator[tuple[Host, int]]:
    host = Host(send_seconds, idle)
    server = await asyncio.start_server(host, "127.0.0.1", 0, limit=DEFAULT_LIMITS.header)
    try:
        yield host, server.sockets[0].getsockname()[1]
        async with asyncio.timeout(SOON):
            await host.served
    finally:
        server.close()


async def test_describe_and_ping_are_answered_while_a_task_works(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting() as (host, port), connect("127.0.0.1", port) as client:
        await client.send(Event("test-wait"))
        _, work = await host.accepted
        await asyncio.wait_for(work.started.wait(), SOON)
        await client.send(Event("describe"))
        assert await client.receive(SOON) == INFO
        await client.send(Ping(text="hello").event())
        assert await client.receive(SOON) == Pong(text="hello").event()
        await client.send(Event("ping"))
        assert await client.receive(SOON) == Pong().event()
        assert not work.cancelled.is_set()
        await client.send(Event("something-new", {"x": 1}, b"payload"))  # unknown events are dropped
        await client.send(Event("describe"))
        assert await client.receive(SOON) == INFO
    assert work.cancelled.is_set()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_half_a_close_after_describe_still_gets_its_answer() -> None:
    async with hosting() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type":"describe"}\n')
        writer.write_eof()
        assert await async_read_event(reader) == INFO
        assert await reader.read() == b""
        writer.close()


async def test_half_a_close_cancels_work() -> None:
    async with hosting() as (host, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type":"test-wait"}\n')
        _, work = await host.accepted
        await asyncio.wait_for(work.started.wait(), SOON)
        writer.write_eof()
        await asyncio.wait_for(work.cancelled.wait(), SOON)
        writer.close()


async def test_a_malformed_event_cancels_work_and_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with hosting() as (host, port), connect("127.0.0.1", port) as client:
        await client.send(Event("test-wait"))
        _, work = await host.accepted
        await asyncio.wait_for(work.started.wait(), SOON)
        client._writer.write(b"no JSON\n")
        answers = [await client.receive(SOON), await client.receive(SOON), await client.receive(SOON)]
        assert work.cancelled.is_set()
        assert [answer and answer.type for answer in answers] == ["audio-stop", "error", None]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_peer_that_reads_nothing_is_dropped() -> None:
    async with hosting(send_seconds=0.2) as (host, port):
        loop = asyncio.get_running_loop()
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, ("127.0.0.1", port))
            await loop.sock_sendall(peer, b'{"type":"test-flood"}\n')
            _, work = await host.accepted
            await asyncio.wait_for(work.gone.wait(), SOON)
            await asyncio.wait_for(asyncio.shield(host.served), SOON)


@pytest.mark.parametrize(
    ("request_type", "code", "errors_logged"),
    [
        ("test-request-error", "unknown-voice", 0),
        ("test-group", "busy", 0),
        ("test-defect", "internal", 1),
        ("test-engine-gone", "internal", 1),
        ("test-engine-slow", "internal", 1),
    ],
)
async def test_failures_are_answered_and_the_connection_goes_on(
    request_type: str, code: str, errors_logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting() as (_, port), connect("127.0.0.1", port) as client:
        await client.send(Event(request_type))
        answer = await client.receive(SOON)
        assert answer is not None
        assert Error.from_event(answer).code == code
        await client.send(Event("describe"))
        assert await client.receive(SOON) == INFO
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == errors_logged


async def test_an_idle_peer_is_told_and_closed_but_not_while_a_task_works() -> None:
    async with hosting(idle=0.05) as (host, port), connect("127.0.0.1", port) as client:
        await client.send(Event("test-wait"))
        connection, work = await host.accepted
        await asyncio.wait_for(work.started.wait(), SOON)
        with pytest.raises(DeadlineError):
            await client.receive(0.3)
        assert connection.working
        assert connection.silent_seconds > 0.05
    async with hosting(idle=0.05) as (_, port), connect("127.0.0.1", port) as client:
        answer = await client.receive(SOON)
        assert answer is not None
        assert Error.from_event(answer).code == "idle"
        assert await client.receive(SOON) is None


async def test_a_dismissed_peer_reads_why() -> None:
    async with hosting() as (host, port), connect("127.0.0.1", port) as client:
        await client.send(Event("describe"))
        assert await client.receive(SOON) == INFO
        connection, _ = await host.accepted
        connection.dismiss(ProtocolError("The server is full", code="idle"))
        answer = await client.receive(SOON)
        assert answer is not None
        assert Error.from_event(answer) == Error(text="The server is full", code="idle")
        assert await client.receive(SOON) is None


async def test_work_that_is_cancelled_before_it_began_leaves_no_warning() -> None:
    async with hosting() as (host, port), connect("127.0.0.1", port):
        connection, work = await host.accepted
        task = connection.start(work._wait(), "never begins")
        await connection.close()
        assert task.cancelled()
        assert not work.started.is_set()
        late = connection.start(work._wait(), "too late")
        await asyncio.wait([late])
        assert late.cancelled()


async def test_the_client_goes_on_after_a_deadline_and_sees_the_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"type":"pong"}\n')
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with connect("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
        with pytest.raises(DeadlineError):
            await client.receive(0.02)
        await client.send(Event("ping"))
        assert await client.receive(SOON) == Event("pong")
        assert await client.receive(SOON) is None
    server.close()


async def test_the_client_closes_though_the_server_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.timeout(SOON):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(bytes(16 * 1024 * 1024))
            await WyomingClient(reader, writer).close()
        assert writer.transport.is_closing()
        assert writer.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("tcp://pi.local:10600", ("pi.local", 10600)),
        ("pi.local", ("pi.local", 99)),
        ("tcp://[fd00::2]:10600", ("fd00::2", 10600)),
        ("192.0.2.1:0", ("192.0.2.1", 0)),
    ],
)
def test_parse_uri(uri: str, expected: tuple[str, int]) -> None:
    assert parse_uri(uri, 99) == expected


@pytest.mark.parametrize(
    "uri", ["http://a:1", "tcp://", "tcp://a:x", "tcp://a:70000", "tcp://[::1", "a/b", "tcp://me@a:1", "::1", ""]
)
def test_parse_uri_refuses(uri: str) -> None:
    with pytest.raises(RequestError, match="tcp://HOST:PORT"):
        parse_uri(uri, 99)
