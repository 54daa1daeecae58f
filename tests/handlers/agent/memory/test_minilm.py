"""The embedding model: vectors that mean something, the same alone and in a batch, and clear errors."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from handlers.agent.memory.minilm import DIMENSIONS, MiniLM
from handlers.agent.memory.stage import MemoryStoreError
from handlers.errors import ModelError
from handlers.models.catalogue import MINILM, ModelKind
from handlers.models.store import ModelStore


@pytest.fixture(scope="module")
def path(store: ModelStore) -> Path:
    return store.locate("all-minilm-l6-v2", ModelKind.EMBEDDING)


@pytest.fixture
async def model(path: Path) -> AsyncIterator[MiniLM]:
    loaded = MiniLM(path)
    yield loaded
    await loaded.close()


async def test_paraphrases_are_nearer_than_other_things(model: MiniLM) -> None:
    notes = await model.embed_notes(
        ["The spare key hangs behind the letter box", "Tom takes his asthma spray at night", "Ida likes mushrooms"]
    )
    for question, right in (("where can I find the second key", 0), ("when is the inhaler due", 1)):
        near = notes @ await model.embed_query(question)
        assert int(np.argmax(near)) == right
        assert near[right] > 0.3


async def test_a_vector_has_length_one_and_does_not_depend_on_its_batch(model: MiniLM) -> None:
    texts = ["short", "a somewhat longer sentence about the garden gate", "", "word " * 1000]
    together = await model.embed_notes(texts)
    assert together.shape == (4, DIMENSIONS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert float(await model.embed_query(text) @ vector) > 0.999


async def test_many_notes_and_none(model: MiniLM) -> None:
    assert (await model.embed_notes([])).shape == (0, DIMENSIONS)
    assert (await model.embed_notes([f"note {number}" for number in range(70)])).shape == (70, DIMENSIONS)


async def test_what_is_too_long_is_cut_off(model: MiniLM) -> None:
    start = "the boiler was repaired " * 100
    assert float(await model.embed_query(start) @ await model.embed_query(start + " and the cat sleeps" * 200)) > 0.9999


def test_the_space_names_the_file(path: Path) -> None:
    space = MiniLM(path).space
    assert space.digest == MINILM.files[0].sha256
    assert space.key == "all-MiniLM-L6-v2@8199be6f699a/384"


async def test_a_closed_model_says_so(path: Path) -> None:
    model = MiniLM(path)
    await model.close()
    with pytest.raises(MemoryStoreError, match="closed"):
        await model.embed_query("anything")


@pytest.mark.parametrize("broken", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_one_clear_sentence(path: Path, tmp_path: Path, broken: str) -> None:
    shutil.copytree(path.parent, tmp_path / "model")
    (tmp_path / "model" / broken).write_bytes(b"not a model")
    with pytest.raises(ModelError, match="meadowlark-models pull all-minilm-l6-v2"):
        MiniLM(tmp_path / "model" / "model.onnx")


def test_a_model_by_its_path_needs_its_tokenizer(path: Path, store: ModelStore, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        store.locate(str(tmp_path / "model.onnx"), ModelKind.EMBEDDING)
    shutil.copy(path.with_name("tokenizer.json"), tmp_path)
    assert store.locate(str(tmp_path), ModelKind.EMBEDDING) == tmp_path / "model.onnx"
