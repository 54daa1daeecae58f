"""The log of actions on a real disk: complete, private, bounded, and never in the way of the truth."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handlers.agent.caller import Caller, Role
from handlers.agent.safety.audit import Action, Audit
from handlers.agent.tools.stage import ToolError

ANNA = Caller("anna", "kitchen-1", "kitchen", Role.USER, "tablet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
async def audit(folder: Path) -> AsyncIterator[Audit]:
    audit = Audit(folder, keep_days=30)
    yield audit
    await audit.close()


def today(folder: Path) -> Path:
    return folder / f"actions-{datetime.now(UTC).date().isoformat()}.jsonl"


def files(folder: Path) -> set[Path]:
    return set(folder.iterdir())


def make(folder: Path) -> None:
    folder.mkdir()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_entries_are_json_lines_that_only_the_server_may_read(audit: Audit, folder: Path) -> None:
    action = Action("scale", {"name": "web", "password": "hunter2"}, ANNA, "scale web, my pin is 1234", "turn-7")
    await audit.attempt(action)
    audit.result(action, "scaled, token=abc", failed=False, seconds=1.23456)
    newest, oldest = await audit.read()
    (file,) = files(folder)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [oldest, newest]
    assert mode(file) == 0o600
    assert mode(folder) == 0o700
    assert datetime.fromisoformat(str(oldest.pop("at"))).tzinfo is not None  # type: ignore[attr-defined]
    assert oldest == {
        "event": "attempt",
        "action": action.id,
        "turn": "turn-7",
        "user": "anna",
        "satellite": "kitchen-1",
        "room": "kitchen",
        "token": "tablet",
        "role": "user",
        "heard": "scale web, my pin is •••",
        "tool": "scale",
        "arguments": {"name": "web", "password": "•••"},
        "confirmed": False,
    }
    assert (newest["result"], newest["seconds"], newest["failed"]) == ("scaled, token=•••", 1.235, False)


async def test_an_entry_is_bounded(audit: Audit, folder: Path) -> None:
    action = Action("write", {"text": "x" * 100_000, "\u2028": "\ud800\n"}, ANNA, "y" * 100_000)
    await audit.attempt(action)
    audit.result(action, "z" * 100_000, failed=True, seconds=0)
    assert len(await audit.read()) == 2
    assert today(folder).stat().st_size < 12_000


async def test_reading_pages_backwards_and_by_user(audit: Audit, folder: Path) -> None:
    for number in range(5):
        caller = ANNA if number % 2 else Caller("ben")
        await audit.attempt(Action(f"tool-{number}", {}, caller))
    assert [line["tool"] for line in await audit.read(2)] == ["tool-4", "tool-3"]
    third = (await audit.read(3))[-1]
    before = datetime.fromisoformat(str(third["at"]))
    assert [line["tool"] for line in await audit.read(before=before)] == ["tool-1", "tool-0"]
    assert [line["tool"] for line in await audit.read(user="anna")] == ["tool-3", "tool-1"]


async def test_many_writers_at_once_lose_nothing(audit: Audit) -> None:
    await asyncio.gather(*(audit.attempt(Action(f"tool-{number}", {}, ANNA)) for number in range(50)))
    assert {line["tool"] for line in await audit.read()} == {f"tool-{number}" for number in range(50)}


async def test_half_a_line_of_a_power_failure_hides_no_other(audit: Audit, folder: Path) -> None:
    await audit.attempt(Action("first", {}, ANNA))
    with today(folder).open("a") as file:
        file.write('{"at": "2026-01')
    await audit.attempt(Action("second", {}, ANNA))
    assert [line["tool"] for line in await audit.read()] == ["second", "first"]


async def test_old_files_go_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path
    now = datetime.now(UTC).date()
    kept = [folder / f"actions-{now - timedelta(days=days)}.jsonl" for days in (1, 30)]
    old = [folder / f"actions-{now - timedelta(days=days)}.jsonl" for days in (31, 400)]
    strange = folder / "actions-notes.jsonl"
    for path in (*kept, *old, strange):
        path.write_text("")
    audit = Audit(folder, keep_days=30)
    await audit.attempt(Action("tool", {}, ANNA))
    await audit.close()
    assert files(folder) == {*kept, strange, today(folder)}


async def test_a_link_is_not_written_through(audit: Audit, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    make(folder)
    today(folder).symlink_to(target)
    with pytest.raises(ToolError, match="cannot write its log of actions"):
        await audit.attempt(Action("tool", {}, ANNA))
    assert target.read_text() == "precious"


async def test_after_the_end_nothing_is_attempted(folder: Path) -> None:
    audit = Audit(folder, keep_days=30)
    await audit.close()
    with pytest.raises(ToolError, match="was not done"):
        await audit.attempt(Action("tool", {}, ANNA))


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from handlers.agent.caller import ANYBODY
from handlers.agent.safety.audit import Action, Audit
from handlers.agent.tools.stage import ToolError

async def main():
    audit = Audit(Path(sys.argv[1]), keep_days=30)
    await audit.attempt(Action("first", {}, ANYBODY))
    size = sum(path.stat().st_size for path in Path(sys.argv[1]).iterdir())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
    try:
        await audit.attempt(Action("second", {}, ANYBODY))
    except ToolError:
        print("refused")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await audit.attempt(Action("third", {}, ANYBODY))
    print([line["tool"] for line in await audit.read()])
    await audit.close()

asyncio.run(main())
"""


def test_a_full_disk_refuses_the_action_and_leaves_no_half_line(folder: Path) -> None:
    """A limit on the size of files stands for the full disk: the write is cut short in the middle of a line."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.stdout.splitlines() == ["refused", "['third', 'first']"], done.stderr
    assert len(today(folder).read_text().splitlines()) == 2
