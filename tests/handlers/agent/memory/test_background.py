"""The background work with a real journal, index and embedding model; the language model is scripted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from pydantic import HttpUrl

from handlers.agent.memory.background import FinishedTurn, Pace, Upkeep
from handlers.agent.memory.embed_settings import OllamaEmbedSettings
from handlers.agent.memory.heuristics import describe
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.minilm import MiniLM
from handlers.agent.memory.numpy_index import NumpyIndex
from handlers.agent.memory.ollama_embed import OllamaEmbedder
from handlers.agent.memory.settings import MemorySettings
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Embedder,
    LinkKind,
    Meaning,
    MemoryStoreError,
    Note,
    Origin,
    Owner,
    OwnerKind,
    Space,
    Vector,
    Vectors,
)
from handlers.agent.stage import Generation, LanguageModel, Message, Written
from handlers.agent.tools.stage import ToolSpec
from tests.support.ollama import SOON, Cut, FakeOllama, Model, Status, stopped_ollama
from tests.support.upkeep import NAMES, NOON, able_model, asked, distilled, embedding_model, judgement, remember

ANNA = Owner(OwnerKind.PERSON, "anna")
TOM = Owner(OwnerKind.PERSON, "tom")
GUEST = Owner(OwnerKind.GUEST, "1")
AT_ONCE = Pace(quiet_seconds=0, answer_seconds=SOON, retry_seconds=0.01, longest_retry=0.05)
TURN = FinishedTurn("My sister Lena lives in Graz.", "I see.", NOON, "anna", turn_id="t1", conversation_id="c1")
LENA = {"fact": "Anna's sister Lena lives in Graz.", "keywords": ["lena", "graz"], "context": "Where Lena lives."}


@dataclass
class House:
    """What one process of the server would have."""

    journal: Journal
    index: SearchIndex
    embedder: Embedder
    ollama: FakeOllama
    model: LanguageModel
    able: bool = True

    @contextlib.asynccontextmanager
    async def upkeep(
        self,
        *,
        model: bool = True,
        pace: Pace = AT_ONCE,
        embedder: Embedder | None = None,
        settings: MemorySettings | None = None,
    ) -> AsyncIterator[Upkeep]:
        upkeep = Upkeep(
            self.journal,
            self.index,
            embedder or self.embedder,
            lambda: self.model if model and self.able else None,
            settings or MemorySettings(),
            names=NAMES,
            pace=pace,
        )
        upkeep.start()
        try:
            yield upkeep
        finally:
            await upkeep.close()

    def remember(self, upkeep: Upkeep, content: str, *, owner: Owner = HOUSEHOLD, at: float = NOON) -> Note:
        """As when somebody asks for it, Anna or an unknown voice."""
        speaker = owner.name
        meaning = describe(content, NAMES.get(speaker, speaker))
        note = remember(self.journal, content, owner=owner, speaker=speaker, meaning=meaning, at=at)
        upkeep.note_added(owner, note)
        return note

    def read(self, note: Note) -> Note:
        (found,) = self.journal.get(note.owner, [note.id])
        return found

    async def nearest(self, text: str, owner: Owner = HOUSEHOLD) -> list[str]:
        """The contents of the notes that the index finds, best first."""
        vector = await self.embedder.embed_query(text)
        near = await self.index.search(owner, self.embedder.space, vector, 5)
        return [note.content for note in self.journal.get(owner, [key for key, _ in near])]


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniLM]:
    model = MiniLM(embedding_model(tmp_path_factory.mktemp("minilm")))
    yield model
    asyncio.run(model.close())


@pytest.fixture
async def house(tmp_path: Path, minilm: MiniLM, fake_ollama: FakeOllama) -> AsyncIterator[House]:
    journal = Journal(tmp_path)
    index = SearchIndex(journal, None)
    async with able_model(fake_ollama) as model:
        yield House(journal, index, minilm, fake_ollama, model)
    await index.close()
    journal.close()


async def idle(upkeep: Upkeep) -> None:
    async with asyncio.timeout(SOON):
        await upkeep.idle()


# Without a language model


async def test_without_a_model_notes_are_embedded_and_linked_by_similarity(house: House) -> None:
    async with house.upkeep(model=False) as upkeep:
        tent = house.remember(upkeep, "The tent is in the attic.")
        house.remember(upkeep, "Tom works at the harbour.")
        await idle(upkeep)
        sack = house.remember(upkeep, "The tent poles are in the attic, too.")
        await idle(upkeep)
        assert upkeep.complete
    assert house.journal.without_vector(HOUSEHOLD, house.embedder.space, 10) == []
    (link,) = house.journal.links(HOUSEHOLD, [sack.id])
    assert (link.first, link.second, link.kind) == (sack.id, tent.id, LinkKind.SIMILAR)
    assert 0.5 <= link.strength < 1
    assert (await house.nearest("where is our tent?"))[0].startswith("The tent")
    assert house.ollama.asked == []


async def test_without_a_model_contradictions_are_closed(house: House) -> None:
    async with house.upkeep(model=False) as upkeep:
        likes = house.remember(upkeep, "I like coffee", owner=ANNA, at=NOON - 60)
        nuts = house.remember(upkeep, "I am allergic to nuts", owner=ANNA, at=NOON - 60)
        hates = house.remember(upkeep, "I hate coffee", owner=ANNA)
        fish = house.remember(upkeep, "I am allergic to fish", owner=ANNA)
        await idle(upkeep)
    assert house.read(likes).valid_to == NOON
    assert [house.read(note).valid_to for note in (nuts, hates, fish)] == [None] * 3


async def test_turns_are_not_kept_without_a_model_that_is_able(house: House) -> None:
    async with house.upkeep(model=False) as upkeep:
        upkeep.turn_finished(HOUSEHOLD, TURN)
        assert upkeep.waiting == 0
        await idle(upkeep)
    assert house.journal.owners() == []


# Distilling


async def test_a_turn_becomes_a_note_with_vector_and_links(house: House) -> None:
    house.ollama.will_answer(distilled(LENA))
    house.ollama.will_answer(judgement(connect=[{"note": 1, "how": "related"}], context="Family."))
    async with house.upkeep(model=False) as upkeep:
        old = house.remember(upkeep, "Anna's sister Lena plays the cello.", owner=ANNA)
        await idle(upkeep)
    remembered = house.read(old)
    house.journal.revise(ANNA, old.id, remembered.meaning, replace(old.source, origin=Origin.EVOLVED))
    async with house.upkeep() as upkeep:
        upkeep.turn_finished(ANNA, TURN)
        await idle(upkeep)
    new = house.journal.page(ANNA)[-1]
    assert new.content == LENA["fact"]
    assert new.source.origin is Origin.DISTILLED
    assert new.meaning.context == "Family."
    assert {(link.first, link.second) for link in house.journal.links(ANNA, [new.id])} == {(new.id, old.id)}
    assert house.journal.without_vector(ANNA, house.embedder.space, 10) == []
    assert (await house.nearest("where does Lena live?", ANNA))[0] == LENA["fact"]


async def test_turns_of_a_conversation_are_one_call(house: House) -> None:
    house.ollama.will_answer(distilled({**LENA, "turn": 1}, {"turn": 2, "fact": "Anna's sister Lena plays the cello."}))
    async with house.upkeep() as upkeep:
        upkeep.pause()
        upkeep.turn_finished(ANNA, TURN)
        upkeep.turn_finished(ANNA, replace(TURN, question="Lena plays the cello.", turn_id="t2"))
        upkeep.resume()
        await house.ollama.until(chats=1)
        await idle(upkeep)
    first, second = house.journal.page(ANNA)
    assert "Turn 2." in asked(house.ollama.chats[0])
    assert (first.source.turn_id, second.source.turn_id) == ("t1", "t2")
    assert second.previous_id == first.id


async def test_turns_of_different_owners_never_meet(house: House) -> None:
    for _ in range(2):
        house.ollama.will_answer(distilled())
    async with house.upkeep() as upkeep:
        upkeep.pause()
        upkeep.turn_finished(ANNA, TURN)
        upkeep.turn_finished(TOM, replace(TURN, question="Tom plans a surprise party.", speaker="tom"))
        upkeep.resume()
        await idle(upkeep)
    assert len(house.ollama.chats) == 2
    assert all(("Lena" in asked(chat)) != ("party" in asked(chat)) for chat in house.ollama.chats)


@pytest.mark.parametrize(
    ("owner", "turn", "settings"),
    [
        (GUEST, TURN, MemorySettings()),
        (ANNA, replace(TURN, private=True), MemorySettings()),
        (ANNA, TURN, MemorySettings(learn=False)),
        (ANNA, replace(TURN, question="Turn on the kitchen light"), MemorySettings()),
        (ANNA, replace(TURN, question="The alarm code is 4711, my dear."), MemorySettings()),
    ],
    ids=["guest", "private", "switched off", "command", "secret"],
)
async def test_turns_that_are_not_looked_at(
    house: House, owner: Owner, turn: FinishedTurn, settings: MemorySettings
) -> None:
    async with house.upkeep(settings=settings) as upkeep:
        upkeep.turn_finished(owner, turn)
        assert upkeep.waiting == 0
        await idle(upkeep)
    assert house.ollama.chats == []


async def test_a_fact_that_is_known_is_not_stored_again(house: House) -> None:
    house.ollama.will_answer(distilled({"fact": "Anna's birthday is 3 May."}))
    async with house.upkeep(model=False) as upkeep:
        known = house.remember(upkeep, "Anna's birthday is on 3 May", owner=ANNA)
        await idle(upkeep)
    house.journal.revise(ANNA, known.id, known.meaning, replace(known.source, origin=Origin.EVOLVED))
    async with house.upkeep() as upkeep:
        upkeep.turn_finished(ANNA, replace(TURN, question="Do you know what, my birthday is 3 May."))
        await idle(upkeep)
    assert [note.id for note in house.journal.page(ANNA)] == [known.id]


async def test_turns_have_a_bound(house: House) -> None:
    async with house.upkeep() as upkeep:
        upkeep.pause()
        for number in range(500):
            upkeep.turn_finished(ANNA, replace(TURN, turn_id=f"t{number}"))
        assert upkeep.waiting == 100


async def test_dropped_turns_are_not_distilled(house: House) -> None:
    gate = asyncio.Event()
    house.ollama.will_answer('{"notes":', gate, "[]}")
    house.ollama.will_answer(distilled())
    async with house.upkeep() as upkeep:
        upkeep.turn_finished(ANNA, TURN)
        await house.ollama.until(chats=1)
        upkeep.turn_finished(TOM, replace(TURN, question="Tom plays the cello.", speaker="tom"))
        await upkeep.drop_turns(ANNA)
        await house.ollama.until(abandoned=1)
        await idle(upkeep)
    assert len(house.ollama.chats) == 2
    assert "Lena" not in asked(house.ollama.chats[1])


# Judging


async def test_a_remembered_note_is_described_and_its_neighbour_evolves(house: House) -> None:
    house.ollama.will_answer(judgement(context="Storage."))
    update = {"note": 1, "keywords": ["tent", "camping"], "tags": ["holiday"], "context": "Needed for camping in July."}
    house.ollama.will_answer(judgement(context="A holiday.", update=[update]))
    async with house.upkeep() as upkeep:
        tent = house.remember(upkeep, "The tent is in the attic.")
        await idle(upkeep)
        before = house.journal.vectors(HOUSEHOLD, house.embedder.space)
        new = house.remember(upkeep, "We go camping with the tent in July.")
        await idle(upkeep)
    assert house.read(new).meaning.context == "A holiday."
    assert house.read(tent).meaning.keywords == ("tent", "camping")
    ids, vectors = house.journal.vectors(HOUSEHOLD, house.embedder.space)
    assert ids == [tent.id, new.id]
    assert float(before[1][0] @ vectors[0]) < 0.999  # exactly the changed note was embedded again
    found = await house.index.search(HOUSEHOLD, house.embedder.space, vectors[0], 1)
    assert found[0] == (tent.id, pytest.approx(1.0, abs=1e-4))
    assert len(house.ollama.chats) == 2  # a neighbour that evolved is not judged again


async def test_the_neighbours_are_the_nearest_notes_not_the_first_ones(house: House) -> None:
    apart = ["Tom works at the harbour.", "Anna plays the cello.", "The car is red.", "Max is seven.", "Eve is a vet."]
    async with house.upkeep(model=False) as upkeep:
        for content in apart:
            house.remember(upkeep, content)
        await idle(upkeep)
        for content in ("The kettle is in the kitchen.", "The toaster stands in the kitchen."):
            house.remember(upkeep, content)
        await idle(upkeep)
    async with house.upkeep() as upkeep:
        new = house.remember(upkeep, "The blender is in the kitchen, beside the toaster.")
        await idle(upkeep)
    shown = next(asked(chat) for chat in house.ollama.chats if new.content in asked(chat).partition("Note 1.")[0])
    assert "The toaster stands" in shown
    assert "The kettle is" in shown


async def test_notes_about_the_same_fact_are_shown_however_they_are_worded(house: House) -> None:
    same = Meaning(subject="anna", attribute="birthday")
    async with house.upkeep(model=False) as upkeep:
        old = remember(house.journal, "Cake and candles are due on the third of May.", owner=ANNA, meaning=same)
        for number in range(8):
            house.remember(upkeep, f"My birthday guest number {number} is coming by train", owner=ANNA)
        await idle(upkeep)
    for note in house.journal.page(ANNA):
        house.journal.revise(ANNA, note.id, note.meaning, replace(note.source, origin=Origin.EVOLVED))
    house.ollama.will_answer(judgement())
    async with house.upkeep() as upkeep:
        house.remember(upkeep, "My birthday is on 3 May", owner=ANNA)
        await idle(upkeep)
    assert old.content in asked(house.ollama.chats[0])


async def test_what_a_person_wrote_is_not_written_over(house: House) -> None:
    mine = Meaning(("mine",), context="As I say.")
    async with house.upkeep() as upkeep:
        upkeep.pause()
        note = house.remember(upkeep, "The tent is in the attic.")
        house.journal.revise(HOUSEHOLD, note.id, mine, replace(note.source, origin=Origin.API))
        upkeep.note_added(HOUSEHOLD, house.read(note))
        upkeep.resume()
        await idle(upkeep)
    async with house.upkeep() as upkeep:
        await idle(upkeep)
    assert house.read(note).meaning == mine
    assert house.ollama.chats == []
    assert house.journal.without_vector(HOUSEHOLD, house.embedder.space, 1) == []


@pytest.mark.parametrize("broken", ['{"should_evolve": True, "neighbors": [417]}', "CONNECTIONS: 0, 2, 3", "{"])
async def test_broken_answers_lose_nothing(house: House, broken: str) -> None:
    async with house.upkeep(model=False) as upkeep:
        tent = house.remember(upkeep, "The tent is in the attic.")
        await idle(upkeep)
    house.journal.revise(HOUSEHOLD, tent.id, tent.meaning, replace(tent.source, origin=Origin.EVOLVED))
    for _ in range(2):
        house.ollama.will_answer(broken)
    async with house.upkeep() as upkeep:
        new = house.remember(upkeep, "The tent poles are in the attic.")
        await idle(upkeep)
    assert house.read(new).meaning == new.meaning  # the keywords that the heuristics found are still there
    assert [link.kind for link in house.journal.links(HOUSEHOLD, [new.id])] == [LinkKind.SIMILAR]
    assert len(house.ollama.chats) == 2


async def test_a_model_that_fails_is_tried_again_and_then_done_without(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (Status(500, "out of memory"), Cut(), Status(500, "out of memory")):
        house.ollama.will_answer(step)
    with caplog.at_level(logging.INFO):
        async with house.upkeep() as upkeep:
            note = house.remember(upkeep, "The tent is in the attic.")
            await idle(upkeep)
    assert house.read(note).version == 1
    assert len(house.ollama.chats) == 3
    assert sum("is tried again" in record.message for record in caplog.records) == 1
    assert "attic" not in caplog.text


async def test_turns_for_which_the_model_is_too_slow_are_left_to_patterns(house: House) -> None:
    for _ in range(3):
        house.ollama.will_answer('{"notes":', asyncio.Event())
    house.ollama.will_answer(judgement())
    async with house.upkeep(pace=replace(AT_ONCE, answer_seconds=0.2)) as upkeep:
        upkeep.turn_finished(ANNA, replace(TURN, question="My birthday is on 3 May"))
        await idle(upkeep)
    assert [note.content for note in house.journal.page(ANNA)] == ["My birthday is on 3 May"]
    assert house.ollama.abandoned == 3


# Making way


async def test_a_pause_stops_the_model_and_the_work_is_done_later_once(house: House) -> None:
    gate = asyncio.Event()
    house.ollama.will_answer('{"notes":', gate)
    async with house.upkeep() as upkeep:
        upkeep.turn_finished(ANNA, TURN)
        await house.ollama.until(chats=1)
        upkeep.pause()
        await house.ollama.until(abandoned=1)
        assert upkeep.waiting == 1
        assert house.journal.owners() == []
        house.ollama.will_answer(distilled(LENA))
        house.ollama.will_answer(judgement())
        upkeep.resume()
        await idle(upkeep)
    assert [note.content for note in house.journal.page(ANNA)] == [LENA["fact"]]
    assert len(house.ollama.chats) == 3  # begun, distilled, judged


async def test_pauses_in_the_middle_of_judging_put_the_note_back(house: House) -> None:
    async with house.upkeep() as upkeep:
        house.ollama.will_answer('{"subject":', asyncio.Event())
        note = house.remember(upkeep, "The tent is in the attic.")
        for times in range(1, 6):  # more often than a model may fail
            await house.ollama.until(chats=times)
            upkeep.pause()
            await house.ollama.until(abandoned=times)
            house.ollama.will_answer(*(['{"subject":', asyncio.Event()] if times < 5 else [judgement(context="Box.")]))
            upkeep.resume()
        await idle(upkeep)
    assert house.read(note).meaning.context == "Box."
    assert house.read(note).version == 2


@dataclass
class Echo:
    """A language model that calls everything a fact that it is told, in small pieces."""

    name: str = "echo"
    unavailable: str = ""
    uses_tools: bool = False
    follows_schemas: bool = True
    context_tokens: int = 4096

    async def check(self) -> bool:
        return True

    async def chat(
        self, messages: Sequence[Message], generation: Generation, tools: Sequence[ToolSpec] = ()
    ) -> AsyncGenerator[Written, None]:
        words = messages[1].content
        said = re.findall(r'Turn (\d+)\..*?kind="conversation">\n(.*?)\n</data', words, re.DOTALL)
        answer = (
            judgement(context="Judged.") if not said else distilled(*({"turn": int(n), "fact": f} for n, f in said))
        )
        for start in range(0, len(answer), 40):
            yield answer[start : start + 40]
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("seed", range(4))
async def test_whenever_somebody_speaks_nothing_is_lost_or_done_twice(house: House, seed: int) -> None:
    random = Random(seed)
    house.ollama.behind = Echo()
    facts = [f"Box number {number} is in the {place}." for number, place in enumerate(["attic", "cellar", "shed"] * 4)]
    async with house.upkeep() as upkeep:
        upkeep.pause()
        for number, fact in enumerate(facts):
            upkeep.turn_finished(ANNA, replace(TURN, question=fact, turn_id=f"t{number}"))
        done = asyncio.create_task(idle(upkeep))
        for _ in range(15):
            chats = len(house.ollama.chats)
            upkeep.resume()
            asked_again = asyncio.create_task(house.ollama.until(chats=chats + 1))
            await asyncio.wait({done, asked_again}, return_when=asyncio.FIRST_COMPLETED)
            asked_again.cancel()
            for _ in range(random.randrange(40)):
                await asyncio.sleep(0)
            upkeep.pause()
        upkeep.resume()
        await done
    assert house.ollama.abandoned
    notes = house.journal.page(ANNA)
    assert sorted(note.content for note in notes) == sorted(facts)
    assert all(note.version == 2 and note.meaning.context == "Judged." for note in notes)
    assert house.journal.without_vector(ANNA, house.embedder.space, 1) == []


async def test_nothing_is_done_while_paused(house: House) -> None:
    async with house.upkeep() as upkeep:
        await idle(upkeep)
        upkeep.pause()
        upkeep.pause()
        note = house.remember(upkeep, "The tent is in the attic.")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await upkeep.idle()
        assert house.journal.without_vector(HOUSEHOLD, house.embedder.space, 10) == [note]
        assert house.ollama.asked == []
        upkeep.resume()
        await idle(upkeep)
    assert house.journal.without_vector(HOUSEHOLD, house.embedder.space, 10) == []


async def test_the_model_waits_for_quiet_but_vectors_do_not(house: House) -> None:
    house.able = False
    async with house.upkeep(pace=replace(AT_ONCE, quiet_seconds=3600)) as upkeep:
        house.remember(upkeep, "The tent is in the attic.")
        await idle(upkeep)
        assert house.journal.without_vector(HOUSEHOLD, house.embedder.space, 1) == []
        house.able = True
        upkeep.turn_finished(ANNA, TURN)
        assert upkeep.waiting == 2
    assert house.ollama.chats == []


async def test_it_ends_while_the_model_writes(house: House) -> None:
    house.ollama.will_answer('{"notes":', asyncio.Event())
    async with house.upkeep() as upkeep:
        upkeep.turn_finished(ANNA, TURN)
        await house.ollama.until(chats=1)
        async with asyncio.timeout(SOON):
            await upkeep.close()
    await house.ollama.until(abandoned=1)


async def test_a_note_that_is_forgotten_while_its_neighbour_is_judged_is_in_no_words(house: House) -> None:
    async with house.upkeep(model=False) as upkeep:
        eve = house.remember(upkeep, "Eve keeps her tent in the attic.")
        await idle(upkeep)
    house.journal.revise(HOUSEHOLD, eve.id, eve.meaning, replace(eve.source, origin=Origin.EVOLVED))
    gate = asyncio.Event()
    house.ollama.will_answer(gate, judgement(context="As Eve does."))
    house.ollama.will_answer(judgement(context="Storage."))
    async with house.upkeep() as upkeep:
        new = house.remember(upkeep, "The tent poles are in the attic.")
        await house.ollama.until(chats=1)
        house.journal.forget(HOUSEHOLD, [eve.id])
        await house.index.remove(HOUSEHOLD, house.embedder.space, [eve.id])
        gate.set()
        await idle(upkeep)
    assert house.read(new).meaning.context == "Storage."
    assert "Eve" not in asked(house.ollama.chats[1])


async def test_a_note_that_is_remembered_again_is_not_judged_again(house: House) -> None:
    house.ollama.will_answer(judgement(context="Storage."))
    async with house.upkeep() as upkeep:
        for _ in range(2):
            note = house.remember(upkeep, "The tent is in the attic.")
            await idle(upkeep)
    assert len(house.ollama.chats) == 1
    assert house.read(note).version == 2


async def test_closing_twice_and_without_a_start_does_no_harm(house: House) -> None:
    upkeep = Upkeep(house.journal, house.index, house.embedder, lambda: None, MemorySettings())
    await upkeep.close()
    await upkeep.close()


# Restarts, spaces, forgetting


async def test_a_restart_goes_on_with_what_the_journal_says(house: House) -> None:
    async with house.upkeep(pace=replace(AT_ONCE, quiet_seconds=3600)) as upkeep:
        upkeep.pause()
        note = house.remember(upkeep, "The tent is in the attic.")
    assert house.journal.without_vector(HOUSEHOLD, house.embedder.space, 10) == [note]
    house.ollama.will_answer(judgement(context="Storage."))
    async with house.upkeep() as upkeep:
        await house.ollama.until(chats=1)
        await idle(upkeep)
    assert house.read(note).meaning.context == "Storage."
    async with house.upkeep() as upkeep:  # what a model has seen is not judged again
        await idle(upkeep)
    assert len(house.ollama.chats) == 1


async def test_notes_from_before_there_was_a_model_are_judged(house: House) -> None:
    async with house.upkeep(model=False) as upkeep:
        for number in range(3):
            house.remember(upkeep, f"Box number {number} is in the attic.")
        await idle(upkeep)
    async with house.upkeep() as upkeep:
        await idle(upkeep)
    assert len(house.ollama.chats) == 3


@dataclass
class OtherSpace:
    """An embedding model of another kind, which waits at a gate before each batch after the `free` ones."""

    space: Space = field(default_factory=lambda: Space("other", "1", 8))
    free: int = 0
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    batches: int = 0
    failing: int = 0
    failure: type[Exception] = MemoryStoreError

    async def embed_notes(self, texts: Sequence[str]) -> Vectors:
        self.batches += 1
        if self.failing:
            self.failing -= 1
            raise self.failure("The tent is in the attic.")
        if self.batches > self.free:
            self.waits.set()
            await self.gate.wait()
        vectors: Vectors = np.eye(8, dtype=np.float32)[[len(text) % 8 for text in texts]]
        return vectors

    async def embed_query(self, text: str) -> Vector:
        vector: Vector = (await self.embed_notes([text]))[0]
        return vector

    async def close(self) -> None:
        """Nothing is held."""


async def reached(space: OtherSpace) -> None:
    async with asyncio.timeout(SOON):
        await space.waits.wait()


async def test_a_new_space_is_filled_while_the_old_one_answers(house: House) -> None:
    async with house.upkeep(model=False) as upkeep:
        notes = [house.remember(upkeep, f"Box number {number} is in the attic.") for number in range(20)]
        await idle(upkeep)
    other = OtherSpace(free=1)
    async with house.upkeep(model=False, embedder=other) as upkeep:
        await reached(other)
        assert not upkeep.complete
        assert len(house.journal.without_vector(HOUSEHOLD, other.space, 100)) == 12
        assert len(house.journal.vectors(HOUSEHOLD, house.embedder.space)[0]) == 20
        assert len(await house.nearest("box number seven")) == 5
        other.gate.set()
        await idle(upkeep)
        assert upkeep.complete
    assert len(house.journal.vectors(HOUSEHOLD, other.space)[0]) == len(notes)
    assert house.journal.vectors(HOUSEHOLD, house.embedder.space)[0] == []


async def test_when_a_new_space_is_full_the_old_one_leaves_the_index(house: House) -> None:
    old, new, kept = house.embedder.space, OtherSpace(free=100), NumpyIndex()
    await house.index.close()
    house.index = SearchIndex(house.journal, lambda: kept)
    async with house.upkeep(model=False) as upkeep:
        house.remember(upkeep, "The tent is in the attic.")
        house.remember(upkeep, "I like coffee.", owner=ANNA)
        await idle(upkeep)
    assert (kept.count(HOUSEHOLD, old), kept.count(ANNA, old)) == (1, 1)
    async with house.upkeep(model=False, embedder=new) as upkeep:
        await idle(upkeep)
    assert (kept.count(HOUSEHOLD, old), kept.count(ANNA, old)) == (0, 0)
    assert (kept.count(HOUSEHOLD, new.space), kept.count(ANNA, new.space)) == (1, 1)
    assert list(house.index.owed) == []


async def test_an_ollama_that_comes_later_gives_the_vectors(house: House) -> None:
    async with stopped_ollama() as ollama:
        embedder = OllamaEmbedder(OllamaEmbedSettings(url=HttpUrl(ollama.url), query_ms=5000))
        async with house.upkeep(model=False, embedder=embedder) as upkeep:
            notes = [house.remember(upkeep, f"Box number {number} is in the attic.") for number in range(10)]
            with pytest.raises(MemoryStoreError):
                await embedder.embed_query("where is box number seven")
            ollama.models = (Model("nomic-embed-text:latest", dimensions=48),)
            async with ollama:
                await idle(upkeep)
                assert embedder.unavailable == ""
                assert house.journal.vectors(HOUSEHOLD, embedder.space)[0] == [note.id for note in notes]
                vector = await embedder.embed_query("Box number 7 is in the attic.")
                assert len(await house.index.search(HOUSEHOLD, embedder.space, vector, 5)) == 5
                assert upkeep.complete
        await embedder.close()


@pytest.mark.parametrize("failure", [MemoryStoreError, ZeroDivisionError])
async def test_an_embedding_model_that_fails_is_tried_again(house: House, failure: type[Exception]) -> None:
    other = OtherSpace(failing=3, failure=failure)
    async with house.upkeep(model=False, embedder=other) as upkeep:
        other.gate.set()
        note = house.remember(upkeep, "The tent is in the attic.")
        await idle(upkeep)
    assert house.journal.vectors(HOUSEHOLD, other.space)[0] == [note.id]


async def test_the_words_of_a_defect_are_not_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        other = OtherSpace(free=9, failing=1, failure=ValueError)
        async with house.upkeep(model=False, embedder=other) as upkeep:
            house.remember(upkeep, "The tent is in the attic.")
            await idle(upkeep)
    assert "ValueError" in caplog.text
    assert "attic" not in caplog.text


async def test_a_pause_stops_an_embedding_that_hangs(house: House) -> None:
    other = OtherSpace()
    async with house.upkeep(model=False, embedder=other) as upkeep:
        note = house.remember(upkeep, "The tent is in the attic.")
        await reached(other)
        upkeep.pause()
        other.gate.set()
        upkeep.resume()
        await idle(upkeep)
    assert other.batches == 2
    assert house.journal.vectors(HOUSEHOLD, other.space)[0] == [note.id]


async def test_a_note_that_is_forgotten_during_its_embedding_leaves_nothing(house: House) -> None:
    other = OtherSpace()
    async with house.upkeep(model=False, embedder=other) as upkeep:
        note = house.remember(upkeep, "The tent is in the attic.")
        await reached(other)
        house.journal.forget(HOUSEHOLD, [note.id])
        await house.index.remove(HOUSEHOLD, other.space, [note.id])
        other.gate.set()
        await idle(upkeep)
        vectors = np.eye(8, dtype=np.float32)
        for vector in vectors:
            assert await house.index.search(HOUSEHOLD, other.space, vector, 5) == []
    assert house.journal.count(HOUSEHOLD) == 0


async def test_a_note_that_is_forgotten_before_it_is_judged_is_not_shown(house: House) -> None:
    async with house.upkeep() as upkeep:
        upkeep.pause()
        note = house.remember(upkeep, "The tent is in the attic.")
        house.journal.forget(HOUSEHOLD, [note.id])
        upkeep.resume()
        await idle(upkeep)
    assert house.ollama.chats == []
    assert upkeep.waiting == 0
