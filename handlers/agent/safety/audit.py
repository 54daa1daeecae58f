"""Who did what, when and from where: an append-only log of actions, one file of JSON lines a day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import Field

from handlers.agent.caller import Caller
from handlers.agent.safety.masking import masked, masked_text
from handlers.agent.tools.stage import ToolError
from handlers.settings import Section

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
    caller: Caller
    heard: str = ""
    """What the caller said; empty for what only reads, and in private mode."""
    turn: str = ""
    """The turn's id, as the timeline has it, if it is known."""
    confirmed: bool = False
    """Whether the caller said yes to exactly this."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Joins the attempt and its result in the log."""


@dataclass
class Ending:
    """How an action ended: failed, until somebody says otherwise."""

    text: str = ""
    failed: bool = True


class Audit:
    """The log in a folder. Two lines for each action: `attempt` before it begins, `result` after it.

    A line is on the disk (fsync) before `attempt` returns. Where that cannot be, as on a full or read-only disk, it
    raises ToolError and the action must not be done: nothing happens in the house that is not written down.
    Secrets are masked (see masking.py). Close it when no action runs any more.
    """

    def __init__(self, folder: Path, keep_days: int) -> None:
        self._folder = folder
        self._keep = timedelta(days=keep_days)
        self._pruned: date | None = None
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
            self.result(action, ending.text, failed=ending.failed, seconds=time.monotonic() - began)

    async def attempt(self, action: Action) -> None:
        """Write down that something is about to be done; raises ToolError when that fails."""
        line = {
            "event": "attempt",
            "action": action.id,
            "turn": action.turn,
            "user": action.caller.user,
            "satellite": action.caller.satellite,
            "room": action.caller.room,
            "token": action.caller.token,
            "role": action.caller.role.word,
            "heard": masked_text(action.heard)[:_LONGEST_TEXT],
            "tool": action.tool,
            "arguments": _bounded(masked(action.arguments)),
            "confirmed": action.confirmed,
        }
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._disk, self._append, line)
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError; RuntimeError: closed
            _log.error("the audit log in %s cannot be written, no action is taken: %s", self._folder, error)
            raise ToolError(
                "It was not done, because the server cannot write its log of actions; make room on its disk"
            ) from error

    def result(self, action: Action, text: str, *, failed: bool, seconds: float) -> None:
        """Write down how it ended. Does not wait; what fails here is only logged, as the action has happened."""
        line = {
            "event": "result",
            "action": action.id,
            "turn": action.turn,
            "tool": action.tool,
            "failed": failed,
            "result": masked_text(text[: 2 * _LONGEST_TEXT])[:_LONGEST_TEXT],
            "seconds": round(seconds, 3),
        }
        with contextlib.suppress(RuntimeError):  # closed
            self._disk.submit(self._append_late, line)

    async def read(
        self, limit: int = 100, *, before: datetime | None = None, user: str | None = None
    ) -> list[Mapping[str, object]]:
        """The last lines, newest first; only those before a moment, only those of a user's attempts if asked."""
        work = asyncio.get_running_loop().run_in_executor(self._disk, self._read, limit, before, user)
        return await work

    async def close(self) -> None:
        """Finish writing."""
        await asyncio.to_thread(self._disk.shutdown)

    def _append_late(self, line: Mapping[str, object]) -> None:
        try:
            self._append(line)
        except OSError as error:
            _log.error("the result of an action is missing in the audit log in %s: %s", self._folder, error)

    def _append(self, line: Mapping[str, object]) -> None:
        now = datetime.now(UTC)
        data = (json.dumps({"at": now.isoformat(), **line}, ensure_ascii=False) + "\n").encode(errors="replace")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._pruned != now.date():
            self._prune(now.date())
        path = self._file(now.date())
        new = not path.exists()
        # Nobody else may read what was said in the house, and a link is not followed to another file.
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
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
            _sync_folder(self._folder)

    def _prune(self, today: date) -> None:
        for path in self._files():
            if _day(path) < today - self._keep:
                with contextlib.suppress(OSError):  # tried again tomorrow
                    path.unlink()
        self._pruned = today

    def _read(self, limit: int, before: datetime | None, user: str | None) -> list[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        for path in sorted(self._files(), reverse=True):
            if before is not None and _day(path) > before.astimezone(UTC).date():
                continue
            for text in reversed(path.read_text("utf-8", errors="replace").split("\n")):
                line = _parse(text)
                if line is None or (before is not None and _when(line) >= before):
                    continue
                if user is not None and line.get("user") != user:
                    continue
                found.append(line)
                if len(found) >= limit:
                    return found
        return found

    def _file(self, day: date) -> Path:
        return self._folder / f"actions-{day.isoformat()}.jsonl"

    def _files(self) -> list[Path]:
        return [path for path in self._folder.glob("actions-*.jsonl") if _day(path) != date.max]


def _bounded(arguments: object) -> object:
    text = json.dumps(arguments, ensure_ascii=False, default=str)
    return arguments if len(text) <= _LONGEST_ARGUMENTS else text[:_LONGEST_ARGUMENTS] + "…"


def _day(path: Path) -> date:
    """The day of a log file; date.max for a file that is none of ours."""
    try:
        return date.fromisoformat(path.stem.removeprefix("actions-"))
    except ValueError:
        return date.max


def _parse(text: str) -> Mapping[str, object] | None:
    try:
        line = json.loads(text)
    except ValueError:  # half a line
        return None
    return line if isinstance(line, dict) and "at" in line else None


def _when(line: Mapping[str, object]) -> datetime:
    return datetime.fromisoformat(str(line["at"]))


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
