"""Calls of tools in OpenAI's shape, which llama.cpp's shares: names and arguments that arrive in pieces."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handlers.agent.llm.errors import AnswerError
from handlers.agent.stage import Generation, Message
from handlers.agent.tools.stage import ToolCall, ToolSpec

MOST_CALLS = 16
"""Of one answer: a model that wants more at once has lost its way. The toolbox runs no more either."""

_LONGEST_ARGUMENTS = 64 * 1024
"""Characters; the longest sensible ones are a page of text."""


def new_call(name: str, arguments: Mapping[str, object], id: str = "") -> ToolCall:
    """A call, with an id of our own where the model's protocol has none."""
    return ToolCall(id or f"call_{secrets.token_hex(4)}", name, dict(arguments))


def as_json(messages: Sequence[Message]) -> list[dict[str, object]]:
    """Messages in OpenAI's shape."""
    return [_as_json(message) for message in messages]


def tools_as_json(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """Tools in OpenAI's shape, which is Ollama's too."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in tools
    ]


def format_as_json(generation: Generation) -> dict[str, object]:
    """The field `response_format` where an answer has to fit a schema, else nothing.

    Not `strict`: OpenAI then refuses schemas with optional properties.
    """
    if generation.schema is None:
        return {}
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(generation.schema)},
        }
    }


def first_choice(chunk: object) -> Mapping[str, object]:
    """The only choice of a streamed chunk, empty where it has none, as at the end of some servers' streams."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


@dataclass
class _Piece:
    index: object
    id: str
    name: str = ""
    arguments: str = ""


class CallPieces:
    """Puts the calls of one answer together."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def take(self, chunk: object) -> str:
        """Read one chunk of a streamed answer: keep its pieces of calls and return its words.

        AnswerError when arguments or the number of calls grow beyond all sense.
        """
        delta = first_choice(chunk).get("delta")
        if not isinstance(delta, dict):
            return ""
        for piece in delta.get("tool_calls") or ():
            function = piece.get("function") or {}
            self._add(
                piece.get("index"), piece.get("id") or "", function.get("name") or "", function.get("arguments") or ""
            )
        content = delta.get("content")
        return content if isinstance(content, str) else ""

    def finish(self) -> list[ToolCall]:
        """The whole calls, at the end of the answer.

        AnswerError when one cannot be read. It is not guessed what was meant: an act with half of its arguments is
        worse than none.
        """
        return [self._call(piece) for piece in self._pieces]

    def _add(self, index: object, id: str, name: str, arguments: object) -> None:
        piece = next((piece for piece in reversed(self._pieces) if piece.index == index), None)
        if piece is None or (id and piece.id and id != piece.id):  # some servers number every call 0
            if len(self._pieces) == MOST_CALLS:
                raise AnswerError(f"The model called more than {MOST_CALLS} tools at once")
            piece = _Piece(index, id)
            self._pieces.append(piece)
        piece.id = piece.id or id
        piece.name = piece.name or name  # some servers repeat it in every piece
        piece.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)
        if len(piece.arguments) > _LONGEST_ARGUMENTS:
            raise AnswerError(f"The model wrote arguments without end for the tool '{piece.name}'")

    def _call(self, piece: _Piece) -> ToolCall:
        try:
            arguments = json.loads(piece.arguments or "{}")  # a tool without parameters is often called with nothing
        except ValueError:
            arguments = None
        if not piece.name or not isinstance(arguments, dict):
            raise AnswerError(f"The model wrote a call of the tool '{piece.name}' that cannot be read")
        return new_call(piece.name, arguments, piece.id)


def _as_json(message: Message) -> dict[str, object]:
    shaped: dict[str, object] = {"role": message.role, "content": message.content}
    if message.calls:
        shaped["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
            }
            for call in message.calls
        ]
    if message.answers:
        shaped["tool_call_id"] = message.answers.id
    return shaped
