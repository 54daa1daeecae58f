"""The Wyoming port under every kind of peer. The well-behaved peer is the `wyoming` library itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
from wyoming.error import Error
from wyoming.event import Event, async_read_event

from handlers.errors import SettingsError
from handlers.wire.connection import Connection, PeerGoneError
from handlers.wire.reader import DEFAULT_LIMITS
from server.wyoming import WyomingServer

INFO = Event("info", {"asr": []})
SOON = 10.0
"""A deadline that only a defect reaches."""


class Work:
    """Works until it is cancelled."""

    def __init__(self, connection: Connection, log: list[str], changed: asyncio.Event) -> None:
        self._connection = connection
        self._log = log
        self._changed = changed

    def wants(self, event_type: str) -> bool:
        return event_type in ("test-wait", "test-flood")

    async def handle(self, event: Event) -> None:
        self._connection.start(self._wait() if event.type == "test-wait" else self._flood(), event.type)

    def _note(self, what: str) -> None:
        self._log.append(what)
        self._changed.set()

    async def _wait(self) -> None:
        self._note("started")
        try:
            await asyncio.Event().wait()
        finally:
            self._note("cancelled")

    async def _flood(self) -> None:
        try:
            while True:
                await self._connection.send(Event("flood", {}, bytes(64 * 1024)))
        except PeerGoneError:
            self._note("gone")


class Host:
    """A server under test and what its services noted."""

    def __init__(self, host: str | list[str], **options: Any) -> None:
        self.log: list[str] = []
        self._changed = asyncio.Event()
        self.server = WyomingServer(
            host,
            0,
            describe=lambda: INFO,
            services=lambda connection: [Work(connection, self.log, self._changed)],
            **options,
        )

    async def noted(self, what: str) -> None:
        async with asyncio.timeout(SOON):
            while what not in self.log:
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def hosting(host: str | list[str] = "127.0.0.1", **options: Any) -> AsyncIterator[Host]:
    hosted = Host(host, **options)
    await hosted.server.start()
    try:
        yield hosted
    finally:
        async with asyncio.timeout(SOON):
            await hosted.server.close()


@pytest.fixture(scope="module", autouse=True)
def _small_heap() -> Iterator[None]:
    """What the tests before have left in memory is not looked through each time that garbage is collected here."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
async def quiet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Nothing is logged as an error and no exception ends in asyncio's handler."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield
    gc.collect()  # what nobody retrieved is reported when it is collected
    await asyncio.sleep(0)
    assert contexts == []
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


async def answers(reader: asyncio.StreamReader) -> list[Event]:
    """All events until the server closes."""
    found = []
    async with asyncio.timeout(SOON):
        while (event := await async_read_event(reader)) is not None:
            found.append(event)
    return found


async def describe(port: int, host: str = "127.0.0.1") -> Event | None:
    """What a newcomer that asks `describe` reads first."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b'{"type":"describe"}\n')
    async with asyncio.timeout(SOON):
        answer = await async_read_event(reader)
    writer.close()
    with contextlib.suppress(ConnectionError):  # refused peers are closed from the other side as well
        await writer.wait_closed()
    return answer


def code(event: Event | None) -> str | None:
    assert event is not None
    return Error.from_event(event).code if Error.is_type(event.type) else None


def block(raw: bytes) -> bytes:
    """An event with `raw` as its data block."""
    return b'{"type":"x","data_length":%d}\n' % len(raw) + raw


MALFORMED = "malformed"
LARGE = "too-large"
CUT = "truncated"
REFUSED: dict[str, tuple[bytes, str]] = {
    "not json": (b"hello\n", MALFORMED),
    "json array": (b'["type"]\n', MALFORMED),
    "json number": (b"1\n", MALFORMED),
    "json null": (b"null\n", MALFORMED),
    "blank line": (b"\n", MALFORMED),
    "binary": (bytes(range(256)) * 16, MALFORMED),
    "http": (b"GET / HTTP/1.1\r\nHost: meadowlark\r\n\r\n", MALFORMED),
    "no type": (b'{"data":{}}\n', MALFORMED),
    "type null": (b'{"type":null}\n', MALFORMED),
    "type number": (b'{"type":7}\n', MALFORMED),
    "type list": (b'{"type":["describe"]}\n', MALFORMED),
    "type empty": (b'{"type":""}\n', MALFORMED),
    "data length string": (b'{"type":"x","data_length":"12"}\n', MALFORMED),
    "data length float": (b'{"type":"x","data_length":12.0}\n', MALFORMED),
    "data length bool": (b'{"type":"x","data_length":true}\n', MALFORMED),
    "data length list": (b'{"type":"x","data_length":[1]}\n', MALFORMED),
    "payload length string": (b'{"type":"x","payload_length":"12"}\n', MALFORMED),
    "payload length float": (b'{"type":"x","payload_length":1e3}\n', MALFORMED),
    "payload length bool": (b'{"type":"x","payload_length":false}\n', MALFORMED),
    "data list": (b'{"type":"x","data":[1]}\n', MALFORMED),
    "data string": (b'{"type":"x","data":"text"}\n', MALFORMED),
    "block not json": (block(b"hello"), MALFORMED),
    "block list": (block(b"[1, 2]"), MALFORMED),
    "block null": (block(b"null"), MALFORMED),
    "block not utf-8": (block(b'{"text":"\xff\xfe"}'), MALFORMED),
    "block utf-16": (block('{"text":"a"}'.encode("utf-16")), MALFORMED),
    "block with a bom": (block(b'\xef\xbb\xbf{"text":"a"}'), MALFORMED),
    "block shorter than its json": (b'{"type":"x","data_length":5}\n{"text":"a"}', MALFORMED),
    "header not utf-8": (b'{"type":"\xff"}\n', MALFORMED),
    "half a surrogate pair": (b'{"type":"ping","data":{"text":"\\uD800"}}\n', MALFORMED),
    "half a surrogate pair in a block": (block(b'{"text":"\\udc00"}'), MALFORMED),
    "surrogate in bytes": (block(b'{"text":"\xed\xa0\x80"}'), MALFORMED),
    "deep header": (b'{"type":"x","data":{"a":' + b"[" * 60_000 + b"\n", MALFORMED),
    "deep header that closes": (
        b'{"type":"x","data":{"a":' + b"[" * 500 + b"]" * 500 + b"}}\n",
        MALFORMED,
    ),
    "deeper header": (b"[" * 100_000 + b"\n", LARGE),
    "deep block": (block(b"[" * 100_000), MALFORMED),
    "deep block of objects": (block(b'{"a":' * 100_000), MALFORMED),
    "deep block that closes": (block(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"), MALFORMED),
    "nan": (b'{"type":"x","data":{"a":NaN}}\n', MALFORMED),
    "infinity": (block(b'{"a":-Infinity}'), MALFORMED),
    "number too large": (block(b'{"a":1e999}'), MALFORMED),
    "integer of 5000 digits": (block(b'{"a":' + b"9" * 5000 + b"}"), MALFORMED),
    "length of 5000 digits": (b'{"type":"x","data_length":' + b"9" * 5000 + b"}\n", MALFORMED),
    "length of 4000 digits": (b'{"type":"x","payload_length":' + b"9" * 4000 + b"}\n", LARGE),
    "header over its limit": (b'{"type":"' + b"x" * 70_000 + b'"}\n', LARGE),
    "header over its limit, no end": (b'{"type":"' + b"x" * 300_000, LARGE),
    "data claim": (b'{"type":"x","data_length":1000000000000}\n', LARGE),
    "payload claim": (b'{"type":"x","payload_length":1000000000000}\n', LARGE),
    "data one byte over": (b'{"type":"x","data_length":1048577}\n' + b" " * 1048577, LARGE),
    "payload one byte over": (b'{"type":"x","payload_length":1048577}\n' + bytes(1048577), LARGE),
    "eof in header": (b'{"type":"desc', CUT),
    "eof in data": (b'{"type":"x","data_length":100}\n{"a":', CUT),
    "eof in payload": (b'{"type":"x","payload_length":100}\nabc', CUT),
    "legal, then not": (b'{"type":"x"}\n[]\n', MALFORMED),
}

ACCEPTED: dict[str, bytes] = {
    "negative lengths": b'{"type":"x","data_length":-5,"payload_length":-1}\n',
    "null lengths": b'{"type":"x","data_length":null,"payload_length":null}\n',
    "zero lengths": b'{"type":"x","data_length":0,"payload_length":0}\n',
    "null data": b'{"type":"x","data":null}\n',
    "windows line end": b'{"type":"x"}\r\n',
    "unknown keys": b'{"type":"x","version":"9.9","more":[1,2,{}]}\n',
    "data twice": b'{"type":"x","data":{"a":1},"data_length":7}\n{"a":2}',
    "a whole surrogate pair": b'{"type":"x","data":{"text":"\\ud83d\\ude00"}}\n',
    "largest data": block(b'{"a":"' + b"x" * (1024 * 1024 - 8) + b'"}'),
    "largest payload": b'{"type":"x","payload_length":1048576}\n' + bytes(1048576),
    "large header": b'{"type":"x","data":{"a":"' + b"x" * 65_000 + b'"}}\n',
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("sent", "expected"),
    [pytest.param(*case, id=name) for name, case in REFUSED.items()]
    + [pytest.param(sent, None, id=f"{name} (legal)") for name, sent in ACCEPTED.items()],
)
async def test_event(sent: bytes, expected: str | None) -> None:
    """What is not Wyoming gets one `error` and a close, what is legal is taken; the next peer notices neither."""
    async with hosting() as host:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        writer.write(sent)
        if expected == CUT:
            writer.write_eof()
        if expected is None:
            writer.write(b'{"type":"describe"}\n')
            async with asyncio.timeout(SOON):
                assert await async_read_event(reader) == INFO
        else:
            assert [code(event) for event in await answers(reader)] == [expected]
        writer.close()
        assert await describe(host.server.port) == INFO


@pytest.mark.usefixtures("quiet")
async def test_a_peer_that_vanishes_in_the_middle_of_an_event() -> None:
    async with hosting() as host:
        for sent in (b"", b'{"ty', b'{"type":"x","payload_length":99}\nabc', b'{"type":"test-wait"}\n'):
            _, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
            writer.write(sent)
            await writer.drain()
            writer.transport.abort()  # a reset, not a goodbye
        assert await describe(host.server.port) == INFO


@pytest.mark.usefixtures("quiet")
async def test_a_peer_that_sends_a_byte_now_and_then_meets_the_deadline() -> None:
    async with hosting(limits=replace(DEFAULT_LIMITS, event_seconds=0.4)) as host:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        reading = asyncio.create_task(answers(reader))
        for byte in b'{"type":"' + b"x" * 10_000:
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait([reading], timeout=0.05)
            if done:
                break
        assert [code(event) for event in await reading] == ["timeout"]
        writer.close()


@pytest.mark.usefixtures("quiet")
async def test_a_peer_that_reads_nothing_is_dropped() -> None:
    async with hosting(send_seconds=0.2) as host:
        loop = asyncio.get_running_loop()
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, ("127.0.0.1", host.server.port))
            await loop.sock_sendall(peer, b'{"type":"test-flood"}\n')
            await host.noted("gone")
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(SOON):
                    while await loop.sock_recv(peer, 1024 * 1024):
                        pass
        assert await describe(host.server.port) == INFO


@pytest.mark.usefixtures("quiet")
async def test_closing_the_connection_cancels_its_work() -> None:
    async with hosting() as host:
        _, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        writer.write(b'{"type":"test-wait"}\n')
        await host.noted("started")
        assert host.server.connections == 1
        writer.close()
        await host.noted("cancelled")


@pytest.mark.usefixtures("quiet")
async def test_stopping_the_server_cancels_work_and_closes_every_connection() -> None:
    async with hosting(max_connections=2) as host:
        streams = [await asyncio.open_connection("127.0.0.1", host.server.port) for _ in range(4)]
        streams[0][1].write(b'{"type":"test-wait"}\n')
        await host.noted("started")
        await host.server.close()
        assert host.log == ["started", "cancelled"]
        assert host.server.connections == 0
        for reader, writer in streams:
            await answers(reader)
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", host.server.port)


@pytest.fixture
def _many_files() -> Iterator[None]:
    """600 peers and their server in one process need more than the usual 1024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("quiet", "_many_files")
@pytest.mark.parametrize("spare_seconds", [3600.0, 0.0], ids=["nobody is silent for long", "all are"])
async def test_600_idle_connections_and_a_newcomer(spare_seconds: float) -> None:
    async with hosting(spare_seconds=spare_seconds) as host:
        idle = [await asyncio.open_connection("127.0.0.1", host.server.port) for _ in range(600)]
        newcomer = await describe(host.server.port)
        assert host.server.connections <= 256
        if spare_seconds:
            assert newcomer is not None
            assert Error.from_event(newcomer) == Error(
                text="This server serves at most 256 connections at a time; try again in a moment",
                code="too-many-connections",
            )
            assert host.server.refused == 600 + 1 - 256
            assert [code(event) for event in await answers(idle[-1][0])] == ["too-many-connections"]
        else:
            assert code((await answers(idle[0][0]))[0]) == "idle"
        for _, writer in idle:
            writer.close()
        for _, writer in idle:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        async with asyncio.timeout(SOON):
            while (answer := await describe(host.server.port)) != INFO:
                assert code(answer) == "too-many-connections"  # the server has not yet seen all of them go


@pytest.mark.usefixtures("quiet")
async def test_a_working_connection_is_never_dismissed_for_a_newcomer() -> None:
    async with hosting(max_connections=2, spare_seconds=0.0) as host:
        _, working = await asyncio.open_connection("127.0.0.1", host.server.port)
        working.write(b'{"type":"test-wait"}\n')
        await host.noted("started")
        reader, silent = await asyncio.open_connection("127.0.0.1", host.server.port)
        assert await describe(host.server.port) == INFO
        assert [code(event) for event in await answers(reader)] == ["idle"]
        assert host.log == ["started"]
        working.close()
        silent.close()


async def test_running_out_of_files_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    failed = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Cannot accept" in record.getMessage():
                failed.set()

    watch = Watch()
    logging.getLogger("server.wyoming").addHandler(watch)
    async with hosting() as host:
        loop = asyncio.get_running_loop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as peer, socket.socket() as probe:
            peer.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno() + 1, hard))  # no number is left above it
            taken = []
            try:
                with contextlib.suppress(OSError):
                    while True:  # nor below it
                        taken.append(socket.socket())
                await loop.sock_connect(peer, ("127.0.0.1", host.server.port))
                async with asyncio.timeout(SOON):
                    await failed.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for extra in taken:
                    extra.close()
            await loop.sock_sendall(peer, b'{"type":"describe"}\n')
            async with asyncio.timeout(SOON):
                assert json.loads((await loop.sock_recv(peer, 65536)).split(b"\n")[0])["type"] == "info"
    logging.getLogger("server.wyoming").removeHandler(watch)


async def test_a_port_in_use_is_one_sentence() -> None:
    async with hosting() as host:
        port = host.server.port
        second = WyomingServer("127.0.0.1", port, describe=lambda: INFO, services=lambda _: [])
        with pytest.raises(SettingsError) as caught:
            await second.start()
        assert str(caught.value) == (
            f"Port {port} on 127.0.0.1 is in use: stop the other program or choose another with --wyoming"
        )
        assert caught.value.exit_code == 2
        await second.close()


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("203.0.113.77", "203.0.113.77 is not an address of this machine"),
        ("no such host", "The host 'no such host' is not known"),
    ],
)
async def test_an_address_that_cannot_be_used_is_one_sentence(host: str, sentence: str) -> None:
    server = WyomingServer(host, 0, describe=lambda: INFO, services=lambda _: [])
    with pytest.raises(SettingsError, match=sentence):
        await server.start()


async def test_all_addresses_share_one_port() -> None:
    has_ipv6 = socket.has_ipv6 and any(
        address.family == socket.AF_INET6 for found in psutil.net_if_addrs().values() for address in found
    )
    hosts = ["127.0.0.1", "::1"] if has_ipv6 else ["127.0.0.1", "localhost"]
    async with hosting(hosts) as host:
        assert host.server.addresses == (hosts if has_ipv6 else ["127.0.0.1"])
        for address in host.server.addresses:
            assert await describe(host.server.port, address) == INFO


_SERVER_PROGRAM = """
import asyncio
from wyoming.event import Event
from server.wyoming import WyomingServer

async def main():
    server = WyomingServer("127.0.0.1", 0, describe=lambda: Event("info", {"asr": []}), services=lambda _: [])
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("claim", [b"payload_length", b"data_length", b""], ids=["payload", "data", "endless header"])
async def test_a_claim_of_a_terabyte_costs_no_memory(claim: bytes) -> None:
    """The server's own process grows by less than 4 MiB while a peer sends up to 300 MB."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVER_PROGRAM, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            port = int(await process.stdout.readline())
        memory = psutil.Process(process.pid).memory_info
        assert await describe(port) == INFO
        before = memory().rss
        header = b'{"type":"x","%b":1000000000000}\n' % claim if claim else b'{"type":"'
        peak, sent = await asyncio.to_thread(_send_much, port, header, lambda: memory().rss)
        assert peak - before < 4 * 1024 * 1024
        assert sent > len(header)
        assert await describe(port) == INFO
        assert memory().rss - before < 4 * 1024 * 1024
    finally:
        process.kill()
        await process.communicate()


def _send_much(port: int, header: bytes, measure: Callable[[], int]) -> tuple[int, int]:
    """Largest memory seen while sending, and the bytes that the server took before it closed."""
    piece = b"x" * (1024 * 1024)
    peak, sent = 0, 0
    end = time.monotonic() + SOON
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as peer:
        try:
            peer.sendall(header)
            while sent < 300 * 1024 * 1024 and time.monotonic() < end:
                peer.sendall(piece)
                sent += len(piece)
                peak = max(peak, measure())
        except OSError:  # closed, as it should be
            pass
    return peak, sent
