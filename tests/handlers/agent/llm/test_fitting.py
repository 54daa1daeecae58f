"""A conversation in a context that is too small for it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.llm.fitting import count_tokens, fitted, without_tools
from handlers.agent.stage import Message
from handlers.agent.tools.stage import ToolCall, ToolSpec

SYSTEM = Message("system", "Be brief.")
QUESTION = Message("user", "And tomorrow?")
CALL = ToolCall("c1", "weather", {"place": "Lund"})
TOOL = ToolSpec("weather", "Tells the weather. " * 10)


def turns(number: int) -> list[Message]:
    return [
        message
        for turn in range(number)
        for message in (Message("user", f"Question {turn}"), Message("assistant", f"Answer {turn}. " * 10))
    ]


def with_tools(turn: int) -> list[Message]:
    return [
        Message("user", f"Question {turn}"),
        Message("assistant", "", calls=(CALL,)),
        Message("tool", "Rain. " * 20, answers=CALL),
        Message("assistant", f"Answer {turn}"),
    ]


def test_what_fits_is_left_as_it_is() -> None:
    messages = [SYSTEM, *turns(3), QUESTION]
    assert fitted(messages, 1000) == messages


def test_the_oldest_turns_go_first_and_whole() -> None:
    kept = fitted([SYSTEM, *with_tools(0), *turns(9), QUESTION], 400)
    assert kept[0] == SYSTEM
    assert kept[-1] == QUESTION
    assert kept[1:-1] == turns(9)[-len(kept[1:-1]) :]
    assert kept[1].role == "user"
    assert len(kept) > 4


def test_what_the_system_says_between_stays() -> None:
    note = Message("system", "Notes that may help: the car is red.")
    kept = fitted([SYSTEM, *turns(30), note, QUESTION], 100)
    assert kept == [SYSTEM, note, QUESTION]


def test_tools_take_their_room() -> None:
    messages = [SYSTEM, *turns(9), QUESTION]
    assert len(fitted(messages, 400, [TOOL] * 3)) < len(fitted(messages, 400))


def test_the_round_in_progress_stays_and_long_results_are_cut_at_their_end() -> None:
    other = ToolCall("c2", "news", {})
    messages = [
        SYSTEM,
        *turns(3),
        QUESTION,
        Message("assistant", "", calls=(CALL, other)),
        Message("tool", "Rain, 7 °C", answers=CALL),
        Message("tool", "Headline. " * 1000, answers=other),
    ]
    kept = fitted(messages, 500)
    assert [message.role for message in kept] == ["system", "user", "assistant", "tool", "tool"]
    assert kept[3].content == "Rain, 7 °C"
    assert kept[4].content.startswith("Headline. Headline.")
    assert kept[4].content.endswith("(cut)")
    assert kept[4].answers == other
    assert 300 < count_tokens(kept) <= 500


def test_a_question_that_is_too_long_loses_its_beginning() -> None:
    kept = fitted([SYSTEM, Message("user", "word " * 2000 + "Thank you.")], 300)
    assert kept[-1].content.endswith("Thank you.")
    assert count_tokens(kept) <= 300


def test_instructions_are_never_cut() -> None:
    long = Message("system", "word " * 2000)
    assert fitted([long, QUESTION], 300) == [long, QUESTION]


def test_no_messages_at_all() -> None:
    assert fitted([], 300) == []
    assert without_tools([]) == []


def test_without_tools_their_results_stand_below_the_question() -> None:
    plain = without_tools([SYSTEM, *with_tools(0), QUESTION, *with_tools(1)[1:3]])
    assert [message.role for message in plain] == ["system", "user", "assistant", "user"]
    assert plain[1].content.startswith("Question 0\n\nResult of weather: Rain.")
    assert plain[3].content.startswith("And tomorrow?\n\nResult of weather: Rain.")


_texts = st.text(max_size=400)
_messages = st.lists(
    st.one_of(
        _texts.map(lambda text: (Message("user", text), Message("assistant", text))),
        _texts.map(lambda text: (Message("assistant", "", calls=(CALL,)), Message("tool", text, answers=CALL))),
        _texts.map(lambda text: (Message("system", text),)),
    ),
    max_size=12,
).map(lambda groups: [message for group in groups for message in group])


@settings(deadline=None, max_examples=60)
@given(_messages, st.integers(-100, 2000))
def test_it_never_loses_what_must_stay(messages: list[Message], room: int) -> None:
    messages = [SYSTEM, *messages, QUESTION, Message("assistant", "", calls=(CALL,))]
    kept = fitted(messages, room)
    assert [message for message in kept if message.role == "system"] == [
        message for message in messages if message.role == "system"
    ]
    assert kept[-2:] == messages[-2:]
    assert count_tokens(kept) <= count_tokens(messages)
    called = {call.id for message in kept for call in message.calls}
    assert all(message.answers is None or message.answers.id in called for message in kept)
