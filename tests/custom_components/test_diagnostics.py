"""What a user attaches to a bug report has what is needed, and nothing private."""

from __future__ import annotations

import json

import pytest
from homeassistant.components.diagnostics import REDACTED
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_LLM_HASS_API, CONF_PORT, CONF_PROMPT, CONF_TOKEN
from homeassistant.core import Context, HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.meadowlark.const import DOMAIN
from custom_components.meadowlark.diagnostics import async_get_config_entry_diagnostics

from .conftest import SetUp, entry_for
from .support.http_server import HttpServer
from .support.server import MeadowlarkServer


async def test_a_working_entry_is_told_without_what_is_private(
    hass: HomeAssistant, set_up: SetUp, guarded_meadowlark: MeadowlarkServer
) -> None:
    token = guarded_meadowlark.token
    options = {CONF_LLM_HASS_API: ["assist"], CONF_PROMPT: "Anna lives here."}
    entry = await set_up(entry_for(guarded_meadowlark, token=token, options=options))
    assert entry.state is ConfigEntryState.LOADED
    question = {"text": "What does Bartholomew weigh?"}
    await hass.services.async_call(
        DOMAIN, "ask", question, blocking=True, return_response=True, context=Context(user_id="aunt-selma")
    )

    told = await async_get_config_entry_diagnostics(hass, entry)

    text = json.dumps(told)
    for private in (token, "Anna", "127.0.0.1", "Bartholomew", "aunt-selma"):
        assert private not in text
    assert told["entry"]["data"][CONF_TOKEN] == REDACTED
    assert told["entry"]["data"][CONF_HOST] == REDACTED
    assert told["entry"]["options"] == {CONF_LLM_HASS_API: ["assist"], CONF_PROMPT: REDACTED}
    assert told["link"]["connected"] is True
    assert told["status"]["version"] == entry.runtime_data.server.version
    assert told["status"]["engines"]["asr"]["model"]
    assert told["status"]["turns"][0]["outcome"]
    assert "response" in told["latencies_ms"]


@pytest.mark.usefixtures("socket_enabled")
async def test_an_entry_that_is_not_set_up_says_why(hass: HomeAssistant, set_up: SetUp) -> None:
    async with HttpServer(problem="engines are loading") as server:
        data = {CONF_HOST: server.host, CONF_PORT: server.http_port, CONF_TOKEN: "secret"}
        entry = await set_up(MockConfigEntry(domain=DOMAIN, unique_id=server.id, data=data))
    told = await async_get_config_entry_diagnostics(hass, entry)
    assert told["entry"]["data"][CONF_TOKEN] == REDACTED
    assert (told["entry"]["state"], told["entry"]["problem"]) == ("setup_retry", "not_ready")


async def test_a_server_that_is_gone_leaves_the_rest(
    hass: HomeAssistant, set_up: SetUp, own_meadowlark: MeadowlarkServer
) -> None:
    entry = await set_up(entry_for(own_meadowlark))
    await hass.async_add_executor_job(own_meadowlark.stop)
    told = await async_get_config_entry_diagnostics(hass, entry)
    assert told["status"] == {"problem": "cannot_connect"}
    assert told["server"]["version"] == entry.runtime_data.server.version
