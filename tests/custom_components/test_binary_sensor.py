"""Connected, and a turn in progress, with a real server."""

from __future__ import annotations

import asyncio

from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from .support.server import MeadowlarkServer
from .support.speech import Microphone, say
from .test_sensor import connected, state_of, until


async def test_connected(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    await connected(hass, setup_integration.runtime_data.link)
    state = state_of(hass, setup_integration, "binary_sensor", "connected")
    assert (state.state, state.attributes["device_class"]) == ("on", "connectivity")
    assert state.name.endswith("Connected")


async def test_a_turn_is_in_progress_while_somebody_speaks(
    hass: HomeAssistant, setup_integration: MockConfigEntry, meadowlark: MeadowlarkServer
) -> None:
    data = setup_integration.runtime_data
    await connected(hass, data.link)
    assert state_of(hass, setup_integration, "binary_sensor", "turn_in_progress").state == "off"
    microphone = Microphone(await say(meadowlark, "What time is it, and what day is today?"))
    turn = asyncio.create_task(data.audio.transcribe(microphone.stream(), "en"))
    await until(data.link.subscribe, lambda: data.link.busy)
    state = state_of(hass, setup_integration, "binary_sensor", "turn_in_progress")
    assert (state.state, state.attributes["device_class"]) == ("on", "running")
    await turn
    await until(data.link.subscribe, lambda: not data.link.busy)
    assert state_of(hass, setup_integration, "binary_sensor", "turn_in_progress").state == "off"
