"""Runs turns: wake word, speech, answer and voice as one stream in which no stage waits for another to finish."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from handlers.agent.agent import Agent
from handlers.agent.heard import Playback
from handlers.agent.stage import Request
from handlers.asr.partials import Partials
from handlers.asr.recognizer import Recognizer
from handlers.asr.stage import Transcript
from handlers.audio import BYTES_PER_SECOND, AudioFormat
from handlers.cpu import Ticket, Urgency
from handlers.errors import BusyError, RequestError
from handlers.pipeline.stage import (
    AnswerChunk,
    Answered,
    AnswerStarted,
    AnswerStopped,
    AudioPiece,
    AudioStarted,
    AudioStopped,
    Detected,
    Emit,
    NotDetected,
    Stage,
    Transcribed,
    TranscriptChunk,
    TranscriptStarted,
    TranscriptStopped,
    TurnEvent,
    TurnRequest,
    VoiceStarted,
    VoiceStopped,
)
from handlers.timeline import Mark, Timeline, recorded
from handlers.tts.speaker import sentences, speak
from handlers.tts.stage import TicketedSynthesizer, Voice, VoiceChoice
from handlers.wake.stage import WakeEngine, WakeSettings, choose_words, phrase_of
from handlers.workers import Workers


@dataclass(frozen=True)
class Stages:
    """The engines of a turn, shared by all turns."""

    wake: WakeEngine
    wake_workers: Workers
    wake_settings: WakeSettings
    recognizer: Recognizer
    agent: Agent
    synthesizer: TicketedSynthesizer


class Pipeline:
    """Runs any number of turns at the same time, but one for each satellite."""

    def __init__(self, stages: Stages, on_timeline: Callable[[Timeline], None]) -> None:
        """`on_timeline` is told of every turn when it ends, however it ends."""
        self.stages = stages
        self._on_timeline = on_timeline
        self._turns: dict[str, asyncio.Task[None]] = {}

    async def run(
        self,
        request: TurnRequest,
        audio: AsyncIterator[bytes],
        text: AsyncIterator[str],
        emit: Emit,
        timeline: Timeline,
    ) -> None:
        """One turn, as the caller's task. Reads `audio` when it starts with WAKE or ASR, else `text`.

        Cancel the task to stop all its work. A turn that the same satellite has under way is cancelled first, and of an
        answer that still sounds the conversation keeps only what was heard. Raises RequestError when there is no
        speech, and whatever an engine raises.
        """
        async with self._floor(request.satellite_id):
            self.stages.agent.conversations.interrupt(request.conversation_id)
            with recorded(timeline, self._on_timeline):
                await _Turn(self.stages, request, emit, timeline).run(audio, text)

    @contextlib.asynccontextmanager
    async def _floor(self, satellite_id: str) -> AsyncGenerator[None, None]:
        """The right to speak at one satellite; whoever had it loses it."""
        task = asyncio.current_task()
        if not satellite_id or task is None:
            yield
            return
        before = self._turns.get(satellite_id)
        self._turns[satellite_id] = task
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        try:
            yield
        finally:
            if self._turns.get(satellite_id) is task:
                del self._turns[satellite_id]


class _Turn:
    """One turn's way through the stages."""

    def __init__(self, stages: Stages, request: TurnRequest, emit: Emit, timeline: Timeline) -> None:
        self._stages = stages
        self._request = request
        self._emit = emit
        self._timeline = timeline
        self._draft: _Answer | None = None
        self._partials = Partials()

    async def run(self, audio: AsyncIterator[bytes], text: AsyncIterator[str]) -> None:
        try:
            await self._run(audio, text)
        finally:
            await self._drop_draft()

    async def _run(self, audio: AsyncIterator[bytes], text: AsyncIterator[str]) -> None:
        start, end = self._request.start, self._request.end
        wake_phrase = phrase_of(self._request.wake_word)
        if start is Stage.WAKE:
            detected, rest = await self._wait_for_wake_word(audio)
            if detected is None or end is Stage.WAKE:
                return
            wake_phrase = self._stages.wake.words[detected].phrase
            audio = _chain(rest, audio)
        if start is Stage.TTS:
            voice = self._request.voice
            floor = _Floor()
            floor.give()
            await _speak(self._stages.synthesizer, voice, text, self._emit, self._timeline, Playback(), floor)
            await self._emit(AudioStopped())
            return
        if start is Stage.HANDLE:
            await self._answer(self._question("".join([piece async for piece in text]), self._request.language))
            return
        transcript = await self._stages.recognizer.recognize(
            audio,
            self,
            self._timeline,
            language=self._request.language,
            hints=self._request.hints,
            wake_phrase=wake_phrase,
        )
        if not transcript.text:
            raise RequestError("no-speech", "No speech was heard: speak after the wake word, or check the microphone")
        await self._emit(Transcribed(transcript.text, transcript.language))
        if end is not Stage.ASR:
            await self._answer(self._question(transcript.text, transcript.language))

    async def _wait_for_wake_word(self, audio: AsyncIterator[bytes]) -> tuple[str | None, bytes]:
        """The wake word that came, if one did, and the audio after it that is already here."""
        stages = self._stages
        words = choose_words(stages.wake, self._request.wake_words, stages.wake_settings)
        refractory = stages.wake_settings.refractory_seconds
        detector = await stages.wake_workers.run(lambda: stages.wake.detector(words, refractory))
        heard_bytes = 0
        async for chunk in audio:
            heard_bytes += len(chunk)
            for detection in await stages.wake_workers.run(lambda pcm=chunk: detector.process(pcm)):  # type: ignore[misc]
                self._timeline.mark(Mark.WAKE)
                await self._emit(Detected(detection.name, round(detection.seconds * 1000)))
                after = heard_bytes - int(detection.seconds * BYTES_PER_SECOND)
                return detection.name, chunk[len(chunk) - after :] if 0 < after <= len(chunk) else b""
        await self._emit(NotDetected())
        return None, b""

    async def speech_started(self) -> None:
        await self._emit(VoiceStarted())
        await self._emit(TranscriptStarted(self._request.language))

    async def guessed(self, transcript: Transcript) -> None:
        """Begin to answer what may be the whole question; nothing of it leaves before the speaker has finished."""
        question = self._question(transcript.text, transcript.language)
        if self._request.end is Stage.ASR or self._stages.agent.knows(question.text, question.language):
            return  # a skill answers at once, and may act: not on a guess
        await self._drop_draft()
        self._draft = _Answer(self._stages, self._request, question, self._emit)

    async def resumed(self, text: str) -> None:
        await self._drop_draft()
        await self._emit_piece(self._partials.partial(text))

    async def speech_ended(self, transcript: Transcript) -> None:
        await self._emit_piece(self._partials.final(transcript.text))
        await self._emit(TranscriptStopped())
        await self._emit(VoiceStopped())

    async def _emit_piece(self, piece: str) -> None:
        if piece.strip():
            await self._emit(TranscriptChunk(piece))

    def _question(self, text: str, tag: str | None) -> Request:
        return Request(
            text,
            tag or self._stages.agent.language,
            self._request.conversation_id,
            self._request.satellite_id,
        )

    async def _answer(self, question: Request) -> None:
        """Give the answer: the draft if it answers this question, else a new one."""
        if self._draft is None or self._draft.question != question:
            await self._drop_draft()
            self._draft = _Answer(self._stages, self._request, question, self._emit)
        await self._draft.give(self._timeline)

    async def _drop_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.cancel()


class _Answer:
    """An answer that is thought, written and spoken at the same time.

    It starts at once, but says nothing before `give`. Until then it works ahead: the language model writes, and the
    first sentence is made into audio.
    """

    def __init__(self, stages: Stages, request: TurnRequest, question: Request, emit: Emit) -> None:
        self.question = question
        self._stages = stages
        self._voice = request.voice
        self._spoken = request.end is Stage.TTS
        self._emit = emit
        self._floor = _Floor()
        self._draft = Timeline("draft")
        self._timeline = self._draft
        self._given = ""
        self._playback = Playback()
        self._task = asyncio.create_task(self._run())

    async def give(self, timeline: Timeline) -> None:
        """Let it out, and wait until all of it is out. The conversation remembers what was given."""
        self._timeline = timeline
        self._floor.give()
        try:
            await asyncio.shield(self._task)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await self.cancel()
            if not self._playback.complete:
                self._remember()
                self._stages.agent.conversations.interrupt(self.question.conversation_id)

    async def cancel(self) -> None:
        """Stop all work on it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        written: asyncio.Queue[str | None] = asyncio.Queue()  # bounded by the length of an answer
        to_speak: asyncio.Queue[str | None] = asyncio.Queue()
        answered = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._think(written, to_speak))
            group.create_task(self._write(written, answered))
            if self._spoken:
                group.create_task(self._speak(to_speak, answered))

    async def _think(self, *outputs: asyncio.Queue[str | None]) -> None:
        async with contextlib.aclosing(self._stages.agent.answer(self.question, self._draft)) as deltas:
            async for delta in deltas:
                for output in outputs:
                    output.put_nowait(delta)
        for output in outputs:
            output.put_nowait(None)

    async def _write(self, written: asyncio.Queue[str | None], answered: asyncio.Event) -> None:
        conversation_id = self.question.conversation_id
        await self._say(AnswerStarted(conversation_id))
        async for delta in _until_none(written):
            await self._say(AnswerChunk(delta))
            self._given += delta
        await self._say(AnswerStopped())
        if not self._spoken:
            self._complete()
        await self._say(Answered(self._given, conversation_id))
        answered.set()

    async def _speak(self, to_speak: asyncio.Queue[str | None], answered: asyncio.Event) -> None:
        text = _until_none(to_speak)
        synthesizer = self._stages.synthesizer
        await _speak(synthesizer, self._voice, text, self._say, self._draft, self._playback, self._floor)
        await answered.wait()
        self._complete()
        await self._say(AudioStopped())

    def _complete(self) -> None:
        """All of it is on its way: remembered before the last event, for its listener may say more at once."""
        self._playback.complete = True
        self._remember()

    def _remember(self) -> None:
        playback = self._playback if self._spoken else None
        self._stages.agent.remember(self.question, self._given, self._timeline, playback)

    async def _say(self, event: TurnEvent) -> None:
        await self._floor.given.wait()
        self._timeline.take_over(self._draft, not_before=Mark.TRANSCRIPT)
        await self._emit(event)


class _Floor:
    """Whether an answer may be heard, and how urgent its audio is: a draft's is a guess."""

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.ticket = Ticket(Urgency.GUESS)

    def give(self) -> None:
        """The speaker has finished: somebody waits for this answer."""
        self.ticket.urgency = Urgency.VOICE
        self.given.set()


async def _speak(
    synthesizer: TicketedSynthesizer,
    voice: VoiceChoice,
    text: AsyncIterator[str],
    emit: Emit,
    timeline: Timeline,
    playback: Playback,
    floor: _Floor,
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
    """A synthesizer that keeps account of how long each sentence sounds."""

    def __init__(self, synthesizer: TicketedSynthesizer, playback: Playback, timeline: Timeline, floor: _Floor) -> None:
        self._synthesizer = synthesizer
        self._playback = playback
        self._timeline = timeline
        self._floor = floor

    @property
    def voices(self) -> Sequence[Voice]:
        return self._synthesizer.voices

    def choose(self, name: str | None = None, language: str | None = None, speaker: str | None = None) -> VoiceChoice:
        return self._synthesizer.choose(name, language, speaker)

    def format(self, choice: VoiceChoice) -> AudioFormat:
        return self._synthesizer.format(choice)

    async def synthesize(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        self._timeline.mark(Mark.FIRST_SENTENCE)
        self._playback.sentence(text)
        bytes_per_second = self.format(choice).bytes_per_second
        async with contextlib.aclosing(self._made(text, choice)) as audio:
            async for pcm in audio:
                self._playback.sounds(len(pcm) / bytes_per_second)
                yield pcm

    async def _made(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        """The audio; that of a draft for which the processor is too busy is made when it is wanted."""
        try:
            async with contextlib.aclosing(self._synthesizer.synthesize(text, choice, self._floor.ticket)) as audio:
                async for pcm in audio:
                    yield pcm
            return
        except BusyError:
            if self._floor.given.is_set():
                raise
        await self._floor.given.wait()
        async with contextlib.aclosing(self._synthesizer.synthesize(text, choice, self._floor.ticket)) as audio:
            async for pcm in audio:
                yield pcm

    async def close(self) -> None:
        """The synthesizer belongs to somebody else."""


async def _until_none(queue: asyncio.Queue[str | None]) -> AsyncIterator[str]:
    while (item := await queue.get()) is not None:
        yield item


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk
