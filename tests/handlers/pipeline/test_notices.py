"""Notices over real sockets, spoken by Piper; the test is the satellite."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wyoming.event import Event

from handlers.agent.schedule.entry import Change, Clock, Entry, Heard, Kind, Owner
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.skills.skills import Skills
from handlers.audio import AudioFormat, to_float
from handlers.pipeline import notices as module
from handlers.pipeline.bell import Bell
from handlers.pipeline.notices import NoticeHandler, Notices, chime_audio
from handlers.tts.piper import PiperSynthesizer
from handlers.wire.client import WyomingClient, connect
from server.wyoming import WyomingServer
from tests.support.server import read_until

HELLO = Event("satellite-connected", {"context": {"satellite_id": "kitchen"}})


@pytest.fixture
def notices(piper: PiperSynthesizer) -> Notices:
    return Notices(piper)


@pytest.fixture
async def server(notices: Notices) -> AsyncIterator[WyomingServer]:
    server = WyomingServer(
        "127.0.0.1",
        0,
        describe=lambda: Event("info", {}),
        services=lambda connection: [NoticeHandler(connection, notices)],
    )
    await server.start()
    yield server
    await server.close()


Call = Callable[[str], contextlib.AbstractAsyncContextManager[WyomingClient]]


@pytest.fixture
def call(server: WyomingServer) -> Call:
    """A satellite that can be called."""

    @contextlib.asynccontextmanager
    async def called(name: str) -> AsyncIterator[WyomingClient]:
        async with connect("127.0.0.1", server.port) as client:
            await client.send(Event("satellite-connected", {"context": {"satellite_id": name}}))
            assert (await read_until(client, "ping"))[-1].type == "ping"
            yield client

    return called


def played(started: Event, **data: object) -> Event:
    return Event("played", {"notice": started.data["notice"], **data})


async def hear(client: WyomingClient) -> tuple[list[Event], bytes]:
    """One notice: its events and its audio."""
    events = await read_until(client, "audio-stop")
    return events, b"".join(event.payload or b"" for event in events if event.type == "audio-chunk")


async def test_a_notice_is_spoken_and_heard(notices: Notices, call: Call) -> None:
    async with call("kitchen") as client:
        saying = asyncio.create_task(notices.say("kitchen", "Your timer is done.", "en"))
        events, audio = await hear(client)
        assert [event.type for event in events[:2]] == ["audio-start", "audio-chunk"]
        assert events[0].data["rate"] == 22_050
        assert 0.7 < len(audio) / 44_100 < 5
        assert np.abs(to_float(audio)).max() > 0.1
        assert not saying.done()  # it waits for the word that it was heard
        await client.send(played(events[0]))
        assert await saying is Heard.HEARD


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        ({}, Heard.HEARD),
        ({"seconds": 0.4, "stopped": True}, Heard.STOPPED),
        ({"seconds": 0.4}, Heard.HEARD),
        ({"seconds": 0.0}, Heard.NOBODY),
    ],
)
async def test_what_came_of_it(notices: Notices, call: Call, data: dict[str, object], heard: Heard) -> None:
    async with call("kitchen") as client:
        saying = asyncio.create_task(notices.say("kitchen", "Hello.", "en"))
        events, _ = await hear(client)
        await client.send(Event("played", {"notice": "another"}))  # of one that was given up
        await client.send(played(events[0], **data))
        assert await saying is heard


async def test_nobody_is_there(notices: Notices, call: Call) -> None:
    assert await notices.say("kitchen", "Hello.", "en") is Heard.NOBODY
    assert await notices.say("", "Hello.", "en") is Heard.NOBODY
    async with call("bedroom"):
        assert await notices.say("kitchen", "Hello.", "en") is Heard.NOBODY


async def test_what_cannot_be_spoken_is_not_a_chime(
    notices: Notices, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    async with call("kitchen"):
        assert await notices.say("kitchen", "🙂", "en", chime=True) is Heard.NOBODY
    assert "nothing in this text that can be spoken" in caplog.text


async def test_a_satellite_that_goes_did_not_hear(notices: Notices, call: Call) -> None:
    async with call("kitchen") as client:
        saying = asyncio.create_task(notices.say("kitchen", "Hello.", "en"))
        await hear(client)
    async with asyncio.timeout(10):
        assert await saying is Heard.NOBODY
    assert notices.connected == ()


async def test_one_that_never_answers_is_not_waited_for(
    notices: Notices, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLAYED_SECONDS", -0.5)
    async with call("kitchen") as client:
        saying = asyncio.create_task(notices.say("kitchen", "Hello.", "en"))
        await hear(client)
        async with asyncio.timeout(10):
            assert await saying is Heard.NOBODY
        [abort] = await read_until(client, "audio-stop")
        assert abort.data["abort"] is True


async def test_cancelling_makes_the_satellite_silent(notices: Notices, call: Call) -> None:
    async with call("kitchen") as client:
        saying = asyncio.create_task(notices.say("kitchen", "Hello.", "en"))
        events, _ = await hear(client)
        saying.cancel()
        [abort] = await read_until(client, "audio-stop")
        assert abort.data == {"notice": events[0].data["notice"], "abort": True} | abort.data
        with pytest.raises(asyncio.CancelledError):
            await saying


async def test_all_satellites_are_told_and_one_may_stop_it(notices: Notices, call: Call) -> None:
    async with call("kitchen") as kitchen, call("bedroom") as bedroom:
        saying = asyncio.create_task(notices.say("", "Dinner is ready.", "en"))
        (events, audio), (others, same) = await hear(kitchen), await hear(bedroom)
        assert audio == same
        await kitchen.send(played(events[0], seconds=0.5, stopped=True))
        assert await saying is Heard.STOPPED
        assert (await read_until(bedroom, "audio-stop"))[-1].data["abort"] is True
        assert others[0].data["notice"] == events[0].data["notice"]


async def test_notices_come_one_after_another(notices: Notices, call: Call) -> None:
    async with call("kitchen") as client:
        saying = [asyncio.create_task(notices.say("kitchen", text, "en")) for text in ("One.", "Two.")]
        for _ in saying:
            events, _ = await hear(client)
            await client.send(played(events[0]))
        assert await asyncio.gather(*saying) == [Heard.HEARD, Heard.HEARD]


async def test_the_newer_of_two_with_one_name_stays(notices: Notices, call: Call) -> None:
    async with call("kitchen") as older:
        async with call("kitchen") as newer:
            error = (await read_until(older, "error"))[-1]
            assert error.data["code"] == "replaced"
            assert await older.receive(10) is None
            saying = asyncio.create_task(notices.say("kitchen", "Hello.", "en"))
            events, _ = await hear(newer)
            await newer.send(played(events[0]))
            assert await saying is Heard.HEARD
        assert await newer.receive(10) is None


async def test_who_comes_is_told(notices: Notices, call: Call) -> None:
    came: list[str] = []
    notices.on_arrival(came.append)
    async with call("kitchen"), call("bedroom"):
        assert came == ["kitchen", "bedroom"]
        assert set(notices.connected) == {"kitchen", "bedroom"}


@pytest.mark.parametrize(
    "hello",
    [
        Event("satellite-connected", {}),
        Event("satellite-connected", {"context": {"satellite_id": ""}}),
        Event("satellite-connected", {"context": {"satellite_id": 5}}),
        Event("satellite-connected", {"context": "kitchen"}),
    ],
)
async def test_a_satellite_without_a_name_is_refused(server: WyomingServer, notices: Notices, hello: Event) -> None:
    async with connect("127.0.0.1", server.port) as client:
        await client.send(hello)
        assert (await read_until(client, "error"))[-1].data["code"] == "bad-event"
        assert notices.connected == ()
        await client.send(HELLO)  # the connection goes on
        await read_until(client, "ping")
        await client.send(HELLO)
        assert (await read_until(client, "error"))[-1].data["code"] == "bad-event"


async def test_who_answers_no_ping_is_dropped(notices: Notices, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.6)
    async with call("kitchen") as silent, call("bedroom") as polite:

        async def answer() -> None:
            while (event := await polite.receive(10)) is not None:
                if event.type == "ping":
                    await polite.send(Event("pong", {}))

        answering = asyncio.create_task(answer())
        assert (await read_until(silent, "error"))[-1].data["code"] == "idle"
        assert notices.connected == ("bedroom",)
        answering.cancel()


async def test_a_language_without_a_voice_is_spoken_by_another(notices: Notices, call: Call) -> None:
    async with call("kitchen") as client:
        saying = asyncio.create_task(notices.say("kitchen", "Påminnelse: soporna.", "sv"))
        events, audio = await hear(client)
        assert len(audio) > 10_000
        await client.send(played(events[0]))
        assert await saying is Heard.HEARD


def test_the_chime_is_in_the_voice_s_format_and_does_not_click() -> None:
    for audio_format in (AudioFormat(22_050), AudioFormat(16_000, 2, 2)):
        pcm = chime_audio(audio_format)
        assert len(pcm) % (2 * audio_format.channels) == 0
        assert 0.9 < len(pcm) / audio_format.bytes_per_second < 1.3
        samples = to_float(pcm)[:: audio_format.channels]
        assert 0.3 < np.abs(samples).max() < 0.5
        assert np.abs(np.diff(samples)).max() < 0.2


@pytest.fixture(scope="module")
def skills() -> Skills:
    return Skills()


def entry(kind: Kind, **changes: object) -> Entry:
    plain = Entry("a1", kind, Owner("kitchen", language="en"), 0.0, 1_780_000_000.0, duration=600.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("due", "late", "said"),
    [
        (entry(Kind.TIMER), 0, "Your timer is done."),
        (entry(Kind.TIMER, name="pasta"), 0, "Your timer for pasta is done."),
        (entry(Kind.TIMER, name="pasta"), 300, "Your timer for pasta was done 5 minutes ago."),
        (entry(Kind.ALARM, wall="2026-06-04T07:00:00"), 0, "It's 7:00 AM."),
        (entry(Kind.ALARM, wall="2026-06-04T07:00:00"), 600, "Your alarm was for 7:00 AM."),
        (entry(Kind.REMINDER, text="take out the bins"), 0, "Reminder: take out the bins."),
        (entry(Kind.TIMER, owner=Owner(language="de")), 0, "Dein Timer ist abgelaufen."),
        (entry(Kind.TIMER, owner=Owner(language="xx")), 0, "Your timer is done."),
    ],
)
def test_what_is_said_when_it_is_due(notices: Notices, skills: Skills, due: Entry, late: float, said: str) -> None:
    bell = Bell(notices, skills.phrases, Clock(lambda: due.due + late))
    assert bell.sentence(due) == said


async def test_a_timer_from_beginning_to_end(notices: Notices, skills: Skills, call: Call, tmp_path: Path) -> None:
    """Schedule, bell and notices as the server wires them."""
    bell = Bell(notices, skills.phrases)
    schedule = Schedule(tmp_path / "schedule.db", bell.ring, watch=bell.watch)
    notices.on_arrival(schedule.came)
    await schedule.start()
    try:
        async with call("kitchen") as client:
            timer = await schedule.timer(Owner("kitchen"), 600, "pasta")
            started = (await read_until(client, "timer-started"))[-1]
            assert started.data == {"id": timer.id, "total_seconds": 600, "name": "pasta"} | started.data
            await schedule.extend(timer, -599)
            assert (await read_until(client, "timer-updated"))[-1].data["total_seconds"] == 1
            events, audio = await hear(client)
            assert events[0].type == "timer-finished"
            assert events[0].data["id"] == timer.id
            assert events[1].data["rings"] == timer.id
            chime = chime_audio(AudioFormat(22_050))
            assert audio.startswith(chime)
            assert len(audio) > len(chime) + 20_000
            await client.send(played(events[1], seconds=1.0, stopped=True))
            async with asyncio.timeout(10):
                while schedule.entries():  # noqa: ASYNC110 -- ends with the task that rang
                    await asyncio.sleep(0.005)
            cancelled = await schedule.timer(Owner("kitchen"), 600)
            await schedule.cancel([cancelled])
            assert (await read_until(client, "timer-cancelled"))[-1].data == {"id": cancelled.id}
    finally:
        await schedule.close()
        await bell.close()


async def test_a_reminder_waits_for_its_satellite(notices: Notices, skills: Skills, call: Call, tmp_path: Path) -> None:
    finished = asyncio.Event()
    tried = asyncio.Event()
    bell = Bell(notices, skills.phrases)

    async def ring(due: Entry) -> Heard:
        heard = await bell.ring(due)
        tried.set()
        return heard

    def watch(due: Entry, change: Change) -> None:
        if change is Change.FINISHED:
            finished.set()

    schedule = Schedule(tmp_path / "schedule.db", ring, watch=watch)
    notices.on_arrival(schedule.came)
    await schedule.start()
    try:
        await schedule.reminder(Owner("kitchen"), "take out the bins", 0.05)
        async with asyncio.timeout(10):
            await tried.wait()
            while schedule.ringing("kitchen"):  # noqa: ASYNC110 -- ends with its task
                await asyncio.sleep(0.005)
        assert len(schedule.entries()) == 1
        async with call("kitchen") as client:
            events, _ = await hear(client)
            assert "rings" not in events[0].data
            await client.send(played(events[0]))
            async with asyncio.timeout(10):
                await finished.wait()
        assert schedule.entries() == []
    finally:
        await schedule.close()
        await bell.close()
