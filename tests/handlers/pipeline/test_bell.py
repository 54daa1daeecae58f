"""Where it rings: at a satellite of ours, at one of Home Assistant's, or for everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from wyoming.event import Event

from handlers.agent.house.house import House
from handlers.agent.house.stage import HouseError
from handlers.agent.schedule.entry import Entry, Heard, Kind, Owner
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.skills.skills import Skills
from handlers.pipeline.bell import Bell
from handlers.pipeline.notices import NoticeHandler, Notices
from handlers.tts.piper import PiperSynthesizer
from handlers.wire.client import WyomingClient
from server.household import tell_of_arrivals
from tests.support.lender import Lender
from tests.support.ollama import SOON
from tests.support.server import read_until
from tests.support.serving import served

PORCH = "assist_satellite.porch"


@dataclass
class Belfry:
    """A bell between satellites of ours and a house."""

    notices: Notices
    house: House
    lender: Lender
    bell: Bell

    async def ring(self, satellite: str) -> Heard:
        return await self.bell.ring(Entry("a1", Kind.TIMER, Owner(satellite), 0.0, 4_000_000_000.0, duration=600.0))

    @contextlib.asynccontextmanager
    async def satellite(self, name: str) -> AsyncIterator[WyomingClient]:
        """One of ours that can be called."""
        async with served(lambda connection: [NoticeHandler(connection, self.notices)]) as client:
            await client.send(Event("satellite-connected", {"context": {"satellite_id": name}}))
            await read_until(client, "ping")
            yield client


@pytest.fixture(scope="module")
def skills() -> Skills:
    return Skills()


@pytest.fixture
def belfry(piper: PiperSynthesizer, skills: Skills) -> Belfry:
    """The house is connected."""
    notices, house, lender = Notices(piper), House(), Lender()
    house.enter(lender)
    return Belfry(notices, house, lender, Bell(notices, skills.phrases, house=house))


async def hear(client: WyomingClient, **data: object) -> None:
    """Play one notice, and say what came of it."""
    started = (await read_until(client, "audio-stop"))[1]
    await client.send(Event("played", {"notice": started.data["notice"], **data}))


async def test_a_satellite_of_the_house_rings_through_the_house(belfry: Belfry) -> None:
    async with belfry.satellite("kitchen"):  # it stays silent
        assert await belfry.ring(PORCH) is Heard.HEARD
    assert belfry.lender.announced == [(PORCH, "Your timer is done.")]


async def test_a_satellite_of_ours_rings_by_itself(belfry: Belfry) -> None:
    async with belfry.satellite("kitchen") as client:
        ringing = asyncio.create_task(belfry.ring("kitchen"))
        await hear(client)
        assert await ringing is Heard.HEARD
        ringing = asyncio.create_task(belfry.ring("kitchen"))
        await hear(client, seconds=0.0)
        assert await ringing is Heard.NOBODY
    assert belfry.lender.announced == []


async def test_what_has_no_place_rings_at_all_satellites_of_ours(belfry: Belfry) -> None:
    async with belfry.satellite("kitchen") as client:
        ringing = asyncio.create_task(belfry.ring(""))
        await hear(client)
        assert await ringing is Heard.HEARD
    assert belfry.lender.announced == []


async def test_what_has_no_place_and_no_ears_is_shown_once(belfry: Belfry) -> None:
    """What is shown stays: it is not to be repeated for a minute."""
    assert await belfry.ring("") is Heard.STOPPED
    assert belfry.lender.announced == [("", "Your timer is done.")]


async def test_without_a_house_or_where_it_cannot_nobody_has_heard(belfry: Belfry) -> None:
    belfry.lender.outcome = HouseError("gone")
    assert await belfry.ring(PORCH) is Heard.NOBODY
    belfry.house.leave(belfry.lender)
    for place in (PORCH, ""):
        assert await belfry.ring(place) is Heard.NOBODY


async def test_what_nobody_heard_is_told_when_the_house_comes(belfry: Belfry, tmp_path: Path) -> None:
    belfry.house.leave(belfry.lender)
    tried, heard = asyncio.Event(), asyncio.Event()

    async def ring(entry: Entry) -> Heard:
        came = await belfry.bell.ring(entry)
        (heard if came else tried).set()
        return came

    schedule = Schedule(tmp_path / "schedule.db", ring)
    tell_of_arrivals(schedule, belfry.notices, belfry.house)
    await schedule.start()
    try:
        await schedule.reminder(Owner(PORCH), "take out the bins", 0.05)
        async with asyncio.timeout(SOON):
            await tried.wait()
            while schedule.ringing(PORCH):  # noqa: ASYNC110 -- ends with its task
                await asyncio.sleep(0.005)
            belfry.house.enter(belfry.lender)
            await heard.wait()
        assert belfry.lender.announced == [(PORCH, "Reminder: take out the bins.")]
    finally:
        await schedule.close()
        await belfry.bell.close()
