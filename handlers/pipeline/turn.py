"""Runs turns: wake word, speech, answer and voice as one stream in which no stage waits for another to finish."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from handlers import language as languages
from handlers.agent.agent import Agent
from handlers.agent.heard import Playback
from handlers.agent.stage import Request
from handlers.asr.partials import Partials
from handlers.asr.recognizer import STALL_SECONDS, Recognizer
from handlers.asr.stage import Transcript
from handlers.audio import RATE
from handlers.errors import RequestError
from handlers.pipeline.answer import Answer, Floor, speak_text
from handlers.pipeline.arbiter import Arbiter
from handlers.pipeline.recordings import Recording, Recordings
from handlers.pipeline.stage import (
    AudioStopped,
    Detected,
    Emit,
    Feedback,
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
from handlers.timeline import Mark, Timeline, recorded
from handlers.tts.stage import Synthesizer, VoiceChoice
from handlers.wake.second_look import LIKELY, second_look
from handlers.wake.stage import WakeEngine, WakeSettings, choose_words, phrase_of
from handlers.whole import until_done
from handlers.workers import Workers

_LOOK_SECONDS = 10.0
"""For the 3 s of audio in which a doubtful wake word must come; a microphone that stops meanwhile has not called."""


@dataclass(frozen=True)
class Stages:
    """The engines of a turn, shared by all turns."""

    wake: WakeEngine
    wake_workers: Workers
    wake_settings: WakeSettings
    recognizer: Recognizer
    agent: Agent
    synthesizer: Synthesizer
    recordings: Recordings | None = None
    """Keeps what is said, where that is switched on."""


class Pipeline:
    """Runs any number of turns at the same time, but one for each satellite."""

    def __init__(self, stages: Stages, on_timeline: Callable[[Timeline], None]) -> None:
        """`on_timeline` is told of every turn when it ends, however it ends."""
        self.stages = stages
        self._on_timeline = on_timeline
        self._arbiter = Arbiter()
        self._turns: dict[str, tuple[asyncio.Task[None], Feedback]] = {}

    async def run(
        self,
        request: TurnRequest,
        audio: AsyncIterator[bytes],
        text: AsyncIterator[str],
        emit: Emit,
        timeline: Timeline,
        feedback: Feedback,
    ) -> None:
        """One turn, in the task that awaits it. Reads `audio` when it starts with WAKE or ASR, else `text`.

        Cancel the task to stop all its work. A turn that the same satellite has under way is cancelled first, and of an
        answer that still sounds the conversation keeps only what was heard; where the turn starts with WAKE, once the
        wake word has come. Raises RequestError when there is no speech or when another satellite answers to the same
        wake word, and whatever an engine raises.
        """
        async with contextlib.AsyncExitStack() as held:

            async def take_floor() -> None:
                await held.enter_async_context(self._floor(request.session.satellite, feedback))
                await self._arbitrate(request)
                self.stages.agent.conversations.interrupt(request.session.conversation)

            if request.start is not Stage.WAKE:
                await take_floor()
            with recorded(timeline, self._on_timeline):
                await _Turn(self.stages, request, emit, timeline, feedback, take_floor).run(audio, text)

    def played(self, conversation_id: str, feedback: Feedback, seconds: float) -> None:
        """The satellite has played so much of the answer of the turn with this feedback; infinite is all of it."""
        feedback.played = seconds
        if feedback.playback is not None:
            self.stages.agent.conversations.report(conversation_id, feedback.playback, seconds)

    async def _arbitrate(self, request: TurnRequest) -> None:
        """RequestError where another satellite has heard the same wake word better."""
        satellite, heard = request.session.satellite, request.heard
        if not satellite or heard is None or not request.wake_word:
            return
        if not await self._arbiter.may_answer(satellite, request.wake_word, heard):
            raise RequestError("other-satellite", "Another satellite heard the wake word better, and answers")

    @contextlib.asynccontextmanager
    async def _floor(self, satellite_id: str, feedback: Feedback) -> AsyncGenerator[None, None]:
        """The right to speak at one satellite; whoever had it loses it."""
        task = asyncio.current_task()
        if not satellite_id or task is None:
            yield
            return
        before = self._turns.get(satellite_id)
        mine = (task, feedback)
        self._turns[satellite_id] = mine
        try:
            if before is not None:
                before[1].replaced = True
                before[0].cancel()
                await until_done(before[0])  # whoever waits for us must not run beside it
            yield
        finally:
            if self._turns.get(satellite_id) is mine:
                del self._turns[satellite_id]


class _Turn:
    """One turn's way through the stages."""

    def __init__(
        self,
        stages: Stages,
        request: TurnRequest,
        emit: Emit,
        timeline: Timeline,
        feedback: Feedback,
        woken: Callable[[], Awaitable[None]],
    ) -> None:
        """`woken` is awaited once the wake word has come, where the turn waits for one and goes on behind it."""
        self._stages = stages
        self._request = request
        self._emit = emit
        self._timeline = timeline
        self._feedback = feedback
        self._woken = woken
        self._draft: Answer | None = None
        self._partials = Partials()
        self._wake_word = request.wake_word

    async def run(self, audio: AsyncIterator[bytes], text: AsyncIterator[str]) -> None:
        try:
            await self._run(audio, text)
        finally:
            await self._drop_draft()

    async def _run(self, audio: AsyncIterator[bytes], text: AsyncIterator[str]) -> None:
        wake_phrase = phrase_of(self._request.wake_word)
        if self._request.start is Stage.WAKE:
            detected, rest = await self._wait_for_wake_word(audio)
            if detected is None or self._request.end is Stage.WAKE:
                return
            await self._woken()
            self._wake_word = detected
            wake_phrase = self._stages.wake.words[detected].phrase
            audio = _chain(rest, audio)
        self._request = _adapted(self._request, self._wake_word, self._stages)
        with self._stages.agent.attending():  # not while a wake word is waited for, which takes hours
            await self._attend(audio, text, wake_phrase)

    async def _attend(self, audio: AsyncIterator[bytes], text: AsyncIterator[str], wake_phrase: str) -> None:
        """The turn behind its wake word."""
        start, end = self._request.start, self._request.end
        if start is Stage.TTS:
            voice = self._voice
            floor = Floor()
            floor.give()
            await speak_text(self._stages.synthesizer, voice, text, self._emit, self._timeline, Playback(), floor)
            await self._emit(AudioStopped())
            return
        if start is Stage.HANDLE:
            question = "".join([piece async for piece in text]).strip()
            if not question:
                raise RequestError("no-text", "The text is empty: say or write something")
            await self._answer(self._question(question))
            return
        heard = self._request.heard
        if heard is not None and heard.in_audio:
            doubtful = heard.score < self._stages.wake_settings.sure_score
            audio = await self._behind_wake_word(audio, wake_phrase, doubtful)
        recording = self._recording()
        transcript = await self._stages.recognizer.recognize(
            audio if recording is None else recording.of(audio),
            self,
            self._timeline,
            language=self._request.session.language or None,
            hints=self._request.hints,
            commands=self._stages.agent.commands(self._question("")),
            wake_phrase=wake_phrase,
            answering=self._stages.agent.expects_answer(self._question("")),
            whole=self._request.whole,
            stall_seconds=self._request.stall_seconds or STALL_SECONDS,
        )
        if recording is not None:
            recording.keep(self._timeline.turn_id, transcript)
        if not transcript.text:
            raise RequestError("no-speech", "No speech was heard: speak after the wake word, or check the microphone")
        await self._emit(Transcribed(transcript.text, transcript.language))
        if end is not Stage.ASR:
            await self._answer(self._question(transcript.text, transcript.language))

    def _recording(self) -> Recording | None:
        recordings, session = self._stages.recordings, self._request.session
        return None if recordings is None or self._stages.agent.is_private(session) else recordings.begin(session)

    async def _behind_wake_word(self, audio: AsyncIterator[bytes], phrase: str, doubtful: bool) -> AsyncIterator[bytes]:
        """What was said after the wake word with which the audio begins. RequestError for a `doubtful` one that is not.

        All of the audio, where no engine here knows the word: to lose a call is worse than to answer a television.
        """
        stages = self._stages
        look = await stages.wake_workers.run(lambda: second_look(stages.wake, self._wake_word))
        if look is None:
            return audio
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                async for chunk in audio:
                    await stages.wake_workers.run(lambda pcm=chunk: look.process(pcm))  # type: ignore[misc]
                    if look.is_over:
                        break
        if doubtful and not look.called and await self._likelihood(look.audio, phrase) < LIKELY:
            raise RequestError("not-woken", "That was not the wake word")
        return _chain(look.rest, audio)

    async def _likelihood(self, pcm: bytes, phrase: str) -> float:
        language = next(iter(self._stages.wake.word(self._wake_word).languages), "en")
        return await self._stages.recognizer.transcriber.likelihood(pcm, phrase.title(), language)

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
                after = heard_bytes - 2 * round(detection.seconds * RATE)  # whole samples
                return detection.name, chunk[len(chunk) - after :] if 0 < after <= len(chunk) else b""
        await self._emit(NotDetected())
        return None, b""

    async def speech_started(self) -> None:
        await self._emit(VoiceStarted())
        await self._emit(TranscriptStarted(self._request.session.language or None))

    async def guessed(self, transcript: Transcript) -> None:
        """Begin to answer what may be the whole question; nothing of it leaves before the speaker has finished."""
        question = self._question(transcript.text, transcript.language)
        if self._request.end is Stage.ASR or not self._stages.agent.drafts(question):
            return
        await self._drop_draft()
        self._draft = self._begin(question)

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

    def _question(self, text: str, tag: str | None = None) -> Request:
        session = self._request.session
        language = tag or session.language or self._stages.agent.settings.language
        return Request(text, replace(session, language=language), self._wake_word)

    async def _answer(self, question: Request) -> None:
        """Give the answer: the draft if it answers this question, else a new one."""
        if self._draft is None or self._draft.question != question or self._draft.apologises:
            await self._drop_draft()
            self._draft = self._begin(question)
        await self._draft.give(self._timeline, self._feedback)

    def _begin(self, question: Request) -> Answer:
        stages = self._stages
        spoken = self._voice if self._request.end is Stage.TTS else None
        return Answer(stages.agent, stages.synthesizer, spoken, question, self._emit, self._timeline.turn_id)

    @property
    def _voice(self) -> VoiceChoice:
        return self._request.voice or self._stages.synthesizer.choose()

    async def _drop_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.cancel()


def _adapted(request: TurnRequest, wake_word: str, stages: Stages) -> TurnRequest:
    """With the language and the voice that the client left open, as the profile of speaker, place and wake word says.

    RequestError when there is no such voice, or the speech model does not know the language.
    """
    profile = stages.agent.settings.profile(wake_word, request.session)
    tag, voice = request.session.language, request.voice
    if not tag and profile.language:
        tag = languages.normalize(profile.language)
        if request.start <= Stage.ASR:
            tag = languages.require(tag, stages.recognizer.transcriber.languages, "The speech model")
    if voice is None and profile.voice:
        voice = stages.synthesizer.choose(profile.voice)
    elif voice is None and tag:
        with contextlib.suppress(RequestError):  # a voice of another language is better than none
            voice = stages.synthesizer.choose(language=tag)
    return replace(request, session=replace(request.session, language=tag), voice=voice)


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk
