"""The Assist pipeline of a server: made once, mended, and taken away with the entry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, TypedDict, cast

import probatio as vol
from homeassistant.components import conversation, stt, tts
from homeassistant.components.assist_pipeline import (
    Pipeline,
    async_create_default_pipeline,
    async_get_pipelines,
    async_setup_pipeline_store,
    async_update_pipeline,
)
from homeassistant.const import ATTR_RESTORED, EVENT_STATE_CHANGED, MATCH_ALL, Platform
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.collection import CollectionError
from homeassistant.util import language as language_util
from homeassistant.util.hass_dict import HassKey

from .const import CONF_PREFERRED, DOMAIN, LOGGER, NAME
from .data import MeadowlarkConfigEntry

CONF_PIPELINE: Final = "pipeline"
"""In the entry's data: the id of its pipeline. It stays when the user has deleted that one, and none is made again."""

CONF_ENGINES: Final = "pipeline_engines"
"""In the entry's data: the kinds of engine that its pipeline was given once. One of these that is none now is the
user's choice, and no other."""

ENGINES: Final = {
    Platform.STT: "stt_engine",
    Platform.TTS: "tts_engine",
    Platform.CONVERSATION: "conversation_engine",
    Platform.WAKE_WORD: "wake_word_entity",
}
"""What a pipeline calls its engine of each kind."""

ENTITIES_SECONDS: Final = 60.0
"""For a platform that could not ask the server at once. Home Assistant sets it up again after half a minute."""

ISSUE_NO_VOICE: Final = "no_voice"
"""No voice of the server speaks the user's language. The entry's id is behind it."""

_ONE_AT_A_TIME: HassKey[asyncio.Lock] = HassKey(f"{DOMAIN}_pipelines")
"""Two servers that are set up side by side must not choose the same name."""


FIRST_WAKE_WORD: Final = "okay_nabu"
"""Home Assistant's own. With none chosen the server would listen to all that it knows."""


class _Settings(TypedDict, total=False):
    """Of a pipeline, by Home Assistant's names."""

    conversation_engine: str
    conversation_language: str
    stt_engine: str | None
    stt_language: str | None
    tts_engine: str | None
    tts_language: str | None
    tts_voice: str | None
    wake_word_entity: str | None
    wake_word_id: str | None


_NOTHING: Final[_Settings] = {
    "conversation_engine": conversation.HOME_ASSISTANT_AGENT,
    "conversation_language": MATCH_ALL,
    "stt_engine": None,
    "stt_language": None,
    "tts_engine": None,
    "tts_language": None,
    "tts_voice": None,
    "wake_word_entity": None,
    "wake_word_id": None,
}
"""A pipeline without an engine of ours."""


async def async_ensure_pipeline(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Make the pipeline of a server that has none, mend it, and keep it up to date until the entry is unloaded.

    Nothing is made where the user has deleted it; see `async_recreate_pipeline`.
    """

    @callback
    def mend() -> None:
        entry.async_create_background_task(hass, _ensure(hass, entry), "meadowlark pipeline")

    @callback
    def renamed(event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        data = event.data
        if data["action"] == "update" and (old := data.get("old_entity_id")) is not None:
            entry.async_create_background_task(
                hass, _rename(hass, entry, str(old), data["entity_id"]), "meadowlark pipeline"
            )

    entry.async_on_unload(hass.bus.async_listen(er.EVENT_ENTITY_REGISTRY_UPDATED, renamed))
    entry.async_on_unload(entry.runtime_data.audio.subscribe(mend))  # a voice that is gone, another wake word
    if _all_there(hass, entry):
        await _ensure(hass, entry)
    else:
        entry.async_create_background_task(hass, _ensure_later(hass, entry), "meadowlark pipeline")


async def async_recreate_pipeline(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Make the pipeline again, though the user has deleted it."""
    _remember(hass, entry, None, ())
    await _ensure(hass, entry)


async def async_remove_pipeline(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Delete the pipeline of an entry that is removed, unless the user has made it one without any engine of ours."""
    ir.async_delete_issue(hass, DOMAIN, f"{ISSUE_NO_VOICE}_{entry.entry_id}")
    if (pipeline_id := entry.data.get(CONF_PIPELINE)) is None:
        return
    store = (await async_setup_pipeline_store(hass)).pipeline_store
    pipelines = async_get_pipelines(hass)
    pipeline = next((pipeline for pipeline in pipelines if pipeline.id == pipeline_id), None)
    if pipeline is None:
        return
    ours = {
        registered.entity_id for registered in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    }
    engines = (pipeline.stt_engine, pipeline.tts_engine, pipeline.conversation_engine)
    if not any(engine in ours or _missing(hass, engine) for engine in engines):
        return
    others = [pipeline for pipeline in pipelines if pipeline.id != pipeline_id]
    others.sort(key=lambda other: other.conversation_engine != conversation.HOME_ASSISTANT_AGENT)
    try:
        if store.async_get_preferred_item() == pipeline_id:
            if not others:
                await _neutralize(hass, pipeline)
                return
            store.async_set_preferred_item(others[0].id)
        await store.async_delete_item(pipeline_id)
    except (AttributeError, TypeError, CollectionError) as error:  # no public function deletes a pipeline
        LOGGER.debug("The pipeline could not be deleted: %s", error)
        await _neutralize(hass, pipeline)


async def _ensure(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Make or mend the pipeline. Where that fails the server is used without: part of it is not public."""
    try:
        async with hass.data.setdefault(_ONE_AT_A_TIME, asyncio.Lock()):
            await async_setup_pipeline_store(hass)
            engines = _entities(hass, entry)
            wanted = _wanted(hass, entry, engines)
            pipeline = _find(hass, entry, engines)
            if pipeline is not None:
                await _mend(hass, entry, pipeline, engines, wanted)
            elif entry.data.get(CONF_PIPELINE) is None and Platform.CONVERSATION in engines:
                pipeline = await _create(hass, entry, engines, wanted)
            if pipeline is not None:
                _remember(hass, entry, pipeline.id, wanted)
                _tell_of_voices(hass, entry, engines)
                if entry.data.get(CONF_PREFERRED):
                    await _prefer(hass, entry, pipeline)
    except Exception as error:
        LOGGER.warning(
            "Check the Assist pipeline of %s under Settings > Voice assistants, which could not be made or mended: %r",
            entry.title,
            error,
        )


async def _ensure_later(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Wait for the entities, and go on with those that there are."""
    complete = asyncio.Event()

    @callback
    def added(_: Event[EventStateChangedData]) -> None:
        if _all_there(hass, entry):
            complete.set()

    stop = hass.bus.async_listen(EVENT_STATE_CHANGED, added)
    try:
        async with asyncio.timeout(ENTITIES_SECONDS):
            await complete.wait()
    except TimeoutError:
        pass
    finally:
        stop()
    await _ensure(hass, entry)


async def _create(
    hass: HomeAssistant,
    entry: MeadowlarkConfigEntry,
    engines: dict[Platform, str],
    wanted_of: dict[Platform, _Settings],
) -> Pipeline | None:
    name = _free_name(hass, entry.title)
    wanted: _Settings = {}
    for settings in wanted_of.values():
        wanted |= settings
    pipeline = None
    if Platform.STT in engines and Platform.TTS in engines:
        pipeline = await async_create_default_pipeline(hass, engines[Platform.STT], engines[Platform.TTS], name)
    if pipeline is None:
        # The public function refuses engines that do not know the user's language; another voice is better than none.
        language = hass.config.language
        try:
            store = (await async_setup_pipeline_store(hass)).pipeline_store
            pipeline = await store.async_create_item({**_NOTHING, "name": name, "language": language, **wanted})
        except (AttributeError, TypeError, ValueError, CollectionError, vol.Invalid) as error:
            LOGGER.warning("Make an Assist pipeline for %s under Settings > Voice assistants: %s", entry.title, error)
            return None
    await async_update_pipeline(hass, pipeline, **wanted, prefer_local_intents=True)
    return pipeline


async def _mend(
    hass: HomeAssistant,
    entry: MeadowlarkConfigEntry,
    pipeline: Pipeline,
    engines: dict[Platform, str],
    wanted_of: dict[Platform, _Settings],
) -> None:
    """Set again what is gone. What the user has chosen instead of ours stays, and that may be none."""
    updates: _Settings = {}
    given = entry.data.get(CONF_ENGINES, ())
    for platform, wanted in wanted_of.items():
        engine = getattr(pipeline, ENGINES[platform])
        missing = platform not in given if engine is None else _missing(hass, engine)
        if missing or (engine == engines[platform] and not _fits(hass, entry, pipeline, platform)):
            updates |= wanted
    if updates:
        await async_update_pipeline(hass, pipeline, **updates)


async def _rename(hass: HomeAssistant, entry: MeadowlarkConfigEntry, old: str, new: str) -> None:
    """Follow an entity of ours that has another id now."""
    async with hass.data.setdefault(_ONE_AT_A_TIME, asyncio.Lock()):
        registered = er.async_get(hass).async_get(new)
        pipeline = _find(hass, entry, {})
        if pipeline is None or registered is None or registered.config_entry_id != entry.entry_id:
            return
        for key in ENGINES.values():
            if getattr(pipeline, key) == old:
                await async_update_pipeline(hass, pipeline, **cast("_Settings", {key: new}))


async def _prefer(hass: HomeAssistant, entry: MeadowlarkConfigEntry, pipeline: Pipeline) -> None:
    """Make it the preferred one, once, as the user has ticked."""
    try:
        (await async_setup_pipeline_store(hass)).pipeline_store.async_set_preferred_item(pipeline.id)
    except AttributeError, TypeError, CollectionError:  # no public function does it
        LOGGER.warning("Choose %s as the preferred assistant under Settings > Voice assistants", pipeline.name)
    data = {key: value for key, value in entry.data.items() if key != CONF_PREFERRED}
    hass.config_entries.async_update_entry(entry, data=data)


async def _neutralize(hass: HomeAssistant, pipeline: Pipeline) -> None:
    """Leave a pipeline that cannot be deleted to Home Assistant's own agent."""
    language = hass.config.language
    nothing: _Settings = {**_NOTHING, "conversation_language": language}
    await async_update_pipeline(hass, pipeline, name="Home Assistant", **nothing)


def _find(hass: HomeAssistant, entry: MeadowlarkConfigEntry, engines: dict[Platform, str]) -> Pipeline | None:
    """The pipeline of the entry: the one that was made for it, else one that is put together of our engines."""
    pipelines = async_get_pipelines(hass)
    known = next((pipeline for pipeline in pipelines if pipeline.id == entry.data.get(CONF_PIPELINE)), None)
    if known is not None:
        return known
    core = (Platform.STT, Platform.TTS, Platform.CONVERSATION)
    if not all(platform in engines for platform in core):
        return None
    return next(
        (
            pipeline
            for pipeline in pipelines
            if all(getattr(pipeline, ENGINES[platform]) == engines[platform] for platform in core)
        ),
        None,
    )


def _remember(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, pipeline_id: str | None, given: Iterable[Platform]
) -> None:
    """Note which pipeline is the entry's, and which kinds of engine it has been given."""
    before = entry.data.get(CONF_ENGINES, ()) if pipeline_id == entry.data.get(CONF_PIPELINE) else ()
    engines = sorted({*before, *(platform.value for platform in given)})
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, CONF_PIPELINE: pipeline_id, CONF_ENGINES: engines}
    )


def _entities(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> dict[Platform, str]:
    """Entity ids of the server's engines that are there, and not only remembered from the last start."""
    return {
        Platform(registered.domain): registered.entity_id
        for registered in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
        if registered.domain in ENGINES
        and (state := hass.states.get(registered.entity_id)) is not None
        and not state.attributes.get(ATTR_RESTORED)
    }


def _all_there(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> bool:
    """Whether there is every engine that the user has not disabled."""
    disabled = {
        registered.domain
        for registered in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
        if registered.disabled
    }
    return ENGINES.keys() - disabled <= _entities(hass, entry).keys()


def _missing(hass: HomeAssistant, engine: str | None) -> bool:
    """Whether there is no such engine. Those of old are no entities, and others may only not be loaded yet."""
    if engine is None:
        return True
    return "." in engine and er.async_get(hass).async_get(engine) is None and hass.states.get(engine) is None


def _fits(hass: HomeAssistant, entry: MeadowlarkConfigEntry, pipeline: Pipeline, platform: Platform) -> bool:
    """Whether our engine still has what the pipeline asks it for: its language, voice or wake word."""
    if platform is Platform.STT:
        hears = stt.async_get_speech_to_text_engine(hass, pipeline.stt_engine or "")
        return hears is not None and pipeline.stt_language in hears.supported_languages
    if platform is Platform.TTS:
        speaks = tts.get_engine_instance(hass, pipeline.tts_engine or "")
        if speaks is None or pipeline.tts_language not in speaks.supported_languages:
            return False
        voices = speaks.async_get_supported_voices(pipeline.tts_language) or []
        return pipeline.tts_voice is None or pipeline.tts_voice in [voice.voice_id for voice in voices]
    if platform is Platform.WAKE_WORD:
        return pipeline.wake_word_id is None or pipeline.wake_word_id in _wake_words(entry)
    return True


def _wanted(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, engines: dict[Platform, str]
) -> dict[Platform, _Settings]:
    """Our engines in the user's language; where one does not know it, in a language that it knows."""
    wanted: dict[Platform, _Settings] = {}
    for platform, engine in engines.items():
        if platform is Platform.STT and (hears := stt.async_get_speech_to_text_engine(hass, engine)) is not None:
            language = _language(hass, hears.supported_languages) or next(iter(hears.supported_languages), None)
            wanted[platform] = {"stt_engine": engine, "stt_language": language}
        elif platform is Platform.TTS and (speaks := tts.get_engine_instance(hass, engine)) is not None:
            language = _language(hass, speaks.supported_languages) or speaks.default_language
            voices = speaks.async_get_supported_voices(language) if language else None
            voice = voices[0].voice_id if voices else None
            wanted[platform] = {"tts_engine": engine, "tts_language": language, "tts_voice": voice}
        elif platform is Platform.CONVERSATION and conversation.async_get_agent_info(hass, engine) is not None:
            known = conversation.async_get_conversation_languages(hass, engine)
            language = MATCH_ALL if known == MATCH_ALL else _language(hass, known) or hass.config.language
            wanted[platform] = {"conversation_engine": engine, "conversation_language": language}
        elif platform is Platform.WAKE_WORD:
            words = _wake_words(entry)
            word = FIRST_WAKE_WORD if FIRST_WAKE_WORD in words else next(iter(words), None)
            wanted[platform] = {"wake_word_entity": engine, "wake_word_id": word}
    return wanted


def _language(hass: HomeAssistant, known: Iterable[str]) -> str | None:
    """The user's language, as an engine calls it."""
    return next(iter(language_util.matches(hass.config.language, known, hass.config.country)), None)


def _wake_words(entry: MeadowlarkConfigEntry) -> list[str]:
    info = entry.runtime_data.audio.info
    return [model.name for program in (info.wake if info else ())[:1] for model in program.models if model.installed]


def _free_name(hass: HomeAssistant, title: str) -> str:
    """'Meadowlark', else the server's own name, else a number behind it."""
    taken = {pipeline.name for pipeline in async_get_pipelines(hass)}
    number = 2
    name = NAME if NAME not in taken else title
    while name in taken:
        name = f"{title} {number}"
        number += 1
    return name


def _tell_of_voices(hass: HomeAssistant, entry: MeadowlarkConfigEntry, engines: dict[Platform, str]) -> None:
    """Tell the user when the answers cannot be spoken in the language of the house."""
    issue = f"{ISSUE_NO_VOICE}_{entry.entry_id}"
    engine = tts.get_engine_instance(hass, engines.get(Platform.TTS, ""))
    if engine is None:
        return
    if _language(hass, engine.supported_languages) is not None:
        ir.async_delete_issue(hass, DOMAIN, issue)
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=ISSUE_NO_VOICE,
        translation_placeholders={"name": entry.title, "language": hass.config.language},
    )
