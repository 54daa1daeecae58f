"""Setting a server up: found on the network, by Supervisor, or named by hand; and what can be changed later."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, override
from urllib.parse import urlsplit

import probatio as vol
from homeassistant.components.assist_pipeline import async_get_pipelines
from homeassistant.config_entries import (
    SOURCE_ZEROCONF,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlow,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_HOST, CONF_LLM_HASS_API, CONF_PORT, CONF_PROMPT, CONF_TOKEN
from homeassistant.core import callback
from homeassistant.helpers import llm
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TemplateSelector,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from yarl import URL

from .client import Client, ClientError, InvalidAuthError, Server
from .const import CONF_LEND_HOUSE, CONF_PREFERRED, DEFAULT_LLM_APIS, DOMAIN, HTTP_PORT, NAME, TXT_HTTP, TXT_ID
from .pipeline import CONF_PIPELINE, async_recreate_pipeline

CONF_MAKE_PIPELINE = "make_pipeline"
"""In the options form only: make the Assist pipeline again, which the user has deleted."""

_PREFERRED: dict[vol.Marker, object] = {vol.Required(CONF_PREFERRED, default=False): BooleanSelector()}
_TOKEN: dict[vol.Marker, object] = {
    vol.Optional(CONF_TOKEN): TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD))
}
_ADDRESS: dict[vol.Marker, object] = {
    vol.Required(CONF_HOST): TextSelector(),
    vol.Required(CONF_PORT, default=HTTP_PORT): NumberSelector(
        NumberSelectorConfig(min=1, max=65535, mode=NumberSelectorMode.BOX)
    ),
    **_TOKEN,
}


class MeadowlarkConfigFlow(ConfigFlow, domain=DOMAIN):
    """Adds a server, and mends how it is reached."""

    VERSION = 1

    def __init__(self) -> None:
        """A flow has found nothing yet."""
        self._found = _Address("", HTTP_PORT)
        """Where a discovered server is."""
        self._name = NAME
        self._wants_token = False

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask where the server is."""
        problems = _Problems()
        if user_input is not None:
            given = _Address.typed(user_input)
            server = await self._ask(given, problems)
            if server is not None:
                await self.async_set_unique_id(server.id, raise_on_progress=False)
                self._abort_if_unique_id_configured(updates=given.data)
                return self._create(server, given, user_input)
        return self.async_show_form(
            step_id="user",
            data_schema=self.add_suggested_values_to_schema(vol.Schema({**_ADDRESS, **_PREFERRED}), user_input),
            errors=problems.errors,
            description_placeholders=problems.placeholders,
        )

    @override
    async def async_step_zeroconf(self, discovery_info: ZeroconfServiceInfo) -> ConfigFlowResult:
        """A server has announced itself on the network."""
        server_id, port = (discovery_info.properties.get(key) or "" for key in (TXT_ID, TXT_HTTP))
        if not server_id or not port.isdecimal():
            return self.async_abort(reason="not_meadowlark")
        self._found = _Address(discovery_info.host, int(port))
        entry = await self.async_set_unique_id(server_id)
        stays = entry is not None and await self._reaches(entry, discovery_info.addresses, int(port))
        self._abort_if_unique_id_configured(updates=None if stays else self._found.data)
        return await self._discovered(discovery_info.name.removesuffix(f".{discovery_info.type}"))

    @override
    async def async_step_hassio(self, discovery_info: HassioServiceInfo) -> ConfigFlowResult:
        """Supervisor's app has told where its server is."""
        try:
            self._found = _Address.told(discovery_info.config)
        except ValueError:
            return self.async_abort(reason="not_meadowlark")
        # Supervisor's own id changes when the app is installed anew; it serves until the server has told its.
        await self.async_set_unique_id(discovery_info.config.get(TXT_ID) or discovery_info.uuid)
        self._abort_if_unique_id_configured(updates=self._found.data)
        return await self._discovered(discovery_info.name)

    async def async_step_discovery_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """The one question about a server that was found."""
        problems = _Problems()
        if user_input is not None:
            given = replace(self._found, token=_token(user_input) or self._found.token)
            server = await self._ask(given, problems)
            if server is not None:
                await self.async_set_unique_id(server.id, raise_on_progress=False)
                self._abort_if_unique_id_configured(updates=given.data)
                return self._create(server, given, user_input)
        fields = {**_TOKEN, **_PREFERRED} if self._wants_token else _PREFERRED
        return self.async_show_form(
            step_id="discovery_confirm",
            data_schema=self.add_suggested_values_to_schema(vol.Schema(fields), user_input),
            errors=problems.errors,
            description_placeholders={"name": self._name, "host": self._found.host, **problems.placeholders},
        )

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """The server has refused the token."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for another token."""
        entry = self._get_reauth_entry()
        problems = _Problems()
        if user_input is not None:
            given = replace(_Address.of(entry), token=_token(user_input))
            server = await self._ask(given, problems)
            if server is not None:
                await self.async_set_unique_id(server.id, raise_on_progress=False)
                self._abort_if_unique_id_mismatch(reason="other_server")
                return self.async_update_reload_and_abort(entry, data_updates=given.data)
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=vol.Schema(_TOKEN),
            errors=problems.errors,
            description_placeholders={"name": entry.title, "host": entry.data[CONF_HOST], **problems.placeholders},
        )

    async def async_step_reconfigure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Reach the same server at another address. An empty token leaves the one there is."""
        entry = self._get_reconfigure_entry()
        problems = _Problems()
        if user_input is not None:
            given = _Address.typed(user_input)
            given = replace(given, token=given.token or _Address.of(entry).token)
            server = await self._ask(given, problems)
            if server is not None:
                await self.async_set_unique_id(server.id, raise_on_progress=False)
                self._abort_if_unique_id_mismatch(reason="other_server")
                return self.async_update_reload_and_abort(entry, data_updates=given.data)
        known = {key: entry.data[key] for key in (CONF_HOST, CONF_PORT)}
        return self.async_show_form(
            step_id="reconfigure",
            data_schema=self.add_suggested_values_to_schema(vol.Schema(_ADDRESS), user_input or known),
            errors=problems.errors,
            description_placeholders={"name": entry.title, **problems.placeholders},
        )

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """What can be changed while it works."""
        return MeadowlarkOptionsFlow()

    async def _discovered(self, name: str) -> ConfigFlowResult:
        """Look at a server that was found, and ask whether to use it."""
        self._name = name
        try:
            server = await self._client(self._found).server()
        except InvalidAuthError:
            self._async_abort_entries_match({CONF_HOST: self._found.host, CONF_PORT: self._found.port})
            self._wants_token = True
        except ClientError as error:
            return self.async_abort(reason=error.key)
        else:
            self._name = server.name
            if self.source == SOURCE_ZEROCONF and server.id != self.unique_id:
                return self.async_abort(reason="other_server")
            await self.async_set_unique_id(server.id)
            self._abort_if_unique_id_configured(updates=self._found.data)
        self.context["title_placeholders"] = {"name": self._name}
        return await self.async_step_discovery_confirm()

    async def _reaches(self, entry: ConfigEntry, addresses: list[str], port: int) -> bool:
        """Whether the address in use is still good, as a host name is, or another address of the same server."""
        known = _Address.of(entry)
        if not known.host or (known.host in addresses and known.port == port):
            return True
        try:
            return (await self._client(known).server()).id == entry.unique_id
        except ClientError:
            return False

    async def _ask(self, given: _Address, problems: _Problems) -> Server | None:
        """What answers there; None where it cannot be used, which is then among the problems."""
        if not given.host:
            problems.errors[CONF_HOST] = "invalid_host"
            return None
        try:
            return await self._client(given).server()
        except InvalidAuthError as error:
            self._wants_token = True
            problems.errors[CONF_TOKEN] = error.key
        except ClientError as error:
            problems.errors["base"] = error.key
            problems.placeholders["version"] = str(error)
        return None

    def _client(self, address: _Address) -> Client:
        return Client(async_get_clientsession(self.hass), address.host, address.port, address.token or None)

    def _create(self, server: Server, given: _Address, user_input: dict[str, Any]) -> ConfigFlowResult:
        data = {**given.data, CONF_PREFERRED: user_input[CONF_PREFERRED]}
        return self.async_create_entry(title=server.name, data=data)


class MeadowlarkOptionsFlow(OptionsFlowWithReload):
    """What the agent may do, and what it is told."""

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask all of it at once."""
        entry = self.config_entry
        if user_input is not None:
            if user_input.pop(CONF_MAKE_PIPELINE, False) and entry.state is ConfigEntryState.LOADED:
                await async_recreate_pipeline(self.hass, entry)
            return self.async_create_entry(data={CONF_LLM_HASS_API: [], CONF_PROMPT: "", **user_input})
        apis = {api.id: api.name for api in llm.async_get_apis(self.hass)}
        chosen = [api for api in entry.options.get(CONF_LLM_HASS_API, DEFAULT_LLM_APIS) if api in apis]
        fields: dict[vol.Marker, object] = {
            vol.Optional(CONF_LLM_HASS_API): SelectSelector(
                SelectSelectorConfig(
                    options=[SelectOptionDict(value=key, label=name) for key, name in apis.items()],
                    multiple=True,
                    mode=SelectSelectorMode.LIST,
                )
            ),
            vol.Optional(CONF_PROMPT): TemplateSelector(),
            vol.Required(CONF_LEND_HOUSE, default=True): BooleanSelector(),
        }
        if self._lacks_pipeline():
            fields[vol.Required(CONF_MAKE_PIPELINE, default=False)] = BooleanSelector()
        known = {**entry.options, CONF_LLM_HASS_API: chosen}
        return self.async_show_form(
            step_id="init", data_schema=self.add_suggested_values_to_schema(vol.Schema(fields), known)
        )

    def _lacks_pipeline(self) -> bool:
        """Whether the user has deleted the pipeline that was made for the server."""
        entry = self.config_entry
        if entry.state is not ConfigEntryState.LOADED or CONF_PIPELINE not in entry.data:
            return False
        return all(pipeline.id != entry.data[CONF_PIPELINE] for pipeline in async_get_pipelines(self.hass))


@dataclass
class _Problems:
    """What a form shows of an attempt that failed."""

    errors: dict[str, str] = field(default_factory=dict)
    placeholders: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Address:
    """Where a server is, and its token, empty where it has none."""

    host: str
    port: int
    token: str = ""

    @classmethod
    def of(cls, entry: ConfigEntry) -> Self:
        """That of an entry; one that is ignored has no host."""
        data = entry.data
        return cls(data.get(CONF_HOST, ""), data.get(CONF_PORT, HTTP_PORT), data.get(CONF_TOKEN, ""))

    @classmethod
    def typed(cls, user_input: Mapping[str, Any]) -> Self:
        """That of a form; no host where it cannot be one."""
        port = int(user_input[CONF_PORT])
        with contextlib.suppress(ValueError):
            return cls(*split_address(user_input[CONF_HOST], port), _token(user_input))
        return cls("", port)

    @classmethod
    def told(cls, config: Mapping[str, Any]) -> Self:
        """That of Supervisor's message, which has 'host' and 'port', or a 'uri'. ValueError where it has neither."""
        text = str(config.get(CONF_HOST) or config.get("uri") or "")
        return cls(*split_address(text, int(config.get(CONF_PORT) or HTTP_PORT)), _token(config))

    @property
    def data(self) -> dict[str, str | int]:
        """As an entry keeps it."""
        data: dict[str, str | int] = {CONF_HOST: self.host, CONF_PORT: self.port}
        if self.token:
            data[CONF_TOKEN] = self.token
        return data


def split_address(text: str, port: int) -> tuple[str, int]:
    """Host and port of a URL, of 'host:port', or of a host; `port` where it has none. ValueError for anything else."""
    text = text.strip()
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]"))), port
    scheme, _, rest = text.rpartition("://")
    url = urlsplit(f"//{rest}")
    if scheme not in ("", "http", "tcp") or not url.hostname:
        raise ValueError(text)
    if scheme != "tcp":  # which is what satellites are given: its host is right, and its port is another one
        port = url.port or port
    URL.build(scheme="http", host=url.hostname, port=port)  # refuses what no host can be
    return url.hostname, port


def _token(given: Mapping[str, Any]) -> str:
    return str(given.get(CONF_TOKEN) or "").strip()
