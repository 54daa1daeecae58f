"""All settings of the server. Each stage's section is declared beside the stage."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import AfterValidator, Field

from handlers.agent.stage import AgentSettings
from handlers.asr.stage import AsrSettings
from handlers.errors import RequestError
from handlers.settings import Section
from handlers.tts.stage import TtsSettings
from handlers.wake.stage import WakeSettings
from handlers.wire.client import parse_uri

WYOMING_PORT = 10600
HTTP_PORT = 10680


def _wyoming_uri(value: str) -> str:
    return f"tcp://{join_address(*_parse(value, WYOMING_PORT))}"


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
    tts: TtsSettings = TtsSettings()

    def wyoming_bind(self) -> tuple[list[str], int]:
        """Addresses and port to listen on for Wyoming."""
        return self._bind(self.wyoming.uri, WYOMING_PORT)

    def http_bind(self) -> tuple[list[str], int]:
        """Addresses and port to listen on for HTTP."""
        return self._bind(self.http.address, HTTP_PORT)

    @property
    def announced(self) -> bool:
        return self.discovery.announce == "on" or (self.discovery.announce == "auto" and self.lan)

    def _bind(self, address: str, default_port: int) -> tuple[list[str], int]:
        host, port = parse_uri(address, default_port)
        if self.lan and is_loopback(host):
            return ["0.0.0.0", "::"], port
        return [host], port
