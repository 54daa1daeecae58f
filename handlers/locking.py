"""One process at a time: lock files that name their owner."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_LONGEST_OWNER = 20
"""Digits of a process number, and to spare."""


class InUseError(Exception):
    """Another process holds the lock; `owner` is its number, or 'unknown'."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"in use by the process {owner}")
        self.owner = owner


def lock_file(path: Path, *, sign: bool = True) -> int:
    """The descriptor that holds the lock until it is closed; the kernel lets go of it when the process dies, however it
    dies. With `sign`, the file tells who holds it; without, it may hold something else.

    Raises InUseError at once when another process has it, OSError when the file cannot be written.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if sign:
            os.truncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        owner = os.read(descriptor, _LONGEST_OWNER).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise InUseError(owner) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
