"""Checksums of model files, and a memory of them, so that later starts need not read every file again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from handlers.errors import MeadowlarkError
from handlers.models.folder import locked, part_of, publish, writing

_LOG = logging.getLogger(__name__)

_BLOCK = 1 << 20
"""Bytes read at once: large enough that the hash, not Python, is what takes time."""

_LOCK_WAIT = 10.0
"""Seconds to wait for the stamps; they are held for milliseconds."""


@dataclass(frozen=True)
class Digest:
    """What makes two files the same."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was last hashed."""

    size: int
    mtime_ns: int
    sha256: str
    written: Digest | None = None
    """The file as we once wrote it; None when somebody else did."""


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Stamps:
    """Remembers hashes in one JSON file. A file that changed its size or time is hashed again.

    Where the file cannot be written, nothing is remembered and nothing fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def written(self, path: Path) -> Digest | None:
        """What we once wrote there."""
        known = self._get(path)
        return known.written if known else None

    def digest(self, path: Path, *, fresh: bool = False) -> Digest:
        """Size and sha256 of `path`, from memory unless it changed or `fresh` is set. Raises OSError."""
        status = path.stat()
        known = self._get(path)
        if not fresh and known is not None and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return Digest(known.size, known.sha256)
        sha256 = sha256_of(path)
        self._put(path, Stamp(status.st_size, status.st_mtime_ns, sha256, known.written if known else None))
        return Digest(status.st_size, sha256)

    def record(self, path: Path, sha256: str) -> None:
        """Remember a file that we have just written and hashed."""
        with contextlib.suppress(OSError):
            status = path.stat()
            self._put(path, Stamp(status.st_size, status.st_mtime_ns, sha256, Digest(status.st_size, sha256)))

    def _get(self, path: Path) -> Stamp | None:
        entry = self._read().get(str(path.absolute()))
        if not isinstance(entry, dict):
            return None
        try:
            written = Digest(**entry["written"]) if entry["written"] else None
            return Stamp(int(entry["size"]), int(entry["mtime_ns"]), str(entry["sha256"]), written)
        except (KeyError, ValueError, TypeError):
            return None  # not written by this version; the file is hashed again

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _put(self, path: Path, stamp: Stamp) -> None:
        try:
            with locked(self._path.with_name(f".{self._path.name}.lock"), _LOCK_WAIT):
                entries = {**self._read(), str(path.absolute()): asdict(stamp)}
                with writing(self._path.parent):
                    part_of(self._path).write_text(json.dumps(entries, indent=1), "utf-8")
                publish(part_of(self._path), self._path)
        except MeadowlarkError as error:
            _LOG.debug("Checksums are not remembered: %s", error)
