"""The client of OpenAI's protocol against a server that speaks it, also when it misbehaves, and against llama.cpp's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import xllamacpp

from handlers.agent.llm.builtin import _parameters
from handlers.agent.llm.endpoint import EndpointModel
from handlers.agent.llm.errors import AnswerError, PassingError
from handlers.agent.llm.settings import BuiltinSettings, EndpointSettings
from handlers.agent.stage import Generation, Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from handlers.errors import DeadlineError, EngineError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.lamp import LAMP, LAMP_ROUNDS, TOOL_TEMPLATE
from tests.support.ollama import SOON, Call, Cut, NoEnd, Raw, Status, Thought, stopped_ollama
from tests.support.openai_endpoint import Delta, EndpointStep, FakeEndpoint

MESSAGES = [Message("system", "Be brief."), Message("user", "Hi")]
REAL_SOON = 90.0
"""A deadline that only a defect reaches, of a real model on a machine that does something else."""

GENERATION = Generation(longest=40, temperature=0.5)
WEATHER = ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"place": {"type": "string"}}})
CALL = ToolCall("c1", "weather", {"place": "Lund"})
ROUND = [*MESSAGES, Message("assistant", "", calls=(CALL,)), Message("tool", "Rain, 7 °C", answers=CALL)]


@pytest.fixture
async def fake_endpoint() -> AsyncIterator[FakeEndpoint]:
    async with FakeEndpoint() as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def model_of(url: str, **settings: object) -> AsyncIterator[EndpointModel]:
    model = EndpointModel(EndpointSettings.model_validate({"url": url, **settings}))
    try:
        yield model
    finally:
        await model.close()


async def written(
    model: EndpointModel,
    messages: list[Message] = MESSAGES,
    tools: Sequence[ToolSpec] = (),
    generation: Generation = GENERATION,
) -> list[Written]:
    async with asyncio.timeout(REAL_SOON):
        return [piece async for piece in model.chat(messages, generation, tools)]


async def said(model: EndpointModel) -> str:
    pieces = await written(model)
    assert all(isinstance(piece, str) for piece in pieces)
    return "".join(map(str, pieces))


async def test_the_request_carries_the_settings(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.models, fake_endpoint.key = ["wanted"], "sesame"
    options = {"chat_template_kwargs": {"enable_thinking": False}}
    async with model_of(
        fake_endpoint.url, model="wanted", name="gpu", api_key="sesame", headers={"X-Room": "attic"}, options=options
    ) as model:
        assert await said(model) == "Certainly."
        assert model.name == "gpu/wanted"
    assert fake_endpoint.asked == [
        {
            "model": "wanted",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "stream": True,
            "max_tokens": 40,
            "temperature": 0.5,
            **options,
        }
    ]
    assert fake_endpoint.headers[0]["x-room"] == "attic"


async def test_the_first_listed_model_is_asked_when_none_is_named(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.models = ["first", "second"]
    async with model_of(fake_endpoint.url) as model:
        assert await said(model) == "Certainly."
        assert model.name == "127.0.0.1/first"


async def test_a_server_without_a_list_needs_a_name(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.lists_models = False
    async with model_of(fake_endpoint.url) as nameless, model_of(fake_endpoint.url, model="some-model") as named:
        assert not await nameless.check()
        assert "name one" in nameless.unavailable
        assert await named.check()
        assert await said(named) == "Certainly."


async def test_what_the_environment_has_for_openai_stays_here(
    fake_endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    async with model_of(fake_endpoint.url) as model:
        assert await said(model) == "Certainly."
    assert "secret" not in str(fake_endpoint.headers)


async def test_a_proxy_of_the_environment_is_not_asked(
    fake_endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stopped_ollama() as nobody:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, nobody.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with model_of(fake_endpoint.url) as model:
            assert await said(model) == "Certainly."


async def test_words_arrive_while_the_answer_is_written(fake_endpoint: FakeEndpoint) -> None:
    go_on = asyncio.Event()
    fake_endpoint.will_answer("One", go_on, " two.")
    async with model_of(fake_endpoint.url) as model, contextlib.aclosing(model.chat(MESSAGES, GENERATION)) as answer:
        assert await anext(answer) == "One"
        assert fake_endpoint.finished == 0
        go_on.set()
        assert [text async for text in answer] == [" two."]


@pytest.mark.parametrize(
    "steps",
    [
        [Thought("The user"), Thought(" greets me."), "Hello", " there."],
        [Delta({"reasoning": "Hm.", "content": ""}), "Hello", " there."],
        ["<th", "ink>The user</thi", "nk>\n\nHello", " there."],
    ],
)
async def test_thoughts_are_not_part_of_the_answer(fake_endpoint: FakeEndpoint, steps: list[EndpointStep]) -> None:
    fake_endpoint.will_answer(*steps)
    async with model_of(fake_endpoint.url) as model:
        assert await said(model) == "Hello there."


async def test_a_call_is_put_together(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer("Let me see.", Call("weather", {"place": "Malmö"}), Call("weather", {"place": "Lund"}))
    async with model_of(fake_endpoint.url) as model:
        pieces = await written(model, tools=[WEATHER])
    assert pieces == [
        "Let me see.",
        ToolCall("call_0", "weather", {"place": "Malmö"}),
        ToolCall("call_1", "weather", {"place": "Lund"}),
    ]
    function = {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER.parameters}
    assert fake_endpoint.asked[0]["tools"] == [{"type": "function", "function": function}]


def _whole(id: str, place: str) -> Delta:
    function = {"name": "weather", "arguments": json.dumps({"place": place})}
    return Delta({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": function}]})


async def test_a_server_that_numbers_every_call_zero(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer(_whole("a", "Malmö"), _whole("b", "Lund"))
    async with model_of(fake_endpoint.url) as model:
        assert await written(model, tools=[WEATHER]) == [
            ToolCall("a", "weather", {"place": "Malmö"}),
            ToolCall("b", "weather", {"place": "Lund"}),
        ]


async def test_a_call_without_arguments_and_id(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer(Delta({"tool_calls": [{"function": {"name": "time"}}]}))
    async with model_of(fake_endpoint.url) as model:
        (call,) = await written(model, tools=[WEATHER])
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("time", {})
    assert call.id


@pytest.mark.parametrize("arguments", ['{"place": "Lu', "Lund", "[1]", "null", '{"a": ' + "9" * 70_000])
async def test_a_call_that_cannot_be_read_is_not_guessed(fake_endpoint: FakeEndpoint, arguments: str) -> None:
    function = {"name": "weather", "arguments": arguments}
    fake_endpoint.will_answer(Delta({"tool_calls": [{"index": 0, "id": "a", "function": function}]}))
    async with model_of(fake_endpoint.url) as model:
        with pytest.raises(AnswerError, match="weather"):
            await written(model, tools=[WEATHER])
        assert model.unavailable == ""


async def test_a_round_of_tools_is_told_in_openais_shape(fake_endpoint: FakeEndpoint) -> None:
    async with model_of(fake_endpoint.url) as model:
        await written(model, ROUND, [WEATHER])
    assistant, tool = fake_endpoint.asked[0]["messages"][2:]
    (call,) = assistant["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == ("c1", "function", "weather")
    assert json.loads(call["function"]["arguments"]) == {"place": "Lund"}
    assert tool == {"role": "tool", "content": "Rain, 7 °C", "tool_call_id": "c1"}


async def test_an_endpoint_without_tools(fake_endpoint: FakeEndpoint) -> None:
    async with model_of(fake_endpoint.url, tools=False) as model:
        await written(model, ROUND, [WEATHER])
        assert not model.uses_tools
    assert "tools" not in fake_endpoint.asked[0]
    assert [message["role"] for message in fake_endpoint.asked[0]["messages"]] == ["system", "user"]


async def test_a_schema_becomes_the_response_format(fake_endpoint: FakeEndpoint) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with model_of(fake_endpoint.url) as model:
        await written(model, generation=Generation(40, 0.0, schema))
    wanted = fake_endpoint.asked[0]["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["schema"] == schema


async def test_newer_models_of_openai_name_and_refuse_other_fields(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.refused = {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "temperature": "Unsupported value: 'temperature' does not support 0.5 with this model.",
    }
    async with model_of(fake_endpoint.url) as model:
        assert await said(model) == "Certainly."
        assert await said(model) == "Certainly."
    assert len(fake_endpoint.asked) == 4  # learnt once
    assert fake_endpoint.asked[-1]["max_completion_tokens"] == 40
    assert "temperature" not in fake_endpoint.asked[-1]


async def test_less_is_told_when_it_was_too_much(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.context_bytes = 8000
    turns = [Message("user", "Why? " * 200), Message("assistant", "Because. " * 100)] * 20
    async with model_of(fake_endpoint.url, context=8192) as model:
        assert await written(model, [MESSAGES[0], *turns, MESSAGES[1]]) == ["Certainly."]
    sizes = [len(json.dumps(body["messages"])) for body in fake_endpoint.asked]
    assert sizes == sorted(sizes, reverse=True)
    assert fake_endpoint.asked[-1]["messages"][-1]["content"] == "Hi"


async def test_a_conversation_that_is_never_short_enough(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.context_bytes = 10
    async with model_of(fake_endpoint.url) as model:
        with pytest.raises(EngineError, match="context"):
            await said(model)
    assert len(fake_endpoint.asked) == 3


async def test_closing_the_answer_ends_the_request(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer("One", asyncio.Event())
    async with model_of(fake_endpoint.url) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert await anext(answer) == "One"
        await answer.aclose()
        await fake_endpoint.until(abandoned=1)


@pytest.mark.parametrize("steps", [["One"], [Thought("Hm")], []])
async def test_cancelling_the_reader_ends_the_request(fake_endpoint: FakeEndpoint, steps: list[EndpointStep]) -> None:
    fake_endpoint.will_answer(*steps, asyncio.Event())
    async with model_of(fake_endpoint.url) as model:
        reading = asyncio.create_task(said(model))
        await fake_endpoint.until(chats=1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await fake_endpoint.until(abandoned=1)
        assert model.unavailable == ""


@pytest.mark.parametrize("steps", [[], [Thought("Hm")], ["<think>", "Hm"]])
async def test_a_first_word_that_does_not_come(fake_endpoint: FakeEndpoint, steps: list[EndpointStep]) -> None:
    fake_endpoint.will_answer(*steps, asyncio.Event())
    async with model_of(fake_endpoint.url, first_token_seconds=0.2) as model:
        with pytest.raises(DeadlineError, match=r"no word came for 0\.2 seconds"):
            await said(model)
        await fake_endpoint.until(abandoned=1)


async def test_a_stall_in_the_answer(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer("One", asyncio.Event())
    async with model_of(fake_endpoint.url, silence_seconds=0.2) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert await anext(answer) == "One"
        with pytest.raises(DeadlineError):
            await anext(answer)
        await fake_endpoint.until(abandoned=1)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "api_key"),
        (403, "api_key"),
        (404, "has no model 'some-model'"),
        (429, "limit"),
        (400, "failed .400"),
        (500, "failed .500"),
        (503, "failed .503"),
        (302, "302"),
    ],
)
async def test_an_error_status_is_one_clear_sentence(fake_endpoint: FakeEndpoint, status: int, sentence: str) -> None:
    fake_endpoint.will_answer(Status(status, "this is no good"))
    async with model_of(fake_endpoint.url, model="some-model") as model:
        with pytest.raises(EngineError, match=sentence) as failure:
            await said(model)
        assert "\n" not in str(failure.value)
        assert model.unavailable == str(failure.value)
        assert isinstance(failure.value, PassingError) is (status == 503)
        assert await said(model) == "Certainly."
        assert model.unavailable == ""


@pytest.mark.parametrize("before", [[], ["One"]], ids=["at once", "after a word"])
async def test_what_a_server_says_of_a_failure_is_for_debugging(
    fake_endpoint: FakeEndpoint, caplog: pytest.LogCaptureFixture, before: list[EndpointStep]
) -> None:
    """A server that checks its input with pydantic quotes the request."""
    caplog.set_level(logging.DEBUG, "handlers")
    fake_endpoint.will_answer(*before, Status(400, "body.messages: bad type [input_value='my cat is ill']"))
    async with model_of(fake_endpoint.url) as model:
        with pytest.raises(EngineError) as failure:
            await said(model)
    assert "cat" not in f"{failure.value} {model.unavailable}"
    assert "failed" in model.unavailable
    assert [record.levelno for record in caplog.records if "cat" in record.getMessage()] == [logging.DEBUG]


async def test_a_server_that_knows_no_limit_is_stopped(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer(*["and so on "] * 100, asyncio.Event())
    async with model_of(fake_endpoint.url) as model:
        assert len(await said(model)) == pytest.approx(GENERATION.longest * 12, abs=12)
    await fake_endpoint.until(abandoned=1)


async def test_a_server_that_calls_without_end(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.will_answer(*[Call("weather", {"place": str(number)}) for number in range(17)])
    async with model_of(fake_endpoint.url) as model:
        with pytest.raises(AnswerError, match="more than 16"):
            await written(model, tools=[WEATHER])


async def test_a_wrong_key_is_found_by_the_check(fake_endpoint: FakeEndpoint) -> None:
    fake_endpoint.key = "sesame"
    async with model_of(fake_endpoint.url, api_key="wrong") as model:
        assert not await model.check()
        assert "api_key" in model.unavailable
        assert "wrong" not in model.unavailable


BROKEN = [
    Raw(b"data: {\n\n"),
    Raw(b"data: not json\n\n"),
    Raw(b'data: {"choices": [{"delta": {"tool_calls": 3}}]}\n\n'),
    Raw(b'data: {"choices": [{"delta": {"tool_calls": [3]}}]}\n\n'),
    Status(0, "out of memory"),
    Cut(),
    NoEnd(),
]


@pytest.mark.parametrize("step", BROKEN, ids=repr)
@pytest.mark.parametrize("before", [[], ["One"]], ids=["at once", "after a word"])
async def test_an_answer_that_breaks(
    fake_endpoint: FakeEndpoint, before: list[EndpointStep], step: EndpointStep
) -> None:
    fake_endpoint.will_answer(*before, step)
    async with model_of(fake_endpoint.url) as model:
        answer = model.chat(MESSAGES, GENERATION)
        assert [await anext(answer) for _ in before] == before
        with pytest.raises(EngineError):
            await anext(answer)
        assert model.unavailable


@pytest.mark.parametrize("data", [b"data: []\n\n", b'data: {"choices": null}\n\n', b": a comment\n\n", b"data: 7\n\n"])
async def test_chunks_without_a_choice_are_passed_over(fake_endpoint: FakeEndpoint, data: bytes) -> None:
    fake_endpoint.will_answer("One", Raw(data), " two.")
    async with model_of(fake_endpoint.url) as model:
        assert await said(model) == "One two."


async def test_nobody_listens() -> None:
    async with stopped_ollama() as nobody, model_of(f"{nobody.url}/v1", model="m") as model:
        assert not await model.check()
        assert "Nobody answers" in model.unavailable
        with pytest.raises(EngineError, match="Nobody answers"):
            await said(model)


async def test_somebody_else_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with model_of(url, connect_seconds=0.1) as model:
            async with asyncio.timeout(SOON):
                assert not await model.check()
            assert "Nobody answers" in model.unavailable


@pytest.fixture(scope="module")
def llama_cpp(store: ModelStore) -> Iterator[str]:
    """The address of llama.cpp's own server, with the built-in model."""
    path = store.locate("smollm2-135m-instruct", ModelKind.LLM)
    parameters = _parameters(path, BuiltinSettings(context=512))
    parameters.api_keys = ["sesame"]
    parameters.chat_template = TOOL_TEMPLATE
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


def real_model_of(url: str, **settings: object) -> contextlib.AbstractAsyncContextManager[EndpointModel]:
    """With the time that it needs on a busy machine."""
    slow = {"first_token_seconds": REAL_SOON, "silence_seconds": REAL_SOON, "connect_seconds": 10}
    return model_of(url, **{"api_key": "sesame", "context": 512, **slow, **settings})


async def test_llama_cpps_server_answers(llama_cpp: str) -> None:
    async with real_model_of(llama_cpp) as model:
        assert await model.check()
        assert len(await written(model, generation=Generation(12, 0.0))) > 4


async def test_llama_cpps_server_wants_its_key(llama_cpp: str) -> None:
    async with model_of(llama_cpp, api_key="wrong", model="any") as model:
        with pytest.raises(EngineError, match="api_key"):
            await said(model)


async def test_llama_cpps_server_follows_a_schema(llama_cpp: str) -> None:
    schema = {
        "type": "object",
        "properties": {"room": {"enum": ["kitchen", "bath"]}, "lamps": {"type": "integer"}},
        "required": ["room", "lamps"],
    }
    async with real_model_of(llama_cpp) as model:
        pieces = await written(model, generation=Generation(60, 0.0, schema))
    filled = json.loads("".join(map(str, pieces)))
    assert filled["room"] in ("kitchen", "bath")
    assert isinstance(filled["lamps"], int)


async def test_llama_cpps_server_calls_a_tool(llama_cpp: str) -> None:
    async with real_model_of(llama_cpp) as model:
        pieces = await written(model, LAMP_ROUNDS, [LAMP], Generation(60, 0.0))
        (call,) = [piece for piece in pieces if isinstance(piece, ToolCall)]
        assert call.name == "lamp"
        assert call.arguments["state"] in ("on", "off")
        assert call.id


async def test_llama_cpps_server_gets_what_fits(llama_cpp: str) -> None:
    """Its context is smaller than the settings say."""
    turns = [Message("user", "解释" * 60), Message("assistant", "解释" * 60)] * 10
    async with real_model_of(llama_cpp, context=1024) as model:
        assert await written(model, [MESSAGES[0], *turns, MESSAGES[1]], generation=Generation(4, 0.0))


async def test_llama_cpps_server_stops_when_nobody_listens(llama_cpp: str) -> None:
    """It has one place: the next request would wait for the rest of the first answer."""
    async with real_model_of(llama_cpp) as model:
        began = time.process_time()
        whole = await written(model, generation=Generation(100, 0.0, ENDLESS))
        for_whole = time.process_time() - began
        assert len(whole) > 60
    async with real_model_of(llama_cpp) as model:
        began = time.process_time()
        async with contextlib.aclosing(model.chat(MESSAGES, Generation(400, 0.0, ENDLESS))) as answer:
            await anext(answer)
        await written(model, generation=Generation(1, 0.0))
        assert time.process_time() - began < for_whole


ENDLESS = {"type": "array", "items": {"type": "string", "minLength": 30}, "minItems": 500}
"""What a grammar of this writes does not end before its limit."""
