"""The HTTP routes of a real server, and who may use them."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from handlers.errors import SettingsError
from handlers.session import Role
from server import data_folder
from server.http import HttpServer, Status
from server.metrics import Metrics
from server.tokens import Tokens
from tests.server.test_pipeline import ask
from tests.support.server import ANSWER_SECONDS, ServerProcess
from tests.support.speech import Speaker, silence
from tests.support.tokens import with_first


def url(server: ServerProcess, path: str) -> str:
    return f"http://127.0.0.1:{server.http_port}{path}"


async def test_health_and_ready(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as session:
        for path, expected in (("/health", "alive"), ("/ready", "ready")):
            async with session.get(url(server, path)) as answer:
                assert answer.status == 200
                assert (await answer.json())["status"] == expected


async def test_a_turn_is_seen_in_metrics_and_status(server: ServerProcess, speaker: Speaker) -> None:
    async with aiohttp.ClientSession() as session:
        before = await _turns(session, server)
        async with server.client() as client:
            events = await ask(client, speaker.say("What time is it?") + silence(0.3))
        async with asyncio.timeout(ANSWER_SECONDS):
            while await _turns(session, server) == before:
                """A turn is counted when it has ended, a moment after its last event."""
        assert await _turns(session, server) == before + 1
        async with session.get(url(server, "/api/v1/voice/status")) as answer:
            status = await answer.json()
    assert events[-1].data["timeline"]["turn_id"] in [turn["turn_id"] for turn in status["turns"]]
    assert status["engines"]["asr"]["model"] == "whisper-base"
    models = {model["name"].split("/")[0]: model["ready"] for model in status["engines"]["agent"]["models"]}
    assert models["builtin"]
    assert not models["ollama"]


async def test_the_page_is_served(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as session, session.get(url(server, "/")) as answer:
        assert answer.status == 200
        assert "Meadowlark" in await answer.text()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_token_is_asked_for(tmp_path: Path) -> None:
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), with_first(tmp_path, "secret-ä"))
    await http.start()
    base = f"http://127.0.0.1:{http.port}"
    try:
        async with aiohttp.ClientSession() as session:
            for token, path, expected in [
                (None, "/metrics", 401),
                ("wrong", "/api/v1/voice/status", 401),
                ("secret-ä", "/api/v1/voice/status", 200),
                (None, "/health", 200),
                (None, "/ready", 503),  # nothing is loaded behind it
            ]:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with session.get(base + path, headers=headers) as answer:
                    assert answer.status == expected, path
    finally:
        await http.close()


async def test_without_a_token_nobody_is_taken_for_the_page_of_a_stranger(tmp_path: Path) -> None:
    """A router may give the server any name."""
    named = {"Host": "server.fritz.box:10680"}
    async with with_tokens(tmp_path) as address, aiohttp.ClientSession() as session:
        for headers, expected in [
            (named, 401),
            ({**named, "Authorization": "Bearer secret"}, 200),
            ({"Authorization": "Bearer secret", "Origin": "http://evil.example"}, 403),
            ({"Origin": "http://evil.example"}, 401),
        ]:
            async with session.get(f"{address}/api/v1/voice/status", headers=headers) as answer:
                assert answer.status == expected, headers


async def test_what_is_no_text_is_no_token(tmp_path: Path) -> None:
    async with with_tokens(tmp_path) as address, asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer caf\xe9\r\n\r\n")
        assert b" 401 " in await reader.readline()
        writer.close()


async def test_the_status_tells_what_its_token_may_do(tmp_path: Path, server: ServerProcess) -> None:
    guest = Tokens(tmp_path).add("phone", Role.GUEST)
    async with with_tokens(tmp_path) as address, aiohttp.ClientSession() as session:
        for asked, secret, expected in [
            (address, "secret", {"role": "admin", "token": "first"}),
            (address, guest, {"role": "guest", "token": "phone"}),
            (url(server, ""), "", {"role": "admin", "token": ""}),
        ]:
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            async with session.get(f"{asked}/api/v1/voice/status", headers=headers) as answer:
                assert (await answer.json())["access"] == expected


async def test_unknown_metrics_labels_stay_few(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as session, session.get(url(server, "/metrics")) as answer:
        families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    routes = {sample.labels["route"] for sample in families["meadowlark_turns"].samples}
    assert routes <= {"skill", "builtin", "ollama", "none"}


@contextlib.asynccontextmanager
async def with_tokens(folder: Path) -> AsyncIterator[str]:
    """A server that asks for a token, before its engines are loaded; its address."""
    http = HttpServer(["127.0.0.1"], 0, Status(), Metrics(), with_first(folder))
    await http.start()
    try:
        yield f"http://127.0.0.1:{http.port}"
    finally:
        await http.close()


async def _turns(session: aiohttp.ClientSession, server: ServerProcess) -> float:
    async with session.get(url(server, "/metrics")) as answer:
        families = text_string_to_metric_families(await answer.text())
        return sum(
            sample.value
            for family in families
            if family.name == "meadowlark_turns"
            for sample in family.samples
            if sample.name == "meadowlark_turns_total" and sample.labels["outcome"] == "completed"
        )


def test_the_id_is_kept_and_private(tmp_path: Path) -> None:
    first = data_folder.server_id(tmp_path)
    assert len(first) > 30
    assert data_folder.server_id(tmp_path) == first
    assert (tmp_path / "server-id").stat().st_mode & 0o077 == 0
    (tmp_path / "server-id").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # stands for a full disk
    try:
        with pytest.raises(SettingsError, match=r"server-id cannot be kept .*: make room on the disk"):
            data_folder.server_id(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(data_folder.server_id(tmp_path)) > 30
