"""Reads the log of actions, the newest first: an attempt and its result are one entry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Self

from handlers.errors import RequestError

_BLOCK = 64 * 1024
"""Bytes that are read at once; about a hundred lines."""

_LATE = 256 * 1024
"""Bytes behind an attempt in which its result is looked for: what happens in a busy house within the minutes that the
longest action takes."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a line begins in the log."""

    day: date
    offset: int

    @property
    def word(self) -> str:
        """As it is told to clients: '2026-11-20.1234'."""
        return f"{self.day.isoformat()}.{self.offset}"

    @classmethod
    def parse(cls, word: str) -> Self:
        """RequestError for what is no place."""
        day, _, offset = word.partition(".")
        try:
            if offset.isascii() and offset.isdigit() and len(word) <= _LONGEST_WORD:
                return cls(date.fromisoformat(day), int(offset))
        except ValueError:
            pass
        raise RequestError("bad-request", "There is no such entry: take 'after' from the page before")


_LONGEST_WORD = 30


@dataclass(frozen=True)
class Entry:
    """An action, and what came of it. What an older Meadowlark did not write down is empty."""

    id: str
    """Its place in the log."""
    at: str
    """UTC, ISO 8601."""
    action: str
    turn: str
    """That of all actions of one turn."""
    tenant: str
    user: str
    token: str
    role: str
    satellite: str
    room: str
    conversation: str
    heard: str
    tool: str
    arguments: object
    confirmed: bool
    outcome: str
    """'done', 'failed', 'asked' (it waits for a yes), or 'unknown': under way, or the server stopped before its end."""
    result: str
    seconds: float | None


def entries(folder: Path, before: Place | None = None) -> Iterator[Entry]:
    """All that was written down, or all before a place. Blocks; OSError where the log cannot be read."""
    results: dict[object, Mapping[str, object]] = {}
    for day, path in log_files(folder):
        end = None
        if before is not None and day >= before.day:
            if day > before.day + timedelta(days=1):
                continue
            end = _LATE + (before.offset if day == before.day else 0)
        for offset, text in _backwards(path, end):
            line = _parsed(text)
            if line is None:
                continue
            if line.get("event") == "result":
                results[line.get("action")] = line
                continue
            result = results.pop(line.get("action"), None)
            place = Place(day, offset)
            if before is None or place < before:
                yield _entry(place, line, result)


def lines(folder: Path) -> Iterator[Mapping[str, object]]:
    """All lines as they were written, the newest first. Blocks; OSError where the log cannot be read."""
    for _, path in log_files(folder):
        for _, text in _backwards(path, None):
            line = _parsed(text)
            if line is not None:
                yield line


def log_files(folder: Path) -> list[tuple[date, Path]]:
    """The files of the log with their days, the newest first."""
    found = ((_day(path), path) for path in folder.glob("actions-*.jsonl"))
    return sorted(((day, path) for day, path in found if day is not None), reverse=True)


def _day(path: Path) -> date | None:
    """The day of a log file; None for a file that is none of ours."""
    try:
        return date.fromisoformat(path.stem.removeprefix("actions-"))
    except ValueError:
        return None


def _parsed(text: bytes) -> Mapping[str, object] | None:
    """A line of the log; None for half a line."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "at" in line else None


def _backwards(path: Path, end: int | None) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that begin before `end`, the last first, each with its offset. None for a file that goes
    meanwhile: it had grown too old."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        size = file.seek(0, os.SEEK_END)
        begin = size if end is None else min(size, end)
        rest = b""
        while begin:
            length = min(_BLOCK, begin)
            begin -= length
            file.seek(begin)
            block = file.read(length) + rest
            rest, *lines = block.split(b"\n")
            at = begin + len(block)
            for line in reversed(lines):
                at -= len(line)
                yield at, line
                at -= 1
        yield 0, rest


def _entry(place: Place, attempt: Mapping[str, object], result: Mapping[str, object] | None) -> Entry:
    def text(name: str) -> str:
        return str(attempt.get(name, ""))

    seconds = result.get("seconds") if result is not None else None
    return Entry(
        id=place.word,
        at=text("at"),
        action=text("action"),
        turn=text("turn"),
        tenant=text("tenant"),
        user=text("user"),
        token=text("token"),
        role=text("role"),
        satellite=text("satellite"),
        room=text("room"),
        conversation=text("conversation"),
        heard=text("heard"),
        tool=text("tool"),
        arguments=attempt.get("arguments", {}),
        confirmed=bool(attempt.get("confirmed")),
        outcome=_outcome(result),
        result=str(result.get("result", "")) if result is not None else "",
        seconds=seconds if isinstance(seconds, int | float) else None,
    )


def _outcome(result: Mapping[str, object] | None) -> str:
    if result is None:
        return "unknown"
    if result.get("asked"):
        return "asked"
    return "failed" if result.get("failed") else "done"
