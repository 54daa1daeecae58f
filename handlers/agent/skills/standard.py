"""The skills that keep nothing from one turn to the next."""

from __future__ import annotations

from handlers.agent.skills.arithmetic import Arithmetic
from handlers.agent.skills.calendar_days import Calendar
from handlers.agent.skills.clock import Clock
from handlers.agent.skills.stage import Skill
from handlers.agent.skills.talk import Repeat, Talk, Volume
from handlers.agent.skills.units import Units


def standard_skills() -> list[Skill]:
    """One of each. The first time takes about half a second, for the table of units."""
    return [Talk(), Repeat(), Volume(), Clock(), Calendar(), Arithmetic(), Units()]
