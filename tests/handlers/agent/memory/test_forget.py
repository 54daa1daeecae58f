"""Forgetting leaves nothing: not in the answers, and not a byte in any file of the folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import (
    Link,
    LinkKind,
    Meaning,
    MemoryStoreError,
    NewNote,
    Note,
    Origin,
    Owner,
    OwnerKind,
    Source,
    Space,
)

ANNA = Owner(OwnerKind.PERSON, "anna")
GUEST = Owner(OwnerKind.GUEST, "quentin-zzyzx")
SPACE = Space("model", "0123456789abcdef", 384)
SAID = Source(Origin.SAID, "anna")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "memory")
    yield journal
    journal.close()


def traces(folder: Path, words: list[bytes]) -> list[tuple[str, bytes]]:
    """Which files of a folder have which of the words, in any case."""
    return [
        (path.name, word)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for word in words
        if word.lower() in path.read_bytes().lower()
    ]


def vector_of(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    vector = np.random.default_rng(number).standard_normal((1, SPACE.dimensions)).astype(np.float32)
    return vector / np.linalg.norm(vector)


def fill(journal: Journal, owner: Owner, count: int, word: str) -> list[Note]:
    """Notes with words, vectors, versions and links, each in the window of the next."""
    notes: list[Note] = []
    for n in range(count):
        meaning = Meaning(
            (f"{word}keyword{n}x",), (f"{word}tag{n}x",), f"{word}context{n}x", f"{word}subject{n}x", "is"
        )
        source = Source(Origin.SAID, f"{word}speaker{n}x", f"{word}satellite{n}x", f"{word}room{n}x", f"{word}turn{n}x")
        previous = notes[-1].id if notes else ""
        note = journal.add(owner, NewNote(f"{word}content{n}x is told", source, meaning, previous_id=previous))
        journal.put_vectors(owner, SPACE, [note.id], vector_of(n))
        journal.revise(owner, note.id, Meaning((f"{word}revised{n}x",)), source)
        if notes:
            journal.link(owner, [Link(note.id, notes[-1].id, LinkKind.RELATED)], source)
        notes.append(note)
    return notes


def words_of(word: str, n: int) -> list[bytes]:
    kinds = ("content", "keyword", "tag", "context", "subject", "speaker", "satellite", "room", "turn", "revised")
    return [f"{word}{kind}{n}x".encode() for kind in kinds] + [vector_of(n).tobytes()[at : at + 16] for at in (0, 640)]


@pytest.mark.parametrize("count", [5, 400])
def test_no_file_has_a_trace_of_a_forgotten_note(journal: Journal, tmp_path: Path, count: int) -> None:
    folder = tmp_path / "memory"
    notes = fill(journal, ANNA, count, "zq")
    forgotten = range(1, count, 3)
    secret = [word for n in forgotten for word in words_of("zq", n)]
    kept = [word for n in range(0, count, 3) for word in words_of("zq", n)[:4]]
    everything = b"".join(path.read_bytes().lower() for path in folder.iterdir())
    assert all(word.lower() in everything for word in secret)  # they can be found this way

    assert journal.forget(ANNA, [notes[n].id for n in forgotten]) == len(forgotten)
    assert journal.purge_due
    journal.purge()
    assert not journal.purge_due
    everything = b"".join(path.read_bytes().lower() for path in folder.iterdir())
    assert [word for word in secret if word.lower() in everything] == []
    journal.close()
    everything = b"".join(path.read_bytes().lower() for path in folder.iterdir())
    assert [word for word in secret if word.lower() in everything] == []
    assert [word for word in kept if word not in everything] == []


def test_no_file_has_a_trace_of_what_was_corrected(journal: Journal, tmp_path: Path) -> None:
    notes = fill(journal, ANNA, 5, "zq")
    journal.correct(ANNA, notes[2].id, NewNote("something else", SAID))
    journal.purge()
    assert traces(tmp_path / "memory", words_of("zq", 2)) == []
    journal.close()
    assert traces(tmp_path / "memory", words_of("zq", 2)) == []


def test_nobody_answers_with_a_forgotten_note(journal: Journal) -> None:
    notes = fill(journal, ANNA, 4, "zq")
    gone = notes[1].id
    assert journal.forget(ANNA, [gone, gone, "unknown"]) == 1
    assert journal.forget(ANNA, [gone]) == 0
    assert journal.get(ANNA, [gone]) == []
    assert journal.versions(ANNA, gone) == []
    assert gone not in journal.vectors(ANNA, SPACE)[0]
    assert {link.first for link in journal.links(ANNA, [n.id for n in notes])} == {notes[3].id}
    assert journal.lexical(ANNA, "zqcontent1x", 9) == []  # nor by the window of the note after it
    assert journal.get(ANNA, [notes[2].id])[0].previous_id == ""
    assert [note.id for note in journal.page(ANNA)] == [notes[0].id, notes[2].id, notes[3].id]
    for change in (
        lambda: journal.revise(ANNA, gone, Meaning(), SAID),
        lambda: journal.undo(ANNA, gone, SAID),
        lambda: journal.replace(ANNA, gone, notes[0].id, 1.0, SAID),
        lambda: journal.link(ANNA, [Link(gone, notes[0].id, LinkKind.RELATED)], SAID),
    ):
        with pytest.raises(MemoryStoreError, match="There is no memory"):
            change()
    journal.put_vectors(ANNA, SPACE, [gone], vector_of(1))  # comes late from the embedder
    assert gone not in journal.vectors(ANNA, SPACE)[0]


def test_a_forgotten_owner_leaves_not_even_its_name(journal: Journal, tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    others = fill(journal, ANNA, 10, "zq")
    fill(journal, GUEST, 10, "qz")
    assert traces(folder, [b"quentin-zzyzx"])
    assert journal.forget_owner(GUEST) == 10
    journal.purge()
    secret = [b"quentin-zzyzx", *(word for n in range(10) for word in words_of("qz", n)[:10])]
    assert traces(folder, secret) == []
    assert journal.owners() == [ANNA]
    assert [note.id for note in journal.page(ANNA)] == [note.id for note in others]
    assert journal.page(GUEST) == journal.lexical(GUEST, "told", 9) == []
    assert journal.forget_owner(GUEST) == 0
    again = journal.add(GUEST, NewNote("back again", SAID))  # begins from nothing
    assert journal.page(GUEST) == [again]
    assert journal.lexical(GUEST, "told OR back", 9)[0][0] == again.id


def test_what_others_took_from_a_forgotten_note_goes_as_well(journal: Journal, tmp_path: Path) -> None:
    model = Source(Origin.EVOLVED)
    party = journal.add(ANNA, NewNote("zqparty for Ben on Friday", SAID))
    other = journal.add(ANNA, NewNote("the sun is hot", SAID))
    note = journal.add(ANNA, NewNote("buy a cake", SAID, Meaning(("cake",))))
    journal.put_vectors(ANNA, SPACE, [note.id], vector_of(1))
    journal.revise(ANNA, note.id, Meaning(("cake", "hot")), model, because=[other.id])
    journal.revise(ANNA, note.id, Meaning(("cake", "zqparty")), model, because=[party.id, other.id])
    journal.put_vectors(ANNA, SPACE, [note.id], vector_of(2))
    journal.replace(ANNA, note.id, other.id, 50.0, SAID)
    journal.revise(ANNA, note.id, Meaning(("cake", "zqparty", "soon")), model, because=[other.id])
    assert journal.versions(ANNA, note.id)[2].because == (party.id, other.id)

    journal.forget(ANNA, [party.id])
    journal.purge()
    assert traces(tmp_path / "memory", [b"zqparty", vector_of(2).tobytes()[:16]]) == []
    (left,) = journal.get(ANNA, [note.id])
    assert (left.meaning.keywords, left.valid_to, left.version) == (("cake", "hot"), 50.0, 5)
    assert [v.meaning.keywords[1:] for v in journal.versions(ANNA, note.id)] == [
        (),
        ("hot",),
        ("hot",),
        ("hot",),
        ("hot",),
    ]
    assert journal.without_vector(ANNA, SPACE, 9)[-1].id == note.id  # is embedded anew
    assert journal.lexical(ANNA, "zqparty", 9) == []
    assert journal.lexical(ANNA, "content : hot", 9)[-1][0] == note.id


def test_what_a_person_wrote_later_stays(journal: Journal) -> None:
    party = journal.add(ANNA, NewNote("party for Ben", SAID))
    note = journal.add(ANNA, NewNote("buy a cake", SAID))
    journal.revise(ANNA, note.id, Meaning(("party",)), Source(Origin.EVOLVED), because=[party.id])
    journal.revise(ANNA, note.id, Meaning(("sweet",)), Source(Origin.API, "anna"))
    journal.forget(ANNA, [party.id])
    assert journal.get(ANNA, [note.id])[0].meaning == Meaning(("sweet",))
    assert journal.undo(ANNA, note.id, SAID).meaning == Meaning()


def test_an_undo_brings_nothing_forgotten_back(journal: Journal) -> None:
    party = journal.add(ANNA, NewNote("party for Ben", SAID))
    note = journal.add(ANNA, NewNote("buy a cake", SAID))
    model = Source(Origin.EVOLVED)
    journal.revise(ANNA, note.id, Meaning(("party",)), model, because=[party.id])
    journal.revise(ANNA, note.id, Meaning(("cake",)), model)
    journal.undo(ANNA, note.id, SAID)
    assert journal.get(ANNA, [note.id])[0].meaning == Meaning(("party",))
    journal.forget(ANNA, [party.id])
    assert journal.get(ANNA, [note.id])[0].meaning == Meaning()
    assert {version.meaning for version in journal.versions(ANNA, note.id)} == {Meaning()}


def test_a_process_that_dies_between_forgetting_and_purging_purges_when_it_starts(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import HOUSEHOLD, NewNote, Origin, Source
journal = Journal(Path(sys.argv[1]))
note = journal.add(HOUSEHOLD, NewNote("zqunspeakable", Source(Origin.SAID)))
journal.forget(HOUSEHOLD, [note.id])
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "memory"], check=False, timeout=60)
    assert traces(tmp_path / "memory", [b"zqunspeakable"])
    journal = Journal(tmp_path / "memory")
    assert traces(tmp_path / "memory", [b"zqunspeakable"]) == []
    journal.close()
