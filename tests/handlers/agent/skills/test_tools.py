"""The skills as a tool of the language model."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from handlers.agent.skills.standard import standard_skills
from handlers.agent.skills.tools import skill_tools
from handlers.agent.tools.stage import Tool, ToolError
from handlers.session import ANYBODY, Role, Session
from tests.support.skills import NOW


@pytest.fixture(scope="module")
def tool() -> Tool:
    (offered,) = skill_tools(Skills(standard_skills()), lambda: NOW).tools(ANYBODY)
    return offered


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 15 percent of 80?", "12"),
        ("how many minutes in 2 hours", "120"),
        ("What time is it in Tokyo?", "Tokyo"),
    ],
)
async def test_it_answers_exactly(tool: Tool, question: str, answer: str) -> None:
    assert answer in await tool.call({"question": question}, Session(role=Role.GUEST))


@pytest.mark.parametrize("question", ["", "Who was Marie Curie?", "hello", "stop", "louder", "yes"])
async def test_what_it_does_not_answer_is_an_error_that_says_so(tool: Tool, question: str) -> None:
    with pytest.raises(ToolError, match="none of the questions"):
        await tool.call({"question": question}, ANYBODY)


def test_everybody_may_ask(tool: Tool) -> None:
    assert tool.role is Role.GUEST
    assert not tool.destructive
    assert tool.reads_only
