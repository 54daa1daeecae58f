"""A YAML settings file, read so that each key still knows its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from handlers.errors import SettingsError
from handlers.settings_schema import KeyPath, dotted

_MAX_FILE = 1024 * 1024
"""Bytes of a settings file: a hundred times what a long one has."""


@dataclass(frozen=True)
class Given:
    """One value as the person gave it: where ("flag --mic", "home.yaml line 3") and the text they wrote."""

    where: str
    text: str | None
    variable: bool = False


@dataclass(frozen=True)
class Source:
    """The settings from one place, and where in it each of them stands."""

    data: Mapping[str, object]
    places: Mapping[KeyPath, Given]

    def has(self, path: KeyPath) -> bool:
        here: object = self.data
        for key in path:
            if isinstance(here, Mapping) and key in here:
                here = here[key]
            elif isinstance(here, list | tuple) and key.isdecimal() and int(key) < len(here):
                here = here[int(key)]
            else:
                return False
        return True

    def place(self, path: KeyPath) -> Given | None:
        """Where `path` was given: by itself, else as part of a whole, else by what is below it."""
        if path in self.places:
            return self.places[path]
        whole = [self.places[path[:length]] for length in range(len(path) - 1, 0, -1) if path[:length] in self.places]
        below = [given for place, given in self.places.items() if place[: len(path)] == path]
        nearby = [*whole, *below]
        return replace(nearby[0], text=None) if nearby else None


def read_settings_file(path: Path, problems: list[str]) -> Source:
    """Read the file; raises SettingsError when it is no settings file at all. Keys given twice go to `problems`.

    A section whose keys are all commented out (`asr:` alone) counts as left out.
    """
    try:
        text = read_text(path, _MAX_FILE)
    except ValueError as error:
        raise SettingsError(f"settings file {path}: {error}") from None
    places: dict[KeyPath, Given] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
            return Source({}, {})
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError(f"settings file {path}: it must hold keys with values, like  asr: {{model: base}}")
        _locate(node, (), path, places, problems, seen=set())
        data: dict[str, object] = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise SettingsError(f"settings file {path}{_describe(error)}") from None
    except ValueError:  # Python reads no number of more than 4300 digits
        raise SettingsError(
            f"settings file {path}: a number in it is too long; put quotes around what is text"
        ) from None
    except RecursionError:
        raise SettingsError(f"settings file {path}: it is nested too deeply") from None
    return Source(data, places)


def read_text(path: Path, limit: int) -> str:
    """The text of a small UTF-8 file; raises ValueError with a sentence that says what is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("this is not a file" if not path.is_dir() else "this is a folder, not a file")
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        reason = (
            "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise ValueError(reason) from None
    if len(raw) > limit:
        raise ValueError(f"the file is larger than {limit // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 text (byte {error.start})") from None


_NOT_OURS = {"tag:yaml.org,2002:timestamp"}
_BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML without surprises: `no` is Norwegian, `on` a word and 2026-11-20 text; only true and false are booleans.

    A setting that is a boolean takes yes, no, on and off all the same: pydantic reads these words.
    """


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag not in _NOT_OURS and (tag != _BOOLEAN or first in "tTfF")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _locate(
    node: yaml.Node, path: KeyPath, file: Path, places: dict[KeyPath, Given], problems: list[str], seen: set[int]
) -> None:
    """Note the line of every key below `node`; a node that is referred to again is entered once."""
    if id(node) in seen or not isinstance(node, yaml.MappingNode | yaml.SequenceNode):
        return
    seen.add(id(node))
    for number, item in enumerate(node.value):
        key, value = item if isinstance(item, tuple) else (None, item)
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            key.tag = "tag:yaml.org,2002:str"  # 1 is a number and true a boolean, but settings have names
        here = (*path, str(key.value) if key is not None else str(number))
        line = (key or value).start_mark.line + 1
        if here in places:
            problems.append(f"{file} line {line}: {dotted(here)} is given twice; keep one of them")
            continue
        text = value.value if isinstance(value, yaml.ScalarNode) else None
        places[here] = Given(f"{file} line {line}", text)
        _locate(value, here, file, places, problems, seen)


def _describe(error: yaml.YAMLError) -> str:
    """Line, column and the parser's complaint, without the words of the file: one of them may be a password."""
    mark = getattr(error, "problem_mark", None)
    where = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    said = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    text = ", ".join(str(words) for words in said if words)
    return f"{where}: not valid YAML: " + re.sub(r"'([^']*)'", _hide_words, text)


def _hide_words(quoted: re.Match[str]) -> str:
    """Punctuation (',') and the parser's own terms ('<stream end>') stay readable."""
    return quoted[0] if len(quoted[1]) <= 1 or quoted[1].startswith("<") else "'…'"
