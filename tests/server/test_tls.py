"""HTTPS by certificate files: which are taken, which are not, and what happens when they are renewed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from handlers.errors import SettingsError
from server.access import COOKIE, SESSION
from server.http import HttpServer, Status
from server.metrics import Metrics
from server.settings import HttpSettings, ServerSettings
from server.tls import Certificate, certificate_of
from server.tokens import Tokens
from tests.support.certificates import make_certificate
from tests.support.server import ANSWER_SECONDS
from tests.support.tokens import with_first


@contextlib.asynccontextmanager
async def serving(folder: Path, tokens: Tokens | None = None, *, hsts: bool = True) -> AsyncIterator[int]:
    """The port of a server with the certificate of a folder."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    settings = ServerSettings(http=HttpSettings(certificate=certificate, key=key, hsts=hsts))
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), tokens, settings)
    await http.start()
    try:
        yield http.port
    finally:
        await http.close()


def trusting(certificate: Path) -> aiohttp.ClientSession:
    """A browser that knows this certificate, and no other."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=certificate))
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))


async def name_of(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection is shown, DER."""
    async with asyncio.timeout(ANSWER_SECONDS):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
    assert isinstance(shown, bytes)
    return shown


async def test_https_and_its_cookie(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    async with (
        serving(tmp_path, with_first(tmp_path)) as port,
        trusting(certificate) as session,
        session.post(f"https://127.0.0.1:{port}{SESSION}", json={"token": "secret"}) as answer,
    ):
        assert answer.status == 200
        assert answer.cookies[COOKIE]["secure"] is True
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    async with (
        serving(tmp_path, hsts=False) as port,
        trusting(certificate) as session,
        session.get(f"https://127.0.0.1:{port}/health") as answer,
    ):
        assert answer.status == 200
        assert "Strict-Transport-Security" not in answer.headers


async def test_plain_http_on_its_port_leaves_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, _ = make_certificate(tmp_path)
    async with serving(tmp_path) as port, trusting(certificate) as session:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"200" not in await reader.read()
            writer.close()
        async with session.get(f"https://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info]


async def test_a_renewed_certificate_is_taken_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_certificate(tmp_path)
    certificate = Certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=certificate.context)
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    try:
        port = server.sockets[0].getsockname()[1]
        first = await name_of(port, blind)
        certificate.refresh()
        assert caplog.messages == []

        old_key = (tmp_path / "key.pem").read_bytes()
        make_certificate(tmp_path, name="newer")
        new_key = (tmp_path / "key.pem").read_bytes()
        (tmp_path / "key.pem").write_bytes(old_key)  # half of the two is written
        for _ in range(3):
            certificate.refresh()
        assert await name_of(port, blind) == first
        assert [message.partition(":")[0] for message in caplog.messages] == [
            "HTTPS goes on with the certificate that it has"
        ]

        (tmp_path / "key.pem").write_bytes(new_key)
        certificate.refresh()
        second = await name_of(port, blind)
        assert second != first
        assert caplog.messages[1:] == ["HTTPS has a new certificate"]

        (tmp_path / "certificate.pem").unlink()
        for _ in range(3):
            certificate.refresh()
        assert await name_of(port, blind) == second
        assert len(caplog.messages) == 3
    finally:
        server.close()
        await server.wait_closed()


async def test_the_server_looks_for_a_renewed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.tls._CHECK_SECONDS", 0.01)
    certificate, _ = make_certificate(tmp_path)
    async with serving(tmp_path) as port:
        old = ssl.create_default_context(cafile=certificate)
        assert await name_of(port, old)
        make_certificate(tmp_path)
        new = ssl.create_default_context(cafile=certificate)
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    assert await name_of(port, new)
                    break


def test_files_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, key = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, secret = make_certificate(tmp_path / "other", password="sesame")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("-----BEGIN NOTHING-----\n")
    for certificate, with_key, words in [
        (tmp_path / "none.pem", key, r"http\.certificate: .*none\.pem cannot be read \(No such file"),
        (tmp_path, key, r"http\.certificate: .* cannot be read \(Is a directory"),
        (good, tmp_path / "none.pem", r"http\.key: .*none\.pem cannot be read"),
        (wrong, key, r"http\.certificate: .*wrong\.pem has no certificate"),
        (key, key, r"http\.certificate: .*key\.pem has no certificate"),
        (good, wrong, r"http\.key: .*wrong\.pem has no private key"),
        (good, None, r"http\.key: .*certificate\.pem has no private key"),
        (other, key, r"http\.key: .*key\.pem is not the key of .*certificate\.pem"),
        (other, secret, r"http\.key: .*key\.pem is protected by a password"),
    ]:
        with pytest.raises(SettingsError, match=words):
            certificate_of(HttpSettings(certificate=certificate, key=with_key))
    with pytest.raises(SettingsError, match=r"set http\.certificate"):
        certificate_of(HttpSettings(key=key))
    assert certificate_of(HttpSettings()) is None
    assert caplog.messages == []


def test_both_in_one_file(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    assert certificate_of(HttpSettings(certificate=both)) is not None


def test_an_expired_certificate_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = make_certificate(tmp_path, days=-1)
    assert certificate_of(HttpSettings(certificate=certificate, key=key)) is not None
    assert ["has expired" in message for message in caplog.messages] == [True]
