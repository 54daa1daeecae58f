"""The data folder, and the server's id in it."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from handlers.errors import SettingsError


def prepare(folder: Path) -> None:
    """Make the folder; SettingsError when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"The data folder {folder} cannot be written ({error.strerror}): "
            "make it writable, or choose another with --data-dir or MEADOWLARK_DATA_DIR"
        ) from None


def server_id(folder: Path) -> str:
    """The server's own uuid, made at its first start: how Home Assistant recognises it after a move."""
    return _kept(folder / "server-id", lambda: str(uuid.uuid4()))


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The content of a file that only its owner can read, written once. SettingsError when it cannot be."""
    try:
        return _read_or_write(path, make)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be kept ({getattr(error, 'strerror', None) or error}): make room on the disk and the data "
            "folder writable, or choose another with --data-dir or MEADOWLARK_DATA_DIR"
        ) from None


def _read_or_write(path: Path, make: Callable[[], str]) -> str:
    try:
        kept = path.read_text(encoding="utf-8").strip()
        if kept:
            return kept
        path.unlink()
    except FileNotFoundError:
        pass
    value = make()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value + "\n")
    return value
