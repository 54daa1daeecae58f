"""The messages of `WS /api/v1/voice/stream`, by which a browser, a phone or a program talks to Meadowlark.

Text frames are JSON objects whose `type` says which of these it is; binary frames are bare PCM. README.md says who
sends which when. Unknown keys are ignored, and unknown types are answered with nothing, so that either side may be
newer.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from handlers.agent.stage import SAME_VOLUME, Volume
from handlers.agent.tools.stage import ToolFinished, ToolStarted
from handlers.pipeline.stage import (
    AnswerChunk,
    Answered,
    AnswerStarted,
    AnswerStopped,
    AudioPiece,
    AudioStarted,
    AudioStopped,
    Detected,
    NotDetected,
    ToolUsed,
    Transcribed,
    TranscriptChunk,
    TranscriptStarted,
    TranscriptStopped,
    TurnEvent,
    VoiceStarted,
    VoiceStopped,
)
from server.websocket import read_message

PROTOCOL = 1
"""Raised when an older side would misunderstand; `start` and `ready` carry it."""

MOST_TEXT_BYTES = 64 * 1024
"""Of one text frame: the longest question has a few thousand characters."""

MOST_AUDIO_BYTES = 64 * 1024
"""Of one binary frame: two seconds of speech, of which a microphone sends 20 to 100 ms at a time."""

_MOST_WAKE_WORDS = 64
_LONGEST_ID = 200
_LONGEST_TAG = 35
_DAY_SECONDS = 86_400.0
"""No answer is longer."""

Id = Annotated[str, Field(max_length=_LONGEST_ID)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class Message(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Start(Message):
    type: Literal["start"]
    protocol: int
    session: Id = ""
    """One to go on with."""
    received: Count = 0
    """Frames of that session that have come."""
    language: Annotated[str, Field(max_length=_LONGEST_TAG)] = ""
    voice: Id = ""
    conversation_id: Id = ""
    name: Id = ""
    """Of the place, as a satellite has one."""
    calls: bool = False
    """It plays what is said at that place: timers that ring, reminders, announcements."""


class Listen(Message):
    type: Literal["listen"]
    mode: Literal["hands_free", "push_to_talk"] = "hands_free"
    wake_words: Annotated[list[Id], Field(max_length=_MOST_WAKE_WORDS)] = Field(default_factory=list)


class EndAudio(Message):
    type: Literal["end_audio"]


class Text(Message):
    type: Literal["text"]
    text: str


class Cancel(Message):
    type: Literal["cancel"]


class Played(Message):
    type: Literal["played"]
    turn: Count | None = None
    """None is the newest with an answer."""
    seconds: Annotated[float, Field(ge=0, lt=_DAY_SECONDS)] | None = None
    """None is all of it."""


class Noticed(Message):
    type: Literal["noticed"]
    id: Id
    outcome: Literal["heard", "stopped", "failed"]


class Ack(Message):
    type: Literal["ack"]
    received: Count


class Ping(Message):
    type: Literal["ping"]


FromClient = Start | Listen | EndAudio | Text | Cancel | Played | Noticed | Ack | Ping

FROM_CLIENT: TypeAdapter[FromClient] = TypeAdapter(Annotated[FromClient, Field(discriminator="type")])


class VoiceShape(Message):
    name: str
    languages: list[str]


class Limits(Message):
    text_bytes: int
    audio_bytes: int
    question_characters: int
    queue_seconds: float
    resume_seconds: float
    kept_bytes: int
    idle_seconds: float
    turns_a_minute: int


class Ready(Message):
    type: Literal["ready"] = "ready"
    protocol: int = PROTOCOL
    session: str
    resumed: bool
    turn: int
    """The newest of the session; 0 before the first."""
    audio_received: int
    """Bytes of that turn's audio that have come."""
    limits: Limits
    voices: list[VoiceShape]
    wake_words: list[str]


class Pong(Message):
    type: Literal["pong"] = "pong"


class Error(Message):
    type: Literal["error"] = "error"
    code: str
    text: str
    turn: int | None = None
    fatal: bool = False
    """The connection is closed, and the session is over."""


class Listening(Message):
    type: Literal["listening"] = "listening"
    turn: int


class NoticeMessage(Message):
    type: Literal["notice"] = "notice"
    id: str
    text: str
    language: str
    """That a voice speaks."""
    chime: bool
    rings: bool
    """It comes again, with another id, until it is stopped."""


class NoticeEnd(Message):
    type: Literal["notice_end"] = "notice_end"
    id: str


class Done(Message):
    type: Literal["done"] = "done"
    turn: int
    outcome: str
    timeline: dict[str, object]


class Plain(Message):
    """An event without anything but its name."""

    type: Literal[
        "not_detected",
        "voice_started",
        "voice_stopped",
        "transcript_stop",
        "handled_stop",
        "audio_stop",
    ]
    turn: int


class Detection(Message):
    type: Literal["detection"] = "detection"
    turn: int
    name: str
    timestamp: int
    """Milliseconds of the turn's audio."""


class TranscriptStart(Message):
    type: Literal["transcript_start"] = "transcript_start"
    turn: int
    language: str | None


class Chunk(Message):
    type: Literal["transcript_chunk", "handled_chunk"]
    turn: int
    text: str


class Transcript(Message):
    type: Literal["transcript"] = "transcript"
    turn: int
    text: str
    language: str


class HandledStart(Message):
    type: Literal["handled_start"] = "handled_start"
    turn: int
    conversation_id: str


class VolumeShape(Message):
    change: int | None
    to: int | None


class Handled(Message):
    type: Literal["handled"] = "handled"
    turn: int
    text: str
    conversation_id: str
    listen: bool
    """It wants an answer: the client may listen again without a wake word."""
    volume: VolumeShape | None


class ToolStart(Message):
    type: Literal["tool_start"] = "tool_start"
    turn: int
    call: str
    name: str
    arguments: dict[str, object]


class ToolStop(Message):
    type: Literal["tool_stop"] = "tool_stop"
    turn: int
    call: str
    name: str
    failed: bool


class AudioStart(Message):
    type: Literal["audio_start"] = "audio_start"
    turn: int
    rate: int
    width: int
    channels: int


def read(text: str) -> FromClient | None:
    """A message of a client; None where its type is newer than we are. RequestError says what is wrong."""
    return read_message(FROM_CLIENT, text, "frame")


def encode(message: Message) -> str:
    """A text frame. What is None is left out; half a character, as a language model may write one, is escaped."""
    return json.dumps(message.model_dump(exclude_none=True))


def message_of(event: TurnEvent, turn: int, conversation_id: str) -> Message | None:
    """A turn's event as this protocol has it; None for audio, which is a frame without a message.

    `conversation_id` is the client's own name of the conversation.
    """
    match event:
        case Detected(name, milliseconds):
            return Detection(turn=turn, name=name, timestamp=milliseconds)
        case NotDetected():
            return Plain(type="not_detected", turn=turn)
        case VoiceStarted():
            return Plain(type="voice_started", turn=turn)
        case VoiceStopped():
            return Plain(type="voice_stopped", turn=turn)
        case TranscriptStarted(tag):
            return TranscriptStart(turn=turn, language=tag)
        case TranscriptChunk(text):
            return Chunk(type="transcript_chunk", turn=turn, text=text)
        case TranscriptStopped():
            return Plain(type="transcript_stop", turn=turn)
        case Transcribed(text, tag):
            return Transcript(turn=turn, text=text, language=tag)
        case AnswerStarted():
            return HandledStart(turn=turn, conversation_id=conversation_id)
        case AnswerChunk(text):
            return Chunk(type="handled_chunk", turn=turn, text=text)
        case AnswerStopped():
            return Plain(type="handled_stop", turn=turn)
        case Answered(text, _, volume, asks):
            return Handled(
                turn=turn, text=text, conversation_id=conversation_id, listen=asks, volume=_volume_shape(volume)
            )
        case ToolUsed(used):
            return _tool_message(used, turn)
        case AudioStarted(audio):
            return AudioStart(turn=turn, rate=audio.rate, width=audio.width, channels=audio.channels)
        case AudioPiece():
            return None
        case AudioStopped():
            return Plain(type="audio_stop", turn=turn)


def _tool_message(used: ToolStarted | ToolFinished, turn: int) -> Message:
    if isinstance(used, ToolStarted):
        call = used.call
        return ToolStart(turn=turn, call=call.id, name=call.name, arguments=dict(call.arguments))
    result = used.result
    return ToolStop(turn=turn, call=result.call.id, name=result.call.name, failed=result.failed)


def _volume_shape(volume: Volume) -> VolumeShape | None:
    return None if volume == SAME_VOLUME else VolumeShape(change=volume.change, to=volume.to)
