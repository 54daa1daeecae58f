"""Wake word models of one's own: folders of `*.tflite` files, of which microWakeWord's have a `.json` beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from handlers.errors import ModelError


@dataclass(frozen=True)
class ModelFiles:
    """What lies in some folders, sorted by name."""

    alone: tuple[Path, ...] = ()
    """Models without a description: openWakeWord's."""
    described: tuple[Path, ...] = ()
    """Models with a JSON file of the same name: microWakeWord's."""


def model_files(*folders: Path | None) -> ModelFiles:
    """The models of folders; none of one that is not there. Of two with one name, that of the later folder."""
    named: dict[str, Path] = {}
    for folder in folders:
        if folder is not None and folder.is_dir():
            named |= {path.stem: path for path in folder.glob("*.tflite")}
    found = [named[name] for name in sorted(named)]
    return ModelFiles(
        tuple(path for path in found if not path.with_suffix(".json").is_file()),
        tuple(path for path in found if path.with_suffix(".json").is_file()),
    )


def require_present(paths: Iterable[Path]) -> None:
    """ModelError for a file that went since it was looked at: TensorFlow Lite would crash us."""
    for path in paths:
        if not path.is_file() or not path.stat().st_size:
            raise ModelError(f"The wake word's model {path} is no longer there: put it back, or start again without it")
