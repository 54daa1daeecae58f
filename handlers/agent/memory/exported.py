"""The lines of an exported memory, and what each may hold at most."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from handlers.agent.memory import rows
from handlers.agent.memory.rows import Version
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
from handlers.agent.memory.writes import Adopted

MOST_VERSIONS = 10_000
"""Of one note; the background work writes a few in its life."""

UNIT = 0.01
"""How far from 1 the length of a vector may be, after rounding."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Name = Annotated[str, Field(max_length=rows.LONGEST_NAME)]
_Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
_Words = Annotated[list[Annotated[str, Field(max_length=rows.LONGEST_WORD)]], Field(max_length=rows.MOST_WORDS)]
_Time = Annotated[float, Field(allow_inf_nan=False)]


class SpaceLine(_Strict):
    model: _Name
    digest: _Name
    dimensions: Annotated[int, Field(ge=1, le=8192)]
    prefix: _Name

    def space(self) -> Space:
        return Space(self.model, self.digest, self.dimensions, self.prefix)


class Header(_Strict):
    format: Literal["meadowlark-memory"]
    version: Literal[1]
    tenant: Annotated[str, Field(max_length=rows.LONGEST_NAME)]
    """Whose they were: the key of an owner, under the name that files have had since the first version."""
    exported: _Time
    space: SpaceLine | None


class SourceLine(_Strict):
    origin: Literal["said", "distilled", "evolved", "api", "imported"]
    speaker: _Name
    satellite: _Name
    room: _Name
    turn_id: _Name

    def source(self) -> Source:
        return Source(Origin(self.origin), self.speaker, self.satellite, self.room, self.turn_id)


class MeaningLine(_Strict):
    keywords: _Words
    tags: _Words
    context: Annotated[str, Field(max_length=rows.LONGEST_CONTEXT)]
    subject: _Name
    attribute: _Name


class VersionLine(_Strict):
    number: int
    meaning: MeaningLine
    valid_to: _Time | None
    source: SourceLine
    at: _Time
    restores: int | None
    because: Annotated[list[_Id], Field(max_length=100)]

    def adopted(self) -> Version:
        meaning = self.meaning
        return Version(
            self.number,
            Meaning(tuple(meaning.keywords), tuple(meaning.tags), meaning.context, meaning.subject, meaning.attribute),
            self.valid_to,
            self.source.source(),
            self.at,
            self.restores,
            tuple(self.because),
        )


class NoteLine(_Strict):
    id: _Id
    content: Annotated[str, Field(max_length=LONGEST_CONTENT)]
    source: SourceLine
    created: _Time
    event_time: _Time | None
    previous_id: Annotated[str, Field(max_length=64)]
    versions: Annotated[list[VersionLine], Field(min_length=1, max_length=MOST_VERSIONS)]

    def adopted(self, owner: Owner) -> Adopted:
        """Raises MemoryStoreError for versions that cannot have come one after the other."""
        versions = tuple(version.adopted() for version in self.versions)
        for number, version in enumerate(versions, 1):
            if version.number != number or not (version.restores is None or 1 <= version.restores < number):
                raise MemoryStoreError("the versions must be numbered from 1, and restore only older ones")
        last = versions[-1]
        note = Note(
            id=self.id,
            owner=owner,
            content=self.content,
            meaning=last.meaning,
            source=self.source.source(),
            created=self.created,
            event_time=self.event_time,
            valid_to=last.valid_to,
            previous_id=self.previous_id,
            version=last.number,
        )
        rows.check_note(
            NewNote(note.content, note.source, note.meaning, note.created, note.event_time, note.previous_id)
        )
        for version in versions:
            rows.check_meaning(version.meaning)
            rows.check_source(version.source)
        return Adopted(note, versions)


class LinkLine(_Strict):
    first: _Id
    second: _Id
    kind: Literal["similar", "related", "replaces", "same-event"]
    strength: Annotated[float, Field(ge=0, le=1)]


class VectorLine(_Strict):
    note: _Id
    data: str

    def vector(self, space: Space) -> bytes:
        """Little-endian float32 of length one. Raises MemoryStoreError."""
        try:
            data = base64.b64decode(self.data, validate=True)
        except ValueError:
            raise MemoryStoreError("the vector must be base64") from None
        if len(data) != 4 * space.dimensions:
            raise MemoryStoreError(f"the vector must have {space.dimensions} dimensions")
        length = float(np.linalg.norm(np.frombuffer(data, "<f4")))
        if not abs(length - 1.0) <= UNIT:  # also when it is not a number
            raise MemoryStoreError("the vector must be of length one")
        return data


class End(_Strict):
    notes: int
    links: int
    vectors: int
    sha256: str


class Record(_Strict):
    note: NoteLine | None = None
    link: LinkLine | None = None
    vector: VectorLine | None = None
    end: End | None = None
