"""The actions, with the memory and the agent of a real server."""

from __future__ import annotations

import uuid
from pathlib import Path

import probatio as vol
import pytest
from homeassistant.components.conversation import DOMAIN as CONVERSATION
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceNotFound, ServiceValidationError, Unauthorized
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_get_translations
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser

from custom_components.meadowlark.const import DOMAIN

from .conftest import SetUp, entry_for
from .support.server import MeadowlarkServer


async def test_something_is_remembered_recalled_and_forgotten(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    word = f"gingko{uuid.uuid4().hex[:8]}"
    kept = await _call(hass, "remember", content=f"  The {word} gets water on Mondays. ")
    memory = kept["memory"]
    assert memory["content"] == f"The {word} gets water on Mondays."
    created = dt_util.parse_datetime(memory["created"])
    assert created is not None
    assert created.tzinfo is not None

    found = await _call(hass, "recall", query=f"when does the {word} get water?", limit=1)
    assert [one["id"] for one in found["memories"]] == [memory["id"]]
    assert found["memories"][0]["score"] > 0

    assert await _call(hass, "forget", query=word) == {"forgotten": 1, "memories": [memory]}
    assert await _call(hass, "forget", query=word) == {"forgotten": 0, "memories": []}
    assert word not in str(await _call(hass, "recall", query=word))


async def test_one_memory_is_forgotten_by_its_id(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    word = f"maple{uuid.uuid4().hex[:8]}"
    first = (await _call(hass, "remember", content=f"The {word} is red."))["memory"]
    second = (await _call(hass, "remember", content=f"The {word} is tall."))["memory"]

    assert await _call(hass, "forget", memory_id=first["id"]) == {"forgotten": 1, "memories": [first]}
    left = await _call(hass, "recall", query=word)
    assert [one["id"] for one in left["memories"] if word in one["content"]] == [second["id"]]

    with pytest.raises(ServiceValidationError) as raised:
        await _call(hass, "forget", memory_id=first["id"])
    assert raised.value.translation_key == "no_such_memory"
    assert first["id"] in str(raised.value)


async def test_actions_need_no_response(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    word = f"larch{uuid.uuid4().hex[:8]}"
    await hass.services.async_call(DOMAIN, "remember", {"content": f"The {word} is old."}, blocking=True)
    await hass.services.async_call(DOMAIN, "forget", {"query": word}, blocking=True)
    assert word not in str(await _call(hass, "recall", query=word))


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("remember", {}),
        ("remember", {"content": "  "}),
        ("remember", {"content": "x" * 2001}),
        ("recall", {}),
        ("recall", {"query": "x" * 501}),
        ("recall", {"query": "x", "limit": 0}),
        ("recall", {"query": "x", "limit": 101}),
        ("recall", {"query": "x", "user": "light.kitchen"}),
        ("forget", {}),
        ("forget", {"query": "*"}),
        ("forget", {"query": "x", "memory_id": "y"}),
        ("ask", {"text": ""}),
        ("ask", {"text": "x", "surprise": 1}),
    ],
)
async def test_what_makes_no_sense_is_refused(
    hass: HomeAssistant, setup_integration: MockConfigEntry, action: str, given: dict[str, object]
) -> None:
    with pytest.raises(vol.Invalid):
        await _call(hass, action, **given)


async def test_a_secret_is_refused_with_the_servers_reason(
    hass: HomeAssistant, setup_integration: MockConfigEntry
) -> None:
    with pytest.raises(ServiceValidationError) as raised:
        await _call(hass, "remember", content="The password of the router is hunter2.")
    assert raised.value.translation_key == "refused"
    assert "password" in await _said(hass, raised.value)


async def test_a_persons_memory_is_for_them_and_administrators(
    hass: HomeAssistant, setup_integration: MockConfigEntry, hass_admin_user: MockUser, hass_read_only_user: MockUser
) -> None:
    anna = MockUser(name="Anna").add_to_hass(hass)
    person = {"id": "anna", "name": "Anna", "user_id": anna.id}
    assert await async_setup_component(hass, "person", {"person": [person, {"id": "guest", "name": "Guest"}]})
    await hass.async_block_till_done()
    word = f"sesame{uuid.uuid4().hex[:8]}"

    kept = await _call(hass, "remember", Context(user_id=anna.id), content=f"I dislike {word}.", user="person.anna")
    assert word not in str(await _call(hass, "recall", query=word))
    for user_id in (anna.id, hass_admin_user.id, None):  # None: an automation
        found = await _call(hass, "recall", Context(user_id=user_id), query=word, limit=1, user="person.anna")
        assert found["memories"][0]["id"] == kept["memory"]["id"]
    for action, given in (("recall", {"query": word}), ("forget", {"query": word}), ("remember", {"content": "x"})):
        with pytest.raises(Unauthorized):
            await _call(hass, action, Context(user_id=hass_read_only_user.id), user="person.anna", **given)
    with pytest.raises(ServiceValidationError) as raised:
        await _call(hass, "recall", query=word, user="person.guest")
    assert raised.value.translation_key == "no_user"
    with pytest.raises(ServiceValidationError):
        await _call(hass, "recall", query=word, user="person.nobody")
    assert (await _call(hass, "forget", query=word, user="person.anna"))["forgotten"] == 1


async def test_it_answers_and_goes_on(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    first = await _call(hass, "ask", text="What is twelve times twelve?", language="en")
    assert "144" in first["answer"]
    assert first["conversation_id"]
    again = await _call(
        hass, "ask", text="What is three plus four?", conversation_id=first["conversation_id"], language="en"
    )
    assert "7" in again["answer"]
    assert again["conversation_id"] == first["conversation_id"]
    assert again["continue_conversation"] is False


async def test_a_disabled_agent_is_told(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    registry = er.async_get(hass)
    [agent] = [
        entity
        for entity in er.async_entries_for_config_entry(registry, setup_integration.entry_id)
        if entity.domain == CONVERSATION
    ]
    registry.async_update_entity(agent.entity_id, disabled_by=er.RegistryEntryDisabler.USER)
    await hass.async_block_till_done()
    with pytest.raises(ServiceValidationError) as raised:
        await _call(hass, "ask", text="What is three plus four?")
    assert raised.value.translation_key == "no_agent"


async def test_several_servers_must_be_told_apart(
    hass: HomeAssistant, set_up: SetUp, meadowlark: MeadowlarkServer, guarded_meadowlark: MeadowlarkServer
) -> None:
    first = await set_up(entry_for(meadowlark))
    second = await set_up(entry_for(guarded_meadowlark, token=guarded_meadowlark.token))
    word = f"willow{uuid.uuid4().hex[:8]}"
    with pytest.raises(ServiceValidationError):
        await _call(hass, "remember", content=f"The {word} bends.")
    await _call(hass, "remember", content=f"The {word} bends.", config_entry_id=second.entry_id)
    assert word not in str(await _call(hass, "recall", query=word, config_entry_id=first.entry_id))
    forgotten = await _call(hass, "forget", query=word, config_entry_id=second.entry_id)
    assert forgotten["forgotten"] == 1
    with pytest.raises(ServiceValidationError):
        await _call(hass, "recall", query=word, config_entry_id="unknown")


async def test_actions_are_there_without_a_server_and_say_so(hass: HomeAssistant) -> None:
    assert await async_setup_component(hass, DOMAIN, {})
    for action, given in (
        ("remember", {"content": "x"}),
        ("recall", {"query": "x"}),
        ("forget", {"query": "x"}),
        ("ask", {"text": "x"}),
    ):
        with pytest.raises(ServiceValidationError):
            await _call(hass, action, **given)
    with pytest.raises(ServiceNotFound):
        await _call(hass, "sing")


async def test_a_server_that_stops_is_told(
    hass: HomeAssistant, set_up: SetUp, own_meadowlark: MeadowlarkServer
) -> None:
    entry = await set_up(entry_for(own_meadowlark))
    await hass.async_add_executor_job(own_meadowlark.stop)
    with pytest.raises(HomeAssistantError) as raised:
        await _call(hass, "recall", query="x")
    assert raised.value.translation_key == "cannot_connect"
    assert entry.runtime_data.client.url in await _said(hass, raised.value)


@pytest.mark.usefixtures("socket_enabled")
async def test_a_server_whose_memory_is_off_says_so(hass: HomeAssistant, set_up: SetUp, tmp_path: Path) -> None:
    with MeadowlarkServer(tmp_path, environment={"MEADOWLARK_AGENT__MEMORY__ENABLED": "false"}) as server:
        entry = await set_up(entry_for(server))
        assert entry.state is ConfigEntryState.LOADED
        for action, given in (("remember", {"content": "x"}), ("recall", {"query": "x"}), ("forget", {"query": "x"})):
            with pytest.raises(HomeAssistantError) as raised:
                await _call(hass, action, **given)
            assert raised.value.translation_key == "no_memory"
            assert "agent.memory.enabled" in await _said(hass, raised.value)
        assert "144" in (await _call(hass, "ask", text="What is twelve times twelve?", language="en"))["answer"]
        await hass.config_entries.async_unload(entry.entry_id)


async def _call(hass: HomeAssistant, action: str, context: Context | None = None, **given: object) -> dict:
    response = await hass.services.async_call(
        DOMAIN, action, given, blocking=True, context=context, return_response=True
    )
    assert response is not None
    return dict(response)


async def _said(hass: HomeAssistant, error: HomeAssistantError) -> str:
    """What the user reads of an error."""
    texts = await async_get_translations(hass, "en", "exceptions", {DOMAIN})
    text = texts[f"component.{DOMAIN}.exceptions.{error.translation_key}.message"]
    return text.format(**(error.translation_placeholders or {}))
