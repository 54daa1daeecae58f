"""Speech to text and text to speech over HTTP: a file in, JSON out; JSON in, a WAV file out while it is made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, Field

from handlers.asr.stage import RecordingTranscript, Segment
from handlers.audio import AudioFormat
from handlers.errors import MeadowlarkError, RequestError
from server.access import access_of
from server.json_api import SOME_WORDS, Body, GoneError, is_text, read_body, refusal, while_here
from server.speech import Speech
from server.uploads import received

TRANSCRIBE = "/api/v1/voice/transcribe"
SYNTHESIZE = "/api/v1/voice/synthesize"

_LOGGER = logging.getLogger(__name__)

_UNKNOWN_BYTES = 0xFFFFFFFF
"""The length of a WAV file that is still being made, as players and FFmpeg know it."""

_STALL_SECONDS = 60.0
"""For a client to take the next piece of sound: a player takes it as it plays, and one that pauses longer is gone."""

_FIELDS = frozenset({"language"})
"""Beside the file."""


class SynthesizeBody(Body):
    """What is to be spoken, and by whom."""

    text: Annotated[str, AfterValidator(is_text), Field(json_schema_extra=SOME_WORDS)]
    voice: Annotated[str, Field(max_length=200), AfterValidator(is_text)] = ""
    language: Annotated[str, Field(max_length=35), AfterValidator(is_text)] = ""


class VoiceApi:
    """`POST /api/v1/voice/transcribe` and `/synthesize`."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech

    def routes(self) -> list[web.RouteDef]:
        return [web.post(TRANSCRIBE, self._transcribe), web.post(SYNTHESIZE, self._synthesize)]

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        speech = self._speech
        try:
            _ = speech.engines  # nobody sends a file to hear afterwards that they are being loaded
            with speech.recordings.taken(access_of(request)):
                async with received(request, speech.largest_bytes) as upload:
                    if unknown := upload.fields.keys() - _FIELDS:
                        raise RequestError("bad-request", f"{min(unknown)}: is not known; beside the file: language")
                    found = await speech.transcribe(request, upload, upload.last("language"))
        except MeadowlarkError as error:
            return refusal(error)
        return web.json_response(as_json(found))

    async def _synthesize(self, request: web.Request) -> web.StreamResponse:
        speech = self._speech
        try:
            wanted = await read_body(request, SynthesizeBody)
            speech.check_text(wanted.text)
            choice = speech.choose(wanted.voice, wanted.language)
            with speech.texts.taken(access_of(request)):
                sound = wav(speech.speak(wanted.text, choice), speech.engines.synthesizer.format(choice))
                return await stream(request, sound, "audio/wav")
        except MeadowlarkError as error:
            return refusal(error)


def as_json(found: RecordingTranscript) -> Mapping[str, object]:
    """What was said in a recording, for a client."""
    return {
        "text": found.text,
        "language": found.language,
        "segments": [_segment(segment) for segment in found.segments],
        "duration": round(found.seconds, 3),
    }


def _segment(segment: Segment) -> Mapping[str, object]:
    words = [{"start": word.start, "end": word.end, "word": word.word} for word in segment.words]
    return {"start": segment.start, "end": segment.end, "text": segment.text, "words": words}


def wav_header(audio: AudioFormat) -> bytes:
    """The first 44 bytes of a WAV file of unknown length."""
    frame = audio.width * audio.channels
    layout = struct.pack("<IHHIIHH", 16, 1, audio.channels, audio.rate, audio.bytes_per_second, frame, 8 * audio.width)
    length = struct.pack("<I", _UNKNOWN_BYTES)
    return b"RIFF" + length + b"WAVEfmt " + layout + b"data" + length


async def stream(request: web.Request, sound: AsyncGenerator[bytes, None], content_type: str) -> web.StreamResponse:
    """Send sound while it is made; what fails before the first of it is raised. A client that goes ends the work."""

    async def send() -> web.StreamResponse:
        async with contextlib.aclosing(sound) as pieces:
            first = await anext(pieces, b"")
            answer = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-store"})
            await answer.prepare(request)
            await _write(answer, first)
            try:
                async for piece in pieces:
                    await _write(answer, piece)
            except MeadowlarkError as error:  # it cannot be told any more, and must not look like the end
                _LOGGER.warning("A text could not be spoken to its end: %s", error)
                raise GoneError from None
            await answer.write_eof()
            return answer

    return await while_here(request, send())


async def _write(answer: web.StreamResponse, piece: bytes) -> None:
    if piece:
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                await answer.write(piece)
        except TimeoutError:
            raise GoneError from None


async def wav(sound: AsyncGenerator[bytes, None], audio: AudioFormat) -> AsyncGenerator[bytes, None]:
    """A WAV file. Its header goes with the first sound, so that a failure before it can be told."""
    async with contextlib.aclosing(sound) as pieces:
        yield wav_header(audio) + await anext(pieces, b"")
        async for pcm in pieces:
            yield pcm
