"""Whether the server is connected, and whether it listens to somebody or answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import override

from homeassistant.components.binary_sensor import (
    BinarySensorDeviceClass,
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .data import MeadowlarkConfigEntry
from .entity import MeadowlarkEntity
from .link import Link

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class MeadowlarkBinarySensorDescription(BinarySensorEntityDescription):
    """A binary sensor, and where its value is."""

    value: Callable[[Link], bool]
    always_available: bool = False


TURN = MeadowlarkBinarySensorDescription(
    key="turn_in_progress", device_class=BinarySensorDeviceClass.RUNNING, value=lambda link: link.busy
)

CONNECTED = MeadowlarkBinarySensorDescription(
    key="connected",
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
    value=lambda link: link.connected,
    always_available=True,
)


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add both."""
    async_add_entities(MeadowlarkBinarySensor(entry, description) for description in (TURN, CONNECTED))


class MeadowlarkBinarySensor(MeadowlarkEntity, BinarySensorEntity):
    """One of them."""

    entity_description: MeadowlarkBinarySensorDescription

    def __init__(self, entry: MeadowlarkConfigEntry, description: MeadowlarkBinarySensorDescription) -> None:
        super().__init__(entry, description.key)
        self.entity_description = description
        self._link = entry.runtime_data.link

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self._link.subscribe(self.async_write_ha_state))

    @property
    @override
    def available(self) -> bool:
        return self._link.connected or self.entity_description.always_available

    @property
    @override
    def is_on(self) -> bool:
        return self.entity_description.value(self._link)
