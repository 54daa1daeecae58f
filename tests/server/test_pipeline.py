"""`run-pipeline`: a whole turn over a socket, against a real server with real engines."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from pathlib import Path

import pytest
from wyoming.audio import AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.snd import Played
from wyoming.tts import SynthesizeChunk, SynthesizeStop

from handlers.wire.client import WyomingClient
from tests.server.test_services import seconds_of, send_audio, types
from tests.support.ollama import FakeOllama
from tests.support.server import ServerProcess, own_data, read_until
from tests.support.speech import Speaker, silence

WHOLE_TURN = [
    "voice-started",
    "transcript-start",
    "transcript-chunk",
    "transcript-stop",
    "voice-stopped",
    "transcript",
    "handled-start",
    "handled-chunk",
    "handled-stop",
    "handled",
    "audio-start",
    "audio-chunk",
    "audio-stop",
]


def run(start: str, end: str, **data: object) -> Event:
    return Event("run-pipeline", {"start_stage": start, "end_stage": end, **data})


async def ask(client: WyomingClient, pcm: bytes, **data: object) -> list[Event]:
    """A turn from speech to speech."""
    await client.send(run("asr", "tts", **data))
    await send_audio(client, pcm)
    return await read_until(client, "audio-stop", "error")


def status(server: ServerProcess) -> dict[str, object]:
    url = f"http://127.0.0.1:{server.http_port}/api/v1/voice/status"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return dict(json.load(answer))


async def wait_for_turn(server: ServerProcess, turns_before: list[object]) -> dict[str, object]:
    """The newest turn, once there is one that was not there before."""
    async with asyncio.timeout(20):
        while True:
            turns = (await asyncio.to_thread(status, server))["turns"]
            assert isinstance(turns, list)
            if turns[:1] != turns_before[:1]:
                return dict(turns[0])
            await asyncio.sleep(0.02)


class TestWholeTurn:
    async def test_events_come_in_the_order_of_the_contract(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            events = await ask(client, speaker.say("What time is it?") + silence(0.3))
        assert types(events) == WHOLE_TURN
        assert "what time is it" in events[types(events).index("transcript")].data["text"].lower()
        assert seconds_of(events) > 0.5
        handled = next(event for event in events if event.type == "handled")
        assert handled.data["text"].startswith("It's ")

    async def test_the_last_event_carries_the_timeline(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            events = await ask(client, speaker.say("What day is it today?") + silence(0.3))
        timeline = events[-1].data["timeline"]
        assert timeline["outcome"] == "completed"
        assert timeline["route"] == "skill/GetDate"
        marks = timeline["marks_ms"]
        order = [
            *("speech_start", "endpoint", "transcript", "route", "first_token"),
            *("first_sentence", "first_audio", "done"),
        ]
        assert [marks[name] for name in order] == sorted(marks[name] for name in order)
        assert marks["speech_end"] <= marks["endpoint"]

    async def test_live_speech_is_answered_while_the_microphone_goes_on(
        self, server: ServerProcess, speaker: Speaker
    ) -> None:
        pcm = silence(0.2) + speaker.say("What time is it?") + silence(6)
        async with server.client() as client:
            await client.send(run("asr", "tts"))
            sending = asyncio.create_task(send_audio(client, pcm, paced=True))
            events = await read_until(client, "audio-stop")
            assert not sending.done()
            # The rest of this turn's audio is dropped and starts nothing; the connection takes the next turn.
            sending.cancel()
            await client.send(AudioStop().event())
            again = await ask(client, speaker.say("Thank you!") + silence(0.3))
        assert types(events) == WHOLE_TURN
        assert types(again) == WHOLE_TURN

    async def test_a_conversation_is_remembered_by_its_id(self, server: ServerProcess, speaker: Speaker) -> None:
        context = {"conversation_id": f"test-{time.monotonic_ns()}", "satellite_id": "kitchen"}
        async with server.client() as client:
            first = await ask(client, speaker.say("What time is it?") + silence(0.3), context=context)
            await client.send(Played().event())  # else it is an interruption: the answer cannot have been heard yet
            second = await ask(client, speaker.say("Say that again.") + silence(0.3), context=context)
        answers = [event.data for event in first + second if event.type == "handled"]
        assert answers[0]["text"] == answers[1]["text"]
        assert answers[1]["context"]["conversation_id"] == context["conversation_id"]

    async def test_what_was_played_may_be_said_behind_the_next_turn(self, server: ServerProcess) -> None:
        """It counts for the answer that sounded."""
        context = {"conversation_id": f"test-{time.monotonic_ns()}"}
        async with server.client() as client:
            await client.send(run("handle", "tts", context=context))
            await client.send(Event("transcript", {"text": "What time is it?"}))
            first = await read_until(client, "audio-stop")
            await client.send(run("handle", "tts", context=context))
            await client.send(Played().event())
            await client.send(Event("transcript", {"text": "Say that again."}))
            second = await read_until(client, "audio-stop")
        answers = [event.data["text"] for event in first + second if event.type == "handled"]
        assert answers[0] == answers[1]

    async def test_audio_begins_before_the_answer_is_written(self, server: ServerProcess) -> None:
        """With the real language model: the first audio comes before the last words of the text."""
        async with server.client() as client:
            await client.send(run("handle", "tts"))
            await client.send(Event("transcript", {"text": "Tell me a long story about a bird and a cat."}))
            events = await read_until(client, "audio-stop")
        names = [event.type for event in events]
        last_text = len(names) - 1 - names[::-1].index("handled-chunk")
        assert names.index("audio-chunk") < last_text
        assert names[-1] == "audio-stop"

    async def test_it_starts_with_a_wake_word_in_one_breath(self, server: ServerProcess, speaker: Speaker) -> None:
        pcm = silence(0.5) + speaker.say("Hey Jarvis!") + silence(0.2) + speaker.say("What time is it?") + silence(0.5)
        async with server.client() as client:
            await client.send(run("wake", "tts", wake_word_names=["hey_jarvis"]))
            await send_audio(client, pcm)
            events = await read_until(client, "audio-stop", "error")
        assert types(events) == ["detection", *WHOLE_TURN]
        assert events[0].data["name"] == "hey_jarvis"
        transcript = next(event for event in events if event.type == "transcript")
        assert "what time is it" in transcript.data["text"].lower()
        assert "wake" in events[-1].data["timeline"]["marks_ms"]

    async def test_without_a_wake_word_it_ends(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            await client.send(run("wake", "tts", wake_word_names=["okay_nabu"]))
            await send_audio(client, speaker.say("What time is it?") + silence(0.5))
            events = await read_until(client, "not-detected", "error")
        assert types(events) == ["not-detected"]


class TestParts:
    async def test_asr_only(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            await client.send(run("asr", "asr"))
            await send_audio(client, speaker.say("Turn on the light.") + silence(0.3))
            events = await read_until(client, "transcript")
        assert types(events) == WHOLE_TURN[:6]
        assert "timeline" in events[-1].data

    async def test_handle_only(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(run("handle", "handle"))
            await client.send(Event("transcript", {"text": "Hello"}))
            events = await read_until(client, "handled")
        assert types(events) == ["handled-start", "handled-chunk", "handled-stop", "handled"]

    async def test_tts_of_an_announcement(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(run("tts", "tts", announce_text="The laundry is done."))
            events = await read_until(client, "audio-stop")
        assert types(events) == ["audio-start", "audio-chunk", "audio-stop"]

    async def test_tts_of_a_stream(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(run("tts", "tts"))
            await client.send(Event("synthesize-start", {}))
            await client.send(SynthesizeChunk("The laundry is done. ").event())
            events = await read_until(client, "audio-chunk")
            await client.send(SynthesizeChunk("Take it out.").event())
            await client.send(SynthesizeStop().event())
            events += await read_until(client, "audio-stop")
        assert types(events) == ["audio-start", "audio-chunk", "audio-stop"]


class TestFaults:
    async def test_no_speech_is_an_error_and_the_next_turn_works(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            events = await ask(client, silence(1))
            assert types(events) == ["error"]
            assert events[-1].data["code"] == "no-speech"
            assert events[-1].data["timeline"]["outcome"] == "failed"
            again = await ask(client, speaker.say("Thank you!") + silence(0.3))
        assert types(again) == WHOLE_TURN

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            ({"start_stage": "tts", "end_stage": "asr"}, "bad-event"),
            ({"start_stage": "intent", "end_stage": "tts"}, "bad-event"),
            ({"start_stage": "asr"}, "bad-event"),
            ({"start_stage": "asr", "end_stage": ["tts"]}, "bad-event"),
            ({"start_stage": "asr", "end_stage": "tts", "language": "tlh"}, "unknown-language"),
            ({"start_stage": "asr", "end_stage": "tts", "voice": {"name": "nobody"}}, "unknown-voice"),
            ({"start_stage": "asr", "end_stage": "tts", "voice": "nobody"}, "bad-event"),
            ({"start_stage": "wake", "end_stage": "tts", "wake_word_names": ["computer"]}, "unknown-wake-word"),
            ({"start_stage": "asr", "end_stage": "tts", "context": {"conversation_id": 5}}, "bad-event"),
            ({"start_stage": "asr", "end_stage": "tts", "context": {"conversation_id": "x" * 500}}, "bad-event"),
        ],
    )
    async def test_a_mistake_is_an_error_and_the_connection_goes_on(
        self, server: ServerProcess, data: dict[str, object], code: str
    ) -> None:
        async with server.client() as client:
            await client.send(Event("run-pipeline", data))
            error = Error.from_event((await read_until(client, "error"))[-1])
            assert error.code == code
            await client.send(Describe().event())
            await read_until(client, "info")

    async def test_bad_audio_is_one_error(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(run("asr", "tts"))
            for _ in range(3):
                await client.send(Event("audio-chunk", {"rate": 16_000}, b"1234"))
            await client.send(Describe().event())
            events = await read_until(client, "info")
        assert [event.data.get("code") for event in events] == ["bad-event", None]

    async def test_a_client_that_leaves_cancels_its_turn(self, server: ServerProcess) -> None:
        before = status(server)["turns"]
        assert isinstance(before, list)
        async with server.client() as client:
            await client.send(run("handle", "tts"))
            await client.send(Event("transcript", {"text": "Tell me a very long story about a bird."}))
            await read_until(client, "audio-chunk")
        turn = await wait_for_turn(server, before)
        assert turn["outcome"] == "cancelled"

    async def test_a_new_turn_cancels_the_one_before(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(run("handle", "tts"))
            await client.send(Event("transcript", {"text": "Tell me a very long story about a bird."}))
            await read_until(client, "audio-chunk")
            before = status(server)["turns"]
            assert isinstance(before, list)
            await client.send(run("handle", "tts", context={"conversation_id": "second"}))
            await client.send(Event("transcript", {"text": "Hello"}))
            cancelled = await wait_for_turn(server, before)
            assert cancelled["outcome"] in ("cancelled", "completed")
            events = await read_until(client, "handled-start")
            while events[-1].data["context"]["conversation_id"] != "second":
                events = await read_until(client, "handled-start")
            events = await read_until(client, "audio-stop")
        assert [event.data["text"] for event in events if event.type == "handled"] == ["Hello! How can I help?"]

    async def test_nothing_in_an_answer_can_be_lost_by_a_slow_reader(self, server: ServerProcess) -> None:
        """A client that reads late gets the whole answer: the server waits, within its bounds."""
        async with server.client() as client:
            await client.send(run("tts", "tts", announce_text="This sentence is spoken. " * 60))
            await read_until(client, "audio-start")
            await asyncio.sleep(1.0)  # the socket's buffers are full by now
            events = await read_until(client, "audio-stop")
        size = sum(len(event.payload or b"") for event in events)
        assert size > 60 * 22_050  # at least half a second for each


async def test_the_second_sentence_is_written_after_the_first_is_heard(tmp_path: Path, data_dir: Path) -> None:
    """The proof of the overlap: the model writes its second sentence only once audio of the first has arrived."""
    heard = asyncio.Event()
    async with FakeOllama() as ollama:
        ollama.will_answer("Ready.")  # the warm-up
        environment = {"MEADOWLARK_AGENT__OLLAMA__URL": ollama.url}
        with ServerProcess(tmp_path, ["--data-dir", str(own_data(tmp_path, data_dir))], environment) as server:
            await asyncio.to_thread(server.wait_ready)
            ollama.will_answer("Bird", "s sing. ", heard, "They also ", "fly.")
            async with server.client() as client:
                await client.send(run("handle", "tts"))
                await client.send(Event("transcript", {"text": "Tell me about birds."}))
                before = await read_until(client, "audio-chunk")
                assert "handled-stop" not in types(before)
                heard.set()
                after = await read_until(client, "audio-stop")
    written = "".join(event.data["text"] for event in before + after if event.type == "handled-chunk")
    assert written == "Birds sing. They also fly."
    assert after[-1].data["timeline"]["route"].startswith("ollama/")
