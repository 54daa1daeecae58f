"""What is kept for some days is gone after them, though nobody speaks and nothing is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.agent.safety.audit import Audit
from handlers.pipeline.recordings import Recordings, RecordingSettings
from server.retention import keep_pruning
from tests.support.ollama import SOON

OLD = "20200101T000000.000000Z-abc"


class Rounds:
    """The pauses of the pruning, which end when the test says so."""

    def __init__(self) -> None:
        self._over: asyncio.Queue[None] = asyncio.Queue()
        self._begun: asyncio.Queue[float] = asyncio.Queue()

    async def wait(self, seconds: float) -> None:
        self._begun.put_nowait(seconds)
        await self._over.get()

    async def one(self) -> None:
        """Until everything was looked at."""
        async with asyncio.timeout(SOON):
            assert await self._begun.get() <= 24 * 3600
        self._over.put_nowait(None)


@pytest.fixture
async def rounds(tmp_path: Path) -> AsyncIterator[Rounds]:
    audit, recordings = Audit(tmp_path / "audit", 30), Recordings(tmp_path, RecordingSettings(keep_days=1))
    rounds = Rounds()
    (tmp_path / "audit").mkdir()
    pruning = asyncio.create_task(keep_pruning([audit], [recordings], rounds.wait))
    yield rounds
    pruning.cancel()
    await asyncio.gather(pruning, return_exceptions=True)
    await audit.close()
    await recordings.close()


async def test_it_goes_with_the_next_round(rounds: Rounds, tmp_path: Path) -> None:
    for _ in range(2):
        old = [tmp_path / "audit" / "actions-2020-01-01.jsonl", tmp_path / f"{OLD}.wav", tmp_path / f"{OLD}.json"]
        for path in old:
            path.write_text("")
        await rounds.one()  # it may have been under way already
        await rounds.one()
        assert [path for path in old if path.exists()] == []


async def test_what_cannot_be_removed_is_said_once_and_hinders_nothing_else(
    rounds: Rounds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit" / "actions-2020-01-02.jsonl").mkdir()
    old = [tmp_path / "audit" / "actions-2020-01-01.jsonl", tmp_path / f"{OLD}.wav"]
    for path in old:
        path.write_text("")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await rounds.one()
    assert caplog.text.count("cannot be removed") == 1
    assert [path for path in old if path.exists()] == []
