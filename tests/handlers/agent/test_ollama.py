"""The Ollama client against a server that speaks Ollama's protocol, also when it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from pydantic import HttpUrl

from handlers.agent.ollama import OllamaModel
from handlers.agent.stage import Generation, Message, OllamaSettings
from handlers.errors import EngineError
from tests.support.ollama import SOON, Cut, FakeOllama, Model, Raw, Status, Step, Thought, stopped_ollama

MESSAGES = [Message("system", "Be brief."), Message("user", "Hi")]
GENERATION = Generation(longest=40, temperature=0.5)
BROKEN_LINES = [b"{\n", b"not json\n", b"[]\n", b'"text"\n', b"7\n", b"null\n", b'{"message": 3}\n', b"\xff\xfe\n"]


@contextlib.asynccontextmanager
async def model_of(url: str, **settings: object) -> AsyncIterator[OllamaModel]:
    model = OllamaModel(OllamaSettings.model_validate({"url": HttpUrl(url), "retry_seconds": 0, **settings}))
    try:
        yield model
    finally:
        await model.close()


async def said(model: OllamaModel, generation: Generation = GENERATION) -> str:
    async with asyncio.timeout(SOON):
        return "".join([text async for text in model.chat(MESSAGES, generation)])


async def test_the_named_model_is_asked(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [Model("newer:1b", "2026-05-01T00:00:00Z"), Model("wanted:7b")]
    async with model_of(fake_ollama.url, model="wanted:7b") as model:
        assert await model.check()
        assert await said(model) == "Certainly."
        assert model.name == "ollama/wanted:7b"
    assert fake_ollama.chats[0]["model"] == "wanted:7b"


async def test_a_name_without_a_tag_means_latest(fake_ollama: FakeOllama) -> None:
    async with model_of(fake_ollama.url, model="llama3.2") as model:
        assert await model.check()


async def test_the_last_changed_model_is_asked_when_none_is_named(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [
        Model("old:1b", "2024-05-01T00:00:00Z"),
        Model("new:1b", "2026-05-01T00:00:00+02:00"),
        Model("middle:1b", "2025-05-01T00:00:00Z"),
    ]
    async with model_of(fake_ollama.url) as model:
        assert await said(model) == "Certainly."
        assert model.name == "ollama/new:1b"


async def test_embedding_and_cloud_models_are_never_chosen(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [
        Model("gpt-oss:120b-cloud", "2026-09-01T00:00:00Z"),
        Model("kimi-k2:cloud", "2026-08-01T00:00:00Z"),
        Model("nomic-embed-text:latest", "2026-07-01T00:00:00Z", capabilities=("embedding",)),
        Model("llama3.2:latest", "2026-01-01T00:00:00Z", capabilities=("completion", "tools")),
    ]
    async with model_of(fake_ollama.url) as model:
        assert await model.check()
        assert model.name == "ollama/llama3.2:latest"


async def test_an_ollama_too_old_to_list_capabilities(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [Model("llama2:latest", capabilities=None)]
    async with model_of(fake_ollama.url) as model:
        assert await model.check()


@pytest.mark.parametrize(
    ("models", "wanted", "advice"),
    [
        ([Model("other:latest")], "llama3.2", "ollama pull llama3.2"),
        ([], "llama3.2", "ollama pull llama3.2"),
        ([], "", "ollama pull"),
        ([Model("nomic-embed-text:latest", capabilities=("embedding",))], "", "ollama pull"),
    ],
)
async def test_a_missing_model_says_how_to_get_one(
    fake_ollama: FakeOllama, models: list[Model], wanted: str, advice: str
) -> None:
    fake_ollama.models = models
    async with model_of(fake_ollama.url, model=wanted) as model:
        assert not await model.check()
        assert advice in model.unavailable
        assert "\n" not in model.unavailable


async def test_a_model_that_was_removed_says_how_to_get_it_back(fake_ollama: FakeOllama) -> None:
    async with model_of(fake_ollama.url, model="llama3.2") as model:
        assert await model.check()
        fake_ollama.models = []
        with pytest.raises(EngineError, match=r"ollama pull llama3\.2"):
            await said(model)


async def test_the_request_carries_the_settings(fake_ollama: FakeOllama) -> None:
    async with model_of(fake_ollama.url, keep_alive="5m", context=1024) as model:
        await said(model)
    request = fake_ollama.chats[0]
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert request["options"] == {"num_predict": 40, "temperature": 0.5, "num_ctx": 1024}
    assert request["keep_alive"] == "5m"
    assert request["think"] is False
    assert request["stream"] is True


@pytest.mark.parametrize(("given", "sent"), [("-1", -1), ("300", 300), ("24h", "24h")])
async def test_seconds_to_keep_the_model_are_a_number(fake_ollama: FakeOllama, given: str, sent: object) -> None:
    """Ollama answers 400 to the text "-1"."""
    async with model_of(fake_ollama.url, keep_alive=given) as model:
        await said(model)
    assert fake_ollama.chats[0]["keep_alive"] == sent


async def test_words_arrive_while_the_answer_is_written(fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.will_answer("One", go_on, " two.")
    async with model_of(fake_ollama.url) as model, contextlib.aclosing(model.chat(MESSAGES, GENERATION)) as answer:
        assert await anext(answer) == "One"
        assert fake_ollama.finished == 0
        go_on.set()
        assert [text async for text in answer] == [" two."]


@pytest.mark.parametrize(
    "steps",
    [
        [Thought("The user"), Thought(" greets me."), "Hello", " there."],
        ["<think>", "The user", " greets me.", "</think>", "\n\n", "Hello", " there."],
        ["<th", "ink>The user</thi", "nk>\n\nHello", " there."],
        ["", "\n", " Hello there."],
    ],
)
async def test_thoughts_are_not_part_of_the_answer(fake_ollama: FakeOllama, steps: list[Step]) -> None:
    fake_ollama.will_answer(*steps)
    async with model_of(fake_ollama.url) as model:
        assert await said(model) == "Hello there."


async def test_closing_the_answer_ends_the_request(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer("One", asyncio.Event())
    async with model_of(fake_ollama.url) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert await anext(answer) == "One"
        await answer.aclose()
        await fake_ollama.until(abandoned=1)


@pytest.mark.parametrize("steps", [["One"], [Thought("Hm")], []])
async def test_cancelling_the_reader_ends_the_request(fake_ollama: FakeOllama, steps: list[Step]) -> None:
    fake_ollama.will_answer(*steps, asyncio.Event())
    async with model_of(fake_ollama.url) as model:
        reading = asyncio.create_task(said(model))
        await fake_ollama.until(chats=1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await fake_ollama.until(abandoned=1)
        assert await said(model) == "Certainly."  # a cancelled request is no failure
        assert model.unavailable == ""


@pytest.mark.parametrize("steps", [[], [Thought("Hm")], ["<think>", "Hm"]])
async def test_a_first_word_that_does_not_come(fake_ollama: FakeOllama, steps: list[Step]) -> None:
    fake_ollama.will_answer(*steps, asyncio.Event())
    async with model_of(fake_ollama.url, first_token_seconds=0.2) as model:
        with pytest.raises(EngineError, match=r"no word came for 0\.2 seconds"):
            await said(model)
        await fake_ollama.until(abandoned=1)


async def test_endless_thoughts_do_not_put_off_the_deadline(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer(*[Thought("Hm. ")] * 200_000)
    async with model_of(fake_ollama.url, first_token_seconds=0.2) as model:
        with pytest.raises(EngineError):
            await said(model)
        await fake_ollama.until(abandoned=1)


async def test_a_stall_in_the_answer(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer("One", asyncio.Event())
    async with model_of(fake_ollama.url, silence_seconds=0.2) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert await anext(answer) == "One"
        with pytest.raises(EngineError):
            await anext(answer)
        await fake_ollama.until(abandoned=1)


async def test_a_slow_reader_is_no_stall(fake_ollama: FakeOllama) -> None:
    """The voice may be far behind the text: only the time in which we wait for Ollama counts."""
    fake_ollama.will_answer("One", " two", " three.")
    async with model_of(fake_ollama.url, first_token_seconds=5, silence_seconds=0.2) as model:
        texts = []
        async for text in model.chat(MESSAGES, GENERATION):
            texts.append(text)
            await fake_ollama.until(finished=1)
            await asyncio.sleep(0.25)  # longer than the silence that is allowed
    assert "".join(texts) == "One two three."


@pytest.mark.parametrize("code", [400, 403, 500, 503])
async def test_an_error_status(fake_ollama: FakeOllama, code: int) -> None:
    fake_ollama.will_answer(Status(code, "the runner has stopped"))
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(EngineError, match="the runner has stopped"):
            await said(model)
        assert "the runner has stopped" in model.unavailable
        assert await said(model) == "Certainly."
        assert model.unavailable == ""


@pytest.mark.parametrize("step", [*map(Raw, BROKEN_LINES), Status(0, "out of memory"), Cut()], ids=repr)
@pytest.mark.parametrize("before", [[], ["One"]], ids=["at once", "after a word"])
async def test_an_answer_that_breaks(fake_ollama: FakeOllama, before: list[Step], step: Step) -> None:
    fake_ollama.will_answer(*before, step)
    async with model_of(fake_ollama.url) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert [await anext(answer) for _ in before] == before
        with pytest.raises(EngineError):
            await anext(answer)
        assert model.unavailable


async def test_an_empty_answer_is_empty(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer()
    async with model_of(fake_ollama.url) as model:
        assert await said(model) == ""


async def test_nobody_listens() -> None:
    async with stopped_ollama() as ollama, model_of(ollama.url) as model:
        assert not await model.check()
        assert "No Ollama answers" in model.unavailable
        with pytest.raises(EngineError, match="No Ollama answers"):
            await said(model)


async def test_somebody_else_listens() -> None:
    """A port that accepts and says nothing is found out within the deadline of `check`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with model_of(url, connect_seconds=0.1) as model:
            async with asyncio.timeout(SOON):
                assert not await model.check()
            assert "No Ollama answers" in model.unavailable


async def test_it_is_found_when_it_is_started_later() -> None:
    async with stopped_ollama() as ollama, model_of(ollama.url) as model:
        assert not await model.check()
        async with ollama:
            assert await said(model) == "Certainly."
            assert model.unavailable == ""


async def test_after_a_failure_it_is_left_alone_for_a_while(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer(Status(500, "no"))
    async with model_of(fake_ollama.url, retry_seconds=3600) as model:
        with pytest.raises(EngineError):
            await said(model)
        asked = len(fake_ollama.asked)
        with pytest.raises(EngineError, match="no"):
            await said(model)
        assert len(fake_ollama.asked) == asked


async def test_a_proxy_of_the_environment_is_not_asked(
    fake_ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stopped_ollama() as nobody:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, nobody.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with model_of(fake_ollama.url) as model:
            assert await said(model) == "Certainly."
