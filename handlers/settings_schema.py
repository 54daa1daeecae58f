"""What a tree of settings sections accepts, read from its JSON schema, and the words to say so."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

KeyPath = tuple[str, ...]

_CLOSE = 0.6
"""Likeness from which on a known key is worth suggesting; difflib's own default."""

_MAX_SHOWN = 80
"""Characters of a value that an error repeats."""

_SECRET_NAME = re.compile(r"token|secret|passw|credential|(^|_)key", re.IGNORECASE)

_SHAPE_ERRORS = re.compile(r"_type$|_parsing$|^literal_error$|^enum$|^(greater|less)_than|^int_from_float$|^finite_")
"""pydantic's errors about which the schema's own words say more than pydantic's message."""


def dotted(path: Iterable[str]) -> str:
    """asr.model for ("asr", "model")."""
    return ".".join(path)


@dataclass(frozen=True)
class Key:
    """A setting: what it takes ("a whole number from 1 to 64"), its default as text, its docstring."""

    path: KeyPath
    kind: str
    default: str | None
    help: str


class Schema:
    """The keys below `root`, looked up by their path."""

    def __init__(self, root: type[BaseModel]) -> None:
        self._root = root.model_json_schema()

    def __contains__(self, path: KeyPath) -> bool:
        return self._at(path) is not None

    def children(self, path: KeyPath) -> list[str]:
        """The keys of the section at `path`; none when it is a plain value."""
        node = self._at(path)
        return [key for part in self._branches(node) for key in part.get("properties", {})] if node else []

    def settings(self) -> Iterator[Key]:
        """Every setting that is not a section, in the order of declaration."""
        for path, node, default in self._walk((), self._root, self._root.get("default")):
            if not any(part.get("properties") for part in self._branches(node)):
                shown = None if default is None else _quoted(default)
                yield Key(path, self.kind(node), shown, node.get("description", ""))

    def is_secret(self, path: KeyPath) -> bool:
        """Whether a SecretStr stands at `path` or below it."""
        node = self._at(path)
        return node is not None and (
            any(part.get("writeOnly") for part in self._branches(node))
            or any(self.is_secret((*path, key)) for key in self.children(path))
        )

    def nearest(self, path: KeyPath) -> KeyPath | None:
        """The known key that looks most like the unknown `path`: a neighbour by its name, any other by its path."""

        def likeness(known: KeyPath) -> float:
            by_name = _ratio(known[-1], path[-1])
            if known[:-1] == path[:-1]:
                return by_name
            same = 0  # what both begin with says nothing about how like they are
            while known[same : same + 1] == path[same : same + 1]:
                same += 1
            return max(_ratio(dotted(known[same:]), dotted(path[same:])), 0.9 * by_name)

        everywhere = [known for known, _, _ in self._walk((), self._root, None) if known != path[: len(known)]]
        neighbours = [
            (*path[:-1], key) for key in self.children(path[:-1])
        ]  # below a free name, as in words.x.threshold
        best = max([*neighbours, *everywhere], key=likeness, default=None)
        return best if best is not None and likeness(best) >= _CLOSE else None

    def complaint(self, path: KeyPath, error: str, message: str, value: object) -> str:
        """What is wrong with the `value` at `path`; `error` and `message` are pydantic's type and text."""
        node = self._at(path)
        if node is None or not _SHAPE_ERRORS.search(error):
            if self.is_secret(path):
                message = message.replace(str(value), "…")
            message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
            return message[:1].lower() + message[1:]
        wanted = self.kind(node)
        said = "must be " + wanted
        if value is None:
            return f"is empty; it {said}, or leave the key out"
        if wanted in ("text", "a path") and not isinstance(value, Mapping | Sequence):
            return said + "; put it in quotes"
        choices = [str(choice) for part in self._branches(node) for choice in _choices(part)]
        close = difflib.get_close_matches(str(value).lower(), [choice.lower() for choice in choices], 1, _CLOSE)
        near = next((choice for choice in choices if choice.lower() in close), None)
        return said + (f"; did you mean '{near}'?" if near is not None else "")

    def show(self, path: KeyPath, value: object) -> str:
        """` = 'value'` for an error line; hidden where it is, or may have been meant as, a secret."""
        near = path if path in self else self.nearest(path)
        maybe = path not in self and any(_SECRET_NAME.search(part) for part in path)
        if maybe or (near is not None and self.is_secret(near)):
            return " = (hidden)"
        if isinstance(value, Mapping):
            return " = (a section)"
        if isinstance(value, Sequence) and not isinstance(value, str):
            return " = (a list)"
        text = " ".join(str(value).split())
        return f" = '{text[:_MAX_SHOWN]}…'" if len(text) > _MAX_SHOWN else f" = '{text}'"

    def kind(self, node: JsonSchemaValue) -> str:
        """What a value has to be, in words."""
        words = [_words(part) for part in self._branches(node) if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))

    def _at(self, path: KeyPath) -> JsonSchemaValue | None:
        nodes = [self._root]
        for key in path:
            nodes = [below for part in self._branches(nodes[0]) if (below := _below(part, key)) is not None]
            if not nodes:
                return None
        return nodes[0]

    def _branches(self, node: JsonSchemaValue) -> list[JsonSchemaValue]:
        """The alternatives of a union, references followed; the node itself when there is only one."""
        if "$ref" in node:
            return self._branches(self._root["$defs"][node["$ref"].rsplit("/", 1)[1]])
        options = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
        return [leaf for option in options for leaf in self._branches(option)] if options else [node]

    def _walk(
        self, path: KeyPath, node: JsonSchemaValue, default: object
    ) -> Iterator[tuple[KeyPath, JsonSchemaValue, object]]:
        for part in self._branches(node):
            for key, below in part.get("properties", {}).items():
                given = default.get(key) if isinstance(default, Mapping) else None
                value = below.get("default") if given is None else given
                yield (*path, key), below, value
                yield from self._walk((*path, key), below, value)


def _below(node: JsonSchemaValue, key: str) -> JsonSchemaValue | None:
    properties: JsonSchemaValue = node.get("properties", {})
    if key in properties:
        found: JsonSchemaValue = properties[key]
        return found
    other = node.get("items") if key.isdecimal() else node.get("additionalProperties")
    return other if isinstance(other, dict) else None


def _choices(node: JsonSchemaValue) -> list[object]:
    return list(node["enum"]) if "enum" in node else [node["const"]] if "const" in node else []


def _words(node: JsonSchemaValue) -> str:
    choices = [_quoted(choice) for choice in _choices(node)]
    if choices:
        return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
    kind = node.get("type")
    if kind == "object":
        keys = ", ".join(node.get("properties", {}))
        return f"a section with the keys {keys}" if keys else "a section"
    if kind == "array":
        return "a list"
    if kind == "boolean":
        return "true or false"
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(node)
    if node.get("format") in ("path", "file-path", "directory-path"):
        return "a path"
    return "text"


def _range(node: JsonSchemaValue) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    bounds = [
        text.format(bound)
        for text, bound in (
            ("of at least {:g}", low),
            ("greater than {:g}", above),
            ("of at most {:g}", high),
            ("less than {:g}", below),
        )
        if bound is not None
    ]
    return " " + " and ".join(bounds) if bounds else ""


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()
