"""The memory over HTTP, as an owner and their programs use it: a real server of aiohttp, a real memory behind it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import resource
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from handlers.agent.memory.background import Pace
from handlers.agent.memory.memories import Memories
from handlers.agent.memory.stage import HOUSEHOLD, NewNote, Origin, Owner, OwnerKind, Source
from handlers.agent.safety.audit import Audit
from handlers.agent.stage import AgentSettings, Request
from handlers.models.store import ModelStore
from handlers.session import Session
from server.agent_engines import open_agent_engines
from server.household import open_memories
from server.http import HttpServer, Status
from server.json_api import answer_in_json
from server.memory_api import MemoryApi
from server.metrics import Metrics
from tests.support.memories import opened
from tests.support.ollama import FakeOllama
from tests.support.server import ANSWER_SECONDS
from tests.support.tokens import with_first
from tests.support.upkeep import able_model

BASE = "/api/v1/memory"
LINES = {"Content-Type": "application/x-ndjson"}


@dataclass
class Answer:
    status: int
    body: Any
    """Of JSON, else the text."""
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """Asks one server."""

    def __init__(self, session: aiohttp.ClientSession, base: str, memories: Memories) -> None:
        self._session = session
        self.base = base
        self.memories = memories

    async def ask(self, method: str, path: str = "", **request: Any) -> Answer:
        async with self._session.request(method, f"{self.base}{BASE}{path}", **request) as answer:
            text = await answer.text()
            body = json.loads(text) if answer.content_type == "application/json" else text
            return Answer(answer.status, body, dict(answer.headers))

    async def add(self, content: str, owner: str = "household") -> str:
        answer = await self.ask("POST", f"?tenant={owner}", json={"content": content})
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    async def contents(self, owner: str = "household") -> list[str]:
        answer = await self.ask("GET", f"?tenant={owner}")
        return [note["content"] for note in answer.body["notes"]]


@contextlib.asynccontextmanager
async def served(memories: Memories) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[answer_in_json])
    audit = Audit(memories.folder / "audit", keep_days=1)
    app.add_routes(MemoryApi(lambda _: memories, lambda _: audit).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{runner.addresses[0][1]}", memories)
    await runner.cleanup()
    await audit.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with opened(tmp_path / "memory") as (memories, upkeep):
        async with served(memories) as client:
            yield client
        await upkeep.idle()


async def test_a_note_from_beginning_to_end(client: Client) -> None:
    note_id = await client.add("Julia likes tulips.", "person:anna")
    shown = (await client.ask("GET", f"/{note_id}?tenant=person:anna")).body
    assert shown["content"] == "Julia likes tulips."
    assert (shown["tenant"], shown["source"]["origin"], shown["version"]) == ("person:anna", "api", 1)
    assert [version["number"] for version in shown["versions"]] == [1]
    assert shown["links"] == []
    changes = {"keywords": ["julia", "flowers"], "tags": ["people"], "context": "What Julia likes."}
    changed = (await client.ask("PATCH", f"/{note_id}?tenant=person:anna", json=changes)).body
    assert {key: changed[key] for key in changes} == changes
    assert (changed["id"], changed["version"], changed["content"]) == (note_id, 2, "Julia likes tulips.")
    undone = (await client.ask("POST", f"/{note_id}/undo?tenant=person:anna")).body
    assert (undone["keywords"], undone["tags"], undone["version"]) == (shown["keywords"], [], 3)
    again = await client.ask("POST", f"/{note_id}/undo?tenant=person:anna")
    assert (again.status, again.body) == (409, {"error": "This memory is as it was at first: there is nothing to undo"})
    new = (await client.ask("PATCH", f"/{note_id}?tenant=person:anna", json={"content": "Julia likes roses."})).body
    assert new["content"] == "Julia likes roses."
    assert await client.contents("person:anna") == ["Julia likes roses."]
    assert (await client.ask("GET", f"/{note_id}?tenant=person:anna")).status == 404
    assert (await client.ask("DELETE", f"/{new['id']}?tenant=person:anna")).body == {"forgotten": 1}
    assert await client.contents("person:anna") == []


async def test_pages(client: Client) -> None:
    for number in range(7):
        await client.add(f"Box {number} holds tulips.")
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await client.ask("GET", f"?limit=3&after={after}")).body
        assert len(page["notes"]) <= 3
        found += [note["content"] for note in page["notes"]]
        after = page["after"]
    assert found == [f"Box {number} holds tulips." for number in range(7)]


async def test_a_page_goes_on_behind_a_note_that_was_forgotten(client: Client) -> None:
    ids = [await client.add(f"Box {number} holds tulips.") for number in range(4)]
    await client.ask("DELETE", f"/{ids[1]}")
    page = (await client.ask("GET", f"?after={ids[1]}")).body
    assert [note["id"] for note in page["notes"]] == ids[2:]


async def test_search(client: Client) -> None:
    wanted = await client.add("The spare key is under the blue flower pot.")
    await client.add("Tom is allergic to nuts.")
    await client.add("The spare key is with Tom.", "person:anna")
    found = (await client.ask("GET", "/search", params={"q": "where is the spare key?", "limit": "1"})).body["notes"]
    assert [note["id"] for note in found] == [wanted]
    assert 0 < found[0]["score"] <= 1
    for query in ("", "   ", "x" * 501):
        assert (await client.ask("GET", "/search", params={"q": query})).status == 400
    assert (await client.ask("GET", "/search", params={"q": '"?*(NEAR'})).status == 200


async def test_owners(client: Client) -> None:
    await client.add("The attic is cold.")
    await client.add("Julia likes tulips.", "person:anna")
    await client.add("My bike is red.", "person:anna")
    assert (await client.ask("GET", "/tenants")).body == {"tenants": {"household": 1, "person:anna": 2}}


async def test_forgetting_by_words(client: Client) -> None:
    for content in ("Julia likes tulips.", "Julia's bike is red.", "Juliane is tall.", "The attic is cold."):
        await client.add(content)
    await client.add("Julia snores.", "person:anna")
    assert (await client.ask("DELETE")).status == 400
    assert (await client.ask("DELETE", "?about=")).status == 400
    assert (await client.ask("DELETE", "?about=Julia")).body == {"forgotten": 2}
    assert (await client.ask("DELETE", "?about=Julia")).body == {"forgotten": 0}
    assert (await client.ask("DELETE", "?about=%3F%21")).body == {"forgotten": 0}
    assert await client.contents() == ["Juliane is tall.", "The attic is cold."]
    assert (await client.ask("DELETE", "?about=*")).body == {"forgotten": 2}
    assert await client.contents() == []
    assert await client.contents("person:anna") == ["Julia snores."]


async def test_an_export_comes_back_in_another_memory(client: Client) -> None:
    for number in range(120):
        note = NewNote(f"Box {number} holds tulips.", Source(Origin.SAID, "anna", "kitchen"))
        client.memories.journal.add(HOUSEHOLD, note)
    exported = await client.ask("GET", "/export")
    assert exported.headers["Content-Type"] == "application/x-ndjson"
    assert len(exported.body.splitlines()) == 122
    to_tom = {"data": exported.body.encode(), "headers": LINES}
    imported = await client.ask("POST", "/import?tenant=person:tom", **to_tom)
    assert imported.body == {"notes": 120, "known": 0, "forgotten": 0, "secret": 0, "vectors": 0}
    again = await client.ask("POST", "/import?tenant=person:tom", **to_tom)
    assert again.body == {"notes": 0, "known": 120, "forgotten": 0, "secret": 0, "vectors": 0}
    notes = (await client.ask("GET", "?tenant=person:tom&limit=500")).body["notes"]
    assert [note["content"] for note in notes] == [f"Box {number} holds tulips." for number in range(120)]
    assert notes[0]["source"]["speaker"] == "anna"
    assert notes[0]["id"] != (await client.ask("GET")).body["notes"][0]["id"]
    found = await client.ask("GET", "/search", params={"q": "box 77", "tenant": "person:tom"})
    assert found.body["notes"][0]["content"] == "Box 77 holds tulips."
    assert list(client.memories.folder.glob("import-*")) == []


async def test_what_was_forgotten_does_not_come_back(client: Client) -> None:
    note_id = await client.add("Julia likes tulips.")
    exported = (await client.ask("GET", "/export")).body.encode()
    await client.ask("DELETE", f"/{note_id}")
    imported = await client.ask("POST", "/import", data=exported, headers=LINES)
    assert (imported.body["notes"], imported.body["forgotten"]) == (0, 1)
    assert await client.contents() == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\n",
        b"hello",
        b"\x00\xff\xfe",
        b"{}",
        b"[" * 100_000,
        b'{"format": "meadowlark-memory"}',
        b'{"format":"meadowlark-memory","version":1,"tenant":"household","exported":1,"space":null}\n',
        b"x" * (5 * 1024 * 1024),
    ],
)
async def test_garbage_is_not_imported(client: Client, garbage: bytes) -> None:
    answer = await client.ask("POST", "/import", data=io.BytesIO(garbage), headers=LINES)
    assert answer.status == 400
    assert answer.body["error"]
    assert str(client.memories.folder) not in answer.body["error"]
    assert "memory.jsonl" not in answer.body["error"]
    assert await client.contents() == []


async def test_a_changed_file_is_not_imported_at_all(client: Client) -> None:
    for number in range(3):
        await client.add(f"Box {number} holds tulips.")
    text = (await client.ask("GET", "/export")).body
    for broken in (text.replace("Box 2", "Box 3"), text.rstrip("\n").rpartition("\n")[0], text + "{}\n"):
        answer = await client.ask("POST", "/import?tenant=person:tom", data=broken.encode(), headers=LINES)
        assert answer.status == 400, broken[-200:]
    assert await client.contents("person:tom") == []


async def test_a_file_that_is_too_large_is_refused_unread(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    headers = {**LINES, "Content-Length": str(300 * 1024 * 1024)}
    answer = await client.ask("POST", "/import", data=endless(), headers=headers)
    assert (answer.status, answer.body["error"]) == (413, "The file is larger than 256 MiB: send it in parts")


async def test_one_file_at_a_time(client: Client) -> None:
    await client.add("Julia likes tulips.")
    exported = (await client.ask("GET", "/export")).body.encode()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield exported[:10]
        began.set()
        await go_on.wait()
        yield exported[10:]

    first = asyncio.create_task(client.ask("POST", "/import?tenant=person:tom", data=slowly(), headers=LINES))
    await began.wait()
    async with asyncio.timeout(ANSWER_SECONDS):
        while not list(client.memories.folder.glob("import-*")):  # it has reached the server
            await client.ask("GET", "/tenants")
    second = await client.ask("POST", "/import?tenant=person:anna", data=exported, headers=LINES)
    assert (second.status, second.body["error"]) == (503, "Another file is being imported: try again when it is done")
    go_on.set()
    assert (await first).body["notes"] == 1
    assert list(client.memories.folder.glob("import-*")) == []


async def test_a_file_left_by_a_crash_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "import-x"
    left.mkdir()
    (left / "memory.jsonl").write_text("Julia likes tulips.")
    async with opened(tmp_path):
        assert not left.exists()


async def test_a_damaged_list_of_private_places_is_no_memory_at_all(tmp_path: Path, store: ModelStore) -> None:
    """Without the list, what is said in private places would be remembered."""
    (tmp_path / "private.json").write_text("{")
    settings = AgentSettings.model_validate({"order": ["builtin"], "builtin": {"model": ""}})
    engines = await open_agent_engines(settings, store, lambda *_: None)
    memories, reason = await open_memories(settings, tmp_path, engines)
    assert memories is None
    assert "remove it to end private mode everywhere" in reason()
    await engines.close()


async def test_another_memorys_id_is_unknown(client: Client) -> None:
    note_id = await client.add("Julia likes tulips.", "person:anna")
    unknown = {"error": "There is no such memory"}
    for owner in ("household", "person:tom", "person:annA", "satellite:anna", "guest:anna"):
        for method, path, body in (
            ("GET", f"/{note_id}", None),
            ("PATCH", f"/{note_id}", {"content": "Julia likes nothing."}),
            ("PATCH", f"/{note_id}", {"tags": ["x"]}),
            ("POST", f"/{note_id}/undo", None),
            ("DELETE", f"/{note_id}", None),
        ):
            answer = await client.ask(method, f"{path}?tenant={owner}", json=body)
            assert (answer.status, answer.body) == (404, unknown), (owner, method)
        assert (await client.ask("GET", f"?after={note_id}&tenant={owner}")).status == 400
    assert await client.contents("person:anna") == ["Julia likes tulips."]


@pytest.mark.parametrize(
    "owner", ["", "nobody", "person", "person:", "household:x", "person:a%0Ab", "person:" + "x" * 200, "PERSON:anna"]
)
async def test_what_is_no_owner(client: Client, owner: str) -> None:
    answer = await client.ask("GET", f"?tenant={owner}")
    assert answer.status == 400
    assert answer.body["error"].startswith("The tenant is none: 'household', or 'person:ID'")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "The body is not JSON"),
        (b"{", "The body is not JSON"),
        (b"\xff", "The body is not JSON"),
        (b"[" * 50_000, "The body is not JSON"),
        (b"[]", "the body: "),
        (b"{}", "content: "),
        (b'{"content": 7}', "content: "),
        (b'{"content": ""}', "content: "),
        (b'{"content": "   "}', "A memory cannot be empty"),
        (b'{"content": "a\\u0000b"}', "content: Value error, must be text"),
        (b'{"content": "' + b"x" * 2001 + b'"}', "content: "),
        (b'{"content": "x", "tenant": "person:tom"}', "tenant: "),
    ],
)
async def test_what_is_no_note(client: Client, body: bytes, error: str) -> None:
    answer = await client.ask("POST", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.body["error"].startswith(error)
    assert await client.contents() == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"language": "de"}, {"tags": ["x" * 101]}, {"tags": ["x"] * 65}, {"keywords": "x"}, {"context": "x" * 1001}],
)
async def test_what_is_no_change(client: Client, changes: dict[str, object]) -> None:
    note_id = await client.add("Julia likes tulips.")
    answer = await client.ask("PATCH", f"/{note_id}", json=changes)
    assert answer.status == 400
    assert answer.body["error"]
    assert (await client.ask("GET", f"/{note_id}")).body["version"] == 1


async def test_a_change_is_made_whole_or_not_at_all(client: Client) -> None:
    note_id = await client.add("Julia likes tulips.")
    answer = await client.ask("PATCH", f"/{note_id}", json={"content": "Julia likes roses.", "tags": ["a\0b"]})
    assert answer.status == 400
    assert await client.contents() == ["Julia likes tulips."]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "x", "1e3", "٣٠٠٠"])
async def test_what_is_no_limit(client: Client, limit: str) -> None:
    answer = await client.ask("GET", f"?limit={limit}")
    assert (answer.status, answer.body) == (400, {"error": "'limit' must be a whole number from 1 to 500"})


async def test_secrets_are_not_kept(client: Client) -> None:
    note_id = await client.add("Julia likes tulips.")
    for answer in (
        await client.ask("POST", json={"content": "The alarm code is 4711."}),
        await client.ask("POST", json={"content": "Der Alarmcode ist 4711.", "language": "de"}),
        await client.ask("PATCH", f"/{note_id}", json={"content": "My password is hunter2024!"}),
    ):
        assert answer.status == 409
        assert answer.body["error"].startswith("Secrets are not kept")
        assert "4711" not in answer.body["error"]
    assert await client.contents() == ["Julia likes tulips."]


@pytest.mark.parametrize(
    "content",
    ["Der Türcode ist 4711", "Mein Passwort ist hunter22", "Le code de la porte est 4711", "La contraseña es hunter22"],
)
async def test_secrets_are_not_kept_in_any_language(client: Client, content: str) -> None:
    note_id = await client.add("Julia likes tulips.")
    note = (await client.ask("GET", f"/{note_id}")).body
    for answer in (
        await client.ask("POST", json={"content": content}),
        await client.ask("PATCH", f"/{note_id}", json={"content": content}),
        await client.ask("PATCH", f"/{note_id}", json={"context": content}),
        await client.ask("PATCH", f"/{note_id}", json={"content": "Julia likes roses.", "keywords": [content]}),
        await client.ask("PATCH", f"/{note_id}", json={"content": "Julia likes roses.", "tags": ["x", content]}),
    ):
        assert answer.status == 409
        assert answer.body["error"].startswith("Secrets are not kept")
    assert (await client.ask("GET", f"/{note_id}")).body == note
    assert await client.contents() == ["Julia likes tulips."]


async def test_what_waits_to_be_learnt_is_forgotten_too(tmp_path: Path) -> None:
    async with (
        FakeOllama() as ollama,
        able_model(ollama) as model,
        opened(tmp_path, model=model, pace=Pace(quiet_seconds=3600)) as (memories, upkeep),
        served(memories) as client,
    ):
        for user in ("anna", "tom"):
            said = Request(
                "Julia is allergic to nuts, what can I cook?", Session(user, "kitchen", language="en", conversation="c")
            )
            memories.turn_finished(said, "Soup.", "t")
        assert (await client.ask("DELETE", "?about=Julia&tenant=person:anna")).body == {"forgotten": 0}
        assert upkeep.waiting == 1


async def test_a_full_disk_is_said(client: Client) -> None:
    """A limit on the size of files stands for it where the file is kept, one of SQLite where its notes are."""
    unkept = "The file cannot be kept while it is read (File too large): make room"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        answer = await client.ask("POST", "/import", data=io.BytesIO(b"x" * 1_100_000), headers=LINES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status, answer.body["error"][: len(unkept)]) == (503, unkept)
    assert list(client.memories.folder.glob("import-*")) == []
    for number in range(50):
        client.memories.journal.add(HOUSEHOLD, NewNote(f"Box {number} holds tulips.", Source(Origin.SAID)))
    exported = (await client.ask("GET", "/export")).body.encode()
    writer = client.memories.journal._file._writer
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    answer = await client.ask("POST", "/import?tenant=person:tom", data=exported, headers=LINES)
    writer.execute("PRAGMA max_page_count = 100000")
    assert (answer.status, answer.body["error"].endswith("the disk is full: make room")) == (503, True)
    assert await client.contents("person:tom") == []


async def test_a_folder_that_cannot_be_written_is_said(client: Client) -> None:
    folder = client.memories.folder
    aside = folder.rename(folder.with_name("aside"))
    answer = await client.ask("POST", "/import", data=b"x", headers=LINES)
    aside.rename(folder)
    assert answer.status == 503
    assert answer.body["error"].startswith("The file cannot be kept while it is read")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "", 405),
        ("PATCH", "", 405),
        ("POST", "/search", 405),
        ("GET", "/import/7", 404),
        ("POST", "/7/undo/8", 404),
        ("GET", "/0123456789abcdef", 404),
        ("GET", "/%00", 404),
        ("GET", "/" + "x" * 3000, 404),
        ("DELETE", "/export", 405),
    ],
)
async def test_every_error_is_a_sentence(client: Client, method: str, path: str, status: int) -> None:
    answer = await client.ask(method, path)
    assert answer.status == status
    assert set(answer.body) == {"error"}
    assert answer.body["error"][0].isupper()


async def test_a_body_without_end_is_refused(client: Client) -> None:
    answer = await client.ask("POST", data=io.BytesIO(b"x" * 2_000_000), headers={"Content-Type": "application/json"})
    assert answer.status == 413
    assert "too large" in answer.body["error"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_form_or_text_is_not_read(client: Client, kind: str) -> None:
    """What the page of a stranger can send without asking first."""
    exported = (await client.ask("GET", "/export")).body.encode()
    for path, body in (("", b'{"content": "Julia likes tulips."}'), ("/import", exported)):
        answer = await client.ask("POST", path, data=body, headers={"Content-Type": kind})
        assert answer.status == 415, path
        assert "Content-Type" in answer.body["error"]
    assert await client.contents() == []


async def test_the_page_of_a_stranger_gets_nothing(client: Client) -> None:
    note_id = await client.add("Julia likes tulips.")
    own = client.base.removeprefix("http://")
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://[evil"},
        {"Origin": f"http://{own}.evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.example", "Host": "evil.example"},  # its name now points here
        {"Host": "evil.example"},
        {"Host": "[evil"},
        {"Host": "meadowlark.local"},  # whoever answers to multicast in this network may claim that name
    ):
        for method, path in (("GET", ""), ("DELETE", f"/{note_id}"), ("POST", f"/{note_id}/undo"), ("GET", "/export")):
            answer = await client.ask(method, path, headers=headers)
            assert answer.status in (400, 403), (method, headers)
            assert "Julia" not in str(answer.body)
    for headers in ({"Origin": client.base}, {"Host": "192.168.1.5"}, {"Host": "localhost:10680"}):
        assert (await client.ask("GET", "", headers=headers)).status == 200
    proxy = {"Origin": "https://home.example", "X-Forwarded-Host": "home.example"}
    assert (await client.ask("DELETE", f"/{note_id}", headers=proxy)).status == 403  # no token is asked for
    assert (await client.ask("DELETE", f"/{note_id}")).status == 200


async def test_without_a_memory_it_says_so(tmp_path: Path) -> None:
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), with_first(tmp_path))
    await http.start()
    url = f"http://127.0.0.1:{http.port}{BASE}"
    try:
        async with aiohttp.ClientSession() as session:
            for method in ("GET", "POST", "DELETE"):
                async with session.request(method, url) as answer:
                    assert answer.status == 401
                    assert "Authorization" in (await answer.json())["error"]
            async with session.get(url, headers={"Authorization": "Bearer secret"}) as answer:
                assert answer.status == 503
                assert "There is no memory" in (await answer.json())["error"]
    finally:
        await http.close()


async def test_many_at_once(client: Client) -> None:
    answers = await asyncio.gather(
        *(client.ask("POST", json={"content": f"Box {number} holds tulips."}) for number in range(20)),
        *(client.ask("GET", "/export") for _ in range(3)),
        *(client.ask("GET", "/search?q=tulips") for _ in range(10)),
    )
    assert {answer.status for answer in answers} == {200, 201}
    assert len(set(await client.contents())) == 20


async def test_a_note_of_every_kind_of_owner_is_its_own(client: Client) -> None:
    keys = ["household", "person:anna", "guest:anna", "satellite:anna"]
    for key in keys:
        await client.add(f"This is of {key}.", key)
    for key in keys:
        assert await client.contents(key) == [f"This is of {key}."]
    assert client.memories.journal.count(Owner(OwnerKind.GUEST, "anna")) == 1
