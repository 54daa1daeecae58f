"""Notes as rows, rows as notes; and what a note may be at most."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handlers.agent.memory import schema
from handlers.agent.memory.stage import (
    LONGEST_CONTENT,
    Meaning,
    MemoryStoreError,
    NewNote,
    Note,
    Origin,
    Owner,
    Source,
    Space,
)

MOST_WORDS = 64
"""Keywords, and tags, of one note; a language model that gives more is repeating itself."""

LONGEST_WORD = 100
LONGEST_CONTEXT = 1000
"""Characters; the context is one sentence."""

LONGEST_NAME = 200
"""Characters of a subject, an attribute, a speaker, a satellite, a room, an id."""

_AT_ONCE = 500
"""Ids in one statement: SQLite may be built with room for only 999."""

NOTES = (
    "SELECT n.id, n.content, n.meaning, n.origin, n.speaker, n.satellite, n.room, n.turn_id, n.created, n.event_time, "
    "n.valid_to, COALESCE(p.id, ''), n.version FROM note n LEFT JOIN note p ON p.seq = n.previous"
)
"""What `note_of` reads."""

TENANT = "(SELECT number FROM tenant WHERE key = ?)"


@dataclass(frozen=True)
class Version:
    """A note's meaning as it was written once."""

    number: int
    meaning: Meaning
    valid_to: float | None
    source: Source
    at: float
    """When it was written, seconds since 1970."""
    restores: int | None = None
    """The version that it brought back; None when it is not an undo."""
    because: tuple[str, ...] = ()
    """The notes that it was made from."""


@dataclass(frozen=True)
class Known:
    """A note in the file, before it is changed."""

    seq: int
    version: int
    meaning: Meaning
    valid_to: float | None


def note_of(owner: Owner, row: Sequence[object]) -> Note:
    """A row of `NOTES`."""
    note_id, content, meaning, origin, speaker, satellite, room, turn_id, created, event_time, valid_to, previous, n = (
        row
    )
    return Note(
        id=str(note_id),
        owner=owner,
        content=str(content),
        meaning=read_meaning(str(meaning)),
        source=read_source(origin, speaker, satellite, room, turn_id),
        created=_number(created),
        event_time=None if event_time is None else _number(event_time),
        valid_to=None if valid_to is None else _number(valid_to),
        previous_id=str(previous),
        version=int(_number(n)),
    )


def write_meaning(meaning: Meaning) -> str:
    fields = [meaning.keywords, meaning.tags, meaning.context, meaning.subject, meaning.attribute]
    return json.dumps(fields, ensure_ascii=False)


def read_meaning(text: str) -> Meaning:
    keywords, tags, context, subject, attribute = json.loads(text)
    return Meaning(tuple(keywords), tuple(tags), context, subject, attribute)


def write_source(source: Source) -> tuple[str, str, str, str, str]:
    return str(source.origin), source.speaker, source.satellite, source.room, source.turn_id


def read_source(origin: object, speaker: object, satellite: object, room: object, turn_id: object) -> Source:
    return Source(Origin(str(origin)), str(speaker), str(satellite), str(room), str(turn_id))


def fact_key(subject: str, attribute: str) -> str | None:
    """Facts with the same key replace each other; None without a subject."""
    subject, attribute = " ".join(subject.casefold().split()), " ".join(attribute.casefold().split())
    return f"{subject}\n{attribute}" if subject else None


def same_key(note: NewNote) -> bytes:
    """The same words of the same speaker about the same time, however they are spaced, cased or ended."""
    said = " ".join(note.content.casefold().split()).rstrip(".!?… ")
    return hashlib.sha256(f"{note.source.speaker}\n{note.event_time}\n{said}".encode()).digest()[:16]


def words_of(content: str, meaning: Meaning) -> str:
    """What is searched of a note by words."""
    return "\n".join((content, *meaning.keywords, *meaning.tags))


def index_words(db: sqlite3.Connection, number: int, seq: int) -> None:
    """Write a note's row of the full-text table (anew): its own words, and a window with the note before it."""
    content, meaning, previous = db.execute(
        "SELECT n.content, n.meaning, p.content FROM note n LEFT JOIN note p ON p.seq = n.previous WHERE n.seq = ?",
        (seq,),
    ).fetchone()
    own = words_of(content, read_meaning(meaning))
    window = own if previous is None else f"{previous}\n{own}"
    table = schema.words(number)
    db.execute(f"INSERT OR REPLACE INTO {table} (rowid, content, window) VALUES (?, ?, ?)", (seq, own, window))  # noqa: S608


def owner_number(db: sqlite3.Connection, owner: Owner) -> int | None:
    """None for an owner that never had a note."""
    row = db.execute("SELECT number FROM tenant WHERE key = ?", (owner.key,)).fetchone()
    return None if row is None else int(row[0])


def ensure_owner(db: sqlite3.Connection, owner: Owner) -> int:
    number = owner_number(db, owner)
    if number is None:
        number = int(db.execute("INSERT INTO tenant (key) VALUES (?) RETURNING number", (owner.key,)).fetchone()[0])
        schema.create_words(db, number)
    return number


def space_number(db: sqlite3.Connection, space: Space) -> int | None:
    row = db.execute("SELECT number FROM space WHERE key = ?", (space.key,)).fetchone()
    return None if row is None else int(row[0])


def find(db: sqlite3.Connection, owner: Owner, note_id: str) -> Known | None:
    """A note of this owner."""
    row = db.execute(
        f"SELECT seq, version, meaning, valid_to FROM note WHERE tenant = {TENANT} AND id = ?",  # noqa: S608
        (owner.key, note_id),
    ).fetchone()
    return None if row is None else Known(row[0], row[1], read_meaning(row[2]), row[3])


def require(db: sqlite3.Connection, owner: Owner, note_id: str) -> Known:
    """A note of this owner; MemoryStoreError when it has none with this id."""
    known = find(db, owner, note_id)
    if known is None:
        raise MemoryStoreError(f"There is no memory {note_id[:LONGEST_NAME]!r}: list the memories to see their ids")
    return known


def chunks(ids: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Ids in portions for `IN (…)`, with the question marks that each needs."""
    unique = list(dict.fromkeys(ids))
    for begin in range(0, len(unique), _AT_ONCE):
        portion = unique[begin : begin + _AT_ONCE]
        yield ", ".join("?" * len(portion)), portion


def check_note(note: NewNote) -> None:
    """MemoryStoreError when it is empty, too long, or not text."""
    if not note.content.strip():
        raise MemoryStoreError("A memory cannot be empty: say what is to be remembered")
    _check_text("A memory", note.content, LONGEST_CONTENT)
    check_meaning(note.meaning)
    check_source(note.source)
    _check_text("The id of a memory", note.previous_id, LONGEST_NAME)
    for time in (note.created, note.event_time):
        check_time(time)


def check_meaning(meaning: Meaning) -> None:
    for name, words in (("keywords", meaning.keywords), ("tags", meaning.tags)):
        if len(words) > MOST_WORDS:
            raise MemoryStoreError(f"A memory has at most {MOST_WORDS} {name}: leave out the least important")
        for word in words:
            _check_text(f"Each of a memory's {name}", word, LONGEST_WORD)
    _check_text("The context of a memory", meaning.context, LONGEST_CONTEXT)
    _check_text("The subject of a memory", meaning.subject, LONGEST_NAME)
    _check_text("The attribute of a memory", meaning.attribute, LONGEST_NAME)


def check_source(source: Source) -> None:
    for text in write_source(source):
        _check_text("Each part of a memory's source", text, LONGEST_NAME)


def check_time(time: float | None) -> None:
    if time is not None and not math.isfinite(time):
        raise MemoryStoreError("A memory's time must be a number of seconds since 1970")


def check_strength(strength: float) -> None:
    if not (math.isfinite(strength) and 0.0 <= strength <= 1.0):
        raise MemoryStoreError("The strength of a link must be from 0 to 1")


def _check_text(what: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise MemoryStoreError(f"{what} may have {longest} characters, not {len(text)}: make it shorter")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise MemoryStoreError(f"{what} must be text; it has characters that are none")


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
