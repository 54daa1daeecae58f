"""Forgetting: what goes with a note, and what others took from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from handlers.agent.memory import schema
from handlers.agent.memory.rows import fact_key, index_words, read_meaning, write_meaning
from handlers.agent.memory.stage import Meaning, Origin

_SCRUB = "origin = '', speaker = '', satellite = '', room = '', turn_id = ''"


def erase_notes(db: sqlite3.Connection, number: int, notes: Sequence[tuple[int, str]], at: float) -> None:
    """Remove notes (seq, id) of the owner with this number. Its bytes are gone only after a purge."""
    gone = {seq for seq, _ in notes}
    following: set[int] = set()
    tainted: dict[int, set[int]] = {}
    for seq, note_id in notes:
        following |= {row[0] for row in db.execute("SELECT seq FROM note WHERE previous = ?", (seq,))}
        for note, version in db.execute("SELECT note, number FROM cause WHERE cause = ?", (seq,)):
            tainted.setdefault(note, set()).add(version)
        db.execute(f"DELETE FROM {schema.words(number)} WHERE rowid = ?", (seq,))  # noqa: S608
        db.execute(f"UPDATE journal SET {_SCRUB} WHERE tenant = ? AND note = ?", (number, note_id))  # noqa: S608
        db.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)", (number, note_id, seq, at))
        db.execute(
            "INSERT INTO journal (at, op, tenant, note, other, origin, speaker, satellite, room, turn_id) "
            "VALUES (?, 'forget', ?, ?, '', '', '', '', '', '')",
            (at, number, note_id),
        )
    db.executemany("DELETE FROM note WHERE seq = ?", [(seq,) for seq in gone])  # the rest follows by foreign keys
    for note in tainted.keys() - gone:
        _cleanse(db, note, tainted[note])
    for note in (following | tainted.keys()) - gone:
        index_words(db, number, note)
    db.execute("UPDATE state SET purge_due = purge_due + 1")


def erase_owner(db: sqlite3.Connection, number: int) -> int:
    """Remove an owner as if it had never been; only times, kinds of deeds and ids stay in the journal."""
    count = int(db.execute("SELECT COUNT(*) FROM note WHERE tenant = ?", (number,)).fetchone()[0])
    db.execute("DELETE FROM note WHERE tenant = ?", (number,))
    db.execute(f"DROP TABLE {schema.words(number)}")
    db.execute(f"UPDATE journal SET tenant = NULL, {_SCRUB} WHERE tenant = ?", (number,))  # noqa: S608
    db.execute("DELETE FROM tombstone WHERE tenant = ?", (number,))
    db.execute("DELETE FROM tenant WHERE number = ?", (number,))
    db.execute("UPDATE state SET purge_due = purge_due + 1")
    return count


def _cleanse(db: sqlite3.Connection, note: int, tainted: set[int]) -> None:
    """Take out of a note's versions what was made from a forgotten note: they fall back to the meaning before.

    The versions stay, with their numbers and validity, so that an undo still works. Later versions that a model wrote,
    or that only carried the meaning on, fall back as well; what a person wrote stays.
    """
    clean: dict[int, Meaning] = {}
    dirty = False
    before: Meaning | None = None
    last = Meaning()
    for number, text, origin, restores in db.execute(
        "SELECT number, meaning, origin, restores FROM note_version WHERE note = ? ORDER BY number", (note,)
    ).fetchall():
        meaning = read_meaning(text)
        by_model = origin in (Origin.EVOLVED, Origin.DISTILLED)
        if number in tainted or (dirty and restores is None and (by_model or meaning == before)):
            clean[number], dirty = last, True
        elif restores is not None:
            clean[number] = clean.get(restores, meaning)
            dirty = clean[number] != meaning
        else:
            clean[number], dirty = meaning, False
        before, last = meaning, clean[number]
        db.execute(
            "UPDATE note_version SET meaning = ? WHERE note = ? AND number = ?",
            (write_meaning(last), note, number),
        )
    db.execute("DELETE FROM vector WHERE note = ?", (note,))  # it was made from those words, too
    db.execute(
        "UPDATE note SET meaning = ?, fact = ? WHERE seq = ?",
        (write_meaning(last), fact_key(last.subject, last.attribute), note),
    )
