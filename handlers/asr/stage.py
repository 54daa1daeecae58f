"""What the speech-to-text stage is: an utterance in, a transcript out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field

from handlers.settings import Section


class EndpointSettings(Section):
    """When an utterance begins and ends. Times in milliseconds."""

    speech_threshold: float = Field(0.5, gt=0, lt=1)
    """Silero probability from which a frame is speech; Silero's own default."""

    silence_threshold: float = Field(0.35, gt=0, lt=1)
    """Probability below which speech has stopped; lower than the start so that a soft syllable is no pause."""

    start_ms: int = Field(64, ge=32, le=1000)
    """Speech needed to begin an utterance: two frames. "Next" lasts 330 ms; a click is one frame."""

    pause_ms: int = Field(200, ge=32, le=2000)
    """Silence after which transcription begins on a guess. Gaps inside words stay below."""

    patience_ms: int = Field(800, ge=100, le=5000)
    """Silence that ends the utterance: people pause up to about this long within a sentence."""

    nothing_ms: int = Field(3000, ge=500, le=30000)
    """No speech for this long from the start ends the turn."""

    longest_ms: int = Field(15000, ge=1000, le=30000)
    """Speech never runs past this; longer is a television."""

    before_ms: int = Field(300, ge=0, le=1000)
    """Audio kept from before the first speech frame: soft first consonants score low."""

    after_ms: int = Field(200, ge=0, le=1000)
    """Audio kept after the last speech frame, for soft last consonants. No longer than `pause_ms`."""


class AsrSettings(Section):
    """Speech to text."""

    model: str = "whisper-base"
    """A model name (see meadowlark-models list) or the folder of a faster-whisper model."""

    language: str = "en"
    """Language when the client names none; 'auto' lets Whisper decide, which costs time and errs on short commands."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where Whisper runs; 'auto' takes a CUDA GPU when CTranslate2 finds one."""

    compute_type: str = "default"
    """CTranslate2's number format; 'default' is int8 on a CPU and float16 on a GPU."""

    threads: int = Field(0, ge=0, le=64)
    """Threads for one transcription; 0 is as many as there are cores, at most 4."""

    workers: int = Field(1, ge=1, le=16)
    """Transcriptions at the same time."""

    longest_file_seconds: int = Field(300, ge=15, le=3600)
    """Longest recording that the service takes when audio arrives faster than speech, that is, from a file."""

    endpoint: EndpointSettings = EndpointSettings()


@dataclass(frozen=True)
class Transcript:
    """What was said."""

    text: str
    """Empty when nobody spoke."""

    language: str

    seconds: float
    """Length of the audio that was transcribed."""


@dataclass(frozen=True)
class Hints:
    """What a client knows about the words to expect."""

    names: Sequence[str] = ()
    """Names of rooms, devices, people; taken first."""

    terms: Sequence[str] = ()
    """Other words of the domain."""


NO_HINTS = Hints()


class Transcriber(Protocol):
    """An engine that turns one utterance into text."""

    @property
    def name(self) -> str:
        """Name of the loaded model."""

    @property
    def languages(self) -> Sequence[str]:
        """Language tags that it knows."""

    async def transcribe(self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS) -> Transcript:
        """Transcribe internal audio. `language` is one of `languages`, or None for the engine's default."""

    async def close(self) -> None:
        """Let running work end and free the model."""
