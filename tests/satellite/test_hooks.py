"""Hooks: real commands, small shell scripts that tell the test through a FIFO what they were given."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from handlers.errors import SettingsError
from handlers.settings import load_settings
from satellite.happenings import Happenings, Kind
from satellite.hooks import Hooks, HookSettings
from tests.satellite.process import COMMAND

PATIENCE = 30.0
"""Seconds that a test waits for what has to come."""

Script = Callable[[str], str]


class Fifo:
    """A named pipe: what commands write into it, line by line, and whether any of them still lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._reader = asyncio.StreamReader(limit=2**20)
        self._transport: asyncio.BaseTransport | None = None
        self._reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._writing = os.open(path, os.O_WRONLY)

    async def __aenter__(self) -> Fifo:
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), os.fdopen(self._reading, "rb", 0)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()
        self.let_go()

    def let_go(self) -> None:
        """Hold our own end open no longer: the end comes when the last command is gone."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self._reader.readline()).decode().rstrip("\n")

    async def all_gone(self) -> None:
        self.let_go()
        async with asyncio.timeout(PATIENCE):
            await self._reader.read()


class Gate:
    """A named pipe at which commands wait until it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR)

    def open(self) -> None:
        os.write(self._end, b"go\n")

    def close(self) -> None:
        os.close(self._end)


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Fifo]:
    async with Fifo(tmp_path / "told") as fifo:
        yield fifo


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a shell script in the folder of the FIFOs and returns its path."""
    count = 0

    def write(text: str) -> str:
        nonlocal count
        count += 1
        path = tmp_path / f"hook {count}"
        path.write_text(f"#!/bin/sh\ncd '{tmp_path}'\n{text}\n")
        path.chmod(0o700)
        return str(path)

    return write


@contextlib.asynccontextmanager
async def running(settings: HookSettings) -> AsyncIterator[Happenings]:
    happenings = Happenings()
    task = asyncio.create_task(Hooks(settings, happenings).run())
    try:
        yield happenings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def hooks(seconds: float = 60.0, at_once: int = 8, **commands: object) -> HookSettings:
    return HookSettings.model_validate({"commands": commands, "seconds": seconds, "at_once": at_once})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_command_gets_what_happened_on_stdin_and_in_its_environment(
    script: Script, told: Fifo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEADOWLARK_SATELLITE__MQTT__PASSWORD", "secret")
    command = script("cat > told; env | grep ^MEADOWLARK_ | sort | tr '\\n' ' ' > told; echo > told")
    async with running(hooks(woken=[command], finished=[command])) as happenings:
        happenings.tell(Kind.TRANSCRIPT, text="what I said")
        happenings.tell(Kind.WOKEN, wake_word=None, score=0.93)
        assert json.loads(await told.line()) == {"event": "woken", "wake_word": None, "score": 0.93}
        assert (await told.line()).split() == ["MEADOWLARK_EVENT=woken", "MEADOWLARK_SCORE=0.93"]
        happenings.tell(Kind.FINISHED, seconds=2, interrupted=True, listen=False)
        assert json.loads(await told.line()) == {
            "event": "finished",
            "seconds": 2,
            "interrupted": True,
            "listen": False,
        }
        assert (await told.line()).split() == [
            "MEADOWLARK_EVENT=finished",
            "MEADOWLARK_INTERRUPTED=true",
            "MEADOWLARK_LISTEN=false",
            "MEADOWLARK_SECONDS=2",
        ]


async def test_no_shell_reads_the_command(script: Script, told: Fifo) -> None:
    command = script('printf "%s|" "$@" > told; echo > told')
    async with running(hooks(muted=f"'{command}' '$HOME' ; * \"a b\"")) as happenings:
        happenings.tell(Kind.MUTED)
        assert await told.line() == "$HOME|;|*|a b|"


async def test_commands_of_one_kind_run_in_order_and_others_meanwhile(script: Script, told: Fifo, gate: Gate) -> None:
    slow = script('[ "$MEADOWLARK_PERCENT" = 1 ] && read go < gate; echo "$MEADOWLARK_PERCENT" > told')
    other = script("echo muted > told")
    async with running(hooks(volume=[slow], muted=[other])) as happenings:
        for percent in (1, 2, 3, 4):
            happenings.tell(Kind.VOLUME, percent=percent)
        happenings.tell(Kind.MUTED)
        assert await told.line() == "muted"
        gate.open()
        assert [await told.line() for _ in range(4)] == ["1", "2", "3", "4"]


async def test_a_command_that_takes_too_long_is_ended_with_its_children(
    script: Script, told: Fifo, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = script("trap '' TERM; exec 3> told; (sleep 600; sleep 600) & echo there >&3; wait; sleep 600")
    async with running(hooks(seconds=2.0, muted=[stubborn])) as happenings:
        for _ in range(2):
            happenings.tell(Kind.MUTED)
            assert await told.line() == "there"  # the second comes when the first is over
    await told.all_gone()
    assert warnings(caplog) == ["The hook for 'muted' took longer than 2 seconds, and was ended"]


async def test_too_many_are_left_out_and_it_is_said_once_for_each_kind(
    script: Script, told: Fifo, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    command = script('echo "$MEADOWLARK_EVENT" > told; [ "$MEADOWLARK_EVENT" = muted ] && read go < gate; exit 0')
    async with running(hooks(at_once=2, muted=[command], unmuted=[command], volume=[command])) as happenings:
        happenings.tell(Kind.MUTED)
        happenings.tell(Kind.MUTED)
        for _ in range(3):
            happenings.tell(Kind.UNMUTED)
        happenings.tell(Kind.VOLUME, percent=1)
        assert await told.line() == "muted"
        gate.open()
        assert await told.line() == "muted"  # so the first is over
        happenings.tell(Kind.VOLUME, percent=2)
        assert await told.line() == "volume"
        gate.open()
    assert [message.split(",")[0] for message in warnings(caplog)] == [
        "The hook for 'unmuted' was left out",
        "The hook for 'volume' was left out",
    ]


async def test_a_failure_is_said_once_until_the_command_works_again(
    script: Script, told: Fifo, caplog: pytest.LogCaptureFixture
) -> None:
    command = script(
        'echo "$MEADOWLARK_PERCENT" > told; echo "no lamp" >&2; echo "more" >&2; exit "$MEADOWLARK_PERCENT"'
    )
    async with running(hooks(volume=[command])) as happenings:
        for percent in (3, 4, 0, 5, 0):
            happenings.tell(Kind.VOLUME, percent=percent)
            assert await told.line() == str(percent)
    failed = "The hook for 'volume' ended with code"
    assert warnings(caplog) == [f"{failed} 3: no lamp", f"{failed} 5: no lamp"]


async def test_nobodys_words_get_into_the_log(script: Script, told: Fifo, caplog: pytest.LogCaptureFixture) -> None:
    command = script('echo "cannot print $MEADOWLARK_TEXT" >&2; echo > told; exit 1')
    async with running(hooks(transcript=[command])) as happenings:
        for _ in range(2):  # the second begins when the first has been dealt with
            happenings.tell(Kind.TRANSCRIPT, text="my secret")
            await told.line()
    assert warnings(caplog) == ["The hook for 'transcript' ended with code 1"]


async def test_a_long_answer_is_no_trouble_whether_it_is_read_or_not(
    script: Script, told: Fifo, caplog: pytest.LogCaptureFixture
) -> None:
    text = "å\0\ud800" * 40_000
    reads = script("wc -c > told; exit 0")
    ignores = script("echo ignored > told")
    async with running(hooks(answer=[reads], transcript=[ignores])) as happenings:
        happenings.tell(Kind.ANSWER, text=text)
        assert int(await told.line()) > 18 * 40_000
        for _ in range(2):
            happenings.tell(Kind.TRANSCRIPT, text=text)
            assert await told.line() == "ignored"
    assert not warnings(caplog)


async def test_what_a_command_leaves_behind_neither_lives_on_nor_is_waited_for(
    script: Script, told: Fifo, caplog: pytest.LogCaptureFixture
) -> None:
    command = script("exec 3> told; sleep 600 & echo began >&3; exit 7")
    async with running(hooks(muted=[command])) as happenings:
        for _ in range(2):
            happenings.tell(Kind.MUTED)
            assert await told.line() == "began"
    await told.all_gone()
    assert warnings(caplog) == ["The hook for 'muted' ended with code 7"]


async def test_a_command_that_goes_on_in_a_session_of_its_own_holds_nobody_up(
    script: Script, told: Fifo, gate: Gate
) -> None:
    command = script("setsid sh -c 'echo $$ > told; exec sleep 600' & read go < gate; exit 1")
    daemons = []
    try:
        async with running(hooks(muted=[command])) as happenings:
            for _ in range(2):
                happenings.tell(Kind.MUTED)
                daemons.append(int(await told.line()))  # the second comes when the first command is over
                gate.open()
            for daemon in daemons:
                os.kill(daemon, 0)
    finally:
        for daemon in daemons:
            os.kill(daemon, signal.SIGKILL)


async def test_at_the_end_a_command_may_finish_but_not_go_on(script: Script, told: Fifo, gate: Gate) -> None:
    quick = script("echo began > told; read go < gate; echo finished > told")
    async with running(hooks(muted=[quick])) as happenings:
        happenings.tell(Kind.MUTED)
        happenings.tell(Kind.MUTED)  # waits, and is given up
        assert await told.line() == "began"
        asyncio.get_running_loop().call_later(0.05, gate.open)
    assert await told.line() == "finished"
    endless = script("exec 3> told; echo began >&3; sleep 600; sleep 600")
    async with running(hooks(muted=[endless])) as happenings:
        happenings.tell(Kind.MUTED)
        assert await told.line() == "began"
    await told.all_gone()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as many entries as there are


async def test_many_commands_leave_nothing_open(script: Script, told: Fifo) -> None:
    command = script('echo "$MEADOWLARK_PERCENT" > told; exit 1')
    async with running(hooks(volume=[command])) as happenings:
        counts = []
        for percent in range(25):
            happenings.tell(Kind.VOLUME, percent=percent)
            assert await told.line() == str(percent)
            counts.append(open_files())
        async with asyncio.timeout(PATIENCE):  # what belongs to a command is closed a moment after its end
            while open_files() > max(counts[:3]) + 1:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.05)


def test_a_program_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("not executable")
    for program in ("no-such-program-7", str(plain)):
        with pytest.raises(SettingsError, match=r"satellite\.hooks\.commands\.timer-finished: the program"):
            Hooks(HookSettings.model_validate({"commands": {"timer-finished": program}}), Happenings())


async def test_a_microphone_that_is_missing_at_the_start_is_told(script: Script, told: Fifo, tmp_path: Path) -> None:
    pytest.importorskip("pyaudio")
    command = script('echo "$MEADOWLARK_EVENT" > told')
    settings = tmp_path / "satellite.yaml"
    settings.write_text(
        f"satellite: {{server: 'tcp://127.0.0.1:1', mic: nowhere, speaker: none, wake_word: none, "
        f"socket: '{tmp_path / 's'}', hooks: {{commands: {{microphone-lost: ['{command}']}}}}}}"
    )
    started = await asyncio.create_subprocess_exec(*COMMAND, "--config", str(settings))
    try:
        assert await told.line() == "microphone-lost"
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.terminate()
        await started.wait()


def test_settings(tmp_path: Path) -> None:
    def load(text: str) -> HookSettings:
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return load_settings(HookSettings, flags={}, config_file=path, environ={})

    loaded = load("commands: {woken: led 'on now', timer_finished: [ring, '-n', a b]}")
    assert loaded.commands == {Kind.WOKEN: ("led", "on now"), Kind.TIMER_FINISHED: ("ring", "-n", "a b")}
    for wrong, why in {
        "wokn: led": "did you mean woken",
        "xyz: led": "there are connected, disconnected",
        "woken: 5": "must be a command",
        "woken: [led, 5]": "must be text",
        "woken: []": "is empty",
        "woken: led 'on": "write it as a list",
    }.items():
        with pytest.raises(SettingsError, match=why):
            load(f"commands: {{{wrong}}}")
