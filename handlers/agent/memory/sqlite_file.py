"""The memory's file: owned by one process, checked at the start, written by one thread at a time, read by several."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from handlers.agent.memory import schema
from handlers.agent.memory.stage import MemoryStoreError
from handlers.locking import InUseError, lock_file

_log = logging.getLogger(__name__)

NAME = "memory.sqlite"
LOCK = "memory.lock"
DAMAGED = "memory.damaged-*.sqlite"

_READERS = 4
"""Connections that read at once: a turn, its guess, the API and the background work."""

_WAIT_SECONDS = 60.0
"""For another thread's writing. The longest is a purge, a second for 50 000 notes; on an SD card ten times that."""

_BUSY_SECONDS = 10.0
"""For readers that hold back a checkpoint; none reads for longer."""


class SqliteFile:
    """`folder`/memory.sqlite. Raises MemoryStoreError when it is in use or cannot be used.

    A damaged file is moved aside, never overwritten; `notice` then says so.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._writing = threading.Lock()
        self._reading = threading.BoundedSemaphore(_READERS)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        try:
            _make_private(folder)
            self._lock = _lock(folder / LOCK)
        except OSError as error:
            raise MemoryStoreError(
                f"The memory cannot be kept in {folder} ({error.strerror or error}): make this folder writable, or "
                "choose another data folder"
            ) from None
        try:
            with _explained(self.path):
                self._writer = self._open_checked()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def notice(self) -> str:
        """What the owner should know: that a damaged file waits to be dealt with. Empty when all is well."""
        damaged = sorted(self.path.parent.glob(DAMAGED))
        if not damaged:
            return ""
        return (
            f"The memory's file was damaged; it was moved to {damaged[-1]} and a new, empty one was begun. To go back "
            f"to a snapshot, stop the server, delete {self.path}-wal if it is there, copy the snapshot to {self.path} "
            "and start again; then delete the damaged file, which still holds what was remembered"
        )

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on disk when the block ends, or undone when it raises."""
        with self._exclusively() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the file as it was when its first query began."""
        if not self._reading.acquire(timeout=_WAIT_SECONDS):
            raise MemoryStoreError("The memory is busy: try again later")
        try:
            with _explained(self.path):
                if self._closed:
                    raise MemoryStoreError("The memory is closed")
                db = self._idle.pop() if self._idle else self._connect("query_only = ON")
                try:
                    db.execute("BEGIN")
                    yield db
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    self._put_back(db)
        finally:
            self._reading.release()

    def compact(self) -> None:
        """Write the file anew without its free pages, and empty its log. Takes as long as the file is large."""
        with self._exclusively() as db:
            self._checkpoint(db)
            db.execute("VACUUM")
            self._checkpoint(db)

    def snapshot(self, target: Path) -> None:
        """A consistent copy, which replaces `target` when it is complete."""
        part = target.with_name(target.name + ".part")
        try:
            part.unlink(missing_ok=True)
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with self.reading() as db, contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy:
                db.execute("ROLLBACK")  # the copying has a transaction of its own
                db.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, no log beside it
            descriptor = os.open(part, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(target)
        except OSError as error:
            raise MemoryStoreError(
                f"The memory cannot be copied to {target} ({error.strerror or error}): choose another place"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def close(self) -> None:
        """Fold the log into the file and let another process have it. Another thread may finish what it reads."""
        if self._closed:
            return
        with self._exclusively() as db:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            with contextlib.suppress(sqlite3.Error):  # what is in the log is safe there, too
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()
            os.close(self._lock)

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[sqlite3.Connection]:
        if not self._writing.acquire(timeout=_WAIT_SECONDS):
            raise MemoryStoreError("The memory is busy: try again later")
        try:
            if self._closed:
                raise MemoryStoreError("The memory is closed")
            with _explained(self.path):
                yield self._writer
        finally:
            self._writing.release()

    def _put_back(self, db: sqlite3.Connection) -> None:
        if self._closed:
            db.close()
        else:
            self._idle.append(db)

    def _checkpoint(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise MemoryStoreError("The memory is being read for too long to be purged: try again later")

    def _open_checked(self) -> sqlite3.Connection:
        """The writing connection to a file that is whole and of this version."""
        _make_file(self.path)
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self._move_aside()
        _make_file(self.path)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        db = self._connect("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON")
        try:
            if schema.is_foreign(db):
                raise MemoryStoreError(
                    f"{self.path} is not a memory of Meadowlark: move it away, or choose another data folder"
                )
            if schema.version_of(db) > schema.VERSION:
                raise MemoryStoreError(f"{self.path} was written by a newer Meadowlark: update this one")
            found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise _Damage(found)
            schema.migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # In memory, so that what VACUUM copies does not come to lie in a temporary folder.
            for pragma in ("temp_store = MEMORY", *pragmas):
                db.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            db.close()
            raise
        return db

    def _move_aside(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self.path.with_name(DAMAGED.replace("*", stamp))
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
        _log.error("%s", self.notice)


class _Damage(sqlite3.DatabaseError):
    """Found by the integrity check."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
    return isinstance(error, _Damage) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as ours. Their own words are left out where they may quote what was looked for."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            what = "the disk is full: make room"
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            what = "another program reads it: close that program"
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            what = "it cannot be opened for writing: make the file and its folder writable"
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            what = "it is damaged: restart the server, which moves it aside and says how to go on"
        else:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            what = f"SQLite fails with {name}: check the disk, then restart the server"
        raise MemoryStoreError(f"The memory in {path} cannot be used, {what}") from error
    except sqlite3.Error as error:
        raise MemoryStoreError(f"The memory in {path} cannot be used: restart the server") from error
    except (UnicodeEncodeError, OverflowError):  # of a value that SQLite cannot hold
        raise MemoryStoreError("The memory keeps only text, and numbers of 64 bits: ask for something else") from None


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _make_file(path: Path) -> None:
    """Exists and is its owner's alone; SQLite gives its log the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _lock(path: Path) -> int:
    try:
        return lock_file(path)
    except InUseError as error:
        raise MemoryStoreError(
            f"The memory in {path.parent} is in use by another process ({error.owner}): stop that one, or choose "
            "another data folder"
        ) from None
