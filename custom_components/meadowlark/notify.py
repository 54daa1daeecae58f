"""Announcements at the server's satellites: an entity for each, so that `notify.send_message` speaks there.

They are no `assist_satellite` entities: those promise a pipeline of Home Assistant, states for every turn and a set-up
in which the satellite fetches sound from Home Assistant. The server's satellites have all that with their server.
"""

from __future__ import annotations

from typing import override

from homeassistant.components.notify import NotifyEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client import ClientError
from .const import DOMAIN
from .data import MeadowlarkConfigEntry
from .services import told

PARALLEL_UPDATES = 0  # at several satellites it is heard at the same time


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add an entity for each satellite that was ever there, and for each that comes."""
    link = entry.runtime_data.link
    added: set[str] = set()

    @callback
    def add() -> None:
        new = [name for name in link.lending.satellites.known if name not in added]
        added.update(new)
        async_add_entities(SatelliteNotify(entry, name, added) for name in new)

    add()
    entry.async_on_unload(link.subscribe(add))


class SatelliteNotify(NotifyEntity):
    """What one satellite says."""

    _attr_has_entity_name = True
    _attr_name = None
    _attr_translation_key = "satellite"

    def __init__(self, entry: MeadowlarkConfigEntry, satellite: str, added: set[str]) -> None:
        """`added` are the satellites that have an entity, until the user removes the device."""
        self._entry = entry
        self._data = entry.runtime_data
        self._satellite = satellite
        self._added = added
        identifier = self._data.link.lending.satellites.identifier(satellite)
        self._attr_unique_id = f"{identifier[1]}-announce"
        self._attr_device_info = DeviceInfo(identifiers={identifier})

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self._data.link.subscribe(self.async_write_ha_state))

    @override
    async def async_will_remove_from_hass(self) -> None:
        await super().async_will_remove_from_hass()
        if self._data.link.lending.satellites.device_id(self._satellite) is None:
            self._added.discard(self._satellite)

    @property
    @override
    def available(self) -> bool:
        return any(one.id == self._satellite for one in self._data.link.satellites)

    @override
    async def async_send_message(self, message: str, title: str | None = None) -> None:
        """Speak, and wait until it was heard. HomeAssistantError when it was not."""
        try:
            heard = await self._data.client.announce(message, [self._satellite], self.hass.config.language)
        except ClientError as error:
            raise told(self.hass, self._entry, error) from error
        if not heard.get(self._satellite):
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="not_heard",
                translation_placeholders={"satellites": self._satellite},
            )
