"""Speaking a text while it is written: in order, one sentence ahead, and no further when it is cut short."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import pytest

from handlers.audio import AudioFormat
from handlers.cpu import Ticket
from handlers.errors import EngineError
from handlers.tts.piper import PiperSynthesizer
from handlers.tts.speaker import once, sentences, speak
from handlers.tts.stage import Voice, VoiceChoice

SOON = 60.0
"""A deadline that only a defect reaches."""

SENTENCES = [
    "The kitchen light is on.",
    "The window in the living room is open, and it is getting cold in there.",
    "Nobody is in the garden.",
    "Good night.",
]


class Recorded:
    """Piper, with a note of what was begun and what ended, and why."""

    def __init__(self, piper: PiperSynthesizer) -> None:
        self.begun: list[str] = []
        self.made: list[str] = []
        self.cut_short: list[str] = []
        self.changed = asyncio.Event()
        self.fails_at = ""
        self._piper = piper

    @property
    def voices(self) -> Sequence[Voice]:
        return self._piper.voices

    def choose(self, name: str | None = None, language: str | None = None, speaker: str | None = None) -> VoiceChoice:
        return self._piper.choose(name, language, speaker)

    def format(self, choice: VoiceChoice) -> AudioFormat:
        return self._piper.format(choice)

    async def synthesize(
        self, text: str, choice: VoiceChoice, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        self.begun.append(text)
        try:
            if text == self.fails_at:
                raise EngineError("it fails here")
            async with contextlib.aclosing(self._piper.synthesize(text, choice, ticket)) as audio:
                async for piece in audio:
                    yield piece
        except (GeneratorExit, asyncio.CancelledError):
            self.cut_short.append(text)
            raise
        self.made.append(text)
        self.changed.set()

    async def close(self) -> None:
        pass

    async def until_made(self, count: int) -> None:
        """Wait until so many sentences are made."""
        async with asyncio.timeout(SOON):
            while len(self.made) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def recorded(piper: PiperSynthesizer) -> Recorded:
    return Recorded(piper)


async def listed(texts: Sequence[str]) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 -- a state of the code under test, which has no event for it
            await asyncio.sleep(0)


async def test_while_one_sentence_leaves_the_next_is_made_and_no_more(recorded: Recorded) -> None:
    """The reader takes one piece and then none: the second sentence is made, the third is not begun."""
    async with (
        asyncio.timeout(SOON),
        contextlib.aclosing(speak(listed(SENTENCES), recorded, recorded.choose())) as audio,
    ):
        await anext(audio)
        await recorded.until_made(2)
        for _ in range(10):  # nothing else is ready to run that could begin the third
            await asyncio.sleep(0)
        assert recorded.begun == SENTENCES[:2]


async def test_no_gap_between_sentences_for_a_reader_who_takes_his_time(recorded: Recorded) -> None:
    """By the time that the last piece of a sentence is taken, the first of the next is there: it needs no waiting."""
    loop = asyncio.get_running_loop()
    waits: list[float] = []
    piece: bytes | None = b""
    async with (
        asyncio.timeout(SOON),
        contextlib.aclosing(speak(listed(SENTENCES), recorded, recorded.choose())) as audio,
    ):
        while piece is not None:
            asked = loop.time()
            piece = await anext(audio, None)
            waits.append(loop.time() - asked)
            await asyncio.sleep(0)  # the next sentence begins
            await recorded.until_made(len(recorded.begun))  # reading takes longer than speaking
    assert recorded.made == SENTENCES
    first, *later = waits  # the first is what a gap would be
    assert max(later) < first / 2


async def test_all_is_spoken_in_order(recorded: Recorded) -> None:
    async with asyncio.timeout(SOON):
        pcm = b"".join([piece async for piece in speak(listed(SENTENCES), recorded, recorded.choose())])
    assert recorded.made == SENTENCES
    assert len(pcm) > 2 * 22_050 * 4


async def test_audio_leaves_before_the_text_is_complete(recorded: Recorded) -> None:
    more = asyncio.Event()

    async def writing() -> AsyncIterator[str]:
        yield "The first sentence. "
        await more.wait()
        yield "The last."

    async with asyncio.timeout(SOON):
        audio = speak(sentences(writing(), "en"), recorded, recorded.choose())
        await anext(audio)
        assert recorded.begun == ["The first sentence."]
        more.set()
        async for _ in audio:
            pass
    assert recorded.made == ["The first sentence.", "The last."]


async def test_closing_it_stops_the_sentence_that_is_being_made(recorded: Recorded) -> None:
    endless = " ".join(["one thousand two hundred and thirty four"] * 12)
    async with asyncio.timeout(SOON):
        audio = speak(listed(["Okay.", endless, "Never."]), recorded, recorded.choose())
        await anext(audio)
        await until(lambda: len(recorded.begun) == 2)
        await audio.aclose()
    assert recorded.made == ["Okay."]
    assert recorded.begun == ["Okay.", endless]
    assert recorded.cut_short == [endless]


async def test_cancelling_the_reader_stops_all_of_it(recorded: Recorded) -> None:
    text_closed = asyncio.Event()

    async def writing() -> AsyncIterator[str]:
        try:
            yield "Okay."
            await asyncio.Event().wait()
        finally:
            text_closed.set()

    async def listen() -> None:
        async with contextlib.aclosing(speak(writing(), recorded, recorded.choose())) as audio:
            async for _ in audio:
                pass

    async with asyncio.timeout(SOON):
        task = asyncio.create_task(listen())
        await recorded.until_made(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert text_closed.is_set()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "speak"]


async def test_a_failure_comes_after_the_audio_before_it(recorded: Recorded) -> None:
    recorded.fails_at = SENTENCES[2]
    heard: list[bytes] = []

    async def listen() -> None:
        async for piece in speak(listed(SENTENCES), recorded, recorded.choose()):
            heard.append(piece)  # noqa: PERF401 -- what comes before the failure counts

    with pytest.raises(EngineError, match="fails here"):
        await listen()
    assert recorded.made == SENTENCES[:2]
    assert len(b"".join(heard)) > 2 * 22_050 * 2


async def test_a_failure_that_nobody_waits_for_is_not_left_over(recorded: Recorded) -> None:
    """Its exception would be reported as never retrieved, which is an error in tests."""
    recorded.fails_at = SENTENCES[1]
    audio = speak(listed(SENTENCES), recorded, recorded.choose())
    await anext(audio)
    await until(lambda: len(recorded.begun) == 2)
    await audio.aclose()
    assert recorded.begun == SENTENCES[:2]


@pytest.mark.parametrize("text", ["", "👍", "```code```"])
async def test_a_text_that_cannot_be_spoken_is_no_audio(recorded: Recorded, text: str) -> None:
    assert [piece async for piece in speak(sentences(once(text), "en"), recorded, recorded.choose())] == []
