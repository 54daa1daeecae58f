"""Who did what, when and from where: an append-only log of actions, one file of JSON lines a day."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from handlers.agent.safety.audit_reader import Entry, Place, entries, lines, log_files
from handlers.agent.safety.masking import masked, masked_text
from handlers.agent.tools.stage import ToolError
from handlers.files import give_to_owner
from handlers.session import Session
from handlers.settings import Section

T = TypeVar("T")

_log = logging.getLogger(__name__)

_LONGEST_TEXT = 500
"""Characters of what was heard and of a result: enough to see what it was about."""

_LONGEST_ARGUMENTS = 4000
"""Characters of a call's arguments as JSON: only a whole file as an argument is longer."""

_WRITE_SECONDS = 10.0
"""A disk that takes longer is as good as full: the action is refused."""


class AuditSettings(Section):
    """The log of actions."""

    keep_days: int = Field(90, ge=1, le=3650)
    """Days after which what was done is forgotten."""


@dataclass(frozen=True)
class Action:
    """Something that is about to be done."""

    tool: str
    """Name of the tool or of the skill."""
    arguments: Mapping[str, object]
    session: Session
    heard: str = ""
    """What was said; empty for what only reads."""
    turn: str = ""
    """The turn's id, as the timeline has it, if it is known."""
    confirmed: bool = False
    """Whether the speaker said yes to exactly this."""
    discreet: bool = False
    """Whether no words of it are written down: in private mode, and what the memory is told."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Joins the attempt and its result in the log."""


@dataclass
class Ending:
    """How an action ended: failed, until somebody says otherwise."""

    text: str = ""
    failed: bool = True
    asked: bool = False
    """Nothing was done: it waits for a yes."""


class Audit:
    """The log in a folder. Two lines for each action: `attempt` before it begins, `result` after it.

    A line is on the disk (fsync) before `attempt` returns. Where that cannot be, as on a full or read-only disk, it
    raises ToolError and the action must not be done: nothing happens in the house that is not written down.
    Secrets are masked (see masking.py). Other processes may write to the same folder at the same time. Close it when no
    action runs any more.
    """

    def __init__(self, folder: Path, keep_days: int | None = None) -> None:
        """None removes nothing: for whoever only adds to a server's log, and may not know its settings."""
        self._folder = folder
        self._keep = None if keep_days is None else timedelta(days=keep_days)
        self._failing = False
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="audit")  # one writer, lines in order

    @contextlib.asynccontextmanager
    async def acting(self, action: Action) -> AsyncGenerator[Ending, None]:
        """The length of an action: written down before, with what the block says of its ending after. ToolError where
        it cannot be written down, and then the block is not entered."""
        await self.attempt(action)
        began = time.monotonic()
        ending = Ending()
        try:
            yield ending
        finally:
            self._result(action, ending, time.monotonic() - began)

    async def attempt(self, action: Action) -> None:
        """Write down that something is about to be done; raises ToolError when that fails."""
        session = action.session
        line = {
            "event": "attempt",
            "action": action.id,
            "turn": action.turn,
            "tenant": session.tenant,
            "user": session.user,
            "satellite": session.satellite,
            "room": session.room,
            "conversation": session.conversation,
            "token": session.token,
            "role": session.role.word,
            "heard": "" if action.discreet else masked_text(action.heard)[:_LONGEST_TEXT],
            "tool": action.tool,
            "arguments": {} if action.discreet else _bounded(masked(action.arguments)),
            "confirmed": action.confirmed,
        }
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._disk, self._append, line)
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError; RuntimeError: closed
            self._complain(error)
            raise ToolError(
                "It was not done, because the server cannot write its log of actions; make room on its disk"
            ) from error

    def result(self, action: Action, text: str, *, failed: bool, seconds: float) -> None:
        """Write down how it ended. Does not wait; what fails here is only logged, as the action has happened."""
        self._result(action, Ending(text, failed), seconds)

    def _result(self, action: Action, ending: Ending, seconds: float) -> None:
        told = "" if action.discreet else masked_text(ending.text[: 2 * _LONGEST_TEXT])[:_LONGEST_TEXT]
        line = {
            "event": "result",
            "action": action.id,
            "turn": action.turn,
            "tool": action.tool,
            "failed": ending.failed,
            "asked": ending.asked,
            "result": told,
            "seconds": round(seconds, 3),
        }
        with contextlib.suppress(RuntimeError):  # closed
            self._disk.submit(self._append_late, line)

    async def entries(self, limit: int, before: str = "") -> list[Entry]:
        """The last actions, the newest first; those before one whose `id` is given. RequestError where it is none."""
        place = Place.parse(before) if before else None
        return await self._reading(lambda: list(itertools.islice(entries(self._folder, place), limit)))

    async def read(self, limit: int = 100) -> list[Mapping[str, object]]:
        """The last lines as they were written, the newest first."""
        return await self._reading(lambda: list(itertools.islice(lines(self._folder), limit)))

    async def prune(self) -> None:
        """Remove the days that are too old. OSError for one that stays."""
        await self._reading(self._prune)

    async def close(self) -> None:
        """Finish writing."""
        await asyncio.to_thread(self._disk.shutdown)

    async def _reading(self, work: Callable[[], T]) -> T:
        """Behind all that is being written."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _append_late(self, line: Mapping[str, object]) -> None:
        try:
            self._append(line)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Once, until it can be written again: a full disk does not fill itself with our complaints."""
        if not self._failing:
            _log.error("the audit log in %s cannot be written, no action is taken: %s", self._folder, error)
        self._failing = True

    def _append(self, line: Mapping[str, object]) -> None:
        now = datetime.now(UTC)
        data = (json.dumps({"at": now.isoformat(), **line}, ensure_ascii=False) + "\n").encode(errors="replace")
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            give_to_owner(self._folder)
        path = self._file(now.date())
        new = not path.exists()
        # Nobody else may read what was said in the house, and a link is not followed to another file.
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # what the command line writes comes from another process
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # power failed within a line
                data = b"\n" + data
            if os.write(file, data) != len(data):
                os.ftruncate(file, size)  # half a line is no line
                raise OSError("the disk is full")
            os.fsync(file)
        finally:
            os.close(file)
        if new:
            give_to_owner(path)
            _sync_folder(self._folder)
        self._failing = False

    def _prune(self) -> None:
        if self._keep is None:
            return
        oldest = datetime.now(UTC).date() - self._keep
        failure: OSError | None = None
        for day, path in log_files(self._folder):
            if day < oldest:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:  # the others go all the same
                    failure = error
        if failure is not None:
            raise failure

    def _file(self, day: date) -> Path:
        return self._folder / f"actions-{day.isoformat()}.jsonl"


def _bounded(arguments: object) -> object:
    text = json.dumps(arguments, ensure_ascii=False, default=str)
    return arguments if len(text) <= _LONGEST_ARGUMENTS else text[:_LONGEST_ARGUMENTS] + "…"


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
