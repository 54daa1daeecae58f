"""Where nothing is remembered: satellites in private mode, over restarts too."""

from __future__ import annotations

import json
import os
from pathlib import Path

from handlers.agent.memory.stage import MemoryStoreError

_MOST = 1000
"""Many more than a house has satellites."""


class PrivatePlaces:
    """The satellites in private mode, kept in a small file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: set[str] = set()
        try:
            self._places.update(map(str, json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            raise MemoryStoreError(
                f"{path} cannot be read ({error}): mend it, or remove it to end private mode everywhere"
            ) from None

    def __contains__(self, place: str) -> bool:
        return place in self._places

    def set(self, place: str, private: bool) -> None:
        """Begin or end private mode at a place; on disk when this returns."""
        places = self._places | {place} if private else self._places - {place}
        if len(places) > _MOST:
            raise MemoryStoreError(f"{_MOST} places are in private mode; end it somewhere first")
        part = self._path.with_suffix(".part")
        try:
            with part.open("w", encoding="utf-8") as file:
                json.dump(sorted(places), file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            raise MemoryStoreError(f"{self._path} cannot be written ({error.strerror})") from None
        self._places = places
