"""Programs that are run once: with a bound on what they write, and gone with all their children when they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.agent.tools.stage import ToolError

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 3.0
"""From the polite signal to the last: terraform and ansible give back their locks in that time."""

_FLOOD = 10
"""Times the kept output after which a program is stopped: it goes on and on."""

_LONGEST_STDERR = 2000
"""Bytes of the end of stderr, where programs say what went wrong."""

_PIPES_SECONDS = 0.5
"""After a program's end, for output that is still on its way. A child that holds the pipe open gets no more."""

_LOOK_SECONDS = 0.1
"""How often a program that closed nothing is asked whether it has ended: asyncio's own waiting for a process also waits
for its pipes, which a child left behind can hold open."""

_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Program:
    """What is run, how, and with what."""

    argv: Sequence[str]
    stdin: bytes = b""
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    longest_output: int = _CHUNK
    """Bytes of stdout that are kept."""


class Processes:
    """Runs programs, each in a process group of its own, and sees to it that all of it ends."""

    def __init__(self) -> None:
        self._ending: set[asyncio.Task[None]] = set()

    async def run(self, program: Program) -> str:
        """What the program wrote; ToolError with the end of its stderr when it failed. Has no deadline of its own.

        When cancelled, the whole process group is told to end, and killed a few seconds later.
        """
        # Cancelling asyncio in the middle of a start kills the program alone, and then waits for its children.
        starting = asyncio.create_task(_start(program))
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            ending = asyncio.create_task(_end_started(starting))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            raise
        except FileNotFoundError as error:
            if program.cwd is not None and not program.cwd.is_dir():
                raise ToolError(f"The folder {program.cwd}, in which the program should run, does not exist") from error
            raise ToolError(f"The program '{program.argv[0]}' is not installed on the server") from error
        except OSError as error:
            raise ToolError(f"The program '{program.argv[0]}' cannot be started: {error.strerror}") from error
        return await self._finish(process, program)

    async def close(self) -> None:
        """Wait until all programs are gone."""
        await asyncio.gather(*self._ending)

    async def _finish(self, process: asyncio.subprocess.Process, program: Program) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        output = _Head(program.longest_output)
        errors = _Tail(_LONGEST_STDERR)
        pipes = {
            asyncio.create_task(_write(process.stdin, program.stdin)),
            asyncio.create_task(_read(process.stdout, output)),
            asyncio.create_task(_read(process.stderr, errors)),
        }
        try:
            while process.returncode is None and not output.flood and any(not pipe.done() for pipe in pipes):
                await asyncio.wait(pipes, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                pipes = {pipe for pipe in pipes if not pipe.done()}
            if process.returncode is None and not output.flood:
                await process.wait()
            if pipes:
                await asyncio.wait(pipes, timeout=0 if output.flood else _PIPES_SECONDS)
        finally:
            ending = asyncio.create_task(_end(process, pipes))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            if process.returncode is not None or output.flood:
                await asyncio.shield(ending)
        text = output.text()
        if output.flood:
            raise ToolError(f"It wrote more and more and was stopped. It began with: {text}")
        if process.returncode:
            said = errors.text() or text[-_LONGEST_STDERR:] or "it said nothing about it"
            raise ToolError(f"It ended with code {process.returncode}: {said}")
        return text


class _Head:
    """The first bytes of a stream, and whether it goes on and on."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._seen = 0

    @property
    def flood(self) -> bool:
        return self._seen > self._limit * _FLOOD

    def add(self, data: bytes) -> bool:
        self._seen += len(data)
        self._kept += data[: self._limit - len(self._kept)]
        return not self.flood

    def text(self) -> str:
        more = self._seen - len(self._kept)
        left_out = f"\n[{more} bytes more were left out]" if more else ""
        return self._kept.decode("utf-8", "replace").strip() + left_out


class _Tail:
    """The last bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = b""

    def add(self, data: bytes) -> bool:
        self._kept = (self._kept + data)[-self._limit :]
        return True

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace").strip()


async def _start(program: Program) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *program.argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=program.cwd,
        env=program.env,
        start_new_session=True,
    )


async def _end_started(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    """End a program whose caller was gone before it had started."""
    with contextlib.suppress(OSError):
        await _end(await starting, set())


async def _write(stdin: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # a program need not read
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _read(stream: asyncio.StreamReader, kept: _Head | _Tail) -> None:
    while (data := await stream.read(_CHUNK)) and kept.add(data):
        pass


async def _end(process: asyncio.subprocess.Process, pipes: set[asyncio.Task[None]]) -> None:
    """End the process group: politely while the program runs, at once what it left behind."""
    for pipe in pipes:
        pipe.cancel()
    await asyncio.gather(*pipes, return_exceptions=True)
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        await _ended(process, _GRACE_SECONDS)
    _signal(process, signal.SIGKILL)
    if not await _ended(process, _GRACE_SECONDS):
        _log.warning("process %d does not end, even when killed", process.pid)
    # A child that left the group may hold the pipes open, and asyncio closes them only when the last holder is gone.
    process._transport.close()  # type: ignore[attr-defined]


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait for the program's end; False when it did not come in time."""
    try:
        async with asyncio.timeout(seconds):
            while process.returncode is None:  # noqa: ASYNC110 -- asyncio has no event for it, see _LOOK_SECONDS
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return False
    return True


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
