"""The memory as a household meets it: said, recalled, told, forgotten; by whom, and where."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from handlers.agent.agent import Agent
from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.llm.thinker import Thinker
from handlers.agent.memory.background import Pace, Upkeep
from handlers.agent.memory.forgetting import Forgotten
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.memories import Memories, RefusedError
from handlers.agent.memory.numpy_index import NumpyIndex
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Link,
    LinkKind,
    Meaning,
    MemoryStoreError,
    NewNote,
    Note,
    Origin,
    Owner,
    OwnerKind,
    Source,
    Space,
    Vectors,
)
from handlers.agent.memory.tense import asks_about_past
from handlers.agent.safety.audit import Audit
from handlers.agent.skills import Skills
from handlers.agent.skills.memory import MemorySkill
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import AgentSettings, Request
from handlers.agent.tools.toolbox import Toolbox
from handlers.errors import RequestError
from handlers.session import Role, Session
from handlers.timeline import Timeline
from tests.support.memories import opened
from tests.support.ollama import SOON, FakeOllama
from tests.support.upkeep import able_model

ANNA = Owner(OwnerKind.PERSON, "anna")
TOM = Owner(OwnerKind.PERSON, "tom")
API = Source(Origin.API)


class Home:
    """A household that can be spoken to."""

    def __init__(self, agent: Agent, memories: Memories, upkeep: Upkeep, ollama: FakeOllama) -> None:
        self.agent = agent
        self.memories = memories
        self.upkeep = upkeep
        self.ollama = ollama

    async def say(
        self, text: str, user: str = "anna", satellite: str = "kitchen", role: Role = Role.USER, language: str = "en"
    ) -> str:
        """One turn, as a pipeline does it; each satellite has its conversation."""
        session = Session(user, satellite, role=role, language=language, conversation=satellite)
        async with asyncio.timeout(SOON):
            with self.agent.attending():
                response = self.agent.respond(Request(text, session), Timeline("t"))
                answer = "".join([part async for part in response.parts() if isinstance(part, str)])
                response.remember(answer)
        return answer

    async def rest(self) -> None:
        """Until the work in the background is done."""
        async with asyncio.timeout(SOON):
            await self.upkeep.idle()

    async def contents(self, owner: Owner = ANNA) -> list[str]:
        return [note.content for note in await self.memories.page(owner)]

    async def recalled(self, text: str, user: str = "anna", role: Role = Role.USER) -> str:
        request = Request(text, Session(user, role=role, language="en", conversation="recalling"))
        return "\n".join(map(self.memories.sentence, await self.memories.recall(request, [])))


@contextlib.asynccontextmanager
async def household(folder: Path, ollama: FakeOllama) -> AsyncIterator[Home]:
    async with contextlib.AsyncExitStack() as owned:
        memories, upkeep = await owned.enter_async_context(opened(folder / "memory", pace=Pace(quiet_seconds=0)))
        model = OllamaModel(OllamaSettings.model_validate({"url": ollama.url}))
        settings = AgentSettings.model_validate({"longest_answer": 64, "think": {"retry_seconds": 0.01}})
        thinker = Thinker([model], settings.think)
        owned.push_async_callback(thinker.close)
        audit = Audit(folder / "audit", 30)
        owned.push_async_callback(audit.close)
        toolbox = Toolbox([], settings.tools, audit)
        owned.push_async_callback(toolbox.close)
        skills = Skills([*standard_skills(), MemorySkill(memories)])
        yield Home(Agent(skills, thinker, toolbox, settings, audit, memories), memories, upkeep, ollama)


@pytest.fixture
async def home(tmp_path: Path, fake_ollama: FakeOllama) -> AsyncIterator[Home]:
    async with household(tmp_path, fake_ollama) as opened_home:
        yield opened_home


# Remember and recall


async def test_what_is_said_is_kept_in_the_speakers_words(home: Home) -> None:
    assert await home.say("Please remember that my bike is red") == "I'll remember that."
    [note] = await home.memories.page(ANNA)
    assert note.content == "My bike is red."
    assert (note.source.origin, note.source.speaker, note.source.satellite) == (Origin.SAID, "anna", "kitchen")
    sentence = home.memories.sentence(note)
    assert sentence.startswith("My bike is red. (Anna said so on ")
    assert "until" not in sentence
    assert await home.contents(HOUSEHOLD) == []


async def test_the_language_model_is_told_what_fits(home: Home) -> None:
    await home.say("Remember that my bike is red.")
    home.ollama.will_answer("Your bike is red.")
    assert await home.say("What colour is my bike?") == "Your bike is red."
    assert "My bike is red. (Anna said so on" in home.ollama.chats[-1]["messages"][-1]["content"]


async def test_a_contradiction_leaves_the_present_truth_and_the_past_one(home: Home) -> None:
    await home.say("Remember that my bike is red.")
    await home.rest()
    await home.say("Remember that my bike is blue now.")
    await home.rest()
    present = await home.recalled("What colour is my bike?")
    assert "blue" in present
    assert "red" not in present
    past = await home.recalled("What colour was my bike before?")
    assert "My bike is red." in past
    assert "true until" in past
    told = await home.say("What do you know about me?")
    assert told == "You told me: My bike is blue now."


@pytest.mark.parametrize(
    ("text", "language", "past"),
    [
        ("What was the code of the gate?", "en", True),
        ("What is the code of the gate?", "en", False),
        ("Was ist meine Lieblingsfarbe?", "de", False),
        ("Was war meine Lieblingsfarbe?", "de", True),
        ("Var är min cykel?", "sv", False),
        ("Vad var min adress förut?", "sv", True),
        ("Où est mon vélo ?", "fr", False),
        ("Quelle était mon adresse ?", "fr", True),
        ("¿De qué color es mi bicicleta?", "es", False),
        ("¿De qué color era mi bicicleta?", "es-MX", True),
        ("was", "fi", False),
    ],
)
def test_which_questions_are_about_the_past(text: str, language: str, *, past: bool) -> None:
    assert asks_about_past(text, language) is past


@pytest.mark.parametrize(
    ("said", "language", "answer"),
    [
        ("Remember that the alarm code is 4711.", "en", "I don't keep codes, passwords or card numbers."),
        ("Remember that my password is hunter2024!", "en", "I don't keep codes, passwords or card numbers."),
        ("Merk dir, dass der Alarmcode 4711 ist.", "de", "Codes, Passwörter und Kartennummern hebe ich nicht auf."),
        ("Kom ihåg att larmkoden är 4711.", "sv", "Jag sparar inga koder, lösenord eller kortnummer."),
        ("Retiens que le code de l'alarme est 4711.", "fr", "Je ne garde ni codes, ni mots de passe"),
        ("Recuerda que el código de la alarma es 4711.", "es", "No guardo códigos, contraseñas ni números de tarjeta."),
    ],
)
async def test_secrets_are_refused(home: Home, said: str, language: str, answer: str) -> None:
    assert (await home.say(said, language=language)).startswith(answer)
    assert await home.contents() == []


async def test_a_german_sentence_is_kept_whole(home: Home) -> None:
    """Its verb comes last, which makes no sentence without the word before it."""
    await home.say("Merk dir, dass mein Fahrrad rot ist.", language="de")
    await home.say("Merk dir: Mein Auto ist blau.", language="de")
    assert await home.contents() == ["Dass mein Fahrrad rot ist.", "Mein Auto ist blau."]
    told = await home.say("Was weißt du über mein Fahrrad?", language="de")
    assert told == "Du hast mir gesagt: Dass mein Fahrrad rot ist."
    asked = await home.say("Vergiss das.", language="de")
    assert asked == "Soll ich das vergessen: Dass mein Fahrrad rot ist? Sag Ja, um es zu bestätigen."
    assert await home.say("Ja.", language="de") == "Das ist vergessen."
    assert await home.contents() == ["Mein Auto ist blau."]


# Who may know what


async def test_nobody_sees_the_memory_of_another(home: Home) -> None:
    await home.say("Remember that my bike is red.", user="anna")
    await home.say("Remember for everyone that the bins go out on Tuesday.", user="anna")
    assert "bike" in await home.recalled("What colour is my bike?", user="anna")
    for user in ("tom", ""):
        assert "bike" not in await home.recalled("What colour is my bike?", user=user)
        assert "bins" in await home.recalled("When do the bins go out?", user=user)
    assert "bike" not in await home.say("What do you remember about my bike?", user="tom")


async def test_an_unknown_voice_has_only_the_households_memory(home: Home) -> None:
    assert await home.say("Remember that the attic is cold.", user="") == "I'll remember that."
    assert await home.contents(HOUSEHOLD) == ["The attic is cold."]
    no_memory = "I don't know who is speaking, so I can't tell which memories are yours."
    assert await home.say("What do you know about me?", user="") == no_memory
    assert await home.say("Forget everything about me.", user="") == no_memory
    assert await home.say("What do you remember about the attic?", user="") == "I was told: The attic is cold."


async def test_a_guest_sees_and_leaves_nothing(home: Home) -> None:
    await home.say("Remember for everyone that the attic is cold.")
    said = await home.say("Remember that my bike is red.", user="gus", role=Role.GUEST)
    assert said == "I don't keep anything that guests say."
    assert await home.memories.call(home.memories.journal.owners) == [HOUSEHOLD]
    assert await home.recalled("Is the attic cold?", user="gus", role=Role.GUEST) == ""
    nothing = "I don't remember anything about that."
    assert await home.say("What do you remember about the attic?", user="gus", role=Role.GUEST) == nothing
    empty = "I don't remember anything like that."
    assert await home.say("Forget everything about the attic.", user="gus", role=Role.GUEST) == empty
    assert await home.say("Forget that.", user="gus", role=Role.GUEST) == empty
    assert await home.contents(HOUSEHOLD) == ["The attic is cold."]


async def test_what_do_you_know_about_me(home: Home) -> None:
    assert await home.say("What do you know about me?") == "I don't know anything about you yet."
    await home.say("Remember that my bike is red.")
    await home.say("Remember for everyone that Anna is allergic to nuts.", user="tom")
    await home.say("Remember for everyone that the attic is cold.", user="tom")
    told = await home.say("What do you know about me?")
    assert told == "You told me: My bike is red. Tom told me: Anna is allergic to nuts."


# Who told you that


async def test_who_told_you_that(home: Home) -> None:
    await home.say("Remember for everyone that the attic is cold.", user="anna")
    await home.say("What time is it?", satellite="hall")
    home.ollama.will_answer("The attic is cold.")
    await home.say("Is it warm in the attic?", user="tom", satellite="hall")
    told = await home.say("Who told you that?", user="tom", satellite="hall")
    assert told.startswith("Anna told me ")
    assert (await home.say("Who told you that?", user="anna", satellite="hall")).startswith("You told me ")
    german = await home.say("Woher weißt du das?", user="tom", satellite="hall", language="de")
    assert german.startswith("Anna hat es mir ")


async def test_an_answer_that_needed_no_memory_was_told_by_nobody(home: Home) -> None:
    await home.say("Remember for everyone that the attic is cold.")
    home.ollama.will_answer("Paris.")
    await home.say("What is the capital of France?")
    assert await home.say("Who told you that?") == "Nobody told me. I didn't need my memory for that."


async def test_that_of_one_person_is_not_that_of_another(home: Home) -> None:
    await home.say("Remember that my bike is red.", user="anna")
    for user, role in (("tom", Role.USER), ("", Role.USER), ("anna", Role.GUEST)):
        asked = await home.say("Forget that.", user=user, role=role)
        assert asked == "I don't remember anything like that."
        told = await home.say("Who told you that?", user=user, role=role)
        assert told == "Nobody told me. I didn't need my memory for that."
    assert await home.contents() == ["My bike is red."]


async def test_a_voice_that_nobody_knows_and_a_written_note(home: Home) -> None:
    await home.say("Remember that the attic is cold.", user="")
    assert (await home.say("Who told you that?", user="tom")).startswith("Somebody told me ")
    await home.memories.add(HOUSEHOLD, "The cellar is damp.", API)
    await home.say("What do you remember about the cellar?")
    assert (await home.say("Who told you that?")).startswith("Somebody wrote it down for me ")


# Forget


async def test_forgetting_asks_and_acts_on_a_yes(home: Home) -> None:
    await home.say("Remember that Julia likes tulips.")
    await home.say("Remember for everyone that Julia's birthday is on the 3rd of May.")
    await home.say("Remember that my bike is red.")
    await home.rest()
    asked = await home.say("Forget everything you know about Julia.")
    assert asked == "Forget 2 memories, such as: Julia likes tulips? Say yes to confirm."
    assert len(await home.contents()) == 2
    assert await home.say("Yes.") == "I've forgotten 2 memories."
    assert await home.contents() == ["My bike is red."]
    assert await home.contents(HOUSEHOLD) == []
    assert "Julia" not in await home.recalled("What does Julia like?")
    assert await home.say("Forget everything about Julia.") == "I don't remember anything like that."


async def test_a_no_keeps_it(home: Home) -> None:
    await home.say("Remember that Julia likes tulips.")
    assert await home.say("Forget that.") == "Forget this: Julia likes tulips? Say yes to confirm."
    assert await home.say("No.") == "Okay, I won't."
    assert await home.contents() == ["Julia likes tulips."]


async def test_another_sentence_keeps_it_and_is_answered(home: Home) -> None:
    await home.say("Remember that Julia likes tulips.")
    await home.say("Forget everything about Julia.")
    assert await home.say("Thank you!") == "You're welcome."
    home.ollama.will_answer("Yes what?")
    assert await home.say("Yes.") == "Yes what?"
    assert await home.contents() == ["Julia likes tulips."]


async def test_a_yes_from_elsewhere_does_nothing(home: Home) -> None:
    await home.say("Remember that Julia likes tulips.")
    await home.say("Forget everything about Julia.")
    home.ollama.will_answer("Yes what?")
    assert await home.say("Yes.", satellite="hall") == "Yes what?"
    assert await home.contents() == ["Julia likes tulips."]
    assert await home.say("Yes.") == "It's forgotten."
    assert await home.contents() == []


async def test_everything_about_oneself(home: Home) -> None:
    await home.say("Remember that my bike is red.")
    await home.say("Remember for everyone that Anna is allergic to nuts.", user="tom")
    await home.say("Remember for everyone that the attic is cold.")
    await home.say("Remember that my cat is called Tiger.", user="tom")
    assert (await home.say("Forget everything you know about me.")).startswith("Forget 2 memories")
    await home.say("Yes.")
    assert await home.contents(ANNA) == []
    assert await home.contents(HOUSEHOLD) == ["The attic is cold."]
    assert await home.contents(TOM) == ["My cat is called Tiger."]


async def test_only_the_same_words_are_forgotten(home: Home) -> None:
    for content in ("Anna likes tea.", "Ann likes coffee.", "Two bikes are in the shed.", "The bike’s lock is new."):
        await home.memories.add(ANNA, content, API)
    found = {
        subject: [note.content for note in await home.memories.notes_about(ANNA, subject)]
        for subject in ("Ann", "the bike", "tea Anna", "ann's coffee", "?", "a", "tulips")
    }
    assert found == {
        "Ann": ["Ann likes coffee."],
        "the bike": ["Two bikes are in the shed.", "The bike’s lock is new."],
        "tea Anna": ["Anna likes tea."],
        "ann's coffee": ["Ann likes coffee."],
        "?": [],
        "a": [],
        "tulips": [],
    }


async def test_a_long_memory_is_not_read_out_whole(home: Home) -> None:
    await home.memories.add(ANNA, "Julia " + "likes tulips and " * 100, API)
    asked = await home.say("Forget everything about Julia.")
    assert asked.startswith("Forget this: Julia likes tulips")
    assert len(asked) < 200


@pytest.mark.parametrize("said", ["Forget that.", "Forget everything about Julia.", "Forget everything about me."])
async def test_forgetting_also_drops_what_waits_to_be_learnt(
    tmp_path: Path, fake_ollama: FakeOllama, said: str
) -> None:
    """What the person said, and what a voice did that was not known; not what others said."""
    async with (
        able_model(fake_ollama) as model,
        opened(tmp_path / "memory", model=model, pace=Pace(quiet_seconds=3600)) as (memories, upkeep),
    ):
        for user in ("anna", "", "tom"):
            request = Request(
                "Julia is allergic to nuts, what can I cook?", Session(user, "kitchen", language="en", conversation="c")
            )
            memories.turn_finished(request, "Soup.", "t1")
        assert upkeep.waiting == 3
        skills = Skills([*standard_skills(), MemorySkill(memories)])
        thinker = Thinker([model], AgentSettings().think)
        audit = Audit(tmp_path / "audit", 30)
        agent = Agent(skills, thinker, Toolbox([], AgentSettings().tools, audit), AgentSettings(), audit, memories)
        response = agent.respond(
            Request(said, Session("anna", "kitchen", language="en", conversation="c")), Timeline("t")
        )
        assert [part async for part in response.parts()] == ["I don't remember anything like that."]
        assert upkeep.waiting == 1
        assert await memories.forget_about(TOM, "Julia") == 0
        assert upkeep.waiting == 0
        await audit.close()


async def purged(memories: Memories) -> None:
    """Wait until nothing that was forgotten is left on disk."""
    async with asyncio.timeout(SOON):
        while await memories.call(lambda: memories.journal.purge_due):
            pass


class Stubborn(NumpyIndex):
    """An index whose files cannot be emptied for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = True
        self.emptied = threading.Event()

    def drop(self, owner: Owner, space: Space | None = None) -> None:
        if self.stuck:
            raise MemoryStoreError("The disk does not answer")
        super().drop(owner, space)
        self.emptied.set()


async def test_a_trace_that_stays_is_said_and_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.agent.memory.forgetting._RETRY_SECONDS", 0.05)
    index = Stubborn()
    async with opened(tmp_path, make=lambda: index) as (memories, upkeep):
        note = await memories.add(ANNA, "Julia likes tulips.", API)
        await upkeep.idle()
        with pytest.raises(MemoryStoreError, match="emptied"):
            await memories.forget(Forgotten({ANNA: [note]}))
        assert await memories.page(ANNA) == []
        index.stuck = False
        monkeypatch.setattr("handlers.agent.memory.index._RETRY_SECONDS", 0.0)
        assert await asyncio.to_thread(index.emptied.wait, SOON)
        await purged(memories)


class Noting(NumpyIndex):
    """An index that notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []

    def put(self, owner: Owner, space: Space, ids: Sequence[str], vectors: Vectors) -> None:
        super().put(owner, space, ids, vectors)
        self.given += ids


async def test_what_is_forgotten_while_it_is_embedded_never_reaches_the_index(tmp_path: Path) -> None:
    """Its vector would stay in the index's files, because they were emptied before."""
    index, space = Noting(), Space("test", "0", 2)
    journal = Journal(tmp_path)
    search = SearchIndex(journal, lambda: index)
    kept, gone = (journal.add(ANNA, NewNote(content, API)) for content in ("Tea is hot.", "Julia likes tulips."))
    vectors = np.asarray([[0.0, 1.0], [1.0, 0.0]], np.float32)
    journal.forget(ANNA, [gone.id])
    await search.purge(ANNA, space)
    await search.keep(ANNA, space, [gone.id, kept.id], vectors)
    assert index.given == [kept.id]
    assert await search.search(ANNA, space, vectors[1], 5) == [(kept.id, 1.0)]
    await search.close()
    journal.close()


async def test_forgetting_goes_on_when_nobody_waits(home: Home) -> None:
    """The satellite hangs up after the yes."""
    note = await home.memories.add(ANNA, "Julia likes tulips.", API)
    waiting = asyncio.create_task(home.memories.forget(Forgotten({ANNA: [note]})))
    async with asyncio.timeout(SOON):
        while await home.memories.page(ANNA):
            assert not waiting.done()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await purged(home.memories)
    assert await home.memories.page(ANNA) == []


async def test_remembering_and_forgetting_at_once(home: Home) -> None:
    notes = [await home.memories.add(ANNA, f"Box {number} holds tulips.", API) for number in range(10)]
    results = await asyncio.gather(
        *(home.memories.forget(Forgotten({ANNA: [note]})) for note in notes[:5]),
        *(home.memories.forget(Forgotten({ANNA: [note]})) for note in notes[:5]),
        *(home.memories.add(ANNA, f"Shelf {number} is empty.", API) for number in range(10)),
    )
    assert sum(result for result in results if isinstance(result, int)) == 5
    contents = await home.contents()
    assert len(contents) == len(set(contents)) == 15
    await home.rest()
    assert not home.memories.journal.purge_due


async def test_closing_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, index="chroma") as (memories, _):
        kept = [await memories.add(ANNA, f"Box {number} holds tulips.", API) for number in range(10)]
        forgetting = asyncio.create_task(memories.forget(Forgotten({ANNA: kept[:5]})))
        adding = [asyncio.create_task(memories.add(TOM, f"Shelf {number} is empty.", API)) for number in range(5)]
        await asyncio.sleep(0)
    done = await asyncio.gather(forgetting, *adding, return_exceptions=True)
    assert all(isinstance(result, int | Note | MemoryStoreError | asyncio.CancelledError) for result in done)
    async with opened(tmp_path, index="chroma") as (memories, upkeep):
        found = {note.id for note in await memories.page(ANNA)}
        assert {note.id for note in kept[5:]} <= found
        if isinstance(done[0], int):
            assert found == {note.id for note in kept[5:]}
        assert {result.id for result in done[1:] if isinstance(result, Note)} <= {
            n.id for n in await memories.page(TOM)
        }
        assert not memories.journal.purge_due
        await upkeep.idle()
        assert (await memories.search([ANNA], "tulips", 5))[0].note.id in found


# Private mode


async def test_private_mode_is_of_a_place_and_survives_a_restart(tmp_path: Path, fake_ollama: FakeOllama) -> None:
    private = "Private mode is on here, so I won't keep that."
    async with household(tmp_path, fake_ollama) as home:
        await home.say("Private mode.")
        assert await home.say("Remember that my bike is red.") == private
        assert await home.say("Remember that my bike is red.", satellite="hall") == "I'll remember that."
    async with household(tmp_path, fake_ollama) as home:
        assert await home.say("Remember that I like tea.") == private
        kept_out = await home.say("Private mode off.", user="gus", role=Role.GUEST)
        assert kept_out == "Sorry, that is not for everybody to decide."
        assert await home.say("Remember that I like tea.") == private
        await home.say("Private mode off.")
        assert await home.say("Remember that I like tea.") == "I'll remember that."
        assert await home.contents() == ["My bike is red.", "I like tea."]


async def test_private_mode_learns_nothing_in_passing(tmp_path: Path, fake_ollama: FakeOllama) -> None:
    async with (
        able_model(fake_ollama) as model,
        opened(tmp_path, model=model, pace=Pace(quiet_seconds=3600)) as (memories, upkeep),
    ):
        kitchen, hall = (
            Request("My boss lives in Oslo.", Session("anna", place, language="en", conversation="c"))
            for place in ("k", "h")
        )
        memories.turn_finished(kitchen, "I see.", "t0")
        memories.turn_finished(
            Request("My boss lives in Oslo.", Session("", "k", language="en", conversation="c")), "I see.", "t0"
        )
        await memories.set_private(kitchen, True)
        assert upkeep.waiting == 0
        memories.turn_finished(kitchen, "I see.", "t1")
        assert upkeep.waiting == 0
        memories.turn_finished(hall, "I see.", "t2")
        assert upkeep.waiting == 1
        guest = Request("My boss lives in Oslo.", Session("gus", "h", role=Role.GUEST, language="en", conversation="c"))
        memories.turn_finished(guest, "I see.", "t3")
        assert upkeep.waiting == 1


# What owners do


async def test_correcting_a_note_keeps_who_said_it_and_when(home: Home) -> None:
    await home.say("Remember that my bike is red.")
    [old] = await home.memories.page(ANNA)
    new = await home.memories.edit(ANNA, old.id, "My bike is green.", API)
    assert (new.content, new.source.speaker, new.source.satellite, new.created) == (
        "My bike is green.",
        "anna",
        "kitchen",
        old.created,
    )
    assert await home.contents() == ["My bike is green."]


async def test_correcting_only_the_spelling_does_not_lose_the_note(home: Home) -> None:
    note = await home.memories.add(ANNA, "julia likes tulips", API)
    new = await home.memories.edit(ANNA, note.id, "Julia likes tulips!", API)
    assert await home.contents() == ["Julia likes tulips!"]
    assert (await home.memories.get(ANNA, new.id)).content == "Julia likes tulips!"


async def test_correcting_what_is_no_longer_true_does_not_make_it_true_again(home: Home) -> None:
    await home.say("Remember that my bike is red.")
    await home.rest()
    await home.say("Remember that my bike is blue now.")
    await home.rest()
    [old, present] = await home.memories.page(ANNA)
    assert old.valid_to is not None
    new = await home.memories.edit(ANNA, old.id, "My bike is dark red.", API)
    await home.rest()
    assert (new.valid_to, new.created) == (old.valid_to, old.created)
    links = await home.memories.call(lambda: home.memories.journal.links(ANNA, [new.id]))
    assert Link(present.id, new.id, LinkKind.REPLACES) in links
    assert "dark red" not in await home.recalled("What colour is my bike?")
    assert "dark red" in await home.recalled("What colour was my bike before?")
    assert not home.memories.journal.purge_due


@pytest.mark.parametrize(
    "meaning",
    [
        Meaning(("the alarm code is 4711",)),
        Meaning((), ("code", "4711")),
        Meaning(context="Mein Passwort ist hunter22."),
    ],
)
async def test_what_is_known_about_a_note_is_no_secret(home: Home, meaning: Meaning) -> None:
    note = await home.memories.add(ANNA, "Julia likes tulips.", API)
    with pytest.raises(RefusedError, match="Secrets are not kept"):
        await home.memories.revise(ANNA, note.id, meaning, API)
    assert await home.memories.page(ANNA) == [note]


async def test_undoing_beyond_the_beginning_is_the_callers_mistake(home: Home) -> None:
    note = await home.memories.add(ANNA, "Julia likes tulips.", API)
    with pytest.raises(RequestError, match="nothing to undo"):
        await home.memories.undo(ANNA, note.id, API)
    await home.memories.revise(ANNA, note.id, Meaning(("flowers",)), API)
    assert (await home.memories.undo(ANNA, note.id, API)).meaning == note.meaning
    with pytest.raises(RequestError, match="nothing to undo"):
        await home.memories.undo(ANNA, note.id, API)


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001, "a\0b", "\ud800"])
async def test_what_cannot_be_a_note_is_the_callers_mistake(home: Home, text: str) -> None:
    with pytest.raises(RequestError):
        await home.memories.add(ANNA, text, API)
    assert await home.contents() == []


async def test_an_id_of_another_memory_is_unknown(home: Home) -> None:
    note = await home.memories.add(ANNA, "Julia likes tulips.", API)
    for work in (
        home.memories.get(TOM, note.id),
        home.memories.edit(TOM, note.id, "Julia likes roses.", API),
        home.memories.undo(TOM, note.id, API),
    ):
        with pytest.raises(RequestError, match="no such memory"):
            await work
    with pytest.raises(RequestError, match="begin with the first page"):
        await home.memories.page(TOM, note.id)
    assert await home.contents() == ["Julia likes tulips."]


async def test_times_that_no_calendar_has_do_not_break_an_answer(home: Home) -> None:
    strange = NewNote("The attic is cold.", Source(Origin.IMPORTED, "anna"), created=1e17, event_time=-1e17)
    note = await home.memories.call(lambda: home.memories.journal.add(HOUSEHOLD, strange))
    assert home.memories.sentence(note) == "The attic is cold. (Anna said so)"
    assert await home.say("What do you remember about the attic?") == "You told me: The attic is cold."
    assert await home.say("Who told you that?") == "You told me some time ago."


async def test_a_large_memory_is_looked_through_beside_the_event_loop(home: Home) -> None:
    for number in range(1500):
        home.memories.journal.add(HOUSEHOLD, NewNote(f"Box {number} holds {'things ' * 20}", API))
    looking = asyncio.create_task(home.memories.notes_about(HOUSEHOLD, "box 77"))
    turns = 0
    began = time.monotonic()
    while not looking.done():
        turns += 1
        await asyncio.sleep(0)
    print(f"{turns} turns of the loop in {(time.monotonic() - began) * 1000:.0f} ms")
    assert [note.content[:6] for note in await looking] == ["Box 77"]
    assert turns > 20
