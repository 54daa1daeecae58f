"""The schedule for a language model: "set a timer for the time it takes to boil an egg"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from babel import Locale

from handlers.agent.schedule.durations import say_duration
from handlers.agent.schedule.entry import DAILY, WEEKDAYS, WEEKENDS, Entry, Kind, Owner, ScheduleError
from handlers.agent.schedule.schedule import LONGEST_TEXT, LONGEST_TIMER, Schedule
from handlers.agent.tools.local import LocalTool
from handlers.agent.tools.stage import Arguments, Tool, ToolError, ToolSpec
from handlers.session import Role, Session

_SECONDS = 5.0
"""For a call: it writes one line to the disk."""

_REPEATS = {"once": frozenset[int](), "daily": DAILY, "weekdays": WEEKDAYS, "weekends": WEEKENDS}

_SHOWN = 20
"""Entries that a model is told of."""

_ENGLISH = Locale("en")
"""What a tool says is read by the model, which answers in the speaker's language."""

_NAME = {"type": "string", "maxLength": 100}
_WHEN = {"type": "string", "description": "Local date and time, as in 2026-12-24T18:30"}
_REPEAT = {"type": "string", "enum": list(_REPEATS)}
_TEXT = {"type": "string", "maxLength": LONGEST_TEXT}


class ScheduleTools:
    """A source of tools for timers, alarms and reminders."""

    def __init__(self, schedule: Schedule, language: str = "en") -> None:
        """`language` is what is spoken when an entry that a tool made is due."""
        self._schedule = schedule
        self._language = language
        self._tools: tuple[Tool, ...] = (
            _tool(
                "set_timer",
                "Start a countdown timer. It rings where the speaker is. Give the whole length in seconds.",
                {"seconds": {"type": "integer", "minimum": 1, "maximum": int(LONGEST_TIMER)}, "name": _NAME},
                ["seconds"],
                self._set_timer,
            ),
            _tool(
                "set_alarm",
                "Set an alarm for a time of day.",
                {"time": _WHEN, "repeat": _REPEAT, "name": _NAME},
                ["time"],
                self._set_alarm,
            ),
            _tool(
                "set_reminder",
                "Say a text to the speaker at a later time. Give either time or in_seconds.",
                {
                    "text": _TEXT,
                    "time": _WHEN,
                    "in_seconds": {"type": "integer", "minimum": 1},
                    "repeat": _REPEAT,
                },
                ["text"],
                self._set_reminder,
            ),
            _tool(
                "list_schedule",
                "List the timers, alarms and reminders that are set, each with its id.",
                {"kind": {"type": "string", "enum": [str(kind) for kind in Kind]}},
                [],
                self._list,
                reads_only=True,
            ),
            _tool(
                "cancel_scheduled",
                "Cancel one timer, alarm or reminder by the id that list_schedule gave.",
                {"id": {"type": "string", "maxLength": 64}},
                ["id"],
                self._cancel,
            ),
        )

    @property
    def name(self) -> str:
        return "schedule"

    def tools(self, session: Session) -> Sequence[Tool]:
        return self._tools

    async def close(self) -> None:
        """The schedule belongs to the server."""

    async def _set_timer(self, arguments: Arguments, session: Session) -> str:
        seconds = _number(arguments, "seconds")
        entry = await self._schedule.timer(self._owner(session), seconds, _text(arguments, "name"))
        return f"Started: {self._line(entry)}"

    async def _set_alarm(self, arguments: Arguments, session: Session) -> str:
        at, repeat = _time(_text(arguments, "time")), _repeat(arguments)
        entry = await self._schedule.alarm(self._owner(session), at, repeat, _text(arguments, "name"))
        return f"Set: {self._line(entry)}"

    async def _set_reminder(self, arguments: Arguments, session: Session) -> str:
        said, wait = _text(arguments, "time"), arguments.get("in_seconds")
        if bool(said) == (wait is not None):
            raise ToolError("Give either 'time' or 'in_seconds'")
        at = _time(said) if said else _number(arguments, "in_seconds")
        text = _text(arguments, "text")
        entry = await self._schedule.reminder(self._owner(session), text, at, _repeat(arguments))
        return f"Set: {self._line(entry)}"

    async def _list(self, arguments: Arguments, session: Session) -> str:
        kind = _text(arguments, "kind")
        kinds = [Kind(kind)] if kind in set(Kind) else list(Kind)
        found = [entry for wanted in kinds for entry in self._schedule.visible(wanted, self._owner(session))]
        if not found:
            return "Nothing is set."
        more = f"\nand {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return "\n".join(f"{entry.id}: {self._line(entry)}" for entry in found[:_SHOWN]) + more

    async def _cancel(self, arguments: Arguments, session: Session) -> str:
        wanted = _text(arguments, "id")
        owner = self._owner(session)
        found = [entry for kind in Kind for entry in self._schedule.visible(kind, owner) if entry.id == wanted]
        if not found:
            raise ToolError(f"There is nothing with the id '{wanted}': call list_schedule first")
        await self._schedule.cancel(found)
        return f"Cancelled: {self._line(found[0])}"

    def _owner(self, session: Session) -> Owner:
        return Owner(session.satellite, session.user, self._language)

    def _line(self, entry: Entry) -> str:
        named = f" '{entry.name or entry.text}'" if entry.name or entry.text else ""
        if entry.kind is Kind.TIMER:
            left = say_duration(max(0.0, self._schedule.left(entry)), _ENGLISH)
            paused = ", paused" if entry.remaining is not None else ""
            return f"timer{named} of {say_duration(entry.duration, _ENGLISH)}, {left} left{paused}"
        at = entry.wall or self._schedule.clock.local(entry.due).isoformat(timespec="minutes")
        days = ", repeated" if entry.repeat else ""
        return f"{entry.kind}{named} at {at[:16]}{days}"


def _tool(
    name: str,
    description: str,
    properties: dict[str, object],
    required: list[str],
    run: Callable[[Arguments, Session], Awaitable[str]],
    *,
    reads_only: bool = False,
) -> LocalTool:
    """One tool. None is destructive: what it does is told at once and easily undone."""
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    async def work(arguments: Arguments, session: Session) -> str:
        try:
            return await run(arguments, session)
        except ScheduleError as error:
            raise ToolError(str(error)) from error

    spec = ToolSpec(name, description, schema)
    return LocalTool(spec, work, Role.GUEST, seconds=_SECONDS, reads_only=reads_only)


def _text(arguments: Arguments, key: str) -> str:
    value = arguments.get(key, "")
    return value.strip() if isinstance(value, str) else ""


def _number(arguments: Arguments, key: str) -> float:
    value = arguments.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ToolError(f"'{key}' must be a number of seconds")
    return float(value)


def _time(text: str) -> datetime:
    """A time on the wall of the house; an offset that a model adds is left out."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0)
    except ValueError:
        raise ToolError(f"'{text}' is not a local date and time like 2026-12-24T18:30") from None


def _repeat(arguments: Arguments) -> frozenset[int]:
    return _REPEATS.get(_text(arguments, "repeat") or "once", frozenset())
