"""The Ollama client against a server that speaks Ollama's protocol, also when it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import HttpUrl

from handlers.agent.llm.builtin import BuiltinModel
from handlers.agent.llm.errors import AnswerError, PassingError
from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.stage import Generation, Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from handlers.errors import EngineError
from tests.support.ollama import (
    SOON,
    Call,
    Cut,
    FakeOllama,
    Model,
    NoEnd,
    Raw,
    Status,
    Step,
    Thought,
    embedding,
    stopped_ollama,
)

MESSAGES = [Message("system", "Be brief."), Message("user", "Hi")]
GENERATION = Generation(longest=40, temperature=0.5)
BROKEN_LINES = [b"{\n", b"not json\n", b"[]\n", b'"text"\n', b"7\n", b"null\n", b'{"message": 3}\n', b"\xff\xfe\n"]


@contextlib.asynccontextmanager
async def model_of(url: str, **settings: object) -> AsyncIterator[OllamaModel]:
    model = OllamaModel(OllamaSettings.model_validate({"url": HttpUrl(url), **settings}))
    try:
        yield model
    finally:
        await model.close()


async def written(
    model: OllamaModel,
    messages: list[Message] = MESSAGES,
    tools: Sequence[ToolSpec] = (),
    generation: Generation = GENERATION,
) -> list[Written]:
    async with asyncio.timeout(SOON):
        return [piece async for piece in model.chat(messages, generation, tools)]


async def said(model: OllamaModel) -> str:
    pieces = await written(model)
    assert all(isinstance(piece, str) for piece in pieces)
    return "".join(map(str, pieces))


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
            texts.append(str(text))
            await fake_ollama.until(finished=1)
            await asyncio.sleep(0.25)  # longer than the silence that is allowed
    assert "".join(texts) == "One two three."


@pytest.mark.parametrize("code", [400, 403, 500, 503])
async def test_an_error_status(fake_ollama: FakeOllama, code: int) -> None:
    fake_ollama.will_answer(Status(code, "the runner has stopped"))
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(EngineError, match=f"status {code}"):
            await said(model)
        assert f"status {code}" in model.unavailable
        assert await said(model) == "Certainly."
        assert model.unavailable == ""


@pytest.mark.parametrize("step", [*map(Raw, BROKEN_LINES), Status(0, "out of memory"), Cut(), NoEnd()], ids=repr)
@pytest.mark.parametrize("before", [[], ["One"]], ids=["at once", "after a word"])
async def test_an_answer_that_breaks(fake_ollama: FakeOllama, before: list[Step], step: Step) -> None:
    fake_ollama.will_answer(*before, step)
    async with model_of(fake_ollama.url) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert [await anext(answer) for _ in before] == before
        with pytest.raises(EngineError):
            await anext(answer)
        assert model.unavailable


@pytest.mark.parametrize("before", [[], ["One"]], ids=["at once", "after a word"])
async def test_what_ollama_says_of_a_failure_is_for_debugging(
    fake_ollama: FakeOllama, caplog: pytest.LogCaptureFixture, before: list[Step]
) -> None:
    """It may quote the request."""
    caplog.set_level(logging.DEBUG, "handlers")
    fake_ollama.will_answer(*before, Status(400, "invalid message: my cat is ill"))
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(EngineError) as failure:
            await said(model)
    assert "cat" not in f"{failure.value} {model.unavailable}"
    assert [record.levelno for record in caplog.records if "cat" in record.getMessage()] == [logging.DEBUG]


async def test_a_machine_that_is_too_small_is_told_so(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer(Status(500, "model requires more system memory (5.6 GiB) than is available (1.2 GiB)"))
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(EngineError, match="choose a smaller model"):
            await said(model)


async def test_a_model_that_never_ends_is_stopped(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer(*["and so on "] * 100, asyncio.Event())
    async with model_of(fake_ollama.url) as model:
        assert len(await said(model)) == pytest.approx(GENERATION.longest * 12, abs=12)
    await fake_ollama.until(abandoned=1)


async def test_a_line_without_end(fake_ollama: FakeOllama) -> None:
    fake_ollama.will_answer(Raw(b"x" * 1_100_000), asyncio.Event())
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(EngineError, match="no end"):
            await said(model)
        await fake_ollama.until(abandoned=1)


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


WEATHER = ToolSpec(
    "weather",
    "Tells the weather.",
    {
        "type": "object",
        "properties": {
            "place": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"lat": {"type": "number"}}}]},
            "day": {"type": "string", "enum": ["today", "tomorrow"], "default": "today"},
        },
        "required": ["place"],
    },
)
CAPABLE = Model("qwen3:4b", capabilities=("completion", "tools", "thinking"))


@pytest.mark.parametrize(
    ("capabilities", "setting", "uses"),
    [
        (("completion", "tools"), None, True),
        (("completion",), None, False),
        (None, None, False),
        (("completion",), True, True),
        (("completion", "tools"), False, False),
    ],
)
async def test_tools_are_given_to_models_that_can_use_them(
    fake_ollama: FakeOllama, capabilities: tuple[str, ...] | None, setting: bool | None, uses: bool
) -> None:
    fake_ollama.models = [Model("some:3b", capabilities=capabilities)]
    async with model_of(fake_ollama.url, tools=setting) as model:
        assert await model.check()
        assert model.uses_tools is uses
        await written(model, tools=[WEATHER])
    assert ("tools" in fake_ollama.chats[0]) is uses


async def test_the_whole_schema_of_a_tool_is_sent(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [CAPABLE]
    async with model_of(fake_ollama.url) as model:
        await written(model, tools=[WEATHER])
    function = {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER.parameters}
    assert fake_ollama.chats[0]["tools"] == [{"type": "function", "function": function}]


async def test_calls_come_whole_and_in_their_place(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [CAPABLE]
    fake_ollama.will_answer("Let me", " see.", Call("weather", {"place": "Malmö"}), Call("weather", {"place": "Lund"}))
    async with model_of(fake_ollama.url) as model:
        pieces = await written(model, tools=[WEATHER])
    assert pieces[:2] == ["Let me", " see."]
    calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", {"place": "Malmö"}),
        ("weather", {"place": "Lund"}),
    ]
    assert len({call.id for call in calls}) == 2


async def test_a_call_alone_is_an_answer_in_time(fake_ollama: FakeOllama) -> None:
    go_on = asyncio.Event()
    fake_ollama.models = [CAPABLE]
    fake_ollama.will_answer(Call("weather", {}), go_on, "Done.")
    async with (
        model_of(fake_ollama.url, first_token_seconds=5) as model,
        contextlib.aclosing(model.chat(MESSAGES, GENERATION, [WEATHER])) as answer,
    ):
        assert isinstance(await anext(answer), ToolCall)
        go_on.set()
        assert [piece async for piece in answer] == ["Done."]


ROUND = [
    *MESSAGES,
    Message("assistant", "", calls=(ToolCall("c1", "weather", {"place": "Lund"}),)),
    Message("tool", "Rain, 7 °C", answers=ToolCall("c1", "weather", {"place": "Lund"})),
]


async def test_a_round_of_tools_is_told_in_ollamas_shape(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [CAPABLE]
    async with model_of(fake_ollama.url) as model:
        await written(model, ROUND, [WEATHER])
    assistant, tool = fake_ollama.chats[0]["messages"][2:]
    assert assistant["tool_calls"] == [{"id": "c1", "function": {"name": "weather", "arguments": {"place": "Lund"}}}]
    assert tool == {"role": "tool", "content": "Rain, 7 °C", "tool_name": "weather", "tool_call_id": "c1"}


async def test_a_model_without_tools_reads_their_results_all_the_same(fake_ollama: FakeOllama) -> None:
    """A turn that another model began."""
    async with model_of(fake_ollama.url) as model:
        await written(model, ROUND, [WEATHER])
    messages = fake_ollama.chats[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert "Rain, 7 °C" in messages[1]["content"]


async def test_a_model_that_refuses_thinking_is_asked_without(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [Model("old-thinker:7b", refuses_think=True)]
    fake_ollama.will_answer("<think>Hm.</think>", "Hello.")
    async with model_of(fake_ollama.url) as model:
        assert await said(model) == "Hello."
        assert await said(model) == "Certainly."
    assert ["think" in chat for chat in fake_ollama.chats] == [True, False, False]


async def test_a_model_that_refuses_tools_is_asked_without(fake_ollama: FakeOllama) -> None:
    async with model_of(fake_ollama.url, tools=True) as model:
        assert await written(model, ROUND, [WEATHER]) == ["Certainly."]
        assert not model.uses_tools
    assert "tools" not in fake_ollama.chats[1]
    assert [message["role"] for message in fake_ollama.chats[1]["messages"]] == ["system", "user"]


async def test_a_schema_becomes_the_format(fake_ollama: FakeOllama) -> None:
    schema = {
        "type": "object",
        "properties": {"tags": {"type": "array", "items": {"type": "string"}, "minItems": 1}, "n": {"type": "integer"}},
        "required": ["tags", "n"],
    }
    async with model_of(fake_ollama.url) as model:
        pieces = await written(model, generation=Generation(40, 0.0, schema))
    assert fake_ollama.chats[0]["format"] == schema
    assert json.loads("".join(map(str, pieces))) == {"tags": ["x"], "n": 0}


@pytest.mark.parametrize(
    ("parameters", "setting", "able"),
    [(135_000_000, None, False), (1_235_000_000, None, True), (135_000_000, True, True), (8_000_000_000, False, False)],
)
async def test_large_models_are_able_to_follow_a_schema(
    fake_ollama: FakeOllama, parameters: int, setting: bool | None, able: bool
) -> None:
    fake_ollama.models = [Model("some:latest", parameters=parameters)]
    async with model_of(fake_ollama.url, schemas=setting) as model:
        assert await model.check()
        assert model.follows_schemas is able


async def test_the_context_is_no_more_than_the_model_was_made_for(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [Model("short:latest", context=2048)]
    async with model_of(fake_ollama.url, context=8192) as model:
        await said(model)
        assert model.context_tokens == 2048
    assert fake_ollama.chats[0]["options"]["num_ctx"] == 2048


async def test_a_long_conversation_is_cut_to_the_context(fake_ollama: FakeOllama) -> None:
    turns = [
        message
        for number in range(100)
        for message in (Message("user", f"Question {number}?"), Message("assistant", "Answer. " * 20))
    ]
    fake_ollama.models = [CAPABLE]
    async with model_of(fake_ollama.url, context=1024) as model:
        await written(model, [MESSAGES[0], *turns, *ROUND[1:]], [WEATHER])
    sent = fake_ollama.chats[0]["messages"]
    assert sent[0]["role"] == "system"
    assert [message["role"] for message in sent[-3:]] == ["user", "assistant", "tool"]
    assert sent[1]["role"] == "user"
    assert sent[1]["content"] != "Question 0?"
    assert sent[-4] == {"role": "assistant", "content": "Answer. " * 20}
    assert 1500 < sum(len(message["content"]) for message in sent) < 1024 * 3


@pytest.mark.parametrize(
    "model", [Model("gpt-oss:120b-cloud"), Model("mine:latest", remote_host="https://ollama.com:443")], ids=repr
)
async def test_a_model_that_runs_elsewhere_is_refused(fake_ollama: FakeOllama, model: Model) -> None:
    fake_ollama.models = [model]
    settings = OllamaSettings(url=HttpUrl(fake_ollama.url), model=model.name)
    inside, outside = OllamaModel(settings), OllamaModel(settings, local_only=False)
    try:
        with pytest.raises(EngineError, match=r"agent\.local_only: false"):
            await said(inside)
        assert not fake_ollama.chats
        assert await said(outside) == "Certainly."
    finally:
        await inside.close()
        await outside.close()


async def test_a_model_that_runs_elsewhere_is_not_chosen(fake_ollama: FakeOllama) -> None:
    fake_ollama.models = [Model("mine:latest", "2026-05-01T00:00:00Z", remote_host="https://ollama.com:443")]
    async with model_of(fake_ollama.url) as model:
        assert not await model.check()


async def test_it_knows_whether_its_model_is_loaded(fake_ollama: FakeOllama) -> None:
    fake_ollama.loaded = set()
    async with model_of(fake_ollama.url) as model:
        assert await model.check()
        assert model.cold
        await said(model)
        assert not model.cold
    fake_ollama.loaded = {"llama3.2:latest"}
    async with model_of(fake_ollama.url) as model:
        assert await model.check()
        assert not model.cold
    async with model_of(fake_ollama.url, keep_alive="0") as model:
        await said(model)
        assert model.cold


async def test_a_model_loaded_with_another_context_is_cold(fake_ollama: FakeOllama) -> None:
    async with model_of(fake_ollama.url, context=1024) as one, model_of(fake_ollama.url, context=2048) as other:
        await said(one)
        assert await one.check()
        assert not one.cold
        assert await other.check()
        assert other.cold


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Status(503, "server busy, please try again"), PassingError),
        (Cut(), PassingError),
        (Status(500, "error parsing tool call: raw='{\"a\"'"), AnswerError),
    ],
)
async def test_the_kind_of_a_failure(fake_ollama: FakeOllama, fault: Step, kind: type[EngineError]) -> None:
    fake_ollama.will_answer(fault)
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(kind):
            await said(model)
        assert bool(model.unavailable) is (kind is not AnswerError)


async def test_a_broken_line_is_not_repeated(fake_ollama: FakeOllama) -> None:
    """Its text is of a conversation, and failures are logged."""
    fake_ollama.will_answer(Raw(b'{"message": {"role": "assistant", "content": ["my secret"]}}\n'))
    async with model_of(fake_ollama.url) as model:
        with pytest.raises(EngineError) as failure:
            await said(model)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("path", ["/api/tags", "/api/show"])
@pytest.mark.parametrize("fault", [Raw(b"not json"), Raw(b"[]"), Status(500, "no"), Cut()], ids=repr)
async def test_a_broken_answer_to_a_check(fake_ollama: FakeOllama, path: str, fault: Step) -> None:
    fake_ollama.faults[path] = deque([fault])
    async with model_of(fake_ollama.url, model="llama3.2") as model:
        assert not await model.check()
        assert "\n" not in model.unavailable
        assert await said(model) == "Certainly."


async def test_an_ollama_too_old_to_tell_what_is_loaded(fake_ollama: FakeOllama) -> None:
    fake_ollama.faults["/api/ps"] = deque([Status(404, "404 page not found")])
    async with model_of(fake_ollama.url) as model:
        assert await model.check()


async def test_a_check_that_is_never_answered(fake_ollama: FakeOllama) -> None:
    fake_ollama.faults["/api/show"] = deque([asyncio.Event()])
    async with model_of(fake_ollama.url, connect_seconds=0.1) as model:
        async with asyncio.timeout(SOON):
            assert not await model.check()


async def test_a_real_model_behind_ollamas_protocol(fake_ollama: FakeOllama, builtin: BuiltinModel) -> None:
    fake_ollama.behind = builtin
    async with model_of(fake_ollama.url) as model:
        answer = await written(model, generation=Generation(8, 0.0))
        assert len(answer) > 2
        reading = model.chat(MESSAGES, Generation(400, 0.0))
        await anext(reading)
        await reading.aclose()
        await fake_ollama.until(abandoned=1)


async def test_the_servers_embeddings() -> None:
    """What other tests lean on: the same text has the same vector, shared words bring two texts near."""
    one, same, near, far = map(embedding, ("red car", "Red car", "red bike", "a quiet evening"))
    assert one == same
    assert sum(a * b for a, b in zip(one, near, strict=True)) > sum(a * b for a, b in zip(one, far, strict=True))


async def test_marks_of_data_are_not_spoken(fake_ollama: FakeOllama) -> None:
    """A small model reads its prompt aloud."""
    fake_ollama.will_answer("It is <da", 'ta-0a63b2d4 kind="memory">Fe', "lix</data-", "0a63b2d4>.")
    async with model_of(fake_ollama.url) as model:
        assert await said(model) == "It is Felix."
