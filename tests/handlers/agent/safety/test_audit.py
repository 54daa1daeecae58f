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

from handlers.agent.safety.audit import Action, Audit
from handlers.agent.tools.stage import ToolError
from handlers.errors import RequestError
from handlers.session import Role, Session

ANNA = Session("anna", "kitchen-1", "kitchen", Role.USER, "tablet", "en", "chat-3", "attic")


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


def block(folder: Path) -> None:
    folder.write_text("no folder")


def unblock(folder: Path) -> None:
    folder.unlink()


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
        "tenant": "attic",
        "user": "anna",
        "satellite": "kitchen-1",
        "room": "kitchen",
        "conversation": "chat-3",
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


async def test_no_words_of_what_is_discreet(audit: Audit, folder: Path) -> None:
    action = Action("remember", {"what": "roses"}, ANNA, "remember the roses", discreet=True)
    async with audit.acting(action) as ending:
        ending.text, ending.failed = "I remember the roses.", False
    (entry,) = await audit.entries(10)
    assert (entry.tool, entry.user, entry.outcome) == ("remember", "anna", "done")
    assert "roses" not in today(folder).read_text()


async def test_an_attempt_and_its_result_are_one_entry(audit: Audit) -> None:
    first = Action("lamp", {"on": True}, ANNA, "light please", "turn-1", confirmed=True)
    async with audit.acting(first) as ending:
        await audit.attempt(Action("door", {}, Session("ben")))  # between its attempt and its result
        ending.text, ending.failed = "It is on.", False
    with pytest.raises(RuntimeError, match="burnt"):
        async with audit.acting(Action("oven", {}, ANNA)):
            raise RuntimeError("burnt")
    oven, door, lamp = await audit.entries(10)
    assert (oven.tool, oven.outcome, oven.result) == ("oven", "failed", "")
    assert (door.tool, door.user, door.outcome, door.seconds) == ("door", "ben", "unknown", None)
    assert (lamp.tool, lamp.outcome, lamp.result, lamp.confirmed) == ("lamp", "done", "It is on.", True)
    assert (lamp.turn, lamp.heard, lamp.arguments) == ("turn-1", "light please", {"on": True})
    assert (lamp.user, lamp.satellite, lamp.room) == ("anna", "kitchen-1", "kitchen")
    assert (lamp.tenant, lamp.conversation, lamp.token, lamp.role) == ("attic", "chat-3", "tablet", "user")
    assert lamp.seconds is not None
    assert datetime.now(UTC) - datetime.fromisoformat(lamp.at) < timedelta(hours=1)


async def test_pages_lead_back_through_the_days(audit: Audit, folder: Path) -> None:
    for number in range(150):  # more than is read at once
        await audit.attempt(Action(f"tool-{number}", {}, ANNA, "x" * 500))
    before_midnight = today(folder).rename(folder / f"actions-{datetime.now(UTC).date() - timedelta(days=1)}.jsonl")
    late = Action("late", {}, ANNA)
    await audit.attempt(late)
    newest = today(folder)
    with before_midnight.open("a") as file:  # it was begun before midnight, and ended after it
        file.write(newest.read_text())
    newest.write_text("")
    audit.result(late, "at last", failed=False, seconds=200)
    seen = []
    after = ""
    while page := await audit.entries(90, after):
        seen += page
        after = page[-1].id
    assert [entry.tool for entry in seen] == ["late", *(f"tool-{number}" for number in range(149, -1, -1))]
    assert [entry.outcome for entry in seen] == ["done", *["unknown"] * 150]
    assert len({entry.id for entry in seen}) == 151


async def test_an_action_that_lasted_is_whole_on_whichever_page(audit: Audit) -> None:
    async with audit.acting(Action("slow", {}, ANNA)) as ending:
        for number in range(20):
            await audit.attempt(Action(f"tool-{number}", {}, ANNA))
        ending.failed = False
    newest = await audit.entries(20)
    assert [entry.tool for entry in newest] == [f"tool-{number}" for number in range(19, -1, -1)]
    (slow,) = await audit.entries(20, newest[-1].id)
    assert (slow.tool, slow.outcome) == ("slow", "done")


@pytest.mark.parametrize(
    "word", ["x", "2026-11-20", "2026-11-20.", "2026-11-20.-1", "2026-13-20.1", "2026-11-20.²", "."]
)
async def test_what_is_no_place_in_the_log(audit: Audit, word: str) -> None:
    with pytest.raises(RequestError, match="take 'after' from the page before"):
        await audit.entries(10, word)


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
    for keep_days, left in ((None, {*kept, *old, strange}), (30, {*kept, strange})):
        audit = Audit(folder, keep_days)
        await audit.prune()
        await audit.close()
        assert files(folder) == left


async def test_a_link_is_not_written_through(audit: Audit, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    make(folder)
    today(folder).symlink_to(target)
    with pytest.raises(ToolError, match="cannot write its log of actions"):
        await audit.attempt(Action("tool", {}, ANNA))
    assert target.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_writes_on_the_command_line_the_server_can_read(audit: Audit, folder: Path) -> None:
    os.chown(folder.parent, 12345, 12345)
    await audit.attempt(Action("tool", {}, ANNA))
    assert [path.stat().st_uid for path in (folder, today(folder))] == [12345, 12345]


async def test_after_the_end_nothing_is_attempted(folder: Path) -> None:
    audit = Audit(folder, keep_days=30)
    await audit.close()
    with pytest.raises(ToolError, match="was not done"):
        await audit.attempt(Action("tool", {}, ANNA))


async def test_a_disk_that_cannot_be_written_is_said_once(
    audit: Audit, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    block(folder)
    for _ in range(3):
        with pytest.raises(ToolError, match="cannot write its log of actions"):
            await audit.attempt(Action("tool", {}, ANNA, "secret words"))
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    unblock(folder)
    await audit.attempt(Action("tool", {}, ANNA))
    today(folder).rename(folder / "elsewhere")
    make(today(folder))
    with pytest.raises(ToolError):
        await audit.attempt(Action("tool", {}, ANNA))
    assert len(caplog.records) == 2


def test_other_processes_write_to_it_as_well(folder: Path) -> None:
    """As the command line does while the server runs."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(folder)]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    written = [json.loads(line) for line in today(folder).read_text().splitlines()]
    assert len({line["action"] for line in written}) == 100


WRITER = """
import asyncio, sys
from pathlib import Path
from handlers.session import ANYBODY
from handlers.agent.safety.audit import Action, Audit

async def main():
    audit = Audit(Path(sys.argv[1]), keep_days=30)
    for number in range(50):
        await audit.attempt(Action("tool", {}, ANYBODY, "x" * number))
    await audit.close()

asyncio.run(main())
"""

FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from handlers.session import ANYBODY
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
