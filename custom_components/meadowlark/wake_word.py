"""Wake words, for satellites that have none of their own."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import override

from homeassistant.components import wake_word
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from wyoming.info import WakeProgram

from .audio import AudioError, async_offer
from .data import MeadowlarkConfigEntry
from .entity import MeadowlarkEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the server's wake words."""
    info = await async_offer(entry)
    async_add_entities(MeadowlarkWakeWords(entry, program) for program in info.wake[:1] if program.installed)


class MeadowlarkWakeWords(MeadowlarkEntity, wake_word.WakeWordDetectionEntity):
    """The server's wake words."""

    def __init__(self, entry: MeadowlarkConfigEntry, program: WakeProgram) -> None:
        super().__init__(entry, "wake_word")
        self._audio = entry.runtime_data.audio
        self._words = words(program)

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self._audio.subscribe(self._offer_changed))

    @override
    async def get_supported_wake_words(self) -> list[wake_word.WakeWord]:
        return self._words

    @override
    async def _async_process_audio_stream(
        self, stream: AsyncIterable[tuple[bytes, int]], wake_word_id: str | None
    ) -> wake_word.DetectionResult | None:
        """Wait for a wake word. The stream goes on behind it, with the command."""
        try:
            heard = await self._audio.detect(stream, wake_word_id)
        except AudioError as error:
            # Not raised: Home Assistant would log a traceback, and there is nothing in it that the owner can mend.
            self._audio.complain("Wake word detection", error)
            return None
        self._audio.worked()
        if heard is None:
            return None
        return wake_word.DetectionResult(
            wake_word_id=heard.name,
            wake_word_phrase=next(
                (word.phrase or word.id for word in self._words if word.id == heard.name), heard.name
            ),
            timestamp=heard.milliseconds,
            queued_audio=[heard.unsent] if heard.unsent else None,
        )

    @callback
    def _offer_changed(self) -> None:
        if (info := self._audio.info) is not None and info.wake:
            self._words = words(info.wake[0])


def words(program: WakeProgram) -> list[wake_word.WakeWord]:
    """The wake words of a program, as people say them."""
    return [
        wake_word.WakeWord(
            id=model.name, name=(model.phrase or model.description or model.name).title(), phrase=model.phrase
        )
        for model in program.models
        if model.installed
    ]
