"""The Wyoming service `handle` over a real socket, in front of a server that speaks Ollama's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.handle import Handled

from handlers.agent.agent import Agent
from handlers.agent.handler import AgentHandler
from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.thinker import Thinker
from handlers.agent.safety.audit import Audit
from handlers.agent.skills import Skills
from handlers.agent.skills.standard import standard_skills
from handlers.agent.stage import AgentSettings
from handlers.agent.tools.local import LocalTool, LocalTools
from handlers.agent.tools.stage import Arguments, ToolSpec
from handlers.agent.tools.toolbox import Toolbox
from handlers.session import Session
from handlers.timeline import Timeline
from handlers.wire.client import WyomingClient
from handlers.wire.heartbeat import PING_SECONDS
from tests.support.ollama import Call, Cut, FakeOllama, Model
from tests.support.server import read_until
from tests.support.serving import served

STREAM = ["handled-start", "handled-chunk", "handled-stop", "handled"]

SETTINGS: dict[str, object] = {
    "think": {"retry_seconds": 0.01},
    "quick_sentence_seconds": 0.01,
    "access": {"satellites": {"hall": {"role": "guest"}}},
    "profiles": [{"satellites": ["kids"], "persona": "You talk to children.", "language": "de"}],
}


async def _open(arguments: Arguments, session: Session) -> str:
    return "The door is open."


DOOR = LocalTool(ToolSpec("open_door", "Opens the door."), _open)


@pytest.fixture
def timelines() -> list[Timeline]:
    """Of the turns that have ended."""
    return []


@pytest.fixture
def ping_seconds() -> float:
    """Silence after which the service says that it is at work."""
    return PING_SECONDS


@pytest.fixture
async def client(
    fake_ollama: FakeOllama, tmp_path: Path, timelines: list[Timeline], ping_seconds: float
) -> AsyncIterator[WyomingClient]:
    settings = AgentSettings.model_validate(SETTINGS | {"ollama": {"url": fake_ollama.url}})
    thinker = Thinker([OllamaModel(settings.ollama)], settings.think)
    await thinker.start()
    audit = Audit(tmp_path / "audit", 30)
    toolbox = Toolbox([LocalTools("house", [DOOR])], settings.tools, audit)
    agent = Agent(Skills(standard_skills()), thinker, toolbox, settings, audit)
    handler = partial(AgentHandler, agent=agent, on_timeline=timelines.append, ping_seconds=ping_seconds)
    try:
        async with served(lambda connection: [handler(connection)]) as connected:
            yield connected
    finally:
        await toolbox.close()
        await audit.close()
        await thinker.close()


@pytest.fixture
def able(fake_ollama: FakeOllama) -> None:
    """The model knows tools. Comes before `client`."""
    fake_ollama.models = [Model("llama3.2:latest", capabilities=("completion", "tools"))]


async def ask(client: WyomingClient, text: str, language: str | None = None, **context: object) -> list[Event]:
    await client.send(Transcript(text, language=language, context=context or None).event())
    return await read_until(client, "handled", "error")


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


async def test_the_answer_is_streamed_and_then_sent_whole(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer("One", " two", " three.")
    events = await ask(client, "Count for me.")
    assert types(events) == ["handled-start", *["handled-chunk"] * 3, "handled-stop", "handled"]
    assert [event.data["text"] for event in events[1:4]] == ["One", " two", " three."]
    assert Handled.from_event(events[-1]).text == "One two three."


async def test_chunks_are_sent_while_the_answer_is_written(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer("One", go_on, " two.")
    await client.send(Transcript("Count for me.").event())
    assert types(await read_until(client, "handled-chunk")) == ["handled-start", "handled-chunk"]
    assert fake_ollama.finished == 0
    go_on.set()
    assert types(await read_until(client, "handled")) == ["handled-chunk", "handled-stop", "handled"]


async def test_a_skill_answers_in_the_same_way(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    assert types(await ask(client, "Thank you!")) == STREAM
    assert fake_ollama.chats == []


async def test_the_conversation_id_comes_back_and_is_the_conversation(
    client: WyomingClient, fake_ollama: FakeOllama
) -> None:
    fake_ollama.will_answer("Paris.")
    first = await ask(client, "The capital of France?", conversation_id="abc", satellite_id="kitchen", device_id=None)
    assert first[0].data["context"]["conversation_id"] == "abc"
    assert first[-1].data["context"]["conversation_id"] == "abc"
    await ask(client, "And of Italy?", conversation_id="abc")
    assert [message["content"] for message in fake_ollama.chats[1]["messages"][1:]] == [
        *("The capital of France?", "Paris.", "And of Italy?")
    ]


async def test_a_conversation_without_id_gets_one(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    first = await ask(client, "The capital of France?")
    given = first[-1].data["context"]["conversation_id"]
    assert given
    assert first[0].data["context"]["conversation_id"] == given
    other = await ask(client, "And of Italy?")
    assert other[-1].data["context"]["conversation_id"] != given
    await ask(client, "And of Spain?", conversation_id=given)
    assert len(fake_ollama.chats[1]["messages"]) == 2
    assert len(fake_ollama.chats[2]["messages"]) == 4


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"text": ""}, "no-text"),
        ({"text": " \n "}, "no-text"),
        ({"text": "word " * 4000}, "text-too-long"),
        ({"text": 7}, "bad-event"),
        ({}, "bad-event"),
        ({"text": "Hi", "language": "xx-nonsense"}, "unknown-language"),
        ({"text": "Hi", "language": "../../etc"}, "unknown-language"),
        ({"text": "Hi", "language": " "}, "unknown-language"),
        ({"text": "Hi", "language": "x" * 100_000}, "unknown-language"),
        ({"text": "Hi", "language": ["en"]}, "bad-event"),
        ({"text": "Hi", "context": "kitchen"}, "bad-event"),
        ({"text": "Hi", "context": {"conversation_id": 7}}, "bad-event"),
        ({"text": "Hi", "context": {"conversation_id": "x" * 10_000}}, "bad-event"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_wrong_request_is_an_error_and_the_connection_stays(
    client: WyomingClient, data: dict[str, object], code: str
) -> None:
    await client.send(Event("transcript", data))
    (error,) = await read_until(client, "error", "handled")
    assert error.type == "error"
    assert error.data["code"] == code
    assert len(error.data["text"]) < 300
    assert types(await ask(client, "Hello.")) == STREAM


@pytest.mark.parametrize("tag", ["en-US", "en_GB", "EN", "de", "zh-Hans-CN", "sv-SE"])
async def test_any_language_that_exists_is_answered(client: WyomingClient, tag: str) -> None:
    assert types(await ask(client, "Bonjour du da", tag)) == STREAM


async def test_two_requests_at_once_are_answered_in_their_order(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer("First", go_on, " answer.")
    await client.send(Transcript("A long question?").event())
    await fake_ollama.until(chats=1)
    await client.send(Transcript("Thank you!").event())  # a skill, which would be faster
    await read_until(client, "handled-chunk")
    go_on.set()
    first = await read_until(client, "handled")
    second = await read_until(client, "handled")
    assert first[-1].data["text"] == "First answer."
    assert types(second) == STREAM
    assert second[-1].data["text"] == "You're welcome."


async def test_leaving_ends_the_request_to_ollama(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer("One", asyncio.Event())
    await client.send(Transcript("Count for me.").event())
    await read_until(client, "handled-chunk")
    await client.close()
    await fake_ollama.until(abandoned=1)


async def test_a_request_that_waits_is_dropped_with_its_connection(
    client: WyomingClient, fake_ollama: FakeOllama
) -> None:
    fake_ollama.will_answer("One", asyncio.Event())
    await client.send(Transcript("Count for me.").event())
    await read_until(client, "handled-chunk")
    await client.send(Transcript("And then?").event())
    await client.close()
    await fake_ollama.until(abandoned=1)
    assert len(fake_ollama.chats) == 1


async def test_too_many_requests_ahead_are_an_error(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer("One", go_on)
    for _ in range(30):
        await client.send(Transcript("Thank you! Count for me.").event())
    events = await read_until(client, "error")
    assert events[-1].data["code"] == "busy"
    go_on.set()
    answered = [await read_until(client, "handled") for _ in range(3)]
    assert all(events[-1].type == "handled" for events in answered)


async def test_an_answer_that_breaks_off_is_still_a_whole_stream(
    client: WyomingClient, fake_ollama: FakeOllama
) -> None:
    fake_ollama.will_answer("One", Cut())
    events = await ask(client, "Count for me.")
    assert types(events)[-2:] == ["handled-stop", "handled"]
    assert "train of thought" in events[-1].data["text"]


# What the protocol has no event for


async def test_tools_run_between_the_chunks_and_are_not_on_the_wire(
    able: None, client: WyomingClient, fake_ollama: FakeOllama
) -> None:
    fake_ollama.will_answer("Let me see.", Call("open_door"))
    fake_ollama.will_answer("It is open.")
    events = await ask(client, "Could you let my aunt in?")
    assert types(events) == ["handled-start", "handled-chunk", "handled-chunk", "handled-stop", "handled"]
    assert events[-1].data["text"] == "Let me see. It is open."


@pytest.mark.parametrize(
    ("text", "volume"),
    [("Louder.", {"change": 10}), ("A lot quieter.", {"change": -25}), ("Set the volume to 30 percent.", {"to": 30})],
)
async def test_the_volume_is_with_the_whole_answer(client: WyomingClient, text: str, volume: dict[str, int]) -> None:
    *before, handled = await ask(client, text)
    assert handled.data["volume"] == volume
    assert all("volume" not in event.data for event in before)


async def test_an_answer_without_a_volume_says_nothing_of_it(client: WyomingClient) -> None:
    assert "volume" not in (await ask(client, "Thank you!"))[-1].data


async def test_a_quick_sentence_is_written_and_not_remembered(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer(go_on, "Because of the air.")
    await client.send(Transcript("Why is the sky blue?", context={"conversation_id": "sky"}).event())
    assert (await read_until(client, "handled-chunk"))[-1].data["text"] == "One moment. "
    go_on.set()
    assert (await read_until(client, "handled"))[-1].data["text"] == "One moment. Because of the air."
    await ask(client, "And at night?", conversation_id="sky")
    assert [message["content"] for message in fake_ollama.chats[1]["messages"] if message["role"] == "assistant"] == [
        "Because of the air."
    ]


async def test_the_timeline_has_the_decision(
    client: WyomingClient, fake_ollama: FakeOllama, timelines: list[Timeline]
) -> None:
    await ask(client, "What time is it?")
    await ask(client, "Why is the sky blue?")
    fast, slow = timelines
    assert (fast.decision, fast.confidence, fast.route) == ("fast", 1.0, "skill/GetTime")
    assert (slow.decision, slow.confidence, slow.route) == ("hybrid", 0.0, "ollama/llama3.2:latest")
    assert "sky" not in slow.reason


# Who speaks, and where


async def test_what_a_satellite_may_is_what_the_model_is_offered(
    able: None, client: WyomingClient, fake_ollama: FakeOllama
) -> None:
    await ask(client, "Could you let my aunt in?", satellite_id="kitchen", room="kitchen")
    await ask(client, "Could you let my aunt in?", satellite_id="hall")
    inside, hall = fake_ollama.chats
    assert [tool["function"]["name"] for tool in inside["tools"]] == ["open_door"]
    assert "room: kitchen" in inside["messages"][-1]["content"]
    assert "tools" not in hall


async def test_a_satellite_has_a_persona_and_a_language_of_its_own(
    client: WyomingClient, fake_ollama: FakeOllama
) -> None:
    await ask(client, "Warum ist der Himmel blau?", satellite_id="kids")
    await ask(client, "Why is the sky blue?", "en", satellite_id="kids")
    first, second = (chat["messages"][0]["content"] for chat in fake_ollama.chats)
    assert first.startswith("You talk to children.")
    assert "Answer in German." in first
    assert "Answer in English." in second


@pytest.mark.parametrize("ping_seconds", [0.05])
async def test_a_long_thought_shows_signs_of_life(client: WyomingClient, fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer(go_on, "At last.")
    await client.send(Transcript("Think long.").event())
    for _ in range(3):
        await read_until(client, "ping")
    go_on.set()
    events = await read_until(client, "handled", "error")
    assert events[-1].data["text"].endswith("At last.")
