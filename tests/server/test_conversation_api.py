"""A conversation over HTTP, at a real server that asks for tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.ollama import SOON, Call
from tests.support.server import ANSWER_SECONDS
from tests.support.talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/api/v1/conversation"
QUESTION = "Would you tell me something about larks?"
"""For the language model: no skill knows it."""


@dataclass
class Client:
    session: aiohttp.ClientSession
    house: Talking

    async def ask(self, text: str, conversation: str = "", role: str = "user", **more: Any) -> dict[str, Any]:
        """The JSON of an answer."""
        body = {"text": text, "conversation_id": conversation, **more}
        async with self.session.post(PATH, json=body, headers=self.shows(role)) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status == 200, told
            return told

    async def events(self, text: str, role: str = "user", **more: Any) -> list[tuple[str, Any]]:
        """All events of an answer, by name."""
        headers = {**self.shows(role), "Accept": "text/event-stream"}
        async with self.session.post(PATH, json={"text": text, **more}, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            written = (await answer.text()).strip().split("\n\n")
        return [
            (lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: ")))
            for lines in (event.split("\n") for event in written)
        ]

    def shows(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.house.tokens[role]}"}


@pytest_asyncio.fixture(loop_scope="session")
async def client(house: Talking) -> AsyncIterator[Client]:
    house.begin_anew()
    async with aiohttp.ClientSession(house.address, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        yield Client(session, house)


async def test_a_question_is_answered(client: Client) -> None:
    client.house.ollama.will_answer("Larks sing ", "while they fly.")
    told = await client.ask(QUESTION)
    assert (told["text"], told["listen"]) == ("Larks sing while they fly.", False)
    assert told["timeline"]["outcome"] == "completed"
    assert told["timeline"]["route"].startswith("ollama/")
    async with client.session.get("/api/v1/voice/status", headers=client.shows("user")) as answer:
        turns = (await answer.json())["turns"]
    assert turns[0]["turn_id"] == told["timeline"]["turn_id"]
    client.house.ollama.will_answer("High up.")
    await client.ask("And where do they do that, please?", told["conversation_id"])
    assert [message["content"] for message in client.house.ollama.chats[-1]["messages"][1:]][:2] == [
        QUESTION,
        "Larks sing while they fly.",
    ]


async def test_an_answer_comes_as_it_is_written(client: Client) -> None:
    client.house.ollama.will_answer(Call("water_plants", {"room": "hall"}))
    client.house.ollama.will_answer("I watered ", "the plants. ", "Shall I do more?")
    events = await client.events("Would you water what grows in the hall?", conversation_id="events")
    names = [name for name, _ in events]
    assert names[:3] == ["handled_start", "tool", "tool"]
    assert set(names[3:-2]) == {"handled_chunk"}
    assert names[-2:] == ["handled", "done"]
    assert events[0][1] == {"conversation_id": "events"}
    assert [data for name, data in events if name == "tool"] == [
        {"name": "water_plants", "state": "started"},
        {"name": "water_plants", "state": "finished"},
    ]
    assert (client.house.done / "hall").exists()
    said = "".join(data["text"] for name, data in events if name == "handled_chunk")
    assert events[-2][1] == {"text": said, "conversation_id": "events", "listen": True}
    assert said == "I watered the plants. Shall I do more?"
    assert events[-1][1]["timeline"]["outcome"] == "completed"


async def test_what_is_destroyed_waits_for_a_yes_of_the_same_caller(client: Client) -> None:
    client.house.ollama.will_answer(Call("sell_house"))
    told = await client.ask("Would you please get rid of this building?", "sale")
    assert (told["text"], told["listen"]) == ("Sell the house? Say yes to confirm.", True)
    await client.ask("Yes.", "sale", role="other")  # the same id with another token is another conversation
    assert not (client.house.done / "sold").exists()
    client.house.ollama.will_answer("It is sold.")
    assert (await client.ask("Yes.", "sale"))["text"] == "It is sold."
    assert (client.house.done / "sold").exists()


async def test_conversations_of_different_tokens_are_apart(client: Client) -> None:
    client.house.ollama.will_answer("A secret.")
    await client.ask(QUESTION, "same")
    for role in ("guest", "other", "admin"):
        client.house.ollama.will_answer("Hm.")
        await client.ask("What did you just tell me, exactly?", "same", role=role)
        assert "secret" not in json.dumps(client.house.ollama.chats[-1])


async def test_guests_talk_and_do_not_act(client: Client) -> None:
    client.house.ollama.will_answer("Hello, guest.")
    assert (await client.ask("Would you say something kind to me?", role="guest"))["text"] == "Hello, guest."
    assert "water_plants" not in json.dumps(client.house.ollama.chats[-1].get("tools", []))
    told = await client.ask("Remember that the key is under the mat.", role="guest")
    assert told["timeline"]["route"] == "skill/Remember"
    assert told["text"] != "I'll remember that."
    assert (await client.ask("Remember that the key is under the stone."))["text"] == "I'll remember that."


async def test_who_goes_ends_the_work(client: Client) -> None:
    """With and without events; afterwards there is room for others."""
    ollama = client.house.ollama
    for accept in ("application/json", "text/event-stream"):
        before, gone = len(ollama.chats), ollama.abandoned
        waits = asyncio.Event()
        ollama.will_answer("Once upon a time ", waits)
        headers = {**client.shows("user"), "Accept": accept}
        asking = asyncio.create_task(client.session.post(PATH, json={"text": QUESTION}, headers=headers))
        await ollama.until(chats=before + 1)
        if accept == "text/event-stream":
            (await asking).close()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await ollama.until(abandoned=gone + 1)
        async with asyncio.timeout(SOON):
            while await status_of(client, {"text": "What time is it?"}, "user") != 200:
                pass


async def status_of(client: Client, body: object, role: str) -> int:
    async with client.session.post(PATH, json=body, headers=client.shows(role)) as answer:
        return answer.status


async def test_a_limit_of_questions(client: Client) -> None:
    ollama = client.house.ollama
    before = len(ollama.chats)
    go_on = asyncio.Event()
    for _ in range(2):
        ollama.will_answer(go_on, "Done.")
    both = []
    for number, (asks, waits, why) in enumerate(
        [("user", "user", "1 questions are being answered for this token"), ("other", "admin", "2 questions")]
    ):
        both.append(asyncio.create_task(client.ask(QUESTION, role=asks)))
        await ollama.until(chats=before + number + 1)
        async with client.session.post(PATH, json={"text": "Hello."}, headers=client.shows(waits)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
            assert why in (await answer.json())["error"]
    go_on.set()
    async with asyncio.timeout(SOON):
        assert [told["text"] for told in await asyncio.gather(*both)] == ["Done.", "Done."]


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"text": " "}, 422, "empty"),
        ({"text": "a" * 4001}, 413, "4000"),
        ({"text": "Hello.", "language": "xx-not-one"}, 422, "xx-not-one"),
        ({"text": "Hello.", "language": "tlhingan"}, 422, "tlhingan"),
        ({"text": "Hello.", "conversation": "x"}, 400, "conversation"),
        ({"text": "Hello.", "conversation_id": "x" * 201}, 400, "conversation_id"),
        ({"text": "a\0b"}, 400, "text"),
        ({}, 400, "text"),
        ([], 400, "body"),
    ],
)
async def test_mistakes_are_told(client: Client, body: object, status: int, why: str) -> None:
    for accept in ("*/*", "text/event-stream"):
        headers = {**client.shows("user"), "Accept": accept}
        async with client.session.post(PATH, json=body, headers=headers) as answer:
            told = await answer.json()
            assert (answer.status, why in told["error"]) == (status, True), told


async def test_strangers_are_not_heard(client: Client) -> None:
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({**client.shows("user"), "Origin": "https://stranger.example"}, 403),
    ):
        async with client.session.post(PATH, json={"text": "Hello."}, headers=headers) as answer:
            assert answer.status == status
