"""The tables of the memory's file, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

APPLICATION = 0x4D4C4D31
"""SQLite's application_id: "MLM1", so that another program's file is never taken for ours."""

_FIRST = (
    """CREATE TABLE tenant (
        number INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: the table words_<number> is named by it
        key TEXT NOT NULL UNIQUE
    )""",
    # A note's `seq` is the order in which notes came; everything else in the file refers to it. Ids are unique within
    # an owner only, so that no owner can learn of another's.
    """CREATE TABLE note (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant INTEGER NOT NULL REFERENCES tenant (number),
        id TEXT NOT NULL,
        content TEXT NOT NULL,
        same BLOB NOT NULL,     -- digest of speaker, words and event time: finds what is said twice
        meaning TEXT NOT NULL,  -- of the present version
        fact TEXT,              -- subject and attribute, normalised; NULL without a subject
        origin TEXT NOT NULL, speaker TEXT NOT NULL, satellite TEXT NOT NULL, room TEXT NOT NULL, turn_id TEXT NOT NULL,
        created REAL NOT NULL,
        event_time REAL,
        valid_to REAL,
        previous INTEGER REFERENCES note (seq) ON DELETE SET NULL,
        version INTEGER NOT NULL,
        meant INTEGER NOT NULL, -- the last version that changed the meaning: older vectors are stale
        UNIQUE (tenant, id)
    )""",
    "CREATE INDEX note_same ON note (tenant, same)",
    "CREATE INDEX note_fact ON note (tenant, fact) WHERE fact IS NOT NULL",
    "CREATE INDEX note_order ON note (tenant, seq)",
    "CREATE INDEX note_previous ON note (previous) WHERE previous IS NOT NULL",
    """CREATE TABLE note_version (
        note INTEGER NOT NULL REFERENCES note (seq) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        meaning TEXT NOT NULL,
        valid_to REAL,
        origin TEXT NOT NULL, speaker TEXT NOT NULL, satellite TEXT NOT NULL, room TEXT NOT NULL, turn_id TEXT NOT NULL,
        at REAL NOT NULL,
        restores INTEGER, -- an undo: the version that it brought back
        PRIMARY KEY (note, number)
    )""",
    # Which notes a version was made from: when one is forgotten, what was taken from it goes as well.
    """CREATE TABLE cause (
        note INTEGER NOT NULL REFERENCES note (seq) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        cause INTEGER NOT NULL REFERENCES note (seq) ON DELETE CASCADE,
        PRIMARY KEY (note, number, cause)
    ) WITHOUT ROWID""",
    "CREATE INDEX cause_cause ON cause (cause)",
    """CREATE TABLE link (
        first INTEGER NOT NULL REFERENCES note (seq) ON DELETE CASCADE,
        second INTEGER NOT NULL REFERENCES note (seq) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        strength REAL NOT NULL,
        PRIMARY KEY (first, second, kind)
    ) WITHOUT ROWID""",
    "CREATE INDEX link_second ON link (second)",
    "CREATE TABLE space (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)",
    # With a rowid: two vectors of 384 share a page; without one each would overflow into a page of its own.
    """CREATE TABLE vector (
        note INTEGER NOT NULL REFERENCES note (seq) ON DELETE CASCADE,
        space INTEGER NOT NULL REFERENCES space (number),
        version INTEGER NOT NULL, -- of the note, when it was embedded
        data BLOB NOT NULL,       -- little-endian float32
        PRIMARY KEY (note, space)
    )""",
    # `seq` of a forgotten note is kept so that somebody who pages through the notes can go on behind it.
    """CREATE TABLE tombstone (
        tenant INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID""",
    # What was done, by whom, when; never what was said, which stands in the note alone.
    """CREATE TABLE journal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        op TEXT NOT NULL,
        tenant INTEGER,
        note TEXT NOT NULL,
        version INTEGER,
        other TEXT NOT NULL, -- the second note of a link or a replacement
        origin TEXT NOT NULL, speaker TEXT NOT NULL, satellite TEXT NOT NULL, room TEXT NOT NULL, turn_id TEXT NOT NULL
    )""",
    "CREATE INDEX journal_note ON journal (tenant, note)",
    # One row: how many times something was forgotten whose bytes are still to be purged.
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), purge_due INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0)",
)

_STEPS = (_FIRST,)
"""What makes version n + 1 of the schema out of version n."""

VERSION = len(_STEPS)


def create_words(db: sqlite3.Connection, number: int) -> None:
    """The full-text table of an owner; its rowid is the note's seq."""
    db.execute(
        f"CREATE VIRTUAL TABLE {words(number)} USING fts5"
        "(content, window, tokenize = 'porter unicode61 remove_diacritics 2')"
    )


def words(number: int) -> str:
    """The name of an owner's full-text table."""
    return f"words_{number:d}"


def migrate(db: sqlite3.Connection) -> None:
    """Bring a file to this version, one step per transaction; an empty file gets all of them."""
    for number in range(version_of(db), VERSION):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in _STEPS[number]:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION:d}")
            db.execute(f"PRAGMA user_version = {number + 1:d}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def version_of(db: sqlite3.Connection) -> int:
    """The version of the schema in a file; 0 for an empty one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def is_foreign(db: sqlite3.Connection) -> bool:
    """Whether the file has tables that are not ours."""
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    return application != APPLICATION and bool(db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone())
