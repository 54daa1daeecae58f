"""The skills that only answer, as a tool: a language model reckons and converts worse than they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from handlers.agent.skills.skills import Skills, locale_of
from handlers.agent.skills.stage import Occasion
from handlers.agent.stage import Request
from handlers.agent.tools.local import LocalTool, LocalTools
from handlers.agent.tools.stage import Arguments, ToolError, ToolSpec
from handlers.session import Role, Session

_INTENTS = frozenset(
    {"GetTime", "GetTimeThere", "GetDate", "GetDateThere", "GetDateOf", "GetDaysUntil", "Calculate", "ConvertUnits"}
)

_LONGEST = 200
"""Characters of a question."""

_SPEC = ToolSpec(
    "quick_answer",
    "Exact answers about time and dates, sums and units. Ask one plain English question, such as "
    "'what time is it in Tokyo', 'what date is next Friday', 'how many days until Christmas', "
    "'what is 15 percent of 80', 'how many cups in 2 litres'.",
    {
        "type": "object",
        "properties": {"question": {"type": "string", "maxLength": _LONGEST}},
        "required": ["question"],
    },
)


def skill_tools(skills: Skills, now: Callable[[], datetime]) -> LocalTools:
    """A source of one tool."""

    async def answer(arguments: Arguments, session: Session) -> str:
        question = str(arguments["question"])
        match = skills.match(question, "en")
        if match is None or match.intent not in _INTENTS:
            raise ToolError("That is none of the questions that this tool answers; ask it as in the examples.")
        request = Request(question, replace(session, language="en"))
        return (await skills.perform(match, Occasion(request, [], now(), locale_of("en")))).text

    return LocalTools("skills", [LocalTool(_SPEC, answer, role=Role.GUEST, reads_only=True)])
