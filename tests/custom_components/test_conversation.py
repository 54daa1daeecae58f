"""The agent in Home Assistant: with a real server and a scripted language model, and with a server that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import signature
from typing import override

import probatio
import pytest
import pytest_socket
from homeassistant.components import conversation
from homeassistant.components.conversation.trace import async_get_traces
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    ATTR_SUPPORTED_FEATURES,
    CONF_HOST,
    CONF_LLM_HASS_API,
    CONF_PORT,
    CONF_PROMPT,
    STATE_UNAVAILABLE,
)
from homeassistant.core import Context, Event, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import intent, llm
from homeassistant.helpers.chat_session import async_get_chat_session
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_mock_service

from custom_components.meadowlark import connection as connection_module
from custom_components.meadowlark import link as link_module
from custom_components.meadowlark.const import DOMAIN
from tests.e2e.support.model import Offered, ScriptedModel, Use

from .conftest import SetUp, entry_for
from .support.house_server import SOON, House, HouseServer, Json
from .support.server import MeadowlarkServer

pytestmark = pytest.mark.usefixtures("socket_enabled")

AGENT = "conversation.attic"

NOBODY: dict[str, None] = {"context": None} if "context" in signature(async_get_chat_session).parameters else {}
"""Whose the conversation is, as 2026.11 asks."""

WISH = "Would you tell me something about larks?"
"""Only a language model knows it."""


class Model:
    """A scripted language model in a thread with a loop of its own, for a server that lives longer than a test."""

    def __init__(self) -> None:
        self.scripted = ScriptedModel()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="model")

    def __enter__(self) -> Model:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.scripted.__aenter__(), self.loop).result(SOON)
        # What the server keeps open for later are connections of this process, and each test looks for such.
        self.scripted._runner.server._kwargs["keepalive_timeout"] = 0.0
        return self

    def __exit__(self, *failure: object) -> None:
        asyncio.run_coroutine_threadsafe(self.scripted.__aexit__(), self.loop).result(SOON)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def said(self, role: str) -> list[str]:
        """What messages of a role said in the last chat."""
        return [message["content"] for message in self.scripted.chats[-1]["messages"] if message["role"] == role]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    pytest_socket.enable_socket()  # the kit allows it to tests only, as `socket_enabled` does
    with Model() as model:
        yield model


@pytest.fixture(scope="module")
def thinking_meadowlark(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeadowlarkServer]:
    """A real server with that model."""
    settings = {
        "MEADOWLARK_AGENT__OLLAMA__URL": model.scripted.url,
        "MEADOWLARK_AGENT__ORDER": '["ollama"]',
        "MEADOWLARK_AGENT__QUICK_SENTENCE_SECONDS": "0",
    }
    with MeadowlarkServer(tmp_path_factory.mktemp("thinking"), [], settings) as server:
        yield server


@pytest.fixture
async def workshop(hass: HomeAssistant) -> Workshop:
    workshop = Workshop(hass)
    llm.async_register_api(hass, workshop)
    return workshop


@pytest.fixture
async def real(
    hass: HomeAssistant, set_up: SetUp, thinking_meadowlark: MeadowlarkServer, workshop: Workshop, model: Model
) -> MockConfigEntry:
    """Home Assistant with the real server, that has its own tools and those of the workshop."""
    model.scripted.forget()
    entry = entry_for(thinking_meadowlark, options={CONF_LLM_HASS_API: ["assist", "workshop"]})
    await set_up(entry)
    assert entry.state is ConfigEntryState.LOADED, entry.reason
    await _until_available(hass, "conversation.meadowlark")
    return entry


@pytest.fixture
async def server() -> AsyncIterator[HouseServer]:
    async with HouseServer() as server:
        yield server


@pytest.fixture
def fail_with(
    hass: HomeAssistant, set_up: SetUp, server: HouseServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., object]:
    """Set the integration up with the server that fails; gives its connection."""
    monkeypatch.setattr(link_module, "_SHORTEST_WAIT", 0.05)
    monkeypatch.setattr(link_module, "_LONGEST_WAIT", 0.2)

    async def connect(**options: object) -> House:
        data = {CONF_HOST: server.host, CONF_PORT: server.http_port}
        entry = MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=server.id, data=data, options=options)
        await set_up(entry)
        assert entry.state is ConfigEntryState.LOADED, entry.reason
        return await server.house()

    return connect


async def test_the_answer_streams(hass: HomeAssistant, real: MockConfigEntry, model: Model) -> None:
    gate, heard = asyncio.Event(), asyncio.Event()
    model.scripted.will_answer("Larks ", gate, "sing.")
    deltas: list[str] = []

    def listen(_log: conversation.ChatLog, delta: Json) -> None:
        if delta.get("content"):
            deltas.append(delta["content"])
            heard.set()

    said = _said(WISH)
    with (
        async_get_chat_session(hass, None, **NOBODY) as session,
        conversation.async_get_chat_log(hass, session, said, chat_log_delta_listener=listen),
    ):
        said.conversation_id = session.conversation_id
        asking = asyncio.create_task(_ask(hass, WISH, session.conversation_id, agent="conversation.meadowlark"))
        async with asyncio.timeout(SOON):
            await heard.wait()
        assert "".join(deltas).strip() == "Larks"
        assert not asking.done()
        model.loop.call_soon_threadsafe(gate.set)
        result = await asking

    assert _speech(result) == "Larks sing."
    assert "".join(deltas) == "Larks sing."
    assert not result.continue_conversation


async def test_a_question_opens_the_microphone_again(hass: HomeAssistant, real: MockConfigEntry, model: Model) -> None:
    model.scripted.will_answer("Which larks do you mean?")

    result = await _ask(hass, WISH, agent="conversation.meadowlark")

    assert result.continue_conversation


async def test_a_tool_of_the_house_runs_here_and_the_model_is_told(
    hass: HomeAssistant, real: MockConfigEntry, model: Model, workshop: Workshop
) -> None:
    model.scripted.will_answer(Use(_drills, {"depth": 3}))
    model.scripted.will_answer("There are three holes.")
    jane = await hass.auth.async_create_user("Jane")

    result = await _ask(
        hass, WISH, "talk", agent="conversation.meadowlark", context=Context(user_id=jane.id), device_id="bench"
    )

    assert _speech(result) == "There are three holes."
    (call,) = workshop.calls
    assert (call.context.user_id, workshop.devices) == (jane.id, ["bench"])
    assert any('"holes":3' in text for text in model.said("tool"))
    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    assert [content.role for content in log] == ["system", "user", "assistant", "tool_result", "assistant"]
    assert log[2].tool_calls[0].tool_args == {"depth": 3}
    assert log[3].tool_call_id == log[2].tool_calls[0].id


@pytest.mark.parametrize(("depth", "reason"), [(99, "through the wall"), (-1, "the drill is broken")])
async def test_a_tool_that_raises_is_told_and_the_next_turn_works(
    hass: HomeAssistant, real: MockConfigEntry, model: Model, depth: int, reason: str
) -> None:
    model.scripted.will_answer(Use(_drills, {"depth": depth}))
    model.scripted.will_answer("That did not work.")

    result = await _ask(hass, WISH, "talk", agent="conversation.meadowlark")

    assert _speech(result) == "That did not work."
    assert any(reason in text for text in model.said("tool"))
    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    assert [content.role for content in log] == ["system", "user", "assistant", "tool_result", "assistant"]
    assert log[3].result.error
    model.scripted.will_answer("Larks sing.")
    assert _speech(await _ask(hass, WISH, "talk", agent="conversation.meadowlark")) == "Larks sing."


async def test_a_device_that_is_renamed_in_a_conversation(
    hass: HomeAssistant, real: MockConfigEntry, model: Model
) -> None:
    _lamp(hass, "Frumious lamp", None)
    switched = async_mock_service(hass, "light", "turn_on")
    for name, answer in (
        ("Frumious lamp", "It is on."),
        ("Frumious lamp", "It is gone."),
        ("Slithy lamp", "On again."),
    ):
        model.scripted.will_answer(Use(_turns_on, {"name": name}))
        model.scripted.will_answer(answer)

    assert _speech(await _ask(hass, WISH, "talk", agent="conversation.meadowlark")) == "It is on."
    er.async_get(hass).async_update_entity("light.lamp", name="Slithy lamp")
    await hass.async_block_till_done()
    assert _speech(await _ask(hass, WISH, "talk", agent="conversation.meadowlark")) == "It is gone."
    assert any("MatchFailedError" in text for text in model.said("tool"))
    assert _speech(await _ask(hass, WISH, "talk", agent="conversation.meadowlark")) == "On again."
    assert [call.data["entity_id"] for call in switched] == [["light.lamp"]] * 2


async def test_what_the_server_is_told(hass: HomeAssistant, fail_with: Callable[..., object]) -> None:
    house = await fail_with(**{CONF_PROMPT: "Be brief, {{ user_name }}."})
    jane = await hass.auth.async_create_user("Jane")
    kitchen = ar.async_get(hass).async_create("Kitchen")
    entry = MockConfigEntry(domain="test")
    entry.add_to_hass(hass)
    device = dr.async_get(hass).async_get_or_create(config_entry_id=entry.entry_id, identifiers={("test", "1")})
    dr.async_get(hass).async_update_device(device.id, area_id=kitchen.id)
    _lamp(hass, "Frumious lamp", kitchen.id)

    first = asyncio.create_task(_ask(hass, "Hello?", "talk", context=Context(user_id=jane.id), device_id=device.id))
    turn = await house.until("turn")
    assert (turn["text"], turn["language"], turn["conversation_id"]) == ("Hello?", "en", "talk")
    assert (turn["user"], turn["room"], turn["satellite"]) == (jane.id, "Kitchen", device.id)
    assert turn["instructions"] == "Be brief, Jane."
    assert turn["history"] == []
    assert "You are in area Kitchen" in turn["toolset"]["instructions"]
    assert any(tool["name"].endswith("HassTurnOn") for tool in turn["toolset"]["tools"])
    await house.send("turn-end", id=turn["id"], text="Hello yourself.", listen=False)
    assert _speech(await first) == "Hello yourself."

    second = asyncio.create_task(_ask(hass, "And now?", "talk", context=Context(user_id=jane.id)))
    turn = await house.until("turn")
    assert turn["history"] == [{"question": "Hello?", "answer": "Hello yourself.", "ours": True}]
    await house.send("turn-end", id=turn["id"], text="Still here.", listen=False)
    await second


async def test_an_agent_that_may_not_act_has_no_tools(hass: HomeAssistant, fail_with: Callable[..., object]) -> None:
    house = await fail_with(**{CONF_LLM_HASS_API: []})
    assert hass.states.get(AGENT).attributes[ATTR_SUPPORTED_FEATURES] == 0

    asking = asyncio.create_task(_ask(hass, "Hello?"))
    turn = await house.until("turn")
    assert turn["toolset"] is None
    await house.send("turn-end", id=turn["id"], text="Hello.", listen=False)
    await asking


async def test_it_controls_the_home_when_it_has_tools(hass: HomeAssistant, fail_with: Callable[..., object]) -> None:
    await fail_with()
    features = hass.states.get(AGENT).attributes[ATTR_SUPPORTED_FEATURES]
    assert features & conversation.ConversationEntityFeature.CONTROL
    info = conversation.async_get_agent_info(hass, AGENT)
    assert info is not None
    assert info.supports_streaming


async def test_the_servers_own_tools_are_in_the_chat_log(hass: HomeAssistant, fail_with: Callable[..., object]) -> None:
    house = await fail_with()
    asking = asyncio.create_task(_ask(hass, "Remember the milk", "talk"))
    turn = (await house.until("turn"))["id"]
    await house.send("turn-tool", id=turn, call="c1", name="Remember", arguments={"what": "milk"})
    await house.send("turn-tool-result", id=turn, call="c1", text="Noted", failed=False)
    await house.send("turn-delta", id=turn, text="I will.")
    await house.send("turn-end", id=turn, text="I will.", listen=False)

    assert _speech(await asking) == "I will."
    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    assert [content.role for content in log] == ["system", "user", "assistant", "tool_result", "assistant"]
    assert log[2].tool_calls[0].external
    assert log[3].result == llm.ToolResult(data={"text": "Noted"})


async def test_an_answer_that_ends_with_a_tool_has_been_said(
    hass: HomeAssistant, fail_with: Callable[..., object]
) -> None:
    house = await fail_with()
    asking = asyncio.create_task(_ask(hass, "Remember the milk"))
    turn = (await house.until("turn"))["id"]
    await house.send("turn-delta", id=turn, text="I do.")
    await house.send("turn-tool", id=turn, call="c1", name="Remember", arguments={})
    await house.send("turn-tool-result", id=turn, call="c1", text="Noted", failed=False)
    await house.send("turn-end", id=turn, text="I do.", listen=False)

    assert _speech(await asking) == "I do."


async def test_a_server_that_breaks_off_is_said_and_the_next_turn_works(
    hass: HomeAssistant, server: HouseServer, fail_with: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    house = await fail_with()

    async def break_off_after(*messages: tuple[str, Json]) -> conversation.ConversationResult:
        nonlocal house
        asking = asyncio.create_task(_ask(hass, "Hello?", "talk"))
        turn = (await house.until("turn"))["id"]
        for kind, fields in messages:
            await house.send(kind, id=turn, **fields)
        await house.send("busy", busy=True)
        house.break_off()
        async with asyncio.timeout(SOON):
            result = await asking
        assert result.response.response_type is intent.IntentResponseType.ERROR
        assert "was lost" in _speech(result)
        house = await server.house()
        asking = asyncio.create_task(_ask(hass, "And now?", "talk"))
        turn = (await house.until("turn"))["id"]
        await house.send("turn-end", id=turn, text="Fine.", listen=False)
        assert _speech(await asking) == "Fine."
        return result

    await break_off_after()
    await break_off_after(("turn-delta", {"text": "I was about to"}))
    await break_off_after(("turn-tool", {"call": "c1", "name": "Remember", "arguments": {}}))

    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    calls = [call.id for content in log for call in getattr(content, "tool_calls", None) or ()]
    assert [content.tool_call_id for content in log if content.role == "tool_result"] == calls == ["c1"]
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def test_a_server_that_breaks_off_in_a_tool_call(
    hass: HomeAssistant, server: HouseServer, fail_with: Callable[..., object], workshop: Workshop
) -> None:
    house = await fail_with(**{CONF_LLM_HASS_API: ["workshop"]})
    workshop.gate.clear()
    asking = asyncio.create_task(_ask(hass, "Drill!", "talk"))
    turn = (await house.until("turn"))["id"]
    await house.send("tool", id=1, turn=turn, call="c1", name=Drill.name, arguments={"depth": 1}, language="en")
    async with asyncio.timeout(SOON):
        await workshop.begun.wait()
        house.break_off()
        house = await server.house()

    workshop.begun.clear()
    other = asyncio.create_task(_ask(hass, "Drill twice!", "another talk"))
    turn = (await house.until("turn"))["id"]
    await house.send("tool", id=1, turn=turn, call="c1", name=Drill.name, arguments={"depth": 2}, language="en")
    async with asyncio.timeout(SOON):
        await workshop.begun.wait()
        workshop.gate.set()
        result = await asking
    assert (await house.until("reply"))["text"] == '{"holes":2}', "the other connection asked for one hole"
    await house.send("turn-end", id=turn, text="Two holes.", listen=False)
    assert _speech(await other) == "Two holes."

    assert result.response.response_type is intent.IntentResponseType.ERROR
    asking = asyncio.create_task(_ask(hass, "And now?", "talk"))
    turn = (await house.until("turn"))["id"]
    await house.send("turn-end", id=turn, text="Fine.", listen=False)
    assert _speech(await asking) == "Fine."
    assert len(house.of("reply")) == 1


async def test_a_slow_tool_is_waited_for_however_silent_the_server_is(
    hass: HomeAssistant, fail_with: Callable[..., object], workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await fail_with(**{CONF_LLM_HASS_API: ["workshop"]})
    monkeypatch.setattr(connection_module, "_SILENCE_SECONDS", 0.5)
    workshop.gate.clear()
    asking = asyncio.create_task(_ask(hass, "Drill!"))
    turn = (await house.until("turn"))["id"]
    await house.send("tool", id=1, turn=turn, call="c1", name=Drill.name, arguments={"depth": 1}, language="en")
    await workshop.begun.wait()
    hass.loop.call_later(1.0, workshop.gate.set)  # twice the silence that is borne

    assert await house.until("reply") == {"type": "reply", "to": 1, "text": '{"holes":1}', "failed": False}
    await house.send("turn-end", id=turn, text="Done.", listen=False)
    assert _speech(await asking) == "Done."


async def test_a_tool_that_the_server_waits_for_no_longer_is_stopped(
    hass: HomeAssistant, fail_with: Callable[..., object], workshop: Workshop
) -> None:
    house = await fail_with(**{CONF_LLM_HASS_API: ["workshop"]})
    workshop.gate.clear()
    asking = asyncio.create_task(_ask(hass, "Drill!", "talk"))
    turn = (await house.until("turn"))["id"]
    await house.send("tool", id=1, turn=turn, call="c1", name=Drill.name, arguments={"depth": 1}, language="en")
    async with asyncio.timeout(SOON):
        await workshop.begun.wait()
        await house.send("withdraw", id=1)
        await house.send("turn-delta", id=turn, text="It takes too long.")
        await house.send("turn-end", id=turn, text="It takes too long.", listen=False)
        assert _speech(await asking) == "It takes too long."

    assert workshop.abandoned == 1
    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    assert [content.role for content in log] == ["system", "user", "assistant", "tool_result", "assistant"]
    assert log[3].result.error
    assert not house.of("reply")


@pytest.mark.parametrize(("first", "failed"), [(2, False), (-1, True)])
async def test_each_tool_is_told_as_soon_as_it_is_done(
    hass: HomeAssistant, fail_with: Callable[..., object], workshop: Workshop, first: int, failed: bool
) -> None:
    house = await fail_with(**{CONF_LLM_HASS_API: ["workshop"]})
    workshop.gate.clear()
    workshop.held = 1
    asking = asyncio.create_task(_ask(hass, "Drill!", "talk"))
    turn = (await house.until("turn"))["id"]
    for number, depth in ((1, 1), (2, first)):
        await house.send(
            "tool", id=number, turn=turn, call=f"c{number}", name=Drill.name, arguments={"depth": depth}, language="en"
        )

    reply = await house.until("reply")
    assert (reply["to"], reply["failed"]) == (2, failed)
    workshop.gate.set()
    assert await house.until("reply") == {"type": "reply", "to": 1, "text": '{"holes":1}', "failed": False}
    await house.send("turn-end", id=turn, text="Done.", listen=False)
    assert _speech(await asking) == "Done."

    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    assert [call.id for content in log for call in getattr(content, "tool_calls", None) or ()] == ["c1", "c2"]
    assert [content.tool_call_id for content in log if content.role == "tool_result"] == ["c2", "c1"]
    (trace,) = async_get_traces()[-1:]
    assert [event.event_type for event in trace._events].count("tool_call") == 2  # as_dict would copy the tools


async def test_what_was_said_of_failures_is_no_answer(
    hass: HomeAssistant, server: HouseServer, fail_with: Callable[..., object]
) -> None:
    house = await fail_with()

    async def answered(text: str) -> list[Json]:
        asking = asyncio.create_task(_ask(hass, text, "talk"))
        turn = await house.until("turn")
        await house.send("turn-end", id=turn["id"], text="Fine.", listen=False)
        assert _speech(await asking) == "Fine."
        return turn["history"]

    assert await answered("How are you?") == []
    good = [{"question": "How are you?", "answer": "Fine.", "ours": True}]
    for ended in ("lost", "lost while speaking", "refused", "cancelled"):
        asking = asyncio.create_task(_ask(hass, "Hello?", "talk"))
        turn = (await house.until("turn"))["id"]
        if ended == "lost while speaking":
            await house.send("turn-delta", id=turn, text="I was about to")
        if ended == "refused":
            await house.send("turn-error", id=turn, code="busy", text="16 turns run already.")
        elif ended == "cancelled":
            asking.cancel()
        else:
            await house.send("busy", busy=True)
            house.break_off()
            house = await server.house()
        await asyncio.gather(asking, return_exceptions=True)

        assert await answered("And now?") == good, ended
        good.append({"question": "And now?", "answer": "Fine.", "ours": True})


async def test_nothing_is_longer_than_the_server_takes(hass: HomeAssistant, fail_with: Callable[..., object]) -> None:
    house = await fail_with()
    ids = set()
    for talk in ("c" * 300, "c" * 300 + "d"):
        asking = asyncio.create_task(
            conversation.async_converse(hass, "Hello?", talk, Context(), "x" * 40, AGENT, device_id="d" * 300)
        )
        turn = await house.until("turn")
        assert len(turn["language"]) <= 35
        assert max(len(turn[key]) for key in ("conversation_id", "satellite", "user", "room")) <= 200
        ids.add(turn["conversation_id"])
        await house.send("turn-end", id=turn["id"], text="Hello.", listen=False)
        await asking
    assert len(ids) == 2


async def test_a_turn_that_nobody_waits_for_is_cancelled(
    hass: HomeAssistant, fail_with: Callable[..., object], workshop: Workshop
) -> None:
    house = await fail_with(**{CONF_LLM_HASS_API: ["workshop"]})
    for kind, fields in (
        ("turn-delta", {"text": "Once "}),
        ("tool", {"turn": "", "call": "c1", "name": Drill.name, "arguments": {"depth": 1}, "language": "en"}),
    ):
        workshop.gate.clear()
        workshop.begun.clear()
        asking = asyncio.create_task(_ask(hass, "A story!"))
        turn = (await house.until("turn"))["id"]
        await house.send(kind, **{**fields, **({"id": 1, "turn": turn} if kind == "tool" else {"id": turn})})
        if kind == "tool":
            await workshop.begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await house.until("cancel"))["id"] == turn
    assert workshop.abandoned == 1


async def test_an_error_of_the_server_is_spoken(hass: HomeAssistant, fail_with: Callable[..., object]) -> None:
    house = await fail_with()
    asking = asyncio.create_task(_ask(hass, "Hello?"))
    turn = (await house.until("turn"))["id"]
    await house.send("turn-error", id=turn, code="busy", text="16 turns run already.")

    result = await asking

    assert _speech(result) == "16 turns run already."
    assert result.response.response_type is intent.IntentResponseType.ERROR


async def test_without_a_server_it_is_unavailable_and_says_so(
    hass: HomeAssistant, server: HouseServer, fail_with: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_ARRIVAL_SECONDS", 0.05)
    house = await fail_with()
    assert hass.states.get(AGENT).state != STATE_UNAVAILABLE
    await server.stop()
    async with asyncio.timeout(SOON):
        await house.over.wait()
    await _until_available(hass, AGENT, available=False)

    result = await _ask(hass, "Hello?")

    assert "cannot be reached" in _speech(result)
    too_long = await _ask(hass, "x" * 5000)
    assert "in parts" in _speech(too_long)


async def test_sentences_of_a_turn_are_performed_in_its_chat_log(
    hass: HomeAssistant, fail_with: Callable[..., object]
) -> None:
    house = await fail_with()
    assert await async_setup_component(hass, "light", {})
    _lamp(hass, "Frumious lamp", None)
    switched = async_mock_service(hass, "light", "turn_on")
    jane = await hass.auth.async_create_user("Jane")
    asking = asyncio.create_task(_ask(hass, "on with the lamp", "talk", context=Context(user_id=jane.id)))
    turn = (await house.until("turn"))["id"]
    text = {"turn": turn, "text": "turn on the frumious lamp", "language": "en"}
    await house.send("recognize", id=1, **text)
    assert (await house.until("reply"))["understood"]["intent"] == "HassTurnOn"
    assert not switched
    state = {"text": "is the frumious lamp on", "language": "en"}
    for number, place in ((3, {"turn": turn}), (4, {"satellite": "", "user": "", "room": ""})):
        await house.send("recognize", id=number, **state, **place)
    understood = {
        reply["to"]: reply["understood"] for reply in [await house.until("reply"), await house.until("reply")]
    }
    assert understood[3] is None, "Home Assistant itself leaves questions to an agent with its tools"
    assert understood[4]["intent"] == "HassGetState"
    await house.send("perform", id=2, **text)
    reply = await house.until("reply")
    await house.send("turn-end", id=turn, text=reply["text"], listen=False)

    result = await asking

    assert switched[0].context.user_id == jane.id
    assert _speech(result) == reply["text"]
    log = hass.data[conversation.chat_log.DATA_CHAT_LOGS]["talk"].content
    assert [content.role for content in log] == ["system", "user", "assistant", "tool_result", "assistant"]


class Drill(llm.Tool):
    """A tool that can be held up, that refuses some numbers, and has a defect for others."""

    name = "workshop__drill"
    description = "Drill holes."
    parameters = probatio.Schema({probatio.Required("depth"): int})
    integration = "workshop"

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    @override
    async def async_call(
        self, hass: HomeAssistant, tool_input: llm.ToolInput, llm_context: llm.LLMContext
    ) -> llm.ToolResult:
        self._workshop.calls.append(llm_context)
        self._workshop.devices.append(llm_context.device_id)
        self._workshop.begun.set()
        depth = tool_input.tool_args["depth"]
        try:
            if self._workshop.held in (None, depth):
                await self._workshop.gate.wait()
        except asyncio.CancelledError:
            self._workshop.abandoned += 1
            raise
        if depth > 10:
            raise HomeAssistantError("through the wall")
        if depth < 0:
            raise ValueError("the drill is broken")
        return llm.ToolResult(data={"holes": depth})


class Workshop(llm.API):
    """An API with one tool."""

    def __init__(self, hass: HomeAssistant) -> None:
        super().__init__(hass=hass, id="workshop", name="Workshop")
        self.calls: list[llm.LLMContext] = []
        self.devices: list[str | None] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.held: int | None = None
        """The only depth that has to wait at the gate; else all have to."""
        self.abandoned = 0

    @override
    async def async_get_api_instance(self, llm_context: llm.LLMContext) -> llm.APIInstance:
        return llm.APIInstance(self, "Drill with care.", llm_context, [Drill(self)])


def _drills(tool: Offered) -> bool:
    return "drill" in tool.name


def _turns_on(tool: Offered) -> bool:
    return "turnon" in tool.name.casefold()


def _said(text: str) -> conversation.ConversationInput:
    return conversation.ConversationInput(
        text=text,
        context=Context(),
        conversation_id=None,
        device_id=None,
        satellite_id=None,
        language="en",
        agent_id="conversation.meadowlark",
    )


async def _ask(
    hass: HomeAssistant,
    text: str,
    conversation_id: str | None = None,
    *,
    agent: str = AGENT,
    context: Context | None = None,
    device_id: str | None = None,
) -> conversation.ConversationResult:
    return await conversation.async_converse(
        hass, text, conversation_id, context or Context(), "en", agent, device_id=device_id
    )


def _speech(result: conversation.ConversationResult) -> str:
    return str(result.response.speech["plain"]["speech"])


def _lamp(hass: HomeAssistant, name: str, area_id: str | None) -> None:
    """An exposed lamp, `light.lamp`."""
    registry = er.async_get(hass)
    entity_id = registry.async_get_or_create(
        "light", "test", "1", suggested_object_id="lamp", original_name=name
    ).entity_id
    registry.async_update_entity(entity_id, area_id=area_id)
    hass.states.async_set(entity_id, "off", {"friendly_name": name})
    async_expose_entity(hass, "conversation", entity_id, True)


async def _until_available(hass: HomeAssistant, entity_id: str, *, available: bool = True) -> None:
    """Wait until an entity is available, or is not any more."""
    changed = asyncio.Event()

    @callback
    def note(_event: Event) -> None:
        changed.set()

    end = hass.bus.async_listen("state_changed", note)
    try:
        async with asyncio.timeout(SOON):
            while (state := hass.states.get(entity_id)) is None or (state.state != STATE_UNAVAILABLE) is not available:
                changed.clear()
                await changed.wait()
    finally:
        end()
