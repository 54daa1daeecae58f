"""Browsers that sign in, strangers that are kept out, and what nobody may have too much of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from handlers.errors import RequestError
from handlers.session import Role
from server import http as http_module
from server import session_api
from server.access import COOKIE, SESSION, Access, Gate, access_of
from server.connections import Connections
from server.http import HttpServer, Status
from server.json_api import Places, answer_in_json, read_body, refusal
from server.metrics import Metrics
from server.origin import address_of
from server.rate import Rates
from server.security import secured
from server.settings import ServerSettings
from server.tenants import tenants_of
from server.tokens import Tokens
from server.uploads import received
from server.websocket import websocket_route
from tests.support.server import ANSWER_SECONDS
from tests.support.tokens import with_first

STATUS = "/api/v1/voice/status"
ECHO = "/api/v1/echo"
STRANGER = {"Origin": "http://evil.example"}
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


PEOPLE = {"access": {"unknown": "guest", "users": {"tom": {"role": "user"}, "kid": {"role": "guest"}}}}

OPENER = "Cross-Origin-Opener-Policy"
"""Browsers complain of it where the page is not trustworthy."""


@contextlib.asynccontextmanager
async def serving(tokens: Tokens | None, **settings: object) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser, which keeps cookies, at a server without engines. `settings` are those of `http`."""
    chosen = ServerSettings.model_validate({"http": settings, "agent": PEOPLE, "tenants": {"practice": {}}})
    http = HttpServer(["127.0.0.1"], 0, Status(tenants_of(chosen)), Metrics(), tokens, chosen)
    await http.start()
    try:
        async with browser(f"http://127.0.0.1:{http.port}") as session:
            yield session
    finally:
        await http.close()


def browser(address: str) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    return aiohttp.ClientSession(address, cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=timeout)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return with_first(tmp_path)


@pytest.fixture
async def page(tokens: Tokens) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser at a server that asks for tokens."""
    async with serving(tokens) as session:
        yield session


@pytest.fixture
async def echo(tokens: Tokens) -> AsyncIterator[aiohttp.ClientSession]:
    """The same at one with a WebSocket, which says who is connected."""

    class Echo:
        async def serve(self, request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str(access_of(request).token)
            await socket.close()
            return socket

    async def uploaded(request: web.Request) -> web.Response:
        try:
            async with received(request, 1_000_000) as upload:
                return web.json_response({"bytes": len(upload.file.read())})
        except RequestError as error:
            return refusal(error)

    app = web.Application(middlewares=[Gate(tokens).middleware(), answer_in_json])
    app.add_routes([websocket_route(ECHO, lambda _: Echo()), web.post("/api/v1/upload", uploaded)])
    secured(app, strict_transport=True)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with browser(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def sign_in(session: aiohttp.ClientSession, secret: str = "secret", **headers: str) -> aiohttp.ClientResponse:
    async with session.post(SESSION, json={"token": secret}, headers=headers) as answer:
        await answer.read()
        return answer


async def status_of(session: aiohttp.ClientSession, path: str = STATUS, method: str = "GET", **headers: str) -> int:
    async with session.request(method, path, headers=headers) as answer:
        return answer.status


async def origin_of(session: aiohttp.ClientSession) -> str:
    """The address of its server, as a page from there sends it."""
    async with session.get("/health") as answer:
        return str(answer.url.origin())


# Signing in


async def test_a_browser_signs_in_and_out(page: aiohttp.ClientSession) -> None:
    async with page.get(SESSION) as refused:
        assert (refused.status, len(refused.cookies)) == (401, 0)
    answer = await sign_in(page, " secret\n")
    assert answer.status == 200
    who = {"asks": True, "role": "admin", "token": "first", "user": "", "tenant": ""}
    assert await answer.json() == who
    cookie = answer.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert cookie["secure"] == ""
    assert int(cookie["max-age"]) >= 365 * 86_400
    assert await status_of(page) == 200
    assert await status_of(page, "/metrics") == 200
    async with page.get(SESSION) as told:
        assert (told.status, await told.json()) == (200, who)
    assert await status_of(page, SESSION, "DELETE") == 204
    assert await status_of(page) == 401


async def test_a_cookie_is_for_https_where_a_proxy_on_this_machine_has_it(page: aiohttp.ClientSession) -> None:
    answer = await sign_in(page, **{"X-Forwarded-Proto": "https"})
    assert answer.cookies[COOKIE]["secure"] is True


async def test_a_cookie_counts_for_websockets(echo: aiohttp.ClientSession, tokens: Tokens) -> None:
    own = await origin_of(echo)
    secret = tokens.add("tablet", Role.USER)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await echo.ws_connect(ECHO)
    assert refused.value.status == 401
    echo.cookie_jar.update_cookies({COOKIE: secret})
    async with echo.ws_connect(ECHO, origin=own) as socket:
        assert await socket.receive_str(timeout=ANSWER_SECONDS) == "tablet"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await echo.ws_connect(ECHO, origin="http://evil.example")
    assert refused.value.status == 403
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with echo.get(ECHO, headers={**upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}) as answer:
        assert (answer.status, answer.headers["X-Content-Type-Options"]) == (101, "nosniff")


async def test_the_page_of_a_stranger_cannot_use_a_cookie(page: aiohttp.ClientSession) -> None:
    await sign_in(page)
    for method, path in (("GET", STATUS), ("GET", "/metrics"), ("DELETE", "/api/v1/memory"), ("POST", "/v1/models")):
        assert await status_of(page, path, method, **STRANGER) == 403, path
    # The same machine, another port: browsers send the cookie there, too.
    assert await status_of(page, Origin="http://127.0.0.1:1") == 403
    assert await status_of(page, SESSION, "POST", **STRANGER) == 403
    assert await status_of(page, SESSION, "DELETE", **STRANGER) == 403
    assert await status_of(page, Origin=await origin_of(page)) == 200


async def test_other_ports_of_the_same_host_cannot_use_a_cookie(page: aiohttp.ClientSession) -> None:
    """Browsers send it there, and no `Origin` with a GET."""
    await sign_in(page)
    for site, expected in (("same-site", 403), ("cross-site", 403), ("same-origin", 200), ("none", 200)):
        assert await status_of(page, **{"Sec-Fetch-Site": site}) == expected, site
    own = await origin_of(page)
    assert await status_of(page, **{"Sec-Fetch-Site": "same-site"}, Authorization="Bearer secret") == 200
    assert await status_of(page, Origin=own) == 200
    ingress = {"Origin": "https://home.example", "X-Forwarded-Host": "home.example"}
    assert await status_of(page, **ingress) == 200


async def test_a_revoked_token_is_taken_back(page: aiohttp.ClientSession, tokens: Tokens) -> None:
    assert (await sign_in(page, tokens.add("tablet", Role.USER))).status == 200
    tokens.revoke("tablet")
    async with page.get(SESSION) as answer:
        assert (answer.status, answer.cookies[COOKIE]["max-age"]) == (401, "0")
    assert COOKIE not in {cookie.key for cookie in page.cookie_jar}


async def test_a_header_counts_and_one_of_a_proxy_does_not(page: aiohttp.ClientSession) -> None:
    await sign_in(page)
    assert await status_of(page, Authorization="Bearer wrong") == 401
    assert await status_of(page, Authorization="Basic YTpi") == 200
    assert await status_of(page) == 200  # a wrong header takes no cookie back


async def test_whoever_signs_in_wrongly_has_to_wait(page: aiohttp.ClientSession) -> None:
    for number in range(200):
        answer = await sign_in(page, f"guess {number}")
        if answer.status == 429:
            break
        assert answer.status == 401
        assert COOKIE not in answer.cookies
    assert (number >= 30, answer.status) == (True, 429)
    assert int(answer.headers["Retry-After"]) >= 1
    assert await status_of(page, Authorization="Bearer another") == 429
    assert await status_of(page) == 401
    # Somebody else may have this address, too.
    assert await status_of(page, Authorization="Bearer secret") == 200
    assert (await sign_in(page)).status == 200


async def test_a_sign_in_is_small(page: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    for data in (b" " * 5000, pieces()):
        async with page.post(SESSION, data=data, headers={"Content-Type": "application/json"}) as answer:
            assert (answer.status, list(await answer.json())) == (413, ["error"])


@pytest.mark.parametrize("body", ["{}", '{"token": 1}', '{"token": "a", "more": 1}', "[", '{"token": "a\\u0000"}'])
async def test_what_is_no_sign_in(page: aiohttp.ClientSession, body: str) -> None:
    async with page.post(SESSION, data=body, headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, list(await answer.json())) == (400, ["error"])
    async with page.post(SESSION, data=body, headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415


async def test_where_no_token_is_asked_for_everybody_is_the_owner() -> None:
    who = {"asks": False, "role": "admin", "token": "", "user": "", "tenant": ""}
    async with serving(None) as session:
        async with session.get(SESSION) as answer:
            assert (answer.status, await answer.json()) == (200, who)
        answer = await sign_in(session, "anything")
        assert (answer.status, await answer.json(), len(answer.cookies)) == (200, who, 0)


async def test_a_token_has_a_tenant(page: aiohttp.ClientSession, tokens: Tokens) -> None:
    answer = await sign_in(page, tokens.add("clinic", Role.USER, "anna", "practice"))
    assert await answer.json() == {
        **{"asks": True, "role": "user", "token": "clinic"},
        **{"user": "anna", "tenant": "practice"},
    }


# Who is let in


async def test_only_the_page_and_the_health_are_open(page: aiohttp.ClientSession) -> None:
    statuses = {path: await status_of(page, path) for path in ("/", "/health", "/ready", "/metrics", "/nothing")}
    assert statuses == {"/": 200, "/health": 200, "/ready": 503, "/metrics": 401, "/nothing": 401}
    _, _, port = (await origin_of(page)).rpartition(":")
    for path in ("/api/docs", "/%61pi/v1/voice/status", "/health/../metrics", "//metrics", "/metrics?/health", "/."):
        async with asyncio.timeout(ANSWER_SECONDS):  # as it is: a client of HTTP would tidy it up
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert b" 401 " in await reader.readline(), path
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, 200) for host in ("127.0.0.1", "192.168.1.5:10680", "[::1]:10680", "localhost:1", "a.localhost")],
        *[(host, 200) for host in ("Voice.Lan", "voice.lan.:10680")],
        *[(host, 403) for host in ("evil.example", "meadowlark.local", "meadowlark", "xvoice.lan", "localhost.evil")],
    ],
)
async def test_without_tokens_only_known_names_are_answered_to(host: str, expected: int) -> None:
    async with serving(None, names=["voice.lan."]) as session, session.get(STATUS, headers={"Host": host}) as answer:
        assert answer.status == expected
        if expected == 403:
            assert "http.names" in (await answer.json())["error"]


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-Real-IP"])
async def test_without_tokens_nobody_comes_by_a_proxy(header: str) -> None:
    async with serving(None) as session:
        for path in (STATUS, "/metrics", SESSION, "/v1/models", "/api/docs"):
            async with session.get(path, headers={header: "for=192.0.2.1"}) as answer:
                assert answer.status == 403, path
                assert "http.tokens: on" in await answer.text()
        assert await status_of(session, SESSION, "POST", **{header: "192.0.2.1"}) == 403
        for path, expected in (("/", 200), ("/health", 200), ("/ready", 503)):
            assert await status_of(session, path, **{header: "192.0.2.1"}) == expected


async def test_metrics_are_guarded(tokens: Tokens) -> None:
    async with serving(None) as session:
        assert await status_of(session, "/metrics") == 200
        assert await status_of(session, "/metrics", Host="evil.example") == 403
        assert await status_of(session, "/metrics", **STRANGER) == 403
    async with serving(tokens) as session:  # it has a tenant
        for role, expected in ((Role.GUEST, 403), (Role.USER, 403), (Role.ADMIN, 200)):
            secret = tokens.add(f"many {role.word}", role)
            assert await status_of(session, "/metrics", Authorization=f"Bearer {secret}") == expected
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), tokens)
    await http.start()
    try:
        async with browser(f"http://127.0.0.1:{http.port}") as session:
            for role, expected in ((Role.GUEST, 403), (Role.USER, 200)):
                secret = tokens.add(f"alone {role.word}", role)
                assert await status_of(session, "/metrics", Authorization=f"Bearer {secret}") == expected
    finally:
        await http.close()


@pytest.mark.parametrize(
    ("role", "user", "tenant", "expected"),
    [
        (Role.ADMIN, "tom", "", "user"),
        (Role.ADMIN, "kid", "", "guest"),
        (Role.ADMIN, "stranger", "", "guest"),
        (Role.GUEST, "tom", "", "guest"),
        (Role.ADMIN, "", "", "admin"),
        (Role.ADMIN, "kid", "practice", "user"),  # whom that household does not know
    ],
)
async def test_a_persons_token_may_no_more_than_the_person(
    page: aiohttp.ClientSession, tokens: Tokens, role: Role, user: str, tenant: str, expected: str
) -> None:
    secret = tokens.add("phone", role, user, tenant)
    assert (await (await sign_in(page, secret)).json())["role"] == expected
    allowed = 503 if expected == "admin" else 403  # nothing is loaded
    async with page.get("/api/v1/audit", headers={"Authorization": f"Bearer {secret}"}) as answer:
        assert answer.status == allowed


async def test_with_tokens_any_name_will_do(page: aiohttp.ClientSession) -> None:
    assert await status_of(page, SESSION, "POST", Host="voice.fritz.box") == 415
    assert await status_of(page, Authorization="Bearer secret", Host="voice.fritz.box") == 200


async def test_tokens_that_cannot_be_read_are_told_once(
    page: aiohttp.ClientSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = (tmp_path / "tokens.json").read_text()
    (tmp_path / "tokens.json").write_text("{")
    for _ in range(3):
        async with page.get(STATUS, headers={"Authorization": "Bearer secret"}) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
            assert "log" in (await answer.json())["error"]
    assert (await sign_in(page)).status == 503
    assert [record.levelname for record in caplog.records if "tokens.json" in record.getMessage()] == ["ERROR"]
    (tmp_path / "tokens.json").write_text(kept)
    assert await status_of(page, Authorization="Bearer secret") == 200


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ([], "127.0.0.1"),
        (["10.0.0.7"], "10.0.0.7"),
        (["6.6.6.6, 10.0.0.7"], "10.0.0.7"),
        (["6.6.6.6", "10.0.0.7"], "10.0.0.7"),
        (["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        (["::ffff:10.0.0.7"], "10.0.0.7"),
        (["nonsense"], "127.0.0.1"),
    ],
)
async def test_the_address_behind_a_proxy(forwarded: list[str], expected: str) -> None:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text=address_of(request))

    app = web.Application()
    app.router.add_get("/", who)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        headers = CIMultiDict([("X-Forwarded-For", line) for line in forwarded])
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with browser(address) as session, session.get("/", headers=headers) as answer:
            assert await answer.text() == expected
    finally:
        await runner.cleanup()


# How much anybody may have


async def test_a_token_has_so_many_requests_a_minute(tokens: Tokens) -> None:
    first, other = {"Authorization": "Bearer secret"}, {"Authorization": f"Bearer {tokens.add('other', Role.USER)}"}
    async with serving(tokens, requests_a_minute=3) as session:
        for _ in range(100):
            async with session.get("/v1/models/x", headers=first) as answer:
                error = (await answer.json())["error"]
            if answer.status == 429:
                break
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        assert error["type"] == "rate_limit_error"
        assert await status_of(session, **other) == 200
        for path, otherwise in ((STATUS, 401), ("/", 200)):  # without one it is the address
            statuses = [await status_of(session, path) for _ in range(100)]
            assert 429 in statuses
            assert set(statuses) <= {otherwise, 429}


async def test_without_tokens_nobody_counts() -> None:
    async with serving(None, requests_a_minute=1) as session:
        assert {await status_of(session, "/health") for _ in range(10)} == {200}


def test_rates_remember_a_bounded_number() -> None:
    rates = Rates(1)
    for number in range(10_000):
        rates.take(f"address {number}")
    assert rates.wait("address 9999") > 0
    assert rates.wait("address 0") == 0
    assert len(rates._buckets) == 4096


def test_one_token_has_half_of_the_places() -> None:
    one, two, three = (Access(name) for name in ("one", "two", "three"))
    places = Places(4, "texts are being spoken")
    with contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(places.taken(one))
        with pytest.raises(RequestError, match="2 texts are being spoken for this token"), places.taken(one):
            pass
        for _ in range(2):
            held.enter_context(places.taken(two))
        with pytest.raises(RequestError, match=r"^4 texts"), places.taken(three):
            pass
    with contextlib.ExitStack() as held:
        for _ in range(4):  # where no token is asked for
            held.enter_context(places.taken(Access()))
    only = Places(1, "recordings are being transcribed")
    with only.taken(one), pytest.raises(RequestError, match=r"^1 recordings"), only.taken(two):
        pass


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch, page: aiohttp.ClientSession) -> None:
    monkeypatch.setattr(session_api, "SECONDS", 0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b'{"token": '
        await asyncio.Event().wait()

    async with page.post(SESSION, data=never(), headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, "in time" in (await answer.json())["error"]) == (408, True)


async def test_a_full_disk_is_a_sentence(echo: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Authorization": "Bearer secret", "Content-Type": "audio/wav"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # stands for a full disk
    try:
        async with echo.post("/api/v1/upload", data=bytes(100), headers=headers) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "no room" in (await answer.json())["error"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [record.levelname for record in caplog.records if record.name == "server.uploads"] == ["ERROR"]
    async with echo.post("/api/v1/upload", data=bytes(100), headers=headers) as answer:
        assert await answer.json() == {"bytes": 100}


async def test_an_upload_that_breaks_off_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    arrived = asyncio.Event()

    async def read(request: web.Request) -> web.Response:
        arrived.set()
        await read_body(request, session_api.SignInBody)
        return web.Response()

    app = web.Application(middlewares=[answer_in_json])
    app.router.add_post("/api/v1/body", read)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(*runner.addresses[0])
            kind = "Content-Type: application/json\r\nContent-Length: 100"
            writer.write(f"POST /api/v1/body HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}\r\n\r\n{{".encode())
            await arrived.wait()
            writer.transport.abort()
            assert runner.server is not None
            while runner.server.connections:  # noqa: ASYNC110 -- it follows
                await asyncio.sleep(0.005)
    finally:
        await runner.cleanup()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_request_that_does_not_come_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_KEEPALIVE_SECONDS", 0.05)
    async with serving(None) as session, asyncio.timeout(ANSWER_SECONDS):
        port = int((await origin_of(session)).rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTT")
        assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded() -> None:
    connections = Connections(asyncio.Protocol, 2, 1)
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            first = await asyncio.open_connection("127.0.0.1", port)
            second = await asyncio.open_connection("127.0.0.1", port)
            reader, third = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            first[1].close()
            second[1].close()
            while connections.open:  # noqa: ASYNC110 -- it follows
                await asyncio.sleep(0.005)
        third.close()
    finally:
        server.close()
    assert connections.enter("2001:db8::1") is not None
    assert connections.enter("2001:db8::2") is None  # one household
    assert connections.enter("192.0.2.1") is not None
    assert connections.enter("192.0.2.2") is None
    connections.leave("192.0.2.1")
    assert connections.enter("192.0.2.2") is not None


async def test_all_who_ask_whether_it_is_ready_share_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    async def look() -> str:
        looks.append(len(looks))
        await asyncio.sleep(0)
        return "" if len(looks) > 1 else "not yet"

    status = Status()
    http = HttpServer(["127.0.0.1"], 0, status, Metrics(), None)
    await http.start()
    try:
        async with browser(f"http://127.0.0.1:{http.port}") as session:
            assert await status_of(session, "/ready") == 503
            status.ready = look
            monkeypatch.setattr(http_module, "_READY_SECONDS", 3600.0)
            assert await asyncio.gather(*[status_of(session, "/ready") for _ in range(10)]) == [503] * 10
            assert len(looks) == 1
    finally:
        await http.close()
    monkeypatch.setattr(http_module, "_READY_SECONDS", 0.0)
    http = HttpServer(["127.0.0.1"], 0, status, Metrics(), None)
    await http.start()
    try:
        async with browser(f"http://127.0.0.1:{http.port}") as session:
            assert [await status_of(session, "/ready") for _ in range(2)] == [200, 200]
            assert len(looks) == 3
    finally:
        await http.close()


# What browsers are told


async def test_headers_are_on_every_answer(page: aiohttp.ClientSession) -> None:
    secret = {"Authorization": "Bearer secret"}
    asked = [
        *[("GET", path, {}) for path in ("/", "/health", "/ready", "/metrics", "/nothing", SESSION)],
        *[("GET", path, secret) for path in (STATUS, "/api/docs", "/api/v1/openapi.json", "/metrics", "/nothing")],
        ("PUT", STATUS, secret),
        ("GET", STATUS, {**secret, **STRANGER}),
        ("POST", "/v1/audio/speech", secret),
        ("POST", "/api/v1/conversation", secret),
        ("GET", "/api/v1/voice/stream", secret),
        ("GET", "/api/v1/house", secret),
        ("DELETE", SESSION, {}),
    ]
    for method, path, headers in asked:
        async with page.request(method, path, headers=headers) as answer:
            for name, value in EVERYWHERE.items():
                assert answer.headers.getall(name) == [value], (method, path, name)
            assert "microphone=(self)" in answer.headers["Permissions-Policy"]
            assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"], path
            assert len(answer.headers.getall("Content-Security-Policy")) == 1
            assert "Strict-Transport-Security" not in answer.headers
            assert answer.headers.getall(OPENER) == ["same-origin"], path
            if answer.content_type == "application/json" and path != "/api/v1/openapi.json":
                assert answer.headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize(("headers", "opener"), [({"X-Forwarded-Proto": "https"}, "same-origin"), ({}, None)])
async def test_a_browser_is_told_nothing_that_it_complains_of(
    page: aiohttp.ClientSession, headers: dict[str, str], opener: str | None
) -> None:
    async with page.get("/health", headers={"Host": "voice.example.org", **headers}) as answer:
        assert answer.headers.get(OPENER) == opener


async def test_what_is_no_http_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), None)
    await http.start()
    try:
        for sent in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n",
        ):
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
                writer.write(sent + b"\r\n\r\n")
                assert b" 400 " in await reader.readline()
                writer.close()
                await writer.wait_closed()
    finally:
        await http.close()
    ours = [record for record in caplog.records if record.name.startswith("server.http")]
    assert {record.levelname for record in ours} == {"DEBUG"}
    assert all(record.exc_info is None for record in ours if record.name == "server.http")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
