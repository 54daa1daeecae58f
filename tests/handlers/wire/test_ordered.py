"""Answers in the order of their requests, over a real socket."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from wyoming.event import Event

from handlers.wire.client import WyomingClient
from handlers.wire.connection import Connection
from handlers.wire.ordered import Ordered
from tests.support.server import read_until
from tests.support.serving import served

SOON = 10.0
"""A deadline that only a defect reaches."""


class Echo:
    """Answers `say` events; the first answer waits until it is allowed."""

    def __init__(self) -> None:
        self.allowed = asyncio.Event()
        self.running = asyncio.Event()
        self.ended = asyncio.Event()

    def serve(self, connection: Connection) -> list[Echo]:
        self.connection = connection
        self.answers = Ordered(connection, "echo")
        return [self]

    def wants(self, event_type: str) -> bool:
        return event_type == "say"

    async def handle(self, event: Event) -> None:
        self.answers.start(self._answer(event))

    async def _answer(self, event: Event) -> None:
        self.running.set()
        try:
            await self.allowed.wait()
            await self.connection.send(Event("said", event.data))
        finally:
            self.ended.set()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def client(echo: Echo) -> AsyncIterator[WyomingClient]:
    try:
        async with served(echo.serve) as connected:
            yield connected
    finally:
        gc.collect()  # a coroutine that was dropped unseen would warn now


async def say(client: WyomingClient, count: int) -> None:
    for number in range(count):
        await client.send(Event("say", {"number": number}))


async def numbers(client: WyomingClient, count: int) -> list[int]:
    return [(await read_until(client, "said"))[-1].data["number"] for _ in range(count)]


async def test_answers_come_in_the_order_of_their_requests(client: WyomingClient, echo: Echo) -> None:
    await say(client, 10)
    await client.send(Event("describe"))
    await read_until(client, "info")  # the requests wait, the connection does not
    echo.allowed.set()
    assert await numbers(client, 10) == list(range(10))


async def test_a_client_that_runs_too_far_ahead_is_told_and_can_go_on(client: WyomingClient, echo: Echo) -> None:
    await say(client, 20)
    errors = [(await read_until(client, "error"))[-1].data for _ in range(3)]
    assert {error["code"] for error in errors} == {"busy"}
    echo.allowed.set()
    assert await numbers(client, 17) == list(range(17))
    await say(client, 17)
    assert await numbers(client, 17) == list(range(17))


async def test_a_client_that_leaves_ends_what_runs_and_what_waits(client: WyomingClient, echo: Echo) -> None:
    await say(client, 5)
    async with asyncio.timeout(SOON):
        await echo.running.wait()
        await client.close()
        await echo.ended.wait()


async def test_a_client_that_leaves_before_anything_ran(client: WyomingClient, echo: Echo) -> None:
    await say(client, 5)
    await client.close()
    assert not echo.allowed.is_set()
