"""Whether an address is in this house: what the switch `local_only` allows.

It goes by the address as it is written. A name is not looked up: that would ask a server outside about the house, and
the answer may change a minute later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from handlers.agent.llm.settings import EndpointSettings, OllamaSettings

_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "::1/128"),
        *("0.0.0.0/32", "::/128"),  # "any address", which connects to this machine
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # RFC 1918, RFC 4193
        *("169.254.0.0/16", "fe80::/10"),  # link-local
        "100.64.0.0/10",  # RFC 6598, which Tailscale uses
    )
)

_SUFFIXES = (".localhost", ".local", ".lan", ".home.arpa", ".internal")
"""RFC 6761, 6762, 8375 and ICANN's reservations, and what home routers use: no name outside ends so.
Docker's host.docker.internal is one of them."""

_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
"""An IPv4 address in one piece, which the system's resolver takes."""

_CLOUD = ("-cloud", ":cloud")
"""Ends of the names of models that an Ollama passes on to ollama.com."""


def is_local(url: object) -> bool:
    """Whether the host of a URL is this machine or in a private network, as it is written. False for what is no URL."""
    try:
        host = (urlsplit(str(url)).hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _is_local_name(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _NETWORKS)


def is_cloud_model(name: str) -> bool:
    """Whether a model of an Ollama runs at ollama.com and not on its machine."""
    return name.endswith(_CLOUD)


def require_local(url: object, key: str) -> None:
    """ValueError when an address that stands at a key of the settings is outside."""
    if not is_local(url):
        host = urlsplit(str(url)).hostname or "an unknown host"
        raise ValueError(
            f"{key} is at {host}, outside this network, and would be told what is said here; "
            "to allow that, set  agent.local_only: false"
        )


def check_local(ollama: OllamaSettings, endpoints: Sequence[EndpointSettings] = ()) -> None:
    """ValueError when a language model of the settings is outside. For `agent.local_only`."""
    require_local(ollama.url, "agent.ollama.url")
    if is_cloud_model(ollama.model):
        raise ValueError(
            f"agent.ollama.model '{ollama.model}' runs at ollama.com, which would be told what is said here; "
            "to allow that, set  agent.local_only: false"
        )
    for position, endpoint in enumerate(endpoints):
        require_local(endpoint.url, f"agent.endpoints[{position}].url")


def _is_local_name(host: str) -> bool:
    """A name without dots is found only in the own network. Numbers are no names: 134744072 is 8.8.8.8."""
    if not host or (host[0].isdigit() and "." not in host and not host.strip("0123456789abcdefx")):
        return False
    return "." not in host or host.endswith(_SUFFIXES)
