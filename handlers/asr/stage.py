"""What the speech-to-text stage is: an utterance in, a transcript out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from handlers.cpu import Ticket
from handlers.settings import Section

Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
"""A name or a word of somebody's own list."""


class EndpointSettings(Section):
    """When an utterance begins and ends. Times in milliseconds."""

    speech_threshold: float = Field(0.5, gt=0, lt=1)
    """Silero probability from which a frame is speech; Silero's own default."""

    silence_threshold: float = Field(0.35, gt=0, lt=1)
    """Probability below which speech has stopped; lower than the start so that a soft syllable is no pause."""

    start_ms: int = Field(64, ge=32, le=1000)
    """Speech needed to begin an utterance: two frames. "Next" lasts 330 ms; a click is one frame."""

    pause_ms: int = Field(96, ge=32, le=2000)
    """Silence after which transcription begins on a guess; it takes about 170 ms, so that a command ends after 270.
    Measured on 31 commands: 96 ms begin no more guesses in vain than 160 do, and lose no words against 192."""

    patience_ms: int = Field(800, ge=100, le=5000)
    """Silence that ends the utterance in any case: people pause up to about this long within a sentence."""

    command_ms: int = Field(0, ge=0, le=5000)
    """Silence that ends a whole known command: none, it ends as soon as it is understood."""

    finished_ms: int = Field(320, ge=0, le=5000)
    """Silence that ends what reads and sounds finished."""

    unsure_ms: int = Field(480, ge=0, le=5000)
    """Silence that ends what only reads or only sounds finished, and what has few words. A single word is to end within
    0.6 s, with the time that the answer takes."""

    sentence_words: int = Field(4, ge=1, le=20)
    """Fewer words that are no known command are a beginning ("is the front") as often as a sentence."""

    complete_threshold: float = Field(0.5, gt=0, lt=1)
    """Probability from which the turn detector's verdict is that somebody has finished; its authors' own."""

    short_ms: int = Field(224, ge=0, le=1000)
    """Less speech than this is a click, a breath or a first syllable as often as a word, and Whisper makes words of all
    of them. "No" has 224 ms, "stop" 288."""

    nothing_ms: int = Field(3000, ge=500, le=30000)
    """No speech for this long from the start ends the turn."""

    longest_ms: int = Field(15000, ge=1000, le=30000)
    """Speech never runs past this; longer is a television."""

    before_ms: int = Field(300, ge=0, le=1000)
    """Audio kept from before the first speech frame: soft first consonants score low."""

    after_ms: int = Field(200, ge=0, le=1000)
    """Audio kept after the last speech frame, for soft last consonants. No longer than `pause_ms`."""


class OwnAsrSettings(Section):
    """Speech to text: what each household has for itself."""

    language: str = "en"
    """Language when the client names none; 'auto' lets Whisper decide, which costs time and errs on short commands."""

    names: list[Phrase] = Field(default_factory=list, max_length=500)
    """Names of rooms, devices and people that Whisper is to expect, and that near misses are mended to."""

    terms: list[Phrase] = Field(default_factory=list, max_length=500)
    """Other words that Whisper is to expect; they are not mended to."""


class AsrSettings(OwnAsrSettings):
    """Speech to text."""

    model: str = "whisper-base"
    """A model name (see meadowlark-models list) or the folder of a faster-whisper model."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where Whisper runs; 'auto' takes a CUDA GPU when CTranslate2 finds one."""

    compute_type: str = "default"
    """CTranslate2's number format; 'default' is int8 on a CPU and float16 on a GPU."""

    threads: int = Field(0, ge=0, le=64)
    """Threads for one transcription; 0 is half as many as there are cores, at most 4."""

    workers: int = Field(0, ge=0, le=16)
    """Transcriptions at the same time; 0 is as many as there are cores for, which is two for up to eight cores."""

    window_seconds: int = Field(15, ge=5, le=30)
    """Whole seconds of audio, silence included, that Whisper is given of something short. It was trained on 30; 15 cost
    a third of the time and about one word in a hundred, below 10 it begins to repeat itself (see bench/README.md)."""

    window_longest_seconds: int = Field(10, ge=0, le=30)
    """Longer audio is given Whisper's own 30 s: long sentences lost more in the short window than commands did."""

    prompt_tokens: int = Field(160, ge=0, le=223)
    """Tokens of expected names and words that Whisper is given, some fifty names. It was trained on up to 223."""

    longest_file_seconds: int = Field(300, ge=15, le=3600)
    """Longest recording that the service takes when audio arrives faster than speech, that is, from a file."""

    smart_turn: bool = True
    """Listen also to how a pause sounds, where the turn detector is installed; 25 ms of one core for each pause."""

    endpoint: EndpointSettings = EndpointSettings()


@dataclass(frozen=True)
class Transcript:
    """What was said."""

    text: str
    """Empty when nobody spoke."""

    language: str

    seconds: float
    """Length of the audio that was transcribed."""

    took: float = field(default=0.0, compare=False)
    """Seconds of computing, without any waiting for the processor."""


@dataclass(frozen=True)
class Word:
    """A word of a recording, and when it is said."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    word: str


@dataclass(frozen=True)
class Segment:
    """A sentence or a part of one, and when it is said."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    text: str
    words: Sequence[Word]
    score: float
    """Mean log probability of a token; 0 is certainty."""
    compression: float
    """How much the text can be compressed; above 2.4 it repeats itself."""
    no_speech: float
    """Probability that nobody spoke."""


@dataclass(frozen=True)
class RecordingTranscript:
    """What was said in a recording of any length."""

    text: str
    """Empty when nobody spoke."""
    language: str
    segments: Sequence[Segment]
    seconds: float
    """Length of the recording."""


@dataclass(frozen=True)
class Hints:
    """What a client knows about the words to expect."""

    names: Sequence[str] = ()
    """Names of rooms, devices, people; taken first."""

    terms: Sequence[str] = ()
    """Other words of the domain."""


NO_HINTS = Hints()


class Commands(Protocol):
    """Who knows which sentences are whole commands. Such a one ends the turn as soon as it is understood."""

    async def consider(self, text: str, language: str) -> None:
        """Find out about what may have been said. Takes a fraction of a second at most, and never raises."""

    def knows(self, text: str, language: str) -> bool:
        """Whether it is one that needs no more words, as far as that was found out. Takes about a millisecond."""


class NoCommands:
    """Nobody knows any."""

    async def consider(self, text: str, language: str) -> None:
        """Nothing to find out."""

    def knows(self, text: str, language: str) -> bool:
        return False


NO_COMMANDS = NoCommands()


class Transcriber(Protocol):
    """An engine that turns one utterance into text."""

    @property
    def name(self) -> str:
        """Name of the loaded model."""

    @property
    def languages(self) -> Sequence[str]:
        """Language tags that it knows."""

    async def transcribe(
        self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS, ticket: Ticket | None = None
    ) -> Transcript:
        """Transcribe internal audio. `language` is one of `languages`, or None for the engine's default.

        `ticket` is the run's place among others (FINAL when None); a guess raises BusyError when the processor is.
        """

    async def transcribe_recording(
        self, pcm: bytes, language: str | None = None, hints: Hints = NO_HINTS
    ) -> RecordingTranscript:
        """Transcribe internal audio of any length, with times. `language` may also be 'auto'. Whoever speaks to the
        assistant goes first, after every half minute of audio; cancelling takes effect there."""

    async def likelihood(self, pcm: bytes, phrase: str, language: str) -> float:
        """How well internal audio fits to `phrase` as the first that is said in it: a mean log probability, 0 at best.
        Takes as long as a transcription."""

    async def close(self) -> None:
        """Let running work end and free the model."""
