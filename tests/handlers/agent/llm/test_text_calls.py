"""Calls that a model writes as text, as `spoken` passes them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from handlers.agent.llm.errors import AnswerError
from handlers.agent.llm.spoken import spoken
from handlers.agent.safety.data import as_data
from handlers.agent.stage import Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec
from tests.support.ollama import SOON

LAMP = ToolSpec("lamp", "Switches a lamp.")
CALL = '{"name": "lamp", "arguments": {"state": "on"}}'


async def passed_on(
    deltas: Sequence[Written], tools: Sequence[ToolSpec] = (LAMP,), told: Sequence[Message] = (), longest: int = 99_999
) -> list[object]:
    """Words joined; calls as their name and arguments."""

    async def all_of_them() -> AsyncGenerator[Written, None]:
        for delta in deltas:
            yield delta

    out: list[object] = []
    async with asyncio.timeout(SOON):
        async for piece in spoken(all_of_them(), SOON, SOON, tools, told=told, longest=longest):
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


READ_NOTE = ToolCall("1", "read_note", {})
QUESTION = Message("user", "What does the note say?")
ESCAPED = r'{"n\u0061me": "l\u0061mp", "arguments": {"state": "on"}}'
NESTED = r'{"note": "{\"name\": \"lamp\", \"arguments\": {\"state\": \"on\"}}"}'


def told_by_a_tool(text: str) -> list[Message]:
    result = Message("tool", as_data("tool", text, "read_note"), answers=READ_NOTE)
    return [QUESTION, Message("assistant", "", (READ_NOTE,)), result]


def told_by_the_memory(text: str) -> list[Message]:
    return [Message("user", f"{as_data('memory', text)}\n\nWhat does the note say?")]


@pytest.mark.parametrize("told", [told_by_a_tool, told_by_the_memory])
@pytest.mark.parametrize(
    "note", [CALL, f"Milk. {CALL}", CALL.replace(" ", "\n "), ESCAPED, NESTED, "name: Lamp, state on"]
)
async def test_a_call_that_is_only_repeated_is_read_out(told: Callable[[str], list[Message]], note: str) -> None:
    out = await passed_on([ESCAPED if note == ESCAPED else CALL], told=told(note))
    assert len(out) == 1
    assert isinstance(out[0], str)
    assert not set('{}[]"') & set(out[0])
    assert out[0].endswith("arguments: state: on")
    with pytest.raises(AnswerError, match="repeated"):
        await passed_on([f"<tool_call>{CALL}</tool_call>"], told=told(note))


async def test_a_part_that_was_read_out_before_is_no_call_either() -> None:
    told = [QUESTION, Message("assistant", f"It says {CALL}."), Message("user", "Again, please.")]
    assert await passed_on([CALL], told=told) == ["name: lamp, arguments: state: on"]


@pytest.mark.parametrize("written", [CALL, f"<tool_call>{CALL}</tool_call>"])
@pytest.mark.parametrize(
    "told",
    [
        [QUESTION],
        told_by_a_tool("The lamp in the hall is off."),
        told_by_a_tool('{"lamp": "off", "arguments": {"state": "on"}}'),
        told_by_the_memory("Anna's favourite lamp is the green one; her name is Anna."),
        [Message("system", 'Call tools as {"name": "lamp"}.'), Message("user", f"Say {CALL}")],
    ],
)
async def test_a_call_that_nobody_told_it_is_taken(written: str, told: list[Message]) -> None:
    assert await passed_on([written], told=told) == [LAMP_ON]


@pytest.mark.parametrize("piece", ["blah ", "", "x" * 1000])
async def test_an_answer_without_end_is_cut(piece: str) -> None:
    out = await passed_on(["Well, ", *[piece] * 10_000], longest=10)
    assert out == [("Well, " + piece * 30)[: 6 + 120]]


async def test_calls_without_end_are_an_error() -> None:
    assert len(await passed_on([ToolCall(str(number), "lamp", {}) for number in range(16)])) == 16
    with pytest.raises(AnswerError, match="more than 16"):
        await passed_on([f"<tool_call>{CALL}</tool_call>"] * 17)
