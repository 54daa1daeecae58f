"""The built-in language model, for real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import xllamacpp

from handlers.agent.llm.builtin import BuiltinModel, _parameters
from handlers.agent.llm.settings import BuiltinSettings, ThinkSettings
from handlers.agent.llm.thinker import Thinker
from handlers.agent.stage import Generation, Message
from handlers.agent.tools.stage import ToolCall
from handlers.errors import EngineError, ModelError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.lamp import LAMP, LAMP_ROUNDS, TOOL_TEMPLATE

SOON = 60.0
"""A deadline that only a defect reaches."""

SYSTEM = Message("system", "You are a friendly assistant.")
STORY = [
    SYSTEM,
    Message("user", "Tell me a very long story about a ship, with all its details."),
]


def echo(word: str) -> list[Message]:
    """A conversation whose next answer is `word`, also for a model this small."""
    turns = [pair for other in ("apple", "river", "window") for pair in _echoed(other)]
    return [Message("system", "Repeat the word."), *turns, Message("user", f"Say {word}")]


def _echoed(word: str) -> tuple[Message, Message]:
    return Message("user", f"Say {word}"), Message("assistant", word)


@pytest.fixture(scope="module")
def gguf(store: ModelStore) -> Path:
    return store.locate("smollm2-135m-instruct", ModelKind.LLM)


@pytest.fixture(scope="module")
def small(gguf: Path) -> Iterator[BuiltinModel]:
    """One with the least context, which is soon full."""
    model = BuiltinModel(gguf, BuiltinSettings(context=512))
    yield model
    asyncio.run(model.close())


@contextlib.asynccontextmanager
async def loaded(path: Path, **settings: object) -> AsyncIterator[BuiltinModel]:
    model = await asyncio.to_thread(BuiltinModel, path, BuiltinSettings.model_validate(settings))
    try:
        yield model
    finally:
        await model.close()


async def said(model: BuiltinModel, messages: list[Message], longest: int = 12) -> list[str]:
    async with asyncio.timeout(SOON):
        return [str(text) async for text in model.chat(messages, Generation(longest, 0.0))]


async def test_it_streams_word_by_word(builtin: BuiltinModel) -> None:
    pieces = await said(builtin, STORY, 12)
    assert len(pieces) > 6


async def test_it_ends_at_the_longest_answer(builtin: BuiltinModel) -> None:
    assert 0 < len(await said(builtin, STORY, 5)) <= 5


async def test_it_reads_what_was_said_before(builtin: BuiltinModel) -> None:
    assert "lemon" in "".join(await said(builtin, echo("lemon"), 4))


async def test_closing_an_answer_stops_the_generation(builtin: BuiltinModel) -> None:
    """The CPU time that the rest of the answer would have taken is not spent."""
    longest = 1500
    answer = builtin.chat(STORY, Generation(longest, 0.0))
    await anext(answer)
    began = time.process_time()
    for _ in range(20):
        await anext(answer)
    for_one = (time.process_time() - began) / 20
    began = time.process_time()
    await answer.aclose()
    await said(builtin, STORY, 1)  # has to wait for the one before
    assert time.process_time() - began < for_one * longest / 4
    await _until_idle()


async def test_cancelling_the_reader_stops_the_generation(builtin: BuiltinModel) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in builtin.chat(STORY, Generation(1500, 0.0)):
            begun.set()

    reading = asyncio.create_task(read())
    async with asyncio.timeout(SOON):
        await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await _until_idle()


async def _until_idle() -> None:
    """Until this process uses next to no CPU; fails when it goes on."""
    for _ in range(20):
        began = time.process_time()
        await asyncio.sleep(0.05)  # the window that is measured
        if time.process_time() - began < 0.01:
            return
    raise AssertionError("something still computes")


async def test_two_requests_at_once_are_both_answered(builtin: BuiltinModel) -> None:
    lemon, banana = await asyncio.gather(said(builtin, echo("lemon"), 4), said(builtin, echo("banana"), 4))
    assert "lemon" in "".join(lemon)
    assert "banana" in "".join(banana)


async def test_a_schema_is_followed(builtin: BuiltinModel) -> None:
    schema = {
        "type": "object",
        "properties": {"room": {"enum": ["kitchen", "bath"]}, "lamps": {"type": "integer"}},
        "required": ["room", "lamps"],
    }
    async with asyncio.timeout(SOON):
        pieces = [piece async for piece in builtin.chat(STORY, Generation(60, 0.0, schema))]
    filled = json.loads("".join(map(str, pieces)))
    assert filled["room"] in ("kitchen", "bath")
    assert isinstance(filled["lamps"], int)


async def test_the_default_model_is_not_trusted_with_tools_and_schemas(builtin: BuiltinModel) -> None:
    assert not builtin.uses_tools
    assert not builtin.follows_schemas
    async with asyncio.timeout(SOON):
        pieces = [piece async for piece in builtin.chat(LAMP_ROUNDS, Generation(4, 0.0), [LAMP])]
    assert pieces
    assert all(isinstance(piece, str) for piece in pieces)


async def test_a_model_with_tools_calls_them(gguf: Path) -> None:
    async with loaded(gguf, tools=True) as model:
        parameters = _parameters(gguf, BuiltinSettings())
        parameters.chat_template = TOOL_TEMPLATE
        model._server = xllamacpp.Server(parameters)
        async with asyncio.timeout(SOON):
            pieces = [piece async for piece in model.chat(LAMP_ROUNDS, Generation(60, 0.0), [LAMP])]
    (call,) = [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert call.name == "lamp"
    assert call.arguments["state"] in ("on", "off")


async def test_who_waits_behind_another_has_a_deadline_too(gguf: Path) -> None:
    async with loaded(gguf, first_token_seconds=2, longest_answer=2000) as model:
        long = model.chat(STORY, Generation(1500, 0.0))
        await anext(long)  # and not read on: the model waits for its reader
        with pytest.raises(EngineError, match="too slow"):
            await said(model, STORY)
        await long.aclose()
        assert await said(model, STORY)


async def test_a_long_conversation_loses_its_beginning(small: BuiltinModel) -> None:
    system, *rest = echo("lemon")
    before = [pair for number in range(300) for pair in _echoed(f"number {number}")]
    assert "lemon" in "".join(await said(small, [system, *before, *rest], 4))


@pytest.mark.parametrize("text", ["word " * 20_000, "解释一下" * 5_000, "x" * 100_000, "🙂" * 5_000, "a b " * 9_000])
async def test_a_question_beyond_the_context_is_cut(small: BuiltinModel, text: str) -> None:
    """Scripts differ in how many tokens their bytes are; each is cut until it fits, and answered."""
    assert await said(small, [SYSTEM, Message("user", f"{text} Thank you. Now say hello to me.")], 4)


async def test_instructions_beyond_the_context_are_an_error(small: BuiltinModel) -> None:
    with pytest.raises(EngineError, match="context"):
        await said(small, [Message("system", "word " * 5_000), Message("user", "Hi")])
    assert await said(small, STORY, 4)


async def test_a_closed_model_says_so(gguf: Path) -> None:
    async with loaded(gguf) as model:
        assert await said(model, STORY, 4)
    with pytest.raises(EngineError, match="closed"):
        await said(model, STORY)


async def test_closing_the_model_ends_a_running_answer(gguf: Path) -> None:
    async with loaded(gguf) as model:
        answer = model.chat(STORY, Generation(1500, 0.0))
        await anext(answer)
        closing = asyncio.create_task(model.close())
        heard = 0
        with contextlib.suppress(EngineError):
            async for _ in answer:
                heard += 1
        async with asyncio.timeout(SOON):
            await closing
    assert heard < 100


@pytest.mark.parametrize("kept", [0, 1000, 3_000_000, 50_000_000])
def test_a_truncated_file_is_one_sentence(gguf: Path, tmp_path: Path, kept: int) -> None:
    """In a process of its own, because llama.cpp may abort its process."""
    with gguf.open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(kept))
    outcome = _load_elsewhere(tmp_path / "cut.gguf")
    assert outcome.returncode == 0, outcome.stderr[-500:]
    assert "cut.gguf cannot be loaded" in outcome.stdout
    assert outcome.stdout.count("\n") == 1


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.gguf"):
        BuiltinModel(tmp_path / "none.gguf", BuiltinSettings())


def _load_elsewhere(path: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from pathlib import Path\n"
        "from handlers.agent.llm.builtin import BuiltinModel\n"
        "from handlers.agent.llm.settings import BuiltinSettings\n"
        "from handlers.errors import ModelError\n"
        "try: BuiltinModel(Path(sys.argv[1]), BuiltinSettings())\n"
        "except ModelError as error: print(error)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=SOON, check=False
    )


async def test_its_port_is_of_no_use_without_the_key(builtin: BuiltinModel) -> None:
    """llama.cpp opens an HTTP port on loopback. Only whether it is alive is open to other programs here."""
    server = builtin._server
    assert server is not None
    address = str(server.listening_address)
    assert address.startswith("http://127.0.0.1:")
    body = json.dumps({"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}], "n_predict": 1})
    asked = {
        **dict.fromkeys(("/props", "/slots", "/metrics", "/models", "/v1/models", "/lora-adapters", "/api/tags"), None),
        **dict.fromkeys(("/completion", "/completions", "/v1/completions", "/v1/chat/completions", "/tokenize"), body),
        **dict.fromkeys(("/chat/completions", "/infill", "/embedding", "/apply-template", "/api/chat"), body),
        **dict.fromkeys(("/v1/messages", "/v1/responses", "/detokenize", "/rerank", "/props", "/slots/0"), body),
    }
    answers = {path: await asyncio.to_thread(_status, address + path, body) for path, body in asked.items()}
    assert set(answers.values()) <= {401, 404}, answers
    assert answers["/completion"] == 401
    assert await asyncio.to_thread(_status, address + "/health", None) == 200
    assert await asyncio.to_thread(_status, address + "/", None) in (401, 404)


def _status(url: str, body: str | None) -> int:
    request = urllib.request.Request(
        url,
        data=None if body is None else body.encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer wrong"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SOON) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_after_the_warm_up_the_prompt_is_read_already(gguf: Path) -> None:
    """The tokens that a first turn has to read are counted by the CPU time that they take, against a cold model."""
    system = Message("system", "You are Meadowlark, a friendly voice assistant in a private home. " * 12)
    async with loaded(gguf) as cold, loaded(gguf) as warm:
        await Thinker([warm], ThinkSettings()).warm_up([system, Message("user", "Hello")], [])
        messages = [system, Message("user", "Name a colour.")]
        cold_seconds = await _cpu_of_first_word(cold, messages)
        warm_seconds = await _cpu_of_first_word(warm, messages)
    print(f"first word: {cold_seconds:.2f} s of CPU cold, {warm_seconds:.2f} s warm")
    assert warm_seconds < cold_seconds / 2


async def _cpu_of_first_word(model: BuiltinModel, messages: list[Message]) -> float:
    began = time.process_time()
    await said(model, messages, 1)
    return time.process_time() - began
