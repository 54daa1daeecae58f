"""All settings of the server. Each stage's section is declared beside the stage."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AfterValidator, Field, model_validator

from handlers.agent.stage import AgentSettings, TenantAgentSettings
from handlers.asr.stage import AsrSettings, OwnAsrSettings
from handlers.errors import RequestError
from handlers.pipeline.recordings import RecordingSettings
from handlers.settings import Section
from handlers.tts.stage import TtsSettings
from handlers.wake.stage import WakeSettings
from handlers.wire.client import parse_uri

WYOMING_PORT = 10600
HTTP_PORT = 10680

_TENANT_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""It is the name of a folder, too, and of a variable of the environment."""

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def _wyoming_uri(value: str) -> str:
    return f"tcp://{join_address(*_parse(value, WYOMING_PORT))}"


def _tenant_uri(value: str) -> str:
    if not value:
        return ""
    if ":" not in value.removeprefix("tcp://").rpartition("]")[2]:
        raise ValueError("needs a port of its own, as in 'tcp://127.0.0.1:10601'")
    return _wyoming_uri(value)


def _tenant_key(value: str) -> str:
    if not _TENANT_KEY.fullmatch(value):
        raise ValueError("a tenant's key has 1 to 63 lower-case letters, digits and dashes, as in 'miller-family'")
    return value


TenantKey = Annotated[str, AfterValidator(_tenant_key)]


def _host_name(value: str) -> str:
    name = value.strip().rstrip(".").lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("is a name as in 'meadowlark.lan', without 'https://' and without a port")
    return name


def _page_address(value: str) -> str:
    address = urlsplit(value)
    if value and not (address.scheme in ("http", "https") and address.hostname):
        raise ValueError("is an address as 'https://voice.example.org/'")
    return value if not value or value.endswith("/") else f"{value}/"


def _http_address(value: str) -> str:
    return join_address(*_parse(value, HTTP_PORT))


def _parse(value: str, port: int) -> tuple[str, int]:
    try:
        return parse_uri(value, port)
    except RequestError as error:
        raise ValueError(str(error)) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at this address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def join_address(host: str, port: int) -> str:
    """'HOST:PORT', with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class WyomingSettings(Section):
    """The Wyoming port."""

    uri: Annotated[str, AfterValidator(_wyoming_uri)] = f"tcp://127.0.0.1:{WYOMING_PORT}"
    """Where satellites and Home Assistant connect; port 0 takes a free one."""

    connections: int = Field(256, ge=1, le=10_000)
    """Connections at the same time."""

    idle_seconds: float = Field(600.0, ge=1, le=86_400)
    """Silence after which an unused connection is closed."""


class HttpSettings(Section):
    """The HTTP port."""

    address: Annotated[str, AfterValidator(_http_address)] = f"127.0.0.1:{HTTP_PORT}"
    """Where the page, the metrics and the API are; port 0 takes a free one."""

    page: Annotated[str, AfterValidator(_page_address)] = ""
    """Where others open the page, as 'https://voice.example.org/': in the links that sign in. Empty means at this
    machine's address."""

    names: list[Annotated[str, AfterValidator(_host_name)]] = Field(default_factory=list)
    """Names that browsers know the server by, as 'meadowlark.lan'. Without tokens it answers to no other name, but
    always to IP addresses and to 'localhost'."""

    tokens: Literal["auto", "on"] = "auto"
    """Ask for a token: 'auto' does where other machines can connect, 'on' always, as behind a proxy on this machine."""

    requests_a_minute: int = Field(1200, ge=0, le=1_000_000)
    """Requests of one token, or of one address without a token, where tokens are asked for; the next is answered 429.
    0 is any number."""

    certificate: Path | None = None
    """PEM file with a certificate and its chain: serve HTTPS. It is read again when it changes."""

    key: Path | None = None
    """PEM file with its private key, without a password; none means that it is in the file of the certificate."""

    hsts: bool = False
    """With a certificate: browsers that came once come by HTTPS only, for a year, on all ports of this name. Only
    where no other program is at the same name without HTTPS, as Home Assistant often is."""

    recording_minutes: float = Field(10.0, gt=0, le=240)
    """Longest recording that is transcribed. Each minute of it takes 2 MB of memory, and about 6 s of one core."""

    recording_mb: int = Field(50, ge=1, le=2000)
    """Largest file with a recording; it is on disk while it is read."""

    recordings: int = Field(4, ge=1, le=64)
    """Recordings that are taken in or transcribed at the same time; the next is answered 429."""

    texts: int = Field(8, ge=1, le=256)
    """Texts that are spoken at the same time for clients of HTTP; the next is answered 429."""

    questions: int = Field(16, ge=1, le=256)
    """Questions that are answered at the same time for clients of HTTP; the next is answered 429."""

    @property
    def scheme(self) -> str:
        return "http" if self.certificate is None else "https"


class DiscoverySettings(Section):
    """Being found on the network."""

    announce: Literal["auto", "on", "off"] = "auto"
    """Announce by zeroconf: 'auto' does with `lan`."""

    name: str = Field("Meadowlark", min_length=1, max_length=63)
    """Name under which the server appears."""

    interfaces: list[str] = Field(default_factory=list)
    """Addresses of the network interfaces to announce on; none means all that have one."""


class ModelsSettings(Section):
    """Where models come from when they are not here."""

    hub: str = "https://huggingface.co"
    """A Hugging Face hub or a mirror of it."""

    offline: bool = False
    """Never fetch; say instead which file to put where."""


class LimitSettings(Section):
    """How much of the server a tenant may use; more is told to come again, and takes nothing from others."""

    questions: int = Field(16, ge=1, le=256)
    """Questions that are answered at the same time for its clients of HTTP."""

    sessions: int = Field(16, ge=1, le=256)
    """Browsers and programs that speak at the same time."""

    turns_a_minute: int = Field(240, ge=1, le=10_000)
    """Turns in a minute, wherever they are asked for."""

    connections: int = Field(64, ge=1, le=10_000)
    """Connections to its own Wyoming port at the same time."""


class TenantSettings(Section):
    """Another household, or an organisation, on this server: it shares the engines, and nothing else."""

    name: str = Field("", max_length=63)
    """What it is called; empty is the key itself."""

    wyoming: Annotated[str, AfterValidator(_tenant_uri)] = ""
    """A Wyoming port of its own, as tcp://HOST:PORT, for its satellites; empty for none."""

    asr: OwnAsrSettings = OwnAsrSettings()
    agent: TenantAgentSettings = TenantAgentSettings()
    limits: LimitSettings = LimitSettings()


class ServerSettings(Section):
    """Everything that can be set."""

    data_dir: Path = Field(default_factory=lambda: user_data_path("meadowlark"))
    """Models, tokens and, later, memories. The only folder that the server writes."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much is logged. Only 'debug' logs words that were spoken."""

    lan: bool = False
    """Listen on all addresses, announce by zeroconf, ask for a token on HTTP."""

    wyoming: WyomingSettings = WyomingSettings()
    http: HttpSettings = HttpSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    models: ModelsSettings = ModelsSettings()
    wake: WakeSettings = WakeSettings()
    asr: AsrSettings = AsrSettings()
    agent: AgentSettings = AgentSettings()
    recordings: RecordingSettings = RecordingSettings()
    tts: TtsSettings = TtsSettings()
    tenants: dict[TenantKey, TenantSettings] = Field(default_factory=dict)
    """Other households or organisations on this server, by a key that their tokens carry."""

    @model_validator(mode="after")
    def _ports_are_their_own(self) -> Self:
        taken = {port for _, port in [self.wyoming_bind(), self.http_bind()] if port}
        for key, tenant in self.tenants.items():
            _, port = parse_uri(tenant.wyoming, WYOMING_PORT) if tenant.wyoming else ("", 0)
            if port in taken:
                raise ValueError(f"tenants.{key}.wyoming: port {port} is used already; choose another one")
            taken |= {port} - {0}
        return self

    @property
    def households(self) -> dict[str, AgentSettings]:
        """How each household on this server talks, by the key of its tenant; '' is the server's own."""
        others = {key: self.agent.of_tenant(tenant.agent) for key, tenant in self.tenants.items()}
        return {"": self.agent, **others}

    def folder_of(self, tenant: str) -> Path:
        """Where a household keeps what is its own."""
        return self.data_dir / "tenants" / tenant if tenant else self.data_dir

    def tenant_bind(self, tenant: str) -> tuple[list[str], int]:
        """Addresses and port of a tenant's own Wyoming port."""
        return self._bind(self.tenants[tenant].wyoming, WYOMING_PORT)

    def wyoming_bind(self) -> tuple[list[str], int]:
        """Addresses and port to listen on for Wyoming."""
        return self._bind(self.wyoming.uri, WYOMING_PORT)

    def http_bind(self) -> tuple[list[str], int]:
        """Addresses and port to listen on for HTTP."""
        return self._bind(self.http.address, HTTP_PORT)

    @property
    def asks_for_token(self) -> bool:
        """Whether HTTP lets nobody in without a token."""
        return self.http.tokens == "on" or not all(is_loopback(host) for host in self.http_bind()[0])

    @property
    def announced(self) -> bool:
        return self.discovery.announce == "on" or (self.discovery.announce == "auto" and self.lan)

    def _bind(self, address: str, default_port: int) -> tuple[list[str], int]:
        host, port = parse_uri(address, default_port)
        if self.lan and is_loopback(host):
            return ["0.0.0.0", "::"], port
        return [host], port
