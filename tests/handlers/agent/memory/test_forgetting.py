"""What could not be removed from the index is removed after a restart."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from handlers.agent.memory.forgetting import Forgotten
from handlers.agent.memory.index import SearchIndex
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.numpy_index import NumpyIndex
from handlers.agent.memory.owed import OWED, Owed
from handlers.agent.memory.stage import HOUSEHOLD, MemoryStoreError, Origin, Owner, OwnerKind, Source, Space
from tests.support.memories import opened
from tests.support.ollama import SOON

ANNA = Owner(OwnerKind.PERSON, "anna")
TOM = Owner(OwnerKind.PERSON, "tom")
API = Source(Origin.API)


class Server(NumpyIndex):
    """What an index server holds outlives the connection to it; it does not answer while it is `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.dropped: list[Owner] = []

    def drop(self, owner: Owner, space: Space | None = None) -> None:
        if self.away:
            raise MemoryStoreError("The server does not answer")
        super().drop(owner, space)
        self.dropped.append(owner)

    def close(self) -> None:
        """It goes on."""


async def test_what_could_not_be_purged_is_purged_at_the_next_start(tmp_path: Path) -> None:
    server = Server()
    async with opened(tmp_path, make=lambda: server) as (memories, upkeep):
        note = await memories.add(ANNA, "Julia likes tulips.", API)
        await upkeep.idle()
        server.away = True
        with pytest.raises(MemoryStoreError, match="emptied"):
            await memories.forget(Forgotten({ANNA: [note]}))  # the last of Anna's
    assert stat.S_IMODE((tmp_path / OWED).stat().st_mode) == 0o600
    server.away = False
    assert server.dropped == []
    async with opened(tmp_path, make=lambda: server), asyncio.timeout(SOON):
        while await asyncio.to_thread((tmp_path / OWED).exists):
            pass
    assert server.dropped == [ANNA]
    async with opened(tmp_path, make=lambda: server) as (_, upkeep):
        await upkeep.idle()
    assert server.dropped == [ANNA]  # and then it is done


async def test_it_is_known_before_anything_is_forgotten(tmp_path: Path) -> None:
    """The process may die between forgetting and purging."""
    journal = Journal(tmp_path)
    index = SearchIndex(journal, NumpyIndex, owed=tmp_path / OWED)
    await index.owe([ANNA, HOUSEHOLD])
    await index.close()
    journal.close()
    assert Owed(tmp_path / OWED).owners == (ANNA, HOUSEHOLD)


def test_what_is_owed_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / OWED
    owed = Owed(path)
    owed.add([ANNA, TOM])
    owed.add([ANNA])
    owed.discard(TOM)
    assert Owed(path).owners == (ANNA,)
    owed.discard(ANNA)
    assert not list(tmp_path.iterdir())
    assert Owed(path).owners == ()


def test_a_damaged_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / OWED).write_text("person:anna\nnobody\n\nhousehold\n")
    assert Owed(tmp_path / OWED).owners == (ANNA, HOUSEHOLD)
    (tmp_path / OWED).write_bytes(b"\xff\xfe")
    assert Owed(tmp_path / OWED).owners == ()


def test_a_file_that_cannot_be_written_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owed = Owed(tmp_path / "missing" / OWED)
    owed.add([ANNA])
    assert owed.owners == (ANNA,)
    assert "make room" in caplog.text
