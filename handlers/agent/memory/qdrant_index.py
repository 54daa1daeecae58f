"""Qdrant as index: a server, or the library's own store in a folder."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from handlers.agent.memory.collection import collection_name
from handlers.agent.memory.stage import MemoryStoreError, Owner, Space, Vector, Vectors
from handlers.errors import MissingExtraError

try:
    from qdrant_client import QdrantClient, models
except ImportError:
    raise MissingExtraError("Qdrant", "qdrant") from None

_BATCH = 500
"""Vectors per call: 800 KB, far under a server's limit of 32 MB."""

_SECONDS = 5
"""For one call to a server. A search gives up much earlier, but its thread must not hang."""

_ID = "note"


class QdrantIndex:
    """Vectors on the Qdrant server at `url`, or in `folder` when it is empty (slow beyond 10 000 notes)."""

    name = "qdrant"

    def __init__(self, folder: Path, url: str = "", api_key: str = "", household: str = "") -> None:
        """`household` is whose it is among those of a server. Raises MemoryStoreError."""
        self._household = household
        with _explained():
            if url:
                self._client = QdrantClient(
                    url=url, api_key=api_key or None, timeout=_SECONDS, check_compatibility=False
                )
                self._client.get_collections()  # says now that nobody is there
            else:
                self._client = QdrantClient(path=str(folder))
        self._known: set[str] = set()

    def put(self, owner: Owner, space: Space, ids: Sequence[str], vectors: Vectors) -> None:
        with _explained():
            name = self._collection(owner, space)
            for start in range(0, len(ids), _BATCH):
                points = [
                    models.PointStruct(id=_point(note_id), vector=vector.tolist(), payload={_ID: note_id})
                    for note_id, vector in zip(
                        ids[start : start + _BATCH], vectors[start : start + _BATCH], strict=True
                    )
                ]
                self._client.upsert(name, points, wait=True)

    def remove(self, owner: Owner, space: Space, ids: Sequence[str]) -> None:
        with _explained():
            points: list[int | str | uuid.UUID] = [_point(note_id) for note_id in ids]
            if self._exists(name := collection_name(owner, space, self._household)):
                self._client.delete(name, models.PointIdsList(points=points), wait=True)

    def search(self, owner: Owner, space: Space, vector: Vector, limit: int) -> list[tuple[str, float]]:
        with _explained():
            if not self._exists(name := collection_name(owner, space, self._household)):
                return []
            found = self._client.query_points(name, query=vector.tolist(), limit=limit, with_payload=True)
        return [(str((point.payload or {})[_ID]), point.score) for point in found.points]

    def count(self, owner: Owner, space: Space) -> int:
        with _explained():
            name = collection_name(owner, space, self._household)
            return self._client.count(name, exact=True).count if self._exists(name) else 0

    def drop(self, owner: Owner, space: Space | None = None) -> None:
        start = collection_name(owner, space, self._household)
        with _explained():
            for collection in self._client.get_collections().collections:
                if collection.name.startswith(start):
                    self._client.delete_collection(collection.name)
                    self._known.discard(collection.name)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._client.close()

    def _collection(self, owner: Owner, space: Space) -> str:
        name = collection_name(owner, space, self._household)
        if not self._exists(name):
            size = models.VectorParams(size=space.dimensions, distance=models.Distance.COSINE)
            self._client.create_collection(name, vectors_config=size)
            self._known.add(name)
        return name

    def _exists(self, name: str) -> bool:
        """Whether there is a collection: who only asks makes none."""
        if name not in self._known and self._client.collection_exists(name):
            self._known.add(name)
        return name in self._known


def _point(note_id: str) -> str:
    """Qdrant's ids are numbers or UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, note_id))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # its own, httpx's, grpc's, ValueError, RuntimeError: no common class
        raise MemoryStoreError(f"The Qdrant index does not work ({type(error).__name__}: {error})") from error
