"""The OpenAI shapes of transcription and speech, so that programs made for them find their way here.

What does not matter to the answer is ignored, as `temperature`; what would make it another one is refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from handlers.asr.stage import Hints, RecordingTranscript
from handlers.audio import AudioFormat, Converter
from server.access import Access, access_of
from server.json_api import SOME_WORDS, is_text
from server.openai_chat import CHAT_MODEL, ChatApi
from server.openai_errors import OpenAiError, answered_so, read_openai
from server.speech import Speech
from server.subtitles import srt, verbose, vtt
from server.talk import Talk
from server.uploads import Upload, received
from server.voice_api import stream, wav

TRANSCRIPTIONS = "/v1/audio/transcriptions"
SPEECH = "/v1/audio/speech"

_HEARING = frozenset({"whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"})
"""OpenAI's own names, which programs have built in; they mean the model that is loaded."""

_SPEAKING = frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts"})
"""The same for speech."""

_VOICES = frozenset(
    {
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    }
)
"""OpenAI's voices, which programs have built in; they mean the voice of the settings."""

_PCM_RATE = 24_000
"""Of the format `pcm`: what OpenAI's clients play it at."""

_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")

_Text = Annotated[str, AfterValidator(is_text)]


class _Voice(BaseModel):
    id: Annotated[_Text, Field(max_length=200)]


class SpeechBody(BaseModel):
    """A text. `language` is ours; what is not here is ignored."""

    input: Annotated[_Text, Field(json_schema_extra=SOME_WORDS)]
    model: Annotated[str, Field(json_schema_extra={"examples": ["tts-1"]})] = "tts-1"
    voice: Annotated[_Text, Field(max_length=200, json_schema_extra={"examples": ["alloy"]})] | _Voice = ""
    language: Annotated[_Text, Field(max_length=35)] = ""
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = 1.0
    stream_format: str = "audio"


class OpenAiApi:
    """`/v1/audio/transcriptions`, `/v1/audio/speech`, `/v1/chat/completions` and `/v1/models`."""

    def __init__(self, speech: Speech, talk: Callable[[Access], Talk]) -> None:
        self._speech = speech
        self._chat = ChatApi(talk)
        self._started = int(time.time())

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TRANSCRIPTIONS, answered_so(self._transcribe)),
            web.post(SPEECH, answered_so(self._speak)),
            *self._chat.routes(),
            web.get("/v1/models", answered_so(self._models)),
            web.get("/v1/models/{name:.+}", answered_so(self._model)),
        ]

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        speech = self._speech
        own = speech.engines.transcriber.name
        with speech.recordings.taken(access_of(request)):
            async with received(request, speech.largest_bytes) as upload:
                _check_model(upload.last("model") or own, {own, *_HEARING})
                shape, granularities = _shape(upload)
                hints = Hints(terms=[words for words in (upload.last("prompt"),) if words])
                found = await speech.transcribe(request, upload, upload.last("language"), hints)
        return _told(found, shape, granularities)

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        speech = self._speech
        wanted = await read_openai(request, SpeechBody)
        _check_model(wanted.model, {voice.name for voice in speech.engines.synthesizer.voices} | _SPEAKING)
        if wanted.speed != 1.0:
            raise OpenAiError("speed: is that of the settings (tts.speed); leave it out", "speed")
        if wanted.stream_format != "audio":
            raise OpenAiError("stream_format: the sound is sent as 'audio'", "stream_format")
        speech.check_text(wanted.input)
        voice = wanted.voice.id if isinstance(wanted.voice, _Voice) else wanted.voice
        choice = speech.choose("" if voice in _VOICES else voice, wanted.language)
        audio = speech.engines.synthesizer.format(choice)
        with speech.texts.taken(access_of(request)):
            spoken = speech.speak(wanted.input, choice)
            content_type, sound = self._written(spoken, audio, wanted.response_format)
            return await stream(request, sound, content_type)

    def _written(
        self, spoken: AsyncGenerator[bytes, None], audio: AudioFormat, kind: str
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """The content type, and sound in a format."""
        if kind == "wav":
            return "audio/wav", wav(spoken, audio)
        if kind == "pcm":
            return "audio/pcm", _resampled(spoken, audio)
        from server.audio_file import KINDS

        return KINDS[kind].content_type, self._encoded(spoken, audio, kind)

    async def _encoded(
        self, spoken: AsyncGenerator[bytes, None], audio: AudioFormat, kind: str
    ) -> AsyncGenerator[bytes, None]:
        from server.audio_file import KINDS, Encoder

        writers = self._speech.writers
        encoder = await writers.run(lambda: Encoder(KINDS[kind], audio))
        async with contextlib.aclosing(spoken) as pieces:
            async for pcm in pieces:
                if written := await writers.run(lambda pcm=pcm: encoder.feed(pcm)):  # type: ignore[misc]
                    yield written
        yield await writers.run(encoder.finish)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": [self._described(name) for name in self._names()]})

    async def _model(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        _check_model(name, {*self._names(), *_HEARING, *_SPEAKING})
        return web.json_response(self._described(name))

    def _names(self) -> list[str]:
        engines = self._speech.engines
        return [CHAT_MODEL, engines.transcriber.name, *(voice.name for voice in engines.synthesizer.voices)]

    def _described(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "meadowlark"}


def _check_model(name: str, known: set[str]) -> None:
    if name not in known:
        there = ", ".join(sorted(known))
        raise OpenAiError(f"There is no model '{name[:100]}' here; there are: {there}", "model", "model_not_found", 404)


def _shape(upload: Upload) -> tuple[str, list[str]]:
    """The form of the answer, and of what it has times."""
    shape = upload.last("response_format") or "json"
    if shape not in _FORMATS:
        raise OpenAiError(f"response_format: is one of {', '.join(_FORMATS)}", "response_format")
    name = "timestamp_granularities[]"
    granularities = [*upload.fields.get(name, []), *upload.fields.get("timestamp_granularities", [])]
    if set(granularities) - {"word", "segment"}:
        raise OpenAiError("timestamp_granularities: are 'word' and 'segment'", "timestamp_granularities")
    if granularities and shape != "verbose_json":
        raise OpenAiError("timestamp_granularities: are for 'verbose_json'", "timestamp_granularities")
    if upload.last("stream").lower() in ("true", "1"):
        raise OpenAiError("stream: a transcript comes whole; leave it out", "stream", "unsupported_parameter")
    if any("logprobs" in upload.fields.get(name, []) for name in ("include", "include[]")):
        raise OpenAiError("include: there are no probabilities of tokens; leave it out", "include")
    return shape, granularities or ["segment"]


def _told(found: RecordingTranscript, shape: str, granularities: list[str]) -> web.Response:
    usage = {"type": "duration", "seconds": round(found.seconds)}
    match shape:
        case "text":
            return web.Response(text=found.text + "\n")
        case "srt":
            return web.Response(text=srt(found))
        case "vtt":
            return web.Response(text=vtt(found), content_type="text/vtt")
        case "verbose_json":
            return web.json_response({**verbose(found, granularities), "usage": usage})
    return web.json_response({"text": found.text, "usage": usage})


async def _resampled(spoken: AsyncGenerator[bytes, None], audio: AudioFormat) -> AsyncGenerator[bytes, None]:
    converter = Converter(audio, _PCM_RATE)
    async with contextlib.aclosing(spoken) as pieces:
        async for pcm in pieces:
            if converted := converter.convert(pcm):
                yield converted
    yield converter.flush()
