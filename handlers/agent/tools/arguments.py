"""Arguments of calls: checked against the tool's schema, compared, and said aloud."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping

import jsonschema  # type: ignore[import-untyped]
from referencing import Registry

from handlers.agent.tools.stage import Arguments

LONGEST_ARGUMENTS = 16 * 1024
"""Characters of a call's arguments as JSON: a note or a short file, not what a model repeats without an end."""

_LONGEST_SAID = 100
"""Characters of a value in a question: one that is longer could hide what is asked."""

_VALIDATOR = jsonschema.Draft202012Validator
_NOTHING_FETCHED: Registry[object] = Registry()
"""A schema's references stay within it; the default of the library would fetch addresses."""


def schema_problem(schema: Mapping[str, object]) -> str:
    """Why this is not a JSON schema of an object, one sentence; empty when it is."""
    if schema.get("type") != "object":
        return "'parameters' must be a JSON schema of the type object"
    try:
        _VALIDATOR.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"'parameters' is no JSON schema: {error.message}"
    return ""


def coerced(arguments: Arguments, schema: Mapping[str, object]) -> dict[str, object]:
    """The arguments with '3' as 3 and 'true' as true where the schema wants that: small models quote everything."""
    properties = schema.get("properties")
    kinds = properties if isinstance(properties, Mapping) else {}
    return {key: _coerce(value, kinds.get(key)) for key, value in arguments.items()}


def complaint(arguments: Arguments, schema: Mapping[str, object]) -> str:
    """What is wrong with the arguments, for the model to read; empty when they fit."""
    if len(canonical(arguments)) > LONGEST_ARGUMENTS:
        return f"the arguments are longer than {LONGEST_ARGUMENTS} characters"
    try:
        errors = list(_VALIDATOR(schema, registry=_NOTHING_FETCHED).iter_errors(dict(arguments)))
    except Exception as error:  # a schema of a server of others: unknown references, wrong patterns, endless recursion
        return f"the tool's schema cannot be used ({type(error).__name__})"
    return "; ".join(dict.fromkeys(_said(error) for error in errors[:5]))


def canonical(arguments: Arguments) -> str:
    """The same text for the same arguments, in whatever order."""
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)


def spoken(value: object) -> str:
    """A value within a question: one line, no invisible characters, not too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char for char in text if unicodedata.category(char)[0] != "C" or char in "\n\t")
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SAID else text[:_LONGEST_SAID] + "…"


def question(name: str, arguments: Arguments) -> str:
    """What is asked before a tool that has no question of its own: 'Run delete record with name example.com?'"""
    words = " ".join(re.findall(r"[A-Za-z0-9]+", name))
    given = ", ".join(f"{spoken(key)} {spoken(value)}" for key, value in arguments.items())
    return f"Run {words} with {given}?" if given else f"Run {words}?"


def _coerce(value: object, schema: object) -> object:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if not isinstance(value, str) or kind not in ("integer", "number", "boolean", "array", "object"):
        return value
    try:
        decoded: object = json.loads(value)
    except ValueError:
        return {"true": True, "false": False}.get(value.strip().lower(), value) if kind == "boolean" else value
    return decoded if _VALIDATOR({"type": kind}).is_valid(decoded) else value


def _said(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    message = error.message if len(error.message) <= 300 else error.message[:300] + "…"
    return f"{where}: {message}" if where else message
