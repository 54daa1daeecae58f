"""Export and import: an owner's notes as lines of JSON, with versions, links, times, sources and, if wanted, vectors.

The first line says what the file is, the last one holds counts and the SHA-256 of all lines before it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from handlers.agent.memory.exported import End, Header, Record
from handlers.agent.memory.heuristics import find_secret_of_note
from handlers.agent.memory.journal import Adopted, Journal, Version
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Link,
    LinkKind,
    MemoryStoreError,
    Note,
    Owner,
    Space,
)

FORMAT = "meadowlark-memory"
VERSION = 1

_PAGE = 100
"""Notes that an export reads at once; the store is not held in between."""

_LONGEST_LINE = 4 * 1024 * 1024
"""Bytes; a note at its limits with 250 versions at theirs."""

_MOST_NOTES = 200_000
"""Ten times what a household says in years."""

_VECTORS_AT_ONCE = 500


class BadFileError(MemoryStoreError):
    """A file that is no export, or was changed since."""


@dataclass(frozen=True)
class Imported:
    """What became of the notes of a file."""

    notes: int
    """New here."""
    known: int
    """Were here already; nothing was changed."""
    forgotten: int
    """Were forgotten here, and stay so."""
    secret: int
    """Hold a code, a card number or the like, which is not kept."""
    vectors: int


def export_lines(journal: Journal, owner: Owner, space: Space | None = None) -> Iterator[str]:
    """An owner's memory, line by line, with the vectors of a space. Notes may come and go meanwhile."""
    digest = hashlib.sha256()
    counts = {"notes": 0, "links": 0, "vectors": 0}

    def line(what: Mapping[str, object]) -> str:
        text = json.dumps(what, ensure_ascii=False, separators=(",", ":")) + "\n"
        digest.update(text.encode())
        return text

    header = {"format": FORMAT, "version": VERSION, "tenant": owner.key, "exported": time.time()}
    yield line({**header, "space": asdict(space) if space else None})
    ids: dict[str, None] = {}
    after = ""
    while page := journal.page(owner, after=after, limit=_PAGE):
        after = page[-1].id
        for note in page:
            versions = journal.versions(owner, note.id)
            if versions:  # not forgotten since
                ids[note.id] = None
                counts["notes"] += 1
                yield line({"note": _write_note(note, versions)})
    everything = list(ids)
    for begin in range(0, len(everything), _PAGE):
        portion = everything[begin : begin + _PAGE]
        own = set(portion)
        for link in journal.links(owner, portion):
            if link.first in own and link.second in ids:
                counts["links"] += 1
                yield line({"link": asdict(link)})
    if space:
        stale = {note.id for note in journal.without_vector(owner, space, _MOST_NOTES)}
        for note_id, vector in zip(*journal.vectors(owner, space), strict=True):
            if note_id in ids and note_id not in stale:
                counts["vectors"] += 1
                data = base64.b64encode(vector.astype("<f4").tobytes()).decode()
                yield line({"vector": {"note": note_id, "data": data}})
    yield json.dumps({"end": {**counts, "sha256": digest.hexdigest()}}, separators=(",", ":")) + "\n"


def export_file(journal: Journal, owner: Owner, path: Path, space: Space | None = None) -> None:
    """Write a file that only its owner may read; it replaces `path` when it is complete. Raises MemoryStoreError."""
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.writelines(export_lines(journal, owner, space))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise MemoryStoreError(
            f"The memory cannot be exported to {path} ({error.strerror or error}): choose another place"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def import_file(journal: Journal, owner: Owner, path: Path) -> Imported:
    """Take over the notes of a file into this owner, whoever's they were; all of them or, with an error, none.

    Doing it again changes nothing. Notes of another owner get ids of their own, always the same ones. Raises
    BadFileError with the number of the line that is wrong, MemoryStoreError where the memory cannot take it.
    """
    try:
        header = _check(path)
        foreign = header.tenant != owner.key
        secret = 0
        notes: list[Adopted] = []  # some hundred megabytes for the largest file, for as long as this takes
        links: list[Link] = []

        def own(note_id: str) -> str:
            if not (foreign and note_id):
                return note_id
            return hashlib.sha256(f"{owner.key}\n{note_id}".encode()).hexdigest()[:16]

        # All of it before the journal begins: nobody can remember anything while it writes.
        for record in _records(path):
            if record.note:
                adopted = record.note.adopted(owner)
                if _has_secret(adopted):
                    secret += 1
                else:
                    notes.append(_renamed(adopted, own) if foreign else adopted)
            elif record.link:
                link = record.link
                links.append(Link(own(link.first), own(link.second), LinkKind(link.kind), link.strength))
        new, known, forgotten = journal.adopt(owner, notes, links)
        vectors = 0
        if header.space:
            vectors = _import_vectors(journal, owner, path, header.space.space(), own, set(new))
        return Imported(len(new), known, forgotten, secret, vectors)
    except OSError as error:
        raise MemoryStoreError(f"{path} cannot be read ({error.strerror or error}): choose another file") from None


def _check(path: Path) -> Header:
    """Read the whole file once; raises BadFileError for the first line that is wrong."""
    digest = hashlib.sha256()
    ids: set[str] = set()
    counts = {"notes": 0, "links": 0, "vectors": 0}
    header: Header | None = None
    end: End | None = None
    space: Space | None = None
    for number, line in _lines(path):
        try:
            if end:
                raise MemoryStoreError("there must be nothing behind the last line")
            if header is None:
                header = Header.model_validate_json(line)
                Owner.parse(header.tenant)
                space = header.space.space() if header.space else None
                digest.update(line)
                continue
            record = Record.model_validate_json(line)
            if len(record.model_fields_set) != 1:
                raise MemoryStoreError("it must be one of note, link, vector and end")
            if record.note:
                record.note.adopted(HOUSEHOLD)
                if record.note.id in ids:
                    raise MemoryStoreError("this note was in the file before")
                ids.add(record.note.id)
                counts["notes"] += 1
                if len(ids) > _MOST_NOTES:
                    raise MemoryStoreError(f"a file may have {_MOST_NOTES} notes")
            elif record.link:
                if record.link.first == record.link.second or not {record.link.first, record.link.second} <= ids:
                    raise MemoryStoreError("a link must be between two notes of the file, which stand before it")
                counts["links"] += 1
            elif record.vector:
                if space is None or record.vector.note not in ids:
                    raise MemoryStoreError("a vector must be of a note of the file, and the first line tell its space")
                record.vector.vector(space)
                counts["vectors"] += 1
            end = record.end
            if end is None:
                digest.update(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise BadFileError(f"Line {number} of {path.name} is not right: {where}: {first['msg']}") from None
        except ValueError:
            raise BadFileError(f"Line {number} of {path.name} is not right: there is no such tenant") from None
        except MemoryStoreError as error:
            raise BadFileError(f"Line {number} of {path.name} is not right: {error}") from None
    if header is None or end is None:
        raise BadFileError(f"{path.name} is not complete: its last line, with the checksum, is missing; export again")
    if end.sha256 != digest.hexdigest() or counts != end.model_dump(exclude={"sha256"}):
        raise BadFileError(f"{path.name} was changed or damaged since it was exported: export again")
    return header


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise BadFileError(f"Line {number} of {path.name} is longer than any that was exported")
            yield number, line


def _records(path: Path) -> Iterator[Record]:
    """All lines but the first, once they were checked."""
    for number, line in _lines(path):
        if number > 1:
            yield Record.model_validate_json(line)


def _has_secret(adopted: Adopted) -> bool:
    """In its words, or in what any version knows about it."""
    meanings = dict.fromkeys(version.meaning for version in adopted.versions)
    return any(find_secret_of_note(adopted.note.content, meaning) is not None for meaning in meanings)


def _renamed(adopted: Adopted, own: Callable[[str], str]) -> Adopted:
    note = replace(adopted.note, id=own(adopted.note.id), previous_id=own(adopted.note.previous_id))
    versions = (replace(v, because=tuple(own(cause) for cause in v.because)) for v in adopted.versions)
    return Adopted(note, tuple(versions))


def _import_vectors(
    journal: Journal, owner: Owner, path: Path, space: Space, own: Callable[[str], str], new: set[str]
) -> int:
    """Vectors of the notes that are new; a note without one is embedded later."""
    count = 0
    ids: list[str] = []
    data: list[bytes] = []

    def put() -> None:
        vectors = np.frombuffer(b"".join(data), "<f4").reshape(len(ids), space.dimensions)
        journal.put_vectors(owner, space, ids, vectors)
        ids.clear()
        data.clear()

    for record in _records(path):
        if record.vector and own(record.vector.note) in new:
            ids.append(own(record.vector.note))
            data.append(record.vector.vector(space))
            count += 1
            if len(ids) == _VECTORS_AT_ONCE:
                put()
    put()
    return count


def _write_note(note: Note, versions: list[Version]) -> Mapping[str, object]:
    return {
        "id": note.id,
        "content": note.content,
        "source": asdict(note.source),
        "created": note.created,
        "event_time": note.event_time,
        "previous_id": note.previous_id,
        "versions": [asdict(version) for version in versions],
    }
