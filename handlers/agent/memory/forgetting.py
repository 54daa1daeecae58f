"""Forgetting without a trace on disk: out of the journal and the index, and out of their files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from handlers.agent.memory.background import Upkeep
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import Embedder, MemoryStoreError, Note, Owner
from handlers.errors import EngineError
from handlers.workers import Workers

_RETRY_SECONDS = 60.0
"""After traces of what was forgotten could not be removed: the index server is away, or the disk is full."""

_CLOSE_SECONDS = 10.0
"""For a forgetting under way when the server stops; the next start finishes what is left of it."""

T = TypeVar("T")


@dataclass(frozen=True)
class Forgotten:
    """What a request to forget would remove: of which owner, which notes."""

    notes: Mapping[Owner, Sequence[Note]]

    @property
    def count(self) -> int:
        return sum(len(notes) for notes in self.notes.values())


class Forgetting:
    """Removes notes, one request after the other, and what could not be removed later. Belongs to one event loop."""

    def __init__(self, journal: Journal, index: SearchIndex, embedder: Embedder, upkeep: Upkeep) -> None:
        """It ends none of them. What an earlier run could not purge is tried again at once."""
        self._journal = journal
        self._index = index
        self._embedder = embedder
        self._upkeep = upkeep
        self._workers = Workers("memory-forgetting")
        self._one = asyncio.Lock()
        self._unpurged: dict[Owner, list[str]] = {owner: [] for owner in index.owed}
        self._tasks: set[asyncio.Task[int]] = set()
        self._retrying: asyncio.Task[None] | None = None
        if self._unpurged:
            self._retrying = asyncio.create_task(self._purge_later(0))

    async def forget(self, forgotten: Forgotten) -> int:
        """Remove notes; returns how many there were. Once begun it is done, whoever waits.

        MemoryStoreError when a trace is left; it is then tried again until it is gone.
        """
        task = asyncio.create_task(self._forget(forgotten))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is under way, but not long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
        ending = [*self._tasks, *([self._retrying] if self._retrying is not None else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._workers.close()

    async def _forget(self, forgotten: Forgotten) -> int:
        count = 0
        async with self._one:
            try:
                for owner, notes in forgotten.notes.items():
                    if notes:
                        ids = [note.id for note in notes]
                        await self._upkeep.drop_turns(owner)  # or it would be learnt again
                        await self._index.owe([owner])  # before: the process may die at any time
                        self._unpurged.setdefault(owner, [])
                        count += await self._run(partial(self._journal.forget, owner, ids))
                        self._unpurged[owner].extend(ids)
                await self._purge()
            except MemoryStoreError:
                if self._retrying is None or self._retrying.done():
                    self._retrying = asyncio.create_task(self._purge_later(_RETRY_SECONDS))
                raise
        return count

    async def _purge(self) -> None:
        """Remove the traces of what was forgotten. The index is made anew before anything is taken out of it: an index
        that still has too much is noticed and mended also after a restart, one with mere traces is not."""
        for owner, ids in list(self._unpurged.items()):
            await self._index.purge(owner, self._embedder.space)
            await self._index.remove(owner, self._embedder.space, ids)
            del self._unpurged[owner]
        if await self._run(lambda: self._journal.purge_due):
            await self._run(self._journal.purge)

    async def _purge_later(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            async with self._one:
                with contextlib.suppress(MemoryStoreError):
                    await self._purge()
                    return
            seconds = _RETRY_SECONDS

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._workers.run(work)
        except EngineError as error:  # closed, or too much waits
            raise MemoryStoreError(f"The memory does not answer: {error}") from error
