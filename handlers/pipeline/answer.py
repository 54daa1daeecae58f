"""One answer: thought, written and spoken at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from handlers.agent.agent import Agent
from handlers.agent.heard import Playback
from handlers.agent.response import NOBODY, Response
from handlers.agent.stage import SAME_VOLUME, Filler, Request, Volume
from handlers.agent.tools.stage import ToolFinished, ToolStarted
from handlers.cpu import Ticket, Urgency
from handlers.errors import BusyError
from handlers.pipeline.stage import (
    AnswerChunk,
    Answered,
    AnswerStarted,
    AnswerStopped,
    AudioPiece,
    AudioStarted,
    AudioStopped,
    Emit,
    Feedback,
    ToolUsed,
    TurnEvent,
)
from handlers.timeline import Mark, Timeline
from handlers.tts.clean import speakable
from handlers.tts.speaker import sentences, speak
from handlers.tts.stage import Synthesizer, VoiceChoice

T = TypeVar("T")

Piece = str | Filler | ToolStarted | ToolFinished
"""What is written of an answer."""


class Answer:
    """An answer that is thought, written and spoken at the same time.

    It starts at once, but says nothing before `give`. Until then it works ahead: the language model writes, and the
    first sentence is made into audio.
    """

    def __init__(
        self,
        agent: Agent,
        synthesizer: Synthesizer,
        voice: VoiceChoice | None,
        question: Request,
        emit: Emit,
        turn_id: str,
    ) -> None:
        """Without a voice it is only written."""
        self.question = question
        self._agent = agent
        self._synthesizer = synthesizer
        self._voice = voice
        self._emit = emit
        self._floor = Floor()
        self._draft = Timeline(turn_id)
        self._timeline = self._draft
        self._response: Response = agent.respond(question, self._draft, self._floor.given)
        self._feedback = Feedback()
        self._given = ""
        self._remembered = ""
        self._volume = SAME_VOLUME
        self._playback = Playback()
        self._task = asyncio.create_task(self._run())

    @property
    def apologises(self) -> bool:
        """No language model could be had for the draft; when it is wanted, one may be."""
        return self._draft.route == NOBODY

    async def give(self, timeline: Timeline, feedback: Feedback) -> None:
        """Let it out, and wait until all of it is out. The conversation remembers what was heard."""
        self._timeline = timeline
        self._feedback = feedback
        self._floor.give()
        try:
            await asyncio.shield(self._task)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            try:
                await self.cancel()
            finally:
                if not self._playback.complete:
                    self._remember()
                    self._agent.conversations.interrupt(self.question.session.conversation)

    async def cancel(self) -> None:
        """Stop all work on it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        written: asyncio.Queue[Piece | None] = asyncio.Queue()
        to_speak: asyncio.Queue[str | None] = asyncio.Queue()
        answered = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._think(written, to_speak))
            group.create_task(self._write(written, answered))
            if self._voice is not None:
                group.create_task(self._speak(self._voice, to_speak, answered))

    async def _think(self, written: asyncio.Queue[Piece | None], to_speak: asyncio.Queue[str | None]) -> None:
        """Both queues are bounded by the length of an answer."""
        async with contextlib.aclosing(self._response.parts()) as parts:
            async for part in parts:
                if isinstance(part, Volume):
                    self._volume = part
                    continue
                written.put_nowait(part)
                if isinstance(part, str):
                    to_speak.put_nowait(part)
                elif isinstance(part, Filler):
                    self._playback.aside = speakable(part.text, self.question.session.language)
                    to_speak.put_nowait(part.text + "\n")  # a sentence that is whole
                elif isinstance(part, ToolStarted):
                    to_speak.put_nowait("\n")  # what was said before it is heard while it runs
        written.put_nowait(None)
        to_speak.put_nowait(None)

    async def _write(self, written: asyncio.Queue[Piece | None], answered: asyncio.Event) -> None:
        conversation_id = self.question.session.conversation
        await self._say(AnswerStarted(conversation_id))
        pieces: AsyncIterator[Piece] = _until_none(written)
        async for piece in pieces:
            match piece:
                case ToolStarted() | ToolFinished():
                    await self._say(ToolUsed(piece))
                    continue
                case Filler(text):
                    delta = text + " "
                case str():
                    delta = piece
                    self._remembered += delta
            await self._say(AnswerChunk(delta))
            self._given += delta
        await self._say(AnswerStopped())
        if self._voice is None:
            self._complete()
        asks = self._agent.asks(self.question, self._given)
        await self._say(Answered(self._given, conversation_id, self._volume, asks))
        answered.set()

    async def _speak(self, voice: VoiceChoice, to_speak: asyncio.Queue[str | None], answered: asyncio.Event) -> None:
        text = _until_none(to_speak)
        await speak_text(self._synthesizer, voice, text, self._say, self._draft, self._playback, self._floor)
        await answered.wait()
        self._complete()
        await self._say(AudioStopped())

    def _complete(self) -> None:
        """All of it is on its way: remembered before the last event, for its listener may say more at once."""
        self._playback.complete = True
        self._remember()

    def _remember(self) -> None:
        self._playback.reported = self._feedback.played
        playback = self._playback if self._voice is not None else None
        self._response.remember(self._remembered, playback)
        self._feedback.playback = playback

    async def _say(self, event: TurnEvent) -> None:
        await self._floor.given.wait()
        self._timeline.take_over(self._draft, not_before=Mark.TRANSCRIPT)
        await self._emit(event)


class Floor:
    """Whether an answer may be heard, and how urgent its audio is: a draft's is a guess."""

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.ticket = Ticket(Urgency.GUESS)

    def give(self) -> None:
        """The speaker has finished: somebody waits for this answer."""
        self.ticket.urgency = Urgency.VOICE
        self.given.set()


async def speak_text(
    synthesizer: Synthesizer,
    voice: VoiceChoice,
    text: AsyncIterator[str],
    emit: Emit,
    timeline: Timeline,
    playback: Playback,
    floor: Floor,
) -> None:
    """Speak a text while it is written; all but the event that ends the audio."""
    audio_format = synthesizer.format(voice)
    metered = _Metered(synthesizer, playback, timeline, floor)
    async with contextlib.aclosing(speak(sentences(text, voice.language), metered, voice)) as audio:
        async for pcm in audio:
            if playback.began is None:
                await emit(AudioStarted(audio_format))
                timeline.mark(Mark.FIRST_AUDIO)
                playback.begin()
            await emit(AudioPiece(pcm, audio_format))
    if playback.began is None:  # nothing in the answer can be spoken
        await emit(AudioStarted(audio_format))


class _Metered:
    """Speaks with a synthesizer, and keeps account of how long each sentence sounds."""

    def __init__(self, synthesizer: Synthesizer, playback: Playback, timeline: Timeline, floor: Floor) -> None:
        self._synthesizer = synthesizer
        self._playback = playback
        self._timeline = timeline
        self._floor = floor

    async def synthesize(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        self._timeline.mark(Mark.FIRST_SENTENCE)
        self._playback.sentence(text)
        bytes_per_second = self._synthesizer.format(choice).bytes_per_second
        async with contextlib.aclosing(self._made(text, choice)) as audio:
            async for pcm in audio:
                self._playback.sounds(len(pcm) / bytes_per_second)
                yield pcm

    async def _made(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        """The audio. A draft's is made whole before any is given out; where the processor is too busy for it, later."""
        if not self._floor.given.is_set():
            try:
                drafted = [pcm async for pcm in self._synthesizer.synthesize(text, choice, self._floor.ticket)]
            except BusyError:
                await self._floor.given.wait()
            else:
                for pcm in drafted:
                    yield pcm
                return
        async with contextlib.aclosing(self._synthesizer.synthesize(text, choice, self._floor.ticket)) as audio:
            async for pcm in audio:
                yield pcm


async def _until_none(queue: asyncio.Queue[T | None]) -> AsyncIterator[T]:
    while (item := await queue.get()) is not None:
        yield item
