"""Every index keeps the same promises; Chroma leaves no traces and belongs to one process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.memory.chroma_index import ChromaIndex
from handlers.agent.memory.numpy_index import NumpyIndex
from handlers.agent.memory.qdrant_index import QdrantIndex
from handlers.agent.memory.stage import HOUSEHOLD, MemoryStoreError, Owner, OwnerKind, Space, VectorIndex, Vectors

SPACE = Space("test", "d", 16)
OTHER_SPACE = Space("other", "d", 8)
ANNA = Owner(OwnerKind.PERSON, "anna")

_SOON = 30.0


def vectors(count: int, dimensions: int = 16, seed: int = 1) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def ids(count: int) -> list[str]:
    return [f"{number:016x}" for number in range(count)]


@pytest.fixture(scope="module")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Chroma's own server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What the command `chroma` runs; the command itself also needs packages that only ask for newer versions.
    run = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(['chroma', 'run', *sys.argv[1:]])"
    path = str(tmp_path_factory.mktemp("server"))
    process = subprocess.Popen(
        [sys.executable, "-c", run, "--path", path, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        asyncio.run(_answers(port, process))
        yield url
    finally:
        process.terminate()
        process.wait(_SOON)


async def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(_SOON):
        while process.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.05)
    pytest.fail("the Chroma server ended")


@pytest.fixture(params=["numpy", "chroma", "chroma server", "qdrant"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    make: dict[str, Callable[[], VectorIndex]] = {
        "numpy": NumpyIndex,
        "chroma": lambda: ChromaIndex(tmp_path / "chroma"),
        "chroma server": lambda: ChromaIndex(tmp_path, request.getfixturevalue("chroma_server")),
        "qdrant": lambda: QdrantIndex(tmp_path / "qdrant"),
    }
    opened = make[request.param]()
    yield opened
    for owner in (HOUSEHOLD, ANNA):
        opened.drop(owner)
    opened.close()


def test_the_nearest_come_first_with_their_cosines(index: VectorIndex) -> None:
    stored, wanted = vectors(100), vectors(1, seed=2)[0]
    index.put(HOUSEHOLD, SPACE, ids(100), stored)
    found = index.search(HOUSEHOLD, SPACE, wanted, 5)
    cosines = stored @ wanted
    assert [note_id for note_id, _ in found] == [ids(100)[row] for row in np.argsort(-cosines)[:5]]
    np.testing.assert_allclose([cosine for _, cosine in found], np.sort(cosines)[::-1][:5], atol=1e-4)
    assert index.count(HOUSEHOLD, SPACE) == 100


def test_putting_again_replaces(index: VectorIndex) -> None:
    index.put(HOUSEHOLD, SPACE, ids(3), vectors(3))
    index.put(HOUSEHOLD, SPACE, ["0" * 16], vectors(1, seed=9))
    assert index.count(HOUSEHOLD, SPACE) == 3
    note_id, cosine = index.search(HOUSEHOLD, SPACE, vectors(1, seed=9)[0], 1)[0]
    assert (note_id, round(cosine, 3)) == ("0" * 16, 1.0)


def test_what_is_removed_is_not_found_and_the_rest_is(index: VectorIndex) -> None:
    stored = vectors(20)
    index.put(HOUSEHOLD, SPACE, ids(20), stored)
    index.remove(HOUSEHOLD, SPACE, [*ids(20)[::2], "never there"])
    assert index.count(HOUSEHOLD, SPACE) == 10
    for row in range(20):
        found = index.search(HOUSEHOLD, SPACE, stored[row], 20)
        assert {note_id for note_id, _ in found} == set(ids(20)[1::2])
        assert (found[0][0] == ids(20)[row]) == (row % 2 == 1)


def test_owners_and_spaces_do_not_see_each_other(index: VectorIndex) -> None:
    index.put(HOUSEHOLD, SPACE, ["a"], vectors(1))
    index.put(ANNA, SPACE, ["b"], vectors(1))
    index.put(HOUSEHOLD, OTHER_SPACE, ["c"], vectors(1, 8))
    assert [found[0] for found in index.search(HOUSEHOLD, SPACE, vectors(1)[0], 9)] == ["a"]
    assert [found[0] for found in index.search(ANNA, SPACE, vectors(1)[0], 9)] == ["b"]
    assert index.search(ANNA, OTHER_SPACE, vectors(1, 8)[0], 9) == []
    index.drop(HOUSEHOLD, SPACE)
    assert index.count(HOUSEHOLD, SPACE) == 0
    assert index.count(HOUSEHOLD, OTHER_SPACE) == 1
    index.drop(HOUSEHOLD)
    assert index.count(HOUSEHOLD, OTHER_SPACE) == 0
    assert index.count(ANNA, SPACE) == 1


def test_an_unknown_owner_has_nothing(index: VectorIndex) -> None:
    assert index.search(ANNA, SPACE, vectors(1)[0], 3) == []
    assert index.count(ANNA, SPACE) == 0
    index.remove(ANNA, SPACE, ["x"])
    index.drop(ANNA)


_TENANT = st.sampled_from([HOUSEHOLD, ANNA, Owner(OwnerKind.PERSON, "anna2"), Owner(OwnerKind.GUEST, "anna")])
_OP = st.tuples(st.sampled_from(["put", "remove", "drop"]), _TENANT, st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.lists(_OP, max_size=25))
def test_the_exact_index_is_a_dictionary_of_vectors_by_owner(ops: list[tuple[str, Owner, int]]) -> None:
    index, model = NumpyIndex(), dict[Owner, dict[str, int]]()
    for step, (op, owner, number) in enumerate(ops):
        held = model.setdefault(owner, {})
        if op == "put":
            index.put(owner, SPACE, [str(number)], vectors(1, seed=step))
            held[str(number)] = step
        elif op == "remove":
            index.remove(owner, SPACE, [str(number)])
            held.pop(str(number), None)
        else:
            index.drop(owner)
            held.clear()
    for owner, held in model.items():
        assert index.count(owner, SPACE) == len(held)
        for note_id, step in held.items():
            found = index.search(owner, SPACE, vectors(1, seed=step)[0], 10)
            assert found[0][0] == note_id
            assert {key for key, _ in found} == held.keys()


def test_chroma_keeps_its_vectors_over_a_restart_without_names_on_disk(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma")
    index.put(ANNA, SPACE, ids(5), vectors(5))
    index.close()
    again = ChromaIndex(tmp_path / "chroma")
    assert again.search(ANNA, SPACE, vectors(5)[2], 1)[0][0] == ids(5)[2]
    again.close()
    assert not _has(tmp_path, b"anna")


def test_chroma_leaves_nothing_of_what_is_dropped(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma")
    stored = vectors(1200)  # more than Chroma keeps out of its index files
    index.put(ANNA, SPACE, ids(1200), stored)
    index.put(HOUSEHOLD, SPACE, ["kept"], vectors(1, seed=5))
    needles = [stored[3].tobytes(), stored[1150].tobytes(), ids(1200)[3].encode()]
    assert all(_has(tmp_path, needle) for needle in needles)
    index.drop(ANNA)
    assert not any(_has(tmp_path, needle) for needle in needles)
    index.put(ANNA, SPACE, ["new"], vectors(1))
    assert index.count(ANNA, SPACE) == index.count(HOUSEHOLD, SPACE) == 1
    index.close()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can fill memory")
def test_chroma_writes_nothing_of_the_process_memory(tmp_path: Path) -> None:
    """It writes the room for a hundred vectors where there is one: whatever was in memory there before."""
    index = ChromaIndex(tmp_path / "chroma")
    for seed in range(3):  # leaves freed memory behind
        index.put(ANNA, SPACE, ids(1200), vectors(1200, seed=seed))
        index.drop(ANNA)
    index.put(HOUSEHOLD, SPACE, ["kept"], vectors(1))
    (room,) = tmp_path.rglob("data_level0.bin")
    assert len(set(room.read_bytes())) == 1
    index.close()


def test_only_one_opens_a_chroma_folder(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma")
    with pytest.raises(MemoryStoreError, match="Another process"):
        ChromaIndex(tmp_path / "chroma")
    index.close()
    ChromaIndex(tmp_path / "chroma").close()


@pytest.mark.parametrize("kind", [ChromaIndex, QdrantIndex])
def test_a_server_that_is_not_there_is_one_error(tmp_path: Path, kind: Callable[[Path, str], VectorIndex]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(MemoryStoreError, match="does not work"):
            kind(tmp_path, f"http://127.0.0.1:{nobody.getsockname()[1]}")


def _has(folder: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in folder.rglob("*") if path.is_file())
