"""What the text-to-speech stage is: a sentence in, audio out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from handlers.audio import AudioFormat
from handlers.settings import Section


class TtsSettings(Section):
    """Text to speech."""

    voice: str = "en_US-joe-medium"
    """Voice when the client names none: a model name (see meadowlark-models list) or the path of a Piper .onnx."""

    speed: float = Field(1.0, ge=0.25, le=4.0)
    """Speaking rate; 1 is the voice's own."""

    threads: int = Field(0, ge=0, le=64)
    """ONNX threads for one sentence; 0 is as many as there are cores, at most 4."""

    workers: int = Field(1, ge=1, le=16)
    """Sentences synthesised at the same time."""

    loaded_voices: int = Field(3, ge=1, le=32)
    """Voices kept in memory, about 100 MB each; the one unused for longest goes first."""

    longest_text: int = Field(8000, ge=100, le=100_000)
    """Characters that one request may have: about ten minutes of speech."""


@dataclass(frozen=True)
class Voice:
    """A voice that is installed."""

    name: str
    languages: tuple[str, ...]
    speakers: tuple[str, ...] = ()
    """Names of the people in a voice with several, else empty."""


@dataclass(frozen=True)
class VoiceChoice:
    """One voice, and one of its speakers if it has several."""

    voice: Voice
    speaker: str | None = None

    @property
    def language(self) -> str:
        return self.voice.languages[0]


class Synthesizer(Protocol):
    """An engine that speaks."""

    @property
    def voices(self) -> Sequence[Voice]:
        """Installed voices, the default one first."""

    def choose(self, name: str | None = None, language: str | None = None, speaker: str | None = None) -> VoiceChoice:
        """The voice for a request; RequestError for a voice, language or speaker that is not there."""

    def format(self, choice: VoiceChoice) -> AudioFormat:
        """The PCM format that the voice speaks in."""

    def synthesize(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        """Speak plain text: s16le PCM in the voice's format, in pieces as they are ready."""

    async def close(self) -> None:
        """Let running work end and free the voices."""
