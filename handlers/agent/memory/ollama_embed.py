"""Text to vectors by an Ollama server. Slower than the built-in model, but there are models for every language."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from handlers.agent.memory.embed_settings import OllamaEmbedSettings
from handlers.agent.memory.stage import MemoryStoreError, Space, Vector, Vectors
from handlers.errors import MissingExtraError

try:
    import httpx
except ImportError:
    raise MissingExtraError("The Ollama client", "server") from None

_FAILURES = (
    *(OSError, TimeoutError, httpx.HTTPError),
    *(ValueError, TypeError, KeyError, AttributeError),  # an answer that is not what Ollama documents
)

_PREFIXES = {"nomic-embed-text": ("search_document: ", "search_query: ")}
"""What models were trained to see before a note and before a question; Ollama does not add it."""

_BATCH = 32
"""Notes in one request; an Ollama on a small machine takes a second for them."""

_START_SECONDS = 60.0
"""For the first request and for batches: the model may have to be loaded. Nobody waits for either."""

_TINY = 1e-12
"""Keeps a vector of zeros from a division by zero."""


class OllamaEmbedder:
    """A model of an Ollama server, which may be away: it is asked again by each `embed_notes`."""

    def __init__(self, settings: OllamaEmbedSettings) -> None:
        """Costs nothing until it is asked."""
        known = _PREFIXES.get(settings.model.partition(":")[0].rpartition("/")[2], ("", ""))
        note = known[0] if settings.note_prefix is None else settings.note_prefix
        self._query_prefix = known[1] if settings.query_prefix is None else settings.query_prefix
        self._settings = settings
        self._space = Space(settings.model, "", 0, note)
        self.unavailable = f"The Ollama at {settings.url} has not answered yet with '{settings.model}'"
        # Not `ollama.AsyncClient`: it follows redirects out of the house and sends the OLLAMA_API_KEY to any server.
        self._http = httpx.AsyncClient(
            base_url=str(settings.url).rstrip("/"),
            timeout=_START_SECONDS,
            follow_redirects=False,
            # Of our own, because the default one sends even 127.0.0.1 through the proxy of the environment.
            transport=httpx.AsyncHTTPTransport(),
        )

    @classmethod
    async def connect(cls, settings: OllamaEmbedSettings) -> OllamaEmbedder:
        """One that is there. MemoryStoreError when the server has no such model, or does not answer."""
        embedder = cls(settings)
        try:
            await embedder.reach()
        except BaseException:
            await embedder.close()
            raise
        return embedder

    async def reach(self) -> None:
        """Ask the server for its model, which loads it, and learn what space its vectors are in; nothing to do when
        that is known. MemoryStoreError as in `connect`; `unavailable` then says why, and is empty afterwards."""
        if not self.unavailable:
            return
        settings = self._settings
        try:
            async with asyncio.timeout(_START_SECONDS):
                digest = await self._digest()
                vectors = await self._embed([f"{self._space.prefix}The first call says how long a vector is."])
        except MemoryStoreError as error:
            self.unavailable = str(error)
            raise
        except _FAILURES as error:
            self.unavailable = (
                f"The Ollama at {settings.url} does not embed with '{settings.model}' ({_reason(error)}): "
                "start it, or choose the built-in embedding model"
            )
            raise MemoryStoreError(self.unavailable) from error
        self._space = Space(settings.model, digest, vectors.shape[1], self._space.prefix)
        self.unavailable = ""

    @property
    def space(self) -> Space:
        """Without dimensions until the server was reached."""
        return self._space

    async def embed_notes(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimensions). Reaches the server first if need be."""
        await self.reach()
        found = [np.zeros((0, self._space.dimensions), np.float32)]
        for start in range(0, len(texts), _BATCH):
            batch = [self._space.prefix + text for text in texts[start : start + _BATCH]]
            found.append(await self._ask(batch, _START_SECONDS))
        return np.concatenate(found)

    async def embed_query(self, text: str) -> Vector:
        """Shape (dimensions,). MemoryStoreError also when it is late, or was not reached yet."""
        if self.unavailable:
            raise MemoryStoreError(self.unavailable)
        vectors = await self._ask([self._query_prefix + text], self._settings.query_ms / 1000)
        vector: Vector = vectors[0]
        return vector

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _ask(self, texts: Sequence[str], seconds: float) -> Vectors:
        try:
            async with asyncio.timeout(seconds):
                vectors = await self._embed(texts)
        except _FAILURES as error:
            raise MemoryStoreError(f"Ollama did not embed: {_reason(error)}") from error
        if vectors.shape != (len(texts), self._space.dimensions):
            raise MemoryStoreError(
                f"Ollama's model '{self._settings.model}' was exchanged while the server ran: restart the server"
            )
        return vectors

    async def _digest(self) -> str:
        """Of the model, as the server lists it."""
        answer = (await self._http.get("/api/tags")).raise_for_status().json()
        for model in answer["models"]:
            if _same(self._settings.model, model["name"]):
                return str(model["digest"])
        raise MemoryStoreError(
            f"The Ollama at {self._settings.url} has no model '{self._settings.model}': "
            f"run  ollama pull {self._settings.model}"
        )

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        asked = {
            "model": self._settings.model,
            "input": list(texts),
            "truncate": True,
            "keep_alive": self._settings.keep_alive,
        }
        answer = (await self._http.post("/api/embed", json=asked)).raise_for_status().json()
        vectors = np.array(answer["embeddings"], np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ValueError("it did not send one vector for each text")
        unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
        return unit


def _same(wanted: str, listed: object) -> bool:
    """'nomic-embed-text' is 'nomic-embed-text:latest'."""
    return listed in (wanted, f"{wanted}:latest")


def _reason(error: Exception) -> str:
    return "it was late" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
