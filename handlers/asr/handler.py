"""The Wyoming service `asr`: `transcribe`, audio in, a transcript out, as soon as the speaker has finished.

Order: `transcript-start`, `transcript-chunk`, `transcript`, `transcript-stop`. The transcript may come before
`audio-stop`; audio after it is ignored until the next `audio-start`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from uuid import uuid4

from wyoming.asr import Transcribe, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.asr import Transcript as TranscriptEvent
from wyoming.audio import AudioStart, AudioStop
from wyoming.event import Event

from handlers import language
from handlers.asr.partials import Partials
from handlers.asr.recognizer import Recognizer
from handlers.asr.stage import NO_COMMANDS, NO_HINTS, Commands, Hints, Transcript
from handlers.errors import RequestError
from handlers.timeline import Timeline, ignore, recorded
from handlers.wire import fields
from handlers.wire.audio_input import AUDIO_EVENTS, AudioInput
from handlers.wire.connection import Connection

_MAX_HINTS = 2000
"""Names that a client may send; only the first that fit Whisper's prompt are used."""


class AsrHandler:
    """One connection's speech to text. Takes audio with or without a `transcribe` before it."""

    def __init__(
        self,
        connection: Connection,
        recognizer: Recognizer,
        on_timeline: Callable[[Timeline], None] = ignore,
        attending: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
        commands: Commands = NO_COMMANDS,
    ) -> None:
        """`attending` holds from the first audio of a request to its transcript: work in the background waits."""
        self._connection = connection
        self._recognizer = recognizer
        self._on_timeline = on_timeline
        self._attending = attending
        self._commands = commands
        self._language: str | None = None
        self._hints = NO_HINTS
        self._input: AudioInput | None = None
        self._task: asyncio.Task[None] | None = None

    def wants(self, event_type: str) -> bool:
        return Transcribe.is_type(event_type) or event_type in AUDIO_EVENTS

    async def handle(self, event: Event) -> None:
        if Transcribe.is_type(event.type):
            self._configure(event)
            return
        idle = self._input is None or self._input.ended
        if idle and AudioStop.is_type(event.type):
            return  # the end of nothing
        if self._input is None or (self._input.ended and AudioStart.is_type(event.type)):
            self._input = AudioInput()
            self._task = self._connection.start(self._transcribe(self._input, self._task), "asr")
        try:
            await self._input.feed(event)
        except RequestError:
            self._abandon()
            raise

    def _configure(self, event: Event) -> None:
        self._abandon()
        self._input = None
        self._language, self._hints = read_transcribe(event, self._recognizer)

    def _abandon(self) -> None:
        """Drop an utterance that is not to be heard to its end: nobody waits for its transcript."""
        if self._input is not None and self._task is not None and not self._input.ended:
            self._input.close()
            self._task.cancel()

    async def _transcribe(self, audio: AudioInput, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait([before])  # answers come in the order of the requests
            await self._connection.send(TranscriptStart(language=self._language).event())
            with self._attending(), recorded(Timeline(uuid4().hex, service="asr"), self._on_timeline) as timeline:
                transcript = await self._recognizer.recognize(
                    audio.chunks(),
                    _Streamed(self._connection),
                    timeline,
                    language=self._language,
                    hints=self._hints,
                    commands=self._commands,
                )
        finally:
            audio.close()  # else the connection would wait for a reader of its audio
        await self._connection.send(TranscriptEvent(transcript.text, language=transcript.language).event())
        await self._connection.send(TranscriptStop().event())


class _Streamed:
    """Sends what is heard as `transcript-chunk`s."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._partials = Partials()

    async def speech_started(self) -> None:
        """Nothing to tell: the protocol's `voice-started` belongs to a pipeline."""

    async def guessed(self, transcript: Transcript) -> None:
        """Nothing to tell yet."""

    async def resumed(self, text: str) -> None:
        await self._send(self._partials.partial(text))

    async def speech_ended(self, transcript: Transcript) -> None:
        await self._send(self._partials.final(transcript.text))

    async def _send(self, piece: str) -> None:
        if piece.strip():
            await self._connection.send(TranscriptChunk(piece).event())


def read_transcribe(event: Event, recognizer: Recognizer) -> tuple[str | None, Hints]:
    """Language and hints of a `transcribe` event; RequestError for a model or a language that is not there."""
    transcriber = recognizer.transcriber
    name = fields.optional_text(event, "name")
    if name is not None and name != transcriber.name:
        raise RequestError("unknown-model", f"No speech model '{name}' is loaded; '{transcriber.name}' is")
    tag = fields.optional_text(event, "language")
    hints = read_hints(event)
    if not tag or tag == "auto":
        return None, hints
    return language.require(tag, transcriber.languages, f"The speech model '{transcriber.name}'"), hints


def read_hints(event: Event) -> Hints:
    """The words that a client expects."""
    return Hints(
        fields.texts(event, "transcript_names", limit=_MAX_HINTS),
        fields.texts(event, "transcript_terms", limit=_MAX_HINTS),
    )
