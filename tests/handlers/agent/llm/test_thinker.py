"""Several models that stand in for each other, in front of servers that fail in every way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count

import pytest
from pydantic import HttpUrl

from handlers.agent.llm.builtin import BuiltinModel
from handlers.agent.llm.endpoint import EndpointModel
from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import BuiltinSettings, EndpointSettings, OllamaSettings, ThinkSettings
from handlers.agent.llm.thinker import BrokenOffError, Thinker
from handlers.agent.stage import Generation, LanguageModel, Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from handlers.errors import EngineError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.timeline import Timeline
from tests.support.ollama import SOON, Call, Cut, FakeOllama, Model, Status, Step, stopped_ollama
from tests.support.openai_endpoint import Delta, FakeEndpoint

MESSAGES = [Message("system", "Be brief."), Message("user", "A secret question")]
GENERATION = Generation(longest=40, temperature=0.5)
WEATHER = ToolSpec("weather", "Tells the weather.")
OLLAMA, ENDPOINT = "ollama/llama3.2:latest", "second/some-model"
NEVER = 3600.0

MakeThinker = Callable[..., Thinker]


@pytest.fixture
async def fake_endpoint() -> AsyncIterator[FakeEndpoint]:
    async with FakeEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def own_builtin(store: ModelStore) -> BuiltinModel:
    """A built-in model that a thinker may close."""
    return BuiltinModel(store.locate("smollm2-135m-instruct", ModelKind.LLM), BuiltinSettings(longest_answer=2000))


@pytest.fixture
async def thinker_of() -> AsyncIterator[MakeThinker]:
    """A chain of an Ollama, an endpoint and whatever else. It asks nobody again within a test unless it is told to."""
    thinkers: list[Thinker] = []

    def make(*servers: FakeOllama | FakeEndpoint | LanguageModel, **settings: float) -> Thinker:
        models: list[LanguageModel] = []
        for server in servers:
            if isinstance(server, FakeOllama):
                models.append(OllamaModel(OllamaSettings(url=HttpUrl(server.url))))
            elif isinstance(server, FakeEndpoint):
                models.append(EndpointModel(EndpointSettings(url=HttpUrl(server.url), name="second")))
            else:
                models.append(server)
        retry = {"retry_seconds": NEVER, "longest_retry_seconds": NEVER}
        thinker = Thinker(models, ThinkSettings.model_validate({**retry, **settings}))
        thinkers.append(thinker)
        return thinker

    yield make
    for thinker in thinkers:
        await thinker.close()


async def asked(thinker: Thinker, tools: Sequence[ToolSpec] = ()) -> tuple[str, list[Written]]:
    """Who answered, and what."""
    timeline = Timeline("t")
    async with asyncio.timeout(SOON):
        pieces = [piece async for piece in thinker.chat(MESSAGES, GENERATION, tools, timeline)]
    return timeline.route, pieces


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():
            pass


async def test_the_first_model_answers(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    assert await asked(thinker_of(fake_ollama, fake_endpoint)) == (OLLAMA, ["Certainly."])
    assert not fake_endpoint.asked


async def test_the_route_is_known_with_the_first_piece(fake_ollama: FakeOllama, thinker_of: MakeThinker) -> None:
    fake_ollama.will_answer("One", asyncio.Event())
    timeline = Timeline("t")
    async with contextlib.aclosing(thinker_of(fake_ollama).chat(MESSAGES, GENERATION, [], timeline)) as answer:
        assert timeline.route == ""
        assert await anext(answer) == "One"
        assert timeline.route == OLLAMA
    await fake_ollama.until(abandoned=1)  # closing it ends the request


async def test_the_next_one_answers_when_nobody_listens(
    fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handlers")
    async with stopped_ollama() as nobody:
        thinker = thinker_of(nobody, fake_endpoint)
        for _ in range(3):
            assert await asked(thinker) == (ENDPOINT, ["Certainly."])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No Ollama answers" in caplog.text
    assert "secret" not in caplog.text


async def test_a_model_that_failed_is_left_alone(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    fake_ollama.will_answer(Status(500, "the runner has stopped"))
    thinker = thinker_of(fake_ollama, fake_endpoint)
    for _ in range(3):
        assert (await asked(thinker))[0] == ENDPOINT
    assert len(fake_ollama.chats) == 1
    first, second = thinker.status()
    assert not first.ready
    assert "failed (status 500)" in first.problem
    assert second.ready
    assert second.first_token_seconds is not None


async def test_it_is_found_when_it_is_back(
    fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handlers")
    async with stopped_ollama() as ollama:
        thinker = thinker_of(ollama, fake_endpoint, retry_seconds=0.02, longest_retry_seconds=0.05)
        assert (await asked(thinker))[0] == ENDPOINT
        async with ollama:

            async def is_back() -> bool:
                return (await asked(thinker))[0].startswith("ollama")

            await until(is_back)
            assert (await asked(thinker))[0] == OLLAMA
            assert thinker.status()[0].ready
    levels = [record.levelname for record in caplog.records if "llama" in record.message]
    assert levels == ["WARNING", "INFO"]


async def test_what_is_not_there_at_the_start_is_no_warning(
    fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handlers")
    async with stopped_ollama() as nobody:
        thinker = thinker_of(nobody, fake_endpoint)
        await thinker.start()
        assert [status.ready for status in thinker.status()] == [False, True]
        assert (await asked(thinker))[0] == ENDPOINT
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("fault", [Status(503, "busy"), Cut()], ids=repr)
async def test_a_passing_failure_is_tried_again_at_once(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, fault: Step
) -> None:
    fake_ollama.will_answer(fault)
    assert await asked(thinker_of(fake_ollama, fake_endpoint)) == (OLLAMA, ["Certainly."])
    assert len(fake_ollama.chats) == 2


async def test_but_only_once(fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker) -> None:
    fake_ollama.will_answer(Cut())
    fake_ollama.will_answer(Cut())
    assert (await asked(thinker_of(fake_ollama, fake_endpoint)))[0] == ENDPOINT
    assert len(fake_ollama.chats) == 2


@pytest.mark.parametrize("before", ["One", Call("weather")], ids=["a word", "a call"])
async def test_nobody_continues_what_another_began(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, before: Step
) -> None:
    fake_ollama.will_answer(before, Cut())
    thinker = thinker_of(fake_ollama, fake_endpoint)
    answer = thinker.chat(MESSAGES, GENERATION, [], Timeline("t"))
    await anext(answer)
    with pytest.raises(BrokenOffError):
        await anext(answer)
    assert len(fake_ollama.chats) == 1
    assert not fake_endpoint.asked
    assert (await asked(thinker))[0] == ENDPOINT


async def test_when_all_fail_it_says_why(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    fake_ollama.will_answer(Status(500, "out of memory"))
    fake_endpoint.will_answer(Status(401, "no"))
    thinker = thinker_of(fake_ollama, fake_endpoint)
    timeline = Timeline("t")
    with pytest.raises(EngineError, match=r"(?s)too little memory.*api_key") as failure:
        await anext(thinker.chat(MESSAGES, GENERATION, [], timeline))
    assert not isinstance(failure.value, BrokenOffError)
    assert timeline.route == ""
    assert (await asked(thinker))[0] == OLLAMA  # with all left alone, all are asked
    assert [status.ready for status in thinker.status()] == [True, False]


async def test_no_model_at_all(thinker_of: MakeThinker) -> None:
    thinker = thinker_of()
    with pytest.raises(EngineError, match="start Ollama"):
        await asked(thinker)
    assert thinker.expected_seconds() == 0
    assert thinker.able() is None
    assert thinker.status() == []


async def test_a_loaded_model_that_is_silent_is_given_up(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    fake_ollama.loaded = {"llama3.2:latest"}
    fake_ollama.will_answer(asyncio.Event())
    thinker = thinker_of(fake_ollama, fake_endpoint, first_token_seconds=0.1)
    assert (await asked(thinker))[0] == ENDPOINT
    await fake_ollama.until(abandoned=1)
    assert "0.1 seconds" in thinker.status()[0].problem


async def test_a_model_that_loads_is_waited_for(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    loading = asyncio.Event()
    fake_ollama.loaded = set()
    fake_ollama.will_answer(loading, "Loaded.")
    thinker = thinker_of(fake_ollama, fake_endpoint, first_token_seconds=0.05)
    answer = asyncio.create_task(asked(thinker))
    await fake_ollama.until(chats=1)
    await asyncio.sleep(0.1)  # longer than a loaded model would get
    loading.set()
    assert await answer == (OLLAMA, ["Loaded."])


async def test_the_last_model_has_all_its_time(fake_ollama: FakeOllama, thinker_of: MakeThinker) -> None:
    thinking = asyncio.Event()
    fake_ollama.loaded = {"llama3.2:latest"}
    fake_ollama.will_answer(thinking, "At last.")
    answer = asyncio.create_task(asked(thinker_of(fake_ollama, first_token_seconds=0.05)))
    await fake_ollama.until(chats=1)
    await asyncio.sleep(0.1)  # longer than another than the last would get
    thinking.set()
    assert await answer == (OLLAMA, ["At last."])


async def test_only_models_that_use_tools_are_told_of_them(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    fake_ollama.will_answer(Status(500, "no"))
    fake_endpoint.will_answer(Call("weather", {"place": "Lund"}))
    route, pieces = await asked(thinker_of(fake_ollama, fake_endpoint), [WEATHER])
    assert route == ENDPOINT
    assert pieces == [ToolCall("call_0", "weather", {"place": "Lund"})]
    assert "tools" not in fake_ollama.chats[0]
    assert "tools" in fake_endpoint.asked[0]


@pytest.mark.parametrize(
    "steps", [[], [Delta({"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": "{"}}]})]]
)
async def test_an_answer_of_no_use_is_no_outage(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, steps: list[Delta]
) -> None:
    """Nothing, or a call that cannot be read: once more, then the next one; the question after it is asked again."""
    fake_endpoint.will_answer(*steps)
    fake_endpoint.will_answer(*steps)
    thinker = thinker_of(fake_endpoint, fake_ollama)
    assert (await asked(thinker))[0] == OLLAMA
    assert len(fake_endpoint.asked) == 2
    assert (await asked(thinker))[0] == ENDPOINT


async def test_the_built_in_model_answers_in_the_end(thinker_of: MakeThinker, own_builtin: BuiltinModel) -> None:
    async with stopped_ollama() as nobody:
        route, pieces = await asked(thinker_of(nobody, own_builtin), [WEATHER])
    assert route == own_builtin.name
    assert pieces


async def test_a_model_with_too_much_to_do_is_not_left_alone(
    fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, own_builtin: BuiltinModel
) -> None:
    async def wait_for_an_answer() -> None:
        async for _ in own_builtin.chat(MESSAGES, GENERATION):
            pass

    thinker = thinker_of(own_builtin, fake_endpoint)
    async with contextlib.aclosing(own_builtin.chat(MESSAGES, Generation(1500, 0.0))) as long:
        await anext(long)
        waiting = [asyncio.create_task(wait_for_an_answer()) for _ in range(32)]
        await asyncio.sleep(0)  # they are in the queue
        assert (await asked(thinker))[0] == ENDPOINT
        assert thinker.status()[0].ready
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_each_failure_in_a_row_doubles_the_wait(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a server whose checks succeed and whose answers do not."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("handlers.agent.llm.thinker.asyncio.sleep", counted)
    thinker = thinker_of(fake_ollama, fake_endpoint, retry_seconds=1, longest_retry_seconds=6)
    for number in count(1):
        fake_ollama.will_answer(Status(500, "no"))

        async def is_asked(chats: int = number) -> bool:
            await asked(thinker)
            return len(fake_ollama.chats) >= chats

        await until(is_asked)
        if len(waits) >= 5:
            break
    assert waits[:5] == [1, 2, 4, 6, 6]


async def test_what_is_expected_is_what_was_waited_for(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    fake_ollama.loaded = set()
    thinker = thinker_of(fake_ollama, fake_endpoint)
    await thinker.start()
    cold = thinker.expected_seconds()
    for _ in range(3):
        await asked(thinker)
    warm = thinker.expected_seconds()
    assert 0 < warm < cold
    first = thinker.status()[0].first_token_seconds
    assert first is not None
    assert first == warm
    assert thinker.expected_seconds(tools=True) == warm  # nothing else is known


async def test_a_model_that_is_able(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker, own_builtin: BuiltinModel
) -> None:
    fake_ollama.models = [Model("tiny:latest", parameters=135_000_000)]
    thinker = thinker_of(own_builtin, fake_ollama, fake_endpoint)
    await thinker.start()
    able = thinker.able()
    assert able is not None
    assert able.name == ENDPOINT
    assert thinker.able(schema=False) is own_builtin
    fake_endpoint.key = "changed"
    with contextlib.suppress(EngineError):
        await anext(able.chat(MESSAGES, GENERATION))
    await thinker.start()
    assert thinker.able() is None


async def test_the_warm_up_reads_what_a_turn_begins_with(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    fake_ollama.models = [Model("llama3.2:latest", capabilities=("completion", "tools"))]
    thinker = thinker_of(fake_ollama, fake_endpoint)
    await thinker.warm_up([MESSAGES[0], Message("user", "Hello")], [WEATHER])
    await asked(thinker, [WEATHER])
    warm_up, turn = fake_ollama.chats
    assert warm_up["tools"] == turn["tools"]
    assert warm_up["messages"][0] == turn["messages"][0]
    assert warm_up["options"]["num_predict"] == 1
    assert warm_up["options"]["num_ctx"] == turn["options"]["num_ctx"]
    assert len(fake_endpoint.asked) == 1


async def test_a_warm_up_that_fails_is_silent(
    fake_ollama: FakeOllama, thinker_of: MakeThinker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "handlers")
    fake_ollama.will_answer(Status(500, "no"))
    thinker = thinker_of(fake_ollama)
    await thinker.warm_up(MESSAGES, [])
    assert not caplog.records
    assert (await asked(thinker))[0] == OLLAMA


async def test_closing_it_ends_the_watch_and_the_models(thinker_of: MakeThinker, own_builtin: BuiltinModel) -> None:
    before = asyncio.all_tasks()
    async with stopped_ollama() as nobody:
        thinker = thinker_of(nobody, own_builtin)
        await asked(thinker)
    assert asyncio.all_tasks() != before
    await thinker.close()
    assert asyncio.all_tasks() == before
    with pytest.raises(EngineError, match="closed"):
        await anext(own_builtin.chat(MESSAGES, GENERATION))


async def test_a_check_that_hangs_holds_no_turn(
    fake_ollama: FakeOllama, fake_endpoint: FakeEndpoint, thinker_of: MakeThinker
) -> None:
    thinker = thinker_of(fake_ollama, fake_endpoint, retry_seconds=0.01)
    await thinker.start()
    fake_ollama.faults["/api/tags"] = deque([asyncio.Event()])
    fake_ollama.will_answer(Status(500, "no"))
    assert (await asked(thinker))[0] == ENDPOINT
    asked_before = 4  # three by the check, one chat

    async def is_checked() -> bool:
        assert (await asked(thinker))[0] == ENDPOINT
        return len(fake_ollama.asked) > asked_before

    await until(is_checked)
