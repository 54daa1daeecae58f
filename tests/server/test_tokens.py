"""Access tokens: made, shown once, kept as hashes, revoked; and what each role may see over HTTP."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import re
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from handlers.agent.memory.stage import HOUSEHOLD, Origin, Owner, OwnerKind, Source
from handlers.agent.safety.audit import Audit
from handlers.errors import RequestError, SettingsError
from handlers.session import Role
from server.access import Gate, access_of
from server.json_api import answer_in_json
from server.memory_api import MemoryApi
from server.settings import is_loopback
from server.tokens import Tokens
from tests.support.memories import opened
from tests.support.server import ServerProcess, own_data

ANNA = Owner(OwnerKind.PERSON, "anna")
TOM = Owner(OwnerKind.PERSON, "tom")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path)


def test_a_token_is_found_by_its_secret_and_kept_as_a_hash(tokens: Tokens, tmp_path: Path) -> None:
    secret = tokens.add("phone", Role.USER, "anna")
    found = tokens.find(secret)
    assert found is not None
    assert (found.name, found.may, found.user) == ("phone", Role.USER, "anna")
    assert tokens.find(secret + "x") is None
    assert tokens.find("") is None
    assert tokens.find("caf\udce9") is None  # as bytes that are no text come out of a header
    file = tmp_path / "tokens.json"
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_another_process_changes_is_seen_at_once(tokens: Tokens, tmp_path: Path) -> None:
    other = Tokens(tmp_path)
    secret = other.add("phone", Role.GUEST)
    assert tokens.find(secret) is not None
    other.revoke("phone")
    assert tokens.find(secret) is None


@pytest.mark.parametrize("name", ["", " ", "a\nb", " phone", "x" * 65])
def test_a_name_that_is_none_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(RequestError, match="1 to 64"):
        tokens.add(name, Role.USER)


def test_a_name_is_given_once_and_revoked_once(tokens: Tokens) -> None:
    tokens.add("phone", Role.USER)
    with pytest.raises(RequestError, match="already"):
        tokens.add("phone", Role.ADMIN)
    tokens.revoke("phone")
    with pytest.raises(RequestError, match="no token 'phone'"):
        tokens.revoke("phone")


def written(**changed: object) -> str:
    """A file with one token, of which some is another."""
    token = {"name": "phone", "role": "user", "user": "", "created": "", "sha256": "0" * 64, **changed}
    return json.dumps({"version": 1, "tokens": [token]})


@pytest.mark.parametrize(
    "content",
    [
        *["", "[]", '{"version": 2, "tokens": []}', '{"version": 1, "tokens": [{"a": 1}]}'],
        *[written(sha256=None), written(sha256="ab"), written(tenant=[]), written(user=1), written(role="king")],
    ],
)
def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(tokens: Tokens, tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens.json").write_text(content)
    with pytest.raises(SettingsError, match="damaged"):
        tokens.find("anything")
    with pytest.raises(SettingsError, match="damaged"):
        tokens.add("phone", Role.USER)
    assert (tmp_path / "tokens.json").read_text() == content


def test_tokens_made_by_many_processes_at_once_are_all_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "--data-dir", str(tmp_path), "token", "add"]
    running = [
        subprocess.Popen([*command, f"t{number}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for number in range(4)
    ]
    secrets = [process.communicate(timeout=60)[0].strip() for process in running]
    tokens = Tokens(tmp_path)
    assert {token.name for token in map(tokens.find, secrets) if token is not None} == {"t0", "t1", "t2", "t3"}


def test_the_first_token_is_made_once(tokens: Tokens, tmp_path: Path) -> None:
    secret = tokens.add_first()
    first = tokens.find(secret)
    assert first is not None
    assert (first.name, first.may, first.user) == ("first", Role.ADMIN, "")
    assert secret not in (tmp_path / "tokens.json").read_text()
    assert tokens.add_first() == ""
    tokens.add("phone", Role.USER)
    tokens.revoke("first")
    assert Tokens(tmp_path).add_first() == ""  # whoever has revoked it does not want it


def test_the_file_of_an_older_server_is_taken_over(
    tokens: Tokens, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tokens.add("phone", Role.USER)
    (tmp_path / "http-token").write_text("secret of old\n")
    assert tokens.add_first() == ""
    first = tokens.find("secret of old")
    assert first is not None
    assert (first.name, first.may) == ("first", Role.ADMIN)
    assert [token.name for token in tokens.all()] == ["phone", "first"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json", "tokens.lock"]
    assert "secret" not in (tmp_path / "tokens.json").read_text() + caplog.text
    assert len(caplog.messages) == 1
    (tmp_path / "http-token").write_text("newer secret\n")
    tokens.add_first()
    assert (tokens.find("newer secret"), tokens.find("secret of old")) == (tokens.all()[1], None)


def test_a_file_of_before_there_were_tenants_is_read(tokens: Tokens, tmp_path: Path) -> None:
    secret = tokens.add("phone", Role.USER)
    clinic = tokens.add("clinic", Role.USER, tenant="practice")
    file = tmp_path / "tokens.json"
    document = json.loads(file.read_text())
    del document["tokens"][0]["tenant"]
    file.write_text(json.dumps(document))
    assert [token.tenant for token in map(Tokens(tmp_path).find, (secret, clinic)) if token is not None] == [
        "",
        "practice",
    ]
    with pytest.raises(RequestError, match="tenant has 1 to 64"):
        tokens.add("other", Role.USER, tenant=" ")


class TestCommand:
    """`meadowlark-server token` as a person and a script use it."""

    def test_a_token_comes_with_a_link(self, tmp_path: Path) -> None:
        asked = ("add", "phone", "--tenant", "practice", "--role", "guest")
        unknown = command(tmp_path, *asked)
        assert (unknown.returncode, "no tenant 'practice'" in unknown.stderr) == (2, True)
        made = command(tmp_path, *asked, environment={"MEADOWLARK_TENANTS__PRACTICE__NAME": "Practice"})
        assert made.returncode == 0
        secret = made.stdout.strip()
        assert made.stdout.splitlines() == [secret]
        assert re.search(rf"^  http://[0-9a-f.:\[\]]+:10680/#token={re.escape(secret)}$", made.stderr, re.MULTILINE)
        assert "█" not in made.stderr  # no terminal
        found = Tokens(tmp_path).find(secret)
        assert found is not None
        assert (found.name, found.role, found.tenant) == ("phone", "guest", "practice")
        listed = command(tmp_path, "list").stdout
        assert listed.split()[:4] == ["phone", "guest", "-", "practice"]
        assert secret not in listed

    @pytest.mark.parametrize(
        ("variable", "value", "expected"),
        [
            ("PAGE", "https://voice.example.org", "https://voice.example.org/#token="),
            ("CERTIFICATE", "c.pem", "https://[::1]:1234/#token="),
        ],
    )
    def test_the_link_is_for_the_address_of_the_settings(
        self, tmp_path: Path, variable: str, value: str, expected: str
    ) -> None:
        environment = {f"MEADOWLARK_HTTP__{variable}": value, "MEADOWLARK_HTTP__TOKENS": "on"}
        made = command(tmp_path, "--http", "[::1]:1234", "token", "add", "x", environment=environment)
        assert f"  {expected}{made.stdout.strip()}\n" in made.stderr

    @pytest.mark.parametrize(("more", "drawn"), [((), True), (("--no-qr",), False)])
    def test_a_terminal_gets_a_code(self, tmp_path: Path, more: tuple[str, ...], drawn: bool) -> None:
        ours, theirs = os.openpty()
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            try:
                made = command(tmp_path, "add", "phone", *more, stderr=theirs)
            finally:
                os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # the end of a terminal
                while part := terminal.read(1 << 16):
                    shown += part
        assert made.stdout.strip() in shown.decode()
        assert ("█" in shown.decode()) is drawn


def command(
    folder: Path, *arguments: str, stderr: int = subprocess.PIPE, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    if "token" not in arguments:
        arguments = ("token", *arguments)
    return subprocess.run(
        [sys.executable, "-m", "server.cli", "--data-dir", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **(environment or {})},
        check=False,
    )


class Server:
    """HTTP with tokens, a memory, and a route that tells who asked."""

    def __init__(self, base: str, tokens: Tokens, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.tokens = tokens
        self._session = session

    async def get(self, path: str, secret: str | None = None) -> tuple[int, dict[str, object]]:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        async with self._session.get(self.base + path, headers=headers) as answer:
            return answer.status, json.loads(await answer.text())


@pytest.fixture
async def server(tokens: Tokens, tmp_path: Path) -> AsyncIterator[Server]:
    async def who(request: web.Request) -> web.Response:
        access = access_of(request)
        return web.json_response({"token": access.token, "role": access.role.word})

    async with opened(tmp_path / "memory") as (memories, _):
        for tenant in (HOUSEHOLD, ANNA, TOM):
            await memories.add(tenant, f"A note of {tenant.key}", Source(Origin.API), "en")
        app = web.Application(middlewares=[Gate(tokens).middleware(), answer_in_json])
        audit = Audit(tmp_path / "audit", keep_days=1)
        memory = MemoryApi(lambda _: memories, lambda _: audit)
        app.add_routes([web.get("/who", who), web.get("/health", who), *memory.routes()])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with aiohttp.ClientSession() as session:
                yield Server(f"http://127.0.0.1:{runner.addresses[0][1]}", tokens, session)
        finally:
            await runner.cleanup()
            await audit.close()


async def test_without_a_token_only_the_health_is_told(server: Server) -> None:
    status, body = await server.get("/who")
    assert status == 401
    assert "meadowlark-server token add" in str(body["error"])
    assert (await server.get("/who", "wrong"))[0] == 401
    assert (await server.get("/health"))[0] == 200


async def test_a_request_knows_its_token(server: Server) -> None:
    secret = server.tokens.add("phone", Role.GUEST)
    assert await server.get("/who", secret) == (200, {"token": "phone", "role": "guest"})
    server.tokens.revoke("phone")
    assert (await server.get("/who", secret))[0] == 401


async def test_whoever_guesses_has_to_wait_and_whoever_shows_nothing_has_not(server: Server) -> None:
    for _ in range(40):
        assert (await server.get("/who"))[0] == 401
    statuses = [(await server.get("/who", f"guess {number}"))[0] for number in range(31)]
    assert statuses == [401] * 30 + [429]


@pytest.mark.parametrize(
    ("role", "user", "sees"),
    [
        (Role.GUEST, "anna", []),
        (Role.USER, "", [HOUSEHOLD]),
        (Role.USER, "anna", [HOUSEHOLD, ANNA]),
        (Role.ADMIN, "", [HOUSEHOLD, ANNA, TOM]),
    ],
)
async def test_each_role_sees_its_memories(server: Server, role: Role, user: str, sees: list[Owner]) -> None:
    secret = server.tokens.add("one", role, user)
    for tenant in (HOUSEHOLD, ANNA, TOM):
        status, body = await server.get(f"/api/v1/memory?tenant={tenant.key}", secret)
        assert status == (200 if tenant in sees else 403), body
    status, body = await server.get("/api/v1/memory/tenants", secret)
    if role is Role.GUEST:
        assert status == 403
    else:
        assert body["tenants"] == {tenant.key: 1 for tenant in sees}


def test_whoever_is_reached_from_elsewhere_asks_for_a_token(tmp_path: Path, data_dir: Path) -> None:
    """Also without --lan. The first token is shown, with a link and a QR code."""
    data = own_data(tmp_path, data_dir)
    with ServerProcess(tmp_path, ["--data-dir", str(data), "--http", "0.0.0.0:0"]) as process:
        process.wait_ready()
        status = f"http://127.0.0.1:{process.http_port}/api/v1/voice/status"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(status, timeout=20)
        shown = re.findall(rf"http://(\S+):{process.http_port}/#token=(\S+)", process.log())
        assert len(shown) == 1
        host, secret = shown[0]
        assert not ipaddress.ip_address(host).is_unspecified
        asked = urllib.request.Request(status, headers={"Authorization": f"Bearer {secret}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert json.load(answer)["access"] == {"role": "admin", "token": "first"}
        assert "█" in process.log()
    refused.value.close()
    assert refused.value.code == 401
    assert not (data / "http-token").exists()
    assert secret not in (data / "tokens.json").read_text()
    (written,) = (data / "audit").iterdir()
    made, done = [json.loads(line) for line in written.read_text().splitlines()]
    assert (made["tool"], made["arguments"]["name"], done["failed"]) == ("token/add", "first", False)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.0.0.2", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_is_the_servers(tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4322)
    Tokens(tmp_path).add("phone", Role.USER)
    for made in tmp_path.iterdir():
        assert (made.stat().st_uid, made.stat().st_gid) == (4321, 4322), made
