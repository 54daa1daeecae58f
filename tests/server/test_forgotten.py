"""What was forgotten is nowhere in the data folder of a real server, while it runs and after it has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import aiohttp
import numpy as np
from wyoming.event import Event

from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import HOUSEHOLD, Owner, OwnerKind
from handlers.wire.client import WyomingClient
from tests.support.server import ANSWER_SECONDS, ServerProcess, own_data, read_until

ANNA = Owner(OwnerKind.PERSON, "anna")

WORD = "zweebelfloop"
"""In no vocabulary, so that it is found only where it was written."""

OTHER = "quandrimax"

_SLICE = 64
"""Bytes of a vector by which it is found: 16 of its numbers."""


async def say(client: WyomingClient, text: str) -> str:
    context = {"conversation_id": "c", "satellite_id": "kitchen", "user_id": "anna"}
    await client.send(Event("transcript", {"text": text, "language": "en", "context": context}))
    return str((await read_until(client, "handled"))[-1].data["text"])


async def all_vectors(database: Path, count: int) -> list[bytes]:
    """The vectors of all notes by what they are about, as soon as there are so many."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT data FROM vector v JOIN note n ON n.seq = v.note ORDER BY n.seq").fetchall()
        if len(rows) == count:
            return [row[0] for row in rows]
        await asyncio.sleep(0.05)
    raise AssertionError("the notes were not embedded")


def traces(folder: Path, *needles: bytes) -> list[str]:
    """The files in which any of them stands, in upper or lower case."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (folder / "models") not in path.parents:
            content = path.read_bytes()
            if any(needle in content or needle.lower() in content.lower() for needle in needles):
                found.append(str(path.relative_to(folder)))
    return found


async def test_forgetting_by_voice_leaves_no_trace(data_dir: Path, tmp_path: Path) -> None:
    folder = own_data(tmp_path, data_dir)
    words = (WORD.encode(), OTHER.encode(), WORD.encode("utf-16-le"))
    with ServerProcess(
        tmp_path, ["--data-dir", str(folder)], {"MEADOWLARK_AGENT__MEMORY__INDEX__KIND": "chroma"}
    ) as server:
        server.wait_ready()
        url = f"http://127.0.0.1:{server.http_port}/api/v1/memory"
        async with server.client() as client, aiohttp.ClientSession() as session:
            assert await say(client, f"Remember that my {WORD} is in the {OTHER}.") == "I'll remember that."
            await say(client, "Remember that the attic is cold.")
            async with session.post(url, json={"content": f"The {WORD} belongs to Anna."}) as answer:
                assert answer.status == 201
                note_id = (await answer.json())["id"]
            async with session.patch(
                f"{url}/{note_id}", json={"context": f"About the {WORD}.", "tags": [OTHER]}
            ) as answer:
                assert answer.status == 200
            forgotten, kept, shared = await all_vectors(folder / "memory" / "memory.sqlite", 3)
            vectors = [vector[:_SLICE] for vector in (forgotten, shared)]
            async with session.get(f"{url}/search", params={"q": WORD}) as answer:
                assert len((await answer.json())["notes"]) == 1
            told = await say(client, f"What do you remember about the {WORD}?")
            assert OTHER in told

            assert any("memory.sqlite" in path for path in traces(folder, *words))
            for vector in vectors:  # or the search below would prove nothing
                assert any("chroma" in path for path in traces(folder, vector))

            asked = await say(client, f"Forget everything you know about the {WORD}.")
            assert asked.startswith("Forget 2 memories, such as: My zweebelfloop")
            assert await say(client, "Yes.") == "I've forgotten 2 memories."
            assert traces(folder, *words, *vectors) == []

            assert await say(client, f"What do you remember about the {WORD}?") == (
                "I don't remember anything about that."
            )
            assert await say(client, "What do you remember about the attic?") == "You told me: The attic is cold."
            async with session.get(f"{url}/{note_id}") as answer:
                assert answer.status == 404
        assert server.stop() == 0
        assert WORD not in server.log().lower()
    assert traces(folder, *words, *vectors) == []
    assert any("chroma" in path for path in traces(folder, kept[:_SLICE]))
    journal = Journal(folder / "memory")
    assert [note.content for note in journal.page(ANNA)] == ["The attic is cold."]
    assert journal.page(HOUSEHOLD) == []
    journal.close()


async def test_forgetting_by_api_leaves_no_trace(data_dir: Path, tmp_path: Path) -> None:
    folder = own_data(tmp_path, data_dir)
    words = (WORD.encode(), OTHER.encode())
    with ServerProcess(
        tmp_path, ["--data-dir", str(folder)], {"MEADOWLARK_AGENT__MEMORY__INDEX__KIND": "chroma"}
    ) as server:
        server.wait_ready()
        url = f"http://127.0.0.1:{server.http_port}/api/v1/memory"
        async with aiohttp.ClientSession() as session:
            ids = []
            for number in range(6):
                async with session.post(url, json={"content": f"Box {number} holds a {WORD}."}) as answer:
                    ids.append((await answer.json())["id"])
            vectors = [v[:_SLICE] for v in await all_vectors(folder / "memory" / "memory.sqlite", 6)]
            async with session.get(f"{url}/export") as answer:
                exported = await answer.read()
            async with session.patch(f"{url}/{ids[0]}", json={"content": f"Box 0 holds a {OTHER}."}) as answer:
                assert answer.status == 200
            assert traces(folder, vectors[0]) == []
            async with session.delete(f"{url}/{ids[1]}") as answer:
                assert (await answer.json()) == {"forgotten": 1}
            assert traces(folder, vectors[1]) == []
            imported = session.post(f"{url}/import?tenant=person:tom", data=exported, headers=_LINES)
            async with imported as answer:
                assert (await answer.json())["notes"] == 6
            for owner in ("household", "person:tom"):
                async with session.delete(url, params={"about": "*", "tenant": owner}) as answer:
                    assert answer.status == 200
            assert traces(folder, *words, *vectors) == []
        assert server.stop() == 0
    assert traces(folder, *words, *vectors) == []


_LINES = {"Content-Type": "application/x-ndjson"}


def test_the_search_for_traces_finds_them(tmp_path: Path) -> None:
    vector = np.arange(384, dtype="<f4").tobytes()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "text").write_text("The Zweebelfloop is here.")
    (tmp_path / "numbers").write_bytes(b"abc" + vector)
    (tmp_path / "nothing").write_text("The attic is cold.")
    assert traces(tmp_path, WORD.encode()) == ["a/text"]
    assert traces(tmp_path, vector[:_SLICE]) == ["numbers"]
