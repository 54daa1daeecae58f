"""Announcements at the server's satellites, with a real server and satellites that are the test's own."""

from __future__ import annotations

import pytest
from homeassistant.components.notify import DOMAIN as NOTIFY
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from pytest_homeassistant_custom_component.common import MockConfigEntry

from .support.satellite import satellite
from .support.server import MeadowlarkServer
from .test_sensor import connected, until
from .test_services import _call, _said


async def test_each_satellite_has_an_entity_that_speaks(
    hass: HomeAssistant, setup_integration: MockConfigEntry, meadowlark: MeadowlarkServer
) -> None:
    await connected(hass, setup_integration.runtime_data.link)
    async with satellite(meadowlark, "kitchen") as kitchen, satellite(meadowlark, "hall") as hall:
        await _come(hass, setup_integration, "kitchen", "hall")
        assert hass.states.get("notify.kitchen").state == STATE_UNKNOWN
        await _send(hass, "Dinner is ready.", "notify.kitchen")
        assert (len(kitchen.heard), len(hall.heard)) == (1, 0)
        assert kitchen.heard[0] > 1.5, "a chime, and a sentence"
        assert hass.states.get("notify.kitchen").state > "2026"

        await _send(hass, "Dinner is ready.", "notify.kitchen", "notify.hall")
        assert (len(kitchen.heard), len(hall.heard)) == (2, 1)
    await _gone(hass, setup_integration)
    assert hass.states.get("notify.kitchen").state == STATE_UNAVAILABLE


async def test_an_entity_belongs_to_its_satellites_device(
    hass: HomeAssistant, setup_integration: MockConfigEntry, meadowlark: MeadowlarkServer
) -> None:
    await connected(hass, setup_integration.runtime_data.link)
    satellites = setup_integration.runtime_data.link.lending.satellites
    async with satellite(meadowlark, "bath"):
        await _come(hass, setup_integration, "bath")
        device_id = satellites.device_id("bath")
        entity = er.async_get(hass).async_get("notify.bath")
        assert (entity.device_id, entity.translation_key) == (device_id, "satellite")
        assert dr.async_get(hass).async_get(device_id).name == "bath"
    await _gone(hass, setup_integration)

    await hass.config_entries.async_reload(setup_integration.entry_id)
    await connected(hass, setup_integration.runtime_data.link)
    assert hass.states.get("notify.bath").state == STATE_UNAVAILABLE, "it is known, and away"

    dr.async_get(hass).async_remove_device(device_id)
    await hass.async_block_till_done()
    assert hass.states.get("notify.bath") is None
    async with satellite(meadowlark, "bath") as bath:
        await _come(hass, setup_integration, "bath")
        await _send(hass, "Here again.", "notify.bath")
        assert len(bath.heard) == 1
    await _gone(hass, setup_integration)


async def test_what_nobody_heard_is_an_error(
    hass: HomeAssistant, setup_integration: MockConfigEntry, meadowlark: MeadowlarkServer
) -> None:
    await connected(hass, setup_integration.runtime_data.link)
    async with satellite(meadowlark, "deaf", hears=False):
        await _come(hass, setup_integration, "deaf")
        with pytest.raises(HomeAssistantError) as raised:
            await _send(hass, "Dinner is ready.", "notify.deaf")
        assert "Nobody heard it at deaf" in await _said(hass, raised.value)
        assert hass.states.get("notify.deaf").state == STATE_UNKNOWN, "nothing was said there"
        with pytest.raises(ServiceValidationError) as refused:
            await _send(hass, "x" * 1001, "notify.deaf")
        assert "1000 characters" in await _said(hass, refused.value)
        with pytest.raises(HomeAssistantError) as missed:
            await _call(hass, "announce", message="Dinner is ready.")
        assert missed.value.translation_key == "not_heard"
    await _gone(hass, setup_integration)
    with pytest.raises(ServiceValidationError) as nobody:
        await _call(hass, "announce", message="Dinner is ready.")
    assert "No satellite is connected" in await _said(hass, nobody.value)


async def test_the_action_speaks_at_all_or_some(
    hass: HomeAssistant, setup_integration: MockConfigEntry, meadowlark: MeadowlarkServer
) -> None:
    await connected(hass, setup_integration.runtime_data.link)
    satellites = setup_integration.runtime_data.link.lending.satellites
    async with satellite(meadowlark, "kitchen") as kitchen, satellite(meadowlark, "hall", hears=False) as hall:
        await _come(hass, setup_integration, "kitchen", "hall")
        assert await _call(hass, "announce", message=" Dinner is ready. ") == {"heard": ["kitchen"], "missed": ["hall"]}
        some = {"message": "Dinner is ready.", "device_id": satellites.device_id("kitchen")}
        assert await _call(hass, "announce", **some, chime=False, language="de") == {"heard": ["kitchen"], "missed": []}
        assert (len(kitchen.heard), len(hall.heard)) == (2, 1)

        server = dr.async_get(hass).async_get(satellites.device_id("kitchen")).via_device_id
        with pytest.raises(ServiceValidationError) as raised:
            await _call(hass, "announce", message="Dinner is ready.", device_id=[server])
        assert server in await _said(hass, raised.value)
    await _gone(hass, setup_integration)


async def _send(hass: HomeAssistant, message: str, *entities: str) -> None:
    await hass.services.async_call(
        NOTIFY, "send_message", {"message": message, "entity_id": list(entities)}, blocking=True
    )


async def _come(hass: HomeAssistant, entry: MockConfigEntry, *names: str) -> None:
    """Wait until Home Assistant knows that these satellites are connected."""
    link = entry.runtime_data.link
    await until(link.subscribe, lambda: {one.id for one in link.satellites} == set(names))
    await hass.async_block_till_done()


async def _gone(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Wait until it knows that none is."""
    await _come(hass, entry)
