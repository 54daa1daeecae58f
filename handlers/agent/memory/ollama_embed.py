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
    import ollama
except ImportError:
    raise MissingExtraError("The Ollama client", "server") from None

_FAILURES = (
    *(OSError, TimeoutError, httpx.HTTPError, ollama.ResponseError),
    *(ValueError, TypeError, AttributeError),  # an answer that is not what Ollama documents
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
    """A model of an Ollama server; made by `connect`, which learns what space its vectors are in."""

    def __init__(self, settings: OllamaEmbedSettings, client: ollama.AsyncClient, space: Space, query: str) -> None:
        self._settings = settings
        self._client = client
        self._space = space
        self._query_prefix = query

    @classmethod
    async def connect(cls, settings: OllamaEmbedSettings) -> OllamaEmbedder:
        """Ask the server for its model; loads it. MemoryStoreError when it has none, or does not answer."""
        known = _PREFIXES.get(settings.model.partition(":")[0].rpartition("/")[2], ("", ""))
        note = known[0] if settings.note_prefix is None else settings.note_prefix
        query = known[1] if settings.query_prefix is None else settings.query_prefix
        # A transport of our own, because the default one sends even 127.0.0.1 through the proxy of the environment.
        client = ollama.AsyncClient(
            host=str(settings.url).rstrip("/"), timeout=_START_SECONDS, transport=httpx.AsyncHTTPTransport()
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                listed = await client.list()
                digest = next((model.digest for model in listed.models if _same(settings.model, model.model)), None)
                if digest is None:
                    raise MemoryStoreError(
                        f"The Ollama at {settings.url} has no model '{settings.model}': "
                        f"run  ollama pull {settings.model}"
                    )
                vectors = await _embed(client, settings, [f"{note}The first call says how long a vector is."])
        except _FAILURES as error:
            await client.close()  # type: ignore[no-untyped-call]  # it is declared without a type
            raise MemoryStoreError(
                f"The Ollama at {settings.url} does not embed with '{settings.model}' ({_reason(error)}): "
                "start it, or choose the built-in embedding model"
            ) from error
        except MemoryStoreError:
            await client.close()  # type: ignore[no-untyped-call]  # it is declared without a type
            raise
        return cls(settings, client, Space(settings.model, digest, vectors.shape[1], note), query)

    @property
    def space(self) -> Space:
        return self._space

    async def embed_notes(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimensions)."""
        found = [np.zeros((0, self._space.dimensions), np.float32)]
        for start in range(0, len(texts), _BATCH):
            batch = [self._space.prefix + text for text in texts[start : start + _BATCH]]
            found.append(await self._ask(batch, _START_SECONDS))
        return np.concatenate(found)

    async def embed_query(self, text: str) -> Vector:
        """Shape (dimensions,). MemoryStoreError also when it is late."""
        vectors = await self._ask([self._query_prefix + text], self._settings.query_ms / 1000)
        vector: Vector = vectors[0]
        return vector

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()  # type: ignore[no-untyped-call]  # it is declared without a type

    async def _ask(self, texts: Sequence[str], seconds: float) -> Vectors:
        try:
            async with asyncio.timeout(seconds):
                vectors = await _embed(self._client, self._settings, texts)
        except _FAILURES as error:
            raise MemoryStoreError(f"Ollama did not embed: {_reason(error)}") from error
        if vectors.shape != (len(texts), self._space.dimensions):
            raise MemoryStoreError(
                f"Ollama's model '{self._settings.model}' was exchanged while the server ran: restart the server"
            )
        return vectors


async def _embed(client: ollama.AsyncClient, settings: OllamaEmbedSettings, texts: Sequence[str]) -> Vectors:
    answer = await client.embed(settings.model, list(texts), truncate=True, keep_alive=settings.keep_alive)
    vectors = np.array(answer.embeddings, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise ValueError("it did not send one vector for each text")
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
    return unit


def _same(wanted: str, listed: str | None) -> bool:
    """'nomic-embed-text' is 'nomic-embed-text:latest'."""
    return listed in (wanted, f"{wanted}:latest")


def _reason(error: Exception) -> str:
    return "it was late" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
