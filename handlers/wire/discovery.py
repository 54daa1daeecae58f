"""Finds a Meadowlark server on the local network by multicast DNS; also owns the names under which it is announced."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import ifaddr
from zeroconf import Error, InterfaceChoice, IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

_LOGGER = logging.getLogger(__name__)

MEADOWLARK_TYPE = "_meadowlark._tcp.local."
"""What satellites look for."""

WYOMING_TYPE = "_wyoming._tcp.local."
"""What Home Assistant's Wyoming integration looks for."""

TXT_VERSION = "version"
TXT_WYOMING = "wyoming"
TXT_HTTP = "http"
TXT_ID = "id"

FIND_SECONDS = 5.0
"""A server on the network answers the first question within a second; the rest is for lost packets."""

_NEARER_SECONDS = 0.5
"""After the first answer, how long a server on this machine may still come forward."""

_RESOLVE_SECONDS = 3.0
"""For a server that was named to tell its port and addresses."""

_CLOSE_SECONDS = 2.0
"""For the sockets to close."""

_MAX_NAMES = 64
"""Names that are looked into: nobody has more servers, and a flood of them must not cost more."""


@dataclass(frozen=True)
class FoundServer:
    """A server as it announced itself."""

    name: str
    id: str
    version: str
    addresses: tuple[str, ...]
    """IP addresses, the one to try first in front."""
    wyoming_port: int
    http_port: int | None
    is_local: bool
    """Whether it runs on this machine."""


async def find_server(
    timeout: float = FIND_SECONDS, interfaces: Sequence[str] | None = None, server_id: str | None = None
) -> FoundServer | None:
    """The first server that answers within `timeout` seconds, one on this machine before others; None when none does.

    `interfaces` are addresses of this machine to look through, by default all. With `server_id` only that server
    counts. Raises OSError when this machine has no network to look through.
    """
    first: FoundServer | None = None
    async with contextlib.aclosing(_browse(timeout, interfaces)) as servers:
        async for server in servers:
            if server_id is not None and server.id != server_id:
                continue
            if server.is_local or server_id is not None:
                return server
            first = server
            break
        if first is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NEARER_SECONDS):
                async for server in servers:
                    if server.is_local:
                        return server
    return first


async def find_servers(timeout: float = FIND_SECONDS, interfaces: Sequence[str] | None = None) -> list[FoundServer]:
    """All servers that answer within `timeout` seconds, those on this machine first. Takes the whole time."""
    async with contextlib.aclosing(_browse(timeout, interfaces)) as servers:
        found = [server async for server in servers]
    return sorted(found, key=lambda server: (not server.is_local, server.name))


def open_zeroconf(interfaces: Sequence[str] | None) -> AsyncZeroconf:
    """Multicast DNS on these addresses of this machine, or on all. Raises OSError when that cannot be."""
    if interfaces is not None:
        return AsyncZeroconf(interfaces=list(interfaces))
    try:
        return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.All)
    except (OSError, RuntimeError):  # no IPv6 here
        pass
    try:
        return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
    except RuntimeError as error:
        raise OSError(str(error)) from None


async def close_zeroconf(zeroconf: AsyncZeroconf) -> None:
    """Close the sockets, within a deadline."""
    with contextlib.suppress(TimeoutError, OSError, Error):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await zeroconf.async_close()


def own_addresses(adapters: Sequence[ifaddr.Adapter]) -> set[str]:
    """Every IP address of this machine, loopback included, without IPv6 scopes."""
    return {ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in adapters for ip in adapter.ips}


def parse_announcement(info: ServiceInfo, own: set[str]) -> FoundServer | None:
    """What an announcement says, or None when it cannot be used."""
    texts = {key.decode("utf-8", "replace"): value for key, value in info.properties.items()}
    values = {key: value.decode("utf-8", "replace") for key, value in texts.items() if value}
    wyoming_port = _port(values.get(TXT_WYOMING))
    server_id = values.get(TXT_ID)
    addresses = _best_first(info.parsed_scoped_addresses(IPVersion.All))
    if wyoming_port is None or server_id is None or not addresses:
        return None
    return FoundServer(
        name=info.name.removesuffix("." + info.type),
        id=server_id,
        version=values.get(TXT_VERSION, ""),
        addresses=tuple(addresses),
        wyoming_port=wyoming_port,
        http_port=_port(values.get(TXT_HTTP)),
        is_local=any(address.partition("%")[0] in own for address in addresses),
    )


async def _browse(timeout: float, interfaces: Sequence[str] | None) -> AsyncGenerator[FoundServer, None]:
    """Every usable server once, as they answer, until `timeout` seconds are over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    own = own_addresses(list(ifaddr.get_adapters()))
    found: asyncio.Queue[FoundServer] = asyncio.Queue(_MAX_NAMES)
    names: set[str] = set()
    resolving: set[asyncio.Task[None]] = set()
    zeroconf = open_zeroconf(interfaces)

    async def resolve(name: str) -> None:
        info = AsyncServiceInfo(MEADOWLARK_TYPE, name)
        wait = min(_RESOLVE_SECONDS, end - loop.time())
        if wait <= 0 or not await info.async_request(zeroconf.zeroconf, wait * 1000):
            return
        server = parse_announcement(info, own)
        if server is None:
            _LOGGER.debug("A server announces itself without a usable port, id or address; it is ignored")
        else:
            found.put_nowait(server)

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Removed or name in names or len(names) >= _MAX_NAMES:
            return
        names.add(name)
        resolving.add(asyncio.create_task(resolve(name), name="resolve a found server"))

    browser: AsyncServiceBrowser | None = None
    try:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, MEADOWLARK_TYPE, handlers=[changed])
        while (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    server = await found.get()
            except TimeoutError:
                break
            yield server
    finally:
        if browser is not None:
            await browser.async_cancel()
        for task in resolving:
            task.cancel()
        await asyncio.gather(*resolving, return_exceptions=True)
        await close_zeroconf(zeroconf)


def _port(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 5:
        return None
    port = int(text)
    return port if 0 < port < 65536 else None


def _best_first(addresses: Sequence[str]) -> list[str]:
    """IPv4, then IPv6, then IPv6 that needs a scope; never an unspecified or multicast address."""
    ranked: list[tuple[int, str]] = []
    for address in addresses:
        ip = ipaddress.ip_address(address)
        if ip.is_unspecified or ip.is_multicast:
            continue
        ranked.append((0 if ip.version == 4 else 2 if ip.is_link_local else 1, address))
    return [address for _, address in sorted(ranked, key=lambda pair: pair[0])]
