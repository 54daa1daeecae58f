"""How long the server's turns take, and how many satellites it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import override

from homeassistant.components.sensor import SensorDeviceClass, SensorEntity, SensorEntityDescription, SensorStateClass
from homeassistant.const import EntityCategory, UnitOfTime
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .data import MeadowlarkConfigEntry, MeadowlarkData
from .entity import MeadowlarkEntity
from .latency import STAGES, Latencies

PARALLEL_UPDATES = 0

_SHOWN = frozenset({"response", "transcript", "first_token"})
"""Stages whose sensors are enabled from the start: the first is known of turns of the server's own satellites, others
also of Home Assistant's pipelines. The rest is for those who look for what makes it slow."""


@dataclass(frozen=True, kw_only=True)
class MeadowlarkSensorDescription(SensorEntityDescription):
    """A sensor, and where its value is."""

    value: Callable[[MeadowlarkData], float | None]


def _of_stage(stage: str, kind: str, value: Callable[[Latencies, str], float | None]) -> MeadowlarkSensorDescription:
    return MeadowlarkSensorDescription(
        key=f"{stage}_{kind}",
        device_class=SensorDeviceClass.DURATION,
        state_class=SensorStateClass.MEASUREMENT,
        native_unit_of_measurement=UnitOfTime.MILLISECONDS,
        suggested_display_precision=0,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=stage in _SHOWN,
        value=lambda data: value(data.latencies, stage),
    )


SATELLITES = MeadowlarkSensorDescription(
    key="satellites",
    state_class=SensorStateClass.MEASUREMENT,
    entity_category=EntityCategory.DIAGNOSTIC,
    value=lambda data: len(data.link.satellites),
)

SENSORS = (
    *(_of_stage(stage, "last", Latencies.last) for stage in STAGES),
    *(_of_stage(stage, "median", Latencies.median) for stage in STAGES),
    SATELLITES,
)


async def async_setup_entry(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensors."""
    async_add_entities(MeadowlarkSensor(entry, description) for description in SENSORS)


class MeadowlarkSensor(MeadowlarkEntity, SensorEntity):
    """One of them. Unknown before the first turn."""

    entity_description: MeadowlarkSensorDescription

    def __init__(self, entry: MeadowlarkConfigEntry, description: MeadowlarkSensorDescription) -> None:
        super().__init__(entry, description.key)
        self.entity_description = description
        self._data = entry.runtime_data

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self._data.link.subscribe(self.async_write_ha_state))
        self.async_on_remove(self._data.latencies.subscribe(self.async_write_ha_state))

    @property
    @override
    def available(self) -> bool:
        return self._data.link.connected

    @property
    @override
    def native_value(self) -> float | None:
        return self.entity_description.value(self._data)
