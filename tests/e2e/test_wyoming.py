"""Home Assistant's own `wyoming` integration in front of our server, with nothing of ours in Home Assistant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.support import assist
from tests.e2e.support.home_assistant import SOON, HomeAssistant
from tests.e2e.support.model import ScriptedModel
from tests.e2e.support.relay import WyomingRelay
from tests.e2e.support.speech import Speaker, decoded, silence

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

QUESTION = "Why do people like music so much?"
"""Nothing but a language model has an answer to it."""

HEARD = "people like music"
"""What is surely heard of it: the server's voice never says it twice in the same way."""

WAKE_WORD = "alexa"


@dataclass(frozen=True)
class Wyoming:
    """The integration, set up, and a pipeline of all its engines."""

    relay: WyomingRelay
    pipeline: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def wyoming(home: HomeAssistant, server: MeadowlarkServer) -> AsyncIterator[Wyoming]:
    async with WyomingRelay(server.wyoming_port) as relay:
        step = await home.set_up("wyoming", {"host": relay.host, "port": relay.port})
        assert step["type"] == "create_entry", step
        entry = step["result"]
        assert isinstance(entry, dict)
        entities = await home.entities("wyoming")
        made = await home.call(
            "assist_pipeline/pipeline/create",
            name="Wyoming",
            language="en",
            stt_engine=entities["stt"],
            stt_language="en",
            conversation_engine=entities["conversation"],
            conversation_language="en",
            tts_engine=entities["tts"],
            tts_language="en-US",
            tts_voice=None,
            wake_word_entity=entities["wake_word"],
            wake_word_id=WAKE_WORD,
            prefer_local_intents=False,
        )
        assert isinstance(made, dict)
        yield Wyoming(relay, str(made["id"]))
        await home.call("assist_pipeline/pipeline/delete", pipeline_id=made["id"])
        await home.delete(f"/api/config/config_entries/entry/{entry['entry_id']}")


async def test_a_spoken_question_is_answered_aloud(
    home: HomeAssistant, wyoming: Wyoming, speaker: Speaker, model: ScriptedModel
) -> None:
    model.will_answer("Music makes people happy.")
    async with assist.run(home, wyoming.pipeline, audio=await speaker.say(QUESTION)) as run:
        await run.finished()
    assert HEARD in run.heard.casefold()
    assert run.answer == "Music makes people happy."
    assert "people happy" in await speaker.understand(await decoded(run.speech.file))
    # The microphone stayed open until there was a transcript: the end of speech was found by the server alone.
    assert "stt-vad-end" not in run.types
    assert run.types == ["run-start", "stt-start", "stt-end", "intent-start", "intent-end", *run.types[5:]]


async def test_the_wake_word_begins_a_turn(
    home: HomeAssistant, wyoming: Wyoming, speaker: Speaker, model: ScriptedModel
) -> None:
    audio = silence(1) + await speaker.say("Alexa!") + silence(0.2) + await speaker.say(QUESTION)
    async with assist.run(home, wyoming.pipeline, audio=audio, start="wake_word", end="intent") as run:
        detected = (await run.until("wake_word-end"))["wake_word_output"]
        await run.finished()
    assert isinstance(detected, dict)
    assert detected["wake_word_id"] == WAKE_WORD
    assert HEARD in run.heard.casefold()
    assert run.answer == "Certainly."


async def test_speech_begins_before_it_is_complete(home: HomeAssistant, wyoming: Wyoming, speaker: Speaker) -> None:
    wyoming.relay.seen.clear()
    wyoming.relay.hold("audio-chunk", after=2)
    entities = await home.entities("wyoming")
    made = await home.post(
        "/api/tts_get_url",
        engine_id=entities["tts"],
        message="This is the first sentence. This is the second one.",
        options={"preferred_format": "wav"},
        cache=False,
    )
    speech = assist.Speech()
    fetching = asyncio.create_task(speech.fetch(home, str(made["path"])))
    async with asyncio.timeout(SOON):
        await speech.began.wait()
        assert not speech.ended.is_set()
        wyoming.relay.release()
        await fetching
    assert len(await decoded(speech.file)) > len(silence(1.5))  # both sentences
    assert wyoming.relay.seen == ["synthesize-start", "synthesize-chunk", "synthesize", "synthesize-stop"]


async def test_a_server_that_breaks_off_is_an_error_and_the_next_turn_works(
    home: HomeAssistant, wyoming: Wyoming
) -> None:
    wyoming.relay.hold("handled", after=0)
    async with assist.run(home, wyoming.pipeline, text=QUESTION) as run:
        await wyoming.relay.held()
        wyoming.relay.cut()
        await run.finished()
    assert run.failed
    wyoming.relay.release()
    async with assist.run(home, wyoming.pipeline, text=QUESTION) as run:
        await run.finished()
    assert run.answer == "Certainly."
