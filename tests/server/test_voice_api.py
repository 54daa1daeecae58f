"""Recordings to text and text to sound over HTTP, at a real server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop

from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import RATE, SPEECH, AudioFormat, Converter, seconds, write_wav
from handlers.errors import RequestError
from server.audio_file import KINDS, Encoder, decode
from tests.support.server import ANSWER_SECONDS, ServerProcess, read_until
from tests.support.speech import Speaker, likeness, silence
from tests.support.talking import Talking

TRANSCRIBE = "/api/v1/voice/transcribe"
SYNTHESIZE = "/api/v1/voice/synthesize"
SENTENCE = "Turn on the light in the kitchen."
MOST_SECONDS = aiohttp.ClientTimeout(total=ANSWER_SECONDS)


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.http_port}", timeout=MOST_SECONDS) as session:
        yield session


@pytest.fixture
async def narrow(house: Talking) -> AsyncIterator[aiohttp.ClientSession]:
    """At a server that takes one of each at a time, and little of it."""
    headers = {"Authorization": f"Bearer {house.tokens['guest']}"}
    async with aiohttp.ClientSession(house.address, timeout=MOST_SECONDS, headers=headers) as session:
        yield session


def wav(pcm: bytes, audio: AudioFormat = SPEECH) -> bytes:
    file = io.BytesIO()
    write_wav(file, pcm, audio)
    return file.getvalue()


def encoded(pcm: bytes, container: str, codec: str, rate: int = 48_000) -> bytes:
    """Internal audio as a file of another program."""
    converter = Converter(SPEECH, rate)
    samples = np.frombuffer(converter.convert(pcm) + converter.flush(), "<i2").reshape(1, -1)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        output.mux(stream.encode(frame))  # type: ignore[union-attr,arg-type]
        output.mux(stream.encode(None))  # type: ignore[union-attr]
    return file.getvalue()


FILES = {
    "flac": ("flac", "flac", 44_100),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "ogg": ("ogg", "libopus", 48_000),
    "webm": ("webm", "libopus", 48_000),
    "m4a": ("mp4", "aac", 44_100),
}


@pytest.mark.parametrize("name", FILES)
def test_what_people_have_is_read(name: str, speaker: Speaker) -> None:
    pcm = speaker.say(SENTENCE)
    read = decode(io.BytesIO(encoded(pcm, *FILES[name])), 60)
    assert seconds(read) == pytest.approx(seconds(pcm), abs=0.15)
    assert likeness(read, pcm[RATE // 2 : -RATE // 2]) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_can_be_read(kind: str, speaker: Speaker) -> None:
    """Piece by piece, of the rate that a voice has."""
    pcm = speaker.say(SENTENCE)
    voice = AudioFormat(22_050)
    converter = Converter(SPEECH, voice.rate)
    spoken = converter.convert(pcm) + converter.flush()
    encoder = Encoder(KINDS[kind], voice)
    written = [encoder.feed(spoken[start : start + 4096]) for start in range(0, len(spoken), 4096)]
    assert sum(map(bool, written)) > 2  # it can be played meanwhile
    read = decode(io.BytesIO(b"".join(written) + encoder.finish()), 60)
    assert likeness(read, pcm[RATE // 2 : -RATE // 2]) > 0.95


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unsupported-audio"),
        (b"Dear all, this is no audio file at all. " * 50, "unsupported-audio"),
        (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n", "unsupported-audio"),
        (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "unsupported-audio"),
        (wav(b""), "bad-audio"),
        (wav(silence(7)), "audio-too-long"),
        (wav(bytes(64), AudioFormat(16_000, 2, 32)), "unsupported-audio"),
    ],
)
def test_what_is_no_recording(content: bytes, code: str) -> None:
    with pytest.raises(RequestError) as refused:
        decode(io.BytesIO(content), 6)
    assert refused.value.code == code


def test_a_title_in_an_old_encoding_does_no_harm(speaker: Speaker) -> None:
    pcm = speaker.say("Stop.")
    title = "Küche".encode("latin-1") + b"\0"
    tags = b"INFOINAM" + len(title).to_bytes(4, "little") + title
    named = bytearray(wav(pcm) + b"LIST" + len(tags).to_bytes(4, "little") + tags)
    named[4:8] = (len(named) - 8).to_bytes(4, "little")
    assert decode(io.BytesIO(bytes(named)), 60) == pcm


def test_files_that_are_torn_never_do_harm(speaker: Speaker) -> None:
    """Whatever comes of them is a sentence for the client, or some sound."""
    pcm = speaker.say("Stop.")
    noise = np.random.default_rng(7)
    for container, codec, rate in FILES.values():
        whole = np.frombuffer(encoded(pcm, container, codec, rate), np.uint8)
        for _ in range(25):
            torn = whole.copy()
            torn[noise.integers(0, len(torn), 12)] = noise.integers(0, 256, 12)
            with contextlib.suppress(RequestError):
                assert len(decode(io.BytesIO(torn[: noise.integers(1, len(torn))].tobytes()), 60)) > 0


async def test_a_recording_becomes_text(client: aiohttp.ClientSession, speaker: Speaker) -> None:
    pcm = speaker.say(SENTENCE)
    form = aiohttp.FormData({"language": "en"})
    form.add_field("file", encoded(pcm, "webm", "libopus"), filename="recording.webm", content_type="audio/webm")
    async with client.post(TRANSCRIBE, data=form) as answer:
        found = await answer.json()
        assert answer.status == 200, found
    assert re.sub(r"\W+", " ", found["text"]).lower().strip() == "turn on the light in the kitchen"
    assert found["language"] == "en"
    assert found["duration"] == pytest.approx(seconds(pcm), abs=0.1)
    words = [word for segment in found["segments"] for word in segment["words"]]
    assert [word["word"].strip(".,").lower() for word in words] == [
        "turn",
        "on",
        "the",
        "light",
        "in",
        "the",
        "kitchen",
    ]
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)
    assert all(word["start"] <= word["end"] <= found["duration"] + 0.1 for word in words)
    assert " ".join(segment["text"] for segment in found["segments"]) == found["text"]


async def test_the_body_may_be_the_file(client: aiohttp.ClientSession, speaker: Speaker) -> None:
    async with client.post(
        f"{TRANSCRIBE}?language=en-US", data=wav(speaker.say(SENTENCE)), headers={"Content-Type": "audio/wav"}
    ) as answer:
        assert answer.status == 200
        assert "light in the kitchen" in (await answer.json())["text"].lower()


async def test_mistakes_with_a_recording_are_told(client: aiohttp.ClientSession) -> None:
    async def refused(status: int, **request: Any) -> str:
        async with client.post(TRANSCRIBE, **request) as answer:
            told = await answer.json()
            assert (answer.status, list(told)) == (status, ["error"]), told
            return str(told["error"])

    sound = {"Content-Type": "audio/wav"}
    assert "'file'" in await refused(415, data=b"x", headers={"Content-Type": "text/plain"})
    assert "MP3" in await refused(415, data=b"no sound", headers=sound)
    assert "cut off" in await refused(422, data=wav(b""), headers=sound)
    assert "'xx'" in await refused(422, data=wav(silence(1)), headers=sound, params={"language": "xx"})
    assert "no file" in await refused(400, data=aiohttp.FormData({"language": "en"}, default_to_multipart=True))
    assert "langage" in await refused(400, data=wav(silence(1)), headers=sound, params={"langage": "en"})
    await refused(400, data=b"no form", headers={"Content-Type": "multipart/form-data; boundary=x"})
    await refused(400, data=b"no form", headers={"Content-Type": "multipart/form-data"})
    await refused(403, data=wav(silence(1)), headers={**sound, "Origin": "https://stranger.example"})
    async with client.get(TRANSCRIBE) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_stranger_whose_name_points_here_gets_nothing(client: aiohttp.ClientSession) -> None:
    """Its page may send any header to what its browser takes for its own server, also a token that nobody asked for."""
    stranger = {"Host": "evil.example", "Origin": "http://evil.example", "Authorization": "Bearer x"}
    for path in (SYNTHESIZE, "/v1/audio/speech", "/api/v1/conversation", "/v1/chat/completions"):
        async with client.post(path, json={"text": "Hello."}, headers=stranger) as answer:
            assert answer.status == 403, path


async def test_a_file_of_a_few_bytes_that_claims_hours_is_refused_before_it_is_unpacked(
    client: aiohttp.ClientSession,
) -> None:
    file = io.BytesIO()
    write_wav(file, bytes(60_000), AudioFormat(8, 2, 1))  # an hour of 8 Hz
    async with client.post(TRANSCRIBE, data=file.getvalue(), headers={"Content-Type": "audio/wav"}) as answer:
        assert (answer.status, "8 Hz" in (await answer.json())["error"]) == (415, True)


async def test_bounds_of_recordings(narrow: aiohttp.ClientSession) -> None:
    sound = {"Content-Type": "audio/flac"}
    long = encoded(silence(30), "flac", "flac", 16_000)
    assert len(long) < 100_000  # its length is known only when it is read
    async with narrow.post(TRANSCRIBE, data=long, headers=sound) as answer:
        assert (answer.status, "0.1 minutes" in (await answer.json())["error"]) == (413, True)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield bytes(1 << 16)

    with contextlib.suppress(aiohttp.ClientError):  # it may be told while it still sends
        async with narrow.post(TRANSCRIBE, data=endless(), headers=sound) as answer:
            assert (answer.status, "1 MB" in (await answer.json())["error"]) == (413, True)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield wav(silence(1))[:1000]
        begun.set()
        await go_on.wait()

    # With 'Expect: 100-continue' the body is sent when the server has begun with it.
    first = asyncio.create_task(narrow.post(TRANSCRIBE, data=slow(), headers=sound, expect100=True))
    await begun.wait()
    async with narrow.post(TRANSCRIBE, data=wav(silence(1)), headers=sound) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    async with asyncio.timeout(ANSWER_SECONDS):  # a client that goes leaves its place
        while True:
            async with narrow.post(TRANSCRIBE, data=wav(silence(1)), headers=sound) as answer:
                if answer.status == 200:
                    break


async def test_a_turn_does_not_wait_for_a_long_recording(server: ServerProcess, speaker: Speaker) -> None:
    """The turn is answered while the recording is not even half done; a client that goes ends its work."""
    sentence = speaker.say("Read one page of the book every evening.") + silence(0.4)
    long = sentence * (int(150 / seconds(sentence)) + 1)
    address = f"http://127.0.0.1:{server.http_port}"
    async with aiohttp.ClientSession(address, timeout=MOST_SECONDS) as client:
        sound = {"Content-Type": "audio/wav"}
        recording = asyncio.create_task(client.post(TRANSCRIBE, data=io.BytesIO(wav(long)), headers=sound))
        async with server.client() as wyoming:
            for _ in range(2):
                await wyoming.send(Transcribe(language="en").event())
                await wyoming.send(AudioStart(RATE, 2, 1).event())
                await wyoming.send(AudioChunk(RATE, 2, 1, speaker.say(SENTENCE)).event())
                await wyoming.send(AudioStop().event())
                await read_until(wyoming, "transcript-stop")
        assert not recording.done()
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
        async with client.post(TRANSCRIBE, data=wav(sentence), headers=sound) as answer:
            assert "book" in (await answer.json())["text"]


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Type: audio/wav\r\nContent-Length: 90\r\n\r\nand no more",
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 40\r\n\r\n--x\r\nContent-Disposition: form",
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n--x\r\n\r\n\r\n",
    ],
)
async def test_bodies_that_are_none_are_told_or_dropped(server: ServerProcess, body: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(b"POST " + TRANSCRIBE.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + body)
    writer.write_eof()
    async with asyncio.timeout(ANSWER_SECONDS):
        answer = await reader.read()
    assert not answer or answer.startswith(b"HTTP/1.1 400 "), answer
    writer.close()


def read_header(sound: bytes) -> AudioFormat:
    assert (sound[:4], sound[8:16], sound[36:40]) == (b"RIFF", b"WAVEfmt ", b"data")
    return AudioFormat(int.from_bytes(sound[24:28], "little"), 2, int.from_bytes(sound[22:24], "little"))


async def test_a_text_becomes_sound(client: aiohttp.ClientSession, whisper: WhisperTranscriber) -> None:
    async with client.post(SYNTHESIZE, json={"text": "**Turn on** the light in the kitchen. 😀"}) as answer:
        assert (answer.status, answer.content_type) == (200, "audio/wav")
        assert "Content-Length" not in answer.headers
        sound = await answer.read()
    assert read_header(sound) == AudioFormat(22_050)
    pcm = decode(io.BytesIO(sound), 60)
    assert seconds(pcm) == pytest.approx((len(sound) - 44) / 44_100, abs=0.01)
    assert "light in the kitchen" in (await whisper.transcribe(pcm, "en")).text.lower()


async def test_sound_comes_while_it_is_made(client: aiohttp.ClientSession) -> None:
    """The first sentence is here while the others are not."""
    text = " ".join(f"This is the sentence with the number {number}, and it takes a while." for number in range(24))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with client.post(SYNTHESIZE, json={"text": text}) as answer:
        await answer.content.readexactly(44 + 4096)
        first = loop.time() - began
        while await answer.content.read(1 << 16):
            pass
        whole = loop.time() - began
    assert first < whole / 4


async def test_mistakes_with_a_text_are_told(client: aiohttp.ClientSession) -> None:
    async def refused(status: int, body: object) -> str:
        async with client.post(SYNTHESIZE, json=body) as answer:
            told = await answer.json()
            assert (answer.status, list(told)) == (status, ["error"]), told
            return str(told["error"])

    assert "en_US-joe-medium" in await refused(422, {"text": "Hello.", "voice": "en_US-jo-medium"})
    assert "'tlh'" in await refused(422, {"text": "Hello.", "language": "tlh"})
    assert "empty" in await refused(422, {"text": "  "})
    assert "8000" in await refused(413, {"text": "a" * 8001})
    assert "speed" in await refused(400, {"text": "Hello.", "speed": 2})
    assert "text" in await refused(400, {"text": None})
    async with client.post(SYNTHESIZE, data=b"{", headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
    async with client.post(SYNTHESIZE, data=b"{}", headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415


async def test_who_goes_leaves_a_place(narrow: aiohttp.ClientSession) -> None:
    text = " ".join(f"This is the sentence with the number {number}, and it takes a while." for number in range(90))
    first = await narrow.post(SYNTHESIZE, json={"text": text})
    await first.content.readexactly(4096)
    async with narrow.post(SYNTHESIZE, json={"text": "Hello."}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
    first.close()
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            async with narrow.post(SYNTHESIZE, json={"text": "Hello."}) as answer:
                if answer.status == 200:
                    break
