"""The actions of the integration: remember, recall, forget, ask and announce."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import probatio as vol
from homeassistant.components import conversation
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID, Platform
from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse, SupportsResponse, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError, Unauthorized
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.intent import IntentResponseType
from homeassistant.helpers.service import async_get_config_entry
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonObjectType

from .client import (
    HOUSEHOLD,
    ClientError,
    InvalidAuthError,
    Memory,
    NoMemoryError,
    RefusedError,
)
from .const import DOMAIN
from .data import MeadowlarkConfigEntry

ATTR_CHIME = "chime"
ATTR_CONTENT = "content"
ATTR_CONVERSATION_ID = "conversation_id"
ATTR_LANGUAGE = "language"
ATTR_LIMIT = "limit"
ATTR_MEMORY_ID = "memory_id"
ATTR_MESSAGE = "message"
ATTR_QUERY = "query"
ATTR_TEXT = "text"
ATTR_USER = "user"

_MOST_RECALLED = 100
"""As many as the server gives at once."""

_USUALLY_RECALLED = 10

_words = vol.All(cv.string, str.strip, vol.Length(min=1, max=500))
"""What memories are looked for by: as much as the server takes."""

_BASE = vol.Schema({vol.Optional(ATTR_CONFIG_ENTRY_ID): cv.string})
_MEMORY = _BASE.extend({vol.Optional(ATTR_USER): cv.entity_domain("person")})
_REMEMBER = _MEMORY.extend({vol.Required(ATTR_CONTENT): vol.All(cv.string, str.strip, vol.Length(min=1, max=2000))})
_RECALL = _MEMORY.extend(
    {
        vol.Required(ATTR_QUERY): _words,
        vol.Optional(ATTR_LIMIT, default=_USUALLY_RECALLED): vol.All(
            vol.Coerce(int), vol.Range(min=1, max=_MOST_RECALLED)
        ),
    }
)
_FORGET = vol.All(
    _MEMORY.extend(
        {
            # '*' is the server's word for everything, which is too much for one slip in an automation.
            vol.Exclusive(ATTR_QUERY, "what"): vol.All(_words, vol.NotIn(["*"])),
            vol.Exclusive(ATTR_MEMORY_ID, "what"): vol.All(cv.string, vol.Length(min=1, max=200)),
        }
    ),
    cv.has_at_least_one_key(ATTR_QUERY, ATTR_MEMORY_ID),
)
_ASK = _BASE.extend(
    {
        vol.Required(ATTR_TEXT): vol.All(cv.string, str.strip, vol.Length(min=1, max=4000)),
        vol.Optional(ATTR_CONVERSATION_ID): cv.string,
        vol.Optional(ATTR_LANGUAGE): cv.string,
    }
)
_ANNOUNCE = _BASE.extend(
    {
        vol.Required(ATTR_MESSAGE): vol.All(cv.string, str.strip, vol.Length(min=1, max=1000)),
        vol.Optional(ATTR_DEVICE_ID): vol.All(cv.ensure_list, [cv.string], vol.Length(min=1, max=100)),
        vol.Optional(ATTR_LANGUAGE): cv.string,
        vol.Optional(ATTR_CHIME, default=True): cv.boolean,
    }
)


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register them. Each works with the server that is named, or with the only one."""

    def register(name: str, act: _Act, schema: vol.Schema | vol.All[Any], response: SupportsResponse) -> None:
        async def handle(call: ServiceCall) -> ServiceResponse:
            entry = async_get_config_entry(hass, DOMAIN, call.data.get(ATTR_CONFIG_ENTRY_ID))
            try:
                return await act(call, entry)
            except ClientError as error:
                raise told(hass, entry, error) from error

        hass.services.async_register(DOMAIN, name, handle, schema, response)

    register("remember", _remember, _REMEMBER, SupportsResponse.OPTIONAL)
    register("recall", _recall, _RECALL, SupportsResponse.ONLY)
    register("forget", _forget, _FORGET, SupportsResponse.OPTIONAL)
    register("ask", _ask, _ASK, SupportsResponse.OPTIONAL)
    register("announce", _announce, _ANNOUNCE, SupportsResponse.OPTIONAL)


type _Act = Callable[[ServiceCall, MeadowlarkConfigEntry], Awaitable[JsonObjectType]]


async def _remember(call: ServiceCall, entry: MeadowlarkConfigEntry) -> JsonObjectType:
    tenant = await _tenant(call)
    memory = await entry.runtime_data.client.remember(call.data[ATTR_CONTENT], tenant, call.hass.config.language)
    return {"memory": _as_json(memory)}


async def _recall(call: ServiceCall, entry: MeadowlarkConfigEntry) -> JsonObjectType:
    tenant = await _tenant(call)
    found = await entry.runtime_data.client.recall(call.data[ATTR_QUERY], call.data[ATTR_LIMIT], tenant)
    return {"memories": [{**_as_json(memory), "score": memory.score} for memory in found]}


async def _forget(call: ServiceCall, entry: MeadowlarkConfigEntry) -> JsonObjectType:
    tenant = await _tenant(call)
    client = entry.runtime_data.client
    if ATTR_MEMORY_ID in call.data:
        count, forgotten = 1, [await client.forget(call.data[ATTR_MEMORY_ID], tenant)]
    else:
        count, forgotten = await client.forget_about(call.data[ATTR_QUERY], tenant)
    return {"forgotten": count, "memories": [_as_json(memory) for memory in forgotten]}


async def _ask(call: ServiceCall, entry: MeadowlarkConfigEntry) -> JsonObjectType:
    registered = er.async_entries_for_config_entry(er.async_get(call.hass), entry.entry_id)
    agent = next((entity for entity in registered if entity.domain == Platform.CONVERSATION), None)
    if agent is None or agent.disabled:
        raise ServiceValidationError(translation_domain=DOMAIN, translation_key="no_agent")
    result = await conversation.async_converse(
        call.hass,
        call.data[ATTR_TEXT],
        call.data.get(ATTR_CONVERSATION_ID),
        call.context,
        call.data.get(ATTR_LANGUAGE),
        agent.entity_id,
    )
    answer = str(result.response.speech.get("plain", {}).get("speech", ""))
    if result.response.response_type is IntentResponseType.ERROR:
        raise HomeAssistantError(
            translation_domain=DOMAIN, translation_key="not_answered", translation_placeholders={"reason": answer}
        )
    return {
        "answer": answer,
        "conversation_id": result.conversation_id,
        "continue_conversation": result.continue_conversation,
    }


async def _announce(call: ServiceCall, entry: MeadowlarkConfigEntry) -> JsonObjectType:
    names = None
    if ATTR_DEVICE_ID in call.data:
        known = {device_id: name for name, device_id in entry.runtime_data.link.lending.satellites.known.items()}
        strangers = [device_id for device_id in call.data[ATTR_DEVICE_ID] if device_id not in known]
        if strangers:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="no_such_satellite",
                translation_placeholders={"device": strangers[0]},
            )
        names = [known[device_id] for device_id in call.data[ATTR_DEVICE_ID]]
    language = call.data.get(ATTR_LANGUAGE, call.hass.config.language)
    heard = await entry.runtime_data.client.announce(
        call.data[ATTR_MESSAGE], names, language, chime=call.data[ATTR_CHIME]
    )
    if not any(heard.values()):
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="not_heard",
            translation_placeholders={"satellites": ", ".join(heard)},
        )
    return {"heard": [name for name, was in heard.items() if was], "missed": [n for n, was in heard.items() if not was]}


async def _tenant(call: ServiceCall) -> str:
    """Whose memory is meant. That of a person is for themselves, administrators and automations."""
    person = call.data.get(ATTR_USER)
    if person is None:
        return HOUSEHOLD
    state = call.hass.states.get(person)
    user_id = state.attributes.get("user_id") if state else None
    if not user_id:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="no_user", translation_placeholders={"person": person}
        )
    if call.context.user_id not in (None, user_id):
        caller = await call.hass.auth.async_get_user(call.context.user_id)
        if caller is None or not caller.is_admin:
            raise Unauthorized(context=call.context, entity_id=person)
    return f"person:{user_id}"


def told(hass: HomeAssistant, entry: MeadowlarkConfigEntry, error: ClientError) -> HomeAssistantError:
    """What the user is told."""
    if isinstance(error, InvalidAuthError):
        entry.async_start_reauth(hass)
    kind = ServiceValidationError if _is_the_callers(error) else HomeAssistantError
    return kind(
        translation_domain=DOMAIN,
        translation_key=error.key,
        translation_placeholders={"reason": str(error), "url": entry.runtime_data.client.url},
    )


def _is_the_callers(error: ClientError) -> bool:
    return isinstance(error, RefusedError) and not isinstance(error, NoMemoryError)


def _as_json(memory: Memory) -> JsonObjectType:
    created = dt_util.as_local(dt_util.utc_from_timestamp(memory.created))
    return {"id": memory.id, "content": memory.content, "created": created.isoformat()}
