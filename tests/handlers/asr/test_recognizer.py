"""From a stream of audio to a transcript, with real speech, Silero and Whisper; live audio comes at twice its speed."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Sequence
from typing import Self

import numpy as np
import pytest

from handlers.asr.recognizer import Recognizer
from handlers.asr.silero import Silero
from handlers.asr.stage import NO_HINTS, AsrSettings, EndpointSettings, Hints, Transcript
from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import BYTES_PER_SECOND, from_float, seconds
from handlers.cpu import Ticket
from handlers.errors import EngineError, RequestError
from handlers.timeline import Mark, Timeline
from tests.support.speech import Speaker, silence

SOON = 30.0
"""A deadline that only a defect reaches."""

CHUNK = 2048
SPEED = 2.0
SETTINGS = AsrSettings()


class Heard:
    """What a recognizer told while it listened."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.guesses: list[str] = []
        self.partials: list[str] = []

    async def speech_started(self) -> None:
        self.events.append("started")

    async def guessed(self, transcript: Transcript) -> None:
        self.guesses.append(transcript.text)

    async def resumed(self, text: str) -> None:
        self.partials.append(text)

    async def speech_ended(self, transcript: Transcript) -> None:
        self.events.append(transcript.text)


class Watched:
    """The real Whisper, and a list of what it was asked."""

    def __init__(self, whisper: WhisperTranscriber) -> None:
        self.whisper = whisper
        self.asked: list[bytes] = []

    @property
    def name(self) -> str:
        return self.whisper.name

    @property
    def languages(self) -> Sequence[str]:
        return self.whisper.languages

    async def transcribe(
        self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS, ticket: Ticket | None = None
    ) -> Transcript:
        self.asked.append(pcm)
        return await self.whisper.transcribe(pcm, language, hints, ticket)

    async def likelihood(self, pcm: bytes, phrase: str, language: str) -> float:
        return await self.whisper.likelihood(pcm, phrase, language)

    async def close(self) -> None:
        await self.whisper.close()


class Stuck:
    """An engine that never answers, or fails."""

    name = "stuck"
    languages = ("en",)

    def __init__(self, failures: int = 0) -> None:
        self.running = asyncio.Event()
        self.inside = 0
        self._failures = failures

    async def transcribe(
        self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS, ticket: Ticket | None = None
    ) -> Transcript:
        self.running.set()
        if self._failures:
            self._failures -= 1
            raise EngineError("It fails")
        self.inside += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.inside -= 1
        raise AssertionError

    async def likelihood(self, pcm: bytes, phrase: str, language: str) -> float:
        raise AssertionError

    async def close(self) -> None:
        pass


@pytest.fixture
def watched(whisper: WhisperTranscriber) -> Watched:
    return Watched(whisper)


@pytest.fixture(autouse=True)
async def nothing_unseen() -> AsyncIterator[None]:
    """No task may end with an exception that nobody looked at, and none may be left."""
    seen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(str(context)))
    yield
    gc.collect()
    for _ in range(3):  # what closes the generators that are left
        await asyncio.sleep(0)
    assert not seen
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def file(pcm: bytes, size: int = CHUNK) -> AsyncIterator[bytes]:
    """Audio as fast as it is taken."""
    for start in range(0, len(pcm), size):
        yield pcm[start : start + size]


class Microphone:
    """Audio as it is spoken: at a steady pace, and silence when there is nothing more.

    Not a generator, because giving up waiting for a chunk ends a generator, but not a microphone.
    """

    def __init__(self, pcm: bytes, *, forever: bool = True) -> None:
        self._pcm = pcm
        self._forever = forever
        self._began: float | None = None
        self._chunks = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
        start = self._chunks * CHUNK
        due = self._began + (start + CHUNK) / BYTES_PER_SECOND / SPEED
        await asyncio.sleep(due - loop.time())
        if start >= len(self._pcm) and not self._forever:
            raise StopAsyncIteration
        self._chunks += 1
        return self._pcm[start : start + CHUNK].ljust(CHUNK, b"\0")


async def hang() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def chain(*parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        async for chunk in part:
            yield chunk


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


async def recognize(recognizer: Recognizer, audio: AsyncIterator[bytes]) -> tuple[Transcript, Heard, Timeline]:
    heard, timeline = Heard(), Timeline("turn")
    async with asyncio.timeout(SOON):
        return await recognizer.recognize(audio, heard, timeline), heard, timeline


async def test_live_speech_ends_at_silence_and_was_transcribed_at_the_pause(
    watched: Watched, silero: Silero, speaker: Speaker
) -> None:
    audio = Microphone(silence(0.4) + speaker.say("Turn on the kitchen light."))
    transcript, heard, timeline = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("Turn on the kitchen light")
    assert heard.events == ["started", transcript.text]
    assert len(watched.asked) == 1  # the guess at the pause was the answer
    order = [Mark.SPEECH_START, Mark.SPEECH_END, Mark.ENDPOINT, Mark.TRANSCRIPT]
    assert list(timeline.marks) == order
    assert [timeline.marks[mark] for mark in order] == sorted(timeline.marks.values())
    assert await anext(audio)  # the microphone was not read to any end


async def test_speech_that_goes_on_discards_the_guess(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    first, second = speaker.say("Turn on the light"), speaker.say("in the kitchen.")
    audio = Microphone(silence(0.3) + first + silence(0.3) + second)
    transcript, heard, _ = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("Turn on the light in the kitchen")
    assert heard.events == ["started", transcript.text]
    assert len(watched.asked) == 2
    assert watched.asked[1].startswith(watched.asked[0][: len(first) // 2])
    assert len(watched.asked[1]) > len(watched.asked[0]) + len(second) // 2


async def test_one_short_word(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    transcript, _, _ = await recognize(
        Recognizer(watched, silero, SETTINGS), Microphone(silence(0.3) + speaker.say("Stop."))
    )
    assert words(transcript.text) == ["stop"]


@pytest.mark.parametrize("size", [CHUNK, 999, 10**9])
async def test_a_recording_with_a_long_pause_is_transcribed_whole(
    watched: Watched, silero: Silero, speaker: Speaker, size: int
) -> None:
    first, second = speaker.say("What time is it?"), speaker.say("Turn off the television.")
    audio = file(silence(0.5) + first + silence(3.5) + second + silence(2), size)
    transcript, heard, timeline = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("What time is it? Turn off the television.")
    assert heard.events == ["started", transcript.text]
    assert len(watched.asked) == 1
    assert transcript.seconds == seconds(watched.asked[0])
    assert all(wait >= 0 for wait in timeline.stages().values())
    assert min(timeline.marks.values()) >= timeline.started


async def test_a_recording_that_comes_after_a_wait_is_still_a_recording(
    watched: Watched, silero: Silero, speaker: Speaker
) -> None:
    first, second = speaker.say("What time is it?"), speaker.say("Turn off the television.")

    async def late() -> AsyncIterator[bytes]:
        await asyncio.sleep(1.0)  # as long as a quarter of the recording is, which is what tells files from speech
        async for chunk in file(first + silence(1.2) + second):
            yield chunk

    transcript, _, _ = await recognize(Recognizer(watched, silero, SETTINGS), late())
    assert words(transcript.text) == words("What time is it? Turn off the television.")


async def test_a_recording_that_begins_with_a_long_silence(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    audio = file(silence(8) + speaker.say("What time is it?"))
    transcript, _, _ = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("What time is it?")


async def test_a_recording_whose_end_is_not_told(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    audio = chain(file(speaker.say("What time is it?") + silence(1.5)), hang())
    transcript, _, _ = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("What time is it?")


async def test_a_speaker_who_says_when_they_have_finished_may_pause(
    watched: Watched, silero: Silero, speaker: Speaker
) -> None:
    said = silence(1) + speaker.say("Turn on the light.") + silence(2) + speaker.say("What time is it?")
    settings = AsrSettings(endpoint=EndpointSettings(nothing_ms=500))
    async with asyncio.timeout(SOON):
        transcript = await Recognizer(watched, silero, settings).recognize(
            Microphone(said, forever=False), Heard(), Timeline("turn"), whole=True
        )
    assert words(transcript.text) == words("Turn on the light. What time is it?")


async def test_a_microphone_that_stops_is_waited_for_as_long_as_was_said(
    watched: Watched, silero: Silero, speaker: Speaker
) -> None:
    async with asyncio.timeout(SOON):
        transcript = await Recognizer(watched, silero, SETTINGS).recognize(
            chain(Microphone(speaker.say("What time is it?"), forever=False), hang()),
            Heard(),
            Timeline("turn"),
            stall_seconds=0.05,
        )
    assert words(transcript.text) == words("What time is it?")


async def test_a_pre_roll_that_comes_at_once_is_still_live(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    said = silence(0.3) + speaker.say("Turn on the kitchen light.")
    roll = BYTES_PER_SECOND * 7 // 10
    audio = chain(file(said[:roll]), Microphone(said[roll:]))
    transcript, _, _ = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("Turn on the kitchen light")
    assert len(watched.asked) == 1


async def test_live_speech_that_is_stopped_at_once(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    audio = Microphone(speaker.say("Turn on the kitchen light."), forever=False)
    transcript, _, _ = await recognize(Recognizer(watched, silero, SETTINGS), audio)
    assert words(transcript.text) == words("Turn on the kitchen light")


def noise() -> bytes:
    samples = np.random.default_rng(2).standard_normal(3 * 16_000).astype(np.float32)
    return from_float(0.02 * samples)


@pytest.mark.parametrize("pcm", [b"", bytes(10), silence(5), noise()], ids=["nothing", "10 bytes", "silence", "noise"])
async def test_without_speech_there_is_no_transcript(watched: Watched, silero: Silero, pcm: bytes) -> None:
    transcript, heard, timeline = await recognize(Recognizer(watched, silero, SETTINGS), file(pcm))
    assert transcript == Transcript("", "en", 0.0)
    assert heard.events == []
    assert watched.asked == []  # Whisper would invent something
    assert timeline.marks == {}


async def test_live_silence_ends_the_wait_for_speech(watched: Watched, silero: Silero) -> None:
    settings = AsrSettings(endpoint=EndpointSettings(nothing_ms=600))
    transcript, _, _ = await recognize(Recognizer(watched, silero, settings), Microphone(b""))
    assert transcript.text == ""
    assert watched.asked == []


async def test_live_speech_never_runs_past_its_limit(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    talk = speaker.say("This is a television that goes on and on and on and never makes a pause at all")
    settings = AsrSettings(endpoint=EndpointSettings(longest_ms=1500))
    transcript, _, _ = await recognize(Recognizer(watched, silero, settings), Microphone(talk))
    assert "television" in words(transcript.text)
    assert transcript.seconds == pytest.approx(1.5 + 0.3, abs=0.35)


async def test_a_recording_that_is_too_long_is_refused(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    settings = AsrSettings(longest_file_seconds=15)
    talk = (speaker.say("What time is it?") + silence(1)) * 20
    with pytest.raises(RequestError, match="longer than 15 seconds") as caught:
        await recognize(Recognizer(watched, silero, settings), file(talk))
    assert caught.value.code == "audio-too-long"


async def test_a_language_that_is_not_known_is_refused(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    recognizer = Recognizer(watched, silero, SETTINGS)
    with pytest.raises(RequestError, match="xx"):
        await recognizer.recognize(file(speaker.say("Stop.")), Heard(), Timeline("turn"), language="xx")


async def test_half_a_minute_in_one_chunk_keeps_nobody_waiting(watched: Watched, silero: Silero) -> None:
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(somebody_else())
    await recognize(Recognizer(watched, silero, SETTINGS), file(silence(30), 10**9))
    task.cancel()
    await asyncio.wait([task])
    assert turns > 500


@pytest.mark.parametrize("during", ["guess", "result"])
async def test_cancelling_ends_the_transcription(silero: Silero, speaker: Speaker, during: str) -> None:
    engine = Stuck()
    said = speaker.say("What time is it?")
    audio = Microphone(said) if during == "guess" else file(said)
    task = asyncio.create_task(recognize(Recognizer(engine, silero, SETTINGS), audio))
    async with asyncio.timeout(SOON):
        await engine.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.inside == 0


async def test_cancelling_while_nobody_speaks(watched: Watched, silero: Silero) -> None:
    task = asyncio.create_task(recognize(Recognizer(watched, silero, SETTINGS), hang()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_guess_that_fails_is_made_again_and_reported_when_that_fails_too(
    silero: Silero, speaker: Speaker
) -> None:
    with pytest.raises(EngineError, match="It fails"):
        await recognize(Recognizer(Stuck(failures=2), silero, SETTINGS), Microphone(speaker.say("What time is it?")))


async def test_a_guess_that_fails_does_not_matter_when_speech_goes_on(silero: Silero, speaker: Speaker) -> None:
    engine = Stuck(failures=1)
    audio = Microphone(speaker.say("What time is it") + silence(0.5) + speaker.say("in Berlin?"))
    task = asyncio.create_task(recognize(Recognizer(engine, silero, SETTINGS), audio))
    async with asyncio.timeout(SOON):
        while not engine.inside:  # noqa: ASYNC110 -- the second transcription
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert engine.inside == 0


async def test_several_streams_at_once_do_not_mix(watched: Watched, silero: Silero, speaker: Speaker) -> None:
    recognizer = Recognizer(watched, silero, SETTINGS)
    texts = ["Turn on the kitchen light.", "What time is it?", "Stop."]
    results = await asyncio.gather(
        *(recognize(recognizer, Microphone(silence(0.3) + speaker.say(text))) for text in texts)
    )
    assert [words(transcript.text) for transcript, _, _ in results] == [words(text) for text in texts]
