"""Wake word models of one's own: a folder of `*.tflite` files, of which microWakeWord's have a `.json` beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from handlers.errors import ModelError


@dataclass(frozen=True)
class ModelFiles:
    """What lies in a folder, sorted by name."""

    alone: tuple[Path, ...] = ()
    """Models without a description: openWakeWord's."""
    described: tuple[Path, ...] = ()
    """Models with a JSON file of the same name: microWakeWord's."""


def model_files(folder: Path | None) -> ModelFiles:
    """The models of a folder; none of one that is not there."""
    if folder is None or not folder.is_dir():
        return ModelFiles()
    found = sorted(folder.glob("*.tflite"))
    return ModelFiles(
        tuple(path for path in found if not path.with_suffix(".json").is_file()),
        tuple(path for path in found if path.with_suffix(".json").is_file()),
    )


def require_present(paths: Iterable[Path]) -> None:
    """ModelError for a file that went since it was looked at: TensorFlow Lite would crash us."""
    for path in paths:
        if not path.is_file() or not path.stat().st_size:
            raise ModelError(f"The wake word's model {path} is no longer there: put it back, or start again without it")
