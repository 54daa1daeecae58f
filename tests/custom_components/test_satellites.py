"""The server's satellites as devices."""

from __future__ import annotations

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.meadowlark.const import DOMAIN
from custom_components.meadowlark.satellites import Satellite, Satellites, area_of

SERVER = "0c9e7f3a-server"


@pytest.fixture
def entry(hass: HomeAssistant) -> MockConfigEntry:
    entry = MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=SERVER)
    entry.add_to_hass(hass)
    return entry


@pytest.fixture
def satellites(hass: HomeAssistant, entry: MockConfigEntry) -> Satellites:
    return Satellites(hass, entry)


async def test_each_is_a_device_behind_the_server(
    hass: HomeAssistant, entry: MockConfigEntry, satellites: Satellites
) -> None:
    kitchen = ar.async_get(hass).async_create("Kitchen")

    satellites.update([Satellite("pi-1", "kitchen"), Satellite("pi-2", "Moon base"), Satellite("pi-3")])

    registry = dr.async_get(hass)
    server = registry.async_get_device_by_identifier((DOMAIN, SERVER), entry.entry_id)
    devices = [registry.async_get(satellites.device_id(name)) for name in ("pi-1", "pi-2", "pi-3")]
    assert [device.name for device in devices] == ["pi-1", "pi-2", "pi-3"]
    assert {device.via_device_id for device in devices} == {server.id}
    assert [device.area_id for device in devices] == [kitchen.id, None, None]
    assert list(ar.async_get(hass).areas) == [kitchen.id], "no area is made for a room that the user does not know"
    assert satellites.rooms == {"pi-1": "Kitchen"}
    assert area_of(hass, satellites.device_id("pi-1")) == "Kitchen"
    assert area_of(hass, satellites.device_id("pi-2")) == ""
    assert satellites.device_id("pi-4") is None


async def test_the_users_choice_stays(hass: HomeAssistant, satellites: Satellites) -> None:
    ar.async_get(hass).async_create("Kitchen")
    bath = ar.async_get(hass).async_create("Bath")
    satellites.update([Satellite("pi-1", "Kitchen")])
    dr.async_get(hass).async_update_device(satellites.device_id("pi-1"), area_id=bath.id, name_by_user="Mirror")

    satellites.update([])
    satellites.update([Satellite("pi-1", "Kitchen")])

    assert satellites.rooms == {"pi-1": "Bath"}
    assert dr.async_get(hass).async_get(satellites.device_id("pi-1")).name_by_user == "Mirror"


async def test_only_those_that_are_away_may_be_removed(
    hass: HomeAssistant, entry: MockConfigEntry, satellites: Satellites
) -> None:
    satellites.update([Satellite("pi-1"), Satellite("pi-2")])
    satellites.update([Satellite("pi-2")])
    registry = dr.async_get(hass)

    assert satellites.may_remove(registry.async_get(satellites.device_id("pi-1")))
    assert not satellites.may_remove(registry.async_get(satellites.device_id("pi-2")))
    assert not satellites.may_remove(registry.async_get_device_by_identifier((DOMAIN, SERVER), entry.entry_id))


async def test_nonsense_makes_no_devices(hass: HomeAssistant, entry: MockConfigEntry, satellites: Satellites) -> None:
    satellites.update([Satellite(""), Satellite("x" * 1000), *(Satellite(f"pi-{number}") for number in range(1000))])

    devices = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert len(devices) == 101, "a hundred, and the server"
