"""`meadowlark-server audit`: what was done, by whom, from where, after which words, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from handlers.agent.safety.audit import Action, Audit, Ending
from handlers.agent.safety.audit_reader import Entry, entries
from handlers.errors import MeadowlarkError, SettingsError
from handlers.session import Role, Session
from server.settings import ServerSettings

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_POLL_SECONDS = 0.5
"""Between two looks at the log, which costs a millisecond or two."""

_LONGEST_ACTION = timedelta(minutes=10)
"""Whoever follows the log is shown an action when it has ended, if that is within this time."""


def show(folder: Path, since: str, who: str, *, follow: bool) -> None:
    """Print what was done, the oldest first; with `follow` go on until interrupted. SettingsError for a bad `since`, or
    a log that cannot be read."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _show(folder, datetime.now(UTC) - _length(since), who, follow)
    except BrokenPipeError:  # whoever reads it, as `head` does, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise SettingsError(
            f"The log of actions in {folder} cannot be read ({error.strerror or error}): run this as the user whom the "
            "server runs as, with its --data-dir"
        ) from None


@contextlib.contextmanager
def written_down(settings: ServerSettings, tool: str, arguments: Mapping[str, object], heard: str) -> Iterator[None]:
    """The length of something that whoever runs the server does, with its entry in the log; `heard` is the command.
    Blocks. ToolError where that cannot be written, and then the block is not entered."""
    audit = Audit(settings.data_dir / "audit")
    action = Action(tool, arguments, Session(_account(), role=Role.ADMIN), heard)
    try:
        asyncio.run(audit.attempt(action))
        ending = Ending()
        try:
            yield
            ending.failed = False
        except MeadowlarkError as error:
            ending.text = str(error)
            raise
        finally:
            audit.result(action, ending.text, failed=ending.failed, seconds=0.0)
    finally:
        asyncio.run(audit.close())


def _show(folder: Path, began: datetime, who: str, follow: bool) -> None:
    shown: set[str] = set()
    while True:
        recent = [entry for entry in _since(folder, began) if not who or who in (entry.user, entry.token)]
        for entry in reversed(recent):
            if entry.id not in shown and (entry.outcome != "unknown" or not follow):
                sys.stdout.write(f"{_line(entry)}\n")
                shown.add(entry.id)
        sys.stdout.flush()
        if not follow:
            return
        began = max(began, datetime.now(UTC) - _LONGEST_ACTION)
        shown &= {entry.id for entry in recent}
        time.sleep(_POLL_SECONDS)


def _since(folder: Path, began: datetime) -> list[Entry]:
    return list(itertools.takewhile(lambda entry: datetime.fromisoformat(entry.at) >= began, entries(folder)))


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if found is None:
        raise SettingsError(f"--since {text} is no length of time: write it like 30m, 24h, 7d or 4w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _line(entry: Entry) -> str:
    """An entry as people read it, with nothing in it that a terminal obeys."""
    at = datetime.fromisoformat(entry.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    who = " ".join(filter(None, [entry.user, f"[{entry.token}]" if entry.token else "", f"({entry.role})"]))
    where = entry.room or entry.satellite
    parts = [at, who, f"in {where}" if where else "", f"of {entry.tenant}" if entry.tenant else ""]
    heard = f"“{entry.heard}” " if entry.heard else ""
    arguments = f" {json.dumps(entry.arguments, ensure_ascii=False)}" if entry.arguments else ""
    sure = ", after a yes" if entry.confirmed else ""
    took = f" in {entry.seconds:.1f} s" if entry.seconds is not None else ""
    result = f": {entry.result}" if entry.result else ""
    line = f"{'  '.join(filter(None, parts))}  {heard}-> {entry.tool}{arguments}{sure} {entry.outcome}{took}{result}"
    return "".join(sign if sign.isprintable() else " " for sign in line)


def _account() -> str:
    """The name of the account at the computer, or its number where it has none, as in some containers."""
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.getuid())
