"""The statements by which the journal writes notes, versions and links, within a transaction of its own."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass

from handlers.agent.memory.rows import (
    NOTES,
    TENANT,
    Version,
    check_meaning,
    check_note,
    check_source,
    check_time,
    ensure_owner,
    fact_key,
    find,
    index_words,
    note_of,
    read_meaning,
    read_source,
    same_key,
    write_meaning,
    write_source,
)
from handlers.agent.memory.stage import LinkKind, MemoryStoreError, NewNote, Note, Owner, Source


@dataclass(frozen=True)
class Adopted:
    """A note from another file, as it is to be."""

    note: Note
    versions: tuple[Version, ...]
    """At least one, numbered from 1; the last one is the note's present meaning."""


def write_version(
    db: sqlite3.Connection,
    owner: Owner,
    note_id: str,
    seq: int,
    version: Version,
    op: str,
    *,
    meant: bool,
    other: str = "",
) -> None:
    """Add a version and make it the present one. `meant`: it changed the meaning, so words and vectors are stale."""
    number = ensure_owner(db, owner)
    insert_version(db, seq, version)
    meaning = version.meaning
    db.execute(
        "UPDATE note SET meaning = ?, fact = ?, valid_to = ?, version = ?, meant = IIF(?, ?, meant) WHERE seq = ?",
        (
            write_meaning(meaning),
            fact_key(meaning.subject, meaning.attribute),
            version.valid_to,
            version.number,
            meant,
            version.number,
            seq,
        ),
    )
    if meant:
        index_words(db, number, seq)
    record(db, number, op, note_id, version.source, version.at, version=version.number, other=other)


def find_twin(
    db: sqlite3.Connection, owner: Owner, number: int, note: NewNote, now: float, other_than: int | None = None
) -> Note | None:
    """The first note with the same words of the same speaker that still holds, but not the seq `other_than`."""
    row = db.execute(
        f"{NOTES} WHERE n.tenant = ? AND n.same = ? AND (n.valid_to IS NULL OR n.valid_to > ?) AND n.seq IS NOT ? "
        "ORDER BY n.seq",
        (number, same_key(note), now, other_than),
    ).fetchone()
    return None if row is None else note_of(owner, row)


def store_note(db: sqlite3.Connection, owner: Owner, number: int, note: NewNote, now: float) -> tuple[int, Note]:
    """Write a note with its first version; returns its seq as well."""
    previous = find(db, owner, note.previous_id) if note.previous_id else None
    stored = Note(
        id=secrets.token_hex(8),  # 64 bits: short in a prompt, and no owner ever has two alike
        owner=owner,
        content=note.content,
        meaning=note.meaning,
        source=note.source,
        created=float(now if note.created is None else note.created),
        event_time=None if note.event_time is None else float(note.event_time),
        previous_id=note.previous_id if previous else "",
    )
    seq = insert_note(db, number, stored, same_key(note), previous.seq if previous else None, meant=1)
    insert_version(db, seq, Version(1, note.meaning, None, note.source, now))
    index_words(db, number, seq)
    record(db, number, "add", stored.id, note.source, now, version=1)
    return seq, stored


def inherit_links(db: sqlite3.Connection, old: int, new: int) -> None:
    """Link a note to all that another one is linked to."""
    db.execute(
        "INSERT OR IGNORE INTO link SELECT ?, second, kind, strength FROM link WHERE first = ? AND second != ?",
        (new, old, new),
    )
    db.execute(
        "INSERT OR IGNORE INTO link SELECT first, ?, kind, strength FROM link WHERE second = ? AND first != ?",
        (new, old, new),
    )


def follow(db: sqlite3.Connection, number: int, old: int, new: int) -> None:
    """Let the notes that came right after one come after another."""
    following = db.execute("SELECT seq FROM note WHERE previous = ?", (old,)).fetchall()
    db.execute("UPDATE note SET previous = ? WHERE previous = ?", (new, old))
    for (seq,) in following:
        index_words(db, number, seq)


def insert_note(
    db: sqlite3.Connection, number: int, note: Note, same: bytes, previous: int | None, *, meant: int
) -> int:
    row = db.execute(
        "INSERT INTO note (tenant, id, content, same, meaning, fact, origin, speaker, satellite, room, turn_id, "
        "created, event_time, valid_to, previous, version, meant) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
        (
            number,
            note.id,
            note.content,
            same,
            write_meaning(note.meaning),
            fact_key(note.meaning.subject, note.meaning.attribute),
            *write_source(note.source),
            note.created,
            note.event_time,
            note.valid_to,
            previous,
            note.version,
            meant,
        ),
    ).fetchone()
    return int(row[0])


def insert_version(db: sqlite3.Connection, seq: int, version: Version) -> None:
    db.execute(
        "INSERT INTO note_version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            seq,
            version.number,
            write_meaning(version.meaning),
            version.valid_to,
            *write_source(version.source),
            version.at,
            version.restores,
        ),
    )


def record(
    db: sqlite3.Connection,
    number: int,
    op: str,
    note_id: str,
    source: Source,
    at: float,
    *,
    version: int | None = None,
    other: str = "",
) -> None:
    db.execute(
        "INSERT INTO journal (at, op, tenant, note, version, other, origin, speaker, satellite, room, turn_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (at, op, number, note_id, version, other, *write_source(source)),
    )


def put_link(db: sqlite3.Connection, first: int, second: int, kind: LinkKind, strength: float) -> None:
    db.execute("INSERT OR REPLACE INTO link VALUES (?, ?, ?, ?)", (first, second, str(kind), float(strength)))


def adopt_note(db: sqlite3.Connection, owner: Owner, number: int, adopted: Adopted) -> int:
    note, versions = adopted.note, adopted.versions
    new = NewNote(note.content, note.source, note.meaning, note.created, note.event_time, note.previous_id)
    check_note(new)
    check_time(note.valid_to)
    previous = find(db, owner, note.previous_id) if note.previous_id else None
    seq = insert_note(db, number, note, same_key(new), previous.seq if previous else None, meant=note.version)
    for version in versions:
        check_meaning(version.meaning)
        check_source(version.source)
        insert_version(db, seq, version)
    index_words(db, number, seq)
    return seq


def read_note(db: sqlite3.Connection, owner: Owner, note_id: str) -> Note:
    rows = db.execute(f"{NOTES} WHERE n.tenant = {TENANT} AND n.id = ?", (owner.key, note_id))
    return note_of(owner, rows.fetchone())


def read_versions(db: sqlite3.Connection, seq: int) -> list[Version]:
    causes: dict[int, tuple[str, ...]] = {}
    for number, cause in db.execute(
        "SELECT c.number, n.id FROM cause c JOIN note n ON n.seq = c.cause WHERE c.note = ? ORDER BY n.seq", (seq,)
    ):
        causes[number] = (*causes.get(number, ()), cause)
    rows = db.execute(
        "SELECT number, meaning, valid_to, at, restores, origin, speaker, satellite, room, turn_id FROM note_version "
        "WHERE note = ? ORDER BY number",
        (seq,),
    )
    return [
        Version(row[0], read_meaning(row[1]), row[2], read_source(*row[5:]), row[3], row[4], causes.get(row[0], ()))
        for row in rows
    ]


def place_of(db: sqlite3.Connection, owner: Owner, note_id: str) -> int:
    """The seq of a note, also of a forgotten one."""
    for table in ("note", "tombstone"):
        query = f"SELECT seq FROM {table} WHERE tenant = {TENANT} AND id = ?"  # noqa: S608
        row = db.execute(query, (owner.key, note_id)).fetchone()
        if row is not None:
            return int(row[0])
    raise MemoryStoreError(f"There is no memory {note_id[:40]!r} to go on from: begin with the first page")


def is_forgotten(db: sqlite3.Connection, number: int, note_id: str) -> bool:
    return bool(db.execute("SELECT 1 FROM tombstone WHERE tenant = ? AND id = ?", (number, note_id)).fetchone())
