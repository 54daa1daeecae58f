"""The Wyoming side of a turn: `run-pipeline` and what it needs in, the protocol's own events out.

Beyond the protocol's fields, `run-pipeline` takes `context` (`conversation_id`, `satellite_id`), `language`, `voice`,
`transcript_names`, `transcript_terms`, and of a satellite that heard its wake word itself `wake`: `score` (0 to 1),
`snr` (dB) and `in_audio` (whether the audio begins with it). The last event of a turn carries its `timeline`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TypeGuard
from uuid import uuid4

from wyoming.asr import Transcript, TranscriptStart, TranscriptStop
from wyoming.asr import TranscriptChunk as TranscriptChunkEvent
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import HandledChunk, HandledStart, HandledStop
from wyoming.pipeline import RunPipeline
from wyoming.snd import Played
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop
from wyoming.vad import VoiceStarted as VoiceStartedEvent
from wyoming.vad import VoiceStopped as VoiceStoppedEvent
from wyoming.wake import Detection
from wyoming.wake import NotDetected as NotDetectedEvent

from handlers import language
from handlers.agent.handler import check_language, handled_event, read_session
from handlers.asr.handler import read_hints
from handlers.errors import MeadowlarkError, RequestError
from handlers.pipeline.arbiter import Heard
from handlers.pipeline.stage import (
    LAST_EVENTS,
    AnswerChunk,
    Answered,
    AnswerStarted,
    AnswerStopped,
    AudioPiece,
    AudioStarted,
    AudioStopped,
    Detected,
    Feedback,
    NotDetected,
    Stage,
    ToolUsed,
    Transcribed,
    TranscriptChunk,
    TranscriptStarted,
    TranscriptStopped,
    TurnEvent,
    TurnRequest,
    VoiceStarted,
    VoiceStopped,
)
from handlers.pipeline.turn import Pipeline, Stages
from handlers.timeline import Outcome, Timeline
from handlers.tts.handler import choose_voice
from handlers.wake.stage import require_words
from handlers.wire import fields
from handlers.wire.audio_input import AUDIO_EVENTS, AudioInput
from handlers.wire.connection import Connection
from handlers.wire.heartbeat import PING_SECONDS, Heartbeat
from handlers.wire.text_input import TextInput

_STAGES = {"wake": Stage.WAKE, "asr": Stage.ASR, "handle": Stage.HANDLE, "tts": Stage.TTS}
_MAX_WAKE_WORDS = 64
_MAX_WAKE_WORD = 100

_DAY_SECONDS = 86_400
"""No answer is longer."""

_REPLACED_SECONDS = 0.5
"""For the last word to a client whose turn was taken over; its successor waits for it."""


class PipelineHandler:
    """One connection's turns, one at a time; a new `run-pipeline` cancels the turn before it."""

    def __init__(
        self, connection: Connection, pipeline: Pipeline, longest_text: int, ping_seconds: float = PING_SECONDS
    ) -> None:
        """A turn at work that sends nothing for `ping_seconds` sends a `ping`."""
        self._connection = connection
        self._ping_seconds = ping_seconds
        self._pipeline = pipeline
        self._longest_text = longest_text
        self._task: asyncio.Task[None] | None = None
        self._audio: AudioInput | None = None
        self._audio_open = False
        self._audio_stopped = False
        self._conversation_id = ""  # of the newest turn that sounds, and what is known of it
        self._feedback = Feedback()
        self._streaming = False
        self._text: TextInput | None = None
        self._start_stage = Stage.TTS

    def wants(self, event_type: str) -> bool:
        if RunPipeline.is_type(event_type) or Played.is_type(event_type):
            return True
        if AudioStop.is_type(event_type) and self._running_from(*Stage):
            return True
        if event_type in AUDIO_EVENTS:
            # A turn that has heard enough still takes the rest of its own audio, and drops it.
            return self._running_from(Stage.WAKE, Stage.ASR) or (self._audio_open and event_type != "audio-start")
        if Transcript.is_type(event_type):
            return self._running_from(Stage.HANDLE)
        if any(kind.is_type(event_type) for kind in (Synthesize, SynthesizeStart, SynthesizeChunk, SynthesizeStop)):
            return self._running_from(Stage.TTS)
        return False

    async def handle(self, event: Event) -> None:
        if RunPipeline.is_type(event.type):
            self._run(event)
        elif Played.is_type(event.type):
            self._note_played(event)
        elif event.type in AUDIO_EVENTS:
            await self._take_audio(event)
        else:
            self._take_text(event)

    def _running_from(self, *starts: Stage) -> bool:
        if self._task is None or self._task.done() or self._task.cancelling():
            return False  # what is being cancelled takes nothing any more, although its end may take a moment
        return self._start_stage in starts

    def _run(self, event: Event) -> None:
        request = read_turn_request(event, self._pipeline)
        before = self._task
        if before is not None:
            before.cancel()
        self._start_stage = request.start
        self._audio = AudioInput()
        self._audio_open = False
        self._audio_stopped = False
        self._streaming = False
        self._text = TextInput(self._longest_text)
        announced = fields.optional_text(event, "announce_text")
        if announced and request.start is Stage.TTS:
            self._text.put(announced)
            self._text.end()
        turn = self._turn(request, self._audio, self._text, before)
        self._task = self._connection.start(turn, "turn")

    def _note_played(self, event: Event) -> None:
        """The satellite has played the answer: all of it, or `seconds` of it when it was interrupted."""
        seconds = event.data.get("seconds")
        if seconds is None:
            played = math.inf
        elif isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < _DAY_SECONDS:
            played = float(seconds)
        else:
            raise RequestError("bad-event", "'seconds' of the event 'played' is not a number of seconds")
        self._pipeline.played(self._conversation_id, self._feedback, played)

    async def _take_audio(self, event: Event) -> None:
        no_more = self._audio_stopped or self._start_stage not in (Stage.WAKE, Stage.ASR)
        if AudioStop.is_type(event.type) and no_more and self._task is not None:
            self._task.cancel()  # there is no audio to stop: what is to stop is the answer
            return
        self._audio_stopped = AudioStop.is_type(event.type)
        self._audio_open = not AudioStop.is_type(event.type)
        if self._audio is None:
            return
        try:
            await self._audio.feed(event)
        except RequestError:  # nothing that follows can be understood either
            self._audio.close()
            if self._task is not None:
                self._task.cancel()
            raise

    def _take_text(self, event: Event) -> None:
        if self._text is None:
            return
        if SynthesizeStart.is_type(event.type):
            self._streaming = True
        elif SynthesizeStop.is_type(event.type):
            self._text.end()
        elif not (self._streaming and Synthesize.is_type(event.type)):  # inside a stream it is the same text again
            self._put_text(event, self._text)

    def _put_text(self, event: Event, text: TextInput) -> None:
        question = Transcript.is_type(event.type)
        limit = self._pipeline.stages.agent.settings.longest_question if question else self._longest_text
        try:
            text.put(fields.text(event, "text", limit=limit))
        except RequestError:  # nothing can come of this turn any more
            if self._task is not None:
                self._task.cancel()
            raise
        if not SynthesizeChunk.is_type(event.type):
            text.end()

    async def _turn(
        self,
        request: TurnRequest,
        audio: AudioInput,
        text: TextInput,
        before: asyncio.Task[None] | None,
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        timeline, feedback = Timeline(uuid4().hex), Feedback()
        heartbeat = Heartbeat(self._connection, self._ping_seconds)
        heartbeat.awake = request.start is not Stage.WAKE  # a wake word may take hours

        async def emit(event: TurnEvent) -> None:
            wyoming = to_wyoming(event)
            if wyoming is None:
                return
            if isinstance(event, Detected):
                heartbeat.awake = True
            if isinstance(event, AudioStarted):  # until then `played` is of the answer before
                self._conversation_id, self._feedback = request.session.conversation, feedback
            if isinstance(event, VoiceStopped):
                audio.close()  # the rest of a microphone that stays open is dropped, not waited for
            if isinstance(event, LAST_EVENTS[request.end]):
                timeline.finish(Outcome.COMPLETED)
                wyoming.data["timeline"] = timeline.as_dict()
            await heartbeat.send(wyoming)

        try:
            async with heartbeat:
                await self._pipeline.run(request, audio.chunks(), text.pieces(), emit, timeline, feedback)
        except MeadowlarkError as error:
            answer = Error(text=str(error), code=error.code).event()
            answer.data["timeline"] = timeline.as_dict()
            await self._connection.send(answer)
        except asyncio.CancelledError:
            if feedback.replaced:
                await self._say_replaced()
            raise
        finally:
            audio.close()

    async def _say_replaced(self) -> None:
        """Tell a client that still waits for the rest of its turn."""
        error = Error(text="Another turn has begun for the same satellite_id", code="replaced")
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_REPLACED_SECONDS):
                await self._connection.send(error.event())


def read_turn_request(event: Event, pipeline: Pipeline) -> TurnRequest:
    """The request of a `run-pipeline` event; RequestError says what in it cannot be done."""
    start, end = _stage(event, "start_stage"), _stage(event, "end_stage")
    if start > end:
        raise RequestError(
            "bad-event", f"A pipeline cannot start with {start.name.lower()} and end with {end.name.lower()}"
        )
    wake_word = (fields.optional_text(event, "wake_word_name") or "")[:_MAX_WAKE_WORD]
    tag = require_language(fields.optional_text(event, "language"), start, pipeline.stages)
    wake_words = fields.texts(event, "wake_word_names", limit=_MAX_WAKE_WORDS)
    require_words(wake_words, pipeline.stages.wake.words)
    voice = choose_voice(event, pipeline.stages.synthesizer)
    return TurnRequest(
        start,
        end,
        read_session(event, pipeline.stages.agent, tag),
        voice=voice if any(fields.mapping(event, "voice").values()) else None,
        wake_word=wake_word,
        wake_words=wake_words,
        heard=_heard(event),
        hints=read_hints(event),
    )


def require_language(tag: str | None, start: Stage, stages: Stages) -> str:
    """The language that a client asks for, for a turn that begins here; empty where it asks for none. RequestError
    where nobody speaks it, or where speech is to be recognised and the model does not know it."""
    if not tag:
        return ""
    check_language(language.normalize(tag))
    if start <= Stage.ASR:
        return language.require(tag, stages.recognizer.transcriber.languages, "The speech model")
    return tag


def _heard(event: Event) -> Heard | None:
    """How well a satellite heard its wake word; None where it has not said."""
    wake = fields.mapping(event, "wake")
    score, snr = wake.get("score"), wake.get("snr", 0.0)
    if score is None:
        return None
    if not _is_number(score) or not 0 <= score <= 1 or not _is_number(snr) or not math.isfinite(snr):
        raise RequestError("bad-event", "'wake' of a 'run-pipeline' needs a score from 0 to 1 and an snr in dB")
    return Heard(float(score), float(snr), wake.get("in_audio") is True)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_wyoming(event: TurnEvent) -> Event | None:
    """A turn's event as the protocol has it, None where it has none."""
    match event:
        case Detected(name, milliseconds):
            return Detection(name=name, timestamp=milliseconds).event()
        case NotDetected():
            return NotDetectedEvent().event()
        case VoiceStarted():
            return VoiceStartedEvent().event()
        case VoiceStopped():
            return VoiceStoppedEvent().event()
        case TranscriptStarted(tag):
            return TranscriptStart(language=tag).event()
        case TranscriptChunk(text):
            return TranscriptChunkEvent(text).event()
        case TranscriptStopped():
            return TranscriptStop().event()
        case Transcribed(text, tag):
            return Transcript(text, language=tag).event()
        case AnswerStarted(conversation_id):
            return HandledStart(context={"conversation_id": conversation_id}).event()
        case AnswerChunk(text):
            return HandledChunk(text).event()
        case AnswerStopped():
            return HandledStop().event()
        case Answered(text, conversation_id, volume, asks):
            return handled_event(text, conversation_id, volume, asks)
        case ToolUsed():
            return None  # the protocol has no event for it
        case AudioStarted(audio):
            return AudioStart(audio.rate, audio.width, audio.channels).event()
        case AudioPiece(pcm, audio):
            return AudioChunk(audio.rate, audio.width, audio.channels, pcm).event()
        case AudioStopped():
            return AudioStop().event()


def _stage(event: Event, key: str) -> Stage:
    value = event.data.get(key)
    if not isinstance(value, str) or value not in _STAGES:
        raise RequestError(
            "bad-event", f"'{key}' of a 'run-pipeline' must be one of {', '.join(_STAGES)}, not {value!r}"
        )
    return _STAGES[value]
