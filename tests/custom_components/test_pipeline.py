"""The Assist pipeline that comes with a server: made, kept, mended, and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from homeassistant.components import conversation
from homeassistant.components.assist_pipeline import (
    Pipeline,
    async_create_default_pipeline,
    async_get_pipelines,
    async_setup_pipeline_store,
    async_update_pipeline,
)
from homeassistant.components.assist_pipeline.pipeline import PipelineStorageCollection
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry
from wyoming.info import Attribution, Info, TtsProgram, TtsVoice, WakeModel, WakeProgram

from custom_components.meadowlark.const import CONF_PREFERRED, DOMAIN, NAME
from custom_components.meadowlark.pipeline import (
    CONF_ENGINES,
    CONF_PIPELINE,
    ENGINES,
    async_ensure_pipeline,
    async_recreate_pipeline,
    async_remove_pipeline,
)

from .conftest import SetUp, entry_for
from .support.fake_wyoming import FakeWyoming, Peer
from .support.server import MeadowlarkServer

VOICE = "en_US-joe-medium"

DEADLINE_SECONDS = 30.0
"""The longest that a test waits."""


def ours(hass: HomeAssistant) -> list[Pipeline]:
    """All pipelines but Home Assistant's own first one."""
    return [pipeline for pipeline in async_get_pipelines(hass) if pipeline.name != "Home Assistant"]


def the_pipeline(hass: HomeAssistant) -> Pipeline:
    (pipeline,) = ours(hass)
    return pipeline


def _uses(hass: HomeAssistant, key: str, engine: str) -> bool:
    return bool(getattr(the_pipeline(hass), key) == engine)


def engines(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, str]:
    """Entity ids of a server's engines, by what a pipeline calls them."""
    entries = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    return {ENGINES[Platform(entry.domain)]: entry.entity_id for entry in entries if entry.domain in ENGINES}


async def store_of(hass: HomeAssistant) -> PipelineStorageCollection:
    return (await async_setup_pipeline_store(hass)).pipeline_store


async def becomes(hass: HomeAssistant, holds: Callable[[], bool]) -> None:
    """Wait until something holds of the pipelines."""
    changed = asyncio.Event()

    async def listener(change: str, pipeline_id: str, pipeline: Pipeline) -> None:
        changed.set()

    leave = (await store_of(hass)).async_add_listener(listener)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not holds():
                changed.clear()
                await changed.wait()
    finally:
        leave()


async def reload(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()


async def test_it_is_made_with_all_engines_in_the_users_language(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    pipeline = the_pipeline(hass)
    assert pipeline.name == NAME
    assert {key: getattr(pipeline, key) for key in ENGINES.values()} == engines(hass, setup_integration)
    assert len(engines(hass, setup_integration)) == 4
    assert (pipeline.language, pipeline.stt_language, pipeline.tts_language) == ("en", "en", "en-US")
    assert (pipeline.conversation_language, pipeline.tts_voice) == ("*", VOICE)
    assert pipeline.wake_word_id == "okay_nabu"
    assert pipeline.prefer_local_intents
    assert setup_integration.data[CONF_PIPELINE] == pipeline.id
    assert (await store_of(hass)).async_get_preferred_item() != pipeline.id


async def test_it_is_never_made_twice(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    before = the_pipeline(hass)
    await reload(hass, setup_integration)
    assert the_pipeline(hass) == before


async def test_one_that_the_user_put_together_is_taken(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    """As after a restored backup, where the entry does not know its pipeline."""
    await async_update_pipeline(hass, the_pipeline(hass), name="Mine")
    mine = the_pipeline(hass)
    data = {key: value for key, value in setup_integration.data.items() if key != CONF_PIPELINE}
    hass.config_entries.async_update_entry(setup_integration, data=data)
    await reload(hass, setup_integration)
    assert the_pipeline(hass) == mine
    assert setup_integration.data[CONF_PIPELINE] == mine.id


@pytest.mark.parametrize("key", ENGINES.values())
async def test_an_engine_that_is_gone_is_set_again(
    hass: HomeAssistant, setup_integration: MockConfigEntry, key: str
) -> None:
    whole = the_pipeline(hass)
    await async_update_pipeline(hass, whole, **{key: f"{key.partition('_')[0]}.of_yesterday"})
    assert the_pipeline(hass) != whole
    await reload(hass, setup_integration)
    assert the_pipeline(hass) == whole


@pytest.mark.parametrize("key", ["stt_engine", "tts_engine", "wake_word_entity"])
async def test_an_engine_that_the_user_took_away_stays_away(
    hass: HomeAssistant, setup_integration: MockConfigEntry, key: str
) -> None:
    await async_update_pipeline(hass, the_pipeline(hass), **{key: None})
    without = the_pipeline(hass)
    assert getattr(without, key) is None
    await reload(hass, setup_integration)
    assert the_pipeline(hass) == without


async def test_an_engine_that_came_too_late_is_added(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    """As when speech to text could not be set up within a minute: that it is none was nobody's choice."""
    whole = the_pipeline(hass)
    await async_update_pipeline(hass, whole, stt_engine=None)
    data = {**setup_integration.data, CONF_ENGINES: ["conversation", "tts", "wake_word"]}
    hass.config_entries.async_update_entry(setup_integration, data=data)
    await reload(hass, setup_integration)
    assert the_pipeline(hass) == whole
    assert setup_integration.data[CONF_ENGINES] == ["conversation", "stt", "tts", "wake_word"]


async def test_another_engine_that_the_user_chose_is_kept(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    other = er.async_get(hass).async_get_or_create("tts", "other", "1")
    await async_update_pipeline(
        hass,
        the_pipeline(hass),
        conversation_engine=conversation.HOME_ASSISTANT_AGENT,
        tts_engine=other.entity_id,
        tts_language="de",
        tts_voice="a",
        stt_engine="cloud",  # one of old, that is no entity
        prefer_local_intents=False,
        name="Mine",
    )
    chosen = the_pipeline(hass)
    await reload(hass, setup_integration)
    assert the_pipeline(hass) == chosen


async def test_an_entity_with_another_id_is_followed_at_once(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    registry = er.async_get(hass)
    for key, entity_id in engines(hass, setup_integration).items():
        domain = entity_id.partition(".")[0]
        registry.async_update_entity(entity_id, new_entity_id=f"{domain}.renamed")
        await becomes(hass, partial(_uses, hass, key, f"{domain}.renamed"))


async def test_one_that_the_user_deleted_stays_away_until_it_is_wanted_again(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    await (await store_of(hass)).async_delete_item(the_pipeline(hass).id)
    await reload(hass, setup_integration)
    assert ours(hass) == []
    await async_recreate_pipeline(hass, setup_integration)
    assert the_pipeline(hass).id == setup_integration.data[CONF_PIPELINE]


async def test_it_is_preferred_once_when_the_user_ticked_it(
    hass: HomeAssistant, meadowlark: MeadowlarkServer, set_up: SetUp
) -> None:
    entry = entry_for(meadowlark)
    hass_data = {**entry.data, CONF_PREFERRED: True}
    entry = MockConfigEntry(domain=DOMAIN, title=NAME, unique_id=meadowlark.id, data=hass_data)
    await set_up(entry)
    store = await store_of(hass)
    assert store.async_get_preferred_item() == the_pipeline(hass).id
    other = next(pipeline for pipeline in async_get_pipelines(hass) if pipeline.name == "Home Assistant")
    store.async_set_preferred_item(other.id)
    await reload(hass, entry)
    assert store.async_get_preferred_item() == other.id


@pytest.mark.parametrize("preferred", [False, True])
async def test_it_goes_with_the_entry(hass: HomeAssistant, setup_integration: MockConfigEntry, preferred: bool) -> None:
    store = await store_of(hass)
    if preferred:
        store.async_set_preferred_item(the_pipeline(hass).id)
    await hass.config_entries.async_remove(setup_integration.entry_id)
    assert ours(hass) == []
    (left,) = async_get_pipelines(hass)
    assert store.async_get_preferred_item() == left.id


async def test_the_only_one_becomes_home_assistants(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    store = await store_of(hass)
    pipeline = the_pipeline(hass)
    store.async_set_preferred_item(pipeline.id)
    for other in async_get_pipelines(hass):
        if other.id != pipeline.id:
            await store.async_delete_item(other.id)
    await hass.config_entries.async_remove(setup_integration.entry_id)
    (left,) = async_get_pipelines(hass)
    assert (left.id, left.name) == (pipeline.id, "Home Assistant")
    assert left.conversation_engine == conversation.HOME_ASSISTANT_AGENT
    assert (left.stt_engine, left.tts_engine, left.wake_word_entity) == (None, None, None)


async def test_one_without_any_engine_of_ours_is_left(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    await async_update_pipeline(
        hass,
        the_pipeline(hass),
        conversation_engine=conversation.HOME_ASSISTANT_AGENT,
        stt_engine="cloud",
        tts_engine="cloud",
    )
    pipeline = the_pipeline(hass)
    await hass.config_entries.async_remove(setup_integration.entry_id)
    assert the_pipeline(hass) == pipeline


async def test_two_servers_have_one_each(
    hass: HomeAssistant, setup_integration: MockConfigEntry, guarded_meadowlark: MeadowlarkServer, set_up: SetUp
) -> None:
    second = await set_up(entry_for(guarded_meadowlark, token=guarded_meadowlark.token))
    assert sorted(pipeline.name for pipeline in ours(hass)) == [NAME, f"{NAME} 2"]
    assert setup_integration.data[CONF_PIPELINE] != second.data[CONF_PIPELINE]
    await hass.config_entries.async_remove(second.entry_id)
    assert the_pipeline(hass).id == setup_integration.data[CONF_PIPELINE]


async def test_a_language_without_a_voice_is_understood_and_the_user_is_told(
    hass: HomeAssistant, meadowlark: MeadowlarkServer, set_up: SetUp
) -> None:
    hass.config.language = "de"
    entry = await set_up(entry_for(meadowlark))
    pipeline = the_pipeline(hass)
    assert (pipeline.language, pipeline.stt_language, pipeline.tts_language) == ("de", "de", "en-US")
    assert pipeline.tts_voice == VOICE
    assert pipeline.prefer_local_intents
    issues = ir.async_get(hass)
    assert issues.async_get_issue(DOMAIN, f"no_voice_{entry.entry_id}") is not None
    hass.config.language = "en-GB"
    await reload(hass, entry)
    assert issues.async_get_issue(DOMAIN, f"no_voice_{entry.entry_id}") is None


async def test_the_public_function_knows_our_engines(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    """Home Assistant's language is 'en', and the voice speaks 'en-US'."""
    found = engines(hass, setup_integration)
    pipeline = await async_create_default_pipeline(hass, found["stt_engine"], found["tts_engine"], "Another")
    assert pipeline is not None
    assert (pipeline.stt_language, pipeline.tts_language, pipeline.tts_voice) == ("en", "en-US", VOICE)


async def test_a_voice_and_a_wake_word_that_are_gone_are_set_again(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    made_by = Attribution("test", "http://127.0.0.1")
    voice = TtsVoice("new", made_by, True, "new", None, ["en-US"])
    word = WakeModel("computer", made_by, True, "computer", None, ["en"], "computer")
    offered = Info(
        tts=[TtsProgram("fake", made_by, True, "fake", None, [voice])],
        wake=[WakeProgram("fake", made_by, True, "fake", None, [word])],
    )

    async def script(peer: Peer) -> None:
        await peer.receive_until("describe")
        await peer.send(offered)
        await peer.until_closed()

    audio = setup_integration.runtime_data.audio
    async with FakeWyoming(script) as server:
        port, audio.port = audio.port, server.port
        await audio.describe()
        audio.port = port
    await becomes(hass, lambda: the_pipeline(hass).tts_voice == "new")
    assert the_pipeline(hass).wake_word_id == "computer"


async def test_entities_that_are_late_are_waited_for(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    """As when a platform could not ask the server: Home Assistant sets it up again later."""
    await async_remove_pipeline(hass, setup_integration)
    data = {key: value for key, value in setup_integration.data.items() if key != CONF_PIPELINE}
    hass.config_entries.async_update_entry(setup_integration, data=data)
    found = engines(hass, setup_integration)
    voice = hass.states.get(found["tts_engine"])
    assert voice is not None
    hass.states.async_remove(voice.entity_id)
    await async_ensure_pipeline(hass, setup_integration)
    assert ours(hass) == []
    hass.states.async_set(voice.entity_id, voice.state, voice.attributes)
    await becomes(hass, lambda: [pipeline.prefer_local_intents for pipeline in ours(hass)] == [True])
    assert the_pipeline(hass).tts_engine == found["tts_engine"]


async def test_an_engine_that_the_user_disabled_is_left_out(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    await (await store_of(hass)).async_delete_item(the_pipeline(hass).id)
    words = engines(hass, setup_integration)["wake_word_entity"]
    er.async_get(hass).async_update_entity(words, disabled_by=er.RegistryEntryDisabler.USER)
    data = {key: value for key, value in setup_integration.data.items() if key != CONF_PIPELINE}
    hass.config_entries.async_update_entry(setup_integration, data=data)
    await reload(hass, setup_integration)
    assert the_pipeline(hass).wake_word_entity is None
    assert the_pipeline(hass).stt_engine == engines(hass, setup_integration)["stt_engine"]


async def test_without_private_functions_the_user_is_told_what_to_do(
    hass: HomeAssistant,
    meadowlark: MeadowlarkServer,
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delattr(PipelineStorageCollection, "async_set_preferred_item")
    monkeypatch.delattr(PipelineStorageCollection, "async_delete_item")
    data = {**entry_for(meadowlark).data, CONF_PREFERRED: True}
    entry = MockConfigEntry(domain=DOMAIN, title=NAME, unique_id=meadowlark.id, data=data)
    await set_up(entry)
    assert the_pipeline(hass).name == NAME
    assert "Choose Meadowlark as the preferred assistant under Settings > Voice assistants" in caplog.messages
    await hass.config_entries.async_remove(entry.entry_id)
    assert ours(hass) == []
