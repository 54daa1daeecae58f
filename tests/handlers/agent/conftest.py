"""The built-in model, a real Ollama, and a server that speaks its protocol and can misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from handlers.agent.llm.builtin import BuiltinModel
from handlers.agent.llm.settings import BuiltinSettings
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.ollama import FakeOllama
from tests.support.real_ollama import NoOllamaError, RealOllama, built


@pytest.fixture(scope="session")
def builtin(store: ModelStore) -> Iterator[BuiltinModel]:
    """The real built-in model, shared by all tests that do not close it."""
    model = BuiltinModel(store.locate("smollm2-135m-instruct", ModelKind.LLM), BuiltinSettings())
    yield model
    asyncio.run(model.close())


@pytest.fixture(scope="session")
def real_ollama(store: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    """A real Ollama, shared by all tests that do not stop it."""
    try:
        built()
    except NoOllamaError as error:
        pytest.skip(str(error))
    with RealOllama(tmp_path_factory.mktemp("ollama"), store.locate("smollm2-135m-instruct", ModelKind.LLM)) as server:
        yield server


@pytest.fixture
async def fake_ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as ollama:
        yield ollama
