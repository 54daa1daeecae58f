"""What ALSA, JACK and PortAudio write to the process's stderr goes to our debug log; everything else passes.

They write in C, to the descriptor, when devices are listed, opened and lost: dozens of lines that look like trouble.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading

_LOGGER = logging.getLogger(__name__)

_STDERR = 2

_THEIRS = (b"ALSA lib ", b"Expression '", b"Cannot connect to server ", b"jack server ", b"JackShm")
"""How the lines of ALSA, PortAudio and (the last three) JACK begin."""

_DRAIN_SECONDS = 1.0
"""For the last lines; a child process that was started meanwhile may hold the pipe open for ever."""


class Filter:
    """Stands before stderr from the first `enter` to the last `leave`. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._kept = -1
        self._thread: threading.Thread | None = None
        atexit.register(self._end_with_program)

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._begin()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._end()

    def _begin(self) -> None:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # there is no stderr
            return
        sys.stderr.flush()
        reading, writing = os.pipe()
        os.dup2(writing, _STDERR)
        os.close(writing)
        self._kept = kept
        self._thread = threading.Thread(target=_forward, args=(reading, os.dup(kept)), daemon=True)
        self._thread.start()

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            sys.stderr.flush()
            os.dup2(self._kept, _STDERR)  # this was the pipe's last writer
            os.close(self._kept)
            thread.join(_DRAIN_SECONDS)

    def _end_with_program(self) -> None:
        """All has been said by now, but a thread that still asks for devices goes on writing."""
        busy = self._thread is not None
        self._end()
        if busy:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, _STDERR)
            os.close(nowhere)


def _forward(reading: int, target: int) -> None:
    rest = b""
    theirs = False
    try:
        while data := os.read(reading, 65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                theirs = line.startswith(_THEIRS) or (theirs and not line)  # some end in an empty line
                if theirs:
                    _LOGGER.debug("sound library: %s", line.decode("utf-8", "replace"))
                else:
                    _pass_on(target, line + b"\n")
            if rest and not any(prefix.startswith(rest[: len(prefix)]) for prefix in _THEIRS):
                _pass_on(target, rest)  # somebody writes a line in parts
                rest, theirs = b"", False
        _pass_on(target, rest)
    finally:
        os.close(reading)
        os.close(target)


def _pass_on(target: int, text: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads our stderr
        os.write(target, text)
