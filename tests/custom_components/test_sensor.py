"""The diagnostic sensors, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN, EntityCategory
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.meadowlark.const import DOMAIN
from custom_components.meadowlark.latency import STAGES
from custom_components.meadowlark.link import Link

from .support.server import MeadowlarkServer
from .support.speech import at_once, say
from .test_latency import timeline

DEADLINE_SECONDS = 30.0
"""The longest that a test waits."""


async def until(subscribe: Callable[[Callable[[], None]], Callable[[], None]], holds: Callable[[], bool]) -> None:
    """Wait until something holds, which is looked at whenever a listener is told."""
    changed = asyncio.Event()
    leave = subscribe(changed.set)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not holds():
                changed.clear()
                await changed.wait()
    finally:
        leave()


async def connected(hass: HomeAssistant, link: Link) -> None:
    await until(link.subscribe, lambda: link.connected)
    await hass.async_block_till_done()


def state_of(hass: HomeAssistant, entry: MockConfigEntry, domain: str, key: str) -> State:
    entity_id = er.async_get(hass).async_get_entity_id(domain, DOMAIN, f"{entry.unique_id}-{key}")
    assert entity_id is not None
    state = hass.states.get(entity_id)
    assert state is not None
    return state


async def test_only_what_a_person_feels_is_enabled(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    registry = er.async_get(hass)
    entries = er.async_entries_for_config_entry(registry, setup_integration.entry_id)
    sensors = {entry.translation_key: entry for entry in entries if entry.domain == "sensor"}
    assert len(sensors) == 2 * len(STAGES) + 1
    assert {key for key, sensor in sensors.items() if not sensor.disabled} == {
        *(f"{stage}_{kind}" for stage in ("response", "transcript", "first_token") for kind in ("last", "median")),
        "satellites",
    }
    assert {sensor.entity_category for sensor in sensors.values()} == {EntityCategory.DIAGNOSTIC}


async def test_waits_of_a_turn(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    data = setup_integration.runtime_data
    await connected(hass, data.link)
    assert state_of(hass, setup_integration, "sensor", "response_last").state == STATE_UNKNOWN
    for wait in (700.4, 900.4, 800.4):
        data.latencies.add(timeline(response=wait))
    last = state_of(hass, setup_integration, "sensor", "response_last")
    assert last.state == "800.4"
    assert last.name.endswith("Response time")
    assert last.attributes["unit_of_measurement"] == "ms"
    assert last.attributes["device_class"] == "duration"
    assert last.attributes["state_class"] == "measurement"
    data.latencies.add(timeline(response=1000.4))
    median = state_of(hass, setup_integration, "sensor", "response_median")
    assert float(median.state) == pytest.approx(850.4)
    satellites = state_of(hass, setup_integration, "sensor", "satellites")
    assert (satellites.state, satellites.attributes["unit_of_measurement"]) == ("0", "satellites")


async def test_a_real_turn_is_timed(
    hass: HomeAssistant, setup_integration: MockConfigEntry, meadowlark: MeadowlarkServer
) -> None:
    registry = er.async_get(hass)
    entity_id = registry.async_get_entity_id("sensor", DOMAIN, f"{setup_integration.unique_id}-transcript_last")
    assert entity_id is not None
    registry.async_update_entity(entity_id, disabled_by=None)
    assert await hass.config_entries.async_reload(setup_integration.entry_id)
    data = setup_integration.runtime_data
    await connected(hass, data.link)
    await data.audio.transcribe(at_once(await say(meadowlark, "What time is it?")), "en")
    await until(data.latencies.subscribe, lambda: data.latencies.last("transcript") is not None)
    state = state_of(hass, setup_integration, "sensor", "transcript_last")
    assert float(state.state) >= 0


async def test_without_the_connection_they_are_unavailable(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    data = setup_integration.runtime_data
    await connected(hass, data.link)
    data.latencies.add(timeline(response=700))
    assert state_of(hass, setup_integration, "sensor", "response_last").state == "700.0"
    await data.link.close()
    await until(data.link.subscribe, lambda: not data.link.connected)
    await hass.async_block_till_done()
    assert state_of(hass, setup_integration, "sensor", "response_last").state == STATE_UNAVAILABLE
    assert state_of(hass, setup_integration, "binary_sensor", "turn_in_progress").state == STATE_UNAVAILABLE
    assert state_of(hass, setup_integration, "binary_sensor", "connected").state == "off"
