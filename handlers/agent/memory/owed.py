"""Owners whose parts of the index still have traces of what was forgotten; kept in a file, for the next start."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from handlers.agent.memory.stage import Owner

_LOGGER = logging.getLogger(__name__)

OWED = "index.purge"
"""The file's name in the memory's folder; an owner's key in each line. There is none when nothing is owed."""


class Owed:
    """The list; calls block, and one thread changes it. A file that cannot be written never stops a forgetting."""

    def __init__(self, path: Path | None) -> None:
        """Without a path it does not outlive the process."""
        self._path = path
        self.owners: tuple[Owner, ...] = _read(path) if path is not None else ()

    def add(self, owners: Iterable[Owner]) -> None:
        """On disk when this returns."""
        self._change(tuple(dict.fromkeys([*self.owners, *owners])))

    def discard(self, owner: Owner) -> None:
        """Its part is without traces."""
        self._change(tuple(other for other in self.owners if other != owner))

    def _change(self, owners: tuple[Owner, ...]) -> None:
        if owners == self.owners:
            return
        self.owners = owners
        if self._path is None:
            return
        try:
            _write(self._path, owners)
        except OSError as error:  # e.g. a full disk; it is still tried while this process runs
            _LOGGER.warning("The file %s cannot be written (%s): make room", self._path, error.strerror or error)


def _read(path: Path) -> tuple[Owner, ...]:
    found: list[Owner] = []
    try:
        keys = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    for key in keys:
        try:
            found.append(Owner.parse(key))
        except ValueError:
            continue
    return tuple(found)


def _write(path: Path, owners: tuple[Owner, ...]) -> None:
    if not owners:
        path.unlink(missing_ok=True)
        return
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{owner.key}\n" for owner in owners)
        file.flush()
        os.fsync(descriptor)
    part.replace(path)
