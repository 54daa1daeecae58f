"""The journal: what a call returned is on disk, versions can be undone, one process owns it, damage is not silent."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from handlers.agent.memory import schema
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.sqlite_file import NAME
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
    Vectors,
)

ANNA = Owner(OwnerKind.PERSON, "anna")
SAID = Source(Origin.SAID, "anna", "kitchen-satellite", "kitchen", "turn-1")
EVOLVED = Source(Origin.EVOLVED)
NOTHING = Meaning()
SPACE = Space("model", "0123456789abcdef", 4)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "memory")
    yield journal
    journal.close()


def add(journal: Journal, content: str, meaning: Meaning = NOTHING, previous_id: str = "") -> Note:
    return journal.add(ANNA, NewNote(content, SAID, meaning, previous_id=previous_id))


def units(count: int, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, SPACE.dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TestNotes:
    def test_a_note_is_as_it_was_said_also_after_a_restart(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        meaning = Meaning(("bins", "tuesday"), ("home",), "When the bins go out.", "bins", "day")
        new = NewNote("The bins go out on Tuesday — früh!", SAID, meaning, created=1e9, event_time=2e9)
        note = journal.add(ANNA, new)
        journal.close()
        journal = Journal(tmp_path)
        (read,) = journal.get(ANNA, [note.id])
        journal.close()
        assert read == note
        assert (read.content, read.meaning, read.source) == (new.content, meaning, SAID)
        assert (read.created, read.event_time, read.valid_to, read.version) == (1e9, 2e9, None, 1)

    def test_the_same_words_are_stored_once_while_they_hold(self, journal: Journal) -> None:
        first = add(journal, "The bins go out on Tuesday.")
        assert add(journal, "the bins  go out on tuesday") == first
        other = journal.add(ANNA, NewNote("The bins go out on Tuesday.", Source(Origin.SAID, "ben")))
        dated = journal.add(ANNA, NewNote("The bins go out on Tuesday.", SAID, event_time=5.0))
        newer = add(journal, "The bins go out on Wednesday.")
        journal.replace(ANNA, first.id, newer.id, first.created, SAID)
        again = add(journal, "The bins go out on Tuesday.")
        assert len({first.id, other.id, dated.id, newer.id, again.id}) == 5
        assert journal.count(ANNA) == 5

    def test_pages_go_on_behind_a_note_that_was_forgotten_meanwhile(self, journal: Journal) -> None:
        notes = [add(journal, f"fact {n}") for n in range(7)]
        first = journal.page(ANNA, limit=3)
        journal.forget(ANNA, [notes[2].id, notes[3].id])
        rest = journal.page(ANNA, after=first[-1].id, limit=3)
        assert [note.content for note in [*first, *rest]] == [f"fact {n}" for n in (0, 1, 2, 4, 5, 6)]
        assert journal.page(ANNA, after=notes[-1].id) == []
        with pytest.raises(MemoryStoreError, match="first page"):
            journal.page(ANNA, after="never")

    def test_pages_leave_out_what_no_longer_holds_if_asked(self, journal: Journal) -> None:
        old, new = add(journal, "old"), add(journal, "new")
        journal.replace(ANNA, old.id, new.id, 1.0, SAID)
        assert [note.content for note in journal.page(ANNA, holding=True)] == ["new"]
        assert [note.content for note in journal.page(ANNA)] == ["old", "new"]

    def test_notes_come_in_the_order_of_their_ids(self, journal: Journal) -> None:
        notes = [add(journal, f"fact {n}") for n in range(1100)]
        ids = [note.id for note in reversed(notes)]
        assert journal.get(ANNA, [*ids, "unknown"]) == notes[::-1]

    @pytest.mark.parametrize(
        ("note", "sentence"),
        [
            (NewNote("  ", SAID), "cannot be empty"),
            (NewNote("x" * 2001, SAID), "2000 characters"),
            (NewNote("a\0b", SAID), "must be text"),
            (NewNote("\ud800", SAID), "must be text"),
            (NewNote("fact", SAID, Meaning(("k",) * 65)), "at most 64 keywords"),
            (NewNote("fact", SAID, created=float("nan")), "seconds since 1970"),
            (NewNote("fact", Source(Origin.SAID, "x" * 201)), "200 characters"),
        ],
    )
    def test_what_cannot_be_a_note_is_refused(self, journal: Journal, note: NewNote, sentence: str) -> None:
        with pytest.raises(MemoryStoreError, match=sentence):
            journal.add(ANNA, note)
        assert journal.count(ANNA) == 0


class TestCorrections:
    def test_a_corrected_note_takes_the_place_of_the_old_one(self, journal: Journal) -> None:
        first = add(journal, "first")
        new = NewNote("The code of the gate is blue", SAID, NOTHING, 1e9, 2e9, first.id)
        old = journal.add(ANNA, new)
        after = add(journal, "after", previous_id=old.id)
        journal.replace(ANNA, first.id, old.id, 5.0, SAID)
        journal.replace(ANNA, old.id, after.id, 7.0, SAID)
        journal.link(ANNA, [Link(old.id, after.id, LinkKind.SIMILAR, 0.5)], SAID)
        journal.purge()
        words = NewNote("The colour of the gate is blue", EVOLVED, Meaning(("gate",)))
        corrected = journal.correct(ANNA, old.id, words)
        assert corrected == journal.get(ANNA, [corrected.id])[0]
        assert (corrected.content, corrected.meaning, corrected.source) == (words.content, words.meaning, EVOLVED)
        assert (corrected.created, corrected.event_time, corrected.valid_to) == (1e9, 2e9, 7.0)
        assert corrected.previous_id == first.id
        assert journal.get(ANNA, [after.id])[0].previous_id == corrected.id
        assert {after.id, corrected.id} == {note_id for note_id, _ in journal.lexical(ANNA, "window : colour", 9)}
        assert journal.lexical(ANNA, "window : code", 9) == []
        assert set(journal.links(ANNA, [corrected.id])) == {
            Link(corrected.id, first.id, LinkKind.REPLACES),
            Link(after.id, corrected.id, LinkKind.REPLACES),
            Link(corrected.id, after.id, LinkKind.SIMILAR, 0.5),
        }
        assert journal.get(ANNA, [old.id]) == []
        assert journal.purge_due
        assert journal.undo(ANNA, corrected.id, SAID).valid_to is None  # it was closed by mistake

    def test_other_case_or_an_end_is_a_correction_too(self, journal: Journal) -> None:
        old = add(journal, "the attic is cold")
        corrected = journal.correct(ANNA, old.id, NewNote("The attic is cold!", SAID))
        assert [note.content for note in journal.page(ANNA)] == ["The attic is cold!"]
        assert corrected.version == 1

    def test_the_words_of_another_note_that_holds_are_not_stored_twice(self, journal: Journal) -> None:
        twin, old, related = add(journal, "the attic is cold"), add(journal, "the attic is old"), add(journal, "x")
        links = [Link(old.id, related.id, LinkKind.RELATED), Link(twin.id, old.id, LinkKind.RELATED)]
        journal.link(ANNA, links, SAID)
        assert journal.correct(ANNA, old.id, NewNote("the attic is cold", SAID)) == twin
        assert journal.page(ANNA) == [twin, related]
        assert journal.links(ANNA, [twin.id]) == [Link(twin.id, related.id, LinkKind.RELATED)]
        journal.replace(ANNA, related.id, twin.id, 5.0, SAID)
        past = journal.correct(ANNA, related.id, NewNote("the attic is cold", SAID))  # it was cold before, too
        assert (past.id != twin.id, past.valid_to) == (True, 5.0)

    @pytest.mark.parametrize("table", ["note", "tombstone", "link"])
    def test_what_fails_in_the_middle_leaves_the_old_note(self, journal: Journal, table: str) -> None:
        old, other = add(journal, "the attic is cold"), add(journal, "other")
        journal.link(ANNA, [Link(old.id, other.id, LinkKind.RELATED)], SAID)
        writer = journal._file._writer
        writer.execute(f"CREATE TEMP TRIGGER stop BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(MemoryStoreError):
            journal.correct(ANNA, old.id, NewNote("the attic is warm", SAID))
        assert journal.page(ANNA) == [old, other]
        assert not journal.purge_due

    def test_a_note_of_another_cannot_be_corrected(self, journal: Journal) -> None:
        old = add(journal, "the attic is cold")
        with pytest.raises(MemoryStoreError, match="There is no memory"):
            journal.correct(HOUSEHOLD, old.id, NewNote("the attic is warm", SAID))
        with pytest.raises(MemoryStoreError, match="cannot be empty"):
            journal.correct(ANNA, old.id, NewNote(" ", SAID))
        assert journal.page(ANNA) == [old]
        assert journal.owners() == [ANNA]


class TestVersions:
    def test_each_revision_can_be_undone_back_to_the_first(self, journal: Journal) -> None:
        note = add(journal, "fact", Meaning(("one",)))
        for word in ("two", "three"):
            journal.revise(ANNA, note.id, Meaning((word,)), EVOLVED)
        words = [journal.undo(ANNA, note.id, SAID).meaning.keywords for _ in range(2)]
        assert words == [("two",), ("one",)]
        with pytest.raises(MemoryStoreError, match="nothing to undo"):
            journal.undo(ANNA, note.id, SAID)
        assert journal.revise(ANNA, note.id, Meaning(("four",)), EVOLVED).version == 6
        assert journal.undo(ANNA, note.id, SAID).meaning.keywords == ("one",)
        versions = journal.versions(ANNA, note.id)
        assert [v.meaning.keywords[0] for v in versions] == ["one", "two", "three", "two", "one", "four", "one"]
        assert [v.restores for v in versions] == [None, None, None, 2, 1, None, 1]
        assert [v.source for v in versions[:2]] == [SAID, EVOLVED]

    def test_a_replaced_fact_is_closed_and_an_undo_opens_it(self, journal: Journal) -> None:
        old = add(journal, "bins on Tuesday", Meaning(subject="Bins", attribute="day"))
        new = add(journal, "bins on Friday", Meaning(subject="bins", attribute="Day "))
        assert journal.same_fact(ANNA, " bins", "day") == [old, new]
        closed = journal.replace(ANNA, old.id, new.id, 100.0, SAID)
        assert (closed.valid_to, closed.version, closed.meaning) == (100.0, 2, old.meaning)
        assert journal.same_fact(ANNA, "bins", "day") == [new]
        assert journal.links(ANNA, [old.id]) == [Link(new.id, old.id, LinkKind.REPLACES)]
        assert journal.replace(ANNA, old.id, new.id, 200.0, SAID).valid_to == 100.0
        reopened = journal.undo(ANNA, old.id, SAID)
        assert (reopened.valid_to, reopened.version) == (None, 3)
        assert journal.links(ANNA, [old.id]) == []

    def test_no_subject_no_fact(self, journal: Journal) -> None:
        add(journal, "anything")
        assert journal.same_fact(ANNA, "", "") == []

    def test_the_journal_tells_who_did_what(self, journal: Journal) -> None:
        note = add(journal, "fact")
        journal.revise(ANNA, note.id, Meaning(("k",)), EVOLVED)
        entries = journal.entries(ANNA, note.id)
        assert [(entry.op, entry.source) for entry in entries] == [("revise", EVOLVED), ("add", SAID)]
        journal.forget(ANNA, [note.id])
        assert [(e.op, e.source) for e in journal.entries(ANNA)] == [("forget", None), ("revise", None), ("add", None)]


class TestLinks:
    def test_a_link_that_exists_gets_the_new_strength(self, journal: Journal) -> None:
        a, b = add(journal, "a"), add(journal, "b")
        journal.link(ANNA, [Link(a.id, b.id, LinkKind.SIMILAR, 0.5)], SAID)
        journal.link(ANNA, [Link(a.id, b.id, LinkKind.SIMILAR, 0.8), Link(a.id, b.id, LinkKind.RELATED)], SAID)
        expected = {Link(a.id, b.id, LinkKind.SIMILAR, 0.8), Link(a.id, b.id, LinkKind.RELATED)}
        assert set(journal.links(ANNA, [a.id])) == set(journal.links(ANNA, [a.id, b.id])) == expected

    def test_one_bad_link_and_none_is_added(self, journal: Journal) -> None:
        a, b = add(journal, "a"), add(journal, "b")
        good = Link(a.id, b.id, LinkKind.RELATED)
        for bad in (
            Link(a.id, "no", LinkKind.RELATED),
            Link(a.id, a.id, LinkKind.RELATED),
            Link(a.id, b.id, LinkKind.SIMILAR, 2),
        ):
            with pytest.raises(MemoryStoreError):
                journal.link(ANNA, [good, bad], SAID)
        assert journal.links(ANNA, [a.id, b.id]) == []


class TestWords:
    def test_a_question_is_found_by_the_turn_before(self, journal: Journal) -> None:
        before = add(journal, "Where do you keep the Christmas lights?")
        answer = add(journal, "In the attic.", Meaning(("storage",), ("places",)), previous_id=before.id)
        assert journal.lexical(ANNA, "window : light", 5)[0][0] in (before.id, answer.id)
        assert {found for found, _ in journal.lexical(ANNA, "window : light", 5)} == {before.id, answer.id}
        assert [found for found, _ in journal.lexical(ANNA, "content : light", 5)] == [before.id]
        assert [found for found, _ in journal.lexical(ANNA, '"storage" OR "places"', 5)] == [answer.id]

    def test_a_revision_is_searched_as_it_now_is(self, journal: Journal) -> None:
        note = add(journal, "fact", Meaning(("apple",)))
        journal.revise(ANNA, note.id, Meaning(("pear",)), EVOLVED)
        assert journal.lexical(ANNA, "apple", 5) == []
        assert [found for found, _ in journal.lexical(ANNA, "pears", 5)] == [note.id]

    def test_the_best_comes_first_and_only_as_many_as_asked(self, journal: Journal) -> None:
        for n in range(20):
            add(journal, f"the garden has {'rose ' * (n % 4)}and tree number {n}")
        found = journal.lexical(ANNA, "rose OR tree", 7)
        scores = [score for _, score in found]
        assert len(found) == 7
        assert scores == sorted(scores, reverse=True)

    @pytest.mark.parametrize("match", ['"', "a AND", "nope : a", "(", "a" * 20_001, "\ud800"])
    def test_what_is_no_query_is_told_without_quoting_it(self, journal: Journal, match: str) -> None:
        add(journal, "fact")
        with pytest.raises(MemoryStoreError) as raised:
            journal.lexical(ANNA, match, 5)
        assert "aaa" not in str(raised.value)

    def test_nothing_asked_nothing_found(self, journal: Journal) -> None:
        assert journal.lexical(ANNA, " ", 5) == journal.lexical(HOUSEHOLD, "fact", 5) == []


class TestVectors:
    def test_vectors_come_back_bit_for_bit(self, journal: Journal) -> None:
        ids = [add(journal, f"fact {n}").id for n in range(5)]
        vectors = units(5)
        journal.put_vectors(ANNA, SPACE, ["gone", *ids[1:]], vectors)
        journal.put_vectors(ANNA, SPACE, ids[:1], vectors[:1])
        assert journal.vectors(ANNA, SPACE)[0] == ids
        assert np.array_equal(journal.vectors(ANNA, SPACE)[1], vectors)
        assert journal.vectors(ANNA, Space("other", "", 3))[1].shape == (0, 3)

    def test_a_revised_note_needs_a_new_one(self, journal: Journal) -> None:
        a, b = add(journal, "a"), add(journal, "b")
        assert journal.without_vector(ANNA, SPACE, 10) == [a, b]
        journal.put_vectors(ANNA, SPACE, [a.id, b.id], units(2))
        revised = journal.revise(ANNA, a.id, Meaning(("new",)), EVOLVED)
        journal.replace(ANNA, b.id, a.id, 1.0, SAID)  # says nothing new about its words
        assert journal.without_vector(ANNA, SPACE, 10) == [revised]
        journal.put_vectors(ANNA, SPACE, [a.id], units(1), versions=[1])  # embedded before the revision
        assert journal.without_vector(ANNA, SPACE, 10) == [revised]
        journal.put_vectors(ANNA, SPACE, [a.id], units(1, seed=1), versions=[revised.version])
        journal.put_vectors(ANNA, SPACE, [a.id], units(1), versions=[1])  # comes late, and changes nothing
        assert journal.without_vector(ANNA, SPACE, 10) == []
        assert np.array_equal(journal.vectors(ANNA, SPACE)[1][0], units(1, seed=1)[0])

    def test_old_spaces_go_where_the_new_one_is(self, journal: Journal) -> None:
        old = Space("old", "", 4)
        ids = [add(journal, f"fact {n}").id for n in range(3)]
        journal.put_vectors(ANNA, old, ids, units(3))
        journal.put_vectors(ANNA, SPACE, ids[:2], units(2))
        journal.drop_other_spaces(SPACE)
        assert journal.vectors(ANNA, old)[0] == ids[2:]
        assert journal.vectors(ANNA, SPACE)[0] == ids[:2]

    @pytest.mark.parametrize("vectors", [np.zeros((1, 3), np.float32), np.full((1, 4), np.nan, np.float32)])
    def test_what_is_no_vector_is_refused(self, journal: Journal, vectors: Vectors) -> None:
        note = add(journal, "fact")
        with pytest.raises(MemoryStoreError, match="finite and of shape"):
            journal.put_vectors(ANNA, SPACE, [note.id], vectors)


class TestFile:
    def test_only_its_owner_may_read_it(self, journal: Journal, tmp_path: Path) -> None:
        add(journal, "fact")
        folder = tmp_path / "memory"
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {NAME, f"{NAME}-wal"} <= modes.keys()
        assert set(modes.values()) == {0o600}

    def test_a_second_process_is_told_who_has_it(self, journal: Journal, tmp_path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from handlers.agent.memory.journal import Journal; "
            "Journal(Path(sys.argv[1]))"
        )
        other = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "memory"], capture_output=True, text=True, timeout=60
        )
        assert other.returncode != 0
        assert "MemoryStoreError" in other.stderr
        assert "in use by another process" in other.stderr
        with pytest.raises(MemoryStoreError, match="in use"):
            Journal(tmp_path / "memory")
        journal.close()
        Journal(tmp_path / "memory").close()

    @pytest.mark.parametrize("damage", ["header", "middle", "nonsense"])
    def test_a_damaged_file_is_moved_aside_and_said_so(
        self, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        journal = Journal(tmp_path)
        for n in range(300):
            add(journal, f"fact {n} about the house and the garden")
        journal.close()
        path = tmp_path / NAME
        data = bytearray(path.read_bytes())
        if damage == "nonsense":
            data = bytearray(b"this is not a database" * 1000)
        else:
            begin = 0 if damage == "header" else 4096 * 3
            data[begin : begin + 8192] = b"\xa5" * 8192
        path.write_bytes(data)
        with caplog.at_level(logging.ERROR):
            journal = Journal(tmp_path)
        (aside,) = tmp_path.glob("memory.damaged-*.sqlite")
        assert aside.read_bytes() == bytes(data)
        assert str(aside) in caplog.text
        assert "copy the snapshot" in journal.notice
        assert "garden" not in caplog.text
        assert journal.count(ANNA) == 0
        journal.close()
        journal = Journal(tmp_path)  # it does not forget that it happened
        assert journal.notice
        journal.close()

    def test_a_snapshot_can_be_put_in_place_of_it(self, journal: Journal, tmp_path: Path) -> None:
        kept, gone = add(journal, "fact"), add(journal, "unspeakable")
        journal.forget(ANNA, [gone.id])
        target = tmp_path / "snapshot.sqlite"
        journal.snapshot(target)
        add(journal, "later")
        assert target.stat().st_mode & 0o777 == 0o600
        assert b"unspeakable" not in target.read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["memory", "snapshot.sqlite"]
        (tmp_path / "restored").mkdir()
        target.rename(tmp_path / "restored" / NAME)
        restored = Journal(tmp_path / "restored")
        assert restored.page(ANNA) == [kept]
        restored.close()

    def test_a_newer_file_and_a_foreign_one_stay_as_they_are(self, tmp_path: Path) -> None:
        Journal(tmp_path / "newer").close()
        for folder, statement in (
            ("newer", f"PRAGMA user_version = {schema.VERSION + 1}"),
            ("foreign", "CREATE TABLE recipes (name)"),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            db = sqlite3.connect(tmp_path / folder / NAME)
            db.execute(statement)
            db.commit()
            db.close()
            with pytest.raises(MemoryStoreError, match=r"newer Meadowlark|not a memory"):
                Journal(tmp_path / folder)
            assert [path.name for path in (tmp_path / folder).glob("*.sqlite")] == [NAME]

    def test_a_step_of_a_migration_happens_whole_or_not_at_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = Journal(tmp_path)
        note = add(journal, "fact")
        journal.close()
        step = ("ALTER TABLE note ADD COLUMN mood TEXT", "CREATE TABLE moods (name)")
        steps = schema._STEPS
        monkeypatch.setattr(schema, "VERSION", 2)
        monkeypatch.setattr(schema, "_STEPS", (*steps, (*step, "not SQL")))
        with pytest.raises(MemoryStoreError):
            Journal(tmp_path)
        monkeypatch.setattr(schema, "_STEPS", (*steps, step))
        journal = Journal(tmp_path)
        assert journal.get(ANNA, [note.id]) == [note]
        journal.close()
        db = sqlite3.connect(tmp_path / NAME)
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT COUNT(*) FROM moods").fetchone() == (0,)
        db.close()

    def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(MemoryStoreError, match="choose another data folder"):
            Journal(tmp_path / "file" / "memory")

    def test_a_full_disk_loses_nothing_that_was_stored(self, journal: Journal) -> None:
        note = add(journal, "fact")
        pages = journal._file._writer.execute("PRAGMA page_count").fetchone()[0]
        journal._file._writer.execute(f"PRAGMA max_page_count = {pages}")

        def fill() -> None:
            for n in range(1000):
                add(journal, f"{n} " * 400)

        with pytest.raises(MemoryStoreError, match="make room"):
            fill()
        count = journal.count(ANNA)
        journal._file._writer.execute("PRAGMA max_page_count = 1000000")
        add(journal, "more")
        assert journal.count(ANNA) == count + 1
        assert journal.get(ANNA, [note.id]) == [note]

    def test_what_sqlite_cannot_hold_is_an_error_that_says_so(self, journal: Journal) -> None:
        note = add(journal, "fact")
        for call in (
            lambda: journal.get(ANNA, ["\ud800"]),
            lambda: journal.count(Owner(OwnerKind.PERSON, "\ud800")),
            lambda: journal.page(ANNA, limit=1 << 70),
            lambda: journal.add(Owner(OwnerKind.PERSON, "\ud800"), NewNote("fact", SAID)),
        ):
            with pytest.raises(MemoryStoreError, match="ask for something else"):
                call()
        assert journal.get(ANNA, [note.id]) == [note]

    def test_after_the_end_every_call_is_an_error(self, journal: Journal) -> None:
        journal.close()
        journal.close()
        with pytest.raises(MemoryStoreError, match="closed"):
            add(journal, "fact")
        with pytest.raises(MemoryStoreError, match="closed"):
            journal.count(ANNA)


class TestThreads:
    def test_many_write_while_many_read(self, journal: Journal) -> None:
        begin = threading.Barrier(8)

        def write(worker: int) -> list[str]:
            begin.wait(30)
            return [add(journal, f"fact {n} of worker {worker}").id for n in range(40)]

        def read(worker: int) -> int:
            begin.wait(30)
            seen = 0
            while seen < 160:
                count = journal.count(ANNA)
                notes = journal.page(ANNA, limit=1000)
                assert seen <= count <= len(notes)  # never goes back
                assert len(journal.lexical(ANNA, "fact", 1000)) >= len(notes)
                seen = len(notes)
            return seen

        with ThreadPoolExecutor(8) as pool:
            writers = [pool.submit(write, n) for n in range(4)]
            readers = [pool.submit(read, n) for n in range(4)]
            ids = [note_id for writer in writers for note_id in writer.result(60)]
            assert [reader.result(60) for reader in readers] == [160] * 4
        assert {note.id for note in journal.page(ANNA, limit=1000)} == set(ids)

    def test_a_reader_does_not_wait_for_a_writer(self, journal: Journal) -> None:
        note = add(journal, "fact")
        with journal._file.writing() as db, ThreadPoolExecutor(1) as pool:
            db.execute("DELETE FROM note")
            assert pool.submit(journal.get, ANNA, [note.id]).result(30) == [note]

    def test_a_purge_and_readers_do_not_disturb_each_other(self, journal: Journal) -> None:
        notes = [add(journal, f"fact {n}") for n in range(50)]
        done = threading.Event()

        def read() -> bool:
            while not done.is_set():
                if journal.get(ANNA, [notes[0].id]) != notes[:1]:
                    return False
            return True

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            for note in notes[1:6]:
                journal.forget(ANNA, [note.id])
                journal.purge()
            done.set()
            assert all(reader.result(30) for reader in readers)
        assert not journal.purge_due
