"""Setting a server up: every way to it, what can go wrong on it, and how it goes on."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
import pytest_socket
from homeassistant.components.assist_pipeline import DOMAIN as DATA_PIPELINES
from homeassistant.components.assist_pipeline import async_get_pipelines
from homeassistant.config_entries import (
    SOURCE_HASSIO,
    SOURCE_IGNORE,
    SOURCE_USER,
    SOURCE_ZEROCONF,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_LLM_HASS_API, CONF_PORT, CONF_PROMPT, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.meadowlark.config_flow import CONF_MAKE_PIPELINE, split_address
from custom_components.meadowlark.const import CONF_LEND_HOUSE, CONF_PREFERRED, DOMAIN, NAME
from custom_components.meadowlark.pipeline import CONF_PIPELINE

from .conftest import SetUp
from .support.http_server import STATUS, HttpServer
from .support.server import MeadowlarkServer

pytestmark = pytest.mark.usefixtures("socket_enabled")

SERVICE = "_meadowlark._tcp.local."


async def test_user_adds_a_real_server(hass: HomeAssistant, meadowlark: MeadowlarkServer) -> None:
    form = await _begin(hass)
    assert form["step_id"] == "user"
    assert not form["errors"]

    result = await _submit(hass, form, {CONF_HOST: meadowlark.host, CONF_PORT: meadowlark.http_port})

    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == {CONF_HOST: "127.0.0.1", CONF_PORT: meadowlark.http_port, CONF_PREFERRED: False}
    entry = result["result"]
    assert entry.unique_id == meadowlark.id
    assert entry.state is ConfigEntryState.LOADED
    await _remove(hass, entry)


async def test_user_needs_the_token_of_a_guarded_server(
    hass: HomeAssistant, guarded_meadowlark: MeadowlarkServer
) -> None:
    address = {CONF_HOST: "127.0.0.1", CONF_PORT: guarded_meadowlark.http_port}
    form = await _begin(hass)

    form = await _submit(hass, form, address)
    assert form["errors"] == {CONF_TOKEN: "invalid_auth"}
    form = await _submit(hass, form, {**address, CONF_TOKEN: "wrong"})
    assert form["errors"] == {CONF_TOKEN: "invalid_auth"}

    result = await _submit(hass, form, {**address, CONF_TOKEN: f" {guarded_meadowlark.token}\n"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_TOKEN] == guarded_meadowlark.token
    await _remove(hass, result["result"])


@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        ("http://attic.local:10680/", 1, ("attic.local", 10680)),
        ("http://192.168.1.20/index", 10680, ("192.168.1.20", 10680)),
        (" attic.local:1234 ", 10680, ("attic.local", 1234)),
        ("tcp://192.168.1.20:10600", 10680, ("192.168.1.20", 10680)),
        ("fd00::5", 10680, ("fd00::5", 10680)),
        ("[fd00::5]", 10680, ("fd00::5", 10680)),
        ("http://[fd00::5]:99", 10680, ("fd00::5", 99)),
        ("Attic", 10680, ("attic", 10680)),
    ],
)
def test_a_pasted_url_is_taken_apart(text: str, port: int, expected: tuple[str, int]) -> None:

    assert split_address(text, port) == expected


@pytest.mark.parametrize(
    "text",
    ["https://attic.local", "ftp://attic", "http://", "a b", "attic:port", "fd00::5::1", "a%b", "attic:70000", ""],
)
async def test_what_is_no_address_is_told(hass: HomeAssistant, text: str) -> None:
    form = await _submit(hass, await _begin(hass), {CONF_HOST: text, CONF_PORT: 10680})
    assert form["errors"] == {CONF_HOST: "invalid_host"}
    async with HttpServer(problem="engines are loading") as server:
        result = await _submit(hass, form, {CONF_HOST: f"http://127.0.0.1:{server.http_port}", CONF_PORT: 10680})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert (result["data"][CONF_HOST], result["data"][CONF_PORT]) == ("127.0.0.1", server.http_port)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"house_protocol": None}, "too_old"),
        ({"house_protocol": 0}, "too_old"),
        ({"house_protocol": 2}, "too_new"),
        ({"version": None}, "not_meadowlark"),
        ({"id": None}, "not_meadowlark"),
        ({"wyoming_port": "10600"}, "not_meadowlark"),
    ],
)
async def test_servers_that_do_not_fit_are_told_apart(hass: HomeAssistant, said: dict[str, object], error: str) -> None:
    async with HttpServer(problem="engines are loading", **said) as server:
        given = {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port}
        form = await _submit(hass, await _begin(hass), given)
        assert form["errors"] == {"base": error}
        if error in ("too_old", "too_new"):
            assert form["description_placeholders"]["version"] == "0.1.0"

        server.status = STATUS  # it was updated
        result = await _submit(hass, form, given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "Attic"


async def test_a_weak_token_is_refused_in_all_forms(hass: HomeAssistant, set_up: SetUp) -> None:
    guests = {"role": "guest", "token": "visitor"}
    async with HttpServer(token="secret", problem="engines are loading", access=guests) as server:
        given = {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port, CONF_TOKEN: "secret"}
        form = await _submit(hass, await _begin(hass), given)
        assert form["errors"] == {CONF_TOKEN: "weak_token"}

        entry = await set_up(_entry("127.0.0.1", server.http_port, token="secret"))
        assert entry.state is ConfigEntryState.SETUP_ERROR
        assert entry.error_reason_translation_key == "weak_token"
        [flow] = [flow for flow in hass.config_entries.flow.async_progress() if flow["context"]["source"] == "reauth"]
        form = await hass.config_entries.flow.async_configure(flow["flow_id"], {CONF_TOKEN: "secret"})
        assert form["errors"] == {CONF_TOKEN: "weak_token"}


async def test_a_server_that_takes_no_token_for_a_while_is_told(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer() as server:
        server.refusal = 429
        form = await _submit(hass, await _begin(hass), {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port})
        assert form["errors"] == {"base": "too_many_tries"}
        entry = await set_up(_entry("127.0.0.1", server.http_port))
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert entry.error_reason_translation_key == "too_many_tries"


async def test_nobody_there_is_told(hass: HomeAssistant) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        form = await _submit(hass, await _begin(hass), {CONF_HOST: "127.0.0.1", CONF_PORT: port})
    assert form["errors"] == {"base": "cannot_connect"}
    assert _suggested(form)[CONF_PORT] == port  # what was typed is not lost


async def test_a_server_that_is_loading_is_accepted(hass: HomeAssistant) -> None:
    async with HttpServer(problem="engines are loading") as server:
        given = {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port}
        result = await _submit(hass, await _begin(hass), given)
        assert result["type"] is FlowResultType.CREATE_ENTRY
        assert result["result"].state is ConfigEntryState.SETUP_RETRY
        assert "engines are loading" in result["result"].reason


async def test_a_server_that_is_known_gets_its_new_address(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(problem="engines are loading") as server:
        entry = await set_up(_entry("192.0.2.1", 1))
        given = {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port}
        result = await _submit(hass, await _begin(hass), given)
        await hass.async_block_till_done()
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "already_configured"
        assert entry.data[CONF_HOST] == "127.0.0.1"


async def test_a_server_that_was_ignored_can_be_added(hass: HomeAssistant) -> None:
    MockConfigEntry(domain=DOMAIN, unique_id=STATUS["id"], source=SOURCE_IGNORE).add_to_hass(hass)
    async with HttpServer(problem="engines are loading") as server:
        given = {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port}
        result = await _submit(hass, await _begin(hass), given)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_an_announced_server_needs_one_confirmation(hass: HomeAssistant, meadowlark: MeadowlarkServer) -> None:
    form = await _discover(hass, _announced(meadowlark.id, meadowlark.http_port))
    assert form["type"] is FlowResultType.FORM
    assert form["step_id"] == "discovery_confirm"
    assert [str(key) for key in form["data_schema"].schema] == [CONF_PREFERRED]
    [flow] = hass.config_entries.flow.async_progress()
    assert flow["context"]["title_placeholders"]["name"]

    result = await _submit(hass, form, {CONF_PREFERRED: True})

    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == {CONF_HOST: "127.0.0.1", CONF_PORT: meadowlark.http_port, CONF_PREFERRED: True}
    assert result["result"].unique_id == meadowlark.id
    await _remove(hass, result["result"])


async def test_an_announced_server_with_a_token_asks_for_it(hass: HomeAssistant) -> None:
    async with HttpServer(token="secret", problem="engines are loading") as server:
        form = await _discover(hass, _announced(server.id, server.http_port))
        assert [str(key) for key in form["data_schema"].schema] == [CONF_TOKEN, CONF_PREFERRED]
        assert form["description_placeholders"] == {"name": "Meadowlark", "host": "127.0.0.1"}
        form = await _submit(hass, form, {CONF_TOKEN: "wrong", CONF_PREFERRED: True})
        assert form["errors"] == {CONF_TOKEN: "invalid_auth"}
        result = await _submit(hass, form, {CONF_TOKEN: "secret", CONF_PREFERRED: True})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "Attic"
    assert result["data"][CONF_TOKEN] == "secret"


async def test_an_announced_server_may_stop_before_it_is_confirmed(hass: HomeAssistant) -> None:
    async with HttpServer() as server:
        form = await _discover(hass, _announced(server.id, server.http_port))
    form = await _submit(hass, form, {CONF_PREFERRED: False})
    assert form["errors"] == {"base": "cannot_connect"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"house_protocol": None}, "too_old"),
        ({"house_protocol": 2}, "too_new"),
        ({"version": None}, "not_meadowlark"),
        ({"id": "another"}, "other_server"),
    ],
)
async def test_announced_servers_that_do_not_fit_are_left_alone(
    hass: HomeAssistant, said: dict[str, object], reason: str
) -> None:
    async with HttpServer(**said) as server:
        result = await _discover(hass, _announced(STATUS["id"], server.http_port))
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, reason)


@pytest.mark.parametrize("properties", [{}, {"id": "x"}, {"http": "10680"}, {"id": "x", "http": "no"}, {"id": None}])
async def test_an_announcement_that_says_too_little_is_left_alone(
    hass: HomeAssistant, properties: dict[str, str | None]
) -> None:
    announced = _announced("", 0)
    announced.properties = properties
    result = await _discover(hass, announced)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "not_meadowlark")


async def test_an_announced_address_of_ipv6_is_taken(hass: HomeAssistant) -> None:
    pytest_socket.socket_allow_hosts(["::1"])
    async with HttpServer(host="::1") as server:
        result = await _discover(hass, _announced(server.id, server.http_port, "::1"))
        assert result["type"] is FlowResultType.FORM
        assert result["description_placeholders"]["host"] == "::1"


async def test_a_changed_address_is_followed(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(problem="engines are loading") as old, HttpServer(problem="engines are loading") as new:
        entry = await set_up(_entry("127.0.0.1", old.http_port))
        old.status = {**STATUS, "id": "another"}  # which has the old address now
        result = await _discover(hass, _announced(new.id, new.http_port))
        await hass.async_block_till_done()
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
        assert entry.data[CONF_PORT] == new.http_port
        assert "GET /ready" in new.asked  # it was set up there


async def test_an_address_that_still_works_is_kept(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(problem="engines are loading") as server:
        entry = await set_up(_entry("127.0.0.1", server.http_port))
        announced = _announced(server.id, server.http_port, "192.0.2.7", "2001:db8::7")
        result = await _discover(hass, announced)
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
        assert entry.data[CONF_HOST] == "127.0.0.1"


async def test_one_of_several_announced_addresses_is_kept(hass: HomeAssistant, set_up: SetUp) -> None:
    entry = await set_up(_entry("127.0.0.1", 1))
    result = await _discover(hass, _announced(STATUS["id"], 1, "2001:db8::7", "127.0.0.1"))
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
    assert entry.data[CONF_HOST] == "127.0.0.1"


async def test_an_ignored_server_stays_ignored(hass: HomeAssistant) -> None:
    entry = MockConfigEntry(domain=DOMAIN, unique_id=STATUS["id"], source=SOURCE_IGNORE)
    entry.add_to_hass(hass)
    result = await _discover(hass, _announced(str(STATUS["id"]), 1))
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
    assert not entry.data


async def test_a_server_is_offered_once(hass: HomeAssistant) -> None:
    async with HttpServer() as server:
        await _discover(hass, _announced(server.id, server.http_port))
        again = await _discover(hass, _announced(server.id, server.http_port, "127.0.0.1", "::1"))
    assert (again["type"], again["reason"]) == (FlowResultType.ABORT, "already_in_progress")


@pytest.mark.parametrize("with_id", [True, False])
@pytest.mark.parametrize("as_uri", [True, False])
async def test_the_app_of_supervisor_needs_one_confirmation(hass: HomeAssistant, with_id: bool, as_uri: bool) -> None:
    async with HttpServer(problem="engines are loading") as server:
        config: dict[str, object] = (
            {"uri": f"http://127.0.0.1:{server.http_port}"}
            if as_uri
            else {"host": "127.0.0.1", "port": server.http_port}
        )
        if with_id:
            config["id"] = server.id
        form = await _app(hass, config)
        assert form["step_id"] == "discovery_confirm"
        result = await _submit(hass, form, {CONF_PREFERRED: True})
        assert result["type"] is FlowResultType.CREATE_ENTRY
        assert result["result"].unique_id == server.id

        again = await _app(hass, config)  # as after a restart of Home Assistant
        assert (again["type"], again["reason"]) == (FlowResultType.ABORT, "already_configured")


async def test_the_app_brings_its_token(hass: HomeAssistant) -> None:
    async with HttpServer(token="secret", problem="engines are loading") as server:
        form = await _app(hass, {"host": "127.0.0.1", "port": server.http_port, "token": "secret"})
        assert [str(key) for key in form["data_schema"].schema] == [CONF_PREFERRED]
        result = await _submit(hass, form, {CONF_PREFERRED: False})
    assert result["data"][CONF_TOKEN] == "secret"


async def test_the_app_may_ask_for_its_token(hass: HomeAssistant) -> None:
    async with HttpServer(token="secret", problem="engines are loading") as server:
        config: dict[str, object] = {"host": "127.0.0.1", "port": server.http_port}
        form = await _app(hass, config)
        result = await _submit(hass, form, {CONF_TOKEN: "secret", CONF_PREFERRED: False})
        assert result["type"] is FlowResultType.CREATE_ENTRY
        assert result["result"].unique_id == server.id

        again = await _app(hass, config)
        assert (again["type"], again["reason"]) == (FlowResultType.ABORT, "already_configured")


@pytest.mark.parametrize("config", [{}, {"uri": ""}, {"uri": "https://attic"}, {"host": "attic", "port": "many"}])
async def test_an_app_that_says_too_little_is_left_alone(hass: HomeAssistant, config: dict[str, object]) -> None:
    result = await _app(hass, config)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "not_meadowlark")


async def test_a_new_token_is_asked_for(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(token="new", problem="engines are loading") as server:
        entry = await set_up(_entry("127.0.0.1", server.http_port, token="old"))
        assert entry.state is ConfigEntryState.SETUP_ERROR
        [flow] = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        assert flow["step_id"] == "reauth_confirm"

        form = await hass.config_entries.flow.async_configure(flow["flow_id"], {CONF_TOKEN: "wrong"})
        assert form["errors"] == {CONF_TOKEN: "invalid_auth"}
        result = await hass.config_entries.flow.async_configure(flow["flow_id"], {CONF_TOKEN: "new"})
        await hass.async_block_till_done()

        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reauth_successful")
        assert entry.data[CONF_TOKEN] == "new"
        assert entry.state is ConfigEntryState.SETUP_RETRY  # of a server that is loading


async def test_a_token_of_another_server_changes_nothing(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(token="new") as server:
        entry = await set_up(_entry("127.0.0.1", server.http_port, token="old"))
        [flow] = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        server.status = {**STATUS, "id": "another"}
        result = await hass.config_entries.flow.async_configure(flow["flow_id"], {CONF_TOKEN: "new"})
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "other_server")
        assert entry.data[CONF_TOKEN] == "old"


async def test_reconfigure_moves_a_server_and_keeps_its_token(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(token="secret", problem="engines are loading") as server:
        entry = await set_up(_entry("192.0.2.1", 1, token="secret"))
        form = await entry.start_reconfigure_flow(hass)
        assert form["step_id"] == "reconfigure"
        assert _suggested(form) == {CONF_HOST: "192.0.2.1", CONF_PORT: 1}  # and no token

        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = {CONF_HOST: "127.0.0.1", CONF_PORT: unused.getsockname()[1]}
            form = await _submit(hass, form, nobody)
        assert form["errors"] == {"base": "cannot_connect"}
        result = await _submit(hass, form, {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port})
        await hass.async_block_till_done()

        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reconfigure_successful")
        assert entry.data[CONF_PORT] == server.http_port
        assert entry.data[CONF_TOKEN] == "secret"


async def test_reconfigure_works_while_a_token_is_asked_for(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(token="new", problem="engines are loading") as server:
        entry = await set_up(_entry("127.0.0.1", server.http_port, token="old"))
        assert hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        form = await entry.start_reconfigure_flow(hass)
        given = {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port, CONF_TOKEN: "new"}
        result = await _submit(hass, form, given)
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reconfigure_successful")
        assert entry.data[CONF_TOKEN] == "new"


async def test_reconfigure_does_not_swap_servers(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(id="another") as server:
        entry = await set_up(_entry("192.0.2.1", 1))
        form = await entry.start_reconfigure_flow(hass)
        result = await _submit(hass, form, {CONF_HOST: "127.0.0.1", CONF_PORT: server.http_port})
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "other_server")
        assert entry.data[CONF_HOST] == "192.0.2.1"


async def test_options_are_kept_and_used(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    entry = setup_integration
    before = entry.runtime_data
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert form["step_id"] == "init"
    assert _suggested(form) == {CONF_LLM_HASS_API: ["assist"]}

    result = await hass.config_entries.options.async_configure(
        form["flow_id"], {CONF_PROMPT: "Answer {{ 'briefly' }}.", CONF_LEND_HOUSE: False}
    )
    await hass.async_block_till_done()

    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {CONF_LLM_HASS_API: [], CONF_PROMPT: "Answer {{ 'briefly' }}.", CONF_LEND_HOUSE: False}
    assert entry.state is ConfigEntryState.LOADED
    assert entry.runtime_data is not before  # it was set up anew, with them

    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert _suggested(form) == dict(entry.options)


async def test_a_deleted_pipeline_is_made_again_when_it_is_wanted(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    entry = setup_integration
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert CONF_MAKE_PIPELINE not in form["data_schema"].schema
    hass.config_entries.options.async_abort(form["flow_id"])
    deleted = entry.data[CONF_PIPELINE]
    await hass.data[DATA_PIPELINES].pipeline_store.async_delete_item(deleted)

    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert CONF_MAKE_PIPELINE in form["data_schema"].schema
    result = await hass.config_entries.options.async_configure(
        form["flow_id"], {CONF_LEND_HOUSE: True, CONF_MAKE_PIPELINE: True}
    )
    await hass.async_block_till_done()

    assert CONF_MAKE_PIPELINE not in result["data"]
    made = entry.data[CONF_PIPELINE]
    assert made != deleted
    assert [pipeline.name for pipeline in async_get_pipelines(hass) if pipeline.id == made] == [NAME]


async def test_an_api_that_is_gone_is_not_offered(hass: HomeAssistant, set_up: SetUp) -> None:
    entry = _entry("192.0.2.1", 1)
    entry.add_to_hass(hass)
    hass.config_entries.async_update_entry(entry, options={CONF_LLM_HASS_API: ["assist", "gone"]})
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert _suggested(form) == {CONF_LLM_HASS_API: ["assist"]}
    result = await hass.config_entries.options.async_configure(
        form["flow_id"], {**_suggested(form), CONF_LEND_HOUSE: True}
    )
    assert result["data"] == {CONF_LLM_HASS_API: ["assist"], CONF_PROMPT: "", CONF_LEND_HOUSE: True}


async def _begin(hass: HomeAssistant) -> ConfigFlowResult:
    return await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})


async def _submit(hass: HomeAssistant, form: ConfigFlowResult, given: dict[str, object]) -> ConfigFlowResult:
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    await hass.async_block_till_done()
    return result


async def _discover(hass: HomeAssistant, announced: ZeroconfServiceInfo) -> ConfigFlowResult:
    return await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_ZEROCONF}, data=announced)


async def _app(hass: HomeAssistant, config: dict[str, object]) -> ConfigFlowResult:
    told = HassioServiceInfo(config=config, name="Meadowlark", slug="local_meadowlark", uuid="supervisors-own")
    return await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_HASSIO}, data=told)


async def _remove(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()


def _announced(server_id: str, port: int, *addresses: str) -> ZeroconfServiceInfo:
    found = [ip_address(address) for address in addresses or ("127.0.0.1",)]
    return ZeroconfServiceInfo(
        ip_address=found[0],
        ip_addresses=found,
        port=10600,
        hostname=f"meadowlark-{server_id}.local.",
        type=SERVICE,
        name=f"Meadowlark.{SERVICE}",
        properties={"id": server_id, "http": str(port), "version": "0.1.0", "wyoming": "10600"},
    )


def _entry(host: str, port: int, *, token: str | None = None) -> MockConfigEntry:
    data: dict[str, object] = {CONF_HOST: host, CONF_PORT: port}
    if token is not None:
        data[CONF_TOKEN] = token
    return MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=str(STATUS["id"]), data=data)


def _suggested(form: ConfigFlowResult) -> dict[str, object]:
    return {
        str(key): key.description["suggested_value"]
        for key in form["data_schema"].schema
        if key.description and "suggested_value" in key.description
    }
