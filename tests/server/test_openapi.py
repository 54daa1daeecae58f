"""The API as it describes itself: every route is there, and a real server does what the description says."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import aiohttp
import pytest

from server.openapi import DOCS, OPENAPI, ROUTES, document
from tests.support.server import ANSWER_SECONDS, ServerProcess
from tests.support.talking import Talking

_EXAMPLES = "5"
"""Of each route, beside those that stand at the bounds of its schema; more are for a night."""


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
            async with client.options(route.path.replace("{name}", "meadowlark")) as answer:
                assert route.method.upper() in answer.headers["Allow"]


def test_bodies_say_what_they_need() -> None:
    schemas = document()["components"]["schemas"]  # type: ignore[index]
    assert schemas["SynthesizeBody"]["required"] == ["text"]
    assert schemas["SynthesizeBody"]["additionalProperties"] is False
    assert schemas["ChatBody"]["required"] == ["messages"]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
async def test_whatever_is_sent_is_answered_as_described(tmp_path: Path, house: Talking) -> None:
    """No 500, no status, type or shape that is not described, nothing served without a token."""
    fuzzing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{house.address}{OPENAPI}", "--no-color"),
        *("-H", f"Authorization: Bearer {house.tokens['user']}", "--max-examples", _EXAMPLES),
        *("--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance"),
        *("--generation-deterministic", "--warnings", "off"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await fuzzing.communicate()
    assert fuzzing.returncode == 0, told.decode()
    assert f"Tested: {len(ROUTES)}" in told.decode()
