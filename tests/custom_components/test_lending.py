"""What is lent of a real Home Assistant, and what it does when the server asks. No server is needed for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import override

import probatio
import pytest
from homeassistant.components import conversation
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.const import CONF_LLM_HASS_API, STATE_OFF
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import floor_registry as fr
from homeassistant.helpers import llm
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_mock_service

from custom_components.meadowlark.const import CONF_LEND_HOUSE, DOMAIN
from custom_components.meadowlark.lending import EVENT_ANNOUNCEMENT, LONGEST_NAME, MOST_NAMES, Lending, Shape
from custom_components.meadowlark.satellites import Satellite

SERVER = "0c9e7f3a-server"


@pytest.fixture(autouse=True)
async def _components(hass: HomeAssistant) -> None:
    assert await async_setup_component(hass, "conversation", {})
    assert await async_setup_component(hass, "light", {})


@pytest.fixture
def lend_to(hass: HomeAssistant) -> Callable[..., Lending]:
    """A lending with these options."""

    def make(**options: object) -> Lending:
        entry = MockConfigEntry(domain=DOMAIN, title="Attic", unique_id=SERVER, options=options)
        entry.add_to_hass(hass)
        return Lending(hass, entry)

    return make


@pytest.fixture
def lending(lend_to: Callable[..., Lending]) -> Lending:
    return lend_to()


async def test_names_are_of_what_is_exposed_the_most_useful_first(hass: HomeAssistant, lending: Lending) -> None:
    kitchen = ar.async_get(hass).async_create("Kitchen", aliases={"Cook's corner"})
    fr.async_get(hass).async_create("Ground floor")
    _entity(hass, "sensor", "outside", "Outside")
    _entity(hass, "light", "table", "Table lamp", area=kitchen.id, aliases=["Candle"])
    _entity(hass, "switch", "secret", "Secret door", exposed=False)
    hass.states.async_set("person.jane", "home", {"friendly_name": "Jane"})
    hass.states.async_set("light.second", "off", {"friendly_name": "  table   LAMP "})
    hass.states.async_set("light.novel", "off", {"friendly_name": "n" * (LONGEST_NAME + 1)})

    names = (await lending.lend())["names"]

    assert names == ["Kitchen", "Cook's corner", "Table lamp", "Candle", "Ground floor", "Outside", "Jane"]


async def test_there_are_not_more_names_than_the_server_takes(hass: HomeAssistant, lending: Lending) -> None:
    for number in range(MOST_NAMES + 5):
        hass.states.async_set(f"light.number_{number}", STATE_OFF, {"friendly_name": f"Lamp {number}"})

    assert len((await lending.lend())["names"]) == MOST_NAMES


async def test_rooms_are_not_longer_than_the_server_takes(hass: HomeAssistant, lending: Lending) -> None:
    area = ar.async_get(hass).async_create("r" * (LONGEST_NAME + 1))
    lending.satellites.update([Satellite("hall")])
    dr.async_get(hass).async_update_device(lending.satellites.device_id("hall"), area_id=area.id)

    assert (await lending.lend())["rooms"] == {"hall": "r" * LONGEST_NAME}


async def test_tools_are_home_assistants_own(hass: HomeAssistant, lending: Lending) -> None:
    _entity(hass, "light", "table", "Table lamp")
    api = await llm.async_get_api(hass, "assist", llm.LLMContext(DOMAIN, Context(), "en", "conversation", None))

    toolset = (await lending.lend())["toolset"]

    assert [tool["name"] for tool in toolset["tools"]] == [tool.name for tool in api.tools]
    assert toolset["instructions"] == api.api_prompt
    assert all(tool["parameters"]["type"] == "object" for tool in toolset["tools"])
    by_name = {tool.name: tool for tool in api.tools}
    for tool in toolset["tools"]:
        assert tool["read_only"] == by_name[tool["name"]].annotations.read_only
        assert tool["open_world"] == by_name[tool["name"]].annotations.open_world
    assert any(tool["read_only"] for tool in toolset["tools"])
    assert any(not tool["read_only"] for tool in toolset["tools"])


async def test_a_tool_that_cannot_be_described_is_left_out(
    hass: HomeAssistant, lend_to: Callable[..., Lending], caplog: pytest.LogCaptureFixture
) -> None:
    llm.async_register_api(hass, Workshop(hass, [Drill(), Undescribed()]))
    lending = lend_to(**{CONF_LLM_HASS_API: ["workshop"]})

    for _ in range(2):
        toolset = (await lending.lend())["toolset"]
        assert [tool["name"] for tool in toolset["tools"]] == [Drill.name]

    assert caplog.text.count("workshop__undescribed") == 1


async def test_nothing_is_lent_against_the_owners_wish(hass: HomeAssistant, lend_to: Callable[..., Lending]) -> None:
    _entity(hass, "light", "table", "Table lamp")
    switched = async_mock_service(hass, "light", "turn_on")
    lending = lend_to(**{CONF_LEND_HOUSE: False})

    assert await lending.lend() == {"type": "lend"}
    assert await lending.answer(_ask("recognize", "turn on the table lamp"), None) == {"understood": None}
    assert await lending.answer(_ask("perform", "turn on the table lamp"), None) == {"understood": None}
    with pytest.raises(HomeAssistantError, match="not lend"):
        await lending.answer(_tool("intent__HassTurnOn", name="Table lamp"), None)
    assert not switched


async def test_an_agent_that_may_not_act_gets_names_only(hass: HomeAssistant, lend_to: Callable[..., Lending]) -> None:
    _entity(hass, "light", "table", "Table lamp")
    lending = lend_to(**{CONF_LLM_HASS_API: []})

    lent = await lending.lend()

    assert lent["names"] == ["Table lamp"]
    assert lent["sentences"] is False
    assert lent["toolset"] is None
    assert await lending.answer(_ask("recognize", "turn on the table lamp"), None) == {"understood": None}


async def test_an_api_that_is_gone_is_said_once(
    lend_to: Callable[..., Lending], caplog: pytest.LogCaptureFixture
) -> None:
    lending = lend_to(**{CONF_LLM_HASS_API: ["mcp-of-last-year"]})

    for _ in range(2):
        assert (await lending.lend())["toolset"] is None

    assert caplog.text.count("mcp-of-last-year") == 1


async def test_people_are_the_users_that_are_persons(hass: HomeAssistant, lending: Lending) -> None:
    jane = await hass.auth.async_create_user("Jane")
    await hass.auth.async_create_system_user("Cloud")
    gone = await hass.auth.async_create_user("Gone")
    await hass.auth.async_update_user(gone, is_active=False)

    people = (await lending.lend())["people"]

    assert people[jane.id] == "Jane"
    assert not {"Cloud", "Gone"} & set(people.values())


async def test_changes_are_noticed(hass: HomeAssistant, lending: Lending) -> None:
    _entity(hass, "light", "table", "Table lamp")
    area = ar.async_get(hass).async_create("Kitchen")
    lending.satellites.update([Satellite("hall")])
    device_id = lending.satellites.device_id("hall")
    changed = asyncio.Event()
    end = lending.listen(changed.set)
    changes: list[Callable[[], object]] = [
        lambda: er.async_get(hass).async_update_entity("light.table", name="Desk lamp"),
        lambda: ar.async_get(hass).async_update(area.id, name="Galley"),
        lambda: dr.async_get(hass).async_update_device(device_id, area_id=area.id),
        lambda: async_expose_entity(hass, "conversation", "light.table", False),
        lambda: hass.states.async_set("cover.blind", "open", {"friendly_name": "Blind"}),
        lambda: hass.states.async_set("cover.blind", "open", {"friendly_name": "Shutter"}),
        lambda: hass.states.async_remove("cover.blind"),
        lambda: hass.bus.async_fire("user_added", {"user_id": "x"}),
    ]
    for change in changes:
        changed.clear()
        change()
        async with asyncio.timeout(5):
            await changed.wait()
    await hass.async_block_till_done()
    changed.clear()

    hass.states.async_set("light.table", "on", {"friendly_name": "Table lamp"})
    await hass.async_block_till_done()
    assert not changed.is_set(), "a lamp that is switched on changes nothing of what is lent"
    end()
    ar.async_get(hass).async_create("Attic")
    await hass.async_block_till_done()
    assert not changed.is_set()


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("turn on the table lamp", {"intent": "HassTurnOn", "acts": True, "open_ended": False}),
        ("Turn on the Table Lamp.", {"intent": "HassTurnOn", "acts": True, "open_ended": False}),
        ("is the table lamp on?", {"intent": "HassGetState", "acts": False, "open_ended": False}),
        ("what time is it", {"intent": "HassGetCurrentTime", "acts": False, "open_ended": False}),
        ("turn on the lamp in the moon", None),
        ("turn on the secret door", None),
        ("set a timer for five minutes", None),  # nothing here can ring: the server's own timer is meant
        ("tell me a story", None),
    ],
)
async def test_sentences_are_recognized_and_nothing_is_done(
    hass: HomeAssistant, lending: Lending, text: str, understood: Shape | None
) -> None:
    _entity(hass, "light", "table", "Table lamp")
    _entity(hass, "switch", "secret", "Secret door", exposed=False)
    switched = async_mock_service(hass, "light", "turn_on")

    assert await lending.answer(_ask("recognize", text), None) == {"understood": understood}
    assert not switched


async def test_a_language_without_sentences_is_not_understood(lending: Lending) -> None:
    assert await lending.answer(_ask("recognize", "nuqneH", "tlh"), None) == {"understood": None}


async def test_sentences_of_a_language_are_loaded_although_nobody_waits_any_more(
    hass: HomeAssistant, lending: Lending
) -> None:
    _entity(hass, "light", "table", "Tischlampe")
    impatient = asyncio.create_task(lending.answer(_ask("recognize", "Schalte die Tischlampe ein", "de"), None))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient

    reply = await lending.answer(_ask("recognize", "Schalte die Tischlampe ein", "de"), None)
    assert reply["understood"]["intent"] == "HassTurnOn"


async def test_a_sentence_is_performed_for_its_speaker(hass: HomeAssistant, lending: Lending) -> None:
    _entity(hass, "light", "table", "Table lamp")
    switched = async_mock_service(hass, "light", "turn_on")
    jane = await hass.auth.async_create_user("Jane")

    reply = await lending.answer({**_ask("perform", "turn on the table lamp"), "user": jane.id}, None)

    assert reply["understood"]["intent"] == "HassTurnOn"
    assert reply["failed"] is False
    assert reply["text"]
    assert switched[0].data["entity_id"] == ["light.table"]
    assert switched[0].context.user_id == jane.id


async def test_the_room_of_a_satellite_counts(hass: HomeAssistant, lending: Lending) -> None:
    kitchen, bath = (ar.async_get(hass).async_create(name) for name in ("Kitchen", "Bath"))
    _entity(hass, "light", "table", "Big lamp", area=kitchen.id)
    _entity(hass, "light", "mirror", "Big lamp", area=bath.id)
    switched = async_mock_service(hass, "light", "turn_on")
    lending.satellites.update([Satellite("pi-1", "Kitchen"), Satellite("pi-2")])

    assert (await lending.lend())["rooms"] == {"pi-1": "Kitchen"}
    reply = await lending.answer({**_ask("perform", "turn on the lights"), "satellite": "pi-1"}, None)
    assert reply["failed"] is False
    assert [call.data["entity_id"] for call in switched] == [["light.table"]]

    reply = await lending.answer({**_tool("intent__HassTurnOn", name="Big lamp"), "satellite": "pi-1"}, None)
    assert reply["failed"] is False, reply
    assert [call.data["entity_id"] for call in switched[1:]] == [["light.table"]]


async def test_a_renamed_device_is_not_understood_any_more(hass: HomeAssistant, lending: Lending) -> None:
    _entity(hass, "light", "table", "Table lamp")
    switched = async_mock_service(hass, "light", "turn_on")
    assert (await lending.answer(_ask("recognize", "turn on the table lamp"), None))["understood"] is not None

    er.async_get(hass).async_update_entity("light.table", name="Desk lamp")
    await hass.async_block_till_done()

    assert await lending.answer(_ask("perform", "turn on the table lamp"), None) == {"understood": None}
    assert not switched
    assert (await lending.answer(_ask("perform", "turn on the desk lamp"), None))["understood"] is not None
    assert len(switched) == 1


async def test_a_device_that_fails_is_a_failure(hass: HomeAssistant, lending: Lending) -> None:
    _entity(hass, "light", "table", "Table lamp")

    async def fail(_call: object) -> None:
        raise HomeAssistantError("the bulb is gone")

    hass.services.async_register("light", "turn_on", fail)

    reply = await lending.answer(_ask("perform", "turn on the table lamp"), None)

    assert reply["understood"] is not None
    assert reply["failed"] is True
    assert reply["text"]


async def test_sentences_of_automations(hass: HomeAssistant, lending: Lending) -> None:
    runs = async_mock_service(hass, "script", "party")
    assert await async_setup_component(
        hass,
        "automation",
        {
            "automation": {
                "trigger": {"platform": "conversation", "command": ["it is party time", "play music by {artist}"]},
                "action": [{"service": "script.party"}, {"set_conversation_response": "Party!"}],
            }
        },
    )
    trigger = {"intent": "sentence_trigger", "acts": True, "open_ended": False}

    assert await lending.answer(_ask("recognize", "it is party time"), None) == {"understood": trigger}
    assert await lending.answer(_ask("recognize", "play music by the Beatles"), None) == {
        "understood": {**trigger, "open_ended": True}
    }
    assert not runs
    reply = await lending.answer(_ask("perform", "it is party time"), None)
    assert reply == {"understood": {"intent": "sentence_trigger"}, "text": "Party!"}
    assert len(runs) == 1


async def test_what_is_done_for_satellites_leaves_no_conversation(hass: HomeAssistant, lending: Lending) -> None:
    _entity(hass, "light", "table", "Table lamp")
    async_mock_service(hass, "light", "turn_on")

    for _ in range(3):
        await lending.answer(_ask("perform", "turn on the table lamp"), None)

    assert not hass.data[conversation.chat_log.DATA_CHAT_LOGS]


async def test_tools_run_and_their_failures_are_told(hass: HomeAssistant, lend_to: Callable[..., Lending]) -> None:
    llm.async_register_api(hass, Workshop(hass, [Drill()]))
    lending = lend_to(**{CONF_LLM_HASS_API: ["workshop"]})

    assert await lending.answer(_tool(Drill.name, depth=3), None) == {"text": '{"holes":3}', "failed": False}
    reply = await lending.answer(_tool(Drill.name, depth=99), None)
    assert reply["failed"] is True
    assert "through the wall" in reply["text"]
    reply = await lending.answer(_tool("workshop__saw"), None)
    assert reply["failed"] is True
    assert "not found" in reply["text"]


async def test_announcements(hass: HomeAssistant, lending: Lending) -> None:
    announced = async_mock_service(hass, "assist_satellite", "announce")
    hass.states.async_set("assist_satellite.kitchen", "idle")
    heard: list[str] = []
    hass.bus.async_listen(EVENT_ANNOUNCEMENT, callback(lambda event: heard.append(event.data["text"])))

    assert await lending.answer(_announce("assist_satellite.kitchen", "Dinner!"), None) == {"heard": True}
    assert announced[0].data == {"entity_id": "assist_satellite.kitchen", "message": "Dinner!"}
    assert await lending.answer(_announce("assist_satellite.attic", "Dinner!"), None) == {"heard": False}
    assert await lending.answer(_announce("no-such-device", "Dinner!"), None) == {"heard": False}
    assert await lending.answer(_announce("", "Tea!"), None) == {"heard": True}
    await hass.async_block_till_done()
    assert heard == ["Tea!"]
    assert len(announced) == 1


async def test_an_announcement_that_fails_is_not_heard(hass: HomeAssistant, lending: Lending) -> None:
    hass.states.async_set("assist_satellite.kitchen", "idle")

    async def fail(_call: object) -> None:
        raise HomeAssistantError("it is asleep")

    hass.services.async_register("assist_satellite", "announce", fail)

    assert await lending.answer(_announce("assist_satellite.kitchen", "Dinner!"), None) == {"heard": False}


async def test_a_device_is_announced_at_by_its_satellite(hass: HomeAssistant, lending: Lending) -> None:
    announced = async_mock_service(hass, "assist_satellite", "announce")
    lending.satellites.update([Satellite("hall")])
    device_id = lending.satellites.device_id("hall")
    er.async_get(hass).async_get_or_create(
        "assist_satellite", "test", "1", suggested_object_id="hall", device_id=device_id
    )
    hass.states.async_set("assist_satellite.hall", "idle")

    assert await lending.answer(_announce(device_id, "Dinner!"), None) == {"heard": True}
    assert announced[0].data["entity_id"] == "assist_satellite.hall"


async def test_a_request_that_is_not_known_is_refused(lending: Lending) -> None:
    with pytest.raises(HomeAssistantError, match="does not know"):
        await lending.answer({"type": "recognize", "text": 7}, None)


class Drill(llm.Tool):
    """A tool that takes a number, and raises for some."""

    name = "workshop__drill"
    description = "Drill holes."
    parameters = probatio.Schema({probatio.Required("depth"): int})
    integration = "workshop"

    @override
    async def async_call(
        self, hass: HomeAssistant, tool_input: llm.ToolInput, llm_context: llm.LLMContext
    ) -> llm.ToolResult:
        if tool_input.tool_args["depth"] > 10:
            raise HomeAssistantError("through the wall")
        return llm.ToolResult(data={"holes": tool_input.tool_args["depth"]})


class Undescribed(Drill):
    """A tool whose parameters are no schema."""

    name = "workshop__undescribed"
    parameters = probatio.Schema({probatio.Required("depth"): Drill})


class Workshop(llm.API):
    """An API with these tools."""

    def __init__(self, hass: HomeAssistant, tools: list[llm.Tool]) -> None:
        super().__init__(hass=hass, id="workshop", name="Workshop")
        self.tools = tools

    @override
    async def async_get_api_instance(self, llm_context: llm.LLMContext) -> llm.APIInstance:
        return llm.APIInstance(self, "Drill with care.", llm_context, list(self.tools), _serialize)


def _serialize(value: object) -> object:
    if value is Drill:
        raise ValueError("nobody knows what this is")
    return probatio.UNSUPPORTED


def _entity(
    hass: HomeAssistant,
    domain: str,
    key: str,
    name: str,
    *,
    area: str | None = None,
    aliases: list[str] | None = None,
    exposed: bool = True,
) -> None:
    """An entity in the registry and with a state, exposed to conversations or not."""
    registry = er.async_get(hass)
    entity_id = registry.async_get_or_create(domain, "test", key, suggested_object_id=key, original_name=name).entity_id
    registry.async_update_entity(entity_id, area_id=area, aliases=[er.COMPUTED_NAME, *(aliases or [])])
    hass.states.async_set(entity_id, STATE_OFF, {"friendly_name": name})
    async_expose_entity(hass, "conversation", entity_id, exposed)


def _ask(kind: str, text: str, language: str = "en") -> Shape:
    """`recognize` or `perform` for a turn of the server's own."""
    return {"type": kind, "id": 1, "turn": None, "text": text, "language": language, "satellite": "", "user": ""}


def _tool(name: str, /, **arguments: object) -> Shape:
    return {"type": "tool", "id": 1, "turn": None, "call": "c1", "name": name, "arguments": arguments, "language": ""}


def _announce(satellite: str | None, text: str) -> Shape:
    return {"type": "announce", "id": 1, "satellite": satellite, "text": text, "language": "en"}
