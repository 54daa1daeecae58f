"""The hot path: from what somebody asks to the few notes that may help. No language model, no network, no writing.

The question is embedded while the full text is searched; then the index; then one look into the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from pydantic import Field

from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.lexical import match_expression, question
from handlers.agent.memory.ranking import (
    Found,
    best_ids,
    choose,
    fill,
    linked_ids,
    people_asked_about,
    rank,
    rerank,
)
from handlers.agent.memory.stage import Embedder, Link, MemoryStoreError, Note, Owner, Query, Recalled
from handlers.errors import EngineError
from handlers.settings import Section
from handlers.workers import Workers

_LOGGER = logging.getLogger(__name__)

_CANDIDATES = 100
"""Notes that each search gives to the ranking: with 50 it finds a point less of LoCoMo, with 200 no more."""

_THREADS = 2
"""A turn and the guess of another one; the journal has a few readers more."""

_WAITING = 16
"""Recalls that may queue: one that waits for more is late anyway."""

_JOURNAL_SECONDS = 0.5
"""Beside the embedding: a store so slow is as good as down, and an answer without memory is better than none."""

_LINKED = 10
"""Linked notes that are looked at when there is budget left."""


class RecallSettings(Section):
    """What is looked up in the memory before an answer."""

    notes: int = Field(5, ge=0, le=50)
    """Memories that the language model sees; 0 for none."""

    tokens: int = Field(300, ge=0, le=8000)
    """Their length together, about."""

    embedding_ms: float = Field(60, ge=1, le=5000)
    """The search by meaning may take so long; after it the words alone decide."""


class Recall:
    """Reads; a guess of what is asked may start it, and dropping the result costs nothing."""

    def __init__(
        self,
        journal: Journal,
        index: SearchIndex,
        embedder: Embedder | None,
        settings: RecallSettings,
        called: Mapping[str, str] | None = None,
    ) -> None:
        """`embedder` None searches by words alone. `called`: people's names by id; it may change."""
        self._journal = journal
        self._index = index
        self._embedder = embedder
        self._settings = settings
        self._called: Mapping[str, str] = {} if called is None else called
        self._workers = Workers("recall", _THREADS, _WAITING)
        self._down = False

    async def recall(
        self, owners: Sequence[Owner], query: Query, limit: int | None = None, tokens: int | None = None
    ) -> list[Recalled]:
        """The notes of these owners that may help, best first. Never raises for a store that is late, damaged or gone:
        then there are fewer notes or none. `limit` and `tokens` as in the settings."""
        limit = self._settings.notes if limit is None else limit
        tokens = self._settings.tokens if tokens is None else tokens
        if limit < 1 or not owners or not query.text.strip():
            return []
        try:
            async with asyncio.timeout(_JOURNAL_SECONDS + self._settings.embedding_ms / 1000):
                found = await self._recall(list(dict.fromkeys(owners)), query, limit, tokens)
        except (MemoryStoreError, EngineError, TimeoutError) as error:
            if not self._down:  # once, not in every turn
                _LOGGER.warning("The memory does not answer; turns go on without it: %s", _reason(error))
            self._down = True
            return []
        self._down = False
        return found

    async def close(self) -> None:
        """Let running reads end."""
        await self._workers.close()

    async def _recall(self, owners: Sequence[Owner], query: Query, limit: int, tokens: int) -> list[Recalled]:
        text = question(query)
        by_meaning = asyncio.create_task(self._by_meaning(owners, text, max(limit, _CANDIDATES)))
        try:
            expression = match_expression(text)
            words = await self._workers.run(lambda: self._by_words(owners, expression, max(limit, _CANDIDATES)))
            cosines = await by_meaning
        finally:
            by_meaning.cancel()
        at = time.time() if query.at is None else query.at
        return await self._workers.run(lambda: self._choose(owners, query, at, cosines, words, limit, tokens))

    async def _by_meaning(self, owners: Sequence[Owner], text: str, limit: int) -> dict[Owner, dict[str, float]]:
        """Cosines of the nearest notes; none when the embedder or the index is late or fails."""
        if self._embedder is None:
            return {}
        try:
            async with asyncio.timeout(self._settings.embedding_ms / 1000):
                vector = await self._embedder.embed_query(text)
                space = self._embedder.space  # after it: an embedder that is not connected yet has none
                found = await asyncio.gather(*(self._index.search(t, space, vector, limit) for t in owners))
        except (MemoryStoreError, EngineError, TimeoutError) as error:
            _LOGGER.debug("Recall by words alone: %s", _reason(error))
            return {}
        return {owner: dict(near) for owner, near in zip(owners, found, strict=True)}

    def _by_words(self, owners: Sequence[Owner], expression: str, limit: int) -> dict[Owner, dict[str, float]]:
        return {owner: dict(self._journal.lexical(owner, expression, limit)) for owner in owners}

    def _choose(
        self,
        owners: Sequence[Owner],
        query: Query,
        at: float,
        cosines: Mapping[Owner, Mapping[str, float]],
        words: Mapping[Owner, Mapping[str, float]],
        limit: int,
        tokens: int,
    ) -> list[Recalled]:
        notes: list[Note] = []
        for owner in owners:  # an id only means something within its owner, so each is asked for its own
            notes += self._journal.get(owner, list({**words.get(owner, {}), **cosines.get(owner, {})}))
        found = Found(notes, _together(cosines), _together(words))
        people = people_asked_about(query, self._called, {note.source.speaker for note in notes})
        ranked = rank(found, query, at, people, self._called)
        links = self._links(owners, best_ids(ranked))
        chosen = choose(rerank(ranked, links), limit, tokens)
        if len(chosen) < limit and (more := linked_ids(chosen, links)):
            linked = [note for owner in owners for note in self._journal.get(owner, more[:_LINKED])]
            chosen = choose(fill(chosen, linked, at, past=query.past), limit, tokens)
        return chosen

    def _links(self, owners: Sequence[Owner], ids: Sequence[str]) -> list[Link]:
        return [link for owner in owners for link in self._journal.links(owner, ids)]


def _together(found: Mapping[Owner, Mapping[str, float]]) -> dict[str, float]:
    return {note_id: score for scores in found.values() for note_id, score in scores.items()}


def _reason(error: Exception) -> str:
    return "it is too slow" if isinstance(error, TimeoutError) else str(error)
