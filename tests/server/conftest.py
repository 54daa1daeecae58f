"""What the tests of the server share: one that asks for tokens and takes little of everything at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.talking import Talking, talking

_LIMITS = {
    "MEADOWLARK_HTTP__QUESTIONS": "2",
    "MEADOWLARK_HTTP__RECORDING_MINUTES": "0.1",
    "MEADOWLARK_HTTP__RECORDING_MB": "1",
    "MEADOWLARK_HTTP__RECORDINGS": "1",
    "MEADOWLARK_HTTP__TEXTS": "1",
    "MEADOWLARK_TTS__CACHE_MB": "0",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talking]:
    """Tests that have its language model answer run in the loop of the session, as it does."""
    async with talking(tmp_path_factory.mktemp("talking"), data_dir, list(_LIMITS.items())) as house:
        yield house
