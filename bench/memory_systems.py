"""What finds turns of a conversation for a question: ours, and what others do, all with the same embedding model."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.locomo import Conversation, Turn
from bench.memory_store import Store, opened
from handlers.agent.memory.heuristics import describe
from handlers.agent.memory.stage import HOUSEHOLD, Embedder, Index, NewNote, Origin, Query, Source, Vectors
from handlers.agent.memory.vocabulary import STOP

DEPTH = 50
"""Notes that are ranked; the reciprocal rank looks that far."""

OURS = "Meadowlark"

_RRF = 60
"""The constant of reciprocal rank fusion, as its authors propose."""

_NEIGHBOURS = 2
"""Links of a note in the row with link expansion: without a language model, to the nearest."""

Rank = Sequence[frozenset[str]]
"""Notes, best first, each as the turns that it was made of."""


@dataclass(frozen=True)
class Answered:
    """What one system found, and how long it took, embedding included."""

    rank: Rank
    ms: float


Search = Callable[[str], Awaitable[Rank]]


@contextlib.asynccontextmanager
async def ours(conversation: Conversation, embedder: Embedder, kind: Index) -> AsyncIterator[Search]:
    """Journal, index and recall of the product, as they are."""
    with tempfile.TemporaryDirectory(prefix="memory-bench-") as scratch:
        async with opened(Path(scratch), embedder, kind) as store:
            sources = _remember(store, conversation.turns)
            await store.embed([HOUSEHOLD])
            now = conversation.turns[-1].at

            async def search(question: str) -> Rank:
                found = await store.recall.recall([HOUSEHOLD], Query(question, at=now), DEPTH, 1_000_000)
                return [frozenset(sources[entry.note.id]) for entry in found]

            yield search


def _remember(store: Store, turns: Sequence[Turn]) -> dict[str, list[str]]:
    """The turns that each note was made of: the same words of the same speaker are one note."""
    sources: dict[str, list[str]] = {}
    before: tuple[int, str] = (0, "")
    for turn in turns:
        new = NewNote(
            turn.text,
            Source(Origin.SAID, speaker=turn.speaker, turn_id=turn.id),
            describe(turn.text, turn.speaker),
            created=turn.at,
            previous_id=before[1] if before[0] == turn.session else "",
        )
        note = store.journal.add(HOUSEHOLD, new)
        sources.setdefault(note.id, []).append(turn.id)
        before = (turn.session, note.id)
    return sources


class Others:
    """Plain vector search, full text, both by reciprocal ranks, and A-MEM's way, over one conversation."""

    def __init__(self, conversation: Conversation, embedder: Embedder, plain: Vectors, amem: Vectors) -> None:
        self._ids = [turn.id for turn in conversation.turns]
        self._embedder = embedder
        self._plain, self._amem = plain, amem
        self._links = _nearest(amem, _NEIGHBOURS)
        self._words = sqlite3.connect(":memory:")
        self._words.execute("CREATE VIRTUAL TABLE words USING fts5(text, tokenize = 'porter unicode61')")
        rows = [(number, _said(turn)) for number, turn in enumerate(conversation.turns)]
        self._words.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", rows)

    @classmethod
    async def prepare(cls, conversation: Conversation, embedder: Embedder) -> Others:
        """Embeds every turn twice."""
        plain = await embedder.embed_notes([_said(turn) for turn in conversation.turns])
        amem = await embedder.embed_notes([_amem_text(turn) for turn in conversation.turns])
        return cls(conversation, embedder, plain, amem)

    def searches(self) -> Mapping[str, Search]:
        return {
            "vector": self._vector,
            "BM25 (FTS5)": self._bm25,
            "RRF of both": self._rrf,
            "A-MEM, no LLM": self._amem_search,
            "A-MEM + links": self._amem_linked,
        }

    def close(self) -> None:
        self._words.close()

    async def _vector(self, question: str) -> Rank:
        return self._rank(_best(self._plain @ await self._embedder.embed_query(question)))

    async def _bm25(self, question: str) -> Rank:
        return self._rank(self._by_words(question))

    async def _rrf(self, question: str) -> Rank:
        near = _best(self._plain @ await self._embedder.embed_query(question))
        scores: dict[int, float] = {}
        for found in (near, self._by_words(question)):
            for place, number in enumerate(found, 1):
                scores[number] = scores.get(number, 0.0) + 1 / (_RRF + place)
        return self._rank(sorted(scores, key=lambda number: -scores[number]))

    async def _amem_search(self, question: str) -> Rank:
        return self._rank(_best(self._amem @ await self._embedder.embed_query(question)))

    async def _amem_linked(self, question: str) -> Rank:
        """Each hit followed by the notes it is linked to, as its reference code lists them."""
        found: dict[int, None] = {}
        for number in _best(self._amem @ await self._embedder.embed_query(question)):
            found |= dict.fromkeys((number, *self._links[number]))
        return self._rank(list(found))

    def _by_words(self, question: str) -> list[int]:
        words = [word for word in dict.fromkeys(re.findall(r"[a-z0-9]+", question.lower())) if word not in STOP]
        either = " OR ".join(f'"{word}"' for word in words)
        rows = self._words.execute("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", (either, DEPTH))
        return [row[0] for row in rows] if either else []

    def _rank(self, numbers: Sequence[int]) -> Rank:
        return [frozenset((self._ids[number],)) for number in numbers[:DEPTH]]


async def answer(search: Search, question: str) -> Answered:
    """Search once, on the clock."""
    begin = time.perf_counter()
    rank = await search(question)
    return Answered(rank, (time.perf_counter() - begin) * 1000)


def _said(turn: Turn) -> str:
    return f"{turn.speaker}: {turn.text}"


def _amem_text(turn: Turn) -> str:
    """What A-MEM's reference embeds when no language model helps: five keywords (capitalised ones first), the first
    sentence as context and three of the keywords as tags, around the turn."""
    said = f"Speaker {turn.speaker} says : {turn.text}"
    words: dict[str, bool] = {}
    for word in re.findall(r"\b[a-zA-Z]{3,}\b", said):
        if word.lower() not in STOP and word.lower() not in ("says", "speaker"):
            words.setdefault(word.lower(), word[0].isupper())
    keywords = sorted(words, key=lambda word: not words[word])
    sentence = re.match(r"(.+?[.!?])\s", said)
    context = sentence.group(1) if sentence else said[:200]
    return f"content:{said} context:{context} keywords: {', '.join(keywords[:5])} tags: {', '.join(keywords[:3])}"


def _best(scores: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[int]:
    return [int(number) for number in np.argsort(-scores, kind="stable")[:DEPTH]]


def _nearest(vectors: Vectors, count: int) -> list[list[int]]:
    """For each note, earlier notes nearest to it: those that there were when it came."""
    links: list[list[int]] = [[] for _ in vectors]
    alike = vectors @ vectors.T
    for number in range(1, len(vectors)):
        for other in np.argsort(-alike[number, :number], kind="stable")[:count]:
            links[number].append(int(other))
    return links
