"""Runs turns: wake word, speech, answer and voice as one stream in which no stage waits for another to finish."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from handlers.agent.agent import Agent
from handlers.agent.stage import Request
from handlers.asr.recognizer import Recognizer
from handlers.audio import BYTES_PER_SECOND
from handlers.errors import RequestError
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
    TurnRequest,
    VoiceStarted,
    VoiceStopped,
)
from handlers.timeline import Mark, Outcome, Timeline
from handlers.tts.speaker import sentences, speak
from handlers.tts.stage import Synthesizer
from handlers.wake.stage import WakeEngine, WakeSettings, choose_words
from handlers.wire.connection import PeerGoneError
from handlers.workers import Workers

_DELTAS_AHEAD = 64
"""Pieces of text that the language model may be ahead of the voice."""


@dataclass(frozen=True)
class Stages:
    """The engines of a turn, shared by all turns."""

    wake: WakeEngine
    wake_workers: Workers
    wake_settings: WakeSettings
    recognizer: Recognizer
    agent: Agent
    synthesizer: Synthesizer


class Pipeline:
    """Runs any number of turns at the same time."""

    def __init__(self, stages: Stages, on_timeline: Callable[[Timeline], None]) -> None:
        """`on_timeline` is told of every turn when it ends, however it ends."""
        self.stages = stages
        self._on_timeline = on_timeline

    async def run(
        self,
        request: TurnRequest,
        audio: AsyncIterator[bytes],
        text: AsyncIterator[str],
        emit: Emit,
        timeline: Timeline,
    ) -> None:
        """One turn. Reads `audio` when it starts with WAKE or ASR, else `text`. Cancel it to stop all its work.

        Raises RequestError when there is no speech, and whatever an engine raises.
        """
        turn = _Turn(self.stages, request, emit, timeline)
        try:
            await turn.run(audio, text)
            timeline.finish(Outcome.COMPLETED)
        except (asyncio.CancelledError, PeerGoneError):
            timeline.finish(Outcome.CANCELLED)
            raise
        except BaseException:
            timeline.finish(Outcome.FAILED)
            raise
        finally:
            self._on_timeline(timeline)


class _Turn:
    """One turn's way through the stages."""

    def __init__(self, stages: Stages, request: TurnRequest, emit: Emit, timeline: Timeline) -> None:
        self._stages = stages
        self._request = request
        self._emit = emit
        self._timeline = timeline

    async def run(self, audio: AsyncIterator[bytes], text: AsyncIterator[str]) -> None:
        start, end = self._request.start, self._request.end
        if start is Stage.WAKE:
            detected, rest = await self._wait_for_wake_word(audio)
            if not detected or end is Stage.WAKE:
                return
            audio = _chain(rest, audio)
        if start <= Stage.ASR:
            question, tag = await self._listen(audio)
            if end is Stage.ASR:
                return
        elif start is Stage.HANDLE:
            question, tag = "".join([piece async for piece in text]), self._request.language or ""
        if start <= Stage.HANDLE:
            await self._answer(question, tag)
        else:
            await self._speak(text)

    async def _wait_for_wake_word(self, audio: AsyncIterator[bytes]) -> tuple[bool, bytes]:
        """Whether a wake word came, and the audio after it that is already here."""
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
                return True, chunk[len(chunk) - after :] if 0 < after <= len(chunk) else b""
        await self._emit(NotDetected())
        return False, b""

    async def _listen(self, audio: AsyncIterator[bytes]) -> tuple[str, str]:
        """What was said, and in which language."""
        transcript = await self._stages.recognizer.recognize(
            audio, self, self._timeline, language=self._request.language, hints=self._request.hints
        )
        if not transcript.text:
            raise RequestError("no-speech", "No speech was heard: speak after the wake word, or check the microphone")
        await self._emit(Transcribed(transcript.text, transcript.language))
        return transcript.text, transcript.language

    async def speech_started(self) -> None:
        await self._emit(VoiceStarted())
        await self._emit(TranscriptStarted(self._request.language))

    async def speech_ended(self, text: str) -> None:
        if text:
            await self._emit(TranscriptChunk(text))
        await self._emit(TranscriptStopped())
        await self._emit(VoiceStopped())

    async def _answer(self, question: str, tag: str) -> None:
        """Write the answer and speak it at the same time."""
        written: asyncio.Queue[str | None] = asyncio.Queue(_DELTAS_AHEAD)
        spoken = self._request.end is Stage.TTS
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(question, tag, written if spoken else None))
                if spoken:
                    group.create_task(self._speak(_until_none(written)))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _write(self, question: str, tag: str, written: asyncio.Queue[str | None] | None) -> None:
        request = Request(
            question,
            tag or self._stages.agent.language,
            self._request.conversation_id,
            self._request.satellite_id,
        )
        conversation_id = self._request.conversation_id
        await self._emit(AnswerStarted(conversation_id))
        text = ""
        async with contextlib.aclosing(self._stages.agent.answer(request, self._timeline)) as deltas:
            async for delta in deltas:
                text += delta
                await self._emit(AnswerChunk(delta))
                if written is not None:
                    await written.put(delta)
        await self._emit(AnswerStopped())
        await self._emit(Answered(text, conversation_id))
        if written is not None:
            await written.put(None)

    async def _speak(self, text: AsyncIterator[str]) -> None:
        choice = self._request.voice
        audio_format = self._stages.synthesizer.format(choice)
        started = False
        marked = self._mark_first(sentences(text, choice.language))
        async with contextlib.aclosing(speak(marked, self._stages.synthesizer, choice)) as audio:
            async for pcm in audio:
                if not started:
                    started = True
                    self._timeline.mark(Mark.FIRST_AUDIO)
                    await self._emit(AudioStarted(audio_format))
                await self._emit(AudioPiece(pcm, audio_format))
        if not started:  # nothing in the answer can be spoken
            await self._emit(AudioStarted(audio_format))
        await self._emit(AudioStopped())

    async def _mark_first(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            self._timeline.mark(Mark.FIRST_SENTENCE)
            yield text


async def _until_none(queue: asyncio.Queue[str | None]) -> AsyncIterator[str]:
    while (item := await queue.get()) is not None:
        yield item


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk
