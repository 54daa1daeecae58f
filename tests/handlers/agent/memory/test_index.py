"""The index in use: chosen, checked against the journal, replaced by the exact one when it fails, emptied on demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import HttpUrl

from handlers.agent.memory.chroma_index import ChromaIndex
from handlers.agent.memory.index import IndexSettings, SearchIndex, open_index
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    MemoryStoreError,
    NewNote,
    Origin,
    Owner,
    OwnerKind,
    Source,
    Space,
    Vectors,
)
from handlers.errors import MissingExtraError

SPACE = Space("test", "d", 16)
ANNA = Owner(OwnerKind.PERSON, "anna")
CHROMA = IndexSettings(kind="chroma")


def vectors(count: int, seed: int = 1) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def remember(journal: Journal, count: int, owner: Owner = HOUSEHOLD) -> list[str]:
    return [journal.add(owner, NewNote(f"thing number {n}", Source(Origin.SAID))).id for n in range(count)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
async def open_one(tmp_path: Path, journal: Journal) -> AsyncIterator[Callable[[IndexSettings], SearchIndex]]:
    """Opens indexes in the journal's folder, and closes them at the end."""
    opened: list[SearchIndex] = []

    def open_it(settings: IndexSettings) -> SearchIndex:
        opened.append(open_index(settings, tmp_path, journal))
        return opened[-1]

    yield open_it
    for index in opened:
        await index.close()


Open = Callable[[IndexSettings], SearchIndex]


@pytest.mark.parametrize("kind", ["numpy", "chroma", "qdrant", "auto"])
async def test_what_is_kept_is_found_and_in_the_journal(open_one: Open, journal: Journal, kind: str) -> None:
    index = open_one(IndexSettings.model_validate({"kind": kind}))
    ids, stored = remember(journal, 30), vectors(30)
    await index.keep(HOUSEHOLD, SPACE, ids, stored)
    await index.check(HOUSEHOLD, SPACE)
    assert index.status == {"auto": "chroma"}.get(kind, kind)
    for row in (0, 17, 29):
        found = await index.search(HOUSEHOLD, SPACE, stored[row], 3)
        assert found[0][0] == ids[row]
        assert found[0][1] == pytest.approx(1, abs=1e-3)
    assert journal.vectors(HOUSEHOLD, SPACE)[0] == ids
    await index.remove(HOUSEHOLD, SPACE, ids[:10])
    assert await index.search(ANNA, SPACE, stored[0], 3) == []
    assert len(await index.search(HOUSEHOLD, SPACE, stored[0], 30)) == 20


async def test_without_chroma_auto_is_exact_and_chroma_says_what_is_missing(
    open_one: Open, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "chromadb", None)
    monkeypatch.delitem(sys.modules, "handlers.agent.memory.chroma_index")
    assert open_one(IndexSettings()).status == "numpy"
    with pytest.raises(MissingExtraError, match=r"meadowlark\[memory\]"):
        open_one(CHROMA)


async def test_an_index_that_lacks_or_has_too_much_is_made_anew(
    open_one: Open, journal: Journal, tmp_path: Path
) -> None:
    ids, stored = remember(journal, 40), vectors(40)
    journal.put_vectors(HOUSEHOLD, SPACE, ids, stored)
    broken = ChromaIndex(tmp_path / "chroma")
    broken.put(
        HOUSEHOLD, SPACE, [*ids[:20], "forgotten"], vectors(21, seed=3)
    )  # wrong ones, one too many, many too few
    broken.close()
    index = open_one(CHROMA)
    first = await index.search(HOUSEHOLD, SPACE, stored[7], 1)  # not believed yet: the exact one answers
    await index.check(HOUSEHOLD, SPACE)
    assert first[0][0] == ids[7]
    assert index.status == "chroma"
    for row in range(40):
        assert (await index.search(HOUSEHOLD, SPACE, stored[row], 1))[0][0] == ids[row]
    assert {found for found, _ in await index.search(HOUSEHOLD, SPACE, stored[0], 100)} == set(ids)


async def test_an_index_that_counts_right_but_lost_its_vectors_is_made_anew(
    open_one: Open, journal: Journal, tmp_path: Path
) -> None:
    ids, stored = remember(journal, 12), vectors(12)
    journal.put_vectors(HOUSEHOLD, SPACE, ids, stored)
    broken = ChromaIndex(tmp_path / "chroma")
    broken.put(HOUSEHOLD, SPACE, ids, vectors(12, seed=3))
    broken.close()
    index = open_one(CHROMA)
    await index.check(HOUSEHOLD, SPACE)
    assert (await index.search(HOUSEHOLD, SPACE, stored[11], 1))[0][0] == ids[11]


@pytest.mark.parametrize("what", ["database", "vectors", "half a file", "everything"])
async def test_damaged_files_are_replaced(open_one: Open, journal: Journal, tmp_path: Path, what: str) -> None:
    """Chroma ends or hangs its process when it reads some of these, so they must not come so far."""
    ids, stored = remember(journal, 1100), vectors(1100)  # enough for Chroma to write its index files
    journal.put_vectors(HOUSEHOLD, SPACE, ids, stored)
    folder = tmp_path / "chroma"
    sound = ChromaIndex(folder)
    sound.put(HOUSEHOLD, SPACE, ids, stored)
    sound.close()
    written = list(folder.rglob("*.bin"))
    assert written
    if what == "database":
        (folder / "chroma.sqlite3").write_bytes(b"not a database" * 1000)
    elif what == "vectors":
        for path in written:
            path.unlink()
    elif what == "half a file":
        for path in written:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        for path in folder.rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    index = open_one(CHROMA)
    assert (await index.search(HOUSEHOLD, SPACE, stored[500], 1))[0][0] == ids[500]
    await index.check(HOUSEHOLD, SPACE)
    assert index.status == "chroma"
    for row in (0, 999, 1099):
        assert (await index.search(HOUSEHOLD, SPACE, stored[row], 1))[0][0] == ids[row]


async def test_what_was_closed_in_order_is_used_again(open_one: Open, journal: Journal, tmp_path: Path) -> None:
    ids, stored = remember(journal, 20), vectors(20)
    first = open_one(CHROMA)
    await first.keep(HOUSEHOLD, SPACE, ids, stored)
    await first.close()
    before = {path.name for path in (tmp_path / "chroma").iterdir() if path.is_dir()}
    again = open_one(CHROMA)
    await again.check(HOUSEHOLD, SPACE)
    assert (await again.search(HOUSEHOLD, SPACE, stored[3], 1))[0][0] == ids[3]
    assert {path.name for path in (tmp_path / "chroma").iterdir() if path.is_dir()} == before


async def test_what_was_not_closed_is_made_anew(open_one: Open, journal: Journal, tmp_path: Path) -> None:
    ids, stored = remember(journal, 20), vectors(20)
    journal.put_vectors(HOUSEHOLD, SPACE, ids, stored)
    die = (
        "import os, sys; from pathlib import Path; from handlers.agent.memory.chroma_index import ChromaIndex; "
        "ChromaIndex(Path(sys.argv[1])); (Path(sys.argv[1]) / 'trace').touch(); os._exit(9)"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", die, str(tmp_path / "chroma"))
    async with asyncio.timeout(60):
        assert await child.wait() == 9
    assert (tmp_path / "chroma" / "trace").exists()
    index = open_one(CHROMA)
    assert not (tmp_path / "chroma" / "trace").exists()
    await index.check(HOUSEHOLD, SPACE)
    assert index.status == "chroma"
    assert (await index.search(HOUSEHOLD, SPACE, stored[9], 1))[0][0] == ids[9]


async def test_a_server_that_is_gone_leaves_the_exact_index(open_one: Open, journal: Journal) -> None:
    ids, stored = remember(journal, 5), vectors(5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = HttpUrl(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for settings in (
            IndexSettings(kind="chroma", chroma_url=url),
            IndexSettings(kind="qdrant", qdrant_url=url),
        ):
            index = open_one(settings)
            await index.keep(HOUSEHOLD, SPACE, ids, stored)
            await index.check(HOUSEHOLD, SPACE)
            assert "numpy" in index.status
            assert (await index.search(HOUSEHOLD, SPACE, stored[2], 1))[0][0] == ids[2]
            await index.remove(HOUSEHOLD, SPACE, ids[:1])
            assert len(await index.search(HOUSEHOLD, SPACE, stored[2], 5)) == 4
            with pytest.raises(MemoryStoreError, match="try again later"):
                await index.purge(HOUSEHOLD, SPACE)


@pytest.mark.parametrize("kind", ["chroma", "qdrant"])
async def test_after_a_purge_no_file_has_a_trace(open_one: Open, journal: Journal, tmp_path: Path, kind: str) -> None:
    index = open_one(IndexSettings.model_validate({"kind": kind}))
    ids, stored = remember(journal, 50), vectors(50)
    await index.keep(HOUSEHOLD, SPACE, ids, stored)
    await index.check(HOUSEHOLD, SPACE)
    files = tmp_path / kind
    assert _has(files, ids[3].encode())
    journal.forget(HOUSEHOLD, [ids[3]])
    await index.remove(HOUSEHOLD, SPACE, [ids[3]])
    journal.purge()
    await index.purge(HOUSEHOLD, SPACE)
    assert index.status == kind
    assert not _has(tmp_path, stored[3].tobytes())
    assert not _has(files, ids[3].encode())
    found = await index.search(HOUSEHOLD, SPACE, stored[3], 50)
    assert {note_id for note_id, _ in found} == {*ids} - {ids[3]}


async def test_a_revised_note_is_found_by_its_new_vector(open_one: Open, journal: Journal) -> None:
    index = open_one(CHROMA)
    ids, stored = remember(journal, 3), vectors(4)
    await index.keep(HOUSEHOLD, SPACE, ids, stored[:3])
    await index.keep(HOUSEHOLD, SPACE, ids[:1], stored[3:])
    found = await index.search(HOUSEHOLD, SPACE, stored[3], 1)
    assert found[0][0] == ids[0]
    assert found[0][1] == pytest.approx(1, abs=1e-3)
    assert len(await index.search(HOUSEHOLD, SPACE, stored[3], 9)) == 3


async def test_a_closed_index_says_so(journal: Journal, tmp_path: Path) -> None:
    index = open_index(IndexSettings(kind="numpy"), tmp_path, journal)
    await index.close()
    with pytest.raises(MemoryStoreError, match="closed"):
        await index.search(HOUSEHOLD, SPACE, vectors(1)[0], 1)


@pytest.mark.parametrize(
    ("before", "after"), [("chroma", "numpy"), ("chroma", "qdrant"), ("qdrant", "chroma"), ("qdrant", "numpy")]
)
async def test_the_files_of_another_index_go(
    open_one: Open, journal: Journal, tmp_path: Path, before: str, after: str
) -> None:
    index = open_one(IndexSettings.model_validate({"kind": before}))
    ids, stored = remember(journal, 5), vectors(5)
    await index.keep(HOUSEHOLD, SPACE, ids, stored)
    await index.close()
    assert _has(tmp_path / before, ids[3].encode())
    index = open_one(IndexSettings.model_validate({"kind": after}))
    assert not _left(tmp_path, before)
    await index.check(HOUSEHOLD, SPACE)
    assert (await index.search(HOUSEHOLD, SPACE, stored[2], 1))[0][0] == ids[2]


async def test_the_files_go_when_chroma_is_not_installed_any_more_or_is_a_server(
    open_one: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave() -> None:
        (tmp_path / "chroma").mkdir()
        (tmp_path / "chroma" / "vectors").touch()
        (tmp_path / "chroma.lock").touch()

    leave()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = HttpUrl(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        open_one(IndexSettings(kind="chroma", chroma_url=url))
    assert not _left(tmp_path, "chroma")
    leave()
    monkeypatch.setitem(sys.modules, "chromadb", None)
    monkeypatch.delitem(sys.modules, "handlers.agent.memory.chroma_index")
    assert open_one(IndexSettings()).status == "numpy"
    assert not _left(tmp_path, "chroma")


@pytest.mark.parametrize("kind", ["chroma", "qdrant"])
async def test_who_only_asks_leaves_nothing(open_one: Open, journal: Journal, tmp_path: Path, kind: str) -> None:
    """A client can make up as many people as it likes."""
    index = open_one(IndexSettings.model_validate({"kind": kind}))
    for number in range(20):
        nobody = Owner(OwnerKind.PERSON, f"made-up-{number}")
        assert await index.search(nobody, SPACE, vectors(1)[0], 3) == []
        await index.check(nobody, SPACE)
        await index.remove(nobody, SPACE, ["x"])
    ids, stored = remember(journal, 3), vectors(3)
    await index.keep(HOUSEHOLD, SPACE, ids, stored)  # waits for what the searches may have begun
    await index.close()
    if kind == "chroma":
        with contextlib.closing(sqlite3.connect(tmp_path / "chroma" / "chroma.sqlite3")) as database:
            collections = database.execute("SELECT COUNT(*) FROM collections").fetchone()[0]
    else:
        collections = len(list((tmp_path / "qdrant" / "collection").iterdir()))
    assert collections == 1


def _left(folder: Path, kind: str) -> list[Path]:
    return list(folder.glob(f"{kind}*"))


def _has(folder: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())
