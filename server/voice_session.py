"""One session of `WS /api/v1/voice/stream`: its turns, and what it has to say. It outlives its connections."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

from handlers.agent.access import SatelliteSettings
from handlers.audio import BYTES_PER_SECOND, WIDTH
from handlers.errors import INTERNAL, MeadowlarkError, RequestError
from handlers.pipeline.handler import require_language
from handlers.pipeline.stage import (
    AnswerStarted,
    AudioPiece,
    Detected,
    Feedback,
    Stage,
    TurnEvent,
    TurnRequest,
    VoiceStopped,
)
from handlers.pipeline.turn import Pipeline
from handlers.session import Role
from handlers.timeline import Outcome, Timeline
from handlers.tts.speaker import once
from handlers.wake.stage import require_words
from handlers.wire.audio_input import AudioQueue
from server.access import Access
from server.voice_outbox import KEPT_BYTES, WAITING_BYTES, Outbox
from server.voice_place import VoicePlace
from server.voice_protocol import (
    MOST_AUDIO_BYTES,
    MOST_TEXT_BYTES,
    Ack,
    Cancel,
    Done,
    EndAudio,
    Error,
    FromClient,
    Limits,
    Listen,
    Listening,
    Message,
    Noticed,
    Ping,
    Played,
    Pong,
    Ready,
    Start,
    Text,
    VoiceShape,
    encode,
    message_of,
)

_LOGGER = logging.getLogger(__name__)

RESUME_SECONDS = 30.0
"""How long a session waits for its client: a phone needs some seconds to go from Wi-Fi to mobile data."""

IDLE_SECONDS = 600.0
"""Without any frame from a client; one that stays open unused sends a `ping` now and then."""

QUEUE_SECONDS = 30.0
"""Of audio that may wait to be listened to: as much as is spoken while a connection is looked for."""

TURNS_A_MINUTE = 240
"""Of one token: four a second are more than a household says, and what a program needs that tries things."""

_PIECE_BYTES = 16 * 1024
"""Audio in one frame to the client, a third of a second: small enough to stop at once."""

_STALL_SECONDS = RESUME_SECONDS + 10.0
"""A microphone may be silent while its connection is looked for."""

_CANCEL_SECONDS = 5.0
"""For a cancelled turn; one that waits for a device to be switched is left behind, and counts as ended."""

_ANSWERS = 4
"""Of which a client may say how much was played: the one that sounds, the one that interrupts it, and two to spare."""

BAD_FRAME = 4400
TOO_MANY = 4429
TOO_SLOW = 4408


class RefusedError(Exception):
    """The connection is to be closed, with a code. `code_word` tells a program why, as in an `error`."""

    def __init__(self, close_code: int, code_word: str, text: str) -> None:
        super().__init__(text)
        self.close_code = close_code
        self.code_word = code_word


@dataclass
class _Turn:
    """One turn, from the client's wish to its end."""

    number: int
    request: TurnRequest
    text: str
    audio: AudioQueue = field(default_factory=AudioQueue)
    audio_received: int = 0
    """Bytes."""
    feedback: Feedback = field(default_factory=Feedback)
    timeline: Timeline = field(default_factory=lambda: Timeline(uuid4().hex))
    running: asyncio.Task[None] | None = None
    """From the client's wish to its `done`."""
    work: asyncio.Task[None] | None = None
    cancelled: bool = False
    waits: bool = False
    """For its wake word, beside the turn before it."""
    ended: bool = False
    """Its `done` was said: nothing more comes of it, although its work may take a moment still."""

    def cancel(self) -> None:
        """Stop it, also where it has not begun."""
        self.cancelled = True
        self.audio.close()
        if self.work is not None:
            self.work.cancel()


class VoiceSession:
    """Runs one turn after the other, and beside it one that waits for its wake word. Whatever it says goes into its
    outbox, from which a connection takes it."""

    def __init__(self, pipeline: Pipeline, access: Access, start: Start, may_begin: Callable[[], bool]) -> None:
        """`may_begin` counts a turn, and says whether its token may have one more. RequestError for a language or a
        voice that is not there."""
        stages = pipeline.stages
        self.id = uuid4().hex
        self.access = access
        self.name = start.name
        self.outbox = Outbox()
        self._pipeline = pipeline
        self._may_begin = may_begin
        people = stages.agent.settings.access
        self._chosen_id = start.conversation_id or uuid4().hex
        self._session = stages.agent.session(
            satellite=start.name if may_speak_for(access, people.satellites.get(start.name)) else "",
            user=access.user,
            token=access.token,
            token_role=access.role,
            language=require_language(start.language, Stage.HANDLE, stages),
            conversation=access.conversation(self._chosen_id),
        )
        self._voice = stages.synthesizer.choose(start.voice) if start.voice else None
        place = self._session.satellite
        self.place = VoicePlace(place, self._tell) if start.calls and place else None
        """Where it can be called; None where it cannot."""
        self._began = time.monotonic()
        self._turn: _Turn | None = None  # the newest
        self._turns: list[_Turn] = []  # those that have not ended, in their order
        self._answers: dict[int, Feedback] = {}  # of the newest turns with an answer
        self._closed = False

    def as_dict(self) -> dict[str, object]:
        """For the status, without anybody's words."""
        return {
            "name": self.name,
            "role": self.access.role.word,
            "turns": self._turn.number if self._turn else 0,
            "seconds": round(time.monotonic() - self._began, 1),
        }

    def ready(self, *, resumed: bool) -> str:
        """What greets a connection."""
        stages = self._pipeline.stages
        limits = Limits(
            text_bytes=MOST_TEXT_BYTES,
            audio_bytes=MOST_AUDIO_BYTES,
            question_characters=stages.agent.settings.longest_question,
            queue_seconds=QUEUE_SECONDS,
            resume_seconds=RESUME_SECONDS,
            kept_bytes=KEPT_BYTES,
            idle_seconds=IDLE_SECONDS,
            turns_a_minute=TURNS_A_MINUTE,
        )
        voices = [VoiceShape(name=voice.name, languages=list(voice.languages)) for voice in stages.synthesizer.voices]
        return encode(
            Ready(
                session=self.id,
                resumed=resumed,
                turn=self._turn.number if self._turn else 0,
                audio_received=self._turn.audio_received if self._turn else 0,
                limits=limits,
                voices=voices,
                wake_words=list(stages.wake.words),
            )
        )

    def take(self, message: FromClient) -> None:
        """Do what a client says. RequestError where it cannot be done; RefusedError where it may not go on."""
        match message:
            case Listen():
                self._listen(message)
            case Text(text=text):
                self._answer(text)
            case EndAudio():
                if self._turn is not None:
                    self._turn.audio.close()
            case Cancel():
                self._cancel()
            case Played(turn=number, seconds=seconds):
                newest = next(reversed(self._answers), 0)
                feedback = self._answers.get(newest if number is None else number)
                if feedback is not None:
                    played = math.inf if seconds is None else seconds
                    self._pipeline.played(self._session.conversation, feedback, played)
            case Noticed():
                if self.place is not None:
                    self.place.noticed(message)
            case Ack(received=received):
                if not self.outbox.acknowledge(received):
                    raise RefusedError(BAD_FRAME, "bad-frame", "ack.received: so many frames were not sent")
            case Ping():
                self._tell(Pong())
            case Start():
                raise RefusedError(BAD_FRAME, "bad-frame", "'start' was said before")

    def take_audio(self, pcm: bytes) -> None:
        """Audio of the newest turn; without one, or behind its end, it is dropped. RefusedError for too much."""
        if len(pcm) % WIDTH:
            raise RefusedError(BAD_FRAME, "bad-frame", "A binary frame has whole samples of two bytes")
        turn = self._turn
        if turn is None or turn.request.start > Stage.ASR:
            return
        if not turn.audio.ended and turn.audio.waiting_bytes + len(pcm) > QUEUE_SECONDS * BYTES_PER_SECOND:
            raise RefusedError(
                TOO_MANY, "too-fast", f"{QUEUE_SECONDS:g} seconds of audio wait: send no faster than spoken"
            )
        turn.audio_received += len(pcm)
        turn.audio.put(pcm)

    def refuse(self, error: RequestError) -> None:
        """Say that something cannot be done; the session goes on."""
        self._tell(Error(code=error.code, text=str(error)))

    async def close(self) -> None:
        """Stop all work."""
        self._closed = True
        self._stop()
        await self._until_ended(self._turns)

    def _listen(self, listen: Listen) -> None:
        stages = self._pipeline.stages
        require_words(listen.wake_words, stages.wake.words)
        by_hand = listen.mode == "push_to_talk"
        start = Stage.WAKE if listen.wake_words and not by_hand else Stage.ASR
        language = require_language(self._session.language, start, stages)
        self._begin(
            TurnRequest(
                start,
                Stage.TTS,
                replace(self._session, language=language),
                voice=self._voice,
                wake_words=listen.wake_words,
                whole=by_hand,
                stall_seconds=_STALL_SECONDS,
            )
        )

    def _answer(self, text: str) -> None:
        limit = self._pipeline.stages.agent.settings.longest_question
        if len(text) > limit:
            raise RequestError("text-too-long", f"A question may have {limit} characters")
        self._begin(
            TurnRequest(Stage.HANDLE, Stage.TTS, self._session, voice=self._voice),
            text,
        )

    def _begin(self, request: TurnRequest, text: str = "") -> None:
        if not self._may_begin():
            raise RefusedError(TOO_MANY, "too-many-turns", f"More than {TURNS_A_MINUTE} turns a minute: wait a minute")
        waits = request.start is Stage.WAKE
        before = [turn for turn in self._turns if not turn.ended and (turn.waits or not waits)]
        if waits:
            self._stand_by()
        else:
            self._stop()
        turn = _Turn(self._turn.number + 1 if self._turn else 1, request, text, waits=waits)
        self._turn = turn
        self._turns.append(turn)
        turn.running = asyncio.create_task(self._run(turn, before), name="turn of a voice session")

    def _cancel(self) -> None:
        # All of an answer may have been sent, but not all was heard.
        self._pipeline.stages.agent.conversations.interrupt(self._session.conversation)
        self._stop()

    def _stand_by(self) -> None:
        """Make way for a turn that waits for its wake word: it alone waits and hears from now on."""
        for turn in self._turns:
            if turn.waits:
                turn.cancel()
            else:
                turn.audio.close()

    def _stop(self) -> None:
        for turn in self._turns:
            turn.cancel()
        self.outbox.drop_audio()

    async def _wake(self, turn: _Turn, detection: Message) -> None:
        """The wake word came: what is under way ends, and nothing more of it is heard."""
        turn.waits = False
        before = [other for other in self._turns if not other.ended and other.number < turn.number]
        for other in before:
            other.cancel()
        self.outbox.drop_audio()
        self._tell(detection)
        await self._until_ended(before)

    async def _run(self, turn: _Turn, before: Sequence[_Turn]) -> None:
        """A turn from the end of those before to its own `done`; never cancelled, but its work may be."""
        await self._until_ended(before)
        if not turn.cancelled:
            turn.work = asyncio.create_task(self._work(turn), name="work of a voice session")
            await asyncio.wait([turn.work])
        self._turns.remove(turn)
        if turn.ended:
            return
        if (turn.cancelled or turn.feedback.replaced) and not turn.waits:
            self.outbox.drop_audio()  # that still came in while its work ended
        self._say_done(turn)

    async def _until_ended(self, turns: Sequence[_Turn]) -> None:
        """Wait for turns that were cancelled. Those that do not end are left behind."""
        turns = list(turns)  # for those that end are taken from the session's
        running = [turn.running for turn in turns if turn.running is not None]
        if running:
            await asyncio.wait(running, timeout=_CANCEL_SECONDS)
        for turn in turns:
            if not turn.ended:
                _LOGGER.error("A turn of a voice session does not end when it is cancelled")
                self._say_done(turn)

    def _say_done(self, turn: _Turn) -> None:
        turn.ended = True
        turn.timeline.finish(Outcome.CANCELLED)
        timeline = turn.timeline.as_dict()
        self._tell(Done(turn=turn.number, outcome=str(turn.timeline.outcome), timeline=timeline))

    async def _work(self, turn: _Turn) -> None:
        async def emit(event: TurnEvent) -> None:
            if turn.ended:
                return
            if isinstance(event, AudioPiece):
                for start in range(0, len(event.pcm), _PIECE_BYTES):
                    await self.outbox.send(event.pcm[start : start + _PIECE_BYTES])
                return
            if isinstance(event, VoiceStopped):
                turn.audio.close()  # the rest of a microphone that stays open is dropped, not waited for
            if isinstance(event, AnswerStarted):
                self._note_answer(turn)
            message = message_of(event, turn.number, self._chosen_id)
            if message is not None and isinstance(event, Detected):
                await self._wake(turn, message)
            elif message is not None:
                await self.outbox.send(encode(message))

        if turn.request.start <= Stage.ASR:
            self._tell(Listening(turn=turn.number))
        audio, text = turn.audio.chunks(), once(turn.text)
        try:
            await self._pipeline.run(turn.request, audio, text, emit, turn.timeline, turn.feedback)
        except MeadowlarkError as error:
            self._fail(turn, error.code, str(error))
        except asyncio.CancelledError:
            if turn.feedback.replaced:
                self._fail(turn, "replaced", "Another turn has begun for the same name")
            raise
        except Exception:
            _LOGGER.exception("A turn of a voice session failed")
            self._fail(turn, "internal", INTERNAL)
        finally:
            turn.audio.close()

    def _note_answer(self, turn: _Turn) -> None:
        self._answers[turn.number] = turn.feedback
        while len(self._answers) > _ANSWERS:
            del self._answers[next(iter(self._answers))]

    def _fail(self, turn: _Turn, code: str, text: str) -> None:
        turn.timeline.finish(Outcome.FAILED)
        if turn.ended:
            return
        self._tell(Error(turn=turn.number, code=code, text=text))

    def _tell(self, message: Message) -> None:
        """Send something without a wait: there is little of it, or its connection is too slow."""
        if not self._closed:
            self.outbox.put(encode(message))

    @property
    def overflows(self) -> bool:
        """Whether a client asks for more than it takes."""
        return self.outbox.waiting_bytes > 2 * WAITING_BYTES


def may_speak_for(access: Access, place: SatelliteSettings | None) -> bool:
    """A visitor speaks for no place of the house, and nobody but its owner for a person's own."""
    if access.role is Role.ADMIN:
        return True
    return access.role > Role.GUEST and (place is None or place.user in ("", access.user))
