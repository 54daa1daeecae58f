"""What HTTP's clients hear and have heard: recordings to text, text to sound, each with its bounds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from aiohttp import web

from handlers import language as languages
from handlers.asr.stage import NO_HINTS, Hints, RecordingTranscript
from handlers.errors import RequestError
from handlers.tts.speaker import once, sentences, speak
from handlers.tts.stage import VoiceChoice
from handlers.workers import Workers
from server.access import access_of
from server.engines import Engines
from server.json_api import LoadingError, Places, while_here
from server.settings import ServerSettings
from server.uploads import Upload

_THREADS = 1
"""That read audio files, of which ten minutes take about a second, and that write them."""

_LONGEST_NAME = 200
"""Characters of a voice or a language; no name is longer."""


class Speech:
    """Shared by all routes that hear or speak, so that their bounds are those of the server."""

    def __init__(self, engines: Callable[[], Engines | None], settings: ServerSettings) -> None:
        """`engines` gives them once they are loaded, None before."""
        self._loaded = engines
        households = 1 + len(settings.tenants)
        self._longest_seconds = settings.http.recording_minutes * 60
        self._languages = {key: tenant.asr.language for key, tenant in settings.tenants.items()}
        self._longest_text = settings.tts.longest_text
        self.largest_bytes = settings.http.recording_mb * 1_000_000
        """Of a file with a recording."""
        self.recordings = Places(settings.http.recordings, "recordings are being transcribed")
        """To be taken before a file is taken in."""
        self.texts = Places(settings.http.texts, "texts are being spoken")
        self.writers = Workers("audio-writer", _THREADS, settings.http.texts * households)
        """Who write the files of what is spoken; they never wait for those that read."""
        self._readers = Workers("audio-reader", _THREADS, settings.http.recordings * households)

    async def close(self) -> None:
        await asyncio.gather(self._readers.close(), self.writers.close())

    @property
    def engines(self) -> Engines:
        """RequestError while they are being loaded."""
        engines = self._loaded()
        if engines is None:
            raise LoadingError
        return engines

    async def transcribe(
        self, request: web.Request, upload: Upload, language: str = "", hints: Hints = NO_HINTS
    ) -> RecordingTranscript:
        """What is said in a file, while the client waits for it. `language` may be empty or 'auto'.

        RequestError for a file that cannot be read or is too long, and for a language that Whisper does not know.
        """
        from server.audio_file import decode

        transcriber = self.engines.transcriber
        language = language or self._languages.get(access_of(request).tenant, "")
        if len(language) > _LONGEST_NAME:
            raise RequestError("unknown-language", "This is not the tag of a language; 'en' is one")
        if language and language != "auto":
            language = languages.require(language, transcriber.languages, f"The speech model '{transcriber.name}'")

        async def work() -> RecordingTranscript:
            pcm = await self._readers.run(lambda: decode(upload.file, self._longest_seconds))
            return await transcriber.transcribe_recording(pcm, language or None, hints)

        return await while_here(request, work())

    def choose(self, voice: str = "", language: str = "") -> VoiceChoice:
        """The voice for a text; RequestError for one that is not installed."""
        if max(len(voice), len(language)) > _LONGEST_NAME:
            raise RequestError("unknown-voice", "No voice has so long a name")
        return self.engines.synthesizer.choose(voice or None, language or None)

    def check_text(self, text: str) -> None:
        """RequestError for a text that cannot be spoken."""
        if not text.strip():
            raise RequestError("no-text", "The text is empty: write something to be spoken")
        if len(text) > self._longest_text:
            raise RequestError("text-too-long", f"A text may have {self._longest_text} characters: send it in parts")

    async def speak(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        """PCM in the voice's format, sentence by sentence; closing it stops the work."""
        spoken = speak(sentences(once(text), choice.language), self.engines.synthesizer, choice)
        async with contextlib.aclosing(spoken) as pieces:
            async for pcm in pieces:
                yield pcm
