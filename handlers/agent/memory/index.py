"""The vector index in use: chosen by the settings, checked against the journal, made anew when it is damaged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import HttpUrl, SecretStr

from handlers.agent.memory.journal import Journal
from handlers.agent.memory.numpy_index import NumpyIndex
from handlers.agent.memory.owed import OWED, Owed
from handlers.agent.memory.stage import (
    Index,
    MemoryStoreError,
    Owner,
    Space,
    Vector,
    VectorIndex,
    Vectors,
)
from handlers.errors import EngineError, MissingExtraError
from handlers.settings import Section
from handlers.workers import Workers

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

_WAITING = 64
"""Calls that may queue for an index; each is a search or a batch."""

_BATCH = 500
"""Vectors per call while an index is made anew, so that a search in between waits for 0.2 s at most."""

_RETRY_SECONDS = 60.0
"""After an index could not be made anew either (its server is gone, the disk is full). The exact one answers."""

_INDEX_SECONDS = 30.0
"""For one call: a batch, or opening a store, takes seconds on a small board. Turns wait for milliseconds only."""

_PROBES = 3
"""Vectors that a sound index must find again: one that lost its files still counts right."""

_SAME = 0.999
"""Cosine of a vector with itself, as far as an index that rounds can tell."""


class IndexSettings(Section):
    """The vector index of the memory. It can be changed at any time: it is made from the journal."""

    kind: Index = "auto"
    """chroma, numpy (exact, nothing to install), qdrant; auto takes Chroma where it is installed."""

    chroma_url: HttpUrl | None = None
    """A Chroma server, such as http://127.0.0.1:8000; without one, Chroma works inside this process."""

    chroma_token: SecretStr = SecretStr("")
    """Bearer token for the Chroma server."""

    qdrant_url: HttpUrl | None = None
    """A Qdrant server; without one, Qdrant's own local store, for a few thousand notes."""

    qdrant_api_key: SecretStr = SecretStr("")
    """Key for the Qdrant server."""


def open_index(settings: IndexSettings, folder: Path, journal: Journal, household: str = "") -> SearchIndex:
    """The index that the settings ask for; its files go below `folder`, those of others there are removed. Blocks for
    about a second (Chroma's import). `household` is whose it is, where several have theirs on one database server.

    MissingExtraError when an index is asked for by name that is not installed.
    """
    if settings.kind == "numpy":
        return _open_exact(folder, journal)
    owed = folder / OWED
    if settings.kind == "qdrant":
        from handlers.agent.memory.qdrant_index import QdrantIndex

        url = _address(settings.qdrant_url)
        path = folder / "qdrant"
        _remove_unused(folder, None if url else path)
        make = partial(QdrantIndex, path, url, settings.qdrant_api_key.get_secret_value(), household)
        return SearchIndex(journal, make, None if url else path, owed)
    try:
        from handlers.agent.memory.chroma_index import ChromaIndex
    except MissingExtraError:
        if settings.kind == "chroma":
            raise
        _LOGGER.info("Chroma is not installed (extra 'memory'): the exact index is used")
        return _open_exact(folder, journal)
    url = _address(settings.chroma_url)
    path = folder / "chroma"
    _remove_unused(folder, None if url else path)
    return SearchIndex(
        journal,
        partial(ChromaIndex, path, url, settings.chroma_token.get_secret_value(), household),
        None if url else path,
        owed,
    )


def _open_exact(folder: Path, journal: Journal) -> SearchIndex:
    _remove_unused(folder, None)
    return SearchIndex(journal, None)


def _remove_unused(folder: Path, used: Path | None) -> None:
    """Take away what an index left that is no longer used: it would keep the vectors of what is forgotten."""
    for path in (folder / "chroma", folder / "qdrant"):
        if path == used:
            continue
        try:
            if path.exists():
                shutil.rmtree(path)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        except OSError as error:
            _LOGGER.warning("Remove %s, an index that is not used any more: %s", path, error.strerror or error)


class SearchIndex:
    """Finds near vectors of an owner, and keeps an index beside the journal.

    An index of an owner is only believed after it was checked against the journal; until then, while it is made anew,
    and whenever it fails, an exact one made from the journal's vectors answers. Belongs to one event loop.
    """

    def __init__(
        self,
        journal: Journal,
        make: Callable[[], VectorIndex] | None,
        files: Path | None = None,
        owed: Path | None = None,
    ) -> None:
        """`make` opens the index, None for the exact one alone; `files` are its own and removed when it is damaged.
        `owed` is the file that says what is still to be purged."""
        self._journal = journal
        self._make = make
        self._files = files
        self._index: VectorIndex | None = None
        self._exact = NumpyIndex()
        self._loaded: set[tuple[Owner, str]] = set()
        self._sound: set[tuple[Owner, str]] = set()
        self._repairs: dict[tuple[Owner, str], asyncio.Task[None]] = {}
        self._retry_at = 0.0
        self._owed = Owed(owed)
        self._writing = asyncio.Lock()
        self._index_thread = Workers("memory-index", 1, _WAITING)
        self._exact_thread = Workers("memory-exact", 1, _WAITING)
        self._journal_thread = Workers("memory-vectors", 1, _WAITING)  # may wait for a purge; searches must not
        if make is not None:
            with contextlib.suppress(MemoryStoreError):
                self._index = make()

    @property
    def status(self) -> str:
        """For the status page: 'numpy', 'chroma', 'numpy (the other index is being made anew)'."""
        if self._make is None:
            return self._exact.name
        if self._index is None or self._repairs:
            return f"{self._exact.name} (the other index is being made anew)"
        return self._index.name

    @property
    def owed(self) -> Sequence[Owner]:
        """Owners that are still to be purged, also from before a restart."""
        return self._owed.owners

    async def search(self, owner: Owner, space: Space, vector: Vector, limit: int) -> list[tuple[str, float]]:
        """Ids and cosine similarities, best first. MemoryStoreError when even the journal cannot be read."""
        index = self._index
        if index is not None and (owner, space.key) in self._sound:
            try:
                return await self._on_index(lambda: index.search(owner, space, vector, limit))
            except MemoryStoreError as error:
                self._distrust(error)

        def search() -> list[tuple[str, float]]:
            self._load(owner, space)
            return self._exact.search(owner, space, vector, limit)

        found = await self._on_exact(search)
        if found and self._make is not None:  # for an owner without notes, and there is no end of them, nothing is kept
            self._repair_later(owner, space)
        return found

    async def keep(
        self,
        owner: Owner,
        space: Space,
        ids: Sequence[str],
        vectors: Vectors,
        versions: Sequence[int] | None = None,
    ) -> None:
        """Add or replace vectors, in the index and then in the journal, so that after a crash none is missing in it."""
        async with self._writing:
            if self._make is not None:
                await self._settle(owner, space)
            index = self._index
            if index is not None and (owner, space.key) in self._sound:
                # What was forgotten while it was embedded would stay in the index's files, behind the purge.
                known = await self._on_journal(lambda: {note.id for note in self._journal.get(owner, ids)})
                there = [place for place, note_id in enumerate(ids) if note_id in known]
                try:
                    await self._on_index(lambda: index.put(owner, space, [ids[i] for i in there], vectors[there]))
                except MemoryStoreError as error:
                    self._distrust(error)

            def put() -> None:
                if (owner, space.key) in self._loaded:
                    self._exact.put(owner, space, ids, vectors)

            await self._on_journal(lambda: self._journal.put_vectors(owner, space, ids, vectors, versions=versions))
            await self._on_exact(put)

    async def remove(self, owner: Owner, space: Space, ids: Sequence[str]) -> None:
        """Take out forgotten notes, at once; see `purge` for what is left on disk."""
        async with self._writing:
            await self._on_exact(lambda: self._exact.remove(owner, space, ids))
            index = self._index
            if index is not None and (owner, space.key) in self._sound:
                try:
                    await self._on_index(lambda: index.remove(owner, space, ids))
                except MemoryStoreError as error:
                    self._distrust(error)

    async def owe(self, owners: Sequence[Owner]) -> None:
        """Something of these owners is about to be forgotten: until they are purged, the next start knows of it."""
        if self._make is not None:
            await self._on_journal(lambda: self._owed.add(owners))

    async def purge(self, owner: Owner, space: Space) -> None:
        """Leave no trace of forgotten notes in the index's files: an owner's are made anew from what the journal has.

        Takes 0.3 ms a note with Chroma; searches are answered meanwhile. Raises MemoryStoreError when the files could
        not be removed, so that it is tried again.
        """
        if self._make is None:
            return
        async with self._writing:
            self._sound -= {key for key in self._sound if key[0] == owner}
            if not await self._make_anew(owner, space, all_spaces=True):
                raise MemoryStoreError("The memory's index could not be emptied of what was forgotten; try again later")
            await self._on_journal(lambda: self._owed.discard(owner))

    async def check(self, owner: Owner, space: Space) -> None:
        """Compare an owner's index with the journal now and make it anew if need be; searches do so by themselves."""
        if self._make is not None:
            self._repair_later(owner, space)
            if task := self._repairs.get((owner, space.key)):
                await asyncio.shield(task)

    async def close(self) -> None:
        """Stop what repairs, and let go of the files."""
        tasks = list(self._repairs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._index is not None:
            with contextlib.suppress(MemoryStoreError):
                await self._on_index(self._index.close)
        with contextlib.suppress(TimeoutError):  # a library that hangs is left behind
            await asyncio.wait_for(self._index_thread.close(), _INDEX_SECONDS)
        await self._exact_thread.close()
        await self._journal_thread.close()

    # The exact index

    def _load(self, owner: Owner, space: Space) -> None:
        """Read an owner's vectors from the journal, 20 ms for 10 000. Only in the thread of the exact index."""
        if (owner, space.key) not in self._loaded:
            ids, vectors = self._journal.vectors(owner, space)
            if ids:
                self._exact.put(owner, space, ids, vectors)
                self._loaded.add((owner, space.key))

    def _unload(self, owner: Owner, space: Space) -> None:
        self._exact.drop(owner, space)
        self._loaded.discard((owner, space.key))

    # The other index

    def _distrust(self, error: MemoryStoreError) -> None:
        """Something is wrong with it; which owners' parts are, the checks will say."""
        if self._sound:
            _LOGGER.warning("The exact index answers for now: %s", error)
        self._sound.clear()

    def _repair_later(self, owner: Owner, space: Space) -> None:
        key = (owner, space.key)
        if key in self._sound or key in self._repairs or time.monotonic() < self._retry_at:
            return
        task = asyncio.create_task(self._repair(owner, space))
        self._repairs[key] = task
        task.add_done_callback(lambda _: self._repairs.pop(key, None))

    async def _repair(self, owner: Owner, space: Space) -> None:
        async with self._writing:
            try:
                await self._settle(owner, space)
            except MemoryStoreError as error:
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                _LOGGER.warning("The memory's index could not be checked: %s", error)

    async def _settle(self, owner: Owner, space: Space) -> None:
        """Check an owner's part, make it anew if it is wrong, and then give back the memory of the exact one."""
        if (owner, space.key) in self._sound or time.monotonic() < self._retry_at:
            return
        if await self._is_sound(owner, space):
            self._sound.add((owner, space.key))
        elif not await self._make_anew(owner, space):
            return
        await self._on_exact(lambda: self._unload(owner, space))

    async def _is_sound(self, owner: Owner, space: Space) -> bool:
        """Whether it has as many vectors as the journal, and finds some of them."""
        index = self._index
        if index is None:
            return False
        ids, vectors = await self._on_journal(lambda: self._journal.vectors(owner, space))

        def compare() -> bool:
            if index.count(owner, space) != len(ids):
                return False
            for place in range(0, len(ids), max(1, len(ids) // _PROBES)):
                near = index.search(owner, space, vectors[place], 1)
                if not near or near[0][1] < _SAME:
                    return False
            return True

        try:
            return await self._on_index(compare)
        except MemoryStoreError as error:
            _LOGGER.warning("The memory's index is damaged and is made anew: %s", error)
            return False

    async def _make_anew(self, owner: Owner, space: Space, *, all_spaces: bool = False) -> bool:
        """Put an owner's vectors from the journal into an empty index; whether that went well."""
        for attempt in (self._index, None):
            try:
                if attempt is None:
                    await self._open_empty()
                index = self._index
                if index is None:
                    continue
                await self._on_index(partial(index.drop, owner, None if all_spaces else space))
                ids, vectors = await self._on_journal(lambda: self._journal.vectors(owner, space))
                for start in range(0, len(ids), _BATCH):
                    part = slice(start, start + _BATCH)
                    await self._on_index(partial(index.put, owner, space, ids[part], vectors[part]))
                self._sound.add((owner, space.key))
                return True
            except MemoryStoreError as error:
                self._distrust(error)
                _LOGGER.warning("The memory's index could not be made anew: %s", error)
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        return False

    async def _open_empty(self) -> None:
        """Start with new files; a server's are left alone."""
        old, make, files = self._index, self._make, self._files
        self._index = None
        self._sound.clear()

        def renew() -> VectorIndex | None:
            if old is not None:
                old.close()
            if files is not None:
                shutil.rmtree(files, ignore_errors=True)
            return make() if make is not None else None

        self._index = await self._on_index(renew)

    # Their threads

    async def _on_index(self, work: Callable[[], T]) -> T:
        return await _explained(asyncio.wait_for(self._index_thread.run(work), _INDEX_SECONDS))

    async def _on_journal(self, work: Callable[[], T]) -> T:
        return await _explained(self._journal_thread.run(work))

    async def _on_exact(self, work: Callable[[], T]) -> T:
        return await _explained(self._exact_thread.run(work))


async def _explained(work: Coroutine[None, None, T]) -> T:
    try:
        return await work
    except TimeoutError:
        raise MemoryStoreError(f"The memory's index has not answered within {_INDEX_SECONDS:.0f} seconds") from None
    except EngineError as error:  # closed, or too much waits
        raise MemoryStoreError(f"The memory's index does not answer: {error}") from error


def _address(url: HttpUrl | None) -> str:
    return str(url).rstrip("/") if url else ""
