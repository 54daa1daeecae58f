"""Calls of tools that a model writes as text, where its server does not recognise them.

Qwen, Hermes and many small models write `<tool_call>{"name": …, "arguments": {…}}</tool_call>`; others only the JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from handlers.agent.llm.calls import new_call
from handlers.agent.llm.errors import AnswerError
from handlers.agent.safety.repeated import Repeated, read_out
from handlers.agent.stage import Message, Written
from handlers.agent.tools.stage import ToolCall, ToolSpec

_MARK = re.compile(r"<(?P<name>/?think(?:ing)?|tool_call)>")
_CLOSE = "</tool_call>"

_LONGEST_MARK = len("</thinking>")

_LONGEST_CALL = 64 * 1024
"""Characters."""


class TextCalls:
    """Takes the text of an answer in pieces of any size and gives it out again, with calls in the place of their text.

    A mark within a thought is part of the thought. Raises AnswerError for a call that cannot be read: it is neither
    guessed nor spoken. One that stands in what the model was told by others is not a call: it is read out, or, within
    the marks of a call, an AnswerError.
    """

    def __init__(self, tools: Sequence[ToolSpec], told: Sequence[Message] = ()) -> None:
        self._names = {tool.name for tool in tools}
        self._repeated = Repeated(told)
        self._held = ""
        self._begun = False
        self._thinks = False
        self._inside = False

    def feed(self, text: str) -> list[Written]:
        """Take more text; return what is certain by now."""
        if not self._names:
            return [text]
        self._held += text
        out: list[Written] = []
        while self._step(out):
            pass
        return [piece for piece in out if piece]

    def finish(self) -> list[Written]:
        """The end of the answer: what was held back."""
        held, self._held = self._held, ""
        if self._inside:  # many models end where the closing mark belongs
            return [self._marked(held)]
        if held.lstrip().startswith("{") and (call := self._bare(held)):
            return [read_out(held) if self._repeated.names(call) else call]
        return [held] if held else []

    def _step(self, out: list[Written]) -> bool:
        """Consume a part of what is held; False when more is needed."""
        if self._inside:
            body, closed, rest = self._held.partition(_CLOSE)
            if not closed:
                if len(body) > _LONGEST_CALL:
                    raise AnswerError("The model wrote a call of a tool without end")
                return False
            out.append(self._marked(body))
            self._held, self._inside = rest, False
            return True
        if not self._begun:
            begin = self._held.lstrip()[:1]
            if begin == "{" and len(self._held) < _LONGEST_CALL:  # the whole answer may be a call
                return False
            self._begun = bool(begin)
        mark = _MARK.search(self._held)
        if mark is None:
            certain = self._held.rfind("<", max(0, len(self._held) - _LONGEST_MARK))
            certain = len(self._held) if certain < 0 else certain
            out.append(self._held[:certain])
            self._held = self._held[certain:]
            return False
        self._inside = mark["name"] == "tool_call" and not self._thinks
        if mark["name"] != "tool_call":
            self._thinks = not mark["name"].startswith("/")
        out.append(self._held[: mark.start() if self._inside else mark.end()])
        self._held = self._held[mark.end() :]
        return True

    def _marked(self, text: str) -> ToolCall:
        call = _read(text)
        if self._repeated.names(call):
            raise AnswerError("The model repeated a call that stands in what a tool or the memory told it")
        return call

    def _bare(self, text: str) -> ToolCall | None:
        """A call without marks; None for other text, also when it is JSON."""
        try:
            call = _read(text)
        except AnswerError:
            return None
        return call if call.name in self._names else None


def _read(text: str) -> ToolCall:
    try:
        call = json.loads(text)
    except ValueError:
        call = None
    if isinstance(call, dict) and isinstance(name := call.get("name"), str) and name:
        arguments = call.get("arguments", call.get("parameters", {}))
        if isinstance(arguments, dict):
            return new_call(name, arguments)
    raise AnswerError("The model wrote a call of a tool that cannot be read")
