"""The announcement and the search for it, on the loopback interface only: no test multicasts on a real network."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import uuid
from collections.abc import AsyncIterator

import ifaddr
import pytest
from zeroconf import IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from handlers.wire.announcement import announced_addresses
from handlers.wire.discovery import MEADOWLARK_TYPE, WYOMING_TYPE, find_server, find_servers, parse_announcement
from server.discovery import Announcer

LOOPBACK = ["127.0.0.1"]
SOON = 20.0
"""A deadline that only a defect reaches."""


class Browser:
    """What another program on the network sees."""

    def __init__(self) -> None:
        self._zeroconf = AsyncZeroconf(interfaces=list(LOOPBACK))
        self._seen: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, [MEADOWLARK_TYPE, WYOMING_TYPE], handlers=[self._on_change]
        )

    async def seen(self, change: ServiceStateChange, name: str) -> None:
        async with asyncio.timeout(SOON):
            while (change.name, name) not in self._seen:
                self._changed.clear()
                await self._changed.wait()

    async def info(self, service_type: str, name: str) -> AsyncServiceInfo:
        info = AsyncServiceInfo(service_type, name)
        assert await info.async_request(self._zeroconf.zeroconf, SOON * 1000)
        return info

    async def close(self) -> None:
        await self._browser.async_cancel()
        await self._zeroconf.async_close()

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        self._seen.add((state_change.name, name))
        self._changed.set()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    opened = Browser()
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def announcing(
    name: str, server_id: str = "", port: int = 10600, address: str = "127.0.0.1"
) -> AsyncIterator[Announcer]:
    announcer = Announcer(server_id or str(uuid.uuid4()), "1.2.3", port, 10680, name, interfaces=LOOPBACK)
    await announcer.start([address])
    try:
        yield announcer
    finally:
        await announcer.close()


def unique() -> str:
    """A name that no other test run on this machine uses."""
    return f"Kitchen {uuid.uuid4().hex[:8]}"


async def test_both_services_are_announced_and_taken_back(browser: Browser) -> None:
    name = unique()
    async with announcing(name, "the-id"):
        for service_type in (MEADOWLARK_TYPE, WYOMING_TYPE):
            full = f"{name}.{service_type}"
            await browser.seen(ServiceStateChange.Added, full)
            info = await browser.info(service_type, full)
            assert info.port == 10600
            assert info.parsed_addresses() == ["127.0.0.1"]
            assert info.decoded_properties == {
                "version": "1.2.3",
                "wyoming": "10600",
                "http": "10680",
                "id": "the-id",
            }
    # Without a goodbye that was really sent, these would come after the time to live of 75 minutes.
    for service_type in (MEADOWLARK_TYPE, WYOMING_TYPE):
        await browser.seen(ServiceStateChange.Removed, f"{name}.{service_type}")


async def test_a_second_server_of_the_same_name_gets_another_name(browser: Browser) -> None:
    name = unique()
    async with announcing(name, "first"), announcing(name, "second", port=10601):
        renamed = f"{name}-2.{MEADOWLARK_TYPE}"
        await browser.seen(ServiceStateChange.Added, renamed)
        assert (await browser.info(MEADOWLARK_TYPE, renamed)).decoded_properties["id"] == "second"
    await browser.seen(ServiceStateChange.Removed, renamed)


async def test_find_server_finds_it_and_only_while_it_is_there() -> None:
    name, server_id = unique(), str(uuid.uuid4())
    async with announcing(name, server_id, port=10699):
        found = await find_server(SOON, LOOPBACK, server_id)
        assert found is not None
        assert (found.name, found.id, found.version) == (name, server_id, "1.2.3")
        assert (found.addresses, found.wyoming_port, found.http_port) == (("127.0.0.1",), 10699, 10680)
        assert found.is_local
        assert server_id in [server.id for server in await find_servers(1.5, LOOPBACK)]
        assert await find_server(SOON, LOOPBACK) is not None
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await find_server(0.5, LOOPBACK, server_id) is None
    assert loop.time() - begun < SOON / 2


async def test_a_server_on_this_machine_is_preferred() -> None:
    async with announcing(unique(), "far", address="198.51.100.7"):
        far = await find_server(SOON, LOOPBACK, "far")
        assert far is not None
        assert (far.addresses, far.is_local) == (("198.51.100.7",), False)
        async with announcing(unique(), "near"):
            found = await find_server(SOON, LOOPBACK)
            assert found is not None
            assert found.is_local
            everybody = await find_servers(2.5, LOOPBACK)
            assert {"far", "near"} <= {server.id for server in everybody}
            assert everybody[0].is_local


# zeroconf itself leaves a socket open when it cannot use an interface.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("interface", ["203.0.113.77", "no address"])
async def test_a_failure_is_a_warning_and_no_crash(interface: str, caplog: pytest.LogCaptureFixture) -> None:
    announcer = Announcer("id", "1", 10600, 10680, "Kitchen", interfaces=[interface])
    await announcer.start(["127.0.0.1"])
    assert [record.levelno for record in caplog.records if record.name == "server.discovery"] == [logging.WARNING]
    assert "--server tcp://HOST:10600" in caplog.text
    await announcer.close()
    gc.collect()


async def test_closing_while_it_starts_ends_both() -> None:
    announcer = Announcer("id", "1", 10600, 10680, unique(), interfaces=LOOPBACK)
    starting = asyncio.create_task(announcer.start(["127.0.0.1"]))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    async with asyncio.timeout(SOON):
        await announcer.close()
    assert starting.cancelled()


def adapter(name: str, *addresses: str) -> ifaddr.Adapter:
    ips = [
        ifaddr.IP((address, 0, 2) if ":" in address else address, 64 if ":" in address else 24, name)
        for address in addresses
    ]
    return ifaddr.Adapter(name, name, ips, index=2)


ADAPTERS = [
    adapter("lo", "127.0.0.1", "::1"),
    adapter("docker0", "172.17.0.1", "fd01::1"),
    adapter("eth0", "fe80::1", "2001:db8::5", "fd00::5", "192.168.1.5"),
    adapter("wlan0", "192.168.1.6"),
]


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (["0.0.0.0"], ["192.168.1.5", "192.168.1.6"]),
        (["::"], ["2001:db8::5", "fd00::5"]),
        (["::", "0.0.0.0"], ["192.168.1.5", "192.168.1.6", "2001:db8::5", "fd00::5"]),
        (["192.168.1.6"], ["192.168.1.6"]),
        (["127.0.0.1"], ["127.0.0.1"]),
        (["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
        (["127.0.0.1", "192.168.1.6"], ["192.168.1.6"]),
    ],
)
def test_announced_addresses_are_real(bound: list[str], expected: list[str]) -> None:
    assert announced_addresses(bound, ADAPTERS) == expected


def test_announced_addresses_without_a_network() -> None:
    assert announced_addresses(["0.0.0.0", "::"], ADAPTERS[:1]) == ["127.0.0.1", "::1"]
    assert announced_addresses(["0.0.0.0"], ADAPTERS[:2]) == ["172.17.0.1"]


def test_announced_addresses_of_this_machine() -> None:
    for address in announced_addresses(["0.0.0.0", "::"], list(ifaddr.get_adapters())):
        assert address not in ("0.0.0.0", "::")


def announcement(*addresses: str, **properties: str) -> ServiceInfo:
    return ServiceInfo(
        MEADOWLARK_TYPE,
        f"Kitchen.{MEADOWLARK_TYPE}",
        port=1,
        properties=properties,
        parsed_addresses=list(addresses),
    )


USABLE = {"wyoming": "10600", "http": "10680", "id": "x", "version": "1"}


@pytest.mark.parametrize(
    "info",
    [
        announcement("192.168.1.5"),
        announcement("192.168.1.5", **{**USABLE, "wyoming": "0"}),
        announcement("192.168.1.5", **{**USABLE, "wyoming": "70000"}),
        announcement("192.168.1.5", **{**USABLE, "wyoming": "1e3"}),
        announcement("192.168.1.5", **{**USABLE, "wyoming": "９"}),
        announcement("192.168.1.5", **{**USABLE, "id": ""}),
        announcement(**USABLE),
        announcement("0.0.0.0", "::", **USABLE),
    ],
)
def test_unusable_announcements_are_ignored(info: ServiceInfo) -> None:
    assert parse_announcement(info, set()) is None


def test_addresses_come_in_the_order_to_try_them() -> None:
    server = parse_announcement(announcement("fe80::1", "fd00::5", "0.0.0.0", "192.168.1.5", **USABLE), {"fd00::5"})
    assert server is not None
    assert server.addresses == ("192.168.1.5", "fd00::5", "fe80::1")
    assert server.is_local
    elsewhere = parse_announcement(announcement("192.168.1.5", **{**USABLE, "http": "none"}), {"192.168.1.9"})
    assert elsewhere is not None
    assert (elsewhere.is_local, elsewhere.http_port) == (False, None)


def test_ipv6_is_announced() -> None:
    info = announcement(*announced_addresses(["::", "0.0.0.0"], ADAPTERS), **USABLE)
    assert info.parsed_addresses(IPVersion.V6Only) == ["2001:db8::5", "fd00::5"]
