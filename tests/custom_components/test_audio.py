"""The Wyoming client: against a real server, and against ones that break off, hang or send errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.tts import SynthesizeStopped, SynthesizeVoice
from wyoming.wake import Detection, NotDetected

from custom_components.meadowlark import audio as audio_module
from custom_components.meadowlark.audio import AudioClient, AudioError, Heard, languages

from .support.fake_wyoming import FakeWyoming, Peer, Script
from .support.server import MeadowlarkServer
from .support.speech import RATE, WIDTH, Microphone, at_once, say, silence

pytestmark = pytest.mark.usefixtures("socket_enabled")

SOON_SECONDS = 0.6
"""In place of half a minute, where a server hangs."""

DEADLINE_SECONDS = 30.0
"""The longest that a test waits."""


@pytest.fixture
def client(meadowlark: MeadowlarkServer) -> AudioClient:
    return AudioClient(meadowlark.host, meadowlark.wyoming_port)


@contextlib.asynccontextmanager
async def fake(script: Script) -> AsyncIterator[AudioClient]:
    async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
        yield AudioClient(server.host, server.port, SOON_SECONDS)


async def pieces(*texts: str) -> AsyncGenerator[str]:
    for text in texts:
        yield text


class TestOffer:
    async def test_a_real_server_says_its_languages_voices_and_wake_words(self, client: AudioClient) -> None:
        info = await client.describe()
        heard, spoken = languages(info)
        assert {"en", "de"} <= heard
        assert spoken == {"en-US"}
        assert "okay_nabu" in [model.name for model in info.wake[0].models]

    async def test_it_is_asked_once_for_many(self, meadowlark: MeadowlarkServer) -> None:
        client = AudioClient(meadowlark.host, meadowlark.wyoming_port)
        told: list[int] = []
        client.subscribe(lambda: told.append(1))
        infos = await asyncio.gather(*(client.offer() for _ in range(3)))
        assert infos[0] is infos[1] is infos[2] is client.info
        assert told == [1]

    async def test_nobody_there(self, unused_tcp_port: int) -> None:
        with pytest.raises(AudioError) as problem:
            await AudioClient("127.0.0.1", unused_tcp_port).describe()
        assert problem.value.code == "unreachable"

    async def test_a_server_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audio_module, "DESCRIBE_SECONDS", SOON_SECONDS)
        async with fake(Peer.until_closed) as client:
            with pytest.raises(AudioError) as problem:
                await client.describe()
        assert problem.value.code == "timeout"

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[1]\n", b'{"data": {}}\n', b""])
    async def test_another_server(self, answer: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive()
            peer.writer.write(answer)

        async with fake(script) as client:
            with pytest.raises(AudioError) as problem:
                await client.describe()
        assert problem.value.code in ("bad-event", "closed")

    async def test_an_info_that_is_none(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive()
            peer.writer.write(b'{"type": "info", "data": {"asr": 5}}\n')
            await peer.until_closed()

        async with fake(script) as client:
            with pytest.raises(AudioError) as problem:
                await client.describe()
        assert problem.value.code == "bad-event"


class TestTranscribe:
    async def test_the_transcript_comes_while_the_microphone_runs(
        self, meadowlark: MeadowlarkServer, client: AudioClient
    ) -> None:
        spoken = silence(0.3) + await say(meadowlark, "What time is it?")
        microphone = Microphone(spoken)
        async with asyncio.timeout(DEADLINE_SECONDS):
            text = await client.transcribe(microphone.stream(), "en")
        assert "time" in text.lower()
        assert len(spoken) < microphone.heard, "it ended before the speech had"
        assert microphone.closed

    async def test_a_file_is_transcribed_after_its_end(self, meadowlark: MeadowlarkServer, client: AudioClient) -> None:
        text = await client.transcribe(at_once(await say(meadowlark, "Turn on the kitchen light.")), "en")
        assert "kitchen light" in text.lower()

    async def test_silence_is_no_words(self, client: AudioClient) -> None:
        assert await client.transcribe(at_once(silence(1)), "en") == ""

    async def test_a_language_that_the_server_does_not_know(self, client: AudioClient) -> None:
        microphone = Microphone(b"")
        with pytest.raises(AudioError) as problem:
            await client.transcribe(microphone.stream(), "tlh")
        assert problem.value.code == "unknown-language"
        assert microphone.closed

    async def test_the_server_closes_in_the_middle_of_speech(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("audio-chunk")

        microphone = Microphone(b"")
        async with fake(script) as client:
            with pytest.raises(AudioError) as problem:
                await client.transcribe(microphone.stream(), "en")
        assert problem.value.code == "closed"
        assert microphone.closed

    async def test_nobody_there(self, unused_tcp_port: int) -> None:
        microphone = Microphone(b"")
        stream = microphone.stream()
        await anext(stream)
        with pytest.raises(AudioError):
            await AudioClient("127.0.0.1", unused_tcp_port).transcribe(stream, "en")
        assert microphone.closed

    async def test_the_server_hangs_after_the_speech(self) -> None:
        async with fake(Peer.until_closed) as client:
            with pytest.raises(AudioError) as problem:
                await client.transcribe(at_once(silence(0.1)), "en")
        assert problem.value.code == "timeout"

    async def test_the_server_hangs_while_somebody_speaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audio_module, "LISTEN_SECONDS", SOON_SECONDS)
        microphone = Microphone(b"")
        async with fake(Peer.until_closed) as client:
            with pytest.raises(AudioError) as problem:
                await client.transcribe(microphone.stream(), "en")
        assert problem.value.code == "timeout"
        assert microphone.closed

    async def test_the_server_takes_nothing(self) -> None:
        async def script(peer: Peer) -> None:
            await asyncio.get_running_loop().create_future()

        async def endless() -> AsyncGenerator[bytes]:
            while True:
                yield bytes(65536)

        async with fake(script) as client:
            with pytest.raises(AudioError) as problem:
                await client.transcribe(endless(), "en")
        assert problem.value.code == "timeout"

    async def test_the_stream_fails(self) -> None:
        async def broken() -> AsyncGenerator[bytes]:
            yield bytes(64)
            raise LookupError("the satellite is gone")

        async with fake(Peer.until_closed) as client:
            with pytest.raises(LookupError, match="the satellite is gone"):
                await client.transcribe(broken(), "en")

    async def test_a_request_that_is_cancelled_closes_the_connection(self) -> None:
        begun = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.receive_until("audio-chunk")
            begun.set()
            await peer.until_closed()

        microphone = Microphone(b"")
        async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
            client = AudioClient(server.host, server.port)
            request = asyncio.create_task(client.transcribe(microphone.stream(), "en"))
            await begun.wait()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            assert microphone.closed
            await server.gone.wait()

    async def test_the_next_request_works_after_a_failure(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("audio-start")
            if server.connections > 1:
                await peer.send(Transcript("hello"))
                await peer.until_closed()

        async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
            client = AudioClient(server.host, server.port)
            with pytest.raises(AudioError):
                await client.transcribe(Microphone(b"").stream(), "en")
            assert await client.transcribe(Microphone(b"").stream(), "en") == "hello"


class TestSynthesize:
    async def test_audio_comes_before_the_text_is_complete(self, client: AudioClient) -> None:
        heard = asyncio.Event()

        async def slow() -> AsyncGenerator[str]:
            yield "The kitchen light is on. "
            await heard.wait()
            yield "The door is closed."

        before = after = 0
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for part in client.synthesize(slow(), None):
                if isinstance(part, AudioStart):
                    assert (part.width, part.channels) == (2, 1)
                    continue
                if heard.is_set():
                    after += len(part.audio)
                else:
                    before += len(part.audio)
                    heard.set()
        assert before > 0
        assert after > before

    async def test_nothing_to_speak_is_a_format_without_audio(self, client: AudioClient) -> None:
        parts = [part async for part in client.synthesize(pieces("", "..."), None)]
        assert isinstance(parts[0], AudioStart)
        assert sum(len(part.audio) for part in parts if isinstance(part, AudioChunk)) == 0

    async def test_a_voice_that_is_not_there(self, client: AudioClient) -> None:
        with pytest.raises(AudioError) as problem:
            [part async for part in client.synthesize(pieces("Hello."), SynthesizeVoice(name="xx_XX-nobody-low"))]
        assert problem.value.code == "unknown-voice"

    async def test_an_error_in_the_middle(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("synthesize-stop")
            await peer.send(AudioStart(16000, 2, 1), AudioChunk(16000, 2, 1, bytes(64)))
            await peer.send(Error("out of words", "engine"))
            await peer.until_closed()

        async with fake(script) as client:
            parts = client.synthesize(pieces("Hello."), None)
            assert [type(await anext(parts)) for _ in range(2)] == [AudioStart, AudioChunk]
            with pytest.raises(AudioError, match="out of words") as problem:
                await anext(parts)
        assert problem.value.code == "engine"

    async def test_the_server_hangs(self) -> None:
        async with fake(Peer.until_closed) as client:
            with pytest.raises(AudioError) as problem:
                [part async for part in client.synthesize(pieces("Hello."), None)]
        assert problem.value.code == "timeout"

    async def test_a_text_that_is_long_in_coming_is_waited_for(self) -> None:
        """The server has nothing to say while a language model thinks."""
        waited = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.receive_until("synthesize-stop")
            assert waited.is_set()
            await peer.send(AudioStart(16000, 2, 1), AudioStop(), SynthesizeStopped())
            await peer.until_closed()

        async def slow() -> AsyncGenerator[str]:
            yield "Let me see. "
            await asyncio.sleep(3 * SOON_SECONDS)
            waited.set()
            yield "It is noon."

        async with fake(script) as client:
            assert [type(part) async for part in client.synthesize(slow(), None)] == [AudioStart]

    async def test_the_text_fails(self) -> None:
        async def broken() -> AsyncGenerator[str]:
            yield "Let me see. "
            raise LookupError("the model is gone")

        async with fake(Peer.until_closed) as client:
            with pytest.raises(LookupError, match="the model is gone"):
                [part async for part in client.synthesize(broken(), None)]

    async def test_a_listener_who_leaves_closes_the_connection(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("synthesize-chunk")
            await peer.send(AudioStart(16000, 2, 1))
            await peer.until_closed()

        closed = False

        async def endless() -> AsyncGenerator[str]:
            nonlocal closed
            try:
                yield "Let me see. "
                await asyncio.get_running_loop().create_future()
            finally:
                closed = True

        async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
            parts = AudioClient(server.host, server.port).synthesize(endless(), None)
            assert isinstance(await anext(parts), AudioStart)
            await parts.aclose()
            assert closed
            await server.gone.wait()


class TestDetect:
    async def test_a_wake_word_is_heard_where_it_was_said(
        self, meadowlark: MeadowlarkServer, client: AudioClient
    ) -> None:
        before = silence(1)
        word = await say(meadowlark, "Hey Jarvis!")
        microphone = Microphone(before + word)
        stream = microphone.timed()
        async with asyncio.timeout(DEADLINE_SECONDS):
            heard = await client.detect(stream, "hey_jarvis")
        assert heard is not None
        assert heard.name == "hey_jarvis"
        said = len(before) * 1000 // (RATE * WIDTH)
        assert said < heard.milliseconds <= said + len(word) * 1000 // (RATE * WIDTH) + 1000
        assert heard.unsent is not None
        assert not microphone.closed, "what follows is the command"
        _, next_ms = await anext(stream)
        assert next_ms == heard.unsent[1] + 32
        await stream.aclose()

    async def test_times_are_on_the_clock_of_the_audio(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("audio-chunk")
            await peer.send(Detection("other", 1), Detection("alexa", 250))
            await peer.until_closed()

        async def later() -> AsyncGenerator[tuple[bytes, int]]:
            ms = 7000
            while True:
                await asyncio.sleep(0)
                yield bytes(320), ms
                ms += 10

        async with fake(script) as client:
            heard = await client.detect(later(), "alexa")
        assert heard is not None
        assert (heard.name, heard.milliseconds) == ("alexa", 7250)

    async def test_audio_that_ends_without(self, client: AudioClient) -> None:
        async def short() -> AsyncGenerator[tuple[bytes, int]]:
            yield silence(0.5), 0

        assert await client.detect(short(), "alexa") is None

    async def test_a_word_at_the_very_end(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("audio-stop")
            await peer.send(Detection("alexa", 10), NotDetected())
            await peer.until_closed()

        async def short() -> AsyncGenerator[tuple[bytes, int]]:
            yield silence(0.5), 100

        async with fake(script) as client:
            assert await client.detect(short(), None) == Heard("alexa", 110)

    async def test_a_wake_word_that_is_not_there(self, client: AudioClient) -> None:
        with pytest.raises(AudioError) as problem:
            await client.detect(Microphone(b"").timed(), "abracadabra")
        assert problem.value.code == "unknown-wake-word"

    async def test_the_server_closes(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.receive_until("audio-chunk")

        microphone = Microphone(b"")
        stream = microphone.timed()
        async with fake(script) as client:
            with pytest.raises(AudioError) as problem:
                await client.detect(stream, None)
        assert problem.value.code == "closed"
        assert not microphone.closed
        await stream.aclose()

    async def test_the_server_hangs_at_the_end(self) -> None:
        async def short() -> AsyncGenerator[tuple[bytes, int]]:
            yield silence(0.1), 0

        async with fake(Peer.until_closed) as client:
            with pytest.raises(AudioError) as problem:
                await client.detect(short(), None)
        assert problem.value.code == "timeout"


def test_a_row_of_failures_is_one_line_of_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    client = AudioClient("127.0.0.1", 1)
    for _ in range(3):
        client.complain("Speech to text", AudioError("closed", "It is gone"))
    assert [record.getMessage() for record in caplog.records] == ["Speech to text failed: It is gone"]
    client.worked()
    client.complain("Speech to text", AudioError("closed", "It is gone"))
    assert len(caplog.records) == 2
