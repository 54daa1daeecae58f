"""A whole memory in a folder, as a server opens it, with the packaged embedding model."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from handlers.agent.memory.background import Pace, Upkeep
from handlers.agent.memory.index import IndexSettings, SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.memories import Memories
from handlers.agent.memory.minilm import MiniLM
from handlers.agent.memory.owed import OWED
from handlers.agent.memory.places import PrivatePlaces
from handlers.agent.memory.recall import Recall, RecallSettings
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.memory.stage import VectorIndex
from handlers.agent.stage import LanguageModel
from tests.support.upkeep import NAMES, embedding_model


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    *,
    index: str = "numpy",
    make: Callable[[], VectorIndex] | None = None,
    model: LanguageModel | None = None,
    pace: Pace | None = None,
) -> AsyncIterator[tuple[Memories, Upkeep]]:
    """The memory of a folder, and its work in the background; of Anna and Tom. `make` brings an index of the test's."""
    embedder = _embedder()
    journal = Journal(folder)
    if make:
        search = SearchIndex(journal, make, owed=folder / OWED)
    else:
        search = open_index(IndexSettings(kind=index), folder, journal)
    settings = MemorySettings()
    recall = Recall(journal, search, embedder, RecallSettings(embedding_ms=5000), NAMES)
    upkeep = Upkeep(journal, search, embedder, lambda: model, settings, names=NAMES, pace=pace)
    private = PrivatePlaces(folder / "private.json")
    memories = Memories(journal, search, embedder, recall, upkeep, settings, folder, private, NAMES)
    upkeep.start()
    try:
        yield memories, upkeep
    finally:
        await memories.close()


@cache
def _embedder() -> MiniLM:
    """Loading it takes longer than most tests."""
    with TemporaryDirectory() as weights:
        return MiniLM(embedding_model(Path(weights)))
