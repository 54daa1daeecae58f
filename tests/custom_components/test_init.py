"""Set-up of an entry: with a real server, and with those that cannot be used; what is told, and how it mends itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import probatio as vol
import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PORT, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_fire_time_changed

from custom_components.meadowlark import PLATFORMS, async_remove_config_entry_device, pipeline
from custom_components.meadowlark.const import DOMAIN
from custom_components.meadowlark.satellites import Satellite, Satellites

from .conftest import SetUp, entry_for
from .support.http_server import STATUS, HttpServer
from .support.server import MeadowlarkServer

pytestmark = pytest.mark.usefixtures("socket_enabled")

RETRY = timedelta(minutes=30)
"""Longer than Home Assistant waits before it tries again."""


async def test_a_real_server_is_set_up_and_taken_away(
    hass: HomeAssistant, set_up: SetUp, meadowlark: MeadowlarkServer
) -> None:
    entry = await set_up(entry_for(meadowlark))
    assert entry.state is ConfigEntryState.LOADED
    server = entry.runtime_data.server
    assert server.id == entry.unique_id
    [device] = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.identifiers == {(DOMAIN, server.id)}
    assert (device.sw_version, device.configuration_url) == (server.version, server.url)
    assert not await async_remove_config_entry_device(hass, entry, device)
    entities = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    of_satellites = {Platform.NOTIFY}  # of which there are none here
    assert {entity.domain for entity in entities} == {str(platform) for platform in set(PLATFORMS) - of_satellites}
    assert {entity.device_id for entity in entities} == {device.id}
    assert all(entity.unique_id.startswith(f"{server.id}-") for entity in entities)

    assert await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    again = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    assert {entity.entity_id for entity in again} == {entity.entity_id for entity in entities}


async def test_two_servers_side_by_side(
    hass: HomeAssistant, set_up: SetUp, meadowlark: MeadowlarkServer, guarded_meadowlark: MeadowlarkServer
) -> None:
    first = await set_up(entry_for(meadowlark))
    second = await set_up(entry_for(guarded_meadowlark, token=guarded_meadowlark.token))
    assert (first.state, second.state) == (ConfigEntryState.LOADED, ConfigEntryState.LOADED)
    assert first.runtime_data.server.id != second.runtime_data.server.id


async def test_a_server_that_is_loading_is_tried_again(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(problem="engines are loading") as server:
        entry = await set_up(_entry(server))
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert (entry.error_reason_translation_key, entry.error_reason_translation_placeholders) == (
            "not_ready",
            {"reason": "engines are loading"},
        )
        server.problem = "the disk is full"
        await _retry(hass)
        assert entry.error_reason_translation_placeholders == {"reason": "the disk is full"}


async def test_nobody_there(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer() as server:
        entry = _entry(server)
    await set_up(entry)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "cannot_connect"
    assert entry.error_reason_translation_placeholders == {"url": f"http://127.0.0.1:{server.http_port}/"}


async def test_something_else_there(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(version=None) as server:
        entry = await set_up(_entry(server))
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert entry.error_reason_translation_key == "not_meadowlark"


async def test_a_wrong_token_starts_one_flow(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(token="secret") as server:
        entry = await set_up(_entry(server))
        assert entry.state is ConfigEntryState.SETUP_ERROR
        assert entry.error_reason_translation_key == "invalid_auth"
        await hass.config_entries.async_reload(entry.entry_id)
        flows = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        assert [flow["context"]["source"] for flow in flows] == ["reauth"]


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"house_protocol": None}, "server_too_old"),
        ({"house_protocol": 99}, "server_too_new"),
        ({"id": "another"}, "other_server"),
    ],
)
async def test_what_the_user_must_mend_is_an_issue_until_it_is_mended(
    hass: HomeAssistant, set_up: SetUp, said: dict[str, object], key: str
) -> None:
    async with HttpServer(problem="engines are loading", **said) as server:
        entry = await set_up(_entry(server))
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert entry.error_reason_translation_key == key
        issue = ir.async_get(hass).async_get_issue(DOMAIN, f"{key}_{entry.entry_id}")
        assert issue is not None
        assert issue.translation_key == key
        assert issue.severity is ir.IssueSeverity.ERROR
        assert issue.translation_placeholders is not None
        assert issue.translation_placeholders["name"] == "Attic"

        server.status = STATUS
        await _retry(hass)
        assert entry.error_reason_translation_key == "not_ready"
        assert not _issues(hass)


async def test_issues_go_with_the_entry(hass: HomeAssistant) -> None:
    async with HttpServer(id="another") as server:
        entry = _entry(server)
        entry.add_to_hass(hass)
        await hass.config_entries.async_setup(entry.entry_id)
        assert len(_issues(hass)) == 1
        await hass.config_entries.async_remove(entry.entry_id)
        assert not _issues(hass)


async def test_a_stopped_server_is_tried_again_and_works(
    hass: HomeAssistant, set_up: SetUp, own_meadowlark: MeadowlarkServer
) -> None:
    entry = entry_for(own_meadowlark)
    own_meadowlark.stop()
    await set_up(entry)
    assert entry.state is ConfigEntryState.SETUP_RETRY

    await hass.async_add_executor_job(own_meadowlark.start)
    loaded = asyncio.Event()
    entry.async_on_state_change(lambda: loaded.set() if entry.state is ConfigEntryState.LOADED else None)
    async_fire_time_changed(hass, dt_util.utcnow() + RETRY)
    async with asyncio.timeout(60):  # not for background tasks: the link's stay
        await loaded.wait()


async def test_a_satellite_that_is_gone_can_be_removed_while_the_server_is_away(
    hass: HomeAssistant, set_up: SetUp
) -> None:
    async with HttpServer(problem="engines are loading") as server:
        entry = await set_up(_entry(server))
    assert entry.state is ConfigEntryState.SETUP_RETRY
    Satellites(hass, entry).update([Satellite("hall")])
    devices = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    may = {device.name: await async_remove_config_entry_device(hass, entry, device) for device in devices}
    assert may == {"hall": True, "Attic": False}


async def test_a_pipeline_that_cannot_be_made_does_not_take_the_server_away(
    hass: HomeAssistant,
    set_up: SetUp,
    meadowlark: MeadowlarkServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(*_given: object, **_named: object) -> None:
        raise vol.Invalid("not like this")

    monkeypatch.setattr(pipeline, "async_update_pipeline", refuse)  # as a Home Assistant of another time may do
    entry = await set_up(entry_for(meadowlark))
    assert entry.state is ConfigEntryState.LOADED
    assert caplog.text.count("Check the Assist pipeline of Meadowlark") == 1
    assert "Traceback" not in caplog.text


async def test_yaml_is_refused(hass: HomeAssistant, caplog: pytest.LogCaptureFixture) -> None:
    await async_setup_component(hass, DOMAIN, {DOMAIN: {"host": "attic"}})
    assert "does not support YAML setup" in caplog.text


async def _retry(hass: HomeAssistant) -> None:
    async_fire_time_changed(hass, dt_util.utcnow() + RETRY)
    await hass.async_block_till_done(wait_background_tasks=True)


def _entry(server: HttpServer) -> MockConfigEntry:
    """For the server that was meant, whoever answers there."""
    data = {CONF_HOST: server.host, CONF_PORT: server.http_port}
    return MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=str(STATUS["id"]), data=data)


def _issues(hass: HomeAssistant) -> list[str]:
    return [issue_id for domain, issue_id in ir.async_get(hass).issues if domain == DOMAIN]
