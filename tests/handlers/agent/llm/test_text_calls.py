"""Calls that a model writes as text, as `spoken` passes them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from handlers.agent.llm.errors import AnswerError
from handlers.agent.llm.spoken import spoken
from handlers.agent.stage import Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from tests.support.ollama import SOON

LAMP = ToolSpec("lamp", "Switches a lamp.")
CALL = '{"name": "lamp", "arguments": {"state": "on"}}'


async def passed_on(deltas: Sequence[Written], tools: Sequence[ToolSpec] = (LAMP,)) -> list[object]:
    """Words joined; calls as their name and arguments."""

    async def all_of_them() -> AsyncGenerator[Written, None]:
        for delta in deltas:
            yield delta

    out: list[object] = []
    async with asyncio.timeout(SOON):
        async for piece in spoken(all_of_them(), SOON, SOON, tools):
            if isinstance(piece, ToolCall):
                out.append((piece.name, piece.arguments))
            elif out and isinstance(out[-1], str):
                out[-1] += piece
            else:
                out.append(piece)
    return out


LAMP_ON = ("lamp", {"state": "on"})
CASES: list[tuple[str, list[object]]] = [
    (f"<tool_call>{CALL}</tool_call>", [LAMP_ON]),
    (f"<tool_call>\n{CALL}\n</tool_call>\n", [LAMP_ON]),
    (f"Of course. <tool_call>{CALL}</tool_call> Done.", ["Of course. ", LAMP_ON, " Done."]),
    (f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>", [LAMP_ON, LAMP_ON]),
    (f"<tool_call>{CALL}", [LAMP_ON]),
    (f"<think>I could say <tool_call>{CALL}</tool_call>.</think>No.", ["No."]),
    (f"<think>Hm.</think><tool_call>{CALL}</tool_call>", [LAMP_ON]),
    ('<tool_call>{"name": "other", "parameters": {}}</tool_call>', [("other", {})]),
    (f"\n {CALL}", [LAMP_ON]),
    ('{"name": "nobody", "arguments": {}}', ['{"name": "nobody", "arguments": {}}']),
    ('{"colour": "red"}', ['{"colour": "red"}']),
    ("{ is a brace.", ["{ is a brace."]),
    (f"The call would be {CALL}.", [f"The call would be {CALL}."]),
    ("It is 3 < 4 and <b>bold</b>.", ["It is 3 < 4 and <b>bold</b>."]),
    ("", []),
]


@pytest.mark.parametrize(("text", "wanted"), CASES)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_wherever_the_stream_is_cut(text: str, wanted: list[object], size: int) -> None:
    assert await passed_on([text[at : at + size] for at in range(0, len(text), size)]) == wanted


@pytest.mark.parametrize(
    "body", ["lamp on", '{"name": "lamp", "arguments": {"state"', '{"name": 3}', "[]", "", "x" * 70_000]
)
async def test_a_call_that_cannot_be_read_is_not_spoken(body: str) -> None:
    with pytest.raises(AnswerError):
        await passed_on([f"<tool_call>{body}</tool_call>"])
    with pytest.raises(AnswerError):
        await passed_on([f"<tool_call>{body}"])


async def test_without_tools_there_are_no_calls() -> None:
    assert await passed_on([f"<tool_call>{CALL}</tool_call>Hello."], tools=()) == ["Hello."]
    assert await passed_on([CALL], tools=()) == [CALL]


async def test_words_are_not_held_back() -> None:
    async def one_word() -> AsyncGenerator[Written, None]:
        yield "Hello "
        raise AssertionError("nobody asked for more")

    answer = spoken(one_word(), SOON, SOON, [LAMP])
    assert await anext(answer) == "Hello "
    await answer.aclose()


async def test_calls_of_the_protocol_pass() -> None:
    call = ToolCall("1", "lamp", {"state": "off"})
    assert await passed_on(["One", call, " two."]) == ["One", ("lamp", {"state": "off"}), " two."]
