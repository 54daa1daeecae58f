"""The Wyoming service `handle` over a real socket, in front of a server that speaks Ollama's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import HttpUrl
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.handle import Handled

from handlers.agent.agent import Agent
from handlers.agent.handler import AgentHandler
from handlers.agent.ollama import OllamaModel
from handlers.agent.skills import Skills
from handlers.agent.model_settings import OllamaSettings
from handlers.agent.stage import AgentSettings
from handlers.wire.client import WyomingClient
from tests.support.ollama import Cut, FakeOllama
from tests.support.server import read_until
from tests.support.serving import served

STREAM = ["handled-start", "handled-chunk", "handled-stop", "handled"]


@pytest.fixture
async def client(fake_ollama: FakeOllama) -> AsyncIterator[WyomingClient]:
    settings = AgentSettings(ollama=OllamaSettings(url=HttpUrl(fake_ollama.url), retry_seconds=0))
    model = OllamaModel(settings.ollama)
    agent = Agent(Skills(), [model], settings)
    try:
        async with served(lambda connection: [AgentHandler(connection, agent, settings)]) as connected:
            yield connected
    finally:
        await model.close()


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
