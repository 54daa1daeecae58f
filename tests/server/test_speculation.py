"""Guess at every pause, commit at the end: what the language model, the client and the conversation see of it.

The patience is made long, so that what happens on a guess is well before the commitment on any machine.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from wyoming.audio import AudioStop
from wyoming.event import Event
from wyoming.ping import Ping

from handlers.wire.client import WyomingClient
from tests.server.test_pipeline import run, status, wait_for_turn
from tests.server.test_services import send_audio, types
from tests.support.ollama import SOON, FakeOllama
from tests.support.server import ServerProcess, own_data, read_until
from tests.support.speech import Speaker, silence

LONG = "The first sentence is here. The second sentence comes after it. The third sentence ends it."


@pytest.fixture(scope="module")
def ollama_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def slow_server(data_dir: Path, tmp_path_factory: pytest.TempPathFactory, ollama_port: int) -> Iterator[ServerProcess]:
    """A server that takes its time to be sure, and asks the Ollama that each test starts."""
    environment = {
        "MEADOWLARK_AGENT__OLLAMA__URL": f"http://127.0.0.1:{ollama_port}",
        "MEADOWLARK_AGENT__THINK__RETRY_SECONDS": "0.05",
        "MEADOWLARK_AGENT__THINK__LONGEST_RETRY_SECONDS": "0.1",
        "MEADOWLARK_ASR__ENDPOINT__FINISHED_MS": "2000",
        "MEADOWLARK_ASR__ENDPOINT__UNSURE_MS": "2000",
        "MEADOWLARK_ASR__ENDPOINT__PATIENCE_MS": "2500",
    }
    folder = tmp_path_factory.mktemp("slow")
    with ServerProcess(folder, ["--data-dir", str(own_data(folder, data_dir))], environment) as process:
        process.wait_ready()
        yield process


@pytest.fixture
async def ollama(slow_server: ServerProcess, ollama_port: int) -> AsyncIterator[FakeOllama]:
    """It comes and goes with each test, and the server has noticed that it is there."""
    async with FakeOllama(port=ollama_port) as fake:
        async with asyncio.timeout(SOON):
            while not await asyncio.to_thread(ollama_is_ready, slow_server):
                """The server looks for it in the background."""
        fake.asked.clear()
        yield fake


def ollama_is_ready(server: ServerProcess) -> bool:
    engines: Any = status(server)["engines"]
    return bool(engines["agent"]["models"][0]["ready"])


async def start_turn(client: WyomingClient, pcm: bytes, **data: object) -> asyncio.Task[None]:
    """A live turn: the microphone goes on until the task is cancelled."""
    await client.send(run("asr", "tts", **data))
    return asyncio.create_task(send_audio(client, silence(0.2) + pcm + silence(20), paced=True))


async def test_the_model_is_asked_before_the_speaker_is_known_to_have_finished(
    slow_server: ServerProcess, ollama: FakeOllama, speaker: Speaker
) -> None:
    ollama.will_answer("Birds sing.")
    async with slow_server.client() as client:
        microphone = await start_turn(client, speaker.say("Tell me something about birds."))
        reading = asyncio.create_task(read_until(client, "transcript"))
        await ollama.until(chats=1)
        assert not reading.done()
        events = await reading
        assert len(ollama.chats) == 1  # the draft is the answer
        events += await read_until(client, "audio-stop")
        microphone.cancel()
    marks = events[-1].data["timeline"]["marks_ms"]
    assert marks["first_token"] >= marks["transcript"]  # what came early counts from the commitment
    assert events[-1].data["timeline"]["guesses"]["kept"] == 1
    assert events[-1].data["timeline"]["guesses"]["saved_ms"] > 0


async def test_a_speaker_who_goes_on_turns_the_guess_into_a_partial_and_drops_the_draft(
    slow_server: ServerProcess, ollama: FakeOllama, speaker: Speaker
) -> None:
    ollama.will_answer("Birds sing.", asyncio.Event())  # never goes on
    ollama.will_answer("Cats purr.")
    pcm = speaker.say("Tell me something about birds.") + silence(1.2) + speaker.say("And tell me about the cats.")
    async with slow_server.client() as client:
        microphone = await start_turn(client, pcm, context={"conversation_id": "zoo"})
        events = await read_until(client, "audio-stop")
        await client.send(Event("played", {}))
        microphone.cancel()
    await ollama.until(abandoned=1)
    first, second = ollama.chats
    assert "cats" not in first["messages"][-1]["content"].lower()
    assert "birds" in second["messages"][-1]["content"].lower()
    assert "cats" in second["messages"][-1]["content"].lower()
    assert [message["role"] for message in second["messages"]] == ["system", "user"]  # nothing of the draft is kept
    chunks = [event.data["text"] for event in events if event.type == "transcript-chunk"]
    assert "birds" in chunks[0].lower()
    assert "cats" not in chunks[0].lower()
    answers = [event.data["text"] for event in events if event.type == "handled"]
    assert answers == ["Cats purr."]
    assert events[-1].data["timeline"]["guesses"]["discarded"] >= 1


async def test_a_known_command_ends_at_once(slow_server: ServerProcess, ollama: FakeOllama, speaker: Speaker) -> None:
    """Its transcript comes although the patience for anything else would not be over."""
    async with slow_server.client() as client:
        microphone = await start_turn(client, speaker.say("What time is it?"))
        events = await read_until(client, "audio-stop")
        microphone.cancel()
    marks = events[-1].data["timeline"]["marks_ms"]
    assert marks["endpoint"] - marks["speech_end"] < 2000
    assert not ollama.chats


async def test_the_same_satellite_interrupts_itself_from_another_connection(
    slow_server: ServerProcess, ollama: FakeOllama
) -> None:
    ollama.will_answer(LONG, asyncio.Event())
    context = {"satellite_id": "kitchen", "conversation_id": "kitchen-1"}
    async with slow_server.client() as first, slow_server.client() as second:
        await first.send(run("handle", "tts", context=context))
        await first.send(Event("transcript", {"text": "Tell me a story."}))
        await read_until(first, "audio-chunk")
        before = status(slow_server)["turns"]
        assert isinstance(before, list)
        await second.send(run("handle", "tts", context=context))
        await ollama.until(abandoned=1)
        assert (await wait_for_turn(slow_server, before))["outcome"] == "cancelled"
        await second.send(Event("transcript", {"text": "Thank you!"}))
        assert types(await read_until(second, "audio-stop"))[0] == "handled-start"


async def test_an_audio_stop_after_the_audio_stops_the_answer(slow_server: ServerProcess, ollama: FakeOllama) -> None:
    ollama.will_answer("One. ", asyncio.Event())
    async with slow_server.client() as client:
        await client.send(run("handle", "tts"))
        await client.send(Event("transcript", {"text": "Tell me a story."}))
        await read_until(client, "audio-chunk")
        before = status(slow_server)["turns"]
        assert isinstance(before, list)
        await client.send(AudioStop().event())
        assert (await wait_for_turn(slow_server, before))["outcome"] == "cancelled"
        await ollama.until(abandoned=1)


@pytest.mark.parametrize(
    ("played", "kept"),
    [(None, LONG), (0.0, None), (2.2, "The first sentence is here.")],
)
async def test_the_conversation_keeps_what_was_played(
    slow_server: ServerProcess, ollama: FakeOllama, played: float | None, kept: str | None
) -> None:
    ollama.will_answer(LONG)
    ollama.will_answer("And then it ended.")
    context = {"conversation_id": f"story-{played}"}
    async with slow_server.client() as client:
        for text in ("Tell me a story.", "What happened then?"):
            await client.send(run("handle", "tts", context=context))
            await client.send(Event("transcript", {"text": text}))
            await read_until(client, "audio-stop")
            await client.send(Event("played", {} if played is None else {"seconds": played}))
    history = [message["content"] for message in ollama.chats[1]["messages"] if message["role"] == "assistant"]
    assert history == ([] if kept is None else [kept])


async def test_a_microphone_that_stays_open_does_not_block_the_connection(
    slow_server: ServerProcess, ollama: FakeOllama, speaker: Speaker
) -> None:
    """Audio after the end of speech is dropped: the connection still hears a ping, and its own end."""
    ollama.will_answer("One. ", asyncio.Event())  # an answer that never ends
    async with slow_server.client() as client:
        await client.send(run("asr", "tts"))
        await send_audio(client, silence(0.2) + speaker.say("Tell me a story.") + silence(4.0), paced=True, stop=False)
        await read_until(client, "audio-chunk")
        await send_audio(client, silence(12), stop=False)  # at once, three times what may wait
        await client.send(Ping(text="still there").event())
        assert (await read_until(client, "pong"))[-1].data["text"] == "still there"
    await ollama.until(abandoned=1)


async def test_a_client_whose_turn_is_taken_over_is_told(slow_server: ServerProcess, ollama: FakeOllama) -> None:
    ollama.will_answer(LONG, asyncio.Event())
    context = {"satellite_id": "hall"}
    async with slow_server.client() as first, slow_server.client() as second:
        await first.send(run("handle", "tts", context=context))
        await first.send(Event("transcript", {"text": "Tell me a story."}))
        await read_until(first, "audio-chunk")
        await second.send(run("handle", "tts", context=context))
        assert (await read_until(first, "error"))[-1].data["code"] == "replaced"


@pytest.mark.parametrize(("start", "event"), [("handle", "transcript"), ("tts", "synthesize")])
async def test_a_text_that_is_refused_ends_its_turn(slow_server: ServerProcess, start: str, event: str) -> None:
    async with slow_server.client() as client:
        await client.send(run(start, "tts"))
        await client.send(Event(event, {"text": "x" * 20_000}))
        assert types(await read_until(client, "error")) == ["error"]
        # The turn is over: a transcript is now a request of its own.
        await client.send(Event("transcript", {"text": "Thank you!"}))
        assert types(await read_until(client, "handled", "error"))[-1] == "handled"


async def test_what_follows_a_refused_text_at_once_is_a_request_of_its_own(slow_server: ServerProcess) -> None:
    async with slow_server.client() as client:
        await client.send(run("handle", "tts"))
        await client.send(Event("transcript", {"text": "x" * 20_000}))
        await client.send(Event("transcript", {"text": "Thank you!"}))
        assert types(await read_until(client, "handled"))[-1] == "handled"


async def test_an_empty_question_is_an_error(slow_server: ServerProcess, ollama: FakeOllama) -> None:
    async with slow_server.client() as client:
        await client.send(run("handle", "tts"))
        await client.send(Event("transcript", {"text": "  "}))
        assert (await read_until(client, "error"))[-1].data["code"] == "no-text"
    assert not ollama.chats


async def test_an_audio_stop_of_nothing_starts_nothing(slow_server: ServerProcess) -> None:
    async with slow_server.client() as client:
        await client.send(AudioStop().event())
        await client.send(Ping().event())
        assert types(await read_until(client, "pong")) == ["pong"]


async def test_the_processor_is_idle_soon_after_a_client_has_left(server: ServerProcess) -> None:
    """The built-in model and Piper stop with the turn, not when they would have been done."""
    process = psutil.Process(server.process.pid)

    async def cpu_share(seconds: float) -> float:
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        await asyncio.sleep(seconds)
        return (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)

    async with asyncio.timeout(SOON):
        while "spoken beforehand" not in await asyncio.to_thread(server.log):
            """The server still works for itself."""
    before = status(server)["turns"]
    assert isinstance(before, list)
    async with server.client() as client:
        await client.send(run("handle", "tts"))
        await client.send(Event("transcript", {"text": "Tell me a very long story about a bird and a cat."}))
        await read_until(client, "handled-chunk")
        busy = await cpu_share(0.3)
    assert (await wait_for_turn(server, before))["outcome"] == "cancelled"
    await asyncio.sleep(0.2)
    idle = await cpu_share(1.0)
    print(f"CPU {busy:.2f} cores while it answers, {idle:.2f} from 0.2 s after it was cancelled")
    assert idle < busy / 4
