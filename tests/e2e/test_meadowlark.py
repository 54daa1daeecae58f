"""Our integration in Home Assistant: set up by its config flow, then spoken to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.conftest import Assistant
from tests.e2e.support import assist
from tests.e2e.support.home_assistant import SOON, HomeAssistant, Json, until
from tests.e2e.support.house import CEILING, LAMP, ODD_LAMP
from tests.e2e.support.model import Offered, ScriptedModel, Use
from tests.e2e.support.satellite import Satellite
from tests.e2e.support.speech import Speaker, decoded, silence

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

COMMAND = "Turn on the kitchen light."
"""Home Assistant's own sentences understand it."""

WISH = "I am tired and want to sleep here."
"""Only a language model understands it."""


def turns_off(tool: Offered) -> bool:
    """Whether a tool is the one that switches things off, by its name as a model reads it."""
    return "turnoff" in tool.name.casefold().replace("_", "")


async def test_set_up_makes_everything_that_a_pipeline_needs(home: HomeAssistant, assistant: Assistant) -> None:
    entry = await home.entry(assistant.entry)
    assert (entry["state"], entry["title"]) == ("loaded", "Meadowlark")
    by_domain = {entity.partition(".")[0]: entity for entity in assistant.entities.values()}
    assert by_domain.keys() == {"stt", "tts", "wake_word", "conversation", "sensor", "binary_sensor"}
    pipeline = await home.call("assist_pipeline/pipeline/get", pipeline_id=assistant.pipeline)
    assert isinstance(pipeline, dict)
    assert pipeline["name"] == "Meadowlark"
    assert pipeline["prefer_local_intents"] is True
    assert pipeline["language"] == "en"
    assert pipeline["stt_engine"] == by_domain["stt"]
    assert pipeline["tts_engine"] == by_domain["tts"]
    assert pipeline["conversation_engine"] == by_domain["conversation"]
    assert pipeline["wake_word_entity"] == by_domain["wake_word"]


async def test_a_known_sentence_switches_a_lamp(home: HomeAssistant, assistant: Assistant, speaker: Speaker) -> None:
    await home.service("input_boolean.turn_off", entity_id=LAMP)
    async with assist.run(home, assistant.pipeline, audio=await speaker.say(COMMAND)) as run:
        await run.finished()
    assert run.heard.rstrip(".").casefold() == COMMAND.rstrip(".").casefold()
    assert run.locally
    assert await home.state(LAMP) == "on"
    assert not run.failed
    assert "stt-vad-end" not in run.types  # the server has found the end of speech
    assert "on" in (await speaker.understand(await decoded(run.speech.file))).casefold()


async def test_a_language_model_switches_a_lamp(
    home: HomeAssistant, assistant: Assistant, speaker: Speaker, model: ScriptedModel
) -> None:
    await home.service("input_boolean.turn_on", entity_id=LAMP)
    model.will_answer(Use(turns_off, {"name": "Kitchen light"}))
    model.will_answer("The kitchen is dark now, sleep well.")
    async with assist.run(home, assistant.pipeline, audio=await speaker.say(WISH)) as run:
        await run.finished()
    assert not run.locally
    assert len(model.used) == 1
    assert await home.state(LAMP) == "off"
    assert run.answer == "The kitchen is dark now, sleep well."
    assert "kitchen is dark" in (await speaker.understand(await decoded(run.speech.file))).casefold()
    assert [call["tool_name"] for delta in run.deltas for call in objects(delta.get("tool_calls"))] == model.used
    assert [delta["tool_name"] for delta in run.deltas if delta.get("role") == "tool_result"] == model.used
    # The model has read what came of it before it answered.
    assert model.chats[-1]["messages"][-1]["role"] == "tool"


async def test_a_tool_that_fails_is_told_to_the_model(
    home: HomeAssistant, assistant: Assistant, model: ScriptedModel
) -> None:
    model.will_answer(Use(turns_off, {"name": "Moon"}))
    model.will_answer("I cannot switch the moon off.")
    async with assist.run(home, assistant.pipeline, text="It is too bright outside tonight") as run:
        await run.finished()
    assert run.answer == "I cannot switch the moon off."
    told = model.chats[-1]["messages"][-1]
    assert told["role"] == "tool"
    assert "error" in told["content"]


async def test_speech_begins_before_the_answer_is_complete(
    home: HomeAssistant, assistant: Assistant, speaker: Speaker, model: ScriptedModel
) -> None:
    rest = asyncio.Event()
    begin = "Once upon a time there was a small brown bird that lived in a wide field. It sang all day long. "
    end = "Then it flew home to its nest, fell asleep, and dreamed of the sun and of the next morning."
    model.will_answer(begin, rest, end)
    async with assist.run(home, assistant.pipeline, audio=await speaker.say("Tell me a story about a bird.")) as run:
        async with asyncio.timeout(SOON):
            await run.speech.began.wait()
        assert "intent-end" not in run.types
        assert not run.speech.ended.is_set()
        rest.set()
        await run.finished()
    assert run.answer == begin + end
    spoken = await decoded(run.speech.file)
    assert len(spoken) > len(await speaker.say(begin)) + len(silence(2))  # the end was spoken as well


async def test_a_question_is_followed_by_listening(
    home: HomeAssistant, assistant: Assistant, model: ScriptedModel
) -> None:
    model.will_answer("Which colour do you like?")
    async with assist.run(home, assistant.pipeline, text="Help me to paint the wall") as run:
        await run.finished()
    assert run.continues
    model.will_answer("Green is a good choice.")
    async with assist.run(home, assistant.pipeline, text="The one of grass", conversation=run.conversation) as run:
        await run.finished()
    assert not run.continues
    said = [message["content"] for message in model.chats[-1]["messages"]]
    assert any("paint the wall" in text for text in said)
    assert any("Which colour" in text for text in said)


async def test_sensors_tell_how_long_turns_took(home: HomeAssistant, assistant: Assistant) -> None:
    sensors = [entity for key, entity in assistant.entities.items() if key.endswith("_last")]

    async def measured() -> list[str]:
        return [sensor for sensor in sensors if (await home.state(sensor)).replace(".", "").isdecimal()]

    assert await until(measured, lambda found: len(found) > 0)
    assert await home.state(assistant.entities["turn_in_progress"]) == "off"


async def test_a_satellite_of_the_server_uses_the_house(
    home: HomeAssistant, assistant: Assistant, server: MeadowlarkServer, speaker: Speaker, model: ScriptedModel
) -> None:
    await home.service("input_boolean.turn_off", entity_id=LAMP)
    hall = Satellite(server, "hall")
    types = [event.type for event in await hall.speak(await speaker.say(COMMAND))]
    assert {"transcript", "handled", "audio-chunk"} <= set(types)
    assert await home.state(LAMP) == "on"
    assert model.chats == []  # Home Assistant's own sentence was enough
    model.will_answer(Use(turns_off, {"name": "Kitchen light"}))
    model.will_answer("It is off.")
    assert await hall.ask(WISH) == "It is off."
    assert len(model.used) == 1
    assert await home.state(LAMP) == "off"


async def test_a_satellite_stands_in_an_area(
    home: HomeAssistant, assistant: Assistant, server: MeadowlarkServer, model: ScriptedModel
) -> None:
    bedside = Satellite(server, "bedside")
    async with bedside.connected():
        device = (await until(lambda: devices(home, "bedside"), lambda found: len(found) == 1))[0]
        bedroom = next(
            area["area_id"] for area in await home.listed("config/area_registry/list") if area["name"] == "Bedroom"
        )
        await home.call("config/device_registry/update", device_id=device["id"], area_id=bedroom)
        await home.service("light.turn_off", entity_id=CEILING)
        await bedside.ask("Turn on the lights")
        assert await home.state(CEILING) == "on"
        assert model.chats == []


async def test_names_of_the_house_are_heard(home: HomeAssistant, assistant: Assistant, speaker: Speaker) -> None:
    await home.service("input_boolean.turn_off", entity_id=ODD_LAMP)
    async with assist.run(home, assistant.pipeline, audio=await speaker.say("Turn on the sinnabar lamp.")) as run:
        await run.finished()
    assert "Cinnabar lamp" in run.heard
    assert await home.state(ODD_LAMP) == "on"


async def test_what_is_remembered_is_recalled_and_forgotten(home: HomeAssistant, assistant: Assistant) -> None:
    await home.service("meadowlark.remember", content="The bins go out on Tuesday evening.")
    found = await home.respond("meadowlark.recall", query="bins")
    assert "The bins go out on Tuesday evening." in str(found)
    await home.respond("meadowlark.forget", query="bins")
    assert "Tuesday" not in str(await home.respond("meadowlark.recall", query="bins"))


async def test_an_automation_asks(home: HomeAssistant, assistant: Assistant, model: ScriptedModel) -> None:
    model.will_answer("It is a fine day.")
    assert "It is a fine day." in str(await home.respond("meadowlark.ask", text="How should I greet my guests?"))


async def test_diagnostics_can_be_downloaded(home: HomeAssistant, assistant: Assistant) -> None:
    found = await home.get(f"/api/diagnostics/config_entry/{assistant.entry}")
    assert isinstance(found, dict)
    assert "bins" not in str(found)


async def devices(home: HomeAssistant, name: str) -> list[Mapping[str, Json]]:
    return [device for device in await home.listed("config/device_registry/list") if device["name"] == name]


def objects(value: Json) -> list[dict[str, Json]]:
    """The objects of a list; none where there is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
