"""Keeps the entries of a schedule in one SQLite file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from handlers.agent.schedule.entry import DAILY, Entry, Kind, Owner, ScheduleError
from handlers.locking import InUseError, lock_file

_LOGGER = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
"""For a backup program that reads the file."""


class EntryStore:
    """Entries on disk. Its calls block and come from one thread; what a call has returned from is on disk."""

    def __init__(self, path: Path | None) -> None:
        """Without a path they are only in memory, for a house whose disk fails."""
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._lock: int | None = None

    def load(self) -> list[Entry]:
        """Open the file and read all of it. A damaged one is put aside, because a house needs its timers today.

        ScheduleError when it cannot be used, or another process uses it; nothing is open then.
        """
        try:
            if self._path is None:
                return self._open(":memory:")
            self._lock = _lock(self._path)
            return self._open_file(self._path)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise self._failed(error) from error

    def save(self, entries: Sequence[Entry], removed: Sequence[str] = ()) -> None:
        """Write entries and remove others, all or nothing."""
        if self._database is None:
            raise ScheduleError("The schedule is closed")
        try:
            with self._database as transaction:
                transaction.executemany("DELETE FROM entries WHERE id = ?", [(key,) for key in removed])
                transaction.executemany(
                    "INSERT OR REPLACE INTO entries (id, entry) VALUES (?, ?)",
                    [(entry.id, _to_json(entry)) for entry in entries],
                )
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        database, self._database = self._database, None
        lock, self._lock = self._lock, None
        try:
            if database is not None:
                database.close()
        finally:
            if lock is not None:
                os.close(lock)

    def _open_file(self, path: Path) -> list[Entry]:
        path.touch(mode=0o600)  # what somebody wants to be reminded of is theirs
        try:
            return self._open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            if self._database is not None:
                self._database.close()
            aside = path.with_name(path.name + ".damaged")
            _LOGGER.warning("The schedule %s is damaged (%s): kept as %s, and a new one begun", path, error, aside)
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
            path.touch(mode=0o600)
            return self._open(path)

    def _open(self, where: Path | str) -> list[Entry]:
        database = sqlite3.connect(where, timeout=_BUSY_SECONDS, check_same_thread=False)
        self._database = database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # an alarm that was acknowledged survives a power cut
        database.execute("PRAGMA secure_delete = ON")
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS entries (id TEXT PRIMARY KEY, entry TEXT NOT NULL)")
        entries = []
        for key, text in database.execute("SELECT id, entry FROM entries ORDER BY rowid"):
            try:
                entries.append(_from_json(text))
            except (ValueError, KeyError, TypeError):
                _LOGGER.warning("The entry %s of the schedule cannot be read and is left out", key)
        return entries

    def _failed(self, error: Exception) -> ScheduleError:
        where = self._path or "in memory"
        return ScheduleError(f"The schedule {where} cannot be written ({error}): check the disk and its rights")


def _lock(path: Path) -> int:
    """Of two processes with one schedule both would ring."""
    try:
        return lock_file(path.with_suffix(".lock"))
    except InUseError as error:
        raise ScheduleError(
            f"The schedule {path} is in use by another process ({error.owner}): stop that one, or choose another data "
            "folder"
        ) from None


def _to_json(entry: Entry) -> str:
    return json.dumps(asdict(entry) | {"repeat": sorted(entry.repeat)}, ensure_ascii=False)


def _from_json(text: str) -> Entry:
    values = json.loads(text)
    values["kind"] = Kind(values["kind"])
    values["owner"] = Owner(**values["owner"])
    values["repeat"] = frozenset(values["repeat"])
    entry = Entry(**values)
    if not (entry.repeat <= DAILY and entry.due > 0):
        raise ValueError("no such days, or no such time")
    return entry
