"""The page as it is served: a small one made here, so that no Node is needed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from server.http import HttpServer, Status
from server.metrics import Metrics
from server.tokens import Tokens
from tests.support.server import ANSWER_SECONDS

INDEX = "<!doctype html><title>Meadowlark</title><script type=module src=./assets/index-A1.js></script>"
SCRIPT = "console.log('a script that is long enough to be worth packing');\n" * 50
ICON = "<svg xmlns='http://www.w3.org/2000/svg'/>"
NOISE = bytes((i * i * 7919) % 251 for i in range(64))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A build."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "meadowlark.svg").write_text(ICON)
    (folder / "manifest.webmanifest").write_text("{}")
    (folder / ".sources").write_text("a hash")
    (folder / "assets" / "index-A1.js").write_text(SCRIPT)
    (folder / "assets" / "letters-B2.woff2").write_bytes(NOISE)
    (tmp_path / "secret.txt").write_text("nothing for others")
    return folder


@contextlib.asynccontextmanager
async def serving(page: Path, tokens: Tokens | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server without engines; it takes what is packed as it is."""
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), tokens, page=page)
    await http.start()
    try:
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{http.port}", auto_decompress=False, skip_auto_headers=["Accept-Encoding"]
        ) as session:
            yield session
    finally:
        await http.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/assets/index-A1.js", "text/javascript; charset=utf-8"),
        ("/assets/letters-B2.woff2", "font/woff2"),
        ("/meadowlark.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
        ("/manifest.webmanifest", "application/manifest+json"),
    ],
)
async def test_every_file_has_its_type_and_the_policy(built: Path, path: str, kind: str) -> None:
    async with serving(built) as session, session.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == kind
        assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_is_named_by_its_hash_is_kept_and_the_rest_is_asked_for_again(built: Path) -> None:
    async with serving(built) as session:
        async with session.get("/assets/index-A1.js") as answer:
            assert "immutable" in answer.headers["Cache-Control"]
        for path in ("/", "/meadowlark.svg", "/manifest.webmanifest"):
            async with session.get(path) as answer:
                assert answer.headers["Cache-Control"] == "no-cache"
                etag = answer.headers["ETag"]
            async with session.get(path, headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304
                assert answer.headers["ETag"] == etag
                assert await answer.read() == b""
            async with session.get(path, headers={"If-None-Match": '"another"'}) as answer:
                assert answer.status == 200


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.5", True),
        ("*", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
    ],
)
async def test_it_is_packed_for_those_who_take_it(built: Path, accepted: str, packed: bool) -> None:
    async with (
        serving(built) as session,
        session.get("/assets/index-A1.js", headers={"Accept-Encoding": accepted}) as answer,
    ):
        body = await answer.read()
        assert (answer.headers.get("Content-Encoding") == "gzip") is packed
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert (gzip.decompress(body) if packed else body) == SCRIPT.encode()
        assert (len(body) < len(SCRIPT)) is packed


async def test_what_packing_does_not_shrink_is_sent_as_it_is(built: Path) -> None:
    async with (
        serving(built) as session,
        session.get("/assets/letters-B2.woff2", headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == NOISE


async def test_head_tells_of_the_file_without_it(built: Path) -> None:
    async with serving(built) as session:
        for path in ("/", "/assets/index-A1.js"):
            async with session.get(path) as answer:
                length, etag = len(await answer.read()), answer.headers["ETag"]
            async with session.head(path) as answer:
                assert answer.status == 200
                assert (answer.headers["Content-Length"], answer.headers["ETag"]) == (str(length), etag)
                assert await answer.read() == b""


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/assets//etc/passwd",
        "/.sources",
        "/assets/",
        "/assets",
        "/assets/index-A1.js/",
        "/assets/index-A1.js%00.html",
    ],
)
async def test_nothing_but_its_files_is_served(built: Path, path: str) -> None:
    """Sent as written, which no client library does."""
    async with serving(built) as session, asyncio.timeout(ANSWER_SECONDS):
        base = session._base_url
        assert base is not None
        reader, writer = await asyncio.open_connection(base.host, base.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer
    assert b"nothing for others" not in answer


async def test_no_disk_is_touched_once_it_is_read(built: Path) -> None:
    async with serving(built) as session:
        shutil.rmtree(built)
        async with session.get("/") as answer:
            assert await answer.text() == INDEX


async def test_it_is_open_where_a_token_is_asked_for(built: Path, tmp_path: Path) -> None:
    """Where else would somebody sign in?"""
    async with serving(built, Tokens(tmp_path)) as session:
        for path in ("/", "/assets/index-A1.js", "/favicon.ico", "/manifest.webmanifest"):
            async with session.get(path) as answer:
                assert answer.status == 200, path
        async with session.get("/api/v1/voice/status") as answer:
            assert answer.status == 401


async def test_without_a_build_there_is_the_status(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()  # a build has an index.html
    for folder in (tmp_path / "none", tmp_path / "half"):
        async with serving(folder) as session:
            async with session.get("/") as answer:
                assert answer.status == 200
                assert "script/page" in await answer.text()
            async with session.get("/assets/index-A1.js") as answer:
                assert answer.status == 404


async def test_a_page_that_would_fill_the_memory_is_not_read(built: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (built / "assets" / "huge-C3.js").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    async with serving(built) as session, session.get("/") as answer:
        assert "script/page" in await answer.text()
    assert "is not served" in caplog.text
