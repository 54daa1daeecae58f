"""The log of actions as an owner reads it: over HTTP, and on the command line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from handlers.agent.safety.audit import Action, Audit
from handlers.session import Role, Session
from server import cli
from server.access import Gate
from server.audit_api import PATH, AuditApi
from server.json_api import answer_in_json
from server.memory_api import PATH as MEMORY
from server.memory_api import MemoryApi
from server.tokens import Tokens
from tests.support.memories import opened
from tests.support.server import ANSWER_SECONDS

KIM = Session("kim", "hall-1", "hall", Role.USER, conversation="c")


@dataclass
class Home:
    """A memory and its log behind HTTP, with a token of each role by its name."""

    session: aiohttp.ClientSession
    audit: Audit
    folder: Path
    tokens: dict[str, str]

    async def ask(self, method: str, path: str, token: str = "admin", **more: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.tokens[token]}"}
        async with self.session.request(method, path, headers=headers, **more) as answer:
            return answer.status, json.loads(await answer.text())

    async def entries(self, query: str = "") -> list[dict[str, Any]]:
        status, page = await self.ask("GET", PATH + query)
        assert status == 200, page
        return list(page["entries"])


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    audit = Audit(tmp_path / "audit", keep_days=30)
    kept = Tokens(tmp_path)
    tokens = {role.word: kept.add(role.word, role, "anna" if role is Role.USER else "") for role in Role}
    async with opened(tmp_path / "memory") as (memories, upkeep):
        app = web.Application(middlewares=[Gate(kept).middleware(), answer_in_json])
        app.add_routes([*MemoryApi(lambda _: memories, lambda _: audit).routes(), *AuditApi(lambda _: audit).routes()])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base, timeout = f"http://127.0.0.1:{runner.addresses[0][1]}", aiohttp.ClientTimeout(ANSWER_SECONDS)
        async with aiohttp.ClientSession(base, timeout=timeout) as session:
            yield Home(session, audit, tmp_path, tokens)
        await runner.cleanup()
        await upkeep.idle()
    await audit.close()


def written(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "audit").iterdir())


async def test_each_change_of_a_memory_is_one_entry_without_its_words(home: Home) -> None:
    whose = "?tenant=person:anna"
    note = (await home.ask("POST", MEMORY + whose, "user", json={"content": "Julia likes tulips."}))[1]["id"]
    await home.ask("PATCH", f"{MEMORY}/{note}{whose}", "user", json={"keywords": ["tulips"]})
    await home.ask("POST", f"{MEMORY}/{note}/undo{whose}", "user")
    assert (await home.ask("POST", f"{MEMORY}/{note}/undo{whose}", "user"))[0] == 409
    await home.ask("DELETE", f"{MEMORY}?about=tulips")
    await home.ask("DELETE", f"{MEMORY}/{note}{whose}", "user")
    entries = list(reversed(await home.entries()))
    assert [(entry["tool"], entry["outcome"], entry["token"]) for entry in entries] == [
        ("memory/add", "done", "user"),
        ("memory/edit", "done", "user"),
        ("memory/undo", "done", "user"),
        ("memory/undo", "failed", "user"),
        ("memory/forget", "done", "admin"),
        ("memory/forget", "done", "user"),
    ]
    assert [entry["arguments"] for entry in entries[3:]] == [
        {"memory": "person:anna", "id": note},
        {"memory": "household"},
        {"memory": "person:anna", "id": note},
    ]
    assert [entry["result"] for entry in entries] == [note, note, "", "", "0", "1"]
    assert (entries[0]["user"], entries[0]["role"]) == ("anna", "user")
    assert "tulips" not in written(home.folder)


async def test_what_is_refused_or_only_read_changes_nothing_and_is_not_there(home: Home) -> None:
    assert (await home.ask("POST", MEMORY, "user", json={"content": ""}))[0] == 400
    assert (await home.ask("POST", MEMORY, "guest", json={"content": "Hello."}))[0] == 403
    assert (await home.ask("DELETE", f"{MEMORY}/nothing", "user"))[0] == 404
    assert (await home.ask("GET", f"{MEMORY}/search?q=tulips", "user"))[0] == 200
    assert await home.entries() == []


async def test_nothing_is_changed_that_cannot_be_written_down(home: Home) -> None:
    (home.folder / "audit").write_text("no folder")
    status, told = await home.ask("POST", MEMORY, json={"content": "Julia likes tulips."})
    assert (status, "make room" in told["error"]) == (503, True)
    assert (await home.ask("GET", MEMORY))[1]["notes"] == []


async def test_pages_for_admins_alone(home: Home) -> None:
    for number in range(5):
        await home.audit.attempt(Action(f"tool-{number}", {"on": True}, KIM, "light please", "turn-1"))
    status, page = await home.ask("GET", f"{PATH}?limit=2")
    assert status == 200
    entry = page["entries"][0]
    assert (entry["tool"], entry["user"], entry["satellite"], entry["room"]) == ("tool-4", "kim", "hall-1", "hall")
    assert (entry["heard"], entry["turn"], entry["outcome"]) == ("light please", "turn-1", "unknown")
    status, rest = await home.ask("GET", f"{PATH}?limit=10&after={page['after']}")
    assert [entry["tool"] for entry in rest["entries"]] == ["tool-2", "tool-1", "tool-0"]
    assert rest["after"] is None
    for role in ("guest", "user"):
        assert (await home.ask("GET", PATH, role))[0] == 403
    for query in ("?limit=0", "?limit=501", "?limit=x", "?after=yesterday"):
        assert (await home.ask("GET", PATH + query))[0] == 400


def run(folder: Path, *arguments: str) -> int:
    return cli.main(["--data-dir", str(folder), *arguments])


def test_tokens_made_and_revoked_are_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "token", "add", "phone", "--user", "kim", "--no-qr") == 0
    secret = capsys.readouterr().out.strip()
    assert run(tmp_path, "token", "revoke", "phone") == 0
    assert run(tmp_path, "token", "revoke", "phone") != 0
    assert run(tmp_path, "token", "list") == 0
    capsys.readouterr()
    assert run(tmp_path, "audit") == 0
    made, revoked, failed = capsys.readouterr().out.splitlines()
    assert re.search(r"token/add .*\"phone\".*\"kim\".* done", made)
    assert re.search(r"token/revoke .*\"phone\".* done", revoked)
    assert re.search(r"token/revoke .* failed .*no token 'phone'", failed)
    assert secret not in written(tmp_path)


def test_a_token_that_was_not_made_is_not_in_the_log_as_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "token", "add", "phone", "--no-qr") == 0
    for wrong in (["phone"], [" phone"], ["tablet", "--tenant", "nobody"]):
        assert run(tmp_path, "token", "add", *wrong, "--no-qr") != 0
    capsys.readouterr()
    made, *failed = lines(tmp_path, capsys)
    assert " done" in made
    assert [re.search(r" failed .*(already|letters|no tenant)", line) is not None for line in failed] == [True] * 3


def test_the_command_line_removes_nothing_of_the_log(tmp_path: Path) -> None:
    """It need not know for how many days the server keeps it."""
    asyncio.run(write(tmp_path, Action("lamp", {}, KIM)))
    old = tmp_path / "audit" / "actions-2020-01-01.jsonl"
    old.write_text("")
    assert run(tmp_path, "token", "add", "phone", "--no-qr") == 0
    assert old.exists()


def test_a_token_that_cannot_be_written_down_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audit").write_text("no folder")
    assert run(tmp_path, "token", "add", "phone", "--no-qr") != 0
    assert "make room" in capsys.readouterr().err
    assert Tokens(tmp_path).all() == []


async def write(folder: Path, *actions: Action) -> None:
    audit = Audit(folder / "audit", keep_days=30)
    for action in actions:
        async with audit.acting(action) as ending:
            ending.text, ending.failed = "It is\x1b[2J on.", False
    await audit.close()


def lines(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Sequence[str]:
    assert run(folder, "audit", *arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_the_command_line_shows_who_did_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anna = Session("anna", token="tablet", role=Role.ADMIN, tenant="office")
    asyncio.run(write(tmp_path, Action("lamp", {"on": True}, KIM, "light\nplease"), Action("door", {}, anna)))
    lamp, door = lines(tmp_path, capsys)
    assert re.search(
        r'kim \(user\)  in hall  “light please” -> lamp {"on": true} done in \d\.\d s: It is \[2J on\.', lamp
    )
    assert re.search(r"anna \[tablet\] \(admin\)  of office  -> door done", door)
    assert lines(tmp_path, capsys, "--who", "tablet") == [door]
    assert lines(tmp_path, capsys, "--who", "kim", "--since", "1h") == [lamp]
    assert lines(tmp_path, capsys, "--since", "0m") == []
    assert run(tmp_path, "audit", "--since", "yesterday") == 2
    assert "24h" in capsys.readouterr().err


def test_the_log_of_a_tenant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("tenants: {office: {name: The office}}\n")
    asyncio.run(write(tmp_path / "tenants" / "office", Action("lamp", {}, KIM)))
    assert lines(tmp_path, capsys) == []
    assert run(tmp_path, "--config", str(config), "audit", "--tenant", "office") == 0
    assert "lamp" in capsys.readouterr().out
    assert run(tmp_path, "audit", "--tenant", "nobody") == 2
    assert "nobody" in capsys.readouterr().err


def test_nothing_was_done_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(tmp_path / "new", capsys) == []


def test_following_the_log(tmp_path: Path) -> None:
    """What is done from now on is shown when it has ended; a reader that goes ends it."""
    asyncio.run(write(tmp_path, Action("first", {}, KIM)))
    command = [sys.executable, "-m", "server.cli", "--data-dir", str(tmp_path), "audit", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        assert "first" in follower.stdout.readline()
        asyncio.run(write(tmp_path, Action("second", {}, KIM)))
        assert "second" in follower.stdout.readline()
        follower.stdout.close()
        asyncio.run(write(tmp_path, Action("third", {}, KIM)))
        assert follower.wait(ANSWER_SECONDS) == 0
        assert follower.stderr.read() == ""


def test_a_log_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(write(tmp_path, Action("first", {}, KIM)))
    (file,) = (tmp_path / "audit").iterdir()
    content = os.fspath(file)
    file.unlink()
    Path(content).mkdir()
    assert run(tmp_path, "audit") == 2
    assert "cannot be read" in capsys.readouterr().err
