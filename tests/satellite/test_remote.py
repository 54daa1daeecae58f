"""The satellite's socket: a real one, with clients that are polite, rude, slow or gone, and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import select
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from handlers.errors import SettingsError
from satellite.happenings import Happenings, Kind
from satellite.remote import LINE_BYTES, MOST_CONNECTIONS, Remote, open_remote
from satellite.remote_cli import main
from satellite.remote_socket import bind, default_path, live_sockets
from tests.satellite.controls import Recorder

PATIENCE = 30.0
"""Seconds that a test waits for what has to come."""


class Client:
    """A program on the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Client:
        return cls(*await asyncio.open_unix_connection(path, limit=2**20))

    async def receive(self) -> dict[str, object]:
        async with asyncio.timeout(PATIENCE):
            return dict(json.loads(await self.reader.readline()))

    async def ask(self, line: bytes | dict[str, object]) -> dict[str, object]:
        self.writer.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        return await self.receive()

    async def is_closed(self) -> bool:
        """Wait for the other side to close; False when it says something instead."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class House:
    """A satellite's socket with recording controls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.controls = Recorder()
        self.happenings = Happenings()
        self.clients: list[Client] = []

    @contextlib.asynccontextmanager
    async def serving(self, *, idle: float = 60.0, slow: float = 60.0) -> AsyncIterator[Remote]:
        remote = Remote(self.path, self.controls, self.happenings, idle_seconds=idle, slow_seconds=slow)
        task = asyncio.create_task(remote.run())
        try:
            yield remote
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            remote.close()
            for client in self.clients:
                await client.close()

    async def client(self) -> Client:
        self.clients.append(await Client.connect(self.path))
        return self.clients[-1]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "run" / "s.sock")


@pytest.fixture(autouse=True)
def nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs what no task of ours has caught."""
    yield
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_is_asked_is_done_and_answered(house: House) -> None:
    async with house.serving():
        client = await house.client()
        for word in ("talk", "done", "stop", "mute", "unmute", "toggle-mute", "toggle-mute"):
            assert await client.ask({"do": word}) == {"ok": True}
        assert await client.ask({"do": "volume", "percent": 30}) == {"ok": True}
        asked = ["talk", "done", "stop", "mute", "unmute", "mute", "unmute"]
        assert house.controls.calls == [*((word,) for word in asked), ("set_volume", 30)]
        assert await client.ask({"do": "status"}) == {"ok": True, **house.controls.status}


async def test_nobody_can_talk_to_a_muted_satellite_and_is_told_so(house: House) -> None:
    async with house.serving():
        client = await house.client()
        await client.ask({"do": "mute"})
        assert (await client.ask({"do": "talk"}))["code"] == "muted"
        assert house.controls.calls == [("mute",)]


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b"talk", "malformed", "JSON object"),
        (b"[1]", "malformed", "JSON object"),
        (b"\xff\xfe", "malformed", "JSON object"),
        (b"[" * (LINE_BYTES - 10), "malformed", "JSON object"),
        (b"{}", "unknown", "there are talk, done"),
        (b'{"do": "tlak"}', "unknown", "did you mean talk?"),
        (b'{"do": ["talk"]}', "unknown", "Nothing"),
        (b'{"do": "volume"}', "percent", "from 0 to 150"),
        (b'{"do": "volume", "percent": 151}', "percent", "from 0 to 150"),
        (b'{"do": "volume", "percent": true}', "percent", "from 0 to 150"),
        (b'{"do": "volume", "percent": "30"}', "percent", "from 0 to 150"),
    ],
)
async def test_what_cannot_be_done_is_an_error_and_the_connection_goes_on(
    house: House, line: bytes, code: str, says: str
) -> None:
    async with house.serving():
        client = await house.client()
        answer = await client.ask(line)
        assert answer["code"] == code
        assert says in str(answer["error"])
        assert await client.ask({"do": "stop"}) == {"ok": True}
        assert house.controls.calls == [("stop",)]


async def test_a_line_without_end_is_refused(house: House) -> None:
    async with house.serving():
        client = await house.client()
        client.writer.write(b" " * (4 * LINE_BYTES))
        assert (await client.receive())["code"] == "malformed"
        assert await client.is_closed()


async def test_a_request_without_a_line_end_counts_when_nothing_follows(house: House) -> None:
    async with house.serving():
        client = await house.client()
        client.writer.write(b'{"do": "mute"}')
        client.writer.write_eof()
        assert await client.receive() == {"ok": True}
        assert await client.is_closed()


async def test_who_listens_is_told_everything_in_order(house: House) -> None:
    async with house.serving(idle=0.1):
        one, other = await house.client(), await house.client()
        for client in (one, other):
            assert await client.ask({"do": "listen"}) == {"ok": True}
        house.happenings.tell(Kind.WOKEN, wake_word="okay_nabu", score=0.9)
        house.happenings.tell(Kind.TRANSCRIPT, text="räksmörgås\n\ud800")
        for client in (one, other):
            assert await client.receive() == {"event": "woken", "wake_word": "okay_nabu", "score": 0.9}
            assert (await client.receive())["text"] == "räksmörgås\n\ud800"
        await one.close()
        house.happenings.tell(Kind.MUTED)
        assert await other.receive() == {"event": "muted"}


async def test_who_listens_and_does_not_read_is_dropped_and_holds_up_nobody(house: House) -> None:
    async with house.serving(slow=0.2):
        eager = await house.client()
        assert await eager.ask({"do": "listen"}) == {"ok": True}
        with socket.socket(socket.AF_UNIX) as lazy:
            lazy.connect(str(house.path))
            lazy.sendall(b'{"do": "listen"}\n')
            assert await asyncio.to_thread(lazy.recv, 100) == b'{"ok": true}\n'
            for number in range(20):
                house.happenings.tell(Kind.ANSWER, text=f"{number} " + "x" * 100_000)
                assert str((await eager.receive())["text"]).startswith(f"{number} ")
            dropped = select.poll()
            dropped.register(lazy, 0)
            assert await asyncio.to_thread(dropped.poll, PATIENCE * 1000) == [(lazy.fileno(), select.POLLHUP)]
        assert await (await house.client()).ask({"do": "stop"}) == {"ok": True}


async def test_who_is_too_far_behind_is_dropped(house: House) -> None:
    async with house.serving():
        client = await house.client()
        assert await client.ask({"do": "listen"}) == {"ok": True}
        for percent in range(1000):  # all at once, so that nobody could read
            house.happenings.tell(Kind.VOLUME, percent=percent)
        assert await client.is_closed()


async def test_who_says_nothing_makes_room(house: House) -> None:
    async with house.serving(idle=0.05):
        client = await house.client()
        assert await client.is_closed()


async def test_there_are_only_so_many_connections(house: House) -> None:
    async with house.serving():
        first = [await house.client() for _ in range(MOST_CONNECTIONS)]
        for client in first:
            await client.ask({"do": "status"})
        late = await house.client()
        assert (await late.receive())["code"] == "busy"
        assert await late.is_closed()
        await first[0].close()
        async with asyncio.timeout(PATIENCE):
            while True:  # until its place is free
                client = await house.client()
                client.writer.write(b'{"do": "stop"}\n')
                if "ok" in await client.receive():
                    break


async def test_only_its_user_can_open_the_socket_and_it_goes_with_the_satellite(house: House) -> None:
    async with house.serving() as remote:
        assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(house.path.parent.stat().st_mode) == 0o700
        client = await house.client()
        assert await client.ask({"do": "listen"}) == {"ok": True}
        with pytest.raises(SettingsError, match="Another satellite runs"):
            Remote(remote.path, house.controls, house.happenings)
    assert not house.path.exists()
    assert await client.is_closed()


async def test_a_socket_that_was_left_behind_is_replaced(house: House) -> None:
    house.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(house.path))
    assert house.path.exists()
    async with house.serving():
        assert await (await house.client()).ask({"do": "stop"}) == {"ok": True}


async def test_a_path_that_is_somebody_elses_is_left_alone(house: House) -> None:
    with contextlib.closing(Remote(house.path, house.controls, house.happenings)):
        house.path.unlink()
        bind(house.path).close()
    assert house.path.exists()


def test_where_there_can_be_no_socket_it_is_said_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controls, happenings = Recorder(), Happenings()
    file = tmp_path / "file"
    file.touch()
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for path, why in {
        file: "is no socket",
        file / "s.sock": "There can be no socket",
        open_to_all / "s.sock": "Others can write",
        tmp_path / ("x" * 120): "too long",
    }.items():
        with pytest.raises(SettingsError, match=why):
            open_remote(str(path), "kitchen", controls, happenings)
    assert file.is_file()
    assert open_remote("none", "kitchen", controls, happenings) is None
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(file))
    assert open_remote("auto", "kitchen", controls, happenings) is None  # it works without, too


def test_where_the_socket_is(tmp_path: Path) -> None:
    session = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert default_path("kitchen", session) == tmp_path / "meadowlark" / "satellite-kitchen.sock"
    service = {**session, "RUNTIME_DIRECTORY": f"{tmp_path}/one:{tmp_path}/two"}
    assert default_path("kitchen", service) == tmp_path / "one" / "satellite-kitchen.sock"
    names = ["Küche", "K che", "k/../../x", "x" * 64, "x" * 63]
    paths = {default_path(name, session) for name in names}
    assert len(paths) == len(names)
    assert all(path.parent == tmp_path / "meadowlark" and len(path.name) < 70 for path in paths)


def test_only_satellites_that_answer_are_found(tmp_path: Path) -> None:
    session = {"XDG_RUNTIME_DIR": str(tmp_path)}
    bind(default_path("gone", session)).close()
    with bind(default_path("kitchen", session)):
        found = [path for path in live_sockets(session) if path.is_relative_to(tmp_path)]
    assert found == [default_path("kitchen", session)]


Ended = tuple[int, str, str]
"""Exit code, stdout, stderr."""

Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, in a thread beside the satellite."""

    async def run(*arguments: str) -> Ended:
        try:
            code = await asyncio.to_thread(main, arguments)
        except SystemExit as error:  # argparse
            code = int(str(error.code))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


async def test_the_command_line_steers_the_satellite(house: House, command: Command) -> None:
    where = ("--socket", str(house.path))
    async with house.serving():
        for words in (["talk"], ["volume", "40"], ["mute"]):
            assert await command(*words, *where) == (0, "", "")
        assert house.controls.calls == [("talk",), ("set_volume", 40), ("mute",)]
        _, out, _ = await command("status", *where)
        assert dict(line.split(maxsplit=1) for line in out.splitlines()) == {
            "state": "listening",
            "muted": "yes",
            "volume": "40",
            "microphone": "yes",
            "name": "kitchen",
        }
        code, _, err = await command("talk", *where)
        assert (code, err) == (1, "meadowlark-satellite: The satellite is muted; unmute it first\n")
        code, _, err = await command("volume", "200", *where)
        assert (code, err) == (2, "meadowlark-satellite: 'percent' must be a whole number from 0 to 150\n")
        crowd = [await house.client() for _ in range(MOST_CONNECTIONS)]
        for client in crowd:
            await client.ask({"do": "listen"})
        code, _, err = await command("stop", *where)
        assert (code, err) == (1, "meadowlark-satellite: There are 8 connections already\n")


async def test_the_command_line_finds_the_only_satellite(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    nobody = await command("stop")
    house = House(default_path("kitchen"))
    other = House(default_path("attic"))
    async with house.serving():
        assert await command("stop") == (0, "", "")
        async with other.serving():
            several = await command("stop")
    assert house.controls.calls == [("stop",)]
    assert not other.controls.calls
    assert nobody[0] == 1
    assert nobody[2].startswith("meadowlark-satellite: No satellite runs here")
    assert several[0] == 2
    assert str(house.path) in several[2]
    assert str(other.path) in several[2]


async def test_the_command_line_refuses_what_means_nothing(house: House, command: Command) -> None:
    for words in (["volume"], ["volume", "loud"], ["tlak"], []):
        assert (await command(*words))[0] == 2
    code, _, err = await command("stop", "--socket", str(house.path))
    assert code == 1
    assert err.startswith(f"meadowlark-satellite: No satellite answers at {house.path}")


async def test_a_satellite_that_is_stuck_or_no_satellite_is_an_error(tmp_path: Path, command: Command) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    path = tmp_path / "s.sock"
    async with await asyncio.start_unix_server(answer, path):
        code, _, err = await command("status", "--socket", str(path))
    assert (code, err) == (1, "meadowlark-satellite: The satellite answered something else than expected\n")


async def start_listening(path: Path) -> asyncio.subprocess.Process:
    code = (
        "import signal, sys; from satellite.remote_cli import main; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # which whoever runs the tests may ignore
        "sys.exit(main())"
    )
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", code, "events", "--socket", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_events_are_printed_until_interrupted_or_the_satellite_ends(house: House) -> None:
    codes = []
    async with house.serving():
        until_ended, until_interrupted = [await start_listening(house.path) for _ in range(2)]
        for process in (until_ended, until_interrupted):
            assert process.stdout is not None
            async with asyncio.timeout(60):
                while True:  # until it listens
                    house.happenings.tell(Kind.ANSWER, text="räksmörgås")
                    try:
                        async with asyncio.timeout(0.1):
                            line = await process.stdout.readline()
                    except TimeoutError:
                        continue
                    break
            assert line.decode() == '{"event": "answer", "text": "räksmörgås"}\n'
        until_interrupted.send_signal(signal.SIGINT)
        codes.append(await until_interrupted.wait())
    for process in (until_ended, until_interrupted):
        _, err = await process.communicate()
        codes.append(process.returncode or 0)
        assert (err == b"") == (process is until_interrupted)
    assert codes == [0, 1, 0]
