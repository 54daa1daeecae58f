"""Settings from flags, the environment and a YAML file, for the server and the satellite alike.

A program declares its settings as a tree of `Section`s; every field is then a key of the settings file
(`asr: {model: base}`), an environment variable (`MEADOWLARK_ASR__MODEL`, or `MEADOWLARK_ASR__MODEL_FILE` to read the
value from a file) and, where the program offers one, a flag. Flags win over the environment, the environment over
the file, the file over the defaults. Whatever cannot be used is a `SettingsError` with one line for each problem.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from handlers.errors import SettingsError
from handlers.settings_file import Given, Source, read_settings_file, read_text
from handlers.settings_schema import KeyPath, Schema, dotted

S = TypeVar("S", bound=BaseModel)

SCRIPT_VARIABLES = frozenset({"page", "python", "python314", "server_python", "test_strict"})
"""MEADOWLARK_PYTHON and MEADOWLARK_TEST_STRICT speak to script/ and to the tests, not to a program."""

_MAX_SECRET = 64 * 1024
"""Bytes of a file named by a *_FILE variable: more than any token or certificate chain."""


class Section(BaseModel):
    """Base of every settings section: unknown keys are errors, values never change, docstrings are the help."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


def load_settings(
    root: type[S],
    *,
    flags: Mapping[str, object],
    config_file: Path | None,
    environ: Mapping[str, str] | None = None,
    prefix: str = "MEADOWLARK_",
    foreign: Collection[str] = (),
    flag_names: Mapping[str, str] | None = None,
) -> S:
    """The settings, checked; raises SettingsError that lists every problem.

    flags: nested like the file ({"wyoming": {"uri": …}}), only what the person gave.
    environ: os.environ when None. An empty variable counts as not set, as container tools pass unset ones on.
    foreign: keys ("satellite") of another program that shares the file and the prefix; they are left alone.
    flag_names: what a flag is called where that is not its key, {"wyoming.uri": "--wyoming"}.
    """
    schema = Schema(root)
    problems: list[str] = []
    names = _Names(prefix, [tuple(name.split(".")) for name in (*foreign, *SCRIPT_VARIABLES)])
    sources = [  # the first that has a key wins
        _from_flags(flags, flag_names or {}),
        _from_environment(root, schema, os.environ if environ is None else environ, names, problems),
    ]
    if config_file is not None:
        sources.append(_without(read_settings_file(config_file, problems), foreign))

    merged: dict[str, object] = {}
    for source in reversed(sources):
        merged = _merge(merged, source.data, schema)
    try:
        settings = root.model_validate(merged)
    except ValidationError as error:
        problems += _explain(error, schema, sources, names)
    else:
        if not problems:
            return settings
    count = f"{len(problems)} settings cannot be used:\n  " if len(problems) > 1 else ""
    raise SettingsError(count + "\n  ".join(problems)) from None  # the cause would print secrets


def describe_settings(root: type[BaseModel]) -> str:
    """Every key with what it takes, its default and what it is for, as text for a terminal."""
    lines = []
    for key in Schema(root).settings():
        default = "" if key.default is None else f", default {key.default}"
        lines.append(f"{dotted(key.path)}: {key.kind}{default}")
        lines += [f"    {line}" for line in key.help.splitlines()]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Names:
    """How environment variables are called."""

    prefix: str
    foreign: list[KeyPath]

    def variable(self, path: KeyPath) -> str:
        return self.prefix + "__".join(path).upper()

    def path(self, variable: str) -> KeyPath:
        return tuple(variable[len(self.prefix) :].lower().split("__"))

    def ours(self, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The variables that are meant for this program, and their values."""
        for name, value in sorted(environ.items()):
            if name.upper().startswith(self.prefix):
                path = self.path(name)
                if not any(path[: len(other)] == other for other in self.foreign):
                    yield name, value


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of nested variables, where a list may also be written as `a, b`."""

    def __init__(self, root: type[BaseModel], variables: Mapping[str, str], prefix: str) -> None:
        # The source reads nothing but the fields and the configuration of the class, which every model has.
        settings = cast("type[BaseSettings]", root)
        super().__init__(settings, case_sensitive=False, env_prefix=prefix, env_nested_delimiter="__")
        self.env_vars = {name.lower(): value for name, value in variables.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: object) -> object:
        try:
            return super().decode_complex_value(field_name, field, value)  # type: ignore[arg-type]  # it may be None
        except ValueError:
            if isinstance(value, str) and value.lstrip()[:1] not in ("[", "{") and field and _is_list(field.annotation):
                return [part.strip() for part in value.split(",")]
            return value  # the check of all settings together says what is wrong with it


def _without(source: Source, foreign: Collection[str]) -> Source:
    """The settings of a file without the sections that are another program's."""
    return Source({key: value for key, value in source.data.items() if key not in foreign}, source.places)


def _from_flags(flags: Mapping[str, object], flag_names: Mapping[str, str]) -> Source:
    places: dict[KeyPath, Given] = {}

    def walk(values: Mapping[str, object], parent: KeyPath) -> None:
        for key, value in values.items():
            path = (*parent, key)
            if isinstance(value, Mapping) and dotted(path) not in flag_names:
                walk(value, path)
            else:
                name = flag_names.get(dotted(path), "--" + "-".join(path).replace("_", "-"))
                places[path] = Given(f"flag {name}", str(value))

    walk(flags, ())
    return Source(flags, places)


def _from_environment(
    root: type[BaseModel], schema: Schema, environ: Mapping[str, str], names: _Names, problems: list[str]
) -> Source:
    known: dict[str, str] = {}
    places: dict[KeyPath, Given] = {}
    for name, value in names.ours(environ):
        path = names.path(name)
        plain = name[: -len("_FILE")] if name.upper().endswith("_FILE") else ""
        from_file = bool(plain) and path not in schema and names.path(plain) in schema
        if from_file:
            if environ.get(plain):
                problems.append(f"environment variables {plain} and {name} are both set; keep one of them")
                continue
            try:
                value = read_text(Path(value), _MAX_SECRET).removesuffix("\n").removesuffix("\r")
            except ValueError as error:
                problems.append(f"environment variable {name} = '{environ[name]}': {error}")
                continue
            path = names.path(plain)
        if path[0] not in schema.children(()):
            shown = schema.show(path, value)
            problems.append(f"environment variable {name}{shown}: {_unknown(path, schema, names, variables=True)}")
        elif value:
            known[names.variable(path)] = value
            places[path] = Given(f"environment variable {name}", value, variable=True)
    return Source(_Environment(root, known, names.prefix)(), places)


def _merge(
    base: Mapping[str, object], over: Mapping[str, object], schema: Schema, at: KeyPath = ()
) -> dict[str, object]:
    """`over` on top of `base`, key by key. A section with nothing in it (`asr:` alone in a file) changes nothing."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key, {})
        if isinstance(value, Mapping) and isinstance(below, Mapping) and (*at, key) in schema:
            merged[key] = _merge(below, value, schema, (*at, key))
        elif value is not None or not schema.children((*at, key)):
            merged[key] = value
    return merged


def _explain(error: ValidationError, schema: Schema, sources: list[Source], names: _Names) -> list[str]:
    """One line for each key that failed: where it was given, as what, what is wrong, what would do."""
    lines: dict[str, None] = {}  # a union fails once for each member; the sentence is the same
    for failure in error.errors(include_url=False):
        kind, value = failure["type"], failure["input"]
        location = tuple(str(part) for part in failure["loc"])
        if kind == "missing":
            lines[f"{dotted(location)} is missing; set it in the settings file or as {names.variable(location)}"] = None
            continue
        path, given = _given(location, schema, sources)
        if kind in ("extra_forbidden", "invalid_key"):
            what = _unknown(path, schema, names, variables=given.variable)
        else:
            what = schema.complaint(path, kind, failure["msg"], value)
        shown = schema.show(path, value if given.text is None else given.text) if path and value is not None else ""
        lines[": ".join(part for part in (given.where, dotted(path) + shown, what) if part)] = None
    return list(lines)


def _given(location: KeyPath, schema: Schema, sources: list[Source]) -> tuple[KeyPath, Given]:
    """The key that `location` is about, without the members of unions that pydantic adds, and where it was given."""
    for length in range(len(location), 0, -1):
        path = location[:length]
        for source in sources:
            given = source.place(path) if source.has(path) else None
            if given is not None:
                return path, given
        if path in schema:
            return path, Given("default", None)
    return (), Given("settings", None)


def _unknown(path: KeyPath, schema: Schema, names: _Names, variables: bool) -> str:
    """That there is no such key, and the nearest one that is."""
    spell = names.variable if variables else dotted
    near = schema.nearest(path)
    if near is not None:
        return f"there is no such {'variable' if variables else 'key'}; did you mean {spell(near)}?"
    parent = path[:-1] if schema.children(path[:-1]) else ()
    known = ", ".join(spell((*parent, key)) for key in schema.children(parent))
    return f"there is no such {'variable' if variables else 'key'}; there are {known}"


def _is_list(annotation: object) -> bool:
    origin = get_origin(annotation) or annotation
    return origin in (list, tuple, set, frozenset) or any(_is_list(part) for part in get_args(annotation))
