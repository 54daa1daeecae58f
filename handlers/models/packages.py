"""Model files inside installed Python packages. The packages are found, never imported: some import whole engines."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from handlers.errors import ModelError
from handlers.models.catalogue import PackageFile
from handlers.models.folder import is_file, note_of, part_of, publish, require_space, writing

_BLOCK = 1 << 20
"""Bytes copied at once."""


class DamagedPackageError(ModelError):
    """The files of an installed package are not what they should be."""


def find_package_file(wanted: PackageFile) -> Path | None:
    """Where a package's file is, or None when the package is not installed or does not have it."""
    try:
        spec = importlib.util.find_spec(wanted.package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = spec.submodule_search_locations or ()
    return next((path for folder in folders if is_file(path := Path(folder, wanted.path))), None)


def join(
    pieces: Sequence[Path], target: Path, size: int, sha256: str, progress: Callable[[int, int | None], None]
) -> None:
    """Write `pieces` one after the other to `target`, hashing on the way; `target` appears only when all is right.

    Raises DamagedPackageError when the pieces are not the expected file. One caller at a time for one target.
    """
    part = part_of(target)
    require_space(target.parent, size)
    digest = hashlib.sha256()
    done = 0
    with writing(target.parent):
        note_of(part).unlink(missing_ok=True)  # what a download has left there is overwritten now
        output = part.open("wb")
    with output:
        for block in _blocks(pieces):
            digest.update(block)
            with writing(target.parent):
                output.write(block)
            done += len(block)
            progress(done, size)
        with writing(target.parent):
            output.flush()
    if (done, digest.hexdigest()) != (size, sha256):
        part.unlink(missing_ok=True)
        raise DamagedPackageError(f"the pieces do not make the right {target.name} ({done} bytes, {size} expected)")
    publish(part, target)


def _blocks(pieces: Sequence[Path]) -> Iterator[bytes]:
    for piece in pieces:
        try:
            with piece.open("rb") as source:
                while block := source.read(_BLOCK):
                    yield block
        except OSError as error:
            raise DamagedPackageError(f"{piece} cannot be read ({error.strerror or error})") from error
