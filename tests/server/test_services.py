"""Every Wyoming service alone, as any client uses it: over a socket, against a real server with real engines."""

from __future__ import annotations

import asyncio
import time

import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice
from wyoming.wake import Detect

from handlers.audio import BYTES_PER_SECOND
from handlers.wire.client import WyomingClient
from tests.support.server import ServerProcess, read_until
from tests.support.speech import Speaker, silence

_CHUNK = 2048


async def send_audio(client: WyomingClient, pcm: bytes, *, paced: bool = False, stop: bool = True) -> None:
    """Audio as a client sends it; `paced` as a microphone does."""
    await client.send(AudioStart(16_000, 2, 1).event())
    began = time.monotonic()
    for start in range(0, len(pcm), _CHUNK):
        await client.send(AudioChunk(16_000, 2, 1, pcm[start : start + _CHUNK]).event())
        if paced:
            await asyncio.sleep(max(0.0, began + (start + _CHUNK) / BYTES_PER_SECOND - time.monotonic()))
    if stop:
        await client.send(AudioStop().event())


def types(events: list[Event]) -> list[str]:
    """Event types without repetitions in a row."""
    result: list[str] = []
    for event in events:
        if not result or result[-1] != event.type:
            result.append(event.type)
    return result


async def test_info_has_one_program_of_each_kind(server: ServerProcess) -> None:
    async with server.client() as client:
        await client.send(Describe().event())
        info = Info.from_event((await read_until(client, "info"))[-1])
    assert [len(programs) for programs in (info.asr, info.tts, info.wake, info.handle)] == [1, 1, 1, 1]
    assert info.satellite is None
    assert info.asr[0].supports_transcript_streaming
    assert not info.asr[0].requires_external_vad
    assert info.tts[0].supports_synthesize_streaming
    assert info.handle[0].supports_handled_streaming
    assert "okay nabu" in [model.phrase for model in info.wake[0].models]


class TestAsr:
    async def test_a_file_is_transcribed_whole_across_a_long_pause(
        self, server: ServerProcess, speaker: Speaker
    ) -> None:
        pcm = speaker.say("Turn on the light.") + silence(2) + speaker.say("What time is it?") + silence(0.3)
        async with server.client() as client:
            await client.send(Transcribe(language="en-US").event())
            await send_audio(client, pcm)
            events = await read_until(client, "transcript-stop")
        assert types(events) == ["transcript-start", "transcript-chunk", "transcript", "transcript-stop"]
        text = events[-2].data["text"].lower()
        assert "turn on the light" in text
        assert "what time is it" in text
        assert events[-2].data["language"] == "en"

    async def test_live_speech_ends_by_itself(self, server: ServerProcess, speaker: Speaker) -> None:
        """The transcript comes while audio still flows and without an audio-stop."""
        pcm = silence(0.2) + speaker.say("What time is it?") + silence(5)
        async with server.client() as client:
            await client.send(Transcribe().event())
            sending = asyncio.create_task(send_audio(client, pcm, paced=True, stop=False))
            events = await read_until(client, "transcript")
            assert not sending.done()
            sending.cancel()
        assert "what time is it" in events[-1].data["text"].lower()

    async def test_two_utterances_on_one_connection(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            for text in ("What time is it?", "Turn on the light."):
                await send_audio(client, speaker.say(text) + silence(0.3))
                events = await read_until(client, "transcript-stop")
                assert text.lower().rstrip(".?") in events[-2].data["text"].lower()

    async def test_silence_is_an_empty_transcript(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await send_audio(client, silence(2))
            events = await read_until(client, "transcript-stop")
        assert events[-2].data["text"] == ""

    @pytest.mark.parametrize(
        ("event", "code"),
        [
            (Transcribe(language="tlh").event(), "unknown-language"),
            (Transcribe(name="whisper-huge").event(), "unknown-model"),
            (Event("transcribe", {"language": 7}), "bad-event"),
            (Event("audio-start", {"rate": 16000, "channels": 1}), "bad-event"),
            (Event("audio-start", {"rate": 1, "width": 2, "channels": 1}), "bad-audio-format"),
            (Event("audio-chunk", {"rate": "fast", "width": 2, "channels": 1}, b"12"), "bad-event"),
        ],
    )
    async def test_a_mistake_is_an_error_and_the_connection_goes_on(
        self, server: ServerProcess, event: Event, code: str
    ) -> None:
        async with server.client() as client:
            await client.send(event)
            error = Error.from_event((await read_until(client, "error"))[-1])
            assert error.code == code
            assert error.text
            await client.send(Describe().event())
            await read_until(client, "info")

    async def test_a_recording_in_another_format(self, server: ServerProcess, speaker: Speaker) -> None:
        """8-bit stereo at another rate than ours is converted at the edge."""
        import numpy as np
        import soxr

        from handlers.audio import to_float

        samples = soxr.resample(to_float(speaker.say("What time is it?") + silence(0.3)), 16_000, 44_100)
        stereo = np.repeat(np.clip(samples * 127 + 128, 0, 255).astype(np.uint8), 2).tobytes()
        async with server.client() as client:
            await client.send(AudioStart(44_100, 1, 2).event())
            for start in range(0, len(stereo), 999):
                await client.send(AudioChunk(44_100, 1, 2, stereo[start : start + 999]).event())
            await client.send(AudioStop().event())
            events = await read_until(client, "transcript")
        assert "what time is it" in events[-1].data["text"].lower()


class TestTts:
    async def test_plain(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(Synthesize("Hello there. How are you?", SynthesizeVoice(language="en_us")).event())
            events = await read_until(client, "audio-stop")
        assert types(events) == ["audio-start", "audio-chunk", "audio-stop"]
        assert seconds_of(events) > 1.0

    async def test_stream_is_spoken_once_and_before_its_end(self, server: ServerProcess) -> None:
        """Home Assistant sends the whole text again inside the stream."""
        first, second = "This is the first sentence. ", "This is the second one."
        async with server.client() as client:
            await client.send(SynthesizeStart().event())
            await client.send(SynthesizeChunk(first).event())
            await client.send(SynthesizeChunk(second[:10]).event())
            events = await read_until(client, "audio-chunk")  # speaks while the text is still being written
            await client.send(SynthesizeChunk(second[10:]).event())
            await client.send(Synthesize(first + second).event())
            await client.send(SynthesizeStop().event())
            events += await read_until(client, "synthesize-stopped")
            assert types(events) == ["audio-start", "audio-chunk", "audio-stop", "synthesize-stopped"]

            await client.send(Synthesize(first + second).event())  # a plain request after a stream is answered
            plain = await read_until(client, "audio-stop")
        assert seconds_of(events) == pytest.approx(seconds_of(plain), rel=0.25)

    @pytest.mark.parametrize("text", ["", "   ", "👍", "```\nx = 1\n```"])
    async def test_nothing_to_say_is_answered_at_once(self, server: ServerProcess, text: str) -> None:
        async with server.client() as client:
            await client.send(Synthesize(text).event())
            events = await read_until(client, "audio-stop")
        assert types(events) == ["audio-start", "audio-stop"]

    async def test_an_empty_stream_is_ended(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(SynthesizeStart().event())
            await client.send(SynthesizeStop().event())
            events = await read_until(client, "synthesize-stopped")
        assert types(events) == ["audio-start", "audio-stop", "synthesize-stopped"]

    async def test_requests_are_answered_in_order(self, server: ServerProcess) -> None:
        texts = ["One.", "This is a much longer sentence than the others are.", "Three."]
        async with server.client() as client:
            for text in texts:
                await client.send(Synthesize(text).event())
            answers = [await read_until(client, "audio-stop") for _ in texts]
        lengths = [seconds_of(answer) for answer in answers]
        assert max(lengths) == lengths[1]

    async def test_unknown_voice_in_a_stream_still_ends_it(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(SynthesizeStart(voice=SynthesizeVoice(name="en_GB-nobody-low")).event())
            await client.send(SynthesizeChunk("Hello.").event())
            await client.send(SynthesizeStop().event())
            events = await read_until(client, "synthesize-stopped")
        assert types(events) == ["error", "synthesize-stopped"]
        assert events[0].data["code"] == "unknown-voice"

    @pytest.mark.parametrize(
        ("event", "code"),
        [
            (Synthesize("Hi", SynthesizeVoice(name="en_US-jo-medium")).event(), "unknown-voice"),
            (Synthesize("Hi", SynthesizeVoice(language="xx")).event(), "unknown-language"),
            (Synthesize("Hi", SynthesizeVoice(name="en_US-joe-medium", speaker="bob")).event(), "unknown-speaker"),
            (Synthesize("<speak>Hi</speak>", text_format="ssml").event(), "unsupported-format"),
            (Synthesize("word " * 4000).event(), "text-too-long"),
            (Event("synthesize", {}), "bad-event"),
            (SynthesizeChunk("Hi").event(), "bad-event"),
        ],
    )
    async def test_a_mistake_is_an_error_and_the_connection_goes_on(
        self, server: ServerProcess, event: Event, code: str
    ) -> None:
        async with server.client() as client:
            await client.send(event)
            error = Error.from_event((await read_until(client, "error"))[-1])
            assert error.code == code
            await client.send(Synthesize("Hello.").event())
            assert types(await read_until(client, "audio-stop")) == ["audio-start", "audio-chunk", "audio-stop"]

    async def test_a_stream_of_20000_characters_is_an_error_that_ends(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(SynthesizeStart().event())
            for _ in range(20):
                await client.send(SynthesizeChunk("x" * 1000).event())
            await client.send(SynthesizeStop().event())
            errors = [event for event in await read_until(client, "synthesize-stopped") if Error.is_type(event.type)]
        assert [error.data["code"] for error in errors] == ["text-too-long"]


class TestWake:
    async def test_a_word_is_detected_among_all(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            await client.send(Detect().event())
            await send_audio(client, silence(1) + speaker.say("Hey Jarvis!") + silence(1))
            event = (await read_until(client, "detection", "not-detected"))[-1]
        assert event.data.get("name") == "hey_jarvis"
        assert 1000 < event.data["timestamp"] < 3000

    async def test_other_speech_is_not_detected(self, server: ServerProcess, speaker: Speaker) -> None:
        async with server.client() as client:
            await client.send(Detect(names=["okay_nabu"]).event())
            for _ in range(2):  # and again on the same connection
                await send_audio(client, speaker.say("What time is it?") + silence(0.5))
                assert types(await read_until(client, "detection", "not-detected")) == ["not-detected"]

    async def test_unknown_word_is_an_error(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(Detect(names=["okay_nabuu"]).event())
            error = Error.from_event((await read_until(client, "error"))[-1])
        assert error.code == "unknown-wake-word"
        assert "okay_nabu" in error.text


class TestHandle:
    async def test_a_skill_answers(self, server: ServerProcess) -> None:
        async with server.client() as client:
            context = {"conversation_id": "kitchen"}
            await client.send(Event("transcript", {"text": "Thank you!", "language": "en-GB", "context": context}))
            events = await read_until(client, "handled")
        assert types(events) == ["handled-start", "handled-chunk", "handled-stop", "handled"]
        handled = Handled.from_event(events[-1])
        assert handled.text == "You're welcome."
        assert handled.context == context

    async def test_the_built_in_model_streams(self, server: ServerProcess) -> None:
        async with server.client() as client:
            await client.send(Event("transcript", {"text": "Tell me a story about a bird."}))
            events = await read_until(client, "handled")
        chunks = [event.data["text"] for event in events if event.type == "handled-chunk"]
        assert len(chunks) > 5
        assert "".join(chunks) == events[-1].data["text"]


async def test_describe_is_answered_while_others_are_served(server: ServerProcess, speaker: Speaker) -> None:
    """Nothing blocks the event loop: many describes are answered during one transcription and one synthesis."""
    pcm = speaker.say("What time is it?") * 4 + silence(0.3)
    async with server.client() as hearing, server.client() as speaking, server.client() as asking:
        await hearing.send(Transcribe().event())
        await send_audio(hearing, pcm)
        await speaking.send(Synthesize("This is quite a long sentence that takes a while to synthesise. " * 8).event())
        work = asyncio.gather(read_until(hearing, "transcript"), read_until(speaking, "audio-stop"))
        answered, waits = 0, []
        while not work.done():
            began = time.monotonic()
            await asking.send(Describe().event())
            await read_until(asking, "info")
            waits.append(time.monotonic() - began)
            answered += 1
            await asyncio.sleep(0)
        await work
    print(
        f"{answered} describes, median {sorted(waits)[len(waits) // 2] * 1000:.1f} ms, worst {max(waits) * 1000:.1f} ms"
    )
    assert answered > 20


def seconds_of(events: list[Event]) -> float:
    """Length of the audio in some events."""
    start = next(event for event in events if AudioStart.is_type(event.type))
    size = sum(len(event.payload or b"") for event in events if AudioChunk.is_type(event.type))
    return size / (start.data["rate"] * start.data["width"] * start.data["channels"])
