"""The schedule with real files and a real clock; where a clock must jump, it is given one that does."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.schedule.entry import (
    DAILY,
    WEEKDAYS,
    Change,
    Clock,
    Entry,
    Heard,
    Kind,
    Owner,
    ScheduleError,
    ScheduleFullError,
    next_time,
)
from handlers.agent.schedule.schedule import MOST_ENTRIES, Schedule
from tests.support.house import settle

KITCHEN = Owner("kitchen")
BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass
class Room:
    """Hears what is told, and does with it what a test says."""

    hears: Heard = Heard.STOPPED
    told: asyncio.Queue[Entry] = field(default_factory=asyncio.Queue)
    changes: list[tuple[str, Change]] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    holds: bool = False
    """Goes on sounding until it is cancelled."""

    async def ring(self, entry: Entry) -> Heard:
        self.told.put_nowait(entry)
        if self.holds:
            try:
                await asyncio.Event().wait()
            finally:
                self.silent.set()
        return self.hears

    def watch(self, entry: Entry, change: Change) -> None:
        self.changes.append((entry.name, change))
        if change is Change.FINISHED:
            self.finished.set()

    async def next(self) -> Entry:
        async with asyncio.timeout(10):
            return await self.told.get()


@dataclass
class Wall:
    """A clock on the wall that can be set."""

    now: float

    def time(self) -> float:
        return self.now


async def until(holds: Callable[[], bool]) -> None:
    """Let the schedule's own task run until something holds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 -- there is no event for what does not happen any more
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(path: Path, room: Room, clock: Clock | None = None) -> AsyncIterator[Schedule]:
    schedule = Schedule(path, room.ring, watch=room.watch, clock=clock, ring_seconds=0.1, look_seconds=0.05)
    await schedule.start()
    try:
        yield schedule
    finally:
        await schedule.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "schedule.db"


@pytest.fixture
def room() -> Room:
    return Room()


async def test_a_timer_rings_when_it_is_due_and_is_over(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        timer = await schedule.timer(KITCHEN, 1, "pasta")
        assert 0 < schedule.left(timer) <= 1
        assert (await room.next()).id == timer.id
        async with asyncio.timeout(5):
            await room.finished.wait()
        assert schedule.entries() == []
        assert room.changes == [("pasta", Change.STARTED), ("pasta", Change.FINISHED)]
    async with opened(path, room) as schedule:
        assert schedule.entries() == []


async def test_several_ring_in_their_order(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        for seconds, name in ((1.3, "third"), (1.0, "first"), (1.15, "second")):
            await schedule.timer(KITCHEN, seconds, name)
        assert [entry.name for entry in schedule.entries()] == ["first", "second", "third"]
        assert [(await room.next()).name for _ in range(3)] == ["first", "second", "third"]


async def test_what_was_set_survives_a_restart(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        timer = await schedule.timer(KITCHEN, 600, "pasta")
        paused = await schedule.pause(await schedule.timer(KITCHEN, 300, "eggs"))
        alarm = await schedule.alarm(KITCHEN, schedule.clock.now() + timedelta(days=1), WEEKDAYS)
        reminder = await schedule.reminder(Owner("hall", "anna", "de"), "Müll", 3600.0)
    async with opened(path, room) as schedule:
        kept = {entry.id: entry for entry in schedule.entries()}
        assert kept == {entry.id: entry for entry in (timer, paused, alarm, reminder)}
        assert 590 < schedule.left(kept[timer.id]) <= 600
        assert schedule.left(kept[paused.id]) == paused.remaining


async def test_what_came_due_while_the_server_was_away_is_told_at_its_start(path: Path) -> None:
    wall = Wall(1_780_000_000.0)
    clock = Clock(wall.time, zone=BERLIN)
    room = Room(Heard.HEARD)
    async with opened(path, room, clock) as schedule:
        await schedule.timer(KITCHEN, 600, "recent")
        await schedule.timer(KITCHEN, 100, "old")
        await schedule.reminder(KITCHEN, "bins", 60.0)
    wall.now += 3000 + 900
    async with opened(path, room, clock) as schedule:
        told = {(await room.next()).kind, (await room.next()).kind}
        assert told == {Kind.TIMER, Kind.REMINDER}
        await until(lambda: not schedule.entries())
        assert room.told.empty()  # not the old one
        assert ("old", Change.FINISHED) in room.changes


async def test_a_reminder_that_nobody_heard_is_told_when_the_satellite_comes(path: Path) -> None:
    room = Room(Heard.NOBODY)
    async with opened(path, room) as schedule:
        await schedule.reminder(KITCHEN, "bins", 0.05)
        await room.next()
        schedule.came("bedroom")
        await until(lambda: not schedule.ringing("kitchen"))
        assert len(schedule.entries()) == 1
        room.hears = Heard.HEARD
        schedule.came("kitchen")
        assert (await room.next()).text == "bins"
        async with asyncio.timeout(5):
            await room.finished.wait()
        assert schedule.entries() == []
        assert room.told.empty()


async def test_a_timer_rings_on_until_it_is_silenced(path: Path) -> None:
    room = Room(Heard.HEARD, holds=True)
    async with opened(path, room) as schedule:
        await schedule.timer(KITCHEN, 1)
        await room.next()
        assert not schedule.silence("bedroom")
        assert not schedule.rang("kitchen")
        assert schedule.silence("kitchen")
        async with asyncio.timeout(5):
            await room.silent.wait()
            await room.finished.wait()
        assert schedule.rang("kitchen")
        assert not schedule.rang("bedroom")
        assert schedule.entries() == []


async def test_a_timer_rings_again_until_somebody_stops_it(path: Path) -> None:
    room = Room(Heard.HEARD)
    schedule = Schedule(path, room.ring, watch=room.watch)
    await schedule.start()
    try:
        timer = await schedule.timer(KITCHEN, 1)
        await room.next()
        assert not room.finished.is_set()
        room.hears = Heard.STOPPED  # as by the wake word
        assert (await room.next()).id == timer.id
        async with asyncio.timeout(5):
            await room.finished.wait()
        assert room.told.empty()
    finally:
        await schedule.close()


async def test_whoever_comes_late_hears_it_for_as_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    time, ahead, rung = loop.time, 0.0, 0
    lengths = {1: 50.0, 2: 20.0, 3: 5.0, 4: 40.0}
    monkeypatch.setattr(loop, "time", lambda: time() + ahead)

    async def ring(entry: Entry) -> Heard:
        nonlocal ahead, rung
        rung += 1
        ahead += lengths[rung]
        return Heard.NOBODY if rung == 1 else Heard.HEARD

    room = Room()
    schedule = Schedule(path, ring, watch=room.watch)
    await schedule.start()
    try:
        await schedule.timer(KITCHEN, 1)
        await room.finished.wait()
        assert rung == 4  # a minute, from the first that somebody could hear
        assert schedule.entries() == []
    finally:
        await schedule.close()


async def test_a_timer_can_be_cancelled_while_it_rings(path: Path) -> None:
    room = Room(Heard.HEARD, holds=True)
    async with opened(path, room) as schedule:
        timer = await schedule.timer(KITCHEN, 1)
        await room.next()
        await schedule.cancel([timer])
        async with asyncio.timeout(5):
            await room.silent.wait()
        assert schedule.entries() == []
        assert room.changes[-1] == ("", Change.CANCELLED)


async def test_what_fails_to_ring_is_kept(path: Path) -> None:
    tried = asyncio.Event()

    async def broken(entry: Entry) -> Heard:
        tried.set()
        raise RuntimeError("the loudspeaker burns")

    schedule = Schedule(path, broken)
    await schedule.start()
    try:
        await schedule.timer(KITCHEN, 1)
        async with asyncio.timeout(10):
            await tried.wait()
        await until(lambda: not schedule.ringing("kitchen"))
        assert len(schedule.entries()) == 1
        assert await schedule.timer(KITCHEN, 60)  # and the schedule lives
    finally:
        await schedule.close()


async def test_pause_resume_and_more_time(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        timer = await schedule.timer(KITCHEN, 600)
        paused = await schedule.pause(timer)
        assert paused.remaining == schedule.left(paused)
        longer = await schedule.extend(paused, 300)
        assert longer.remaining is not None
        assert 890 < longer.remaining <= 900
        running = await schedule.resume(longer)
        assert running.remaining is None
        assert 890 < schedule.left(running) <= 900
        assert 590 < schedule.left(await schedule.extend(running, -300)) <= 600
        with pytest.raises(ScheduleError):
            await schedule.extend(running, -600)
        await schedule.cancel([timer])
        with pytest.raises(ScheduleError, match="over"):
            await schedule.pause(timer)


async def test_a_paused_timer_does_not_ring(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        await schedule.pause(await schedule.timer(KITCHEN, 1, "paused"))
        await schedule.timer(KITCHEN, 1.2, "running")
        assert (await room.next()).name == "running"
        assert [entry.name for entry in schedule.entries() if entry.remaining is not None] == ["paused"]


async def test_a_jump_of_the_clock_does_not_move_a_timer(path: Path, room: Room) -> None:
    wall = Wall(1_780_000_000.0)
    clock = Clock(wall.time, zone=BERLIN)
    async with opened(path, room, clock) as schedule:
        timer = await schedule.timer(KITCHEN, 600)
        wall.now += 86_400
        assert 590 < schedule.left(timer) <= 600
        await until(lambda: schedule.entries()[0].due != timer.due)
    async with opened(path, room, clock) as schedule:  # a restart only knows the clock on the wall
        assert 590 < schedule.left(schedule.entries()[0]) <= 602
        assert room.told.empty()


async def test_an_alarm_follows_the_clock_on_the_wall(path: Path, room: Room) -> None:
    wall = Wall(datetime(2026, 6, 3, 15, 5, tzinfo=BERLIN).timestamp())
    async with opened(path, room, Clock(wall.time, zone=BERLIN)) as schedule:
        alarm = await schedule.alarm(KITCHEN, local("2026-06-03T19:00"))
        assert schedule.left(alarm) == pytest.approx(3 * 3600 + 55 * 60)
        wall.now += 4 * 3600  # set forward past it, as by a time server
        assert (await room.next()).id == alarm.id


@pytest.mark.parametrize(
    ("now", "at", "hours"),
    [
        ("2026-03-28T22:00", "2026-03-29T07:00", 8),  # the night that lacks an hour
        ("2026-10-24T22:00", "2026-10-25T07:00", 10),  # the night that has one more
        ("2026-03-28T22:00", "2026-03-29T02:30", 4.5),  # a time that does not exist
        ("2026-10-24T22:00", "2026-10-25T02:30", 4.5),  # the first of two
    ],
)
async def test_an_alarm_is_right_over_a_change_to_summer_or_winter_time(
    path: Path, room: Room, now: str, at: str, hours: float
) -> None:
    wall = Wall(local(now).replace(tzinfo=BERLIN).timestamp())
    async with opened(path, room, Clock(wall.time, zone=BERLIN)) as schedule:
        alarm = await schedule.alarm(KITCHEN, local(at))
        assert schedule.left(alarm) == hours * 3600


async def test_a_repeated_alarm_comes_again_on_its_next_day(path: Path, room: Room) -> None:
    wall = Wall(datetime(2026, 6, 5, 6, 59, 59, 900_000, tzinfo=BERLIN).timestamp())  # a Friday
    async with opened(path, room, Clock(wall.time, zone=BERLIN)) as schedule:
        await schedule.alarm(KITCHEN, local("2026-06-05T07:00"), WEEKDAYS)
        wall.now += 1
        await room.next()
        async with asyncio.timeout(5):
            await room.finished.wait()
        [again] = schedule.entries()
        assert again.wall == "2026-06-08T07:00:00"


@given(
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001
    days=st.frozensets(st.integers(0, 6), min_size=1),
    late=st.floats(0, 40 * 86_400),
)
@settings(max_examples=300, deadline=None)
def test_the_next_time_is_after_now_at_the_same_time_of_day(start: datetime, days: frozenset[int], late: float) -> None:
    begun = start.replace(tzinfo=BERLIN).timestamp()
    clock = Clock(lambda: begun + late, zone=BERLIN)
    entry = Entry("a", Kind.ALARM, KITCHEN, begun, begun, start.isoformat(), days)
    again = next_time(entry, clock)
    at = local(again.wall)
    assert at > clock.now() or late == 0
    assert at.time() == start.time()
    assert at.weekday() in days
    assert at - max(clock.now(), start) <= timedelta(days=8)


async def test_a_place_takes_a_bounded_number(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        for _ in range(MOST_ENTRIES):
            await schedule.timer(KITCHEN, 600)
        with pytest.raises(ScheduleFullError, match="cancel some"):
            await schedule.timer(KITCHEN, 600)
        assert await schedule.timer(Owner("bedroom"), 600)


@pytest.mark.parametrize("seconds", [0, -5, 8 * 86_400, float("inf")])
async def test_a_timer_has_a_shortest_and_a_longest_time(path: Path, room: Room, seconds: float) -> None:
    async with opened(path, room) as schedule:
        with pytest.raises(ScheduleError):
            await schedule.timer(KITCHEN, seconds)
        assert schedule.entries() == []


async def test_a_time_that_has_passed_is_refused(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        with pytest.raises(ScheduleError, match="passed"):
            await schedule.alarm(KITCHEN, schedule.clock.now() - timedelta(minutes=1))
        with pytest.raises(ScheduleError, match="five years"):
            await schedule.reminder(KITCHEN, "far", schedule.clock.now() + timedelta(days=4000))
        for at in (local("0001-01-01"), local("9999-12-31"), float("nan"), float("inf"), -5.0):
            with pytest.raises(ScheduleError):
                await schedule.reminder(KITCHEN, "never", at)
        assert schedule.entries() == []


async def test_reminders_of_a_person_are_only_theirs(path: Path, room: Room) -> None:
    anna, bert = Owner("kitchen", "anna"), Owner("kitchen", "bert")
    async with opened(path, room) as schedule:
        await schedule.reminder(anna, "present for bert", 600.0)
        await schedule.reminder(KITCHEN, "bins", 700.0)
        assert [entry.text for entry in schedule.visible(Kind.REMINDER, bert)] == ["bins"]
        assert [entry.text for entry in schedule.visible(Kind.REMINDER, anna)] == ["present for bert", "bins"]
        assert schedule.visible(Kind.REMINDER, Owner("bedroom")) == []
        assert len(schedule.visible(Kind.REMINDER, Owner("bedroom", "anna"))) == 1


@pytest.fixture
def damaged(path: Path) -> Path:
    path.write_bytes(b"this is no database" * 500)
    return path


async def test_a_damaged_file_is_put_aside(damaged: Path, room: Room, caplog: pytest.LogCaptureFixture) -> None:
    path = damaged
    async with opened(path, room) as schedule:
        await schedule.timer(KITCHEN, 600)
    assert "damaged" in caplog.text
    assert path.with_name("schedule.db.damaged").read_bytes().startswith(b"this is no database")
    async with opened(path, room) as schedule:
        assert len(schedule.entries()) == 1


async def test_an_entry_that_cannot_be_read_is_left_out(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        await schedule.timer(KITCHEN, 600)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        [(entry,)] = database.execute("SELECT entry FROM entries").fetchall()
        odd = ["{}", "[", "null", entry.replace('"repeat": []', '"repeat": [9]'), entry.replace("timer", "egg")]
        database.executemany("INSERT INTO entries VALUES (?, ?)", list(enumerate(odd)))
    async with opened(path, room) as schedule:
        assert len(schedule.entries()) == 1


def no_folder(path: Path) -> None:
    path.parent.rmdir()


def a_folder_in_its_place(path: Path) -> None:
    path.mkdir()


def damaged_and_not_to_be_moved(path: Path) -> None:
    path.write_bytes(b"this is no database" * 500)
    path.with_name("schedule.db.damaged").mkdir()


@pytest.mark.parametrize("spoil", [no_folder, a_folder_in_its_place, damaged_and_not_to_be_moved])
async def test_without_a_file_timers_ring_but_are_not_kept(
    path: Path, room: Room, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    async with opened(path, room) as schedule:
        await schedule.timer(KITCHEN, 1, "eggs")
        assert (await room.next()).name == "eggs"
        assert "check the disk" in schedule.not_kept
    assert [record.levelname for record in caplog.records if "are lost" in record.message] == ["ERROR"]


async def test_two_servers_do_not_ring_for_the_same_entries(path: Path, room: Room) -> None:
    other = Room()
    async with opened(path, room) as schedule:
        await schedule.timer(KITCHEN, 600, "eggs")
        async with opened(path, other) as second:
            assert "in use by another process" in second.not_kept
            assert second.entries() == []
            await second.timer(KITCHEN, 600, "tea")
        assert schedule.not_kept == ""
    async with opened(path, room) as schedule:
        assert [entry.name for entry in schedule.entries()] == ["eggs"]
        assert schedule.not_kept == ""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Whoever wants to write waits."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def on_disk(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM entries").fetchone()[0])


async def test_who_is_cancelled_leaves_nothing_half_done(path: Path, room: Room) -> None:
    async def interrupt(work: Coroutine[None, None, object]) -> None:
        with held(path):
            task = asyncio.create_task(work)
            await settle()
            task.cancel()
            await settle()
        await asyncio.gather(task, return_exceptions=True)

    async with opened(path, room) as schedule:
        await interrupt(schedule.timer(KITCHEN, 600))
        (timer,) = schedule.entries()
        assert on_disk(path) == 1
        await interrupt(schedule.extend(timer, 60))
        (longer,) = schedule.entries()
        assert schedule.left(longer) > 600
        await interrupt(schedule.cancel([timer]))
        assert schedule.entries() == []
        assert on_disk(path) == 0
    assert [change for _, change in room.changes] == [Change.STARTED, Change.UPDATED, Change.CANCELLED]


async def test_a_stop_that_comes_when_it_is_over_does_not_bring_it_back(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        await schedule.timer(KITCHEN, 1)
        with held(path):
            await room.next()
            await settle()  # that it is over is being written down
            schedule.silence("kitchen")
            await settle()
        async with asyncio.timeout(10):
            await room.finished.wait()
        assert room.told.empty()
        assert schedule.entries() == []
        assert on_disk(path) == 0


async def test_acknowledged_entries_are_on_disk(path: Path, room: Room) -> None:
    """Another connection sees them while the schedule is still open, as one would after a power cut."""
    async with opened(path, room) as schedule:
        await schedule.alarm(KITCHEN, schedule.clock.now() + timedelta(days=1), DAILY)
        with contextlib.closing(sqlite3.connect(path)) as database:
            [(entries,)] = database.execute("SELECT count(*) FROM entries")
        assert entries == 1
        assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}  # nobody else's to read


_SETS_TIMERS = """
import asyncio, sys
from pathlib import Path
from handlers.agent.schedule.entry import Heard, Owner
from handlers.agent.schedule.schedule import Schedule

async def ring(entry):
    return Heard.NOBODY

async def run():
    schedule = Schedule(Path(sys.argv[1]), ring)
    await schedule.start()
    for number in range(10_000):
        timer = await schedule.timer(Owner(f"place {number}"), 600)
        print(timer.id, flush=True)

asyncio.run(run())
"""


async def test_a_kill_loses_nothing_that_was_acknowledged(path: Path, room: Room) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", _SETS_TIMERS, str(path)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        acknowledged = [await process.stdout.readline() for _ in range(20)]
        process.kill()
        acknowledged += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
    async with opened(path, room) as schedule:
        kept = {entry.id for entry in schedule.entries()}
    assert {line.decode().strip() for line in acknowledged if line.endswith(b"\n")} <= kept


async def test_deleted_words_are_not_left_in_the_files(path: Path, room: Room) -> None:
    async with opened(path, room) as schedule:
        entry = await schedule.reminder(KITCHEN, "wonderful surprise", 600.0)
        await schedule.cancel([entry])
    assert not any(b"wonderful" in file.read_bytes() for file in path.parent.iterdir())
