"""Embeddings by Ollama: prefixes, batches, deadlines, and what goes wrong on the wire."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import numpy as np
import pytest
from aiohttp import web
from pydantic import HttpUrl

from handlers.agent.memory.ollama_embed import OllamaEmbedder, OllamaEmbedSettings
from handlers.agent.memory.stage import MemoryStoreError
from tests.support.ollama import FakeOllama, Model, Raw, Status, Step, stopped_ollama

_PATIENT = 5000


def settings(ollama: FakeOllama, model: str = "nomic-embed-text", query_ms: float = _PATIENT) -> OllamaEmbedSettings:
    return OllamaEmbedSettings(url=HttpUrl(ollama.url), model=model, query_ms=query_ms)


@pytest.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    models = (Model("nomic-embed-text:latest", dimensions=48), Model("bge-m3:567m", dimensions=32))
    async with FakeOllama(models) as server:
        yield server


async def test_nomic_gets_its_prefixes_and_the_space_knows(ollama: FakeOllama) -> None:
    embedder = await OllamaEmbedder.connect(settings(ollama))
    notes = await embedder.embed_notes(["the spare key hangs behind the box", "ida likes mushrooms"])
    query = await embedder.embed_query("where is the spare key")
    await embedder.close()
    assert embedder.space.dimensions == 48
    assert embedder.space.prefix == "search_document: "
    assert embedder.space.digest
    assert notes.shape == (2, 48)
    assert query.shape == (48,)
    np.testing.assert_allclose(np.linalg.norm(notes, axis=1), 1, atol=1e-5)
    assert notes[0] @ query > notes[1] @ query
    asked = [body["input"] for path, body in ollama.asked if path == "/api/embed"]
    assert asked[1] == ["search_document: the spare key hangs behind the box", "search_document: ida likes mushrooms"]
    assert asked[2] == ["search_query: where is the spare key"]
    assert all(body["keep_alive"] == "-1m" for path, body in ollama.asked if path == "/api/embed")


async def test_another_model_has_no_prefix_and_another_space(ollama: FakeOllama) -> None:
    nomic = await OllamaEmbedder.connect(settings(ollama))
    other = await OllamaEmbedder.connect(settings(ollama, "bge-m3:567m"))
    await other.embed_query("was ist das")
    assert ollama.asked[-1][1]["input"] == ["was ist das"]
    assert nomic.space.key != other.space.key
    await nomic.close()
    await other.close()


async def test_many_notes_go_in_batches(ollama: FakeOllama) -> None:
    embedder = await OllamaEmbedder.connect(settings(ollama))
    texts = [f"note number {number}" for number in range(70)]
    assert (await embedder.embed_notes(texts)).shape == (70, 48)
    sizes = [len(body["input"]) for path, body in ollama.asked if path == "/api/embed"]
    assert sizes == [1, 32, 32, 6]
    await embedder.close()


async def test_a_late_answer_is_given_up(ollama: FakeOllama) -> None:
    embedder = await OllamaEmbedder.connect(settings(ollama, query_ms=30))
    never = asyncio.Event()
    ollama.faults["/api/embed"] = deque[Step]([never])
    with pytest.raises(MemoryStoreError, match="late"):
        await embedder.embed_query("where is the key")
    never.set()
    await embedder.close()


@pytest.mark.parametrize(
    "fault",
    [
        Raw(b"this is not JSON"),
        Raw(b'{"embeddings": []}'),
        Raw(b'{"embeddings": [[1.0, null]]}'),
        Raw(b'{"embeddings": [[1.0, 2.0]]}'),
        Status(500, "out of memory"),
    ],
)
async def test_a_broken_answer_is_a_clear_error(ollama: FakeOllama, fault: Step) -> None:
    embedder = await OllamaEmbedder.connect(settings(ollama))
    ollama.faults["/api/embed"] = deque[Step]([fault])
    with pytest.raises(MemoryStoreError, match="Ollama"):
        await embedder.embed_query("where is the key")
    assert (await embedder.embed_query("and now")).shape == (48,)
    await embedder.close()


async def test_a_missing_model_says_how_to_get_it(ollama: FakeOllama) -> None:
    with pytest.raises(MemoryStoreError, match="ollama pull snowflake"):
        await OllamaEmbedder.connect(settings(ollama, "snowflake"))


async def test_no_server_is_one_sentence() -> None:
    async with stopped_ollama() as ollama:
        with pytest.raises(MemoryStoreError, match="choose the built-in embedding model"):
            await OllamaEmbedder.connect(settings(ollama))


async def test_one_that_comes_later_is_asked_again_with_the_next_notes() -> None:
    async with stopped_ollama() as ollama:
        embedder = OllamaEmbedder(settings(ollama))
        assert (embedder.space.dimensions, bool(embedder.unavailable)) == (0, True)
        with pytest.raises(MemoryStoreError, match="choose the built-in"):
            await embedder.embed_notes(["the key hangs behind the box"])
        assert "choose the built-in" in embedder.unavailable
        ollama.models = (Model("nomic-embed-text:latest", dimensions=48),)
        async with ollama:
            with pytest.raises(MemoryStoreError, match="choose the built-in"):
                await embedder.embed_query("where is the key")  # nobody who speaks waits for a connection
            assert ollama.asked == []
            assert (await embedder.embed_notes(["the key hangs behind the box"])).shape == (1, 48)
            assert (embedder.space.dimensions, embedder.unavailable) == (48, "")
            assert (await embedder.embed_query("where is the key")).shape == (48,)
        await embedder.close()


async def test_it_goes_nowhere_else_and_takes_no_key_along(ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "zq-secret")
    keys: list[str | None] = []
    asked: list[str] = []

    async def listed(request: web.Request) -> web.Response:
        keys.append(request.headers.get("Authorization"))
        return web.json_response({"models": [{"name": "nomic-embed-text:latest", "digest": "0"}]})

    async def redirected(request: web.Request) -> web.Response:
        asked.append(await request.text())
        raise web.HTTPTemporaryRedirect(f"{ollama.url}/api/embed")

    app = web.Application()
    app.add_routes([web.get("/api/tags", listed), web.post("/api/embed", redirected)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = HttpUrl(f"http://127.0.0.1:{runner.addresses[0][1]}")
    with pytest.raises(MemoryStoreError, match="does not embed"):
        await OllamaEmbedder.connect(OllamaEmbedSettings(url=url))
    await runner.cleanup()
    assert (keys, len(asked)) == ([None], 1)
    assert ollama.asked == []
