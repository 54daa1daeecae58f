"""Kill -9 a process within the flush of its Chroma index, and see whether the memory is whole again at the next start.

Chroma writes its vectors into the index's own files after every 1000 records; a kill in there can leave a collection
that raises at every use, for good. The child announces just before. Run by bench/memory.py --kills.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.memory_crash import SPACE, CrashReport, announce, run, vector, work
from handlers.agent.memory.chroma_index import ChromaIndex
from handlers.agent.memory.index import IndexSettings, SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import HOUSEHOLD, MemoryStoreError, Vectors

FLUSH = "flush"

_THRESHOLD = 1000
"""Chroma's sync_threshold, in records."""

_STEP = 100
"""Records written again at once on the way to the threshold."""

_SAMPLES = 20
"""Vectors looked for after a kill."""

_FOUND = 0.95
"""Of them that must come back; HNSW does not promise all."""


class _Follower:
    """A child's index. Writes what it has again and again, so that flushes come often."""

    def __init__(self, folder: Path) -> None:
        self._index = ChromaIndex(folder / "chroma")
        self._ids: list[str] = []
        self._records = 0

    def __call__(self, op: str, ids: Sequence[str], vectors: Vectors | None) -> None:
        if vectors is None:
            self._index.remove(HOUSEHOLD, SPACE, ids)
            gone = set(ids)
            self._ids = [note_id for note_id in self._ids if note_id not in gone]
            return
        self._put(ids, vectors)
        self._ids += ids
        again = np.stack([vector(note_id) for note_id in self._ids[-_STEP:]])
        while self._records < _THRESHOLD:
            self._put(self._ids[-_STEP:], again)

    def _put(self, ids: Sequence[str], vectors: Vectors) -> None:
        if self._records + len(ids) >= _THRESHOLD:
            announce(FLUSH)
        self._index.put(HOUSEHOLD, SPACE, ids, vectors)
        self._records = self._records + len(ids) if self._records < _THRESHOLD else len(ids)


def look(folder: Path, journal: Journal) -> int:
    """Open the product's index after a kill; how many things it did not make good."""
    return asyncio.run(_look(folder, journal))


async def _look(folder: Path, journal: Journal) -> int:
    index = open_index(IndexSettings(kind="chroma"), folder, journal)
    try:
        await index.check(HOUSEHOLD, SPACE)
        ids, vectors = journal.vectors(HOUSEHOLD, SPACE)
        if index.status != "chroma":
            return 1
        return 0 if await _finds(index, ids, vectors) >= _FOUND else 1
    except MemoryStoreError:
        return 1
    finally:
        await index.close()


async def _finds(index: SearchIndex, ids: Sequence[str], vectors: Vectors) -> float:
    """Share of some vectors that come back as nearest to themselves."""
    places = range(0, len(ids), max(1, len(ids) // _SAMPLES))
    near = [await index.search(HOUSEHOLD, SPACE, vectors[place], 1) for place in places]
    hits = [bool(found) and found[0][0] == ids[place] for found, place in zip(near, places, strict=True)]
    return sum(hits) / len(hits) if hits else 1.0


def measure(kills: int, seed: int) -> CrashReport:
    """Kills, two of three aimed at the flush of the index."""
    return run(kills, seed, child_module="bench.memory_index_crash", aims=("random", FLUSH, FLUSH), check=look)


def main(arguments: Sequence[str] | None = None) -> int:
    """The child."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory_index_crash")
    parser.add_argument("--child", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    work(options.child, options.seed, _Follower(options.child))
    return 0


if __name__ == "__main__":
    sys.exit(main())
