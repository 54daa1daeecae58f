"""The agent as the server puts it together: timers that ring, memories that reach the model, tools that it calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wyoming.event import Event

from handlers.agent.memory.forgetting import Forgotten
from handlers.agent.memory.stage import Origin, Owner, OwnerKind, Source
from handlers.agent.schedule.entry import Entry, Heard
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.stage import AgentSettings, Request
from handlers.errors import ModelError
from handlers.models.store import ModelStore
from handlers.session import Role, Session
from handlers.timeline import Timeline
from handlers.tts.piper import PiperSynthesizer
from handlers.wire.client import WyomingClient
from server.agent_engines import open_agent_engines
from server.engines import load_engines
from server.household import open_household, open_memories
from server.settings import ServerSettings
from tests.server.test_pipeline import status, wait_for_turn
from tests.support.ollama import SOON, Call, FakeOllama, Model, stopped_ollama
from tests.support.server import ServerProcess, own_data, read_until

pytestmark = pytest.mark.timeout(240)

CONFIG = """
agent:
  access:
    users: {anna: {name: Anna}, kim: {role: guest}}
    satellites: {kitchen: {room: kitchen}}
  tools: {commands: [COMMANDS]}
"""

NO_MODELS = {"order": ["builtin"], "builtin": {"model": ""}, "memory": {"enabled": False}}
"""Settings of an agent that is loaded in a moment."""

COMMANDS = """
tools:
  delete_record:
    description: Deletes a record.
    parameters: {type: object, properties: {name: {type: string}}, required: [name]}
    argv: [rm, "--", "FOLDER/{name}"]
    destructive: true
    confirm: Delete the record {name}?
"""


@contextlib.asynccontextmanager
async def house(tmp_path: Path, data_dir: Path) -> AsyncIterator[tuple[ServerProcess, FakeOllama]]:
    """A server of its own whose language model is a script that may use tools."""
    tools, config = tmp_path / "tools.yaml", tmp_path / "config.yaml"
    tools.write_text(COMMANDS.replace("FOLDER", str(tmp_path)))
    config.write_text(CONFIG.replace("COMMANDS", str(tools)))
    async with FakeOllama([Model("able:latest", capabilities=("completion", "tools"))]) as ollama:
        arguments = ["--data-dir", str(own_data(tmp_path, data_dir)), "--config", str(config)]
        with ServerProcess(tmp_path, arguments, {"MEADOWLARK_AGENT__OLLAMA__URL": ollama.url}) as server:
            await asyncio.to_thread(server.wait_ready)
            ollama.asked.clear()
            yield server, ollama


async def say(client: WyomingClient, text: str, satellite: str = "kitchen", user: str = "anna") -> str:
    """One question as text; returns the answer."""
    context = {"conversation_id": satellite, "satellite_id": satellite, "user_id": user}
    await client.send(Event("transcript", {"text": text, "context": context}))
    return str((await read_until(client, "handled", "error"))[-1].data["text"])


async def test_a_household(tmp_path: Path, data_dir: Path) -> None:
    """One server for all of it, because its start is what takes time."""
    async with house(tmp_path, data_dir) as (server, ollama), server.client() as client:
        await a_timer_rings_where_it_was_set(server, client)
        await what_is_remembered_reaches_the_model_as_data(client, ollama)
        await a_model_sets_a_timer(client, ollama)
        await a_destructive_tool_waits_for_a_yes_from_the_same_place(client, ollama, tmp_path)
        await a_guest_is_offered_nothing_that_acts(client, ollama)
        await the_status_tells_how_turns_were_decided(server)
    audit = "".join(path.read_text() for path in sorted((tmp_path / "data" / "audit").iterdir()))
    lines = [json.loads(line) for line in audit.splitlines()]
    acted = [(line["tool"], line["user"]) for line in lines if line["event"] == "attempt"]
    assert acted == [
        ("skill/TimerSet", "anna"),
        ("skill/Remember", "anna"),
        ("set_timer", "anna"),
        ("delete_record", "anna"),
        ("skill/Remember", "kim"),  # and was refused
    ]
    assert "shed" not in audit  # what is to be forgotten some day stands in the memory alone
    assert "shed" not in server.log()


async def a_timer_rings_where_it_was_set(server: ServerProcess, client: WyomingClient) -> None:
    async with server.client() as satellite, server.client() as other:
        await satellite.send(Event("satellite-connected", {"context": {"satellite_id": "kitchen"}}))
        await other.send(Event("satellite-connected", {"context": {"satellite_id": "hall"}}))
        await read_until(satellite, "ping")
        await read_until(other, "ping")
        assert "second" in await say(client, "Set an egg timer for 1 second.")
        events = await read_until(satellite, "audio-stop")
        kinds = [event.type for event in events]
        assert kinds[:2] == ["timer-started", "timer-finished"]
        assert sum(len(event.payload or b"") for event in events) > 10_000
        started = next(event for event in events if event.type == "audio-start")
        await satellite.send(Event("played", {"notice": started.data["notice"], "seconds": 2.0}))
        again = next(event for event in await read_until(satellite, "audio-start") if event.type == "audio-start")
        await read_until(satellite, "audio-stop")  # it rings until somebody stops it
        await satellite.send(Event("played", {"notice": again.data["notice"], "stopped": True}))
        async with asyncio.timeout(SOON):
            while (answer := await say(client, "What timers do I have?")) != "No timer is set.":
                assert "ended" in answer  # the server has not yet heard that it was stopped
        await other.send(Event("describe", {}))
        assert [event.type for event in await read_until(other, "info")] == ["info"]


async def what_is_remembered_reaches_the_model_as_data(client: WyomingClient, ollama: FakeOllama) -> None:
    assert await say(client, "Remember that the spare key is in the shed.") == "I'll remember that."
    await say(client, "Do you happen to know a place where I could find the spare key?")
    question = ollama.chats[-1]["messages"][-1]["content"]
    assert "The spare key is in the shed." in question
    assert "Anna said so" in question
    assert question.index("<data-") < question.index("shed") < question.index("</data-")
    await say(client, "Do you happen to know a place where I could find the spare key?", "hall", "bert")
    assert "shed" not in ollama.chats[-1]["messages"][-1]["content"]  # it is Anna's memory


async def a_model_sets_a_timer(client: WyomingClient, ollama: FakeOllama) -> None:
    ollama.will_answer(Call("set_timer", {"seconds": 360, "name": "eggs"}))
    ollama.will_answer("I'll call you for the eggs.")
    assert await say(client, "Ping me when soft eggs are likely done.") == "I'll call you for the eggs."
    assert "minutes" in await say(client, "How long is left on the eggs timer?")


async def a_destructive_tool_waits_for_a_yes_from_the_same_place(
    client: WyomingClient, ollama: FakeOllama, folder: Path
) -> None:
    (folder / "api").write_text("")
    ollama.will_answer(Call("delete_record", {"name": "api"}))
    assert await say(client, "Get rid of the api record, would you?") == "Delete the record api? Say yes to confirm."
    ollama.will_answer("It was not for me.")
    await say(client, "Yes.", "hall")
    assert (folder / "api").exists()
    ollama.will_answer("The record is gone.")
    assert await say(client, "Yes, please.") == "The record is gone."
    assert not (folder / "api").exists()


async def a_guest_is_offered_nothing_that_acts(client: WyomingClient, ollama: FakeOllama) -> None:
    ollama.will_answer("Hello.")
    await say(client, "Would you tell me something about larks?", user="kim")
    offered = {tool["function"]["name"] for tool in ollama.chats[-1].get("tools", [])}
    assert "delete_record" not in offered
    assert "shed" not in ollama.chats[-1]["messages"][-1]["content"]
    assert await say(client, "Remember that I like tea.", user="kim") == "I don't keep anything that guests say."


async def the_status_tells_how_turns_were_decided(server: ServerProcess) -> None:
    """Of whole turns, and of questions that Home Assistant asks the service `handle`."""
    known = {"kind": "fast", "confidence": 1.0, "reason": "a skill knows the whole sentence"}
    for service in ("pipeline", "handle"):
        before = (await asyncio.to_thread(status, server))["turns"]
        assert isinstance(before, list)
        async with server.client() as client:
            if service == "pipeline":
                await client.send(Event("run-pipeline", {"start_stage": "handle", "end_stage": "handle"}))
            await client.send(Event("transcript", {"text": "What time is it?"}))
            await read_until(client, "handled")
        turn = await wait_for_turn(server, before)  # it is noted when it has ended
        assert (turn["service"], turn["decision"]) == (service, known)
    engines = (await asyncio.to_thread(status, server))["engines"]
    assert isinstance(engines, dict)
    assert engines["agent"]["schedule"] == "ready"


async def test_without_its_ollama_the_memory_knows_words(
    tmp_path: Path, store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with stopped_ollama() as ollama:
        memory = {"embedder": "ollama", "ollama": {"url": ollama.url}}
        settings = AgentSettings.model_validate(NO_MODELS | {"memory": memory})
        engines = await open_agent_engines(settings, store, lambda *_: None)
        memories, reason = await open_memories(settings, tmp_path, engines)
        assert memories is not None
        assert reason().startswith("by words alone for now: The Ollama at ")
        assert caplog.text.count("words alone for now") == 1
        anna, source = Owner(OwnerKind.PERSON, "anna"), Source(Origin.API)
        await memories.add(anna, "Julia likes tulips.", source)
        note = await memories.add(anna, "The tent is in the attic.", source)
        session = Session("anna", role=Role.USER)
        for _ in range(2):
            found = await memories.recall(Request("where is the tent", session=session), [])
            assert [each.id for each in found[:1]] == [note.id]
        assert await memories.forget(Forgotten({anna: [note]})) == 1
        assert [each.content for each in await memories.page(anna)] == ["Julia likes tulips."]
        await memories.close()
        await engines.close()


async def test_a_schedule_that_cannot_be_opened_does_not_stop_the_house(
    tmp_path: Path, store: ModelStore, piper: PiperSynthesizer
) -> None:
    (tmp_path / "schedule.sqlite").mkdir()
    settings = AgentSettings.model_validate(NO_MODELS)
    engines = await open_agent_engines(settings, store, lambda *_: None)
    household = await open_household(settings, tmp_path, engines, piper)
    try:
        assert "check the disk" in household.timers_not_kept
        response = household.agent.respond(Request("Set a timer for 5 minutes."), Timeline("t"))
        answer = "".join([part async for part in response.parts() if isinstance(part, str)])
        assert "5 minutes" in answer
    finally:
        await household.close()
        await engines.close()


@pytest.mark.parametrize("content", ['["satellite hall"]', "{"])
async def test_private_mode_without_a_memory(
    tmp_path: Path, store: ModelStore, piper: PiperSynthesizer, content: str
) -> None:
    """It counts for the log of actions and for recordings; where nobody knows where it is on, it is everywhere."""
    places = tmp_path / "memory" / "private.json"
    places.parent.mkdir()
    places.write_text(content)
    settings = AgentSettings.model_validate(NO_MODELS)
    engines = await open_agent_engines(settings, store, lambda *_: None)
    household = await open_household(settings, tmp_path, engines, piper)
    agent = household.agent

    async def ask(text: str, satellite: str, role: Role = Role.ADMIN) -> str:
        request = Request(text, agent.session(satellite, token_role=role, language="en"))
        return "".join([part async for part in agent.respond(request, Timeline("t")).parts() if isinstance(part, str)])

    def private() -> list[bool]:
        return [agent.is_private(agent.session(satellite)) for satellite in ("hall", "kitchen")]

    try:
        if content == "{":
            assert private() == [True, True]
            assert "is on here" not in await ask("Private mode on.", "kitchen")
            return
        assert private() == [True, False]
        for place in ("hall", "kitchen"):
            await ask("Set a timer for 5 minutes.", place)
        entries = [entry for entry in await household.audit.entries(10) if entry.tool == "skill/TimerSet"]
        assert [(entry.satellite, "timer" in entry.heard) for entry in entries] == [("kitchen", True), ("hall", False)]
        assert "is on here" in await ask("Private mode on.", "kitchen")
        assert private() == [True, True]
        assert json.loads(places.read_text()) == ["satellite hall", "satellite kitchen"]
        await ask("Private mode off.", "hall", Role.GUEST)
        assert private() == [True, True]
        await ask("Private mode off.", "hall")
        assert private() == [False, True]
    finally:
        await household.close()
        await engines.close()


async def test_a_house_is_closed_when_an_engine_cannot_be_loaded(tmp_path: Path, data_dir: Path) -> None:
    folder = own_data(tmp_path, data_dir)
    settings = ServerSettings.model_validate(
        {"data_dir": folder, "agent": NO_MODELS, "asr": {"model": str(tmp_path / "nowhere")}}
    )
    with pytest.raises(ModelError):
        await load_engines(settings)
    assert (folder / "schedule.sqlite").exists()  # it was open
    schedule = Schedule(folder / "schedule.sqlite", _nobody)
    await schedule.start()
    await schedule.close()
    assert schedule.not_kept == ""  # nobody uses it any more


async def _nobody(entry: Entry) -> Heard:
    return Heard.NOBODY
