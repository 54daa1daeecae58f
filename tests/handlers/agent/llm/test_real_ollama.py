"""The Ollama client against a real Ollama that runs a real model."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import HttpUrl

from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.stage import Generation, Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from handlers.errors import EngineError
from tests.support.real_ollama import CALLS_TOOLS, ENDLESS, TALKS, THINKS, RealOllama

SOON = 60.0
"""A deadline that only a defect reaches."""

HELLO = [Message("system", "Be brief."), Message("user", "Hello, who are you?")]
SHORT = Generation(longest=12, temperature=0.3)
FOR_MINUTES = Generation(longest=100_000, temperature=0.3)

LAMP = ToolSpec(
    "lamp_on",
    "Switch on the lamp of a room",
    {"type": "object", "properties": {"room": {"type": "string"}}, "required": ["room"]},
)


@contextlib.asynccontextmanager
async def model_of(server: RealOllama, model: str, **settings: object) -> AsyncIterator[OllamaModel]:
    described = {"url": HttpUrl(server.url), "model": model, "first_token_seconds": SOON, "connect_seconds": 10}
    client = OllamaModel(OllamaSettings.model_validate(described | settings))
    try:
        yield client
    finally:
        await client.close()


async def written(
    model: OllamaModel,
    generation: Generation = SHORT,
    messages: list[Message] = HELLO,
    tools: tuple[ToolSpec, ...] = (),
) -> list[Written]:
    async with asyncio.timeout(SOON):
        return [piece async for piece in model.chat(messages, generation, tools)]


async def to_the_end(answer: AsyncIterator[Written]) -> None:
    async with asyncio.timeout(SOON):
        async for _ in answer:
            pass


async def said(model: OllamaModel, generation: Generation = SHORT, messages: list[Message] = HELLO) -> str:
    return "".join(str(piece) for piece in await written(model, generation, messages))


async def test_the_model_is_found_with_and_without_its_tag(real_ollama: RealOllama) -> None:
    for name in (TALKS, TALKS.removesuffix(":latest")):
        async with model_of(real_ollama, name) as model:
            assert await model.check(), model.unavailable
            assert model.name == f"ollama/{name}"


async def test_without_a_name_the_last_changed_model_is_taken(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, "") as model:
        assert await model.check(), model.unavailable
        assert model.name == f"ollama/{TALKS}"


async def test_an_answer_is_streamed_and_no_longer_than_asked(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, TALKS) as model:
        pieces = await written(model)
    assert 2 <= len(pieces) <= SHORT.longest
    assert all(isinstance(piece, str) for piece in pieces)
    assert not str(pieces[0])[0].isspace()


async def test_a_model_that_is_not_there_is_named_with_what_to_do(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, "llama9:70b") as model:
        assert not await model.check()
        assert "ollama pull llama9:70b" in model.unavailable
        with pytest.raises(EngineError, match="ollama pull llama9:70b"):
            await written(model)


async def test_closing_an_answer_ends_the_generation(real_ollama: RealOllama) -> None:
    """Ollama generates one answer of a model at a time: the second begins when the first has really ended."""
    async with model_of(real_ollama, ENDLESS) as model:
        endless = model.chat(HELLO, FOR_MINUTES)
        await anext(endless)
        waiting = asyncio.create_task(said(model))
        for _ in range(30):
            await anext(endless)
        assert not waiting.done()
        await endless.aclose()
        assert "tock" in await waiting


async def test_cancelling_the_reader_ends_the_generation(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, ENDLESS) as model:
        begun = asyncio.Event()

        async def listen() -> None:
            async for _ in model.chat(HELLO, FOR_MINUTES):
                begun.set()

        listening = asyncio.create_task(listen())
        async with asyncio.timeout(SOON):
            await begun.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        assert "tock" in await said(model)


async def test_two_answers_at_once(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, TALKS) as one, model_of(real_ollama, CALLS_TOOLS) as other:
        answers = await asyncio.gather(said(one), said(one), said(other), said(other))
    assert all(answers)
    assert answers[2] == answers[3]


async def test_the_model_is_loaded_with_the_context_of_the_settings(real_ollama: RealOllama) -> None:
    for context in (512, 1024):
        async with model_of(real_ollama, TALKS, context=context) as model:
            assert await said(model)
        assert real_ollama.loaded()[TALKS]["context_length"] == context


async def test_a_conversation_beyond_the_context_is_answered(real_ollama: RealOllama) -> None:
    turns = [
        message
        for number in range(100)
        for message in (Message("user", f"What is {number} plus {number}?"), Message("assistant", f"{2 * number}."))
    ]
    async with model_of(real_ollama, TALKS, context=512) as model:
        assert await said(model, messages=[HELLO[0], *turns, Message("user", "Tell me more. " * 1000)])


async def test_keep_alive_says_how_long_the_model_stays_in_memory(real_ollama: RealOllama) -> None:
    expiry = {}
    for keep_alive in ("30m", "7200", "-1"):
        async with model_of(real_ollama, TALKS, keep_alive=keep_alive) as model:
            assert await said(model)
        expiry[keep_alive] = datetime.fromisoformat(str(real_ollama.loaded()[TALKS]["expires_at"]))
    assert expiry["7200"] - expiry["30m"] > timedelta(hours=1)
    assert expiry["-1"] - expiry["7200"] > timedelta(days=365)
    async with model_of(real_ollama, TALKS, keep_alive="0") as model:
        assert await said(model)
    await asyncio.to_thread(real_ollama.wait_unloaded, TALKS)


async def test_thoughts_are_not_spoken(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, THINKS) as model:
        assert await said(model, Generation(longest=40, temperature=0.3)) == "Hello there."


async def test_a_tool_is_called_and_its_result_is_told(real_ollama: RealOllama) -> None:
    question = Message("user", "Switch on the light in the kitchen")
    async with model_of(real_ollama, CALLS_TOOLS) as model:
        assert await model.check()
        assert model.uses_tools
        generation = Generation(longest=60, temperature=0.3)
        (call,) = [piece for piece in await written(model, generation, [question], (LAMP,)) if piece]
        assert isinstance(call, ToolCall)
        assert (call.name, call.arguments) == ("lamp_on", {"room": "kitchen"})
        asked = Message("assistant", "", calls=(call,))
        result = Message("tool", "The lamp in the kitchen is on now.", answers=call)
        answer = await written(model, generation, [question, asked, result], (LAMP,))
    assert "".join(map(str, answer)) == result.content


async def test_a_model_without_tools_is_not_told_of_any(real_ollama: RealOllama) -> None:
    async with model_of(real_ollama, TALKS) as model:
        pieces = await written(model, tools=(LAMP,))  # Ollama answers 400 when tools are sent
        assert not model.uses_tools
    assert pieces
    assert all(isinstance(piece, str) for piece in pieces)


async def test_an_answer_fits_the_schema(real_ollama: RealOllama) -> None:
    schema = {
        "type": "object",
        "properties": {"room": {"enum": ["kitchen", "bedroom"]}, "lamps": {"type": "integer"}},
        "required": ["room", "lamps"],
    }
    async with model_of(real_ollama, CALLS_TOOLS) as model:
        answer = json.loads(await said(model, Generation(longest=100, temperature=0.0, schema=schema)))
    assert answer.keys() == {"room", "lamps"}
    assert answer["room"] in ("kitchen", "bedroom")
    assert isinstance(answer["lamps"], int)


async def test_a_server_that_stops_amid_an_answer(real_ollama: RealOllama, tmp_path: Path) -> None:
    with RealOllama(tmp_path, real_ollama.gguf) as server:
        async with model_of(server, ENDLESS) as model:
            endless = model.chat(HELLO, FOR_MINUTES)
            await anext(endless)
            await asyncio.to_thread(server.stop)
            with pytest.raises(EngineError):
                await to_the_end(endless)
            assert not await model.check()
            assert "No Ollama answers" in model.unavailable
