"""Tools that are programs of this machine, declared in YAML files: an argument vector without a shell."""

from __future__ import annotations

import logging
import os
import re
import shutil
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import AfterValidator, Field

from handlers.agent.tools.arguments import question, schema_problem, spoken
from handlers.agent.tools.process import Processes, Program
from handlers.agent.tools.settings import ToolSettings
from handlers.agent.tools.stage import Arguments, Tool, ToolError, ToolSpec
from handlers.errors import SettingsError
from handlers.session import Role, RoleName, Session
from handlers.settings import Section, load_settings

_log = logging.getLogger(__name__)

_INHERITED = ("PATH", "HOME", "LANG")
"""Of the server's own environment, which has its secrets, a program gets these; most find nothing without them."""

_INTERPRETERS = re.compile(r"(ba|da|z|k|fi|c|tc|pw|power)?sh(ell)?|python[\d.]*|perl|ruby|node|lua[\d.]*|php")
"""Programs that read code after '-c' or '-e', also behind sudo, env, or kubectl exec."""


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ValueError("the name of a tool has 1 to 64 letters, digits, '_' and '-'")
    return value


class CommandSettings(Section):
    """One tool. A '{parameter}' in 'argv', 'stdin' and 'confirm' is replaced by its value; '{{' is a brace."""

    description: str = Field("", max_length=2000)
    """What it does and when to use it, for the language model."""

    parameters: dict[str, object] = Field({"type": "object", "properties": {}})
    """A JSON schema of the arguments; give every text a 'pattern' or an 'enum'."""

    argv: list[str | list[str]] = Field(default_factory=list)
    """Program and arguments. Each stays one argument, whatever its values hold. One that holds a parameter which was
    not given is left out; a list within the list is left out as a whole."""

    stdin: str = ""
    """What the program reads."""

    cwd: Path | None = None
    """The folder in which it runs."""

    env: dict[str, str] = Field(default_factory=dict)
    """Its environment, beside PATH, HOME and LANG."""

    pass_env: list[str] = Field(default_factory=list)
    """Variables of the server's own environment that it gets as well, for secrets."""

    seconds: float | None = Field(None, gt=0, le=3600)
    """How long it may take."""

    longest_output: int = Field(64 * 1024, ge=1024, le=16 * 1024 * 1024)
    """Bytes of its output that are kept; a program that writes ten times as many is stopped."""

    role: RoleName = "user"
    """The least that somebody must be to use it: guest, user or admin."""

    destructive: bool = False
    """Whether the speaker is asked before it runs."""

    confirm: str = ""
    """What is asked then: 'Delete the record {name}?'"""

    may_begin_with_dash: list[str] = Field(default_factory=list)
    """Parameters whose value may begin an argument with '-'. Elsewhere that is refused, as it could be an option."""

    reads_only: bool = False
    """Whether it only tells something and changes nothing: then it runs without a question also after a text of
    strangers was read."""

    untrusted: bool = False
    """Whether strangers may have written what it returns, as with a web page."""


class CommandFile(Section):
    """A file of command tools."""

    tools: dict[Annotated[str, AfterValidator(_name)], CommandSettings] = Field(default_factory=dict)
    """Tools by their name."""


class CommandTools:
    """The tools of all files; raises SettingsError that names the file, the tool and what to do."""

    def __init__(self, settings: ToolSettings) -> None:
        self._processes = Processes()
        self._tools: list[CommandTool] = []
        for path in settings.commands:
            file = load_settings(CommandFile, flags={}, config_file=path.expanduser(), environ={})
            for name, command in file.tools.items():
                if any(name == tool.spec.name for tool in self._tools):
                    raise SettingsError(f"{path}: there is a tool '{name}' already; give one of them another name")
                problem = _problem(command)
                if problem:
                    raise SettingsError(f"{path}: tool '{name}': {problem}")
                self._tools.append(CommandTool(name, command, settings.seconds, self._processes))

    @property
    def name(self) -> str:
        return "commands"

    def tools(self, session: Session) -> Sequence[Tool]:
        return self._tools

    async def close(self) -> None:
        """Wait until programs that were stopped are gone."""
        await self._processes.close()


class CommandTool:
    """One program that can be run."""

    def __init__(self, name: str, command: CommandSettings, seconds: float, processes: Processes) -> None:
        self._command = command
        self._seconds = seconds if command.seconds is None else command.seconds
        self._processes = processes
        self._defaults = _defaults(command.parameters)
        self._cwd = command.cwd.expanduser() if command.cwd else None
        self._env = {name: os.path.expanduser(value) for name, value in command.env.items()}  # noqa: PTH111
        self.spec = ToolSpec(name, command.description, command.parameters)
        self._program = os.path.expanduser(_literal(str(command.argv[0])))  # noqa: PTH111 -- a bare name stays one
        if shutil.which(self._program, path=command.env.get("PATH")) is None:
            _log.warning("tool %s: there is no program '%s' on this machine yet", name, self._program)

    @property
    def role(self) -> Role:
        return Role.parse(self._command.role)

    @property
    def destructive(self) -> bool:
        return self._command.destructive

    @property
    def reads_only(self) -> bool:
        return self._command.reads_only

    @property
    def untrusted(self) -> bool:
        return self._command.untrusted

    @property
    def seconds(self) -> float:
        return self._seconds

    def question(self, arguments: Arguments) -> str:
        given = {**self._defaults, **arguments}
        if not self._command.confirm:
            return question(self.spec.name, arguments)
        return " ".join(_filled(self._command.confirm, lambda name: spoken(given.get(name, ""))).split())

    async def call(self, arguments: Arguments, session: Session) -> str:
        command = self._command
        given = {name: _text(name, value) for name, value in {**self._defaults, **arguments}.items()}
        argv = [argument for element in command.argv[1:] for argument in self._arguments(element, given)]
        env = {name: os.environ[name] for name in (*_INHERITED, *command.pass_env) if name in os.environ}
        missing = [name for name in command.pass_env if name not in os.environ]
        if missing:
            raise ToolError(f"The server has no environment variable {missing[0]}, which the tool needs; set it")
        program = Program(
            [self._program, *argv],
            stdin=_filled(command.stdin, lambda name: given.get(name, "")).encode(),
            cwd=self._cwd,
            env={**env, **self._env},
            longest_output=command.longest_output,
        )
        return await self._processes.run(program)

    def _arguments(self, element: str | list[str], given: Mapping[str, str]) -> list[str]:
        """What an element of the template becomes: nothing where a parameter of it was not given."""
        templates = [element] if isinstance(element, str) else element
        if not all(name in given for template in templates for name in _places(template)):
            return []
        made = [_filled(template, lambda name: given[name]) for template in templates]
        for template, argument in zip(templates, made, strict=True):
            first = re.match(r"\{(\w+)\}", template)
            if first and argument.startswith("-") and first[1] not in self._command.may_begin_with_dash:
                raise ToolError(f"The value of '{first[1]}' must not begin with '-'")
        return made


def _text(name: str, value: object) -> str:
    """A value as it stands in an argument."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, str | int | float) else ""
    if not isinstance(value, str | int | float) or "\0" in text:
        raise ToolError(f"The value of '{name}' must be a text or a number")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ToolError(f"The value of '{name}' has characters that cannot be written") from None
    return text


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    """Literal text and the parameter that follows it; ValueError for a template that is none."""
    for literal, name, form, conversion in string.Formatter().parse(template):
        if name is not None and (form or conversion or not re.fullmatch(r"\w+", name)):
            raise ValueError("a place is written {parameter}; write {{ for a brace")
        yield literal, name


def _places(template: str) -> list[str]:
    return [name for _, name in _parts(template) if name is not None]


def _filled(template: str, value: Callable[[str], str]) -> str:
    return "".join(literal + (value(name) if name is not None else "") for literal, name in _parts(template))


def _defaults(schema: Mapping[str, object]) -> dict[str, object]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {
        name: kind["default"] for name, kind in properties.items() if isinstance(kind, Mapping) and "default" in kind
    }


def _literal(template: str) -> str:
    return _filled(template, lambda name: "")


def _problem(command: CommandSettings) -> str:
    """What is wrong with a tool beyond its types, and what to do; empty when nothing is."""
    wrong = schema_problem(command.parameters)
    if wrong:
        return wrong
    if not command.description:
        return "it has no 'description'; say there for the language model what it does and when to use it"
    if not command.argv:
        return "it has no 'argv'; list the program and its arguments there"
    flat = [part for element in command.argv for part in ([element] if isinstance(element, str) else element)]
    properties = command.parameters.get("properties", {})
    known = set(properties) if isinstance(properties, Mapping) else set()
    for key, template in [*(("argv", part) for part in flat), ("stdin", command.stdin), ("confirm", command.confirm)]:
        try:
            unknown = [name for name in _places(template) if name not in known]
        except ValueError as error:
            return f"'{key}' has '{template}', which cannot be read ({error}); a place is {{parameter}}, a brace {{{{"
        if unknown:
            return f"'{key}' has the place '{{{unknown[0]}}}'; declare '{unknown[0]}' under parameters.properties"
    if not flat or flat[0] != command.argv[0] or not flat[0] or _places(flat[0]):
        return "'argv' must begin with the program, which cannot be a parameter"
    if any(_INTERPRETERS.fullmatch(PurePath(part).name) for part in flat):
        scripts = [script for option, script in pairwise(flat) if re.fullmatch(r"-\w*[ce]", option)]
        if any(_places(script) for script in scripts):
            return "'argv' puts a parameter into a script; pass it as an argument of its own (\"$1\" in a shell)"
    strange = [name for name in command.may_begin_with_dash if name not in known]
    if strange:
        return f"'may_begin_with_dash' names '{strange[0]}'; declare it under parameters.properties"
    if command.confirm and not command.destructive:
        return "it has a 'confirm' and would never ask; add  destructive: true"
    if command.destructive and command.reads_only:
        return "it is 'destructive' and 'reads_only' at once; remove one of them"
    return ""
