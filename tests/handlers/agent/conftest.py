"""The built-in model, loaded once, and agents in front of a server that speaks Ollama's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from handlers.agent.builtin import BuiltinModel
from handlers.agent.stage import BuiltinSettings
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.ollama import FakeOllama


@pytest.fixture(scope="session")
def builtin(store: ModelStore) -> Iterator[BuiltinModel]:
    """The real built-in model, shared by all tests that do not close it."""
    model = BuiltinModel(store.locate("smollm2-135m-instruct", ModelKind.LLM), BuiltinSettings())
    yield model
    asyncio.run(model.close())


@pytest.fixture
async def fake_ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as ollama:
        yield ollama
