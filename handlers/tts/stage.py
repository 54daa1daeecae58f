"""What the text-to-speech stage is: a sentence in, audio out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from handlers.audio import AudioFormat
from handlers.cpu import Ticket
from handlers.settings import Section

_PIECE_BYTES = 4096
"""About 90 ms of a medium voice: small enough that playback can begin, large enough to cost nothing in overhead."""


class TtsSettings(Section):
    """Text to speech."""

    voice: str = "en_US-joe-medium"
    """Voice when the client names none: a model name (see meadowlark-models list) or the path of a Piper .onnx."""

    speed: float = Field(1.0, ge=0.25, le=4.0)
    """Speaking rate; 1 is the voice's own."""

    threads: int = Field(0, ge=0, le=64)
    """ONNX threads for one sentence; 0 is one. On two idle cores, two threads bring a first clause of five words 14 ms
    earlier (38 against 52 ms), but when anything else runs it comes 50 to 90 ms later, and half as many are made a
    second (6 against 11)."""

    workers: int = Field(0, ge=0, le=64)
    """Sentences synthesised at the same time; 0 is as many as there are cores for their threads."""

    cache_mb: int = Field(16, ge=0, le=4096)
    """Memory for short replies that were spoken before; 16 MB are about 250 of them. 0 keeps none."""

    cache_characters: int = Field(80, ge=1, le=300)
    """Longest text that is kept. Longer ones seldom come twice."""

    cache_redis: str = Field("", pattern=r"^$|^(rediss?|unix)://\S+$")
    """A Redis (redis://HOST:PORT/DB) in which several servers share the replies; none when empty. Needs the extra
    'redis'."""

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

    def synthesize(self, text: str, choice: VoiceChoice, ticket: Ticket | None = None) -> AsyncGenerator[bytes, None]:
        """Speak plain text: s16le PCM in the voice's format, in pieces as they are ready.

        `ticket` is the run's place among others, VOICE when None; a guess raises BusyError when the processor is.
        """

    async def close(self) -> None:
        """Let running work end and free the voices."""


def pieces(pcm: bytes) -> Iterator[bytes]:
    """Audio of a sentence in pieces that a playback can begin with."""
    for start in range(0, len(pcm), _PIECE_BYTES):
        yield pcm[start : start + _PIECE_BYTES]
