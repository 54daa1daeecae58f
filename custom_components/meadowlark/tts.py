"""Text to speech, while the text is still being written."""

from __future__ import annotations

import contextlib
import io
import struct
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, override

from homeassistant.components import tts
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.util import language as language_util
from wyoming.audio import AudioChunk, AudioStart
from wyoming.info import TtsProgram
from wyoming.tts import SynthesizeVoice

from .audio import AudioError, async_offer
from .const import DOMAIN
from .data import MeadowlarkConfigEntry
from .entity import MeadowlarkEntity

PARALLEL_UPDATES = 0

ATTR_SPEAKER = "speaker"
"""Option: a person of a voice that has several."""

UNKNOWN_LENGTH = 0xFFFFFFFF
"""In the header of a WAV that is still being spoken: players read on to the end, which they may not do after 0."""


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the server's text to speech."""
    info = await async_offer(entry)
    async_add_entities(
        MeadowlarkTextToSpeech(entry, program, hass.config.language, hass.config.country)
        for program in info.tts[:1]
        if any(voice.installed and voice.languages for voice in program.voices)
    )


class MeadowlarkTextToSpeech(MeadowlarkEntity, tts.TextToSpeechEntity):
    """The server's voices."""

    def __init__(self, entry: MeadowlarkConfigEntry, program: TtsProgram, language: str, country: str | None) -> None:
        """`language` and `country` are Home Assistant's own: the default is to speak so, where a voice does."""
        super().__init__(entry, "text_to_speech")
        self._audio = entry.runtime_data.audio
        self._voices = voices_by_language(program)
        self._attr_supported_languages = list(self._voices)
        self._attr_default_language = next(
            iter(language_util.matches(language, self._voices, country)), next(iter(self._voices))
        )
        self._attr_supported_options = [tts.ATTR_VOICE, ATTR_SPEAKER]

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self._audio.subscribe(self._offer_changed))

    @callback
    @override
    def async_get_supported_voices(self, language: str) -> list[tts.Voice] | None:
        """Those that speak a language, the server's own choice first."""
        return [tts.Voice(name, name) for name in self._voices.get(language, ())] or None

    @override
    async def async_stream_tts_audio(self, request: tts.TTSAudioRequest) -> tts.TTSAudioResponse:
        """Speak what is still being written: a WAV whose header comes as soon as the format is known."""
        voice = self._voice(request.language, request.options)
        return tts.TTSAudioResponse("wav", self._stream(request.message_gen, voice))

    @override
    async def async_get_tts_audio(self, message: str, language: str, options: dict[str, Any]) -> tts.TtsAudioType:
        """Speak a whole text: a WAV that knows its length."""
        pcm = bytearray()
        audio_format: AudioStart | None = None
        async with contextlib.aclosing(self._speak(_once(message), self._voice(language, options))) as parts:
            async for part in parts:
                if isinstance(part, AudioStart):
                    audio_format = part
                else:
                    pcm += part.audio
        if audio_format is None:
            return None, None
        return "wav", wav(audio_format, bytes(pcm))

    async def _stream(self, text: AsyncGenerator[str], voice: SynthesizeVoice) -> AsyncGenerator[bytes]:
        async with contextlib.aclosing(self._speak(text, voice)) as parts:
            async for part in parts:
                yield endless_header(part) if isinstance(part, AudioStart) else part.audio

    async def _speak(self, text: AsyncIterator[str], voice: SynthesizeVoice) -> AsyncGenerator[AudioStart | AudioChunk]:
        try:
            async with contextlib.aclosing(self._audio.synthesize(text, voice)) as parts:
                async for part in parts:
                    yield part
        except AudioError as error:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="speech_failed",
                translation_placeholders={"reason": error.text},
            ) from error
        self._audio.worked()

    def _voice(self, language: str, options: dict[str, Any]) -> SynthesizeVoice:
        """The voice of a request, else the first that speaks the language."""
        name = options.get(tts.ATTR_VOICE) or next(iter(self._voices.get(language, ())), None)
        return SynthesizeVoice(name=name, speaker=options.get(ATTR_SPEAKER))

    @callback
    def _offer_changed(self) -> None:
        """Other voices for the same languages; other languages reload the entry."""
        if (info := self._audio.info) is not None and info.tts:
            self._voices = voices_by_language(info.tts[0]) or self._voices


def voices_by_language(program: TtsProgram) -> dict[str, list[str]]:
    """Names of the installed voices by language, both in the server's order: its default is first."""
    voices: dict[str, list[str]] = {}
    for voice in program.voices:
        if voice.installed:
            for language in voice.languages:
                voices.setdefault(language.replace("_", "-"), []).append(voice.name)
    return voices


def wav(audio_format: AudioStart, pcm: bytes) -> bytes:
    """A WAV file."""
    with io.BytesIO() as file:
        with wave.open(file, "wb") as writer:
            writer.setframerate(audio_format.rate)
            writer.setsampwidth(audio_format.width)
            writer.setnchannels(audio_format.channels)
            writer.writeframes(pcm)
        return file.getvalue()


def endless_header(audio_format: AudioStart) -> bytes:
    """The 44 bytes before PCM that is still being made."""
    rate, width, channels = audio_format.rate, audio_format.width, audio_format.channels
    frame = width * channels
    riff = struct.pack("<4sI4s", b"RIFF", UNKNOWN_LENGTH, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame, frame, 8 * width)
    return riff + fmt + struct.pack("<4sI", b"data", UNKNOWN_LENGTH)


async def _once(text: str) -> AsyncGenerator[str]:
    yield text
