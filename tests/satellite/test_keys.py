"""The terminal's keys: real terminals, and a process that its terminal stops, resumes and puts into the background."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator

import pytest

from satellite.keys import HELP, Keys
from tests.satellite.controls import Recorder

PATIENCE = 60.0
"""Seconds that a test waits for what has to come."""


class Terminal:
    """A pseudo terminal: what is typed into it, and its settings."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.settings_before = self.settings
        self.is_there = True

    @property
    def settings(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    @property
    def is_key_by_key(self) -> bool:
        flags = self.settings[3]
        assert isinstance(flags, int)
        return not flags & termios.ICANON and not flags & termios.ECHO

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def go(self) -> None:
        if self.is_there:
            os.close(self._master)
        self.is_there = False

    def close(self) -> None:
        self.go()
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with contextlib.closing(Terminal()) as terminal:
        yield terminal


@contextlib.asynccontextmanager
async def reading(
    terminal: Terminal, controls: Recorder, left: list[str] | None = None, repeat: float = 0.0
) -> AsyncIterator[asyncio.Task[None]]:
    """Keys at work; they are seen to work by their first word."""
    leave = [] if left is None else left
    keys = Keys(controls, lambda: leave.append("left"), stdin=terminal.slave, repeat_seconds=repeat)
    task = asyncio.create_task(keys.run())
    terminal.type(b"s")
    assert await controls.until(1) == [("stop",)]
    controls.calls.clear()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_key_does_what_it_says(terminal: Terminal, capfd: pytest.CaptureFixture[str]) -> None:
    controls = Recorder()
    left: list[str] = []
    async with reading(terminal, controls, left) as task:
        assert terminal.is_key_by_key
        terminal.type(b" ")
        await controls.until(1)
        controls.state = "asking"
        terminal.type(b" ")
        await controls.until(2)
        controls.state = "answering"
        terminal.type(b" mMsS+=-x\xc3\xa5\t")
        await controls.until(10)
        terminal.type(b"\x1b")
        assert (await controls.until(11)) == [
            ("talk",),
            ("done",),
            ("talk",),
            ("mute",),
            ("unmute",),
            ("stop",),
            ("stop",),
            ("set_volume", 110),
            ("set_volume", 120),
            ("set_volume", 110),
            ("stop",),
        ]
        terminal.type(b"qm")
        async with asyncio.timeout(PATIENCE):
            await task
    assert left == ["left"]
    assert len(controls.calls) == 11
    assert terminal.settings == terminal.settings_before
    assert capfd.readouterr().err == HELP + "\n"


async def test_a_key_that_is_held_down_is_one_press(terminal: Terminal) -> None:
    controls = Recorder()
    async with reading(terminal, controls, repeat=60.0):
        terminal.type(b" " * 40)
        terminal.type(b"m")
        assert await controls.until(2) == [("talk",), ("mute",)]


async def test_held_down_the_space_bar_talks_until_it_is_let_go(terminal: Terminal) -> None:
    controls = Recorder()
    async with reading(terminal, controls, repeat=60.0):
        terminal.type(b" ")
        await controls.until(1)
        controls.state = "asking"
        terminal.type(b" " * 40 + b"m")  # as it repeats
        assert await controls.until(2) == [("talk",), ("mute",)]
    controls = Recorder()
    async with reading(terminal, controls, repeat=0.05):
        controls.state = "asking"
        terminal.type(b" " * 40)
        assert await controls.until(1) == [("done",)]
        terminal.type(b"m")
        assert await controls.until(2) == [("done",), ("mute",)]


async def test_arrow_and_function_keys_mean_nothing(terminal: Terminal) -> None:
    controls = Recorder()
    async with reading(terminal, controls):
        terminal.type(b"\x1b[A\x1b[1;5D\x1bOP\x1b[15~m")
        assert await controls.until(1) == [("mute",)]


async def test_the_volume_has_ends(terminal: Terminal) -> None:
    controls = Recorder()
    async with reading(terminal, controls):
        controls.volume = 145
        terminal.type(b"++")
        assert await controls.until(2) == [("set_volume", 150)] * 2
        controls.volume = 5
        terminal.type(b"--")
        assert (await controls.until(4))[2:] == [("set_volume", 0)] * 2


async def test_cancelled_it_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    numbers = (signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU)
    handlers = [signal.getsignal(number) for number in numbers]
    async with reading(terminal, Recorder()):
        assert terminal.settings != terminal.settings_before
    assert terminal.settings == terminal.settings_before
    assert [signal.getsignal(number) for number in numbers] == handlers


async def test_a_terminal_that_is_closed_ends_it(terminal: Terminal) -> None:
    async with reading(terminal, Recorder()) as task:
        terminal.go()
        async with asyncio.timeout(PATIENCE):
            await task


async def test_without_a_terminal_there_are_no_keys(capfd: pytest.CaptureFixture[str]) -> None:
    reading_end, writing_end = os.pipe()
    os.write(writing_end, b"m")
    controls = Recorder()
    async with asyncio.timeout(PATIENCE):
        await Keys(controls, lambda: None, stdin=reading_end).run()
    assert os.read(reading_end, 1) == b"m"
    os.close(reading_end)
    os.close(writing_end)
    assert not controls.calls
    assert capfd.readouterr().err == ""


SATELLITE = """
import asyncio, json, sys
from satellite.keys import Keys
from tests.satellite.controls import Recorder

class Telling(Recorder):
    def _note(self, *call):
        super()._note(*call)
        print(json.dumps(call), flush=True)

async def main():
    keys = asyncio.create_task(Keys(Telling(), lambda: None).run())
    while not keys.done():
        print('"alive"', flush=True)
        await asyncio.wait({keys}, timeout=0.1)

asyncio.run(main())
"""
"""Prints what the keys ask, and ten times a second that it still runs."""

LEADER = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
    signal.signal(number, signal.SIG_DFL)  # whatever whoever runs the tests ignores
"""
"""A process that the terminal on stdin controls, as the one that a terminal window starts."""

SHELL = """
import subprocess
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen([sys.executable, "-W", "ignore", "-c", sys.argv[1]], process_group=0)
for line in os.fdopen(3, "rb", 0):
    os.tcsetpgrp(0, job.pid if line == b"fg\\n" else os.getpgrp())
job.kill()
job.wait()
"""
"""Starts the satellite in the background, and takes it to the foreground and back as it is told on descriptor 3."""


class Told:
    """What a process prints, line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    async def next(self) -> object:
        """What the keys asked next, or that it is alive."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, "it has ended"
        return json.loads(line)

    async def call(self) -> object:
        while (said := await self.next()) == "alive":
            pass
        return said

    async def alive(self, times: int = 25) -> None:
        """It runs and runs, and no key is heard."""
        for _ in range(times):
            assert await self.next() == "alive"


@contextlib.contextmanager
def started(code: str, *arguments: str, terminal: Terminal, pass_fds: tuple[int, ...] = ()) -> Iterator[Told]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", LEADER + code, *arguments],
        stdin=terminal.slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
    )
    try:
        yield Told(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
async def test_a_signal_that_ends_the_process_leaves_the_terminal_as_it_was(
    terminal: Terminal, number: signal.Signals
) -> None:
    with started(SATELLITE, terminal=terminal) as satellite:
        terminal.type(b"m")
        assert await satellite.call() == ["mute"]
        assert terminal.is_key_by_key
        satellite.process.send_signal(number)
        assert await asyncio.to_thread(satellite.process.wait, PATIENCE) == -number
        assert terminal.settings == terminal.settings_before


async def test_stopped_by_its_terminal_it_gives_it_back_and_takes_it_again(terminal: Terminal) -> None:
    with started(SATELLITE, terminal=terminal) as satellite:
        terminal.type(b"m")
        assert await satellite.call() == ["mute"]
        terminal.type(b"\x1a")  # Ctrl-Z
        _, status = await asyncio.to_thread(os.waitpid, satellite.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert terminal.settings == terminal.settings_before
        satellite.process.send_signal(signal.SIGCONT)
        terminal.type(b"m\n")  # a line, in case that it comes before the terminal is key by key again
        assert await satellite.call() == ["unmute"]
        assert terminal.is_key_by_key


async def test_in_the_background_it_runs_on_and_leaves_the_terminal_alone(terminal: Terminal) -> None:
    listens, orders = os.pipe()
    code = f"os.dup2({listens}, 3)\n" + SHELL
    with started(code, SATELLITE, terminal=terminal, pass_fds=(listens,)) as satellite:
        os.close(listens)
        await satellite.alive()
        assert terminal.settings == terminal.settings_before
        os.write(orders, b"fg\n")
        terminal.type(b"m\n")
        assert await satellite.call() == ["mute"]
        assert terminal.is_key_by_key
        os.write(orders, b"bg\n")
        await satellite.alive()
        terminal.type(b"s")  # the shell's
        await satellite.alive()
        os.close(orders)
