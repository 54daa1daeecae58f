"""Where a request comes from: which machine, over what, and whether the page of a stranger sent it."""

from __future__ import annotations

import contextlib
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from server.settings import is_loopback

NAMES: web.AppKey[tuple[str, ...]] = web.AppKey("names", tuple)
"""Names of the server that its settings know, in lower case."""

_OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
"""What proxies say of those whom they bring."""

_IPV6_NETWORK = 64
"""Bits of an IPv6 address that are one household's; of the rest its machines take a new one whenever they like."""


def address_of(request: web.Request) -> str:
    """The machine that asks, by its address (IPv6: by its network), also behind a proxy on this machine."""
    address = request.remote or ""
    if is_loopback(address):
        # What came in the header's earlier lines and words, anybody may have sent to the proxy.
        address = request.headers.getall("X-Forwarded-For", [address])[-1].rpartition(",")[2].strip()
    return network_of(address) or request.remote or ""


def network_of(address: str) -> str:
    """What stands for a machine that has this address: of IPv6 its network. '' for what is no address."""
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip  # else all of IPv4 would be one network
        return str(ipaddress.ip_network((ip, _IPV6_NETWORK), strict=False)) if ip.version == 6 else str(ip)
    return ""


def is_over_tls(request: web.Request) -> bool:
    """Whether nobody on the way can read it: our own TLS, or that of a proxy on this machine."""
    told = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return request.secure or (told == "https" and is_loopback(request.remote or ""))


def is_own_page(request: web.Request) -> bool:
    """Whether a request may come from a page of ours, or from a program. A browser says where its page came from, and
    cannot send 'X-Forwarded-Host' for a stranger."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    ours = {request.host.lower(), request.headers.get("X-Forwarded-Host", "").lower()}
    try:
        netloc = urlsplit(origin).netloc.lower()
    except ValueError:  # it is no address
        return False
    return bool(netloc) and netloc in ours


def is_of_same_origin(request: web.Request) -> bool:
    """Whether it may come from a page of this very port, or from none: to a browser the other ports of a host are of
    the same site, and get its cookies. It always says where a page came from that can send more than a GET."""
    return "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")


def is_brought(request: web.Request) -> bool:
    """Whether a proxy brings it, and says so: it may come from anywhere."""
    return any(name in request.headers for name in _OF_PROXIES)


def is_own_name(request: web.Request) -> bool:
    """Whether it asked for a name that no stranger can point at this machine (DNS rebinding): an IP address, that of
    the machine for itself, or one of the settings."""
    host = _name_of(request)
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return host == "localhost" or host.endswith(".localhost") or host in request.app.get(NAMES, ())


def is_trustworthy(request: web.Request) -> bool:
    """Whether a browser takes the page for one that nobody on the way has changed."""
    return is_over_tls(request) or is_loopback(_name_of(request))


def _name_of(request: web.Request) -> str:
    """Of the server, as it was asked for; empty where that is no name."""
    try:
        return (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
