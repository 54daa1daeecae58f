"""Announces a service on the local network by multicast DNS."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable, Sequence

import ifaddr
from zeroconf import Error, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from handlers.wire.discovery import close_zeroconf, open_zeroconf

_LOGGER = logging.getLogger(__name__)

_REGISTER_SECONDS = 20.0
"""Probing and announcing a name takes two seconds, and more for everyone who has it already."""

_GOODBYE_SECONDS = 3.0
"""Three goodbyes, 125 ms apart."""

_NAME_BYTES = 56
"""A DNS label has 63; the rest is for the '-2' of a second service of the same name."""

_INSIDE_PREFIXES = ("docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "hassio")
"""Adapters of containers and virtual machines: nobody outside this machine reaches their addresses."""


@contextlib.asynccontextmanager
async def announced(
    service_type: str, name: str, host: str, port: int, bound: Iterable[str], interfaces: Sequence[str] | None = None
) -> AsyncIterator[None]:
    """For as long as the block lasts, `name` is known as a service of this type on `port`.

    `bound` are the addresses that are listened on, `host` is a name for them that nobody else has. `interfaces` are
    addresses of this machine to announce on; by default all, and none where only this machine can connect. A failure
    is logged, never raised: the service works without.
    """
    addresses = announced_addresses(bound, list(ifaddr.get_adapters()))
    if interfaces is None and all(ipaddress.ip_address(address).is_loopback for address in addresses):
        yield
        return
    info = ServiceInfo(
        service_type,
        f"{label(name)}.{service_type}",
        port=port,
        server=f"{host}.local.",
        parsed_addresses=list(addresses),
    )
    announcing = asyncio.create_task(_announce(info, interfaces), name=f"announce {service_type}")
    try:
        yield
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)


async def _announce(info: ServiceInfo, interfaces: Sequence[str] | None) -> None:
    """Until it is cancelled; then the announcement is taken back."""
    zeroconf: AsyncZeroconf | None = None
    registered = False
    try:
        zeroconf = open_zeroconf(interfaces)
        async with asyncio.timeout(_REGISTER_SECONDS):
            sent = await zeroconf.async_register_service(info, allow_name_change=True)
            registered = True
            await sent
        _LOGGER.info("Announced as '%s'", info.name.removesuffix("." + info.type))
        await asyncio.Event().wait()
    except Exception as error:  # whatever a network may do
        _LOGGER.warning(
            "This cannot be announced on the network (%s): give others its address, with port %d",
            str(error) or type(error).__name__,
            info.port,
        )
    finally:
        if zeroconf is not None and registered:
            with contextlib.suppress(OSError, Error):  # TimeoutError is an OSError; the announcement expires by itself
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await (await zeroconf.async_unregister_service(info))
        if zeroconf is not None:
            await close_zeroconf(zeroconf)


def announced_addresses(bound: Iterable[str], adapters: Sequence[ifaddr.Adapter]) -> list[str]:
    """The real addresses under which others reach a server bound to `bound`; IPv4 first, never an unspecified one.

    A wildcard becomes every address of its family except loopback, IPv6 link-local (useless without the reader's own
    interface) and those of containers, unless nothing else is left. Loopback stands only where it is alone.
    """
    result: list[str] = []
    loopback: list[str] = []
    for address in bound:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if not ip.is_unspecified:
            (loopback if ip.is_loopback else result).append(str(ip))
            continue
        loopback.append("127.0.0.1" if ip.version == 4 else "::1")
        inside = [adapter for adapter in adapters if adapter.nice_name.startswith(_INSIDE_PREFIXES)]
        outside = [adapter for adapter in adapters if adapter not in inside]
        result.extend(_reachable(outside, ip.version) or _reachable(inside, ip.version))
    return sorted(dict.fromkeys(result or loopback), key=lambda address: ":" in address)


def label(name: str) -> str:
    """`name` as a DNS label: no control characters, no dots at the end, short enough."""
    clean = "".join(character for character in name if character.isprintable()).strip(" .")
    return clean.encode("utf-8")[:_NAME_BYTES].decode("utf-8", "ignore").strip(" .") or "Meadowlark"


def _reachable(adapters: Iterable[ifaddr.Adapter], version: int) -> list[str]:
    found = [
        ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
        for adapter in adapters
        for ip in adapter.ips
    ]
    return [
        str(ip)
        for ip in found
        if ip.version == version and not ip.is_loopback and not (version == 6 and ip.is_link_local)
    ]
