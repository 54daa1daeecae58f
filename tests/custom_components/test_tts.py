"""Text to speech of Home Assistant, with a real server, and with ones that fail."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncGenerator

import pytest
from homeassistant.components import tts
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from pytest_homeassistant_custom_component.common import MockConfigEntry
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.info import Attribution, Info, TtsProgram, TtsVoice
from wyoming.tts import SynthesizeStopped

from custom_components.meadowlark.const import DOMAIN
from custom_components.meadowlark.tts import endless_header, voices_by_language

from .support.fake_wyoming import FakeWyoming, Peer

DEADLINE_SECONDS = 30.0
"""The longest that a test waits."""

VOICE = "en_US-joe-medium"

OURS = Attribution("test", "http://127.0.0.1")


@pytest.fixture
def engine(hass: HomeAssistant, setup_integration: MockConfigEntry) -> tts.TextToSpeechEntity:
    engine = next(
        entity for entity in hass.data[tts.DATA_COMPONENT].entities if entity.platform.platform_name == DOMAIN
    )
    assert isinstance(engine, tts.TextToSpeechEntity)
    return engine


async def pieces(*texts: str) -> AsyncGenerator[str]:
    for text in texts:
        yield text


def voice(name: str, *languages: str, installed: bool = True) -> TtsVoice:
    return TtsVoice(name, OURS, installed, name, None, list(languages))


def program(*voices: TtsVoice) -> TtsProgram:
    return TtsProgram("fake", OURS, True, "fake", None, list(voices), supports_synthesize_streaming=True)


async def test_what_it_offers(engine: tts.TextToSpeechEntity) -> None:
    assert engine.supported_languages == ["en-US"]
    assert engine.default_language == "en-US"
    assert engine.supported_options == [tts.ATTR_VOICE, "speaker"]
    assert engine.async_get_supported_voices("en-US") == [tts.Voice(VOICE, VOICE)]
    assert engine.async_get_supported_voices("de-DE") is None
    assert engine.async_supports_streaming_input()
    assert engine.name == "Text to speech"


def test_voices_keep_the_servers_order_and_tags_get_hyphens() -> None:
    offered = program(
        voice("z", "en_US"), voice("a", "en-US", "de_DE"), voice("gone", "fr-FR", installed=False), voice("b", "de-DE")
    )
    assert voices_by_language(offered) == {"en-US": ["z", "a"], "de-DE": ["a", "b"]}


def test_the_header_of_a_stream_is_a_wav_that_goes_on() -> None:
    file = io.BytesIO(endless_header(AudioStart(22050, 2, 1)) + bytes(442))
    with wave.open(file, "rb") as reader:
        assert (reader.getframerate(), reader.getsampwidth(), reader.getnchannels()) == (22050, 2, 1)
        assert reader.getnframes() > 1_000_000_000
        assert len(reader.readframes(reader.getnframes())) == 442


async def test_a_whole_text_is_a_wav_that_knows_its_length(engine: tts.TextToSpeechEntity) -> None:
    extension, data = await engine.async_get_tts_audio("The light is on.", "en-US", {tts.ATTR_VOICE: VOICE})
    assert extension == "wav"
    assert data is not None
    with wave.open(io.BytesIO(data), "rb") as reader:
        assert reader.getframerate() == 22050
        assert 0.5 < reader.getnframes() / reader.getframerate() < 5


async def test_audio_comes_while_the_text_is_still_written(engine: tts.TextToSpeechEntity) -> None:
    heard = asyncio.Event()

    async def slow() -> AsyncGenerator[str]:
        yield "The kitchen light is on. "
        await heard.wait()
        yield "The door is closed."

    response = await engine.internal_async_stream_tts_audio(tts.TTSAudioRequest("en-US", {}, slow()))
    assert response.extension == "wav"
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert (await anext(response.data_gen)).startswith(b"RIFF")
        assert await anext(response.data_gen)
        heard.set()
        assert len(b"".join([piece async for piece in response.data_gen])) > 22050


async def test_home_assistants_own_stream_and_cache(hass: HomeAssistant, engine: tts.TextToSpeechEntity) -> None:
    stream = tts.async_create_stream(
        hass, engine.entity_id, options={tts.ATTR_PREFERRED_FORMAT: "wav", tts.ATTR_VOICE: VOICE}
    )
    stream.async_set_message_stream(pieces("The light ", "is on."))
    async with asyncio.timeout(DEADLINE_SECONDS):
        data = b"".join([piece async for piece in stream.async_stream_result()])
    assert data.startswith(b"RIFF")
    assert len(data) > 22050


async def test_an_unknown_voice_says_what_there_is(engine: tts.TextToSpeechEntity) -> None:
    request = tts.TTSAudioRequest("en-US", {tts.ATTR_VOICE: "en_US-jo-medium"}, pieces("Hello."))
    response = await engine.async_stream_tts_audio(request)
    with pytest.raises(HomeAssistantError, match=VOICE) as problem:
        await anext(response.data_gen)
    assert (problem.value.translation_domain, problem.value.translation_key) == (DOMAIN, "speech_failed")


async def test_the_server_breaks_off_in_the_middle_and_the_next_works(
    engine: tts.TextToSpeechEntity, setup_integration: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive_until("synthesize-stop")
        await peer.send(AudioStart(16000, 2, 1), AudioChunk(16000, 2, 1, bytes(64)))
        if server.connections == 2:
            await peer.send(Error("Out of memory", "engine"))
            await peer.until_closed()
        elif server.connections == 3:
            await peer.send(AudioStop(), SynthesizeStopped())
            await peer.until_closed()

    async with FakeWyoming(script) as server, asyncio.timeout(DEADLINE_SECONDS):
        setup_integration.runtime_data.audio.port = server.port
        for reason in ("closed the connection", "Out of memory"):
            response = await engine.async_stream_tts_audio(tts.TTSAudioRequest("en-US", {}, pieces("Hello.")))
            assert (await anext(response.data_gen)).startswith(b"RIFF")
            assert await anext(response.data_gen) == bytes(64)
            with pytest.raises(HomeAssistantError, match=reason):
                await anext(response.data_gen)
        assert await engine.async_get_tts_audio("Hello.", "en-US", {}) is not None
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_other_voices_are_offered_when_the_server_says_so(
    engine: tts.TextToSpeechEntity, setup_integration: MockConfigEntry
) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive_until("describe")
        await peer.send(Info(tts=[program(voice("new", "en-US"), voice(VOICE, "en-US"))]))
        await peer.until_closed()

    audio = setup_integration.runtime_data.audio
    async with FakeWyoming(script) as server:
        port, audio.port = audio.port, server.port
        await audio.describe()
        audio.port = port
    assert [voice.voice_id for voice in engine.async_get_supported_voices("en-US") or []] == ["new", VOICE]
