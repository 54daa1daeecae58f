"""The connection to the server: that it comes, stays and comes again, and what happens when it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from homeassistant.components.conversation import ChatLog, ConversationInput
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_LLM_HASS_API, CONF_PORT, CONF_TOKEN, EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import instance_id
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.meadowlark import connection as connection_module
from custom_components.meadowlark import link as link_module
from custom_components.meadowlark.const import DOMAIN
from custom_components.meadowlark.link import Link
from custom_components.meadowlark.satellites import Satellite
from custom_components.meadowlark.turn import Delta, End, HouseTool, HouseToolResult, LinkError, Turn, TurnEvent

from .conftest import SetUp
from .support.house_server import SOON, House, HouseServer
from .support.server import MeadowlarkServer

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines are the same, but nobody has to wait for them here."""
    monkeypatch.setattr(link_module, "_SHORTEST_WAIT", 0.05)
    monkeypatch.setattr(link_module, "_LONGEST_WAIT", 0.5)
    monkeypatch.setattr(connection_module, "_LENDING_SECONDS", 0.01)


@pytest.fixture
async def server() -> AsyncIterator[HouseServer]:
    async with HouseServer() as server:
        yield server


@pytest.fixture
async def entry(server: HouseServer, set_up: SetUp) -> MockConfigEntry:
    entry = await set_up(_entry(server))
    assert entry.state is ConfigEntryState.LOADED, entry.reason
    return entry


@pytest.fixture
def link(entry: MockConfigEntry) -> Link:
    return entry.runtime_data.link


async def test_a_real_server_is_connected(hass: HomeAssistant, setup_integration: MockConfigEntry) -> None:
    link = setup_integration.runtime_data.link
    await _until(link, lambda: link.connected)

    events = [event async for event in link.turn(_turn(hass, "What is 3 times 4?"))]

    assert isinstance(events[-1], End)
    assert "12" in events[-1].text
    assert "".join(event.text for event in events if isinstance(event, Delta)) == events[-1].text


async def test_a_real_server_that_hangs_and_one_that_is_killed(
    hass: HomeAssistant,
    set_up: SetUp,
    own_meadowlark: MeadowlarkServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "_PING_SECONDS", 0.5)
    monkeypatch.setattr(link_module, "_DEAD_SECONDS", 3.0)
    data = {CONF_HOST: own_meadowlark.host, CONF_PORT: own_meadowlark.http_port}
    entry = await set_up(MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=own_meadowlark.id, data=data))
    link = entry.runtime_data.link
    await _until(link, lambda: link.connected)

    own_meadowlark.pause()
    try:
        await _until(link, lambda: not link.connected)
    finally:
        own_meadowlark.resume()
    await _until(link, lambda: link.connected)
    await asyncio.to_thread(own_meadowlark.kill)
    await _until(link, lambda: not link.connected)
    await asyncio.to_thread(own_meadowlark.start)
    await _until(link, lambda: link.connected)

    assert isinstance((await _events(link, _turn(hass, "What is 3 times 4?")))[-1], End)
    assert caplog.text.count("There is no connection to Attic") == 2
    assert caplog.text.count("The connection to Attic is there again") == 2


async def test_a_real_server_with_a_token(
    hass: HomeAssistant, set_up: SetUp, guarded_meadowlark: MeadowlarkServer
) -> None:
    data = {
        CONF_HOST: guarded_meadowlark.host,
        CONF_PORT: guarded_meadowlark.http_port,
        CONF_TOKEN: guarded_meadowlark.token,
    }
    entry = await set_up(MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=guarded_meadowlark.id, data=data))

    await _until(entry.runtime_data.link, lambda: entry.runtime_data.link.connected)


async def test_hello_says_who_we_are(hass: HomeAssistant, server: HouseServer, entry: MockConfigEntry) -> None:
    house = await server.house()

    assert house.hello["protocol"] == 1
    assert house.hello["instance"] == await instance_id.async_get(hass)
    assert house.hello["name"] == hass.config.location_name


async def test_the_house_is_lent_again_when_it_has_changed(
    hass: HomeAssistant, server: HouseServer, entry: MockConfigEntry
) -> None:
    house = await server.house()

    hass.states.async_set("light.table", "off", {"friendly_name": "Table lamp"})
    assert "Table lamp" in (await house.until("lend"))["names"]

    hass.states.async_set("light.table", "off", {"friendly_name": "Desk lamp"})
    assert "Desk lamp" in (await house.until("lend"))["names"]


async def test_what_the_server_tells_of_itself(server: HouseServer, entry: MockConfigEntry, link: Link) -> None:
    house = await server.house()
    assert (link.busy, link.satellites) == (False, ())

    await house.send("busy", busy=True)
    await _until(link, lambda: link.busy)
    await house.send("satellites", satellites=[{"id": "hall", "room": "Hall"}, {"room": "no id"}, 7])
    await _until(link, lambda: link.satellites == (Satellite("hall", "Hall"),))
    await house.send(
        "timeline", service="pipeline", outcome="completed", route="skill/time", stages_ms={"response": 320.0}
    )
    await house.send("busy", busy=False)
    await _until(link, lambda: not link.busy)
    assert entry.runtime_data.latencies.last("response") == 320.0

    house.break_off()
    await _until(link, lambda: not link.connected)
    assert link.satellites == ()


async def test_nonsense_does_no_harm(hass: HomeAssistant, server: HouseServer, link: Link) -> None:
    house = await server.house()
    for text in ("{", "[]", '"x"', "{}", '{"type": 3}', '{"type": "turn-delta", "id": 7}', '{"type": "dance"}'):
        await house.send_text(text)
    await house.send("withdraw", id=12345)
    await house.send("turn-end", id="nobody's", text="x", listen=False)
    await house.send("busy", busy="perhaps")
    await house.send("satellites", satellites={"no": "list"})
    await house.send("timeline", stages_ms=None)
    await house.send("tool", id=1, turn="nobody's", call="c", name="n", arguments={})
    assert (await house.until("reply"))["error"]["code"] == "no_turn"
    await house.send("recognize", id=2)
    assert (await house.until("reply"))["error"]["code"] == "failed"

    assert await _answered(hass, link, house) == "Fine."
    assert server.connections == 1


async def test_a_lost_connection_fails_what_runs_at_once(
    hass: HomeAssistant, server: HouseServer, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    house = await server.house()
    running = [asyncio.create_task(_events(link, _turn(hass, f"Question {number}"))) for number in range(3)]
    for _ in running:
        await house.until("turn")

    house.break_off()

    for result in await asyncio.gather(*running, return_exceptions=True):
        assert isinstance(result, LinkError)
        assert result.code == "lost"
    house = await server.house()
    assert await _answered(hass, link, house) == "Fine."
    assert caplog.text.count("There is no connection") == 1
    assert caplog.text.count("is there again") == 1


async def test_a_server_that_is_gone_is_tried_again_until_it_is_there(
    hass: HomeAssistant, server: HouseServer, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    await server.house()
    await server.stop()
    await _until(link, lambda: not link.connected)
    await server.start()
    server.house_status = 503
    await server.tried(server.tries + 3)
    assert not link.connected
    server.house_status = 0

    assert await _answered(hass, link, await server.house()) == "Fine."
    assert len([record for record in caplog.records if "There is no connection" in record.message]) == 1


async def test_without_a_connection_a_turn_fails_soon(
    hass: HomeAssistant, server: HouseServer, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_ARRIVAL_SECONDS", 0.05)
    await server.house()
    await server.stop()
    await _until(link, lambda: not link.connected)

    with pytest.raises(LinkError) as failed:
        await _events(link, _turn(hass, "Anybody?"))

    assert failed.value.code == "not_connected"
    assert "cannot be reached" in failed.value.text


async def test_a_server_that_never_says_welcome_is_left(
    server: HouseServer, set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_CONNECT_SECONDS", 0.1)
    server.mute = True
    await set_up(_entry(server))
    await server.tried(3)
    server.mute = False

    await server.house()


async def test_a_server_that_is_silent_in_a_turn(
    hass: HomeAssistant, server: HouseServer, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_SILENCE_SECONDS", 0.05)
    house = await server.house()

    with pytest.raises(LinkError) as failed:
        await _events(link, _turn(hass, "Anybody?"))

    assert failed.value.code == "silent"
    assert (await house.until("cancel"))["id"] == house.of("turn")[0]["id"]


async def test_an_error_of_the_server_is_its_own(hass: HomeAssistant, server: HouseServer, link: Link) -> None:
    house = await server.house()
    running = asyncio.create_task(_events(link, _turn(hass, "Anybody?")))
    turn = await house.until("turn")

    await house.send("turn-error", id=turn["id"], code="busy", text="Too many turns run.")

    with pytest.raises(LinkError) as failed:
        await running
    assert (failed.value.code, failed.value.text) == ("busy", "Too many turns run.")
    assert not house.of("cancel")


async def test_a_turn_that_is_left_is_cancelled(hass: HomeAssistant, server: HouseServer, link: Link) -> None:
    house = await server.house()
    events = link.turn(_turn(hass, "A long story, please"))
    first = asyncio.create_task(anext(events))
    turn = await house.until("turn")
    await house.send("turn-delta", id=turn["id"], text="Once ")
    assert await first == Delta("Once ")

    await events.aclose()

    assert (await house.until("cancel"))["id"] == turn["id"]
    await house.send("turn-delta", id=turn["id"], text="upon a time")
    assert await _answered(hass, link, house) == "Fine."


async def test_turns_do_not_disturb_each_other(hass: HomeAssistant, server: HouseServer, link: Link) -> None:
    house = await server.house()
    running = [asyncio.create_task(_events(link, _turn(hass, f"Question {number}"))) for number in range(3)]
    turns = [await house.until("turn") for _ in running]
    for turn in reversed(turns):
        await house.send("turn-delta", id=turn["id"], text=turn["text"])
    for turn in turns:
        await house.send("turn-end", id=turn["id"], text=turn["text"], listen=False)

    for number, events in enumerate(await asyncio.gather(*running)):
        assert events == [Delta(f"Question {number}"), End(f"Question {number}", listen=False)]


async def test_a_tool_is_refused_to_a_turn_that_has_none(hass: HomeAssistant, server: HouseServer, link: Link) -> None:
    house = await server.house()
    running = asyncio.create_task(_events(link, _turn(hass, "Switch everything off")))
    turn = (await house.until("turn"))["id"]
    await house.send("tool", id=1, turn=turn, call="c1", name="off", arguments={"n": 1})

    reply = await house.until("reply")
    await house.send("turn-end", id=turn, text="I may not.", listen=False)

    assert (reply["to"], reply["failed"]) == (1, True)
    wanted, result, end = await running
    assert wanted == HouseTool("c1", "off", {"n": 1})
    assert isinstance(result, HouseToolResult)
    assert (result.call, result.result.error) == ("c1", True)
    assert end == End("I may not.", listen=False)


async def test_requests_that_are_answered_at_once_are_not_counted_for_ever(
    hass: HomeAssistant, server: HouseServer, set_up: SetUp
) -> None:
    entry = _entry(server)
    await set_up(MockConfigEntry(domain=DOMAIN, unique_id=server.id, data=entry.data, options={CONF_LLM_HASS_API: []}))
    house = await server.house()
    for number in range(connection_module._MOST_ASKED + 1):
        await house.send("recognize", id=number, text="turn on the light", language="en")
        assert await house.until("reply") == {"type": "reply", "to": number, "understood": None}


async def test_a_defect_does_not_end_the_link(
    hass: HomeAssistant, server: HouseServer, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    house = await server.house()
    defects: list[Exception] = []

    def listener() -> None:
        if link.connected and not defects:
            defects.append(ValueError("a listener's own"))
            raise defects[0]

    end = link.subscribe(listener)
    house.break_off()

    assert await _answered(hass, link, await server.house()) == "Fine."
    assert defects
    assert caplog.text.count("There is no connection") == 1
    end()


async def test_more_requests_than_may_are_refused_and_those_withdrawn_are_stopped(
    hass: HomeAssistant, server: HouseServer, link: Link
) -> None:
    house = await server.house()
    begun, ended = asyncio.Event(), asyncio.Event()
    hass.states.async_set("assist_satellite.kitchen", "idle")

    async def announce(_call: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    hass.services.async_register("assist_satellite", "announce", announce)
    satellite = {"satellite": "assist_satellite.kitchen", "text": "Dinner!", "language": "en"}
    for number in range(connection_module._MOST_ASKED + 1):
        await house.send("announce", id=number, **satellite)
    reply = await house.until("reply")
    assert (reply["to"], reply["error"]["code"]) == (connection_module._MOST_ASKED, "busy")

    async with asyncio.timeout(SOON):
        await begun.wait()
        for number in range(connection_module._MOST_ASKED):
            await house.send("withdraw", id=number)
        await ended.wait()
    assert await _answered(hass, link, house) == "Fine."
    assert len(house.of("reply")) == 1


async def test_a_wrong_token_asks_the_user_once(
    hass: HomeAssistant, set_up: SetUp, caplog: pytest.LogCaptureFixture
) -> None:
    async with HouseServer(token="right") as server:
        entry = await set_up(_entry(server, "right"))
        house = await server.house()
        server.token = "changed"
        house.break_off()

        await server.tried(2)
        await _until_ended("meadowlark link")  # a wrong token is not tried again
        await hass.async_block_till_done()

        (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        assert flow["context"]["source"] == SOURCE_REAUTH
        assert server.tries == 2
        assert not entry.runtime_data.link.connected
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


async def test_a_token_to_which_no_house_is_lent_asks_the_user(
    hass: HomeAssistant, server: HouseServer, entry: MockConfigEntry
) -> None:
    house = await server.house()
    server.house_status = 403
    house.break_off()

    await server.tried(2)
    await _until_ended("meadowlark link")
    await hass.async_block_till_done()

    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == SOURCE_REAUTH
    assert server.tries == 2


@pytest.mark.parametrize(
    ("change", "issue"),
    [
        ({"id": "11111111-2222-3333-4444-555555555555"}, "other_server"),
        ({"protocol": 0}, "server_too_old"),
        ({"protocol": 2}, "server_too_new"),
        ({"protocol": 2, "refuses": ("protocol", 4406)}, "server_too_new"),
    ],
)
async def test_a_server_that_has_become_another_is_an_issue_until_it_is_back(
    hass: HomeAssistant, server: HouseServer, entry: MockConfigEntry, change: dict[str, object], issue: str
) -> None:
    house = await server.house()
    before = {key: getattr(server, key) for key in change}
    for key, value in change.items():
        setattr(server, key, value)
    house.break_off()

    await _until_state(entry, ConfigEntryState.SETUP_RETRY)
    assert ir.async_get(hass).async_get_issue(DOMAIN, f"{issue}_{entry.entry_id}") is not None

    for key, value in before.items():
        setattr(server, key, value)
    assert await hass.config_entries.async_reload(entry.entry_id)
    await server.house()
    assert ir.async_get(hass).async_get_issue(DOMAIN, f"{issue}_{entry.entry_id}") is None


async def test_a_server_that_was_updated_is_set_up_anew(
    hass: HomeAssistant, server: HouseServer, entry: MockConfigEntry
) -> None:
    house = await server.house()
    before = entry.runtime_data
    server.version = "0.2.0"
    house.break_off()

    await _until_state(entry, ConfigEntryState.SETUP_IN_PROGRESS)
    await _until_state(entry, ConfigEntryState.LOADED)
    await server.house()
    assert entry.runtime_data is not before
    assert entry.runtime_data.server.version == "0.2.0"


async def test_unloading_and_the_end_of_home_assistant_close_it(
    hass: HomeAssistant, server: HouseServer, entry: MockConfigEntry, link: Link
) -> None:
    house = await server.house()
    running = asyncio.create_task(_events(link, _turn(hass, "Anybody?")))
    await house.until("turn")

    assert await hass.config_entries.async_unload(entry.entry_id)
    async with asyncio.timeout(SOON):
        await house.over.wait()
        with pytest.raises(LinkError, match="lost"):
            await running

    assert await hass.config_entries.async_setup(entry.entry_id)
    house = await server.house()
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    async with asyncio.timeout(SOON):
        await house.over.wait()
    await hass.async_block_till_done()
    assert not entry.runtime_data.link.connected


def _entry(server: HouseServer, token: str | None = None) -> MockConfigEntry:
    data: dict[str, object] = {CONF_HOST: server.host, CONF_PORT: server.http_port}
    if token is not None:
        data[CONF_TOKEN] = token
    return MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=server.id, data=data)


def _turn(hass: HomeAssistant, text: str) -> Turn:
    said = ConversationInput(
        text=text,
        context=Context(),
        conversation_id=None,
        device_id=None,
        satellite_id=None,
        language="en",
        agent_id="conversation.attic",
    )
    return Turn(said, ChatLog(hass, "c1"), {"text": text, "language": "en"})


async def _events(link: Link, turn: Turn) -> list[TurnEvent]:
    return [event async for event in link.turn(turn)]


async def _answered(hass: HomeAssistant, link: Link, house: House) -> str:
    """Whether a turn works: what the answer is."""
    running = asyncio.create_task(_events(link, _turn(hass, "And now?")))
    turn = await house.until("turn")
    assert turn["text"] == "And now?"
    await house.send("turn-end", id=turn["id"], text="Fine.", listen=False)
    async with asyncio.timeout(SOON):
        events = await running
    assert isinstance(events[-1], End)
    return events[-1].text


async def _until_ended(name: str) -> None:
    """Wait until the task of this name has ended."""
    async with asyncio.timeout(SOON):
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == name), return_exceptions=True)


async def _until_state(entry: MockConfigEntry, state: ConfigEntryState) -> None:
    changed = asyncio.Event()
    end = entry.async_on_state_change(changed.set)
    try:
        async with asyncio.timeout(SOON):
            while entry.state is not state:
                changed.clear()
                await changed.wait()
    finally:
        end()


async def _until(link: Link, fulfilled: Callable[[], bool]) -> None:
    """Wait until something about the link is so."""
    changed = asyncio.Event()
    end = link.subscribe(changed.set)
    try:
        async with asyncio.timeout(60):
            while not fulfilled():
                await changed.wait()
                changed.clear()
    finally:
        end()
