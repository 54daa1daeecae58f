"""Where nothing is remembered: satellites in private mode, over restarts too."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Container
from pathlib import Path

from handlers.agent.memory.stage import MemoryStoreError

_MOST = 1000
"""Many more than a house has satellites."""


class Everywhere(Container[str]):
    """Private mode wherever something is said: where nobody knows at which places it is on."""

    def __contains__(self, place: object) -> bool:
        return True


class PrivatePlaces(Container[str]):
    """The places in private mode: satellites in a small file, conversations only while the server runs."""

    def __init__(self, path: Path) -> None:
        """MemoryStoreError when the file is damaged: to go on without it would remember what is not to be."""
        self._path = path
        self._lasting: frozenset[str] = frozenset()
        self._passing: OrderedDict[str, None] = OrderedDict()
        self._writing = threading.Lock()
        try:
            places = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
                raise ValueError("it is not a list of names")
            self._lasting = frozenset(places)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            raise MemoryStoreError(
                f"{path} cannot be read ({error}): mend it, or remove it to end private mode everywhere"
            ) from None

    def __contains__(self, place: object) -> bool:
        return place in self._lasting or place in self._passing

    def set(self, place: str, private: bool, *, lasting: bool) -> None:
        """Begin or end private mode at a place; `lasting` is on disk when this returns. Blocks; from any thread."""
        with self._writing:
            if lasting:
                self._keep(self._lasting | {place} if private else self._lasting - {place})
                return
            self._passing.pop(place, None)
            if private:
                self._passing[place] = None
                while len(self._passing) > _MOST:  # conversations that were over long ago
                    self._passing.popitem(last=False)

    def _keep(self, places: frozenset[str]) -> None:
        if len(places) > _MOST:
            raise MemoryStoreError(f"{_MOST} places are in private mode; end it somewhere first")
        if places == self._lasting:
            return
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)  # there may be no memory
            with part.open("w", encoding="utf-8") as file:
                json.dump(sorted(places), file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            raise MemoryStoreError(f"{self._path} cannot be written ({error.strerror})") from None
        self._lasting = places
