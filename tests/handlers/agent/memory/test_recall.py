"""The hot path on real stores: what comes back, from whom, and what happens when a part of it is late or gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import HttpUrl

from handlers.agent.memory.index import IndexSettings, SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.lexical import embedding_text
from handlers.agent.memory.minilm import MiniLM
from handlers.agent.memory.ollama_embed import OllamaEmbedder, OllamaEmbedSettings
from handlers.agent.memory.recall import Recall, RecallSettings
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Embedder,
    Link,
    LinkKind,
    NewNote,
    Origin,
    Owner,
    OwnerKind,
    Query,
    Recalled,
    Source,
)
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.ollama import FakeOllama, Model, Step

ANNA = Owner(OwnerKind.PERSON, "anna")
BEN = Owner(OwnerKind.PERSON, "ben")
GUEST = Owner(OwnerKind.GUEST, "anna")

PATIENT = RecallSettings(embedding_ms=5000)
"""A busy machine must not change what these tests see."""

_SAID = Source(Origin.SAID)


@pytest.fixture(scope="module")
def model(store: ModelStore) -> MiniLM:
    return MiniLM(store.locate("all-minilm-l6-v2", ModelKind.EMBEDDING))


class Memory:
    """A journal, its index and a recall."""

    def __init__(self, folder: Path, embedder: Embedder, kind: str = "numpy") -> None:
        self.journal = Journal(folder)
        self.index: SearchIndex = open_index(IndexSettings.model_validate({"kind": kind}), folder, self.journal)
        self.embedder = embedder
        self.recall = Recall(self.journal, self.index, embedder, PATIENT, {"anna": "Anna", "ben": "Ben"})

    async def add(self, owner: Owner, *contents: str, source: Source = _SAID) -> list[str]:
        notes = [self.journal.add(owner, NewNote(content, source)) for content in contents]
        vectors = await self.embedder.embed_notes([embedding_text(note) for note in notes])
        await self.index.keep(owner, self.embedder.space, [note.id for note in notes], vectors)
        return [note.id for note in notes]

    async def ask(self, *owners: Owner, query: Query | str, **limits: int) -> list[str]:
        wanted = Query(query) if isinstance(query, str) else query
        return [entry.note.content for entry in await self.recall.recall(owners, wanted, **limits)]

    async def close(self) -> None:
        await self.recall.close()
        await self.index.close()
        self.journal.close()


@pytest.fixture(params=["numpy", "chroma"])
async def memory(tmp_path: Path, model: MiniLM, request: pytest.FixtureRequest) -> AsyncIterator[Memory]:
    opened = Memory(tmp_path, model, request.param)
    yield opened
    await opened.close()


async def test_a_person_hears_their_own_and_the_households(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, "The spare key is with Mrs. Brandt", "The bins go out on Tuesday evening")
    await memory.add(ANNA, "My sister keeps the second spare key")
    await memory.add(BEN, "I hid a spare key under the flower pot")
    found = await memory.ask(ANNA, HOUSEHOLD, query="who has got our second key")
    assert set(found[:2]) == {"My sister keeps the second spare key", "The spare key is with Mrs. Brandt"}
    assert "I hid a spare key under the flower pot" not in found
    assert await memory.ask(HOUSEHOLD, query="flower pot") == []
    assert await memory.ask(GUEST, query="where is the spare key") == []
    assert await memory.ask(query="where is the spare key") == []


async def test_a_replaced_fact_is_only_history(memory: Memory) -> None:
    old, new = await memory.add(HOUSEHOLD, "The bins go out on Tuesday", "The bins go out on Friday now")
    memory.journal.replace(HOUSEHOLD, old, new, time.time() - 1, _SAID)
    assert await memory.ask(HOUSEHOLD, query="when do the bins go out") == ["The bins go out on Friday now"]
    was = await memory.ask(HOUSEHOLD, query=Query("when did the bins go out before", past=True))
    assert set(was) == {"The bins go out on Tuesday", "The bins go out on Friday now"}


async def test_my_is_who_asks(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, "My favourite colour is green", source=Source(Origin.SAID, "anna"))
    await memory.add(HOUSEHOLD, "My favourite colour is orange", source=Source(Origin.SAID, "ben"))
    for who, colour in (("anna", "green"), ("ben", "orange")):
        asked = Query("what is my favourite colour", speaker=who)
        assert (await memory.ask(HOUSEHOLD, query=asked))[0] == f"My favourite colour is {colour}"
    assert (await memory.ask(HOUSEHOLD, query="what is Ben's favourite colour"))[0] == "My favourite colour is orange"


async def test_a_follow_up_is_understood_by_the_turn_before(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, "Ida has choir on Wednesday", "Tom ate twelve meatballs", "Tom has football on Monday")
    asked = Query("and Tom", previous="on which day does Ida have her sports or choir")
    assert (await memory.ask(HOUSEHOLD, query=asked))[0] in ("Tom has football on Monday", "Ida has choir on Wednesday")
    assert "Tom has football on Monday" in (await memory.ask(HOUSEHOLD, query=asked))[:2]


async def test_linked_notes_fill_what_is_left(memory: Memory) -> None:
    first, second = await memory.add(HOUSEHOLD, "The telescope stands on the balcony", "qwertz uiop asdf")
    alone = await memory.ask(HOUSEHOLD, query="where is the telescope")
    memory.journal.link(HOUSEHOLD, [Link(first, second, LinkKind.RELATED)], _SAID)
    assert alone == ["The telescope stands on the balcony"]
    assert await memory.ask(HOUSEHOLD, query="where is the telescope") == [*alone, "qwertz uiop asdf"]
    assert await memory.ask(HOUSEHOLD, query="where is the telescope", limit=1) == alone


async def test_at_most_five_notes_and_three_hundred_tokens(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, *(f"The garden gate, fact {number} " + "and more " * 20 for number in range(12)))
    found = await memory.ask(HOUSEHOLD, query="what about the garden gate")
    assert 1 < len(found) <= 5
    assert sum(len(content) for content in found) / 4 <= 300
    assert len(await memory.ask(HOUSEHOLD, query="the garden gate", limit=12, tokens=100_000)) == 12


async def test_a_late_embedder_leaves_the_words(tmp_path: Path) -> None:
    async with FakeOllama((Model("nomic-embed-text:latest"),)) as ollama:
        url = HttpUrl(ollama.url)
        embedder = await OllamaEmbedder.connect(OllamaEmbedSettings(url=url, query_ms=5000))
        memory = Memory(tmp_path, embedder)
        await memory.add(HOUSEHOLD, "The ferry leaves at twenty past ten", "Ida likes mushrooms")
        hurried = Recall(memory.journal, memory.index, embedder, RecallSettings(embedding_ms=40))
        never = asyncio.Event()
        ollama.faults["/api/embed"] = deque[Step]([never])
        found = await hurried.recall([HOUSEHOLD], Query("when does the ferry leave"))
        never.set()
        assert [entry.note.content for entry in found] == ["The ferry leaves at twenty past ten"]
        assert found[0].parts["vector"] == 0
        await hurried.close()
        await memory.close()
        await embedder.close()


async def test_without_an_embedder_words_alone_are_searched(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, "The ferry leaves at twenty past ten", "Ida likes mushrooms")
    alone = Recall(memory.journal, memory.index, None, PATIENT)
    assert [entry.note.content for entry in await alone.recall([HOUSEHOLD], Query("the ferries"))] == [
        "The ferry leaves at twenty past ten"
    ]
    await alone.close()


async def test_notes_without_a_vector_are_found_by_their_words(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, "Ida likes mushrooms")
    memory.journal.add(HOUSEHOLD, NewNote("The barometer belonged to a ship", _SAID))
    assert "The barometer belonged to a ship" in await memory.ask(HOUSEHOLD, query="whose was the barometer")


async def test_a_store_that_is_gone_gives_nothing_and_says_so_once(
    tmp_path: Path, model: MiniLM, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory(tmp_path, model)
    await memory.add(HOUSEHOLD, "The ferry leaves at ten, says Anna")
    memory.journal.close()
    with caplog.at_level(logging.INFO):
        assert [await memory.ask(HOUSEHOLD, query="when does the ferry leave") for _ in range(3)] == [[], [], []]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "turns go on without it" in warnings[0]
    assert "ferry" not in caplog.text
    await memory.recall.close()
    await memory.index.close()


async def test_a_guess_may_be_dropped_at_any_moment(memory: Memory) -> None:
    await memory.add(HOUSEHOLD, "The ferry leaves at twenty past ten")
    for _ in range(20):
        guess = asyncio.create_task(memory.recall.recall([HOUSEHOLD], Query("when does the ferry")))
        await asyncio.sleep(0)
        guess.cancel()
        await asyncio.gather(guess, return_exceptions=True)
    assert await memory.ask(HOUSEHOLD, query="when does the ferry leave") == ["The ferry leaves at twenty past ten"]


_TENANTS = [HOUSEHOLD, ANNA, BEN, GUEST, Owner(OwnerKind.SATELLITE, "anna"), Owner(OwnerKind.PERSON, "anna.b")]
_WORDS = ["spare key", "green door", "ferry", "mushrooms", "Tuesday", "Anna", "my sister"]


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory, model: MiniLM) -> Path:
    """A folder in which every owner knows the same things."""
    folder = tmp_path_factory.mktemp("everybody")

    async def fill() -> None:
        memory = Memory(folder, model)
        for owner in _TENANTS:
            ids = await memory.add(owner, *(f"{words} is known to {owner.key}" for words in _WORDS))
            links = [Link(first, second, LinkKind.SIMILAR) for first, second in pairwise(ids)]
            memory.journal.link(owner, links, _SAID)
        await memory.close()

    asyncio.run(fill())
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    owners=st.lists(st.sampled_from(_TENANTS), max_size=3),
    words=st.lists(st.sampled_from([*_WORDS, "known", "person:ben", '" OR content : "', "household"]), max_size=4),
    speaker=st.sampled_from(["", "anna", "ben"]),
    past=st.booleans(),
    kind=st.sampled_from(["numpy", "chroma"]),
)
def test_no_query_returns_another_owners_note(
    everybody: Path, model: MiniLM, owners: list[Owner], words: list[str], speaker: str, past: bool, kind: str
) -> None:
    async def ask() -> list[Recalled]:
        memory = Memory(everybody, model, kind)
        try:
            query = Query(" ".join(words), " ".join(words[:1]), speaker, past=past)
            return await memory.recall.recall(owners, query, 50, 100_000)
        finally:
            await memory.close()

    found = asyncio.run(ask())
    assert all(entry.note.owner in owners for entry in found)
    assert all(entry.note.content.endswith(f"is known to {entry.note.owner.key}") for entry in found)
    if owners and set(words) & set(_WORDS):
        assert found
