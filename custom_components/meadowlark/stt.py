"""Speech to text. The server finds the end of speech itself, and answers while the microphone still runs."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import override

from homeassistant.components import stt
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from wyoming.info import AsrProgram

from .audio import AudioError, async_offer
from .data import MeadowlarkConfigEntry
from .entity import MeadowlarkEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the server's speech to text."""
    info = await async_offer(entry)
    async_add_entities(MeadowlarkSpeechToText(entry, program) for program in info.asr[:1] if program.installed)


class MeadowlarkSpeechToText(MeadowlarkEntity, stt.SpeechToTextEntity):
    """The server's speech to text."""

    def __init__(self, entry: MeadowlarkConfigEntry, program: AsrProgram) -> None:
        super().__init__(entry, "speech_to_text")
        self._audio = entry.runtime_data.audio
        self._languages = list(
            dict.fromkeys(tag for model in program.models if model.installed for tag in model.languages)
        )
        self._processing = stt.SpeechAudioProcessing(
            requires_external_vad=program.requires_external_vad,
            prefers_auto_gain_enabled=program.prefers_auto_gain_enabled,
            prefers_noise_reduction_enabled=program.prefers_noise_reduction_enabled,
        )

    @property
    @override
    def supported_languages(self) -> list[str]:
        return self._languages

    @property
    @override
    def supported_formats(self) -> list[stt.AudioFormats]:
        return [stt.AudioFormats.WAV]

    @property
    @override
    def supported_codecs(self) -> list[stt.AudioCodecs]:
        return [stt.AudioCodecs.PCM]

    @property
    @override
    def supported_bit_rates(self) -> list[stt.AudioBitRates]:
        return [stt.AudioBitRates.BITRATE_16]

    @property
    @override
    def supported_sample_rates(self) -> list[stt.AudioSampleRates]:
        return [stt.AudioSampleRates.SAMPLERATE_16000]

    @property
    @override
    def supported_channels(self) -> list[stt.AudioChannels]:
        return [stt.AudioChannels.CHANNEL_MONO]

    @property
    @override
    def audio_processing(self) -> stt.SpeechAudioProcessing:
        return self._processing

    @override
    async def async_process_audio_stream(
        self, metadata: stt.SpeechMetadata, stream: AsyncIterable[bytes]
    ) -> stt.SpeechResult:
        """The words in a stream, which is closed when they are known."""
        try:
            text = await self._audio.transcribe(stream, metadata.language)
        except AudioError as error:
            self._audio.complain("Speech to text", error)
            return stt.SpeechResult(None, stt.SpeechResultState.ERROR)
        self._audio.worked()
        return stt.SpeechResult(text, stt.SpeechResultState.SUCCESS)
