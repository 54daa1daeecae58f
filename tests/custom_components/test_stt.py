"""Speech to text of Home Assistant, with a real server, and with ones that fail."""

from __future__ import annotations

import asyncio

import pytest
from homeassistant.components import stt
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry
from wyoming.asr import Transcript
from wyoming.error import Error
from wyoming.info import Info

from .conftest import SetUp, entry_for
from .support.fake_wyoming import FakeWyoming, Peer
from .support.server import MeadowlarkServer
from .support.speech import Microphone, say, silence
from .test_sensor import until

DEADLINE_SECONDS = 30.0
"""The longest that a test waits."""


def metadata(language: str = "en") -> stt.SpeechMetadata:
    return stt.SpeechMetadata(
        language,
        stt.AudioFormats.WAV,
        stt.AudioCodecs.PCM,
        stt.AudioBitRates.BITRATE_16,
        stt.AudioSampleRates.SAMPLERATE_16000,
        stt.AudioChannels.CHANNEL_MONO,
    )


@pytest.fixture
def engine(hass: HomeAssistant, setup_integration: MockConfigEntry) -> stt.SpeechToTextEntity:
    return engine_of(hass, setup_integration)


def engine_of(hass: HomeAssistant, entry: MockConfigEntry) -> stt.SpeechToTextEntity:
    entities = hass.data[stt.DATA_COMPONENT].entities
    return next(entity for entity in entities if entity.platform.config_entry is entry)


async def hear(engine: stt.SpeechToTextEntity, microphone: Microphone) -> stt.SpeechResult:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await engine.internal_async_process_audio_stream(metadata(), microphone.stream())


async def test_what_it_takes(engine: stt.SpeechToTextEntity) -> None:
    assert {"en", "de", "fr"} <= set(engine.supported_languages)
    assert engine.check_metadata(metadata())
    assert not engine.check_metadata(metadata("tlh"))
    processing = engine.audio_processing
    assert not processing.requires_external_vad, "the server ends the turn itself"
    assert not processing.prefers_noise_reduction_enabled
    assert not processing.prefers_auto_gain_enabled
    assert engine.name == "Speech to text"
    assert engine.icon is None


async def test_a_sentence_ends_by_itself(engine: stt.SpeechToTextEntity, meadowlark: MeadowlarkServer) -> None:
    microphone = Microphone(silence(0.3) + await say(meadowlark, "Turn on the kitchen light."))
    result = await hear(engine, microphone)
    assert result.result is stt.SpeechResultState.SUCCESS
    assert result.text is not None
    assert "kitchen light" in result.text.lower()
    assert microphone.closed


async def test_nobody_speaks(engine: stt.SpeechToTextEntity) -> None:
    """The server waits three seconds; Home Assistant then says that no text was recognized."""
    assert await hear(engine, Microphone(b"")) == stt.SpeechResult("", stt.SpeechResultState.SUCCESS)


async def test_failures_are_one_line_and_the_next_turn_works(
    engine: stt.SpeechToTextEntity, setup_integration: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive_until("audio-chunk")
        if server.connections == 1:
            return
        if server.connections == 2:
            await peer.send(Error("Out of memory", "engine"))
        else:
            await peer.send(Transcript("hello"))
        await peer.until_closed()

    audio = setup_integration.runtime_data.audio
    async with FakeWyoming(script) as server:
        audio.port = server.port
        for _ in range(2):
            microphone = Microphone(b"")
            assert await hear(engine, microphone) == stt.SpeechResult(None, stt.SpeechResultState.ERROR)
            assert microphone.closed
        assert (await hear(engine, Microphone(b""))).text == "hello"
    loud = [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    warnings = [record for record in loud if record.getMessage().startswith("Speech")]
    assert [record.getMessage() for record in warnings] == ["Speech to text failed: The server closed the connection"]


async def test_a_turn_that_is_cancelled_closes_everything(
    hass: HomeAssistant, engine: stt.SpeechToTextEntity, setup_integration: MockConfigEntry
) -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.receive_until("audio-chunk")
        begun.set()
        await peer.until_closed()

    microphone = Microphone(b"")
    async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
        setup_integration.runtime_data.audio.port = server.port
        turn = hass.async_create_task(hear(engine, microphone))
        await begun.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert microphone.closed
        await server.gone.wait()


@pytest.mark.timeout(300)  # it starts a server twice
async def test_a_server_that_is_killed_in_the_middle_of_speech_and_comes_back_with_other_voices(
    hass: HomeAssistant, own_meadowlark: MeadowlarkServer, meadowlark: MeadowlarkServer, set_up: SetUp
) -> None:
    entry = await set_up(entry_for(own_meadowlark))
    before = entry.runtime_data
    await until(before.link.subscribe, lambda: before.link.connected)
    speech = silence(0.3) + await say(meadowlark, "What time is it?")
    microphone = Microphone(speech)
    turn = hass.async_create_task(hear(engine_of(hass, entry), microphone))
    await microphone.open.wait()
    own_meadowlark.kill()
    assert (await turn).result is stt.SpeechResultState.ERROR
    assert microphone.closed

    async def script(peer: Peer) -> None:
        await peer.receive_until("describe")
        await peer.send(Info())  # it speaks nothing any more
        await peer.until_closed()

    reloaded = asyncio.Event()
    entry.async_on_unload(reloaded.set)
    async with FakeWyoming(script) as other:
        before.audio.port = other.port
        await hass.async_add_executor_job(own_meadowlark.start)
        async with asyncio.timeout(2 * DEADLINE_SECONDS):
            await reloaded.wait()
    await hass.async_block_till_done()
    assert entry.runtime_data is not before
    result = await hear(engine_of(hass, entry), Microphone(speech))
    assert "time" in (result.text or "").lower()
