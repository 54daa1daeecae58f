"""The truth of the memory: one SQLite file. Everything else is derived from it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from handlers.agent.memory import schema
from handlers.agent.memory.erase import erase_notes, erase_owner
from handlers.agent.memory.rows import (
    NOTES,
    TENANT,
    Version,
    check_meaning,
    check_note,
    check_source,
    check_strength,
    check_time,
    chunks,
    ensure_owner,
    fact_key,
    find,
    note_of,
    owner_number,
    read_source,
    require,
    space_number,
)
from handlers.agent.memory.sqlite_file import SqliteFile
from handlers.agent.memory.stage import (
    Link,
    LinkKind,
    Meaning,
    MemoryStoreError,
    NewNote,
    Note,
    Owner,
    Source,
    Space,
    Vectors,
)
from handlers.agent.memory.writes import (
    Adopted,
    adopt_note,
    find_twin,
    follow,
    inherit_links,
    is_forgotten,
    place_of,
    put_link,
    read_note,
    read_versions,
    record,
    store_note,
    write_version,
)

__all__ = ["Adopted", "Entry", "Journal", "Version"]

_LONGEST_MATCH = 20_000
"""Characters of a full-text query; a long turn and the one before, quoted, have a tenth."""


@dataclass(frozen=True)
class Entry:
    """A line of the journal: what was done to a note, by whom. Of a forgotten note only what and when is left."""

    at: float
    op: str
    """add, revise, replace, undo, link, import or forget."""
    note: str
    source: Source | None


class Journal:
    """Notes, versions, links, vectors and the words of all owners (WAL, synchronous FULL, secure_delete).

    Calls block and may come from any thread: one writes at a time, readers never wait for it. What a call has returned
    is on disk. One process opens a folder at a time. Raises MemoryStoreError.
    """

    def __init__(self, folder: Path) -> None:
        self._file = SqliteFile(folder)
        try:
            if self.purge_due:  # the process died between forgetting and purging
                self.purge()
        except BaseException:
            self._file.close()
            raise

    @property
    def notice(self) -> str:
        """What the owner should know: a damaged file was moved aside. Empty when all is well."""
        return self._file.notice

    @property
    def purge_due(self) -> bool:
        """Whether something was forgotten since the last purge."""
        with self._file.reading() as db:
            return bool(db.execute("SELECT purge_due FROM state").fetchone()[0])

    def add(self, owner: Owner, note: NewNote) -> Note:
        """Remember. The same words from the same speaker that still hold are not stored twice: returns that note.

        Words about another `event_time` are not the same. A `previous_id` that is not this owner's is left out.
        """
        check_note(note)
        now = time.time()
        with self._file.writing() as db:
            number = ensure_owner(db, owner)
            return find_twin(db, owner, number, note, now) or store_note(db, owner, number, note, now)[1]

    def correct(self, owner: Owner, old_id: str, note: NewNote) -> Note:
        """Put a note in the place of another, which is forgotten: told at the same time, true as long, with its links.
        Both happen or neither. See `purge`.

        Where another note that holds has the same words, it takes the place and is returned.
        """
        check_note(note)
        now = time.time()
        with self._file.writing() as db:
            seq = require(db, owner, old_id).seq
            number = ensure_owner(db, owner)
            old = read_note(db, owner, old_id)
            new = replace(note, created=old.created, event_time=old.event_time, previous_id=old.previous_id)
            corrected = find_twin(db, owner, number, new, now, seq) if old.holds(now) else None
            if corrected is not None:
                inherit_links(db, seq, require(db, owner, corrected.id).seq)
            else:
                place, corrected = store_note(db, owner, number, new, now)
                inherit_links(db, seq, place)
                follow(db, number, seq, place)
                if old.valid_to is not None:  # a version of its own, so that it can be undone as before
                    closed = Version(2, new.meaning, old.valid_to, new.source, now)
                    write_version(db, owner, corrected.id, place, closed, "replace", meant=False)
            erase_notes(db, number, [(seq, old_id)], now)
            return read_note(db, owner, corrected.id)

    def revise(
        self, owner: Owner, note_id: str, meaning: Meaning, source: Source, *, because: Sequence[str] = ()
    ) -> Note:
        """Write a new version of what is known about a note; its content stays.

        `because` are the other notes that it was made from: when one is forgotten, what was taken from it goes, too.
        """
        check_meaning(meaning)
        check_source(source)
        with self._file.writing() as db:
            known = require(db, owner, note_id)
            causes = [require(db, owner, cause).seq for cause in dict.fromkeys(because) if cause != note_id]
            version = Version(known.version + 1, meaning, known.valid_to, source, time.time())
            write_version(db, owner, note_id, known.seq, version, "revise", meant=meaning != known.meaning)
            db.executemany("INSERT INTO cause VALUES (?, ?, ?)", [(known.seq, version.number, c) for c in causes])
            return read_note(db, owner, note_id)

    def replace(self, owner: Owner, old_id: str, new_id: str, at: float, source: Source) -> Note:
        """Close an old fact: it held until `at`, then the new one. A version, and a link of the kind REPLACES.

        A fact that was closed before `at` stays closed since then. Returns the old note.
        """
        check_time(at)
        check_source(source)
        if old_id == new_id:
            raise MemoryStoreError("A memory cannot replace itself: name two")
        with self._file.writing() as db:
            old, new = require(db, owner, old_id), require(db, owner, new_id)
            if old.valid_to is None or at < old.valid_to:
                version = Version(old.version + 1, old.meaning, float(at), source, time.time())
                write_version(db, owner, old_id, old.seq, version, "replace", meant=False, other=new_id)
            put_link(db, new.seq, old.seq, LinkKind.REPLACES, 1.0)
            return read_note(db, owner, old_id)

    def undo(self, owner: Owner, note_id: str, source: Source) -> Note:
        """Go back to the version before the present one, as a version of its own; also reopens a closed fact.

        Undone again, it goes back further. MemoryStoreError at the first version.
        """
        check_source(source)
        with self._file.writing() as db:
            known = require(db, owner, note_id)
            versions = {version.number: version for version in read_versions(db, known.seq)}
            present = versions[versions[known.version].restores or known.version]
            if present.number == 1:
                raise MemoryStoreError("This memory is as it was at first: there is nothing to undo")
            before = versions[present.number - 1]
            back = versions[before.restores or before.number]
            version = Version(known.version + 1, back.meaning, back.valid_to, source, time.time(), back.number)
            if back.valid_to is None and known.valid_to is not None:
                db.execute("DELETE FROM link WHERE second = ? AND kind = ?", (known.seq, str(LinkKind.REPLACES)))
            meant = back.meaning != known.meaning
            write_version(db, owner, note_id, known.seq, version, "undo", meant=meant)
            db.execute(
                "INSERT INTO cause SELECT note, ?, cause FROM cause WHERE note = ? AND number = ?",
                (version.number, known.seq, back.number),
            )
            return read_note(db, owner, note_id)

    def link(self, owner: Owner, links: Sequence[Link], source: Source) -> None:
        """Add links; one that exists is only made as strong as the new one. Both notes must be the owner's."""
        check_source(source)
        now = time.time()
        with self._file.writing() as db:
            for link in links:
                check_strength(link.strength)
                if link.first == link.second:
                    raise MemoryStoreError("A memory cannot be linked to itself: name two")
                first, second = require(db, owner, link.first), require(db, owner, link.second)
                put_link(db, first.seq, second.seq, link.kind, link.strength)
                number = ensure_owner(db, owner)
                record(db, number, "link", link.first, source, now, other=link.second)

    def forget(self, owner: Owner, ids: Sequence[str]) -> int:
        """Remove notes with versions, links, vectors and words; returns how many there were. See `purge`.

        Versions of other notes that were made from them fall back to what was there before.
        """
        with self._file.writing() as db:
            number = owner_number(db, owner)
            notes: list[tuple[int, str]] = []
            for marks, portion in chunks(ids):
                notes += db.execute(
                    f"SELECT seq, id FROM note WHERE tenant = ? AND id IN ({marks})",  # noqa: S608
                    (number, *portion),
                ).fetchall()
            if number is not None and notes:
                erase_notes(db, number, notes, time.time())
        return len(notes)

    def forget_owner(self, owner: Owner) -> int:
        """Remove everything of an owner; returns how many notes there were. See `purge`."""
        with self._file.writing() as db:
            number = owner_number(db, owner)
            return 0 if number is None else erase_owner(db, number)

    def purge(self) -> None:
        """Make sure that nothing forgotten is left in the file or its log (checkpoint, VACUUM). Takes a while."""
        with self._file.writing() as db:
            for (number,) in db.execute("SELECT number FROM tenant").fetchall():
                table = schema.words(number)
                db.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608
            due = db.execute("SELECT purge_due FROM state").fetchone()[0]
        self._file.compact()
        with self._file.writing() as db:  # what was forgotten during the compacting needs another
            db.execute("UPDATE state SET purge_due = purge_due - ?", (due,))

    def get(self, owner: Owner, ids: Sequence[str]) -> list[Note]:
        """The notes with these ids, in this order; ids that are not this owner's are left out."""
        found: dict[str, Note] = {}
        with self._file.reading() as db:
            for marks, portion in chunks(ids):
                rows = db.execute(f"{NOTES} WHERE n.tenant = {TENANT} AND n.id IN ({marks})", (owner.key, *portion))
                found |= {row[0]: note_of(owner, row) for row in rows}
        return [found[note_id] for note_id in ids if note_id in found]

    def page(self, owner: Owner, *, after: str = "", limit: int = 100, holding: bool = False) -> list[Note]:
        """Notes in the order in which they came, from behind the note `after`; only those that still hold if asked.

        `after` may have been forgotten meanwhile.
        """
        with self._file.reading() as db:
            behind = place_of(db, owner, after) if after else 0
            rows = db.execute(
                f"{NOTES} WHERE n.tenant = {TENANT} AND n.seq > ? AND (? OR n.valid_to IS NULL OR n.valid_to > ?) "
                "ORDER BY n.seq LIMIT ?",
                (owner.key, behind, not holding, time.time(), max(0, limit)),
            )
            return [note_of(owner, row) for row in rows]

    def count(self, owner: Owner) -> int:
        """How many notes there are, also those that no longer hold."""
        with self._file.reading() as db:
            return int(db.execute(f"SELECT COUNT(*) FROM note WHERE tenant = {TENANT}", (owner.key,)).fetchone()[0])  # noqa: S608

    def owners(self) -> list[Owner]:
        """Those that have notes."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT key FROM tenant t WHERE EXISTS (SELECT 1 FROM note WHERE tenant = t.number) ORDER BY number"
            )
            return [Owner.parse(key) for (key,) in rows]

    def versions(self, owner: Owner, note_id: str) -> list[Version]:
        """Oldest first; none for an unknown note."""
        with self._file.reading() as db:
            known = find(db, owner, note_id)
            return [] if known is None else read_versions(db, known.seq)

    def links(self, owner: Owner, ids: Sequence[str]) -> list[Link]:
        """All links that begin or end at one of the notes."""
        found: dict[tuple[str, str, str], float] = {}
        with self._file.reading() as db:
            for marks, portion in chunks(ids):
                for ours, theirs in (("first", "second"), ("second", "first")):
                    rows = db.execute(
                        f"SELECT a.id, b.id, l.kind, l.strength FROM note o JOIN link l ON l.{ours} = o.seq "  # noqa: S608
                        f"JOIN note t ON t.seq = l.{theirs} JOIN note a ON a.seq = l.first "
                        f"JOIN note b ON b.seq = l.second WHERE o.tenant = {TENANT} AND o.id IN ({marks})",
                        (owner.key, *portion),
                    )
                    found |= {(first, second, kind): strength for first, second, kind, strength in rows}
        return [Link(a, b, LinkKind(kind), strength) for (a, b, kind), strength in found.items()]

    def same_fact(self, owner: Owner, subject: str, attribute: str) -> list[Note]:
        """Notes about this subject and attribute that still hold, oldest first; none for an empty subject."""
        with self._file.reading() as db:
            rows = db.execute(
                f"{NOTES} WHERE n.tenant = {TENANT} AND n.fact = ? AND (n.valid_to IS NULL OR n.valid_to > ?) "
                "ORDER BY n.created, n.seq",
                (owner.key, fact_key(subject, attribute), time.time()),
            )
            return [note_of(owner, row) for row in rows]

    def lexical(self, owner: Owner, match: str, limit: int) -> list[tuple[str, float]]:
        """Full-text search. `match` is an FTS5 query. Columns: `content` (with keywords and tags) and `window` (the
        same and the content of the previous note). Ids and BM25 scores, higher is better, best first."""
        if not match.strip():
            return []
        if len(match) > _LONGEST_MATCH:
            raise MemoryStoreError(f"A search may have {_LONGEST_MATCH} characters: ask for less")
        with self._file.reading() as db:
            number = owner_number(db, owner)
            if number is None:
                return []
            table = schema.words(number)
            try:
                rows = db.execute(
                    f"SELECT n.id, w.rank FROM (SELECT rowid, rank FROM {table} WHERE {table} MATCH ? "  # noqa: S608
                    "ORDER BY rank LIMIT ?) w JOIN note n ON n.seq = w.rowid ORDER BY w.rank",
                    (match, max(0, limit)),
                ).fetchall()
            except (sqlite3.OperationalError, UnicodeEncodeError) as error:
                if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) != sqlite3.SQLITE_ERROR:
                    raise
                raise MemoryStoreError("The memory cannot be searched like this: quote each word") from None
        return [(note_id, -rank) for note_id, rank in rows]

    def put_vectors(
        self,
        owner: Owner,
        space: Space,
        ids: Sequence[str],
        vectors: Vectors,
        *,
        versions: Sequence[int] | None = None,
    ) -> None:
        """Keep the vectors of notes in a space; notes that are gone meanwhile are left out.

        `versions` are those of the notes that were embedded (`Note.version`); None means the present ones. With them, a
        note that was revised during the embedding stays in `without_vector`.
        """
        if vectors.shape != (len(ids), space.dimensions) or not np.isfinite(vectors).all():
            raise MemoryStoreError(
                f"Vectors of {space.model} must be finite and of shape ({len(ids)}, {space.dimensions})"
            )
        if versions is not None and len(versions) != len(ids):
            raise MemoryStoreError("There must be as many versions as notes")
        rows = vectors.astype("<f4", copy=False)
        with self._file.writing() as db:
            db.execute("INSERT OR IGNORE INTO space (key) VALUES (?)", (space.key,))
            db.executemany(
                f"INSERT INTO vector SELECT seq, ?, MIN(COALESCE(?, version), version), ? FROM note "  # noqa: S608
                f"WHERE tenant = {TENANT} AND id = ? "
                "ON CONFLICT (note, space) DO UPDATE SET version = excluded.version, data = excluded.data "
                "WHERE excluded.version >= vector.version",
                [
                    (space_number(db, space), versions[i] if versions else None, rows[i].tobytes(), owner.key, ids[i])
                    for i in range(len(ids))
                ],
            )

    def vectors(self, owner: Owner, space: Space) -> tuple[list[str], Vectors]:
        """All vectors of an owner in a space; shape (n, dimensions)."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT n.id, v.data FROM note n JOIN vector v ON v.note = n.seq "  # noqa: S608
                f"WHERE n.tenant = {TENANT} AND v.space = ? ORDER BY n.seq",
                (owner.key, space_number(db, space)),
            ).fetchall()
        data = b"".join(row[1] for row in rows)
        return [row[0] for row in rows], np.frombuffer(data, "<f4").reshape(len(rows), space.dimensions)

    def without_vector(self, owner: Owner, space: Space, limit: int) -> list[Note]:
        """Notes that still need one in this space, also those whose meaning was revised since."""
        with self._file.reading() as db:
            rows = db.execute(
                f"{NOTES} LEFT JOIN vector v ON v.note = n.seq AND v.space = ? "
                f"WHERE n.tenant = {TENANT} AND (v.note IS NULL OR v.version < n.meant) ORDER BY n.seq LIMIT ?",
                (space_number(db, space), owner.key, max(0, limit)),
            )
            return [note_of(owner, row) for row in rows]

    def has_other_spaces(self, space: Space) -> bool:
        """Whether there are vectors of another space."""
        with self._file.reading() as db:
            return db.execute("SELECT 1 FROM space WHERE key IS NOT ?", (space.key,)).fetchone() is not None

    def drop_other_spaces(self, space: Space) -> None:
        """Remove the vectors of every other space, once all notes have one in this.

        A note that has none yet keeps its others until the next call.
        """
        with self._file.writing() as db:
            number = space_number(db, space)
            db.execute(
                "DELETE FROM vector WHERE space IS NOT ? AND note IN (SELECT note FROM vector WHERE space = ?)",
                (number, number),
            )
            db.execute(
                "DELETE FROM space WHERE number IS NOT ? AND number NOT IN (SELECT space FROM vector)", (number,)
            )

    def entries(self, owner: Owner, note_id: str = "", *, limit: int = 100) -> list[Entry]:
        """What was done in an owner's memory, or to one note of it, newest first."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT at, op, note, origin, speaker, satellite, room, turn_id FROM journal "  # noqa: S608
                f"WHERE tenant = {TENANT} AND (? = '' OR note = ?) ORDER BY seq DESC LIMIT ?",
                (owner.key, note_id, note_id, max(0, limit)),
            )
            return [Entry(row[0], row[1], row[2], read_source(*row[3:]) if row[3] else None) for row in rows]

    def adopt(self, owner: Owner, notes: Iterable[Adopted], links: Iterable[Link]) -> tuple[list[str], int, int]:
        """Take over notes with their ids, versions and times, then links; all of it or nothing.

        Returns the ids of the new ones, how many were known already, and how many were forgotten here before; of the
        last two kinds nothing changes.
        """
        known = forgotten = 0
        now = time.time()
        with self._file.writing() as db:
            number = ensure_owner(db, owner)
            added: dict[str, int] = {}
            causes: list[tuple[int, int, str]] = []
            for adopted in notes:
                note = adopted.note
                if find(db, owner, note.id) is not None:
                    known += 1
                elif is_forgotten(db, number, note.id):
                    forgotten += 1
                else:
                    seq = adopt_note(db, owner, number, adopted)
                    causes += [(seq, v.number, cause) for v in adopted.versions for cause in v.because]
                    record(db, number, "import", note.id, note.source, now, version=note.version)
                    added[note.id] = seq
            for seq, version, cause in causes:
                made_from = find(db, owner, cause)
                if made_from is not None:
                    db.execute("INSERT OR IGNORE INTO cause VALUES (?, ?, ?)", (seq, version, made_from.seq))
            for link in links:
                first, second = find(db, owner, link.first), find(db, owner, link.second)
                if first and second and (link.first in added or link.second in added):
                    check_strength(link.strength)
                    put_link(db, first.seq, second.seq, link.kind, link.strength)
        return list(added), known, forgotten

    def snapshot(self, target: Path) -> None:
        """A consistent copy of the file while it is in use, for backups. It replaces `target` when it is complete."""
        if self.purge_due:
            self.purge()
        self._file.snapshot(target)

    def close(self) -> None:
        """Fold the log into the file and let go of the folder."""
        self._file.close()
