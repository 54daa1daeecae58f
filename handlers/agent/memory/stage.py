"""What the memory is: notes of an owner, with versions, links, vectors; and what may index them.

The terms are those of A-MEM (Xu et al. 2025, arXiv 2502.12110): a note has content, time, keywords, tags, a context of
one sentence, an embedding and links. Unlike in its reference code, content never changes, every change of the rest is a
new version that can be undone, and links are made of real ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.errors import MeadowlarkError

Vector = NDArray[np.float32]
"""Shape (dimensions,), of length one."""

Vectors = NDArray[np.float32]
"""Shape (notes, dimensions), each of length one."""

LONGEST_CONTENT = 2000
"""Characters of one note. A spoken fact has a tenth."""


class MemoryStoreError(MeadowlarkError):
    """The memory cannot be read or written. A turn goes on without it."""

    code = "memory"


class OwnerKind(StrEnum):
    """Whose memories there are."""

    HOUSEHOLD = "household"
    """What everybody may know; an unknown voice has only this."""
    PERSON = "person"
    GUEST = "guest"
    SATELLITE = "satellite"


@dataclass(frozen=True)
class Owner:
    """One memory. Nothing in it is ever shown to another; every call names its owner, there is no default."""

    kind: OwnerKind
    name: str = ""
    """Empty for the household, else the id of the person, guest or satellite."""

    def __post_init__(self) -> None:
        if (self.kind is OwnerKind.HOUSEHOLD) != (self.name == ""):
            raise ValueError("the household has no name, every other owner has one")

    @property
    def key(self) -> str:
        """As it is stored: 'household', 'person:anna'."""
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)

    @classmethod
    def parse(cls, key: str) -> Owner:
        """The owner of a key; ValueError when it is none."""
        kind, _, name = key.partition(":")
        return cls(OwnerKind(kind), name)


HOUSEHOLD = Owner(OwnerKind.HOUSEHOLD)


class Origin(StrEnum):
    """How a note or a version came to be."""

    SAID = "said"
    """Somebody asked that it be remembered."""
    DISTILLED = "distilled"
    """A language model took it from a conversation."""
    EVOLVED = "evolved"
    """A language model saw it in the light of a newer note."""
    API = "api"
    IMPORTED = "imported"


@dataclass(frozen=True)
class Source:
    """Where something comes from: answers 'who told you that?'."""

    origin: Origin
    speaker: str = ""
    """The person's id; empty for an unknown voice."""
    satellite: str = ""
    room: str = ""
    turn_id: str = ""


@dataclass(frozen=True)
class Meaning:
    """What is known about a note beside its content. It may be written anew; each writing is a version."""

    keywords: tuple[str, ...] = ()
    """Most important first."""
    tags: tuple[str, ...] = ()
    """Broad categories."""
    context: str = ""
    """One sentence: topic, purpose."""
    subject: str = ""
    """What the fact is about, normalised: 'garage code'. With `attribute` it says which facts replace each other."""
    attribute: str = ""


@dataclass(frozen=True)
class NewNote:
    """What is to be remembered."""

    content: str
    source: Source
    meaning: Meaning = Meaning()
    created: float | None = None
    """Seconds since 1970; None is now."""
    event_time: float | None = None
    """When what it tells of happens or happened."""
    previous_id: str = ""
    """The note of the turn before in the same conversation; searched together with this one."""


@dataclass(frozen=True)
class Note:
    """A note as it stands."""

    id: str
    owner: Owner
    content: str
    """Never changes."""
    meaning: Meaning
    source: Source
    created: float
    event_time: float | None = None
    valid_to: float | None = None
    """From when on something newer is true instead; None while it holds."""
    previous_id: str = ""
    version: int = 1

    def holds(self, at: float) -> bool:
        """Whether it was not yet replaced at a time."""
        return self.valid_to is None or at < self.valid_to


class LinkKind(StrEnum):
    """How one note belongs to another."""

    SIMILAR = "similar"
    """By embedding; no language model looked at it."""
    RELATED = "related"
    """A language model says so."""
    REPLACES = "replaces"
    """The first is the newer truth."""
    SAME_EVENT = "same-event"


@dataclass(frozen=True)
class Link:
    """From one note to another of the same owner; it goes when either does."""

    first: str
    second: str
    kind: LinkKind
    strength: float = 1.0


@dataclass(frozen=True)
class Space:
    """Where vectors can be compared: one model, in one state, used in one way. Spaces are never mixed."""

    model: str
    digest: str
    """Of the model's file, as far as it is known."""
    dimensions: int
    prefix: str = ""
    """What is put before a note, where the model wants it."""

    @property
    def key(self) -> str:
        return f"{self.model}@{self.digest[:12]}/{self.dimensions}{'+' + self.prefix.strip() if self.prefix else ''}"


class Embedder(Protocol):
    """Text to vectors."""

    @property
    def space(self) -> Space: ...

    async def embed_notes(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts that are to be found. Shape (len(texts), dimensions). Raises MemoryStoreError."""

    async def embed_query(self, text: str) -> Vector:
        """The vector of what is looked for. Raises MemoryStoreError. A few milliseconds for the built-in model."""

    async def close(self) -> None: ...


class VectorIndex(Protocol):
    """Finds near vectors of one owner. Derived: it can be made again from the journal at any time.

    Its calls block; one thread owns it. Raises MemoryStoreError when it is damaged.
    """

    @property
    def name(self) -> str:
        """'numpy', 'chroma', 'qdrant'."""

    def put(self, owner: Owner, space: Space, ids: Sequence[str], vectors: Vectors) -> None:
        """Add or replace."""

    def remove(self, owner: Owner, space: Space, ids: Sequence[str]) -> None:
        """Take out; unknown ids do not matter."""

    def search(self, owner: Owner, space: Space, vector: Vector, limit: int) -> list[tuple[str, float]]:
        """Ids and cosine similarities, best first."""

    def count(self, owner: Owner, space: Space) -> int:
        """Vectors held; raises MemoryStoreError when the index cannot be used (Chroma says so only here)."""

    def drop(self, owner: Owner, space: Space | None = None) -> None:
        """Forget an owner's vectors without a trace on disk; of every space when None."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Query:
    """What is looked for, by whom."""

    text: str
    previous: str = ""
    """The turn before, for a question that goes on from it."""
    speaker: str = ""
    room: str = ""
    at: float | None = None
    """The time of the question; None is now."""
    past: bool = False
    """Asks for what was true before ("what was the code?"): facts that have been replaced count as well."""


@dataclass(frozen=True)
class Recalled:
    """A note that may help, and why it was found."""

    note: Note
    score: float
    """0 to 1 within one query."""
    parts: Mapping[str, float]
    """The terms of the score: 'vector', 'lexical', 'speaker', 'room', 'recency', 'link'."""


Index = Literal["auto", "numpy", "chroma", "qdrant"]
