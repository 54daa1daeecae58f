from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from handlers.agent.schedule.entry import Entry, Heard, Kind
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.schedule.tools import ScheduleTools
from handlers.agent.tools.stage import Tool, ToolError
from handlers.session import Session

HERE = Session(satellite="kitchen")


@pytest.fixture
async def schedule(tmp_path: Path) -> AsyncIterator[Schedule]:
    async def ring(entry: Entry) -> Heard:
        return Heard.STOPPED

    schedule = Schedule(tmp_path / "schedule.db", ring)
    await schedule.start()
    yield schedule
    await schedule.close()


def tools(schedule: Schedule) -> dict[str, Tool]:
    return {tool.spec.name: tool for tool in ScheduleTools(schedule, "de").tools(HERE)}


async def call(schedule: Schedule, tool_name: str, speaker: Session = HERE, /, **arguments: object) -> str:
    tool = tools(schedule)[tool_name]
    jsonschema.validate(arguments, dict(tool.spec.parameters))
    return await tool.call(arguments, speaker)


async def test_a_timer_is_started_listed_and_cancelled(schedule: Schedule) -> None:
    assert "'egg' of 6 minutes" in await call(schedule, "set_timer", seconds=360, name="egg")
    [timer] = schedule.entries(Kind.TIMER)
    assert (timer.owner.satellite, timer.owner.language, timer.name) == ("kitchen", "de", "egg")
    assert timer.id in await call(schedule, "list_schedule")
    assert await call(schedule, "list_schedule", kind="alarm") == "Nothing is set."
    await call(schedule, "cancel_scheduled", id=timer.id)
    assert schedule.entries() == []


async def test_alarms_and_reminders(schedule: Schedule) -> None:
    tomorrow = (schedule.clock.now() + timedelta(days=1)).isoformat(timespec="minutes")
    await call(schedule, "set_alarm", time=tomorrow, repeat="weekdays")
    await call(schedule, "set_reminder", text="bins", time=tomorrow + "+05:00")
    await call(schedule, "set_reminder", text="mum", in_seconds=600)
    assert schedule.entries(Kind.ALARM)[0].repeat == frozenset(range(5))
    assert [entry.text for entry in schedule.entries(Kind.REMINDER)] == ["mum", "bins"]
    assert schedule.entries(Kind.REMINDER)[1].wall[:16] == tomorrow


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("set_alarm", {"time": "tomorrow"}, "not a local date"),
        ("set_alarm", {"time": "2020-01-01T07:00"}, "passed"),
        ("set_reminder", {"text": "bins"}, "either"),
        ("set_reminder", {"text": "bins", "time": "2030-01-01T07:00", "in_seconds": 5}, "either"),
        ("cancel_scheduled", {"id": "nothing"}, "list_schedule"),
    ],
)
async def test_what_cannot_be_done_is_told_to_the_model(
    schedule: Schedule, name: str, arguments: dict[str, object], problem: str
) -> None:
    with pytest.raises(ToolError, match=problem):
        await call(schedule, name, HERE, **arguments)
    assert schedule.entries() == []


async def test_a_model_sees_and_cancels_only_what_its_speaker_may(schedule: Schedule) -> None:
    anna, bert = Session("anna", "kitchen"), Session("bert", "kitchen")
    await call(schedule, "set_reminder", anna, text="present for bert", in_seconds=600)
    [reminder] = schedule.entries()
    assert await call(schedule, "list_schedule", bert) == "Nothing is set."
    with pytest.raises(ToolError):
        await call(schedule, "cancel_scheduled", bert, id=reminder.id)
    assert "present" in await call(schedule, "list_schedule", anna)
