"""What is exported comes back whole, once; what is not an export is refused as a whole, with the line that is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from handlers.agent.memory.journal import Adopted, Journal
from handlers.agent.memory.porting import BadFileError, Imported, export_file, export_lines, import_file
from handlers.agent.memory.stage import (
    HOUSEHOLD,
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
BEN = Owner(OwnerKind.PERSON, "ben")
SPACE = Space("model", "digest", 3, "note: ")
SAID = Source(Origin.SAID, "anna", "s1", "kitchen", "t1")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "memory")
    yield journal
    journal.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "other")
    yield journal
    journal.close()


def fill(journal: Journal) -> list[Note]:
    """250 notes, so that an export has three pages; versions, links, vectors, a closed fact, an undo."""
    notes: list[Note] = []
    for n in range(250):
        previous = notes[-1].id if notes else ""
        new = NewNote(f"fact {n} – “ä”\n", SAID, Meaning((f"k{n}",)), 1e9 + n / 3, None if n % 2 else 5.5, previous)
        notes.append(journal.add(ANNA, new))
    a, b, c = notes[3].id, notes[120].id, notes[249].id
    journal.revise(ANNA, a, Meaning(("new",), ("tag",), "About it.", "it", "is"), Source(Origin.EVOLVED), because=[b])
    journal.replace(ANNA, b, c, 7.25, SAID)
    journal.undo(ANNA, a, SAID)
    journal.link(ANNA, [Link(c, a, LinkKind.SIMILAR, 0.3)], SAID)
    vectors = np.random.default_rng(1).standard_normal((250, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    journal.put_vectors(ANNA, SPACE, [note.id for note in notes], vectors)
    journal.revise(ANNA, notes[10].id, Meaning(("stale",)), SAID)
    return notes


def everything(journal: Journal, owner: Owner) -> tuple[object, ...]:
    notes = journal.page(owner, limit=1000)
    ids = [note.id for note in notes]
    links = sorted((link.first, link.second, link.kind, link.strength) for link in journal.links(owner, ids))
    return notes, [journal.versions(owner, note_id) for note_id in ids], links


def test_an_export_comes_back_whole_and_only_once(journal: Journal, other: Journal, tmp_path: Path) -> None:
    notes = fill(journal)
    path = tmp_path / "anna.jsonl"
    export_file(journal, ANNA, path, SPACE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert import_file(other, ANNA, path) == Imported(notes=250, known=0, forgotten=0, secret=0, vectors=249)
    assert everything(other, ANNA) == everything(journal, ANNA)
    for note_id, vector in zip(*other.vectors(ANNA, SPACE), strict=True):
        ids, vectors = journal.vectors(ANNA, SPACE)
        assert np.array_equal(vector, vectors[ids.index(note_id)])
    assert [note.id for note in other.without_vector(ANNA, SPACE, 9)] == [notes[10].id]
    assert other.lexical(ANNA, '"fact 17"', 9)[0][1] > 0
    assert import_file(other, ANNA, path) == Imported(notes=0, known=250, forgotten=0, secret=0, vectors=0)
    assert everything(other, ANNA) == everything(journal, ANNA)
    again = [json.loads(line) for line in export_lines(other, ANNA)]
    before = [json.loads(line) for line in export_lines(journal, ANNA)]
    assert [line["note"] for line in again if "note" in line] == [line["note"] for line in before if "note" in line]


def test_notes_of_somebody_else_become_the_callers_own(journal: Journal, tmp_path: Path) -> None:
    notes = fill(journal)
    path = tmp_path / "anna.jsonl"
    export_file(journal, ANNA, path, SPACE)
    assert import_file(journal, BEN, path).notes == 250
    assert import_file(journal, BEN, path).known == 250
    bens = journal.page(BEN, limit=1000)
    assert not {note.id for note in bens} & {note.id for note in notes}
    assert [note.content for note in bens] == [note.content for note in notes]
    assert [note.previous_id for note in bens] == ["", *(note.id for note in bens[:-1])]
    assert len(journal.links(BEN, [note.id for note in bens])) == 2
    assert journal.versions(BEN, bens[3].id)[1].because == (bens[120].id,)
    assert len(journal.vectors(BEN, SPACE)[0]) == 249
    assert journal.page(ANNA, limit=1000) == journal.get(ANNA, [note.id for note in notes])


def test_what_was_forgotten_here_stays_forgotten(journal: Journal, tmp_path: Path) -> None:
    notes = fill(journal)
    path = tmp_path / "anna.jsonl"
    export_file(journal, ANNA, path)
    journal.forget(ANNA, [notes[5].id, notes[6].id])
    assert import_file(journal, ANNA, path) == Imported(notes=0, known=248, forgotten=2, secret=0, vectors=0)
    assert journal.get(ANNA, [notes[5].id]) == []


def test_secrets_are_left_out(journal: Journal, other: Journal, tmp_path: Path) -> None:
    journal.add(ANNA, NewNote("the alarm code is 4711", SAID))
    journal.add(ANNA, NewNote("the bins go out on Tuesday", SAID))
    export_file(journal, ANNA, tmp_path / "a")
    assert import_file(other, ANNA, tmp_path / "a") == Imported(notes=1, known=0, forgotten=0, secret=1, vectors=0)
    assert [note.content for note in other.page(ANNA)] == ["the bins go out on Tuesday"]


def test_a_note_of_which_any_version_knows_a_secret_is_left_out(
    journal: Journal, other: Journal, tmp_path: Path
) -> None:
    for n, secret in enumerate(
        (Meaning(context="Der Türcode ist 4711."), Meaning(("my password is hunter22",)), Meaning((), ("code", "4711")))
    ):
        note = journal.add(ANNA, NewNote(f"the door {n} is green", SAID))
        journal.revise(ANNA, note.id, secret, SAID)
        journal.revise(ANNA, note.id, Meaning(), SAID)
    journal.add(ANNA, NewNote("The PIN board was bought in 1998", SAID, Meaning(("pin", "1998", "board"))))
    export_file(journal, ANNA, tmp_path / "a")
    assert import_file(other, ANNA, tmp_path / "a") == Imported(notes=1, known=0, forgotten=0, secret=3, vectors=0)
    assert [note.content for note in other.page(ANNA)] == ["The PIN board was bought in 1998"]


class Removing(Journal):
    """A journal that takes the file away before it begins to write."""

    file: Path

    def adopt(self, owner: Owner, notes: Iterable[Adopted], links: Iterable[Link]) -> tuple[list[str], int, int]:
        self.file.unlink()
        return super().adopt(owner, notes, links)


def test_the_file_is_read_before_the_journal_begins_to_write(journal: Journal, tmp_path: Path) -> None:
    """Nobody else can remember anything meanwhile."""
    fill(journal)
    other = Removing(tmp_path / "other")
    other.file = tmp_path / "export"
    export_file(journal, ANNA, other.file)
    assert import_file(other, ANNA, other.file).notes == 250
    assert everything(other, ANNA) == everything(journal, ANNA)
    other.close()


def test_an_empty_memory_can_be_exported_and_imported(journal: Journal, tmp_path: Path) -> None:
    export_file(journal, HOUSEHOLD, tmp_path / "a", SPACE)
    assert import_file(journal, BEN, tmp_path / "a") == Imported(0, 0, 0, 0, 0)
    assert journal.owners() == []


def signed(lines: list[str]) -> str:
    """Lines with a new last one that fits them."""
    body = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
    kinds = [next(iter(json.loads(line)), "") if line.startswith('{"') else "" for line in lines[1:]]
    counts = {f"{kind}s": kinds.count(kind) for kind in ("note", "link", "vector")}
    end = {**counts, "sha256": hashlib.sha256(body.encode()).hexdigest()}
    return body + json.dumps({"end": end}) + "\n"


def change(**fields: object) -> Callable[[list[str]], list[str]]:
    """Line 3, a note, with other fields."""

    def changed(lines: list[str]) -> list[str]:
        record = json.loads(lines[2])
        record["note"] |= fields
        return [*lines[:2], json.dumps(record), *lines[3:]]

    return changed


def with_line(line: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines, line]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda lines: [], "not complete"),
        (lambda lines: [*lines[1:]], "Line 1 of"),
        (lambda lines: [lines[0].replace('"version":1', '"version":2'), *lines[1:]], "Line 1 of .*version"),
        (lambda lines: [lines[0].replace("person:anna", "alien:anna"), *lines[1:]], "Line 1 of .*tenant"),
        (lambda lines: [lines[0], lines[1], "not json"], "Line 3 of"),
        (lambda lines: [*lines, lines[1]], "Line 6 of .*was in the file before"),
        (change(content="x" * 2001), "Line 3 of .*content"),
        (change(content="  "), "Line 3 of .*empty"),
        (change(content="a\0b"), "Line 3 of .*text"),
        (change(previous_id="a\0b"), "Line 3 of .*text"),
        (change(content=5), "Line 3 of .*content"),
        (change(id="../../etc"), "Line 3 of .*id"),
        (change(created="yesterday"), "Line 3 of .*created"),
        (change(created=float("inf")), "Line 3 of"),
        (change(versions=[]), "Line 3 of .*versions"),
        (change(tenant="person:ben"), "Line 3 of .*tenant"),
        (with_line('{"link":{"first":"a","second":"b","kind":"related","strength":1.0}}'), "Line 6 of .*link"),
        (with_line('{"vector":{"note":"a","data":"AAAA"}}'), "Line 6 of .*vector"),
        (with_line("{}"), "Line 6 of .*one of"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_imported(
    journal: Journal, other: Journal, tmp_path: Path, damage: Callable[[list[str]], list[str]], sentence: str
) -> None:
    for n in range(3):
        journal.add(ANNA, NewNote(f"fact {n} unmentionable", SAID))
    journal.add(ANNA, NewNote("last", SAID))
    path = tmp_path / "export"
    lines = list(export_lines(journal, ANNA, SPACE))[:-1]
    changed = damage(lines)
    path.write_text(signed(changed) if changed else "")
    with pytest.raises(BadFileError, match=sentence) as raised:
        import_file(other, ANNA, path)
    assert "unmentionable" not in str(raised.value)
    assert other.owners() == []


def test_a_vector_must_fit_its_space(journal: Journal, other: Journal, tmp_path: Path) -> None:
    note = journal.add(ANNA, NewNote("fact", SAID))
    path = tmp_path / "export"
    lines = list(export_lines(journal, ANNA, SPACE))[:-1]
    for data in ("AAAA", "%", "AAAAAAAAAAAAAAAA", "AADAfwAAwH8AAMB/"):
        path.write_text(signed([*lines, json.dumps({"vector": {"note": note.id, "data": data}})]))
        with pytest.raises(MemoryStoreError, match=r"Line 3 of .*vector"):
            import_file(other, ANNA, path)
    assert other.owners() == []


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_a_file_that_was_cut_or_changed_is_refused(journal: Journal, other: Journal, tmp_path: Path, cut: int) -> None:
    fill(journal)
    path = tmp_path / "export"
    export_file(journal, ANNA, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    if cut > 1:  # without its last line end it is still whole
        with pytest.raises(MemoryStoreError, match=r"not complete|is not right"):
            import_file(other, ANNA, path)
    path.write_bytes(whole.replace(b"fact 77 ", b"fact 78 "))
    with pytest.raises(MemoryStoreError, match="changed or damaged"):
        import_file(other, ANNA, path)
    assert other.owners() == []


def test_what_fails_during_the_import_undoes_all_of_it(journal: Journal, other: Journal, tmp_path: Path) -> None:
    fill(journal)
    export_file(journal, ANNA, tmp_path / "export")
    writer = other._file._writer
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0] + 8}")
    with pytest.raises(MemoryStoreError, match="make room") as raised:
        import_file(other, ANNA, tmp_path / "export")
    assert not isinstance(raised.value, BadFileError)
    assert other.owners() == []
    writer.execute("PRAGMA max_page_count = 100000")
    assert import_file(other, ANNA, tmp_path / "export").notes == 250


def test_a_file_that_is_not_there_is_an_error_that_says_so(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(MemoryStoreError, match="cannot be read"):
        import_file(journal, ANNA, tmp_path / "nowhere")
    with pytest.raises(MemoryStoreError, match="cannot be exported"):
        export_file(journal, ANNA, tmp_path / "nowhere" / "file")
