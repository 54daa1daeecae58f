"""Chroma as index: a database in a folder, or a server.

Measured with 1.5.9: a process that dies within a flush of its index can leave a collection that raises at every count
and add, for good; cut-off index files end or hang the whole process when they are read; a second process on the folder
does not see what the first adds; what is deleted stays in its files. So it only has ids and vectors, one process opens
it, and files that are not exactly as they were when it was closed in good order are thrown away and made anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from handlers.agent.memory.collection import collection_name
from handlers.agent.memory.stage import MemoryStoreError, Owner, Space, Vector, Vectors
from handlers.errors import MissingExtraError
from handlers.locking import InUseError, lock_file

try:
    import chromadb
    import chromadb.api
    import chromadb.config
    import chromadb.errors
    import httpx
    from chromadb.api.client import Client
    from chromadb.api.collection_configuration import CreateCollectionConfiguration, CreateHNSWConfiguration
except ImportError:
    raise MissingExtraError("Chroma", "memory") from None

_BATCH = 500
"""Vectors per call: under a tenth of what Chroma takes, and a search in between does not wait long."""

_SECONDS = 5.0
"""For one call to a server: a batch takes a fifth of a second. Searches give up earlier; this is for their thread."""

_LONGEST_SUMS = 1 << 20
"""Bytes of the lock file: a line for each file, a handful for each owner."""

_FILE = "chroma.sqlite3"

_VACUUM_SECONDS = 10.0
"""For Chroma's own short transactions on its file."""

_M_PERTURB = -6
"""The option of glibc's mallopt, from its malloc.h."""

_FILL = 0x5A
"""Any value but 0. Filling costs a few percent of what else the process does, so it is on in Chroma's calls only."""

_CONFIGURATION = CreateCollectionConfiguration(hnsw=CreateHNSWConfiguration(space="cosine"))


class ChromaIndex:
    """Vectors in a folder, which it owns, or on the Chroma server at `url` (with its bearer token, if it wants one)."""

    name = "chroma"

    def __init__(self, folder: Path, url: str = "", token: str = "", household: str = "") -> None:
        """`household` is whose it is among those of a server. Raises MemoryStoreError when the folder is in use or the
        server does not answer."""
        self._household = household
        self._folder = None if url else folder
        self._lock = -1
        self._sessions: list[httpx.Client] = []
        self._collections: dict[str, chromadb.Collection] = {}
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        with self._working():
            if self._folder is None:
                self._client, self._sessions = _connect(url, token, settings)
                return
            self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(self._folder.with_name(f"{self._folder.name}.lock"))
            try:
                if self._folder.exists() and os.read(self._lock, _LONGEST_SUMS) != _sums(self._folder):
                    shutil.rmtree(self._folder)
                os.ftruncate(self._lock, 0)  # until it is closed, nobody knows what its files should be
                os.fsync(self._lock)
                self._client = chromadb.PersistentClient(self._folder, settings=settings)
            except BaseException:
                os.close(self._lock)
                raise

    def put(self, owner: Owner, space: Space, ids: Sequence[str], vectors: Vectors) -> None:
        with self._working():
            collection = self._collection(owner, space)
            for start in range(0, len(ids), _BATCH):
                part = slice(start, start + _BATCH)
                collection.upsert(ids=list(ids[part]), embeddings=vectors[part])

    def remove(self, owner: Owner, space: Space, ids: Sequence[str]) -> None:
        with self._working():
            collection = self._known(owner, space)
            if collection is None:
                return
            for start in range(0, len(ids), _BATCH):
                collection.delete(ids=list(ids[start : start + _BATCH]))

    def search(self, owner: Owner, space: Space, vector: Vector, limit: int) -> list[tuple[str, float]]:
        with self._working():
            collection = self._known(owner, space)
            if collection is None:
                return []
            found = collection.query(query_embeddings=[vector.tolist()], n_results=limit, include=["distances"])
        distances = found["distances"] or [[]]
        return [(note_id, 1 - distance) for note_id, distance in zip(found["ids"][0], distances[0], strict=True)]

    def count(self, owner: Owner, space: Space) -> int:
        with self._working():
            collection = self._known(owner, space)
            return 0 if collection is None else collection.count()

    def drop(self, owner: Owner, space: Space | None = None) -> None:
        """On a server, what is left in its files is that server's affair."""
        start = collection_name(owner, space, self._household)
        with self._working():
            for collection in self._client.list_collections():
                if collection.name.startswith(start):
                    self._client.delete_collection(collection.name)
                    self._collections.pop(collection.name, None)
            if self._folder is not None:
                _remove_traces(self._folder)

    def close(self) -> None:
        """Without it, the folder is made anew by the next owner."""
        self._collections.clear()
        with contextlib.suppress(Exception):  # it is then made anew
            for session in self._sessions:
                session.close()
            if isinstance(self._client, Client):  # the only kind there is; its interface lacks the method
                self._client.close()
            if self._lock >= 0:
                assert self._folder is not None
                os.pwrite(self._lock, _sums(self._folder), 0)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _working(self) -> contextlib.AbstractContextManager[None]:
        return _working(files=self._folder is not None)

    def _collection(self, owner: Owner, space: Space) -> chromadb.Collection:
        name = collection_name(owner, space, self._household)
        if name not in self._collections:
            self._collections[name] = self._client.get_or_create_collection(
                name, configuration=_CONFIGURATION, embedding_function=None
            )
        return self._collections[name]

    def _known(self, owner: Owner, space: Space) -> chromadb.Collection | None:
        """The collection if there is one: who only asks makes none."""
        name = collection_name(owner, space, self._household)
        if name not in self._collections:
            try:
                self._collections[name] = self._client.get_collection(name, embedding_function=None)
            except chromadb.errors.NotFoundError:
                return None
        return self._collections[name]


def _connect(
    url: str, token: str, settings: chromadb.config.Settings
) -> tuple[chromadb.api.ClientAPI, list[httpx.Client]]:
    """A client of a server, and its connections."""
    # Chroma waits for ever, so ask first whether anybody is there, and give its own client a deadline afterwards.
    httpx.get(f"{url}/api/v2/heartbeat", timeout=_SECONDS, trust_env=False).raise_for_status()
    parts = urlsplit(url)
    client = chromadb.HttpClient(
        host=parts.hostname or "localhost",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        ssl=parts.scheme == "https",
        headers={"Authorization": f"Bearer {token}"} if token else None,
        settings=settings,
    )
    servers = [getattr(of, "_server", None) for of in (client, getattr(client, "_admin_client", None))]
    sessions = [getattr(server, "_session", None) for server in servers]
    found = [session for session in sessions if isinstance(session, httpx.Client)]
    for session in found:
        session.timeout = httpx.Timeout(_SECONDS)
    return client, found


def _sums(folder: Path) -> bytes:
    """A line for each file below: checksum, size, name. 50 ms for 50 000 vectors."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        lines.append(f"{zlib.crc32(content):08x} {len(content)} {path.relative_to(folder)}\n")
    return "".join(lines).encode()


def _remove_traces(folder: Path) -> None:
    """Take out what Chroma leaves of a deleted collection: its folder, and free pages in the database."""
    with contextlib.closing(sqlite3.connect(folder / _FILE, timeout=_VACUUM_SECONDS)) as database:
        used = {name for (name,) in database.execute("SELECT id FROM segments")}
        for path in folder.iterdir():
            if path.is_dir() and path.name not in used:
                shutil.rmtree(path)
        database.execute("VACUUM")


def _lock(path: Path) -> int:
    try:
        return lock_file(path, sign=False)  # it holds the sums of the files
    except InUseError:
        raise MemoryStoreError(f"Another process has the memory's index open ({path}): stop it first") from None


@contextlib.contextmanager
def _working(*, files: bool) -> Iterator[None]:
    """Errors become ours. With `files`, the memory that Chroma is handed has nothing of before in it: it writes all the
    room of an index to disk, used or not, and forgotten vectors were found in there."""
    if files:
        _fill_memory(_FILL)
    try:
        yield
    except MemoryStoreError:
        raise
    except Exception as error:  # Chroma raises its own, SQLite's, httpx's, ValueError and bare Exceptions
        raise MemoryStoreError(f"The Chroma index does not work ({type(error).__name__}: {error})") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of its Rust core; not an Exception
            raise
        raise MemoryStoreError(f"The Chroma index does not work ({error})") from None
    finally:
        if files:
            _fill_memory(0)


def _fill_memory(value: int) -> None:
    """What the C library fills memory with when it hands it out; 0 leaves in it what was there. Only glibc can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_PERTURB, value)
