"""Text to vectors on this machine: all-MiniLM-L6-v2, int8, on ONNX Runtime. 2 to 5 ms for a sentence. English."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handlers.agent.memory.stage import MemoryStoreError, Space, Vector, Vectors
from handlers.errors import EngineError, MissingExtraError, ModelError
from handlers.models.integrity import sha256_of
from handlers.workers import Workers

try:
    import onnxruntime
    from tokenizers import Tokenizer
except ImportError:
    raise MissingExtraError("The embedding model", "server") from None

MODEL = "all-MiniLM-L6-v2"

DIMENSIONS = 384

_LONGEST = 256
"""Tokens the model was trained on; what follows is cut off. About 200 words."""

_BATCH = 32
"""Notes at once: more does not make a processor faster, and a query waits behind a batch of notes."""

_WAITING = 16
"""Calls that may queue: an embedding that waits for more of them is late anyway."""

_TINY = 1e-12
"""Keeps a vector of zeros from a division by zero."""


class MiniLM:
    """The model in `path`, an .onnx file with its tokenizer.json beside it. Making one blocks for 0.2 s.

    Queries and notes have a thread each, so that a question never waits for a batch in the background.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelError."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # two threads are not faster for a sentence and stall under load
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        tokenizer = path.with_name("tokenizer.json")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            digest = sha256_of(path)
        except Exception as error:  # neither library's errors have a common class
            raise ModelError(
                f"The embedding model in {path.parent} cannot be loaded ({error}): put its model.onnx and "
                f"tokenizer.json there, or run `meadowlark-models pull all-minilm-l6-v2`"
            ) from error
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()
        self._space = Space(MODEL, digest, DIMENSIONS)
        self._queries = Workers("minilm-query", 1, _WAITING)
        self._notes = Workers("minilm-notes", 1, _WAITING)
        self._embed(["the first call allocates"])

    @property
    def space(self) -> Space:
        return self._space

    async def embed_notes(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), 384)."""
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        found = [await self._run(self._notes, batch) for batch in batches]  # between two, others have their turn
        return np.concatenate(found) if found else np.zeros((0, DIMENSIONS), np.float32)

    async def embed_query(self, text: str) -> Vector:
        """Shape (384,)."""
        vectors = await self._run(self._queries, [text])
        vector: Vector = vectors[0]
        return vector

    async def close(self) -> None:
        """Let running work end, and free the model."""
        await self._queries.close()
        await self._notes.close()
        with contextlib.suppress(AttributeError):  # it was closed before
            del self._session  # 90 MB, which would stay until the collector comes by

    async def _run(self, workers: Workers, texts: Sequence[str]) -> Vectors:
        try:
            return await workers.run(lambda: self._embed(texts))
        except EngineError as error:
            raise MemoryStoreError(f"The embedding model did not answer: {error}") from error

    def _embed(self, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([entry.attention_mask for entry in encoded], np.int64)
        inputs = {
            "input_ids": np.array([entry.ids for entry in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        try:
            (states,) = self._session.run(["last_hidden_state"], inputs)
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed: {error}") from error
        return _pooled(states, mask)


def _pooled(states: NDArray[np.float32], mask: NDArray[np.int64]) -> Vectors:
    """The mean over the tokens of each text, at length one: how the model was trained."""
    weights = mask[:, :, np.newaxis].astype(np.float32)
    mean = (states * weights).sum(1) / weights.sum(1)
    vectors: Vectors = (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), _TINY)).astype(np.float32)
    return vectors
