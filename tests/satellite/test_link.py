from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest

from handlers.errors import RequestError
from satellite.backoff import Backoff
from satellite.link import Link, LinkLostError
from tests.satellite.peer import Peer, PeerConnection, Script

Serve = Callable[[Script], asyncio.Future[Peer]]


async def patient(connection: PeerConnection) -> None:
    await connection.receive_until("never")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_fixed_address_is_used(serve: Serve) -> None:
    peer = await serve(patient)
    async with Link(peer.uri).open():
        assert len(peer.connections) == 1


async def test_a_server_that_is_not_there_is_one_sentence() -> None:
    uri = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(LinkLostError, match=f"No server answers at {uri} .*: check that") as caught:
        await Link(uri).find()
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("uri", ["http://here:1", "tcp://here:99999", "tcp://"])
def test_an_address_that_cannot_be_is_an_error_at_once(uri: str) -> None:
    with pytest.raises(RequestError, match=r"tcp://HOST:PORT|port") as caught:
        Link(uri)
    assert caught.value.exit_code == 2


async def test_auto_finds_a_server_on_this_machine_without_waiting_for_the_network(serve: Serve) -> None:
    peer = await serve(patient)
    link = Link("auto", local=("127.0.0.1", peer.port), find_seconds=60)
    async with asyncio.timeout(30):
        await link.find()


async def test_auto_without_a_server_says_what_to_do() -> None:
    link = Link("auto", local=("127.0.0.1", free_port()), find_seconds=0.2)
    with pytest.raises(LinkLostError, match="meadowlark-server --lan"):
        await link.find()


async def test_a_server_that_moved_is_found_again(serve: Serve) -> None:
    async with Peer(patient) as first:
        link = Link("auto", local=("127.0.0.1", first.port), find_seconds=0.2)
        await link.find()
    with pytest.raises(LinkLostError):
        await link.find()
    async with Peer(patient, port=first.port) as second:
        await link.find()
        assert second.connections


async def test_waiting_ends_when_the_server_comes_and_tells_its_absence_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "satellite")
    port = free_port()
    waiting = asyncio.create_task(Link(f"tcp://127.0.0.1:{port}").wait())
    async with asyncio.timeout(30):
        while not caplog.messages:  # noqa: ASYNC110 - the log is what is tested
            await asyncio.sleep(0.01)
        async with Peer(patient, port=port):
            await waiting
    assert [record.levelname for record in caplog.records if record.name == "satellite.link"] == ["WARNING", "INFO"]


def test_pauses_grow_to_a_bound_and_differ() -> None:
    pauses = Backoff()
    series = [pauses.next() for _ in range(20)]
    assert 0.25 <= series[0] <= 0.75
    assert all(15 <= pause <= 45 for pause in series[10:])
    assert len(set(series[10:])) > 1
