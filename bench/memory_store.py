"""The product's own memory, filled for a benchmark: journal, index and recall, nothing of it rebuilt."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.agent.memory.index import IndexSettings, SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.lexical import embedding_text
from handlers.agent.memory.recall import Recall, RecallSettings
from handlers.agent.memory.stage import Embedder, Index, Owner

_AT_ONCE = 32
"""Notes in one batch of the embedding model."""

_PATIENT = 5000.0
"""Milliseconds for an embedding where quality is measured: a busy machine must not change the figures."""


@dataclass(frozen=True)
class Store:
    """A memory in a folder."""

    journal: Journal
    index: SearchIndex
    recall: Recall
    embedder: Embedder

    async def embed(self, owners: Sequence[Owner], called: Mapping[str, str] | None = None) -> None:
        """Give every note its vector, as the background of the product does."""
        space = self.embedder.space
        for owner in owners:
            while notes := self.journal.without_vector(owner, space, _AT_ONCE):
                texts = [embedding_text(note, (called or {}).get(note.source.speaker, "")) for note in notes]
                vectors = await self.embedder.embed_notes(texts)
                ids = [note.id for note in notes]
                await self.index.keep(owner, space, ids, vectors, [note.version for note in notes])
            await self.index.check(owner, space)


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    embedder: Embedder,
    kind: Index = "auto",
    called: Mapping[str, str] | None = None,
    embedding_ms: float = _PATIENT,
) -> AsyncIterator[Store]:
    """The memory in a folder while the block runs."""
    journal = Journal(folder)
    try:
        index = open_index(IndexSettings(kind=kind), folder, journal)
        recall = Recall(journal, index, embedder, RecallSettings(embedding_ms=embedding_ms), called)
        try:
            yield Store(journal, index, recall, embedder)
        finally:
            await recall.close()
            await index.close()
    finally:
        journal.close()
