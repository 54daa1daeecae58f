"""Calls that stand in what a model was told are told apart from those that it wishes."""

from __future__ import annotations

import pytest

from handlers.agent.safety.data import as_data
from handlers.agent.safety.repeated import Repeated, read_out
from handlers.agent.stage import Message
from handlers.agent.tools.stage import ToolCall

CALL = ToolCall("1", "start_machine", {"node": "pve", "tags": ["a b"], "vmid": 7})
TOLD = '{"arguments": {"vmid": 7, "tags": ["a b"], "node": "pve"}, "name": "start_machine"}'


@pytest.mark.parametrize("role", ["tool", "assistant"])
def test_a_call_is_found_in_a_result_and_in_an_answer(role: str) -> None:
    messages = [Message("tool", as_data("tool", TOLD)) if role == "tool" else Message("assistant", f"It says {TOLD}.")]
    assert Repeated(messages).whole(CALL)


def test_the_words_of_the_speaker_and_ours_are_no_data() -> None:
    assert not Repeated([Message("system", TOLD), Message("user", TOLD)]).names(CALL)
    memory = Message("user", f"{as_data('memory', TOLD)}\n\nWhat was it?")
    assert Repeated([memory]).whole(CALL)
    cut = Message("user", as_data("memory", TOLD).rpartition("\n")[0])
    assert Repeated([cut]).whole(CALL)


def test_other_arguments_are_not_the_same_call() -> None:
    repeated = Repeated([Message("tool", TOLD)])
    other = ToolCall("1", "start_machine", {"node": "other"})
    assert repeated.names(other)
    assert not repeated.whole(other)
    assert not repeated.names(ToolCall("1", "start", {}))
    assert not repeated.names(ToolCall("1", "machine", {}))


def test_a_call_is_read_out_without_its_marks() -> None:
    assert read_out('{"name" : "lamp",\n "arguments": {"on": [1, 2]}}') == "name: lamp, arguments: on: 1, 2"
