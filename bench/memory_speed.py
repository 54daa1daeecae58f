"""How fast the memory is when it is large, and what it takes: one process for each size, so that RSS says something.

python -m bench.memory_speed --size 10000 --index chroma
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import psutil

from bench.command import exit_code
from bench.memory_household import Household
from bench.memory_store import Store, opened
from handlers.agent.memory.heuristics import describe
from handlers.agent.memory.journal import Adopted, Journal, Version
from handlers.agent.memory.minilm import MiniLM
from handlers.agent.memory.stage import HOUSEHOLD, Index, NewNote, Note, Origin, Query, Source, Space, Vectors
from handlers.errors import EngineError

_ADDED = 200
"""Single notes, each on disk before the next."""

_ASKED = 300
"""Questions, after a few that warm up."""

_WARMUP = 10

_BATCH = 2000
"""Notes in one transaction while filling."""

_CHILD_SECONDS = 1800.0

_START = 1_700_000_000.0
"""Of the notes' times; they are an hour apart."""


@dataclass(frozen=True)
class Speed:
    """Figures of one size and index; milliseconds unless named otherwise."""

    size: int
    index: str
    recall_p50: float
    recall_p95: float
    embedding_p50: float
    """Of which the embedding of the question takes so much."""
    add_p50: float
    add_p95: float
    adds_per_second: float
    """One after the other, each on disk."""
    filled_per_second: float
    """In transactions of 2000, as an import."""
    index_seconds: float
    """To make the index anew from the journal."""
    rss_mib: float
    disk_mib: float


def measure(size: int, kind: Index, model: Path) -> Speed:
    """In a process of its own. Raises EngineError when that fails."""
    command = [sys.executable, "-m", "bench.memory_speed", "--size", str(size), "--index", kind, "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CHILD_SECONDS, check=False)
    if done.returncode != 0:
        raise EngineError(f"bench.memory_speed failed: {done.stderr.strip().splitlines()[-1:]}")
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


async def run(size: int, kind: Index, model: Path) -> Speed:
    """Fill a store, then add, then ask."""
    household = Household.load()
    with tempfile.TemporaryDirectory(prefix="memory-speed-") as scratch:
        folder = Path(scratch)
        embedder = MiniLM(model)
        try:
            filled = _fill(folder, size, household, embedder.space)
            async with opened(folder, embedder, kind) as store:
                begin = time.perf_counter()
                await store.index.check(HOUSEHOLD, embedder.space)
                indexed = time.perf_counter() - begin
                adds = _add(store)
                recalls, embeddings = await _ask(store, household)
                return Speed(
                    size,
                    store.index.status,
                    *_percentiles(recalls),
                    _percentiles(embeddings)[0],
                    *_percentiles(adds),
                    round(1000 * len(adds) / sum(adds), 1),
                    round(filled, 1),
                    round(indexed, 2),
                    round(psutil.Process().memory_info().rss / 2**20, 1),
                    round(_bytes(folder) / 2**20, 1),
                )
        finally:
            await embedder.close()


def _fill(folder: Path, size: int, household: Household, space: Space) -> float:
    """Notes of words as a household uses them, with vectors drawn at random; returns notes a second."""
    chance = random.Random(7)
    words = [word for fact in household.facts for word in fact.words.split()]
    drawn = np.random.default_rng(7)
    journal = Journal(folder)
    begin = time.perf_counter()
    try:
        for start in range(0, size, _BATCH):
            numbers = range(start, min(start + _BATCH, size))
            notes = [_note(number, chance, words) for number in numbers]
            journal.adopt(HOUSEHOLD, [_adopted(note) for note in notes], [])
            vectors: Vectors = drawn.standard_normal((len(notes), space.dimensions)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            journal.put_vectors(HOUSEHOLD, space, [note.id for note in notes], vectors)
        return size / (time.perf_counter() - begin)
    finally:
        journal.close()


def _note(number: int, chance: random.Random, words: Sequence[str]) -> Note:
    content = f"{' '.join(chance.choices(words, k=chance.randint(6, 16)))} {number}"
    return Note(
        id=f"{number:016x}",
        owner=HOUSEHOLD,
        content=content,
        meaning=describe(content),
        source=Source(Origin.IMPORTED, speaker=chance.choice(("nora", "felix", "ida", "tom"))),
        created=_START + 3600 * number,
    )


def _adopted(note: Note) -> Adopted:
    return Adopted(note, (Version(1, note.meaning, None, note.source, note.created),))


def _add(store: Store) -> list[float]:
    times = []
    for number in range(_ADDED):
        new = NewNote(f"Something worth keeping was said here, number {number}", Source(Origin.SAID, speaker="nora"))
        begin = time.perf_counter()
        store.journal.add(HOUSEHOLD, new)
        times.append((time.perf_counter() - begin) * 1000)
    return times


async def _ask(store: Store, household: Household) -> tuple[list[float], list[float]]:
    questions = [question.words for question in household.questions]
    recalls, embeddings = [], []
    for number in range(_WARMUP + _ASKED):
        asked = f"{questions[number % len(questions)]} {number}"
        begin = time.perf_counter()
        await store.recall.recall([HOUSEHOLD], Query(asked, speaker="nora"))
        between = time.perf_counter()
        await store.embedder.embed_query(asked)
        if number >= _WARMUP:
            recalls.append((between - begin) * 1000)
            embeddings.append((time.perf_counter() - between) * 1000)
    return recalls, embeddings


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(values, [50, 95])
    return round(float(p50), 2), round(float(p95), 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; prints JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory_speed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--index", choices=get_args(Index), default="auto")
    parser.add_argument("--model", type=Path, required=True, help="model.onnx of all-MiniLM-L6-v2")
    options = parser.parse_args(arguments)
    print(json.dumps(asdict(asyncio.run(run(options.size, options.index, options.model)))))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("memory_speed", main))
