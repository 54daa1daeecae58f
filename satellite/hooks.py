"""Commands of the person's own that run when something happens: a light, a louder amplifier, a message somewhere.

A command gets what happened as one JSON line on stdin (`{"event": "woken", "score": 0.93, …}`) and as environment
variables (MEADOWLARK_EVENT, MEADOWLARK_SCORE, …). Nobody waits for it: it has a time limit, and where too many are at
work at once, the next is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import os
import shlex
import shutil
import signal
from typing import Annotated

from pydantic import BeforeValidator, Field

from handlers.errors import SettingsError
from handlers.settings import Section
from satellite.happenings import Happening, Happenings, Kind, Value, event_line

_LOGGER = logging.getLogger(__name__)

_GRACE_SECONDS = 1.0
"""Between the polite signal and the last one."""

_END_SECONDS = 1.0
"""That a command may go on for when the satellite ends: long enough to switch a light off."""

_LATE_SECONDS = 0.2
"""For an error message that is still in the pipe when its command has ended; what it left behind may hold it open."""

_LINE_BYTES = 300
"""Of the error message that is logged: one sentence of a program."""

_VARIABLE_BYTES = 32 * 1024
"""Of a value in the environment; Linux starts no program with a variable of 128 KiB. Stdin has all of it."""

_SPOKEN = frozenset({Kind.TRANSCRIPT, Kind.ANSWER, Kind.TIMER_STARTED})
"""Their commands know what somebody said, and may repeat it in an error message."""


def _kind(given: object) -> object:
    """Also timer_finished for timer-finished, as the name of an environment variable has no dashes."""
    name = str(given).replace("_", "-")
    kinds = [str(kind) for kind in Kind]
    if name in kinds:
        return name
    near = difflib.get_close_matches(name, kinds, 1)
    raise ValueError(
        "nothing that happens is called so; "
        + (f"did you mean {near[0]}?" if near else f"there are {', '.join(kinds)}")
    )


def _argv(given: object) -> object:
    """A command as a list of its words. A string is split as a shell would, but no shell runs it."""
    if isinstance(given, str):
        try:
            words: list[object] = list(shlex.split(given))
        except ValueError as error:
            raise ValueError(f"cannot be split into words ({error}); write it as a list") from None
    elif isinstance(given, list | tuple):
        words = list(given)
    else:
        raise ValueError("must be a command, as text or as a list of words")
    if not words or not words[0]:
        raise ValueError("is empty; leave the key out")
    if not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ValueError("each word of the command must be text; put it in quotes")
    return tuple(words)


class HookSettings(Section):
    """Commands that run when something happens."""

    commands: dict[Annotated[Kind, BeforeValidator(_kind)], Annotated[tuple[str, ...], BeforeValidator(_argv)]] = Field(
        default_factory=dict
    )
    """What runs when, such as `woken: led on`: a program with its words, as text or a list. No shell is involved."""

    seconds: float = Field(10.0, gt=0, le=600)
    """A command that takes longer is ended, with all that it started."""

    at_once: int = Field(4, ge=1, le=64)
    """How many may be at work, or wait for the one before of their kind; more are left out."""


class Hooks:
    """Runs the commands. Those of the same kind run one after the other, in the order of what happened."""

    def __init__(self, settings: HookSettings, happenings: Happenings) -> None:
        """Raises SettingsError for a program that is not there."""
        for kind, argv in settings.commands.items():
            if shutil.which(argv[0]) is None:
                raise SettingsError(
                    f"satellite.hooks.commands.{kind}: the program '{argv[0]}' is not there, or may not be executed; "
                    "give its whole path (nothing expands ~ or $), and see that it is executable"
                )
        self._settings = settings
        self._waiting: dict[Kind, asyncio.Queue[Happening | None]] = {
            kind: asyncio.Queue() for kind in settings.commands
        }
        self._taken = 0  # bounds the queues; None in them is the end
        self._ended = False
        self._left_out: set[Kind] = set()
        self._failing: set[Kind] = set()
        if settings.commands:
            happenings.add(self._observe)

    async def run(self) -> None:
        """Run what there is to run until cancelled; what runs then may go on for a second."""
        workers = [asyncio.create_task(self._work(kind), name=f"hook {kind}") for kind in self._waiting]
        try:
            await asyncio.Event().wait()
        finally:
            self._ended = True
            for waiting in self._waiting.values():
                while not waiting.empty():
                    waiting.get_nowait()
                waiting.put_nowait(None)
            try:
                if workers:
                    await asyncio.wait(workers, timeout=_END_SECONDS)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    def _observe(self, happening: Happening) -> None:
        waiting = self._waiting.get(happening.kind)
        if waiting is None or self._ended:
            return
        if self._taken < self._settings.at_once:
            self._taken += 1
            waiting.put_nowait(happening)
        elif happening.kind not in self._left_out:
            self._left_out.add(happening.kind)
            _LOGGER.warning(
                "The hook for '%s' was left out, because %d were at work; raise satellite.hooks.at_once",
                happening.kind,
                self._taken,
            )

    async def _work(self, kind: Kind) -> None:
        while (happening := await self._waiting[kind].get()) is not None:
            try:
                problem = await self._have_run(self._settings.commands[kind], happening)
            except OSError as error:
                problem = f"cannot be started: {error.strerror}"
            except Exception as error:  # one command less must not be all of them
                _LOGGER.debug("Unexpected", exc_info=True)
                problem = f"failed for a reason that was not foreseen ({type(error).__name__})"
            finally:
                self._taken -= 1
            if problem is None:
                self._failing.discard(kind)
            elif kind not in self._failing:
                self._failing.add(kind)
                _LOGGER.warning("The hook for '%s' %s", kind, problem)

    async def _have_run(self, argv: tuple[str, ...], happening: Happening) -> str | None:
        """Run a command to its end; what went wrong, or None. It leaves nothing behind."""
        process, complaint = await _start(argv, happening)
        assert process.stdin is not None
        try:
            process.stdin.write(event_line(happening))
            process.stdin.close()
            if not await _ends(process, self._settings.seconds):
                _signal(process, signal.SIGTERM)
                await _ends(process, _GRACE_SECONDS)
                return f"took longer than {self._settings.seconds:g} seconds, and was ended"
            if not process.returncode:
                return None
            said = await complaint.line()
        finally:
            _signal(process, signal.SIGKILL)
            if process.stdin.transport.get_write_buffer_size():  # else it is closed already
                process.stdin.transport.abort()
            await _ends(process, _GRACE_SECONDS)
            complaint.close()
        if said and happening.kind in _SPOKEN:
            _LOGGER.debug("The hook for '%s' said: %s", happening.kind, said)
            said = ""
        how = f"ended with code {process.returncode}" if process.returncode > 0 else "was killed"
        return f"{how}: {said}" if said else how


class _Complaint(asyncio.Protocol):
    """The first line of what a command writes to stderr. All of it is read, so that no command waits for us."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._ended = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._kept += data[: _LINE_BYTES - len(self._kept)]

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    async def line(self) -> str:
        """What has come when the command has ended; empty when it said nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LATE_SECONDS):
                await self._ended.wait()
        lines = self._kept.decode("utf-8", "replace").strip().splitlines()
        return lines[0] if lines else ""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _start(argv: tuple[str, ...], happening: Happening) -> tuple[asyncio.subprocess.Process, _Complaint]:
    """Start a command in a process group of its own.

    Its stderr is a pipe of ours: asyncio's own waiting for a process would also wait for whoever else holds its pipes.
    """
    reading, writing = os.pipe()
    try:
        loop = asyncio.get_running_loop()
        _, complaint = await loop.connect_read_pipe(_Complaint, os.fdopen(reading, "rb", 0))
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=writing,
                env=_environment(happening),
                start_new_session=True,
            )
        except BaseException:
            complaint.close()
            raise
    finally:
        os.close(writing)
    return process, complaint


def _environment(happening: Happening) -> dict[str, str]:
    """The satellite's environment without its own settings, some of which are secret, and with what happened."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("MEADOWLARK_")}
    environment["MEADOWLARK_EVENT"] = happening.kind
    for key, value in happening.data.items():
        if value is not None:
            environment[f"MEADOWLARK_{key.upper()}"] = _variable(value)
    return environment


def _variable(value: Value) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value).replace("\0", "")
    return text.encode("utf-8", "replace")[:_VARIABLE_BYTES].decode("utf-8", "ignore")


async def _ends(process: asyncio.subprocess.Process, within: float) -> bool:
    """Wait for a process; False when it did not end within so many seconds."""
    try:
        async with asyncio.timeout(within):
            await process.wait()
    except TimeoutError:
        return False
    return True


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """To the command and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
