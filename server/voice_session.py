"""One session of `WS /api/v1/voice/stream`: its turns, and what it has to say. It outlives its connections."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from handlers.agent.caller import Role, SatelliteSettings
from handlers.audio import BYTES_PER_SECOND, WIDTH
from handlers.errors import MeadowlarkError, RequestError
from handlers.pipeline.handler import require_language
from handlers.pipeline.stage import AudioPiece, Feedback, Stage, TurnEvent, TurnRequest, VoiceStopped
from handlers.pipeline.turn import Pipeline
from handlers.timeline import Outcome, Timeline
from handlers.tts.speaker import once
from handlers.wake.stage import require_words
from handlers.wire.audio_input import AudioQueue
from server.access import Access
from server.voice_outbox import KEPT_BYTES, WAITING_BYTES, Outbox
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
"""For a cancelled turn; one that waits for a device to be switched is left behind."""

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
    work: asyncio.Task[None] | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop it, also where it has not begun."""
        self.cancelled = True
        self.audio.close()
        if self.work is not None:
            self.work.cancel()


class VoiceSession:
    """Runs one turn after the other. Whatever it says goes into its outbox, from which a connection takes it."""

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
        self._caller = people.caller(
            satellite=start.name if may_speak_for(access, people.satellites.get(start.name)) else "",
            user=access.user,
            token=access.token,
            token_role=access.role,
        )
        self._language = require_language(start.language, Stage.HANDLE, stages)
        self._voice = stages.synthesizer.choose(start.voice) if start.voice else None
        self._chosen_id = start.conversation_id or uuid4().hex
        self._conversation_id = access.conversation(self._chosen_id)
        self._began = time.monotonic()
        self._turn: _Turn | None = None
        self._running: asyncio.Task[None] | None = None
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
            case Played(seconds=seconds):
                if self._turn is not None:
                    played = math.inf if seconds is None else seconds
                    self._pipeline.played(self._conversation_id, self._turn.feedback, played)
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
        if self._running is not None:
            _, stuck = await asyncio.wait([self._running], timeout=_CANCEL_SECONDS)
            if stuck:
                _LOGGER.error("A turn of a voice session does not end when it is cancelled")

    def _listen(self, listen: Listen) -> None:
        stages = self._pipeline.stages
        require_words(listen.wake_words, stages.wake.words)
        by_hand = listen.mode == "push_to_talk"
        start = Stage.WAKE if listen.wake_words and not by_hand else Stage.ASR
        language = require_language(self._language, start, stages)
        self._begin(
            TurnRequest(
                start,
                Stage.TTS,
                voice=self._voice,
                wake_words=listen.wake_words,
                language=language,
                conversation_id=self._conversation_id,
                caller=self._caller,
                whole=by_hand,
                stall_seconds=_STALL_SECONDS,
            )
        )

    def _answer(self, text: str) -> None:
        limit = self._pipeline.stages.agent.settings.longest_question
        if len(text) > limit:
            raise RequestError("text-too-long", f"A question may have {limit} characters")
        self._begin(
            TurnRequest(
                Stage.HANDLE,
                Stage.TTS,
                voice=self._voice,
                language=self._language,
                conversation_id=self._conversation_id,
                caller=self._caller,
            ),
            text,
        )

    def _begin(self, request: TurnRequest, text: str = "") -> None:
        if not self._may_begin():
            raise RefusedError(TOO_MANY, "too-many-turns", f"More than {TURNS_A_MINUTE} turns a minute: wait a minute")
        self._stop()
        self._turn = _Turn(self._turn.number + 1 if self._turn else 1, request, text)
        self._running = asyncio.create_task(self._run(self._turn, self._running), name="turn of a voice session")

    def _cancel(self) -> None:
        if self._running is not None and self._running.done():  # all of it was sent, but not all was heard
            self._pipeline.stages.agent.conversations.interrupt(self._conversation_id)
        self._stop()

    def _stop(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self.outbox.drop_audio()

    async def _run(self, turn: _Turn, before: asyncio.Task[None] | None) -> None:
        """A turn from the end of the one before to its own `done`; never cancelled, but its work may be."""
        if before is not None:
            await asyncio.wait([before])
        if not turn.cancelled:
            turn.work = asyncio.create_task(self._work(turn), name="work of a voice session")
            await asyncio.wait([turn.work])
        if turn.cancelled:
            self.outbox.drop_audio()  # that still came in while its work ended
        turn.timeline.finish(Outcome.CANCELLED)
        timeline = turn.timeline.as_dict()
        self._tell(Done(turn=turn.number, outcome=str(turn.timeline.outcome), timeline=timeline))

    async def _work(self, turn: _Turn) -> None:
        async def emit(event: TurnEvent) -> None:
            if isinstance(event, AudioPiece):
                for start in range(0, len(event.pcm), _PIECE_BYTES):
                    await self.outbox.send(event.pcm[start : start + _PIECE_BYTES])
                return
            if isinstance(event, VoiceStopped):
                turn.audio.close()  # the rest of a microphone that stays open is dropped, not waited for
            message = message_of(event, turn.number, self._chosen_id)
            if message is not None:
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
            self._fail(turn, "internal", "Something went wrong inside Meadowlark; its log says what")
        finally:
            turn.audio.close()

    def _fail(self, turn: _Turn, code: str, text: str) -> None:
        turn.timeline.finish(Outcome.FAILED)
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
