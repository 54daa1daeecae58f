"""Calls that a model only repeats: they stand, as text, in what a tool or the memory told it, and nobody wished them.

A note that reads `{"name": "start_machine", "arguments": {}}` becomes a call when the model reads it out word for word,
because servers, and we, take such a text for one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from handlers.agent.stage import Message
from handlers.agent.tools.stage import ToolCall

_DATA = re.compile(r"<(data-[0-9a-f]{8})\b.*?(?:</\1>|\Z)", re.DOTALL)
"""What `as_data` marks, within a question. A block that was cut has no end."""

_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|[bfnrt])")
"""A letter as JSON may write it."""

_BETWEEN = r"\W{1,40}"
"""Between the key and the name: quotes, a colon, backslashes where it is JSON within JSON."""


class Repeated:
    """What a model was told by others than the speaker and us."""

    def __init__(self, messages: Sequence[Message]) -> None:
        raw = "\n".join(_of_others(messages))
        decoded = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", raw)
        self._told = _plain(decoded)
        self._letters = (_letters(raw), _letters(decoded))

    def names(self, call: ToolCall) -> bool:
        """Whether a call of this tool stands there, whatever its arguments: enough to doubt one written as text."""
        return re.search(rf"\bname{_BETWEEN}{re.escape(_plain(call.name))}\b", self._told) is not None

    def whole(self, call: ToolCall) -> bool:
        """Whether it stands there with all texts of its arguments."""
        return self.names(call) and all(
            any(_letters(text) in told for told in self._letters) for text in _texts(call.arguments)
        )


def read_out(text: str) -> str:
    """A JSON text without its marks, so that it can be heard."""
    return re.sub(r"\s+([:,])", r"\1", " ".join(re.sub(r'[{}\[\]"\\]+', " ", text).split()))


def _of_others(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        if message.role == "tool":
            yield message.content
        elif message.role == "user":  # beside the question stand memories
            yield from (found[0] for found in _DATA.finditer(message.content))
        elif message.role == "assistant":  # an answer may have read a part of it out
            yield message.content


def _plain(text: str) -> str:
    """In one width and case, with single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", _plain(text))


def _texts(value: object) -> Iterator[str]:
    """All texts in a JSON value. A number may be written in several ways, so it proves nothing."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
