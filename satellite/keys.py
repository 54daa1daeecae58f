"""The keys of the terminal that the satellite was started in: push to talk, mute, stop, volume, quit.

The terminal is read key by key only while the satellite is in its foreground, and as it was before whenever it is not:
after the end, after Ctrl-Z, in the background. A terminal tells only that a key was pressed, not that it was let go,
but one that is held repeats. So the space bar is held for the length of a request, or pressed again at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

from satellite.machine import State
from satellite.partner import Controls
from satellite.volume import LOUDEST

HELP = (
    "Keys: space talks (hold it, or press it again at the end), s or Escape is quiet, m mutes, + and - volume, q quits"
)

VOLUME_STEP = 10
"""Percent for each press; a few of them are heard as a difference."""

REPEAT_SECONDS = 0.15
"""A space that comes so soon after another is that of a bar that is held down: it repeats 10 to 40 times a second."""

_LOOK_SECONDS = 1.0
"""How often it is looked whether the satellite is in the foreground: nobody tells when it gets there."""

_ESCAPE_SECONDS = 0.05
"""What follows an Escape within this time is an arrow key or the like, which begins with the same byte."""

_READ_BYTES = 64
"""At a time; nobody types so fast."""

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)", re.DOTALL)
"""What arrow and function keys send."""


_PARTIAL = re.compile(rb"\x1b(?:[\[O][0-?]*)?$")
"""An Escape that may be the beginning of one."""


class Keys:
    """Reads the terminal, from the main thread. `leave` is called for q; SIGINT and SIGTERM are left to the owner."""

    def __init__(
        self,
        controls: Controls,
        leave: Callable[[], None],
        *,
        stdin: int = 0,
        repeat_seconds: float = REPEAT_SECONDS,
    ) -> None:
        self._controls = controls
        self._leave = leave
        self._stdin = stdin
        self._repeat_seconds = repeat_seconds
        self._spaced = float("-inf")
        self._done: asyncio.TimerHandle | None = None
        self._before: list[Any] | None = None  # the terminal's settings in whose place ours are
        self._ours: list[Any] | None = None
        self._stirred = asyncio.Event()  # a key is there, or the process goes on after it was stopped

    async def run(self) -> None:
        """Do what the keys say. Returns after q, when the terminal is gone, and at once where there is none."""
        if not os.isatty(self._stdin):
            return
        with self._signals():
            sys.stderr.write(HELP + "\n")
            try:
                while typed := await self._next():
                    for key in _SEQUENCE.sub(b"", typed).decode("latin-1").lower():
                        if key == "q":
                            self._leave()
                            return
                        self._press(key)
            finally:
                if self._done is not None:
                    self._done.cancel()
                self._restore()

    def _press(self, key: str) -> None:
        if key == " ":
            now = asyncio.get_running_loop().time()
            held = now - self._spaced < self._repeat_seconds
            self._spaced = now
            if self._done is not None:
                self._done.cancel()
            if self._controls.status.get("state") == State.ASKING:  # pressed again, or held: then more of them come
                self._done = asyncio.get_running_loop().call_later(self._repeat_seconds, self._controls.done)
            elif not held:
                self._controls.talk()
        elif key in ("s", "\x1b"):
            self._controls.stop()
        elif key == "m":
            if self._controls.is_muted:
                self._controls.unmute()
            else:
                self._controls.mute()
        elif key in ("+", "=", "-"):  # = is the same key as + without shift
            step = -VOLUME_STEP if key == "-" else VOLUME_STEP
            volume = int(self._controls.status.get("volume", 0)) + step
            self._controls.set_volume(max(0, min(LOUDEST, volume)))

    async def _next(self) -> bytes:
        """The next keys; none when the terminal is gone."""
        while True:
            try:
                typed = await self._typed(_LOOK_SECONDS)
                if _PARTIAL.search(typed):
                    typed += await self._typed(_ESCAPE_SECONDS)
                if typed:
                    return typed
            except (OSError, termios.error):
                if self._in_foreground():
                    return b""
                # else it was put into the background in the moment of reading

    async def _typed(self, within: float) -> bytes:
        """What is typed within so many seconds, if anything."""
        loop = asyncio.get_running_loop()
        listens = self._in_foreground()
        if listens:
            self._enter()
            loop.add_reader(self._stdin, self._stirred.set)
        try:
            async with asyncio.timeout(within):
                await self._stirred.wait()
        except TimeoutError:
            pass
        finally:
            self._stirred.clear()
            if listens:
                loop.remove_reader(self._stdin)
        if not listens or not self._in_foreground():
            return b""
        self._enter()  # a shell may have been at it meanwhile, and then reading could wait for a whole line
        poll = select.poll()
        poll.register(self._stdin, select.POLLIN)
        events = sum(event for _, event in poll.poll(0))
        if events & (select.POLLHUP | select.POLLERR):
            raise OSError(errno.EIO, "The terminal is gone")
        return os.read(self._stdin, _READ_BYTES) if events else b""

    def _in_foreground(self) -> bool:
        """Who reads a terminal from the background is stopped by the system."""
        try:
            return os.tcgetpgrp(self._stdin) == os.getpgrp()
        except OSError:  # this terminal controls nobody here
            return True

    def _enter(self) -> None:
        """Key by key and without echo, unless it is so already: a shell sets a terminal back as it likes."""
        current = termios.tcgetattr(self._stdin)
        if current == self._ours:
            return
        self._before = current
        wanted = termios.tcgetattr(self._stdin)
        wanted[3] &= ~(termios.ECHO | termios.ICANON)
        wanted[6][termios.VMIN] = wanted[6][termios.VTIME] = 0  # reading never waits
        termios.tcsetattr(self._stdin, termios.TCSANOW, wanted)  # not after output, which Ctrl-S may hold for ever
        self._ours = termios.tcgetattr(self._stdin)

    def _restore(self) -> None:
        """As it was. In the background it is another program's terminal."""
        if self._before is not None and self._in_foreground():
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(self._stdin, termios.TCSANOW, self._before)
        self._before = self._ours = None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Nothing from the terminal stops the process unforeseen, or ends it before the terminal is as it was."""
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTSTP: self._suspend,
            signal.SIGCONT: self._stirred.set,
            signal.SIGHUP: lambda: self._die(signal.SIGHUP),
            signal.SIGQUIT: lambda: self._die(signal.SIGQUIT),
        }
        free = {number: handler for number, handler in handlers.items() if signal.getsignal(number) == signal.SIG_DFL}
        ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTIN, signal.SIGTTOU)}
        for number, handler in free.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in free:
                loop.remove_signal_handler(number)
            for number, before in ignored.items():
                signal.signal(number, before)

    def _suspend(self) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _die(self, number: signal.Signals) -> None:
        self._restore()
        asyncio.get_running_loop().remove_signal_handler(number)
        os.kill(os.getpid(), number)
