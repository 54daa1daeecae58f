"""What a user can attach to a bug report: numbers and versions, and nothing of what was said, by whom, or where."""

from __future__ import annotations

from collections.abc import Mapping

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.const import CONF_HOST, CONF_LLM_HASS_API, CONF_TOKEN
from homeassistant.core import HomeAssistant

from .client import ClientError
from .const import CONF_LEND_HOUSE
from .data import MeadowlarkConfigEntry, MeadowlarkData
from .latency import STAGES

_SECRETS = frozenset({CONF_HOST, CONF_TOKEN})

_PLAIN_OPTIONS = frozenset({CONF_LLM_HASS_API, CONF_LEND_HOUSE})
"""The rest, as the instructions to the agent, has the owner's own words."""

_PLAIN_STATUS = ("version", "house_protocol", "uptime_seconds", "connections")
_PLAIN_ENGINES = ("asr", "tts", "wake")
_PLAIN_MODEL = ("name", "ready", "first_token_ms")
_PLAIN_TURN = ("service", "route", "outcome", "marks_ms")
"""What is taken of the server's status, so that a newer server cannot add anything private to it."""


async def async_get_config_entry_diagnostics(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> dict[str, object]:
    """Entry, server, connection, waits. While the entry is not set up, why, and the entry alone."""
    told: dict[str, object] = {
        "entry": {
            "data": async_redact_data(entry.data, _SECRETS),
            "options": {key: value if key in _PLAIN_OPTIONS else REDACTED for key, value in entry.options.items()},
            "state": entry.state.value,
            "problem": entry.error_reason_translation_key,
        }
    }
    data: MeadowlarkData | None = getattr(entry, "runtime_data", None)
    return told if data is None else told | await _of_server(data)


async def _of_server(data: MeadowlarkData) -> dict[str, object]:
    """What is known of a server that is in use."""
    try:
        status: object = _status(await data.client.status())
    except ClientError as error:
        status = {"problem": error.key}
    return {
        "server": {"version": data.server.version, "house_protocol": data.server.house_protocol},
        "status": status,
        "link": {
            "connected": data.link.connected,
            "busy": data.link.busy,
            "satellites": len(data.link.satellites),
        },
        "latencies_ms": {
            stage: {"last": data.latencies.last(stage), "median": data.latencies.median(stage)} for stage in STAGES
        },
    }


def _status(status: Mapping[str, object]) -> dict[str, object]:
    """The server's status, without words."""
    engines, turns = status.get("engines"), status.get("turns")
    plain = _only(status, _PLAIN_STATUS)
    if isinstance(engines, Mapping):
        agent = engines.get("agent")
        models = agent.get("models") if isinstance(agent, Mapping) else None
        plain["engines"] = {
            **_only(engines, _PLAIN_ENGINES),
            "models": [_only(model, _PLAIN_MODEL) for model in models] if isinstance(models, list) else [],
        }
    if isinstance(turns, list):
        plain["turns"] = [_only(turn, _PLAIN_TURN) for turn in turns]
    return plain


def _only(value: object, keys: tuple[str, ...]) -> dict[str, object]:
    return {key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else {}
