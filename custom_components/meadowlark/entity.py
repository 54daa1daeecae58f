"""What all entities of a server share: its device."""

from __future__ import annotations

from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import Entity

from .const import DOMAIN, NAME
from .data import MeadowlarkConfigEntry


class MeadowlarkEntity(Entity):
    """An entity of a server."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, entry: MeadowlarkConfigEntry, key: str) -> None:
        """`key` tells the server's entities apart, and names the entity's translation and icon."""
        server = entry.runtime_data.server
        self._attr_translation_key = key
        self._attr_unique_id = f"{server.id}-{key}"
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, server.id)},
            name=entry.title,
            manufacturer=NAME,
            sw_version=server.version,
            configuration_url=server.url,
            entry_type=DeviceEntryType.SERVICE,
        )
