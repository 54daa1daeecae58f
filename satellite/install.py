"""The commands `meadowlark-satellite install` and `uninstall`: the satellite as a service of systemd.

A user's service where somebody has a desktop, as PipeWire and PulseAudio run for that person alone; the system's where
nobody logs in. Settings are kept; a settings file that changes leaves a backup.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TextIO

import yaml

from handlers.errors import EngineError, MeadowlarkError, SettingsError
from handlers.settings_file import read_settings_file
from satellite.flags import add_flags, given, settings_from
from satellite.settings import SatelliteSettings
from satellite.sink import is_device
from satellite.usable import check_usable

UNIT = "meadowlark-satellite.service"

USER = "meadowlark"
"""Whose the system's service is, and of what group its settings are."""

_GROUPS = ("audio", "gpio", "spi")
"""Sound cards, buttons and LEDs belong to them, where they exist."""

_HOMES = ("home", "root", "run/user")
"""What ProtectHome hides."""

_COMMAND_SECONDS = 90.0
"""Starting the service may take as long; all other commands take a moment."""

_READABLE = 0o644
_GROUP_ONLY = 0o640


def install(arguments: Sequence[str]) -> int:
    """Write settings and unit, enable and start the service. 0: done, 1: something failed, 2: bad settings."""
    parser = _parser("install", "Makes the satellite a service of systemd that starts with this machine.")
    add_flags(parser)
    parser.add_argument("--no-start", action="store_true", help="only prepare it; it starts with the next boot")
    options = parser.parse_args(arguments)
    return _guarded(lambda: _install(options))


def uninstall(arguments: Sequence[str]) -> int:
    """Stop the service and take the unit away. 0: done, 1: something failed, 2: bad settings."""
    parser = _parser("uninstall", "Stops the satellite's service and takes it away; the settings stay.")
    parser.add_argument("--purge", action="store_true", help="take away settings and state, too")
    options = parser.parse_args(arguments)
    return _guarded(lambda: _uninstall(options))


@dataclass(frozen=True)
class Layout:
    """Where things are, as the running service sees them; `root` is where that system's files are now."""

    is_system: bool
    root: Path
    settings: Path
    unit: Path
    state: Path
    account: Path | None
    """What makes the system's user, for systemd-sysusers."""

    def inside(self, path: Path) -> Path:
        """Where a file of the service is now."""
        return self.root / path.relative_to("/")

    @property
    def is_here(self) -> bool:
        """Whether it is for this running system, not for an image."""
        return self.root == Path("/")


class Steps:
    """Does what has to be done, one step after another, and says so; or only says so."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run

    def say(self, text: str) -> None:
        _write(text)

    def write(self, path: Path, text: str, mode: int = _READABLE, group: str | None = None) -> None:
        """Write a file whole; what was there before goes in the same moment."""
        if self._dry_run:
            self.say(f"would write {path}:\n" + "".join(f"    {line}\n" for line in text.splitlines()))
            return
        self.say(f"writing {path}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.touch(mode=0o600)
            part.write_text(text)
            if group is not None:
                shutil.chown(part, group=group)
            part.chmod(mode)
            part.replace(path)
        except OSError as error:
            raise EngineError(f"{path} cannot be written ({error.strerror or error})") from error

    def back_up(self, path: Path) -> None:
        """Keep what is there under a name that is free."""
        numbers = iter(range(1, 1000))
        copy = next(name for n in numbers if not (name := path.with_name(f"{path.name}.bak{n}")).exists())
        self.say(f"{'would keep' if self._dry_run else 'keeping'} {path} as {copy.name}, with its comments")
        if not self._dry_run:
            shutil.copy2(path, copy)

    def remove(self, path: Path) -> None:
        """Take a file or a folder away, where there is one."""
        if not path.exists():
            return
        self.say(f"{'would remove' if self._dry_run else 'removing'} {path}")
        if not self._dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def run(self, *command: str, optional: bool = False) -> None:
        """Run a program; its failure is an EngineError, or only said where it is `optional`."""
        shown = " ".join(command)
        self.say(f"{'would run' if self._dry_run else 'running'} {shown}")
        if self._dry_run:
            return
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMMAND_SECONDS)  # noqa: S603
        except FileNotFoundError:
            problem = f"{command[0]} is missing: this system has no systemd, so start the satellite another way"
        except subprocess.TimeoutExpired:
            problem = f"'{shown}' did not end: see  systemctl status {UNIT}"
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()
            problem = f"'{shown}' failed ({said[-1] if said else f'exit code {error.returncode}'})"
        else:
            return
        if not optional:
            raise EngineError(problem)
        self.say(f"that was not possible: {problem}")


def _install(options: argparse.Namespace) -> None:
    layout = _layout(options)
    file = layout.inside(layout.settings)
    options.config = file if file.exists() else None
    settings = settings_from(options, environ={})
    _check(settings)
    executable = _executable(layout)
    in_use = [executable, Path(sys.executable).resolve(), layout.settings]
    if settings.wake_folder is not None:
        in_use.append(settings.wake_folder)
    if layout.is_system and layout.is_here:
        _check_open(in_use)

    steps = Steps(dry_run=options.dry_run)
    if layout.account is not None:
        steps.write(layout.inside(layout.account), account(layout.inside(Path("/etc/group"))))
        if layout.is_here:
            steps.run("systemd-sysusers", str(layout.account))
    _write_settings(steps, layout, given(options))
    steps.write(layout.inside(layout.unit), unit_text(layout, executable, in_use))
    _enable(steps, layout, start=not options.no_start)


def _layout(options: argparse.Namespace) -> Layout:
    is_root = os.geteuid() == 0
    is_image = options.root != Path("/")
    is_system = options.system or is_image or (is_root and not options.user)
    if is_image and options.user:
        raise SettingsError("--root is for the system's service: leave out --user")
    if is_system and not (is_root or is_image or options.dry_run):
        raise SettingsError("The system's service needs root: put sudo before the command, or use --user")
    if not is_system and "SUDO_USER" in os.environ:
        raise SettingsError("A user's service is installed by that user: leave out sudo")
    home = Path.home()
    folder = Path("/etc") if is_system else Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    state = Path("/var/lib") if is_system else Path(os.environ.get("XDG_STATE_HOME") or home / ".local/state")
    return Layout(
        is_system=is_system,
        root=options.root.resolve(),
        settings=options.config.resolve() if options.config else folder / "meadowlark" / "satellite.yaml",
        unit=folder / "systemd" / ("system" if is_system else "user") / UNIT,
        state=state / "meadowlark-satellite",
        account=Path("/etc/sysusers.d/meadowlark-satellite.conf") if is_system else None,
    )


def _check(settings: SatelliteSettings) -> None:
    """A service has neither a terminal nor an end, and nobody who would read what it complains of."""
    if not is_device(settings.mic):
        raise SettingsError(f"A service listens to a microphone, not to '{settings.mic}': choose one with --mic")
    if settings.speaker == "-":
        raise SettingsError("A service has no standard output: choose a speaker with --speaker")
    asyncio.run(check_usable(settings))


def _executable(layout: Layout) -> Path:
    """This program, as the service finds it."""
    beside = Path(sys.executable).with_name("meadowlark-satellite")
    found = str(beside) if beside.exists() else shutil.which("meadowlark-satellite")
    if found is None:
        raise SettingsError("The command meadowlark-satellite is not installed: pip install 'meadowlark[satellite]'")
    path = Path(found).absolute()
    return Path("/") / path.relative_to(layout.root) if path.is_relative_to(layout.root) else path


def _check_open(in_use: Sequence[Path]) -> None:
    """The service's user is not whoever installs it."""
    for path in in_use:
        for folder in path.parents:
            if folder.exists() and not folder.stat().st_mode & 0o001:
                raise SettingsError(
                    f"The user {USER} may not enter {folder}, where {path} is: install Meadowlark in a folder that is"
                    " open to all, such as /opt/meadowlark, or use --user without sudo"
                )


def account(groups: Path) -> str:
    """The system's user for systemd-sysusers, in those of its groups that there are. audio is made if need be."""
    try:
        known = {line.partition(":")[0] for line in groups.read_text().splitlines()}
    except OSError:
        known = set()
    members = [f"m {USER} {group}" for group in _GROUPS if group == "audio" or group in known]
    return "\n".join([f'u {USER} - "Meadowlark satellite" /var/lib/meadowlark-satellite', *members]) + "\n"


def unit_text(layout: Layout, executable: Path, in_use: Sequence[Path]) -> str:
    """The packaged unit with the paths of this machine; homes are shown to it only where one of `in_use` is there."""
    packaged = files("satellite") / "systemd"
    text = (packaged / UNIT if layout.is_system else packaged / "user" / UNIT).read_text()
    text = _with(text, "ExecStart", f"{_quoted(executable)} --config {_quoted(layout.settings)}")
    homes = [Path("/") / home for home in _HOMES]
    if layout.is_system and any(path.is_relative_to(home) for path in in_use for home in homes):
        text = _with(text, "ProtectHome", "read-only")
    return text


def _with(unit: str, key: str, value: str) -> str:
    lines = [f"{key}={value}" if line.startswith(f"{key}=") else line for line in unit.splitlines()]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """For ExecStart, where % and $ mean something."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(character in text for character in ' ;"\\') else text


def _write_settings(steps: Steps, layout: Layout, flags: Mapping[str, object]) -> None:
    """What was given goes into the file; all else in it stays."""
    path = layout.inside(layout.settings)
    before = dict(read_settings_file(path, []).data) if path.exists() else {}
    section = before.get("satellite")
    after = {**before, "satellite": {**(section if isinstance(section, dict) else {}), **flags}}
    if path.exists() and after["satellite"] == (section or {}):
        steps.say(f"{path} stays as it is")
        return
    if path.exists():
        steps.back_up(path)
    head = "# Settings of the satellite, as its flags; see satellite/README.md.\n"
    text = head + yaml.safe_dump(after, sort_keys=False, allow_unicode=True)
    group = USER if layout.is_system and layout.is_here and _is_group(USER) else None
    steps.write(path, text, _READABLE if group is None else _GROUP_ONLY, group)


def _is_group(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return grp.getgrnam(name).gr_gid >= 0
    return False


def _enable(steps: Steps, layout: Layout, *, start: bool) -> None:
    if not layout.is_here:
        steps.run("systemctl", f"--root={layout.root}", "enable", UNIT)
        return
    systemctl = ["systemctl"] if layout.is_system else ["systemctl", "--user"]
    steps.run(*systemctl, "daemon-reload")
    steps.run(*systemctl, "enable", UNIT)
    if not layout.is_system:
        steps.run("loginctl", "enable-linger", optional=True)  # it runs although nobody is logged in
    shown = " ".join(systemctl)
    if start:
        steps.run(*systemctl, "restart", UNIT)
        steps.say(f"It starts with this machine. How it is:  {shown} status {UNIT}")
    else:
        steps.say(f"It starts with the next boot, or by:  {shown} start {UNIT}")


def _uninstall(options: argparse.Namespace) -> None:
    layout = _layout(options)
    steps = Steps(dry_run=options.dry_run)
    systemctl = ["systemctl"] if layout.is_system else ["systemctl", "--user"]
    if not layout.is_here:
        steps.run("systemctl", f"--root={layout.root}", "disable", UNIT, optional=True)
    elif layout.unit.exists():
        steps.run(*systemctl, "disable", "--now", UNIT, optional=True)
    steps.remove(layout.inside(layout.unit))
    if layout.account is not None:
        steps.remove(layout.inside(layout.account))
    if layout.is_here:
        steps.run(*systemctl, "daemon-reload", optional=True)
    if not options.purge:
        steps.say(f"The settings stay in {layout.inside(layout.settings)}")
        return
    steps.remove(layout.inside(layout.settings))
    steps.remove(layout.inside(layout.state))
    if layout.is_system and layout.is_here and _is_group(USER):
        steps.run("userdel", USER, optional=True)


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"meadowlark-satellite {command}", description=description, allow_abbrev=False
    )
    add = parser.add_argument
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--user", action="store_true", help="for you alone, on a desktop (the default but for root)")
    kind.add_argument("--system", action="store_true", help="for the machine, where nobody logs in; needs root")
    add("--dry-run", action="store_true", help="only say what would be done")
    add("--root", metavar="DIR", type=Path, default=Path("/"), help="prepare the system below this folder, an image")
    if command == "uninstall":
        add("--config", metavar="FILE", type=Path, help="the settings file, where it is another than the usual one")
    return parser


def _guarded(work: Callable[[], None]) -> int:
    """Run a command; what goes wrong is one sentence and an exit code."""
    try:
        work()
    except MeadowlarkError as error:
        _write(f"meadowlark-satellite: {error}", sys.stderr)
        return error.exit_code
    return 0


def _write(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream or sys.stdout, flush=True)
