"""The house that is lent: what it understands is asked once, and done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.agent.house.house import House
from handlers.agent.house.stage import HouseError, Performed
from handlers.agent.stage import Request
from handlers.agent.tools.local import LocalTool
from handlers.agent.tools.stage import Arguments, ToolError, ToolFinished, ToolSpec
from handlers.session import Role, Session
from handlers.timeline import Timeline
from tests.support.house import House as Home
from tests.support.house import open_house, words
from tests.support.lender import ADD, LIGHT_ON, TEMPERATURE, Lender
from tests.support.ollama import Call, FakeOllama

HALL = Session(satellite="hall", language="en", conversation="c1")


@pytest.fixture
async def home(tmp_path: Path, fake_ollama: FakeOllama) -> AsyncIterator[Home]:
    async with open_house(tmp_path, fake_ollama) as home:
        yield home


@pytest.fixture
def lender(home: Home) -> Lender:
    """It is lent to the home."""
    lender = Lender()
    home.agent.house.enter(lender)
    return lender


async def ask(home: Home, text: str, session: Session = HALL) -> tuple[str, Timeline]:
    parts, timeline = await home.turn(text, session)
    return words(parts), timeline


async def test_what_the_house_understands_is_done_without_a_language_model(home: Home, lender: Lender) -> None:
    answer, timeline = await ask(home, LIGHT_ON)
    assert answer == "Turned it on"
    assert (timeline.decision, timeline.route) == ("fast", "house/HassTurnOn")
    assert [request.text for request in lender.done] == [LIGHT_ON]
    assert home.ollama.chats == []
    assert await home.logged() == ["house/HassTurnOn"]


async def test_it_is_done_with_the_room_that_the_owner_gave_the_satellite(home: Home, lender: Lender) -> None:
    await ask(home, LIGHT_ON)
    assert lender.done[0].session.room == "Hall"


async def test_a_skill_comes_first_and_the_house_is_not_asked(home: Home, lender: Lender) -> None:
    answer, timeline = await ask(home, "What is two plus two?")
    assert "4" in answer
    assert timeline.route.startswith("skill/")
    assert lender.asked == []


async def test_what_it_does_not_understand_is_thought_about(home: Home, lender: Lender) -> None:
    home.ollama.will_answer("I wonder.")
    answer, _ = await ask(home, "Why is the sky blue?")
    assert answer == "I wonder."
    assert lender.asked == ["Why is the sky blue?"]


@pytest.mark.parametrize("text", [LIGHT_ON, TEMPERATURE])
async def test_a_guest_neither_acts_in_the_house_nor_asks_it(home: Home, lender: Lender, text: str) -> None:
    answer, _ = await ask(home, text, replace(HALL, role=Role.GUEST))
    assert answer == "Sorry, that is not for everybody to decide."
    assert lender.done == []


async def test_of_what_only_tells_nothing_is_written_down(home: Home, lender: Lender) -> None:
    lender.outcome = Performed("21 degrees")
    assert (await ask(home, TEMPERATURE))[0] == "21 degrees"
    assert await home.logged() == []


async def test_what_is_not_understood_any_more_is_thought_about(home: Home, lender: Lender) -> None:
    lender.outcome = None
    home.ollama.will_answer("There is no such light.")
    assert (await ask(home, LIGHT_ON))[0] == "There is no such light."


async def test_a_house_that_fails_is_spoken_as_a_failure_and_the_next_turn_works(home: Home, lender: Lender) -> None:
    lender.outcome = HouseError("Home Assistant did not answer in time")
    assert (await ask(home, LIGHT_ON))[0] == "Sorry, that didn't work."
    lender.outcome = Performed("Turned it on")
    assert (await ask(home, LIGHT_ON))[0] == "Turned it on"


async def test_a_house_that_goes_is_not_asked_any_more(home: Home, lender: Lender) -> None:
    home.agent.house.leave(lender)
    home.ollama.will_answer("I can't reach the house.")
    assert (await ask(home, LIGHT_ON))[0] == "I can't reach the house."
    assert lender.asked == []


async def test_a_house_that_takes_too_long_costs_only_the_deadline(home: Home, lender: Lender) -> None:
    lender.hold = asyncio.Event()
    home.ollama.will_answer("I think so.")
    assert (await ask(home, LIGHT_ON))[0] == "I think so."
    assert lender.done == []


async def test_a_guess_is_looked_up_once_and_ends_the_turn(home: Home, lender: Lender) -> None:
    commands = home.agent.commands(Request("", HALL))
    assert not commands.knows(LIGHT_ON, "en")
    await commands.consider(LIGHT_ON, "en")
    assert commands.knows(LIGHT_ON, "en")
    await ask(home, LIGHT_ON)
    assert lender.asked == [LIGHT_ON]


async def test_a_sentence_that_may_go_on_does_not_end_the_turn(home: Home, lender: Lender) -> None:
    commands = home.agent.commands(Request("", HALL))
    await commands.consider(ADD, "en")
    assert not commands.knows(ADD, "en")


async def test_nothing_is_done_on_a_guess(home: Home, lender: Lender) -> None:
    committed = asyncio.Event()
    response = home.agent.respond(Request(LIGHT_ON, HALL), Timeline("t"), committed)
    parts = response.parts()
    first = asyncio.create_task(anext(parts))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not first.done()
    assert lender.done == []
    committed.set()
    assert await first == "Turned it on"
    await parts.aclose()


async def test_a_changed_house_is_asked_again(home: Home, lender: Lender) -> None:
    commands = home.agent.commands(Request("", HALL))
    await commands.consider(LIGHT_ON, "en")
    home.agent.house.enter(lender)
    assert not commands.knows(LIGHT_ON, "en")


async def test_a_lent_tool_is_called_and_its_failure_is_told_to_the_model(home: Home, lender: Lender) -> None:
    sessions: list[Session] = []

    async def turn_on(arguments: Arguments, session: Session) -> str:
        sessions.append(session)
        if arguments.get("name") == "moon":
            raise ToolError("There is no moon")
        return '{"done": true}'

    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    lender.tools = [LocalTool(ToolSpec("intent__HassTurnOn", "Turns on", schema), turn_on)]
    lender.instructions = "An overview of the areas: Kitchen."
    home.ollama.will_answer(Call("intent__HassTurnOn", {"name": "moon"}))
    home.ollama.will_answer("I found no moon.")
    parts, _ = await home.turn("Light up the moon", HALL)
    assert words(parts) == "I found no moon."
    assert [part.result.failed for part in parts if isinstance(part, ToolFinished)] == [True]
    assert sessions[0].room == "Hall"
    system = home.ollama.chats[0]["messages"][0]["content"]
    assert "An overview of the areas: Kitchen." in system
    assert "There is no moon" in home.ollama.chats[1]["messages"][-1]["content"]


@pytest.mark.parametrize("stays", [True, False])
async def test_what_waits_for_a_yes_is_done_with_what_is_lent_then(home: Home, lender: Lender, stays: bool) -> None:
    """And for whoever asked, though whoever says yes may do more."""
    done: list[tuple[str, Session]] = []

    def opener(key: str) -> LocalTool:
        async def open_door(arguments: Arguments, session: Session) -> str:
            done.append((key, session))
            return "Opened."

        return LocalTool(ToolSpec("open_door", "Opens the door"), open_door, destructive=True)

    lender.tools = [opener("then")]
    home.ollama.will_answer(Call("open_door", {}))
    assert "Say yes to confirm." in (await ask(home, "Would somebody let the cat in"))[0]
    lender.tools = [opener("now")]
    if not stays:
        home.agent.house.leave(lender)
    await ask(home, "Yes.", replace(HALL, user="boss", role=Role.ADMIN))
    assert done == ([("now", replace(HALL, room="Hall"))] if stays else [])
    failed = "does not lend this tool" in home.ollama.chats[1]["messages"][-1]["content"]
    assert failed is not stays


def test_of_two_houses_the_newer_is_lent_and_the_older_comes_back() -> None:
    house, older, newer = House(), Lender(), Lender()
    newer.names = ["Villa"]
    newer.people = {"b2": "Tom"}
    house.enter(older)
    house.enter(newer)
    assert list(house.names) == ["Villa"]
    assert house.people == {"a1": "Anna", "b2": "Tom"}
    house.leave(newer)
    assert list(house.names) == ["Kitchen", "Quasar Lamp"]
    assert house.people == {"a1": "Anna"}


async def test_an_announcement_that_fails_is_not_raised() -> None:
    house, lender = House(), Lender()
    assert not await house.announce("assist_satellite.hall", "Ding", "en")
    house.enter(lender)
    assert await house.announce("assist_satellite.hall", "Ding", "en")
    lender.outcome = HouseError("no such satellite")
    assert not await house.announce("assist_satellite.hall", "Ding", "en")
