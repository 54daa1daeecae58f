"""The data folder on disk: written so that nothing half-done is ever seen, and by one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from handlers.errors import ModelError, SettingsError

WAKE_FOLDER = "wake"
"""Wake words lie together: an engine offers all those of a folder, and people put their own beside them."""

_SPARE = 32 << 20
"""Bytes that stay free beside a model: the memory database and logs live on the same disk."""

_POLL = 0.1
"""Seconds between two tries for a lock: flock has no deadline of its own, and nobody notices a tenth."""


def usual_data_dir() -> Path:
    """The data folder of this person and machine, where no flag or setting names another."""
    named = os.environ.get("MEADOWLARK_DATA_DIR")
    return expanded(named) if named else platformdirs.user_data_path("meadowlark")


def installed_wake_folder() -> Path:
    """Where this person's `meadowlark-models pull` puts wake words; it need not be there."""
    return usual_data_dir() / "models" / WAKE_FOLDER


def expanded(text: str) -> Path:
    """A path that may begin with '~'."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 -- Path.expanduser raises for a user who does not exist


def is_file(path: Path) -> bool:
    """Whether there is a file; a name that cannot be looked up is none."""
    return os.path.isfile(path)  # noqa: PTH113 -- Path.is_file raises for unreadable folders and overlong names


def is_dir(path: Path) -> bool:
    """Whether there is a folder; a name that cannot be looked up is none."""
    return os.path.isdir(path)  # noqa: PTH112 -- as above


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write into `folder` into one sentence. Keep reading and sockets out of it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"The disk of {folder} is full: free some space there, or choose another data folder "
                "with the setting 'data_dir'"
            ) from error
        raise SettingsError(
            f"The data folder cannot be used because {folder} cannot be written ({error.strerror or error}): "
            "make it writable, or choose another one with the setting 'data_dir'"
        ) from error


def require_space(folder: Path, needed: int) -> None:
    """Raise ModelError when `needed` bytes do not fit on the disk of `folder`."""
    with writing(folder):
        free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise ModelError(
            f"The disk of {folder} has {free / 1e6:.0f} MB free and {(needed + _SPARE) / 1e6:.0f} MB are needed: "
            "free some space there, or choose another data folder with the setting 'data_dir'"
        )


def part_of(target: Path) -> Path:
    """Where `target` is written until it is complete."""
    return target.with_name(target.name + ".part")


def note_of(part: Path) -> Path:
    """Where a download notes which version of which address its part is."""
    return part.with_name(part.name + ".json")


def publish(part: Path, target: Path) -> None:
    """Give a complete file its name. After a power cut there is either the old file or the whole new one."""
    with writing(target.parent):
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            descriptor = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def locked(lock: Path, wait: float) -> Iterator[None]:
    """Hold a lock file against other threads and processes; ModelError when it is not free within `wait` seconds."""
    with writing(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    with file:
        deadline = time.monotonic() + wait
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise ModelError(
                    f"Another process has held {lock} for {wait:.0f} seconds: wait until it has its model, or stop it"
                )
            time.sleep(_POLL)
        yield  # closing the file frees the lock


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a network file system without locks: two writers at once are unlikely and lose nothing but time
    return True
