"""The API as it describes itself: every route is there, and a real server does what the description says."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from handlers.agent.safety.audit import Audit
from handlers.session import Role
from server import access
from server.access import Gate
from server.audit_api import AuditApi
from server.house_api import PATH as HOUSE
from server.http import HttpServer, Status
from server.json_api import answer_in_json
from server.memory_api import MemoryApi
from server.metrics import Metrics
from server.openapi import DOCS, OPENAPI, OpenApi, document
from server.openapi_routes import ROUTES
from server.session_api import SessionApi
from server.tokens import Tokens
from server.voice_stream import PATH as VOICE
from tests.support.memories import opened
from tests.support.server import ANSWER_SECONDS, ServerProcess
from tests.support.talking import Talking

_EXAMPLES = "5"
"""Of each route, beside those that stand at the bounds of its schema; more are for a night."""

_OWN_SERVER = "^/api/v1/(memory|audit|session)"
"""Routes that are not tried on a server that other tests use as well."""

_SILENT = logging.getLogger("nothing")
_SILENT.disabled = True
"""For what is said about requests that are no HTTP."""

needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
)


async def test_it_is_served(server: ServerProcess) -> None:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.http_port}", timeout=timeout) as client:
        async with client.get(OPENAPI) as answer:
            assert await answer.json() == document()
        async with client.get(DOCS) as answer:
            page = await answer.text()
            assert "<script" not in page
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        for route in ROUTES:
            assert f"{route.method.upper()} {route.path}" in page
            async with client.options(re.sub(r"\{\w+\}", "meadowlark", route.path)) as answer:
                assert route.method.upper() in answer.headers["Allow"]


def test_no_route_is_left_out() -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in HttpServer(["127.0.0.1"], 0, Status(), Metrics(), None)._app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    rest = {(method, path) for method, path in served if path.startswith(("/api/v1/", "/v1/"))}
    described = {(route.method.upper(), route.path) for route in ROUTES}
    assert rest - described == {("GET", OPENAPI), ("GET", HOUSE), ("GET", VOICE)}  # itself, and no REST


def test_bodies_say_what_they_need() -> None:
    schemas = document()["components"]["schemas"]  # type: ignore[index]
    assert schemas["SynthesizeBody"]["required"] == ["text"]
    assert schemas["SynthesizeBody"]["additionalProperties"] is False
    assert schemas["ChatBody"]["required"] == ["messages"]


@pytest.mark.asyncio(loop_scope="session")
@needs_schemathesis
async def test_whatever_is_sent_is_answered_as_described(tmp_path: Path, house: Talking) -> None:
    """No 500, no status, type or shape that is not described, nothing served without a token."""
    told = await fuzzed(house.address, house.tokens["user"], tmp_path, "--exclude-path-regex", _OWN_SERVER)
    assert f"Tested: {sum(re.match(_OWN_SERVER, route.path) is None for route in ROUTES)}" in told


@needs_schemathesis
async def test_the_same_of_what_would_disturb_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory, which is filled and emptied, the log of it, and signing in with tokens that are none."""
    monkeypatch.setattr(access, "_WRONG_IN_A_MINUTE", 100_000)
    tokens = Tokens(tmp_path)
    gate, secret = Gate(tokens), tokens.add("admin", Role.ADMIN)
    audit = Audit(tmp_path / "audit", keep_days=1)
    async with opened(tmp_path / "memory") as (memories, upkeep):
        app = web.Application(middlewares=[gate.middleware(), answer_in_json])
        app.add_routes(MemoryApi(lambda _: memories, lambda _: audit).routes())
        app.add_routes([*AuditApi(lambda _: audit).routes(), *SessionApi(gate).routes(), *OpenApi().routes()])
        runner = web.AppRunner(app, access_log=None, logger=_SILENT)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            told = await fuzzed(address, secret, tmp_path, "--include-path-regex", _OWN_SERVER)
        finally:
            await runner.cleanup()
        await upkeep.idle()
    await audit.close()
    assert f"Tested: {sum(re.match(_OWN_SERVER, route.path) is not None for route in ROUTES)}" in told


async def fuzzed(address: str, token: str, folder: Path, *which: str) -> str:
    """What schemathesis tells of a server in which it finds nothing wrong."""
    fuzzing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}{OPENAPI}", "--no-color", *which),
        *("-H", f"Authorization: Bearer {token}", "--max-examples", _EXAMPLES),
        *("--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance"),
        *("--generation-deterministic", "--warnings", "off"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await fuzzing.communicate()
    assert fuzzing.returncode == 0, told.decode()
    return told.decode()
