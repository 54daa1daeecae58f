"""Reads the requests of bench/agent.py: what is said, by whom, and what should come of it. See bench/README.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from handlers.errors import SettingsError
from handlers.session import Role, RoleName, Session
from handlers.settings import Section

OWN = Path(__file__).with_name("agent.yaml")

_LONGEST_FILE = 4 * 1024 * 1024
"""Bytes; our own set has a fiftieth of it."""

_LONGEST = 4000
"""Characters of a request, as `agent.longest_question` has it."""

_KEYS = ("tools", "requests")


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    return value


Said = Annotated[str, Field(min_length=1, max_length=_LONGEST)]
Answer = Annotated[str, AfterValidator(_pattern)] | list[Annotated[str, Field(min_length=1)]]


class Who(Section):
    """Who says it, and where."""

    user: str = ""
    """A person; empty is a voice that nobody knows."""

    room: str = "kitchen"
    role: RoleName = "user"


class Wanted(Section):
    """The call of a tool that should come."""

    name: Said
    arguments: dict[str, object] = Field(default_factory=dict)
    """Those that matter; the call may have more."""


class Entry(Section):
    """One request and what is right."""

    say: Said
    language: str = Field("en", pattern=r"^[a-z]{2,3}(-\w+)*$")
    after: list[Said] = Field(default_factory=list)
    """Said before, in the same conversation."""

    told: list[Said] = Field(default_factory=list)
    """What the memory holds already, as if the caller had said so on another day."""

    caller: Who = Who()
    route: Literal["", "fast", "think", "hybrid"] = ""
    """Empty is fast where there is an intent, else think. A request that is to think may also be hybrid."""

    intent: Said | list[Said] | None = None
    """What the skill calls it; of several, each is right."""

    slots: dict[str, str] = Field(default_factory=dict)
    """Those that matter."""

    tool: Wanted | Literal["none"] | None = None
    """The call that should be made; 'none' where nothing may be done."""

    answer: Answer | None = None
    """A regular expression that is somewhere in the answer, or phrases of which one is."""

    tools_needed: bool | None = None
    """Whether it takes a language model that uses tools; empty is yes where a call is wanted."""

    @model_validator(mode="after")
    def _goes_together(self) -> Entry:
        if self.intent and self.route not in ("", "fast"):
            raise ValueError("an 'intent' is what a skill understands, so the route is fast; leave one of them out")
        if self.slots and not self.intent:
            raise ValueError("'slots' belong to an 'intent'; name it, too")
        return self

    @property
    def intents(self) -> Sequence[str]:
        """What is right."""
        return [self.intent] if isinstance(self.intent, str) else self.intent or []

    @property
    def wanted_route(self) -> str:
        return self.route or ("fast" if self.intent else "think")

    @property
    def needs_tools(self) -> bool:
        return isinstance(self.tool, Wanted) if self.tools_needed is None else self.tools_needed


@dataclass(frozen=True)
class Case:
    """An entry of a file."""

    entry: Entry
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def caller(self, number: int) -> Session:
        """A caller and a satellite of its own, so that no entry hears of another's timers or memories."""
        who = self.entry.caller
        user = f"{who.user}-{number}" if who.user else ""
        return Session(user, f"{who.room}-{number}", who.room, Role.parse(who.role))


@dataclass(frozen=True)
class CaseSet:
    """All requests of some files, and the stand-in tools that the language model has for them."""

    cases: Sequence[Case]
    tools: Mapping[str, object] = field(default_factory=dict)
    """As in a file of command tools (`agent.tools.commands`)."""


_FIELDS = {*Entry.model_fields, *Who.model_fields, *Wanted.model_fields}


def load_sets(paths: Sequence[Path], language: str = "") -> CaseSet:
    """The entries of all files, those of one language where it is given. SettingsError names file and line."""
    cases: list[Case] = []
    tools: dict[str, object] = {}
    for path in paths:
        found = _read(path)
        for name, tool in found.tools.items():
            if tools.setdefault(name, tool) != tool:
                raise SettingsError(
                    f"{path}: another file has a tool '{name}' that is not the same; rename one of them"
                )
        cases += found.cases
    if language:
        cases = [case for case in cases if case.entry.language.partition("-")[0] == language.partition("-")[0]]
    if not cases:
        raise SettingsError(
            f"There is no request in {', '.join(map(str, paths))}" + (f" in the language '{language}'" * bool(language))
        )
    return CaseSet(cases, tools)


def _read(path: Path) -> CaseSet:
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_FILE + 1)
        if len(text) > _LONGEST_FILE:
            raise SettingsError(f"{path} is larger than {_LONGEST_FILE} bytes; split it")
        loader = yaml.SafeLoader(text.decode())
        try:
            return _case_set(path, loader, loader.get_single_node())
        finally:
            loader.dispose()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        raise SettingsError(
            _at(path, error.problem_mark or error.context_mark, error.problem or "is no YAML")
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]})") from None


def _case_set(path: Path, loader: yaml.SafeLoader, root: yaml.Node | None) -> CaseSet:
    shape = f"it needs a list of requests, or {' and '.join(_KEYS)}"
    if isinstance(root, yaml.SequenceNode):
        return CaseSet(list(_cases(path, loader, root)))
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(_at(path, None if root is None else root.start_mark, shape))
    tools: object = {}
    cases: list[Case] = []
    for key, node in root.value:
        if key.value == "requests" and isinstance(node, yaml.SequenceNode):
            cases = list(_cases(path, loader, node))
        elif key.value == "tools" and isinstance(node, yaml.MappingNode):
            tools = loader.construct_object(node, deep=True)
        else:
            raise SettingsError(_at(path, key.start_mark, f"'{key.value}' cannot be used here; {shape}"))
    return CaseSet(cases, tools if isinstance(tools, dict) else {})


def _cases(path: Path, loader: yaml.SafeLoader, root: yaml.SequenceNode) -> Iterator[Case]:
    adapter = TypeAdapter(Entry)
    for node in root.value:
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError(_at(path, node.start_mark, "a request is a mapping that begins with 'say'"))
        try:
            entry = adapter.validate_python(loader.construct_object(node, deep=True), strict=None)
        except ValidationError as error:
            raise SettingsError(_at(path, node.start_mark, _complaint(error))) from None
        yield Case(entry, path.name, node.start_mark.line + 1)


def _complaint(error: ValidationError) -> str:
    """The first thing that is wrong, without the members of unions that pydantic puts into its places."""
    first = error.errors(include_url=False)[0]
    *outer, last = first["loc"] or ("",)
    parts = [part for part in outer if part in _FIELDS or isinstance(part, int)]
    if last in _FIELDS or first["type"] == "extra_forbidden" or isinstance(last, int):
        parts.append(last)
    key = ".".join(map(str, parts))
    match first["type"]:
        case "extra_forbidden":
            return f"there is no key '{key}'; there are {', '.join(_known_keys(parts))}"
        case "missing":
            return f"'{key}' is missing"
        case "string_type":
            return f"'{key}' must be a text, but YAML reads {first['input']!r}; put texts in quotes"
        case "model_type":
            return f"'{key}' must be a mapping of {', '.join(_known_keys([*parts, '']))}"
    said = first["msg"].removeprefix("Value error, ")
    return f"'{key}': {said}" if key else said


def _known_keys(parts: Sequence[int | str]) -> Sequence[str]:
    inner: dict[int | str, type[Section]] = {"caller": Who, "tool": Wanted}
    return list(inner.get(parts[0] if len(parts) > 1 else "", Entry).model_fields)


def _at(path: Path, mark: yaml.Mark | None, problem: str) -> str:
    return f"{path}, line {mark.line + 1}: {problem}" if mark else f"{path}: {problem}"
