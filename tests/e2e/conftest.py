"""One Home Assistant, one server and one scripted language model for all tests: their start is what takes time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.support.home_assistant import HomeAssistant, Json, until
from tests.e2e.support.house import furnish, make_house
from tests.e2e.support.model import ScriptedModel
from tests.e2e.support.speech import Speaker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> AsyncIterator[MeadowlarkServer]:
    """A server whose language model is the script."""
    server = MeadowlarkServer(
        tmp_path_factory.mktemp("server"),
        environment={
            "MEADOWLARK_AGENT__OLLAMA__URL": model.url,
            "MEADOWLARK_AGENT__OLLAMA__SCHEMAS": "false",  # it thinks of nothing in the background
            "MEADOWLARK_AGENT__ORDER": '["ollama"]',
            "MEADOWLARK_AGENT__QUICK_SENTENCE_SECONDS": "0",  # what is said is the model's
        },
    )
    with contextlib.ExitStack() as stack:
        stack.push(server)  # `home` starts it
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def home(tmp_path_factory: pytest.TempPathFactory, server: MeadowlarkServer) -> AsyncIterator[HomeAssistant]:
    """A Home Assistant with our integration in its folder, and a lamp in the kitchen that may be switched by voice.

    The server serves, too: both start at the same time.
    """
    home = make_house(tmp_path_factory.mktemp("home-assistant"))
    try:
        await asyncio.gather(home.start(), asyncio.to_thread(server.start))
        await furnish(home)
        yield home
    finally:
        await home.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def speaker(home: HomeAssistant, server: MeadowlarkServer) -> Speaker:
    return Speaker(server)


@dataclass(frozen=True)
class Assistant:
    """The server, set up in Home Assistant with our integration."""

    entry: str
    """Id of the config entry."""
    pipeline: str
    """Id of the Assist pipeline."""
    entities: Mapping[str, str]
    """Their ids, by their keys."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def assistant(home: HomeAssistant, server: MeadowlarkServer) -> Assistant:
    """As a user sets it up by hand, once."""
    answers: dict[str, Json] = {"host": server.host, "port": server.http_port, "preferred": True}
    step = await home.set_up("meadowlark", answers)
    assert step["type"] == "create_entry", step
    made = step["result"]
    assert isinstance(made, dict)
    entry = str(made["entry_id"])
    entities = await home.entities("meadowlark", entry)
    await until(lambda: home.state(entities["connected"]), lambda state: state == "on")
    found = await home.call("assist_pipeline/pipeline/list")
    assert isinstance(found, dict)
    return Assistant(entry, str(found["preferred_pipeline"]), entities)


@pytest.fixture(autouse=True)
def fresh_script(model: ScriptedModel) -> None:
    model.forget()
