"""Wake words of Home Assistant, with a real server, and with ones that fail."""

from __future__ import annotations

import asyncio

import pytest
from homeassistant.components import wake_word
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.meadowlark.const import DOMAIN

from .support.fake_wyoming import FakeWyoming, Peer
from .support.server import MeadowlarkServer
from .support.speech import Microphone, say, silence

DEADLINE_SECONDS = 30.0
"""The longest that a test waits."""


@pytest.fixture
def engine(hass: HomeAssistant, setup_integration: MockConfigEntry) -> wake_word.WakeWordDetectionEntity:
    component = hass.data[wake_word.DATA_COMPONENT]
    return next(entity for entity in component.entities if entity.platform.platform_name == DOMAIN)


async def test_the_words_that_there_are(engine: wake_word.WakeWordDetectionEntity) -> None:
    words = {word.id: word for word in await engine.get_supported_wake_words()}
    assert words["okay_nabu"] == wake_word.WakeWord("okay_nabu", "Okay Nabu", "okay nabu")
    assert words["hey_jarvis"].phrase == "hey jarvis"
    assert engine.name == "Wake words"


async def test_a_word_is_heard_and_the_command_behind_it_is_left(
    hass: HomeAssistant, engine: wake_word.WakeWordDetectionEntity, meadowlark: MeadowlarkServer
) -> None:
    microphone = Microphone(silence(1) + await say(meadowlark, "Hey Jarvis!"))
    stream = microphone.timed()
    async with asyncio.timeout(DEADLINE_SECONDS):
        result = await engine.async_process_audio_stream(stream, "hey_jarvis")
    assert result is not None
    assert (result.wake_word_id, result.wake_word_phrase) == ("hey_jarvis", "hey jarvis")
    assert result.timestamp is not None
    assert result.timestamp > 1000
    assert result.queued_audio is not None
    assert not microphone.closed
    state = hass.states.get(engine.entity_id)
    assert state is not None
    assert state.state != "unknown"
    await stream.aclose()


async def test_a_server_that_breaks_off_is_no_detection(
    engine: wake_word.WakeWordDetectionEntity, setup_integration: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive_until("audio-chunk")

    async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
        setup_integration.runtime_data.audio.port = server.port
        for _ in range(2):
            microphone = Microphone(b"")
            stream = microphone.timed()
            assert await engine.async_process_audio_stream(stream, None) is None
            assert not microphone.closed
            await stream.aclose()
    problems = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert [problem for problem in problems if "Wake word" in problem] == [
        "Wake word detection failed: The server closed the connection"
    ]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
