"""Meadowlark: a private voice assistant. One config entry is one server."""

from __future__ import annotations

from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN, Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryAuthFailed, ConfigEntryNotReady
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.device_registry import DeviceEntry
from homeassistant.helpers.typing import ConfigType

from .audio import AudioClient, async_keep_current
from .client import (
    Client,
    ClientError,
    InvalidAuthError,
    NotMeadowlarkError,
    NotReadyError,
    Server,
    TooManyTriesError,
    TooNewError,
    TooOldError,
)
from .const import DOMAIN
from .data import MeadowlarkConfigEntry, MeadowlarkData
from .latency import Latencies
from .lending import Lending
from .link import Link
from .pipeline import async_ensure_pipeline, async_remove_pipeline
from .satellites import Satellites
from .services import async_setup_services

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)

PLATFORMS = (
    Platform.BINARY_SENSOR,
    Platform.CONVERSATION,
    Platform.NOTIFY,
    Platform.SENSOR,
    Platform.STT,
    Platform.TTS,
    Platform.WAKE_WORD,
)

ISSUES = ("other_server", "server_too_old", "server_too_new")
"""What the user has to mend. Each has the entry's id behind it, as there may be several servers."""


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the services, which tell what is missing as long as there is no server."""
    async_setup_services(hass)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> bool:
    """Use a server: its engines, its agent, its pipeline; and lend the house to it."""
    host, port = entry.data[CONF_HOST], entry.data[CONF_PORT]
    client = Client(async_get_clientsession(hass), host, port, entry.data.get(CONF_TOKEN))
    server = await _checked(hass, entry, client)
    audio = AudioClient(server.host, server.wyoming_port)
    lending = Lending(hass, entry)
    latencies = Latencies()
    link = Link(hass, entry, client, lending, latencies.add)
    entry.runtime_data = MeadowlarkData(server, client, audio, link, latencies)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    await async_ensure_pipeline(hass, entry)
    async_keep_current(hass, entry)
    await link.start()
    return True


async def async_unload_entry(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> bool:
    """Take the house back and leave nothing open."""
    if not await hass.config_entries.async_unload_platforms(entry, PLATFORMS):
        return False
    await entry.runtime_data.link.close()
    return True


async def async_remove_entry(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    """Take away what was made for the server: its pipeline, and what was to be mended."""
    _forget_issues(hass, entry)

    await async_remove_pipeline(hass, entry)


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, device: DeviceEntry
) -> bool:
    """Whether the user may remove a device: a satellite that is gone."""
    data: MeadowlarkData | None = getattr(entry, "runtime_data", None)  # not while the server is away
    satellites = data.link.lending.satellites if data is not None else Satellites(hass, entry)
    return satellites.may_remove(device)


async def _checked(hass: HomeAssistant, entry: MeadowlarkConfigEntry, client: Client) -> Server:
    """The server of the entry, compatible and ready."""
    try:
        server = await client.server()
        if server.id != entry.unique_id:
            raise _needs_mending(hass, entry, "other_server", {"url": client.url, "name": entry.title})
        _forget_issues(hass, entry)
        await client.check_ready()
    except InvalidAuthError as error:
        raise ConfigEntryAuthFailed(translation_domain=DOMAIN, translation_key=error.key) from error
    except TooManyTriesError as error:
        raise ConfigEntryNotReady(translation_domain=DOMAIN, translation_key="too_many_tries") from error
    except TooOldError as error:
        raise _needs_mending(hass, entry, "server_too_old", {"name": entry.title, "version": str(error)}) from error
    except TooNewError as error:
        raise _needs_mending(hass, entry, "server_too_new", {"name": entry.title, "version": str(error)}) from error
    except NotReadyError as error:
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN, translation_key="not_ready", translation_placeholders={"reason": str(error)}
        ) from error
    except NotMeadowlarkError as error:
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN, translation_key="not_meadowlark", translation_placeholders={"url": client.url}
        ) from error
    except ClientError as error:
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN, translation_key="cannot_connect", translation_placeholders={"url": client.url}
        ) from error
    return server


def _needs_mending(
    hass: HomeAssistant, entry: MeadowlarkConfigEntry, key: str, placeholders: dict[str, str]
) -> ConfigEntryNotReady:
    """Tell the user what to do. Home Assistant goes on trying, so that it works by itself once it is done."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{key}_{entry.entry_id}",
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key=key,
        translation_placeholders=placeholders,
    )
    return ConfigEntryNotReady(translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders)


def _forget_issues(hass: HomeAssistant, entry: MeadowlarkConfigEntry) -> None:
    for key in ISSUES:
        ir.async_delete_issue(hass, DOMAIN, f"{key}_{entry.entry_id}")
