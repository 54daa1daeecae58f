"""Private mode by place: kept for satellites, for the moment only elsewhere."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from handlers.agent.memory.places import PrivatePlaces
from handlers.agent.memory.stage import MemoryStoreError


def test_a_satellite_stays_private_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    places = PrivatePlaces(path)
    places.set("satellite kitchen", True, lasting=True)
    places.set("satellite hall", True, lasting=True)
    places.set("satellite hall", False, lasting=True)
    again = PrivatePlaces(path)
    assert "satellite kitchen" in again
    assert "satellite hall" not in again
    assert "satellite bath" not in again


def test_a_conversation_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    places = PrivatePlaces(path)
    places.set("conversation 1", True, lasting=False)
    assert "conversation 1" in places
    places.set("conversation 1", False, lasting=False)
    assert "conversation 1" not in places
    assert not path.exists()


def test_conversations_without_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    places = PrivatePlaces(tmp_path / "private.json")
    for number in range(1500):
        places.set(f"conversation {number}", True, lasting=False)
    assert "conversation 1499" in places
    assert "conversation 0" not in places


def test_there_is_a_most_for_satellites_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    path.write_text(json.dumps([f"satellite {number}" for number in range(1000)]))
    places = PrivatePlaces(path)
    with pytest.raises(MemoryStoreError, match="1000 places"):
        places.set("satellite new", True, lasting=True)
    assert "satellite new" not in places
    assert len(json.loads(path.read_text())) == 1000
    places.set("satellite 7", False, lasting=True)
    places.set("satellite new", True, lasting=True)
    assert "satellite new" in PrivatePlaces(path)


@pytest.mark.parametrize("content", ["", "{", '"kitchen"', '{"kitchen": true}', "[1]", "7", "\udcff", "[" * 100_000])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "private.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(MemoryStoreError, match="remove it to end private mode"):
        PrivatePlaces(path)


def test_what_cannot_be_written_is_not_pretended(tmp_path: Path) -> None:
    places = PrivatePlaces(tmp_path / "gone" / "memory" / "private.json")
    with pytest.raises(MemoryStoreError, match="cannot be written"):
        places.set("satellite kitchen", True, lasting=True)
    assert "satellite kitchen" not in places


def test_many_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    places = PrivatePlaces(path)
    threads = [
        threading.Thread(target=lambda n=number: places.set(f"satellite {n}", True, lasting=True))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = PrivatePlaces(path)
    assert all(f"satellite {number}" in again for number in range(20))
