"""Announces the server on the local network, so that satellites and Home Assistant find it without an address."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence

import ifaddr
from zeroconf import DNSQuestionType, Error, ServiceInfo
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from handlers.wire.announcement import announced_addresses, label
from handlers.wire.discovery import (
    MEADOWLARK_TYPE,
    TXT_HTTP,
    TXT_ID,
    TXT_VERSION,
    TXT_WYOMING,
    WYOMING_TYPE,
    close_zeroconf,
    open_zeroconf,
)

_LOGGER = logging.getLogger(__name__)

_REGISTER_SECONDS = 20.0
"""Asking for a name, probing and announcing it takes four seconds, and more for every server that has the name."""

_ASK_SECONDS = 1.5
"""For the owner of a name to say so; it may hold an answer back for a second when it has just given it."""

_GOODBYE_SECONDS = 3.0
"""Three goodbyes, 125 ms apart, and the closing of the sockets."""

_MAX_SAME_NAME = 8
"""More servers of one name than this are left to the library's own probe."""


class Announcer:
    """One server's announcement as `_meadowlark._tcp` and `_wyoming._tcp`.

    `interfaces` are addresses of this machine to announce on, by default all that the server can be reached through.
    """

    def __init__(
        self,
        server_id: str,
        version: str,
        wyoming_port: int,
        http_port: int,
        name: str,
        interfaces: Sequence[str] | None = None,
    ) -> None:
        self._name = label(name)
        self._id = server_id
        self._wyoming_port = wyoming_port
        self._properties = {
            TXT_VERSION: version,
            TXT_WYOMING: str(wyoming_port),
            TXT_HTTP: str(http_port),
            TXT_ID: server_id,
        }
        self._interfaces = interfaces
        self._zeroconf: AsyncZeroconf | None = None
        self._registered: list[ServiceInfo] = []

    async def start(self, addresses: Sequence[str]) -> None:
        """Announce a server that listens on `addresses`. A failure is logged, never raised: the server works without.

        Takes about four seconds, because the network is asked first whether the names are free.
        """
        announced = announced_addresses(addresses, list(ifaddr.get_adapters()))
        interfaces = self._interfaces
        if interfaces is None and all(ipaddress.ip_address(address).is_loopback for address in announced):
            interfaces = ["127.0.0.1"]  # nobody else could reach it, so nobody else is told
        try:
            self._zeroconf = open_zeroconf(interfaces)
            async with asyncio.timeout(_REGISTER_SECONDS):
                self._name = await self._free_name(self._zeroconf)
                outcomes = await asyncio.gather(
                    self._register(self._zeroconf, MEADOWLARK_TYPE, announced),
                    self._register(self._zeroconf, WYOMING_TYPE, announced),
                    return_exceptions=True,  # so that none goes on behind our back when the other fails
                )
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        except Exception as error:  # whatever a network may do: the server goes on
            _LOGGER.warning(
                "The server cannot announce itself on the network (%s): give satellites its address with "
                "--server tcp://HOST:%d",
                str(error) or type(error).__name__,
                self._wyoming_port,
            )
            await self.close()
        else:
            _LOGGER.info("Announced as '%s' at %s", self._name, ", ".join(announced))

    async def close(self) -> None:
        """Take the announcement back: browsers are told at once, not when it expires. Within a deadline."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is None:
            return
        registered, self._registered = self._registered, []
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                # The first await takes a service off the list, the second ends when the goodbyes are sent.
                goodbyes = [await zeroconf.async_unregister_service(info) for info in registered]
                await asyncio.gather(*goodbyes)
        except (OSError, Error) as error:
            _LOGGER.warning("The announcement could not be taken back (%s); it expires by itself", type(error).__name__)
        finally:
            await close_zeroconf(zeroconf)

    async def _free_name(self, zeroconf: AsyncZeroconf) -> str:
        """Our name, or with a number behind it where another server has it.

        The library's own probe asks for an answer to port 5353 of this machine alone, which another program here (a
        second server, avahi) may get instead of us; so the network is asked aloud first.
        """
        for number in range(1, _MAX_SAME_NAME):
            name = self._name if number == 1 else f"{self._name}-{number}"
            info = AsyncServiceInfo(MEADOWLARK_TYPE, f"{name}.{MEADOWLARK_TYPE}")
            if not await info.async_request(zeroconf.zeroconf, _ASK_SECONDS * 1000, DNSQuestionType.QM):
                return name
        return self._name

    async def _register(self, zeroconf: AsyncZeroconf, service_type: str, addresses: Sequence[str]) -> None:
        info = ServiceInfo(
            service_type,
            f"{self._name}.{service_type}",
            port=self._wyoming_port,
            properties=self._properties,
            # Not the machine's own host name: its addresses belong to avahi where that runs.
            server=f"meadowlark-{self._id}.local.",
            parsed_addresses=list(addresses),
        )
        announced = await zeroconf.async_register_service(info, allow_name_change=True)
        self._registered.append(info)
        await announced
