"""The server's own satellites as devices of Home Assistant, so that each can stand in an area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr

from .const import DOMAIN, NAME

if TYPE_CHECKING:
    from .data import MeadowlarkConfigEntry

_MOST_SATELLITES = 100
"""That are made devices: more than a house has, and few enough when a server sends nonsense."""

_LONGEST_NAME = 200
"""As the server's messages have it."""


@dataclass(frozen=True)
class Satellite:
    """One that is connected to the server."""

    id: str
    """Its name, as its own settings say."""
    room: str = ""
    """Where it stands, as the server's settings say."""


class Satellites:
    """Those of one server. Each stays a device when it is not connected, until the user removes it."""

    def __init__(self, hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
        self._hass = hass
        self._entry = entry
        self.connected: Sequence[Satellite] = ()
        """Those that are connected to the server now."""

    def update(self, connected: Sequence[Satellite]) -> None:
        """Note which are connected, and make a device for each that has none yet."""
        self.connected = tuple(one for one in connected if 0 < len(one.id) <= _LONGEST_NAME)[:_MOST_SATELLITES]
        registry = dr.async_get(self._hass)
        for satellite in self.connected:
            if self.device_id(satellite.id) is not None:
                continue
            server = registry.async_get_or_create(
                config_entry_id=self._entry.entry_id,
                identifiers={(DOMAIN, self._server_id)},
                name=self._entry.title,
                manufacturer=NAME,
            )
            area = ar.async_get(self._hass).async_get_area_by_name(satellite.room) if satellite.room else None
            registry.async_get_or_create(
                config_entry_id=self._entry.entry_id,
                identifiers={self.identifier(satellite.id)},
                name=satellite.id,
                manufacturer=NAME,
                suggested_area=area.name if area else None,
                via_device_id=server.id,
            )

    def device_id(self, satellite: str) -> str | None:
        """The device that stands for a satellite; None for one that was never there."""
        device = dr.async_get(self._hass).async_get_device_by_identifier(
            self.identifier(satellite), self._entry.entry_id
        )
        return device.id if device else None

    def identifier(self, satellite: str) -> tuple[str, str]:
        """By which its device is known."""
        return DOMAIN, f"{self._prefix}{satellite}"

    @property
    def known(self) -> dict[str, str]:
        """The devices' ids by the satellites' names, also of those that are away."""
        known = {}
        for device in dr.async_entries_for_config_entry(dr.async_get(self._hass), self._entry.entry_id):
            for domain, identifier in device.identifiers:
                if domain == DOMAIN and identifier.startswith(self._prefix):
                    known[identifier.removeprefix(self._prefix)] = device.id
        return known

    @property
    def rooms(self) -> dict[str, str]:
        """Names of the areas where satellites stand, by the satellites' names, also of those that are away."""
        rooms = {name: area_of(self._hass, device_id) for name, device_id in self.known.items()}
        return {name: room for name, room in rooms.items() if room}

    def may_remove(self, device: dr.AnyDeviceEntry) -> bool:
        """Whether the user may remove a device: a satellite that is not connected. The server itself stays."""
        here = {(DOMAIN, self._server_id), *(self.identifier(one.id) for one in self.connected)}
        return not here & device.identifiers

    @property
    def _server_id(self) -> str:
        return self._entry.unique_id or ""

    @property
    def _prefix(self) -> str:
        return f"{self._server_id}-satellite-"


def area_of(hass: HomeAssistant, device_id: str | None) -> str:
    """The name of the area where a device stands; empty where nobody has said."""
    device = dr.async_get(hass).async_get(device_id) if device_id else None
    area_id = dr.async_get_effective_area_id(hass, device) if device else None
    area = ar.async_get(hass).async_get_area(area_id) if area_id else None
    return area.name if area else ""
