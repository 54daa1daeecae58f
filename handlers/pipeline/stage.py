"""What a turn is: where it starts and ends, and what happens in it, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from handlers.agent.heard import Playback
from handlers.agent.stage import SAME_VOLUME, Volume
from handlers.agent.tools.stage import ToolFinished, ToolStarted
from handlers.asr.stage import NO_HINTS, Hints
from handlers.audio import AudioFormat
from handlers.pipeline.arbiter import Heard
from handlers.session import Session
from handlers.tts.stage import VoiceChoice


class Stage(IntEnum):
    """The stages of a turn; a turn runs from one to another of the same or higher number."""

    WAKE = 1
    ASR = 2
    HANDLE = 3
    TTS = 4


@dataclass(frozen=True)
class TurnRequest:
    """What a turn should do, and for whom."""

    start: Stage
    end: Stage
    session: Session
    """Without a language it is the profile's, else each stage's default."""
    voice: VoiceChoice | None = None
    """None is the profile's, else one of the language."""
    wake_word: str = ""
    """The wake word that was heard before a turn that starts with ASR."""
    heard: Heard | None = None
    """How well the satellite heard it, if it said so."""
    wake_words: Sequence[str] = ()
    """Wake words to listen for; none means all. Only for turns that start with WAKE."""
    hints: Hints = field(default=NO_HINTS)
    whole: bool = False
    """The client says when the speaker has finished, as with push to talk: no silence does."""
    stall_seconds: float | None = None
    """How long no audio may come before it counts as its end; None is the recognizer's own."""


@dataclass
class Feedback:
    """What becomes known of a turn from outside while it runs."""

    played: float | None = None
    """Seconds of the answer that the satellite has played; infinite for all of it, None while it has not said."""
    playback: Playback | None = None
    """How the answer sounds, once it is in the conversation."""
    replaced: bool = False
    """Another connection has begun a turn for the same satellite."""


@dataclass(frozen=True)
class Detected:
    """A wake word was heard."""

    name: str
    milliseconds: int
    """Position in the turn's audio."""


@dataclass(frozen=True)
class NotDetected:
    """The audio ended without a wake word."""


@dataclass(frozen=True)
class VoiceStarted:
    """Somebody speaks."""


@dataclass(frozen=True)
class VoiceStopped:
    """They have finished."""


@dataclass(frozen=True)
class TranscriptStarted:
    language: str | None


@dataclass(frozen=True)
class TranscriptChunk:
    text: str


@dataclass(frozen=True)
class TranscriptStopped:
    pass


@dataclass(frozen=True)
class Transcribed:
    """The whole transcript."""

    text: str
    language: str


@dataclass(frozen=True)
class AnswerStarted:
    conversation_id: str


@dataclass(frozen=True)
class AnswerChunk:
    text: str


@dataclass(frozen=True)
class AnswerStopped:
    pass


@dataclass(frozen=True)
class Answered:
    """The whole answer."""

    text: str
    conversation_id: str
    volume: Volume = SAME_VOLUME
    """The place becomes louder or quieter from the next sound on."""
    asks: bool = False
    """It wants an answer: the microphone opens again without a wake word."""


@dataclass(frozen=True)
class ToolUsed:
    """A tool was started for the answer, or came to its end."""

    event: ToolStarted | ToolFinished


@dataclass(frozen=True)
class AudioStarted:
    format: AudioFormat


@dataclass(frozen=True)
class AudioPiece:
    pcm: bytes
    format: AudioFormat


@dataclass(frozen=True)
class AudioStopped:
    pass


TurnEvent = (
    Detected
    | NotDetected
    | VoiceStarted
    | VoiceStopped
    | TranscriptStarted
    | TranscriptChunk
    | TranscriptStopped
    | Transcribed
    | AnswerStarted
    | AnswerChunk
    | AnswerStopped
    | Answered
    | ToolUsed
    | AudioStarted
    | AudioPiece
    | AudioStopped
)

Emit = Callable[[TurnEvent], Awaitable[None]]
"""Takes the events of a turn as they happen; waiting in it slows the turn down to its listener."""

LAST_EVENTS: dict[Stage, tuple[type, ...]] = {
    Stage.WAKE: (Detected, NotDetected),
    Stage.ASR: (Transcribed, NotDetected),
    Stage.HANDLE: (Answered, NotDetected),
    Stage.TTS: (AudioStopped, NotDetected),
}
"""The event that ends a turn, by the stage with which it ends."""
