"""`WS /api/v1/voice/stream`: whole turns, interruptions and lost connections, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from bench.clips import make_clip
from bench.labels import energy_label
from bench.record import take_turn
from bench.websocket import PageTarget
from tests.support.server import ServerProcess
from tests.support.speech import Speaker, silence
from tests.support.voice_client import PATH, Conversation, VoiceClient, connected

SPEECH = ["voice_started", "transcript_start", "transcript_chunk", "transcript_stop", "voice_stopped", "transcript"]
ANSWER = [
    *("handled_start", "handled_chunk", "handled_stop", "handled"),
    *("audio_start", "audio_stop", "done"),
]


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.http_port}"


class TestTurns:
    async def test_hands_free(self, url: str, speaker: Speaker) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            assert client.ready["protocol"] == 1
            assert client.ready["resumed"] is False
            assert client.ready["voices"]
            await client.send("listen", mode="hands_free")
            microphone = asyncio.create_task(client.say(speaker.say("What time is it?") + silence(60), paced=True))
            done = await client.until("done")
            assert not microphone.done()
            microphone.cancel()
        assert talk.types() == ["listening", *SPEECH, *ANSWER]
        assert "what time is it" in talk.of("transcript")[0]["text"].lower()
        assert talk.of("handled")[0]["text"].startswith("It's ")
        assert talk.of("handled")[0]["listen"] is False
        audio = talk.of("audio_start")[0]
        assert len(talk.audio) > 0.5 * audio["rate"] * audio["width"] * audio["channels"]
        assert done["outcome"] == "completed"
        marks = done["timeline"]["marks_ms"]
        order = ["speech_start", "endpoint", "transcript", "route", "first_token", "first_sentence", "first_audio"]
        assert [marks[name] for name in order] == sorted(marks[name] for name in order)
        assert {message["turn"] for message in talk.seen[1:]} == {1}

    async def test_push_to_talk_takes_all_up_to_the_end(self, url: str, speaker: Speaker) -> None:
        pcm = speaker.say("What time is it?") + silence(1.5) + speaker.say("Thank you!")
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen", mode="push_to_talk")
            await client.say(pcm, paced=True)
            await client.send("end_audio")
            await client.until("done")
        text = talk.of("transcript")[0]["text"].lower()
        assert "time" in text
        assert "thank you" in text
        assert talk.types()[-1] == "done"

    async def test_text(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.ask("What time is it?")
        assert talk.types() == ANSWER
        assert talk.audio

    async def test_a_wake_word_comes_first(self, url: str, speaker: Speaker) -> None:
        pcm = silence(0.5) + speaker.say("Hey Jarvis!") + silence(0.2) + speaker.say("What time is it?") + silence(0.5)
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen", wake_words=["hey_jarvis"])
            await client.say(pcm)
            await client.send("end_audio")
            await client.until("done")
        assert talk.types() == ["listening", "detection", *SPEECH, *ANSWER]
        assert talk.of("detection")[0]["name"] == "hey_jarvis"

    async def test_without_the_wake_word_nothing_is_heard(self, url: str, speaker: Speaker) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen", wake_words=["hey_jarvis"])
            await client.say(speaker.say("What time is it?"))
            await client.send("end_audio")
            await client.until("done")
        assert talk.types() == ["listening", "not_detected", "done"]

    async def test_a_conversation_goes_on(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk, name="a page") as client:
            await client.ask("What time is it?")
            await client.send("played")
            await client.ask("Say that again.")
        first, again = talk.of("handled")
        assert first["text"] == again["text"]
        assert first["conversation_id"] == again["conversation_id"]

    async def test_silence_is_said_to_be_none(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen")
            await client.say(silence(1))
            await client.send("end_audio")
            done = await client.until("done")
            assert (await client.ask("What time is it?"))["outcome"] == "completed"
        assert talk.of("error")[0]["code"] == "no-speech"
        assert done["outcome"] == "failed"


async def test_the_benchmark_takes_a_turn_as_the_page_does(url: str, speaker: Speaker) -> None:
    clip = make_clip("time", speaker.say("What time is it?"), energy_label, "what time is it")
    record = await take_turn(PageTarget(url, 3.0), clip, 1, 60.0)
    assert record.error is None
    assert record.answer.startswith("It's ")
    assert record.ms["transcript"] <= record.ms["first_text"] <= record.ms["first_audio"] <= record.ms["last_audio"]
    assert record.server_ms["endpoint"] <= record.ms["transcript"]
    assert record.round_trip_ms is not None


class TestRefused:
    async def test_what_cannot_be_done_leaves_the_session_open(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen", wake_words=["no_such_word"])
            await client.send("text", text="x" * 20_000)
            await client.send("something newer")
            assert (await client.ask("What time is it?"))["outcome"] == "completed"
        assert [error["code"] for error in talk.of("error")] == ["unknown-wake-word", "text-too-long"]

    @pytest.mark.parametrize(
        "frame",
        ["", "no JSON", "[]", "{}", '{"type": 1}', '{"type": "text"}', '{"type": "listen", "mode": "loudly"}', b"odd"],
    )
    async def test_garbage_closes_the_connection(self, url: str, frame: str | bytes) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await (client.socket.send_str(frame) if isinstance(frame, str) else client.socket.send_bytes(frame))
            assert await client.closed() == 4400
        error = talk.of("error")[0]
        assert (error["code"], error["fatal"]) == ("bad-frame", True)

    @pytest.mark.parametrize("first", [b"\0\0", '{"type": "ping"}', '{"type": "start"}'])
    async def test_the_first_frame_is_a_start(self, url: str, first: str | bytes) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + PATH) as line:
            client = VoiceClient(line, Conversation())
            await (line.send_str(first) if isinstance(first, str) else line.send_bytes(first))
            assert await client.closed() == 4400

    async def test_another_version(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + PATH) as line:
            client = VoiceClient(line, Conversation())
            await client.send("start", protocol=2)
            assert await client.closed() == 4406
            assert "update this server" in client.talk.of("error")[0]["text"]

    @pytest.mark.parametrize("start", [{"voice": "nobody"}, {"language": "xx-nowhere"}])
    async def test_a_voice_or_language_that_is_not_there(self, url: str, start: dict[str, Any]) -> None:
        async with connected(url, **start) as client:
            assert client.ready["type"] == "error"
            assert client.ready["code"] in ("unknown-voice", "unknown-language")
            assert await client.closed() == 4400

    @pytest.mark.parametrize("frame", ["x" * 70_000, bytes(70_000)])
    async def test_too_large_a_frame(self, url: str, frame: str | bytes) -> None:
        async with connected(url) as client:
            await (client.socket.send_str(frame) if isinstance(frame, str) else client.socket.send_bytes(frame))
            assert await client.closed() == 4413


class TestInterruption:
    async def test_cancel_ends_the_turn_and_its_audio(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("text", text="Tell me a long story about a bird and a cat.")
            await client.until("audio_start")
            await client.send("played", seconds=0.0)
            await client.send("cancel")
            done = await client.until("done")
            heard = len(talk.audio)
            await client.send("ping")
            await client.until("pong")
            assert len(talk.audio) == heard
            assert done["outcome"] == "cancelled"
            assert (await client.ask("What time is it?"))["turn"] == 2
        assert "audio_stop" not in talk.types(turn=1)

    async def test_cancel_while_somebody_speaks(self, url: str, speaker: Speaker) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen")
            await client.say(speaker.say("What time"))
            await client.until("voice_started")
            await client.send("cancel")
            assert (await client.until("done"))["outcome"] == "cancelled"
        assert "handled" not in talk.types()

    async def test_who_speaks_again_is_listened_to(self, url: str, speaker: Speaker) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("text", text="Tell me a long story about a bird and a cat.")
            await client.until("audio_start")
            await client.send("listen", mode="push_to_talk")
            await client.say(speaker.say("What time is it?"))
            await client.send("end_audio")
            assert (await client.until("done"))["outcome"] == "cancelled"
            assert (await client.until("done"))["outcome"] == "completed"
        assert talk.types(turn=2) == ["listening", *SPEECH, *ANSWER]
        assert [message["turn"] for message in talk.of("done")] == [1, 2]

    async def test_every_turn_has_an_end_however_fast_they_come(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("text", text="Tell me a long story about a bird and a cat.")
            await client.until("audio_start")
            for _ in range(4):
                await client.send("listen")
                await client.send("cancel")
            await client.send("text", text="What time is it?")
            assert (await client.until("done", turn=6))["outcome"] == "completed"
        ends = [(message["turn"], message["outcome"]) for message in talk.of("done")]
        assert ends == [*((turn, "cancelled") for turn in range(1, 6)), (6, "completed")]
        turns = [message["turn"] for message in talk.seen if "turn" in message and message["type"] != "ready"]
        assert turns == sorted(turns)  # nothing comes of a turn behind its end


class TestResume:
    @pytest.mark.parametrize("frames", [1, 4, 8, 11])
    async def test_an_answer_is_heard_to_its_end(self, url: str, frames: int) -> None:
        whole = Conversation()
        async with connected(url, whole) as client:
            await client.ask("What day is it today?")
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("text", text="What day is it today?")
            for _ in range(frames):
                await client.receive()
            client.drop()
        async with connected(url, talk) as client:
            assert client.ready["resumed"] is True
            assert client.ready["turn"] == 1
            await client.until("done")
        assert talk.types() == whole.types()
        assert talk.audio == whole.audio
        assert talk.received == whole.received + 1  # the second `ready`

    async def test_an_answer_goes_on_while_nobody_is_connected(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("text", text="Tell me a long story about a bird and a cat.")
            await client.until("audio_start")
            client.drop()
        for _ in range(3):
            async with connected(url, talk) as client:
                assert client.ready["resumed"] is True
                await client.receive()
                client.drop()
        async with connected(url, talk) as client:
            await client.until("done")
        assert "".join(chunk["text"] for chunk in talk.of("handled_chunk")) == talk.of("handled")[0]["text"]
        assert talk.types().count("audio_start") == 1
        assert len(talk.of("done")) == 1

    async def test_speech_goes_on_where_it_was_cut(self, url: str, speaker: Speaker) -> None:
        pcm = speaker.say("What is the capital of France?") + silence(0.1)
        half = len(pcm) // 4 * 2
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("listen", mode="push_to_talk")
            await client.say(pcm[:half])
            await client.until("voice_started")
            client.drop()
        async with connected(url, talk) as client:
            assert client.ready["turn"] == 1
            sent = client.ready["audio_received"]
            assert 0 < sent <= half
            await client.say(pcm[sent:])
            await client.send("end_audio")
            await client.until("done")
        assert "what is the capital of france" in talk.of("transcript")[0]["text"].lower()

    async def test_a_second_connection_takes_over(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as first, connected(url, talk) as second:
            assert second.ready["resumed"] is True
            received = talk.received
            assert await first.closed() == 4409
            assert talk.received == received
            assert (await second.ask("What time is it?"))["outcome"] == "completed"

    async def test_who_says_goodbye_is_not_waited_for(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.socket.close()
        async with connected(url, talk) as client:
            assert client.ready["resumed"] is False
            assert client.ready["session"] == talk.session

    async def test_more_frames_than_were_sent_are_not_believed(self, url: str) -> None:
        talk = Conversation()
        async with connected(url, talk) as client:
            await client.send("ack", received=talk.received)
            await client.send("ack", received=1000)
            assert await client.closed() == 4400
