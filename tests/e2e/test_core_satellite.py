"""The satellite as one of Home Assistant's own: core's `wyoming` integration connects to it, as a user sets it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio

from tests.custom_components.support.server import MeadowlarkServer
from tests.e2e.support.home_assistant import SOON, HomeAssistant, until
from tests.e2e.support.model import ScriptedModel
from tests.e2e.support.relay import WyomingRelay
from tests.e2e.support.speech import RATE, Speaker, silence
from tests.e2e.support.station import Station

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

WAKE_WORD = "alexa"

QUESTION = "Why do people like music so much?"
ANOTHER = "What do penguins eat for breakfast?"
"""Nothing but a language model has an answer to them."""

LONG = (
    "This is an announcement that takes longer than five seconds to be read aloud, "
    "so that Home Assistant asks whether the satellite is still there while it is being played."
)


@dataclass(frozen=True)
class Kitchen:
    """A room with a satellite, set up in Home Assistant."""

    station: Station
    relay: WyomingRelay
    """Between Home Assistant and the satellite."""
    entities: dict[str, str]
    speaker: Speaker

    async def call(self, text: str = "") -> None:
        """Say the wake word, and something behind it."""
        said = silence(0.3) + await self.speaker.say("Alexa!") + silence(0.3)
        self.station.say(said + (await self.speaker.say(text) if text else b"") + silence(0.5))

    async def seen(self, type_: str, count: int = 1) -> None:
        """Wait until Home Assistant has sent so many events of a type."""

        async def times() -> int:
            return self.relay.seen.count(type_)

        await until(times, lambda number: number >= count)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kitchen(
    home: HomeAssistant, server: MeadowlarkServer, speaker: Speaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Kitchen]:
    entries = []
    folder = tmp_path_factory.mktemp("satellite")
    async with Station(folder, "Kitchen", WAKE_WORD) as station, WyomingRelay(station.port) as relay:
        for host, port in ((server.host, server.wyoming_port), (relay.host, relay.port)):
            step = await home.set_up("wyoming", {"host": host, "port": port})
            assert step["type"] == "create_entry", step
            made = step["result"]
            assert isinstance(made, dict)
            entries.append(str(made["entry_id"]))
        engines = await home.entities("wyoming", entries[0])
        pipeline = await home.call(
            "assist_pipeline/pipeline/create",
            name="Kitchen",
            language="en",
            stt_engine=engines["stt"],
            stt_language="en",
            conversation_engine=engines["conversation"],
            conversation_language="en",
            tts_engine=engines["tts"],
            tts_language="en-US",
            tts_voice=None,
            wake_word_entity=None,
            wake_word_id=None,
            prefer_local_intents=True,  # timers are Home Assistant's
        )
        assert isinstance(pipeline, dict)
        entities = await home.entities("wyoming", entries[1])
        await home.service("select.select_option", entity_id=entities["pipeline"], option="Kitchen")
        await home.call("config/core/update", internal_url=home.url)  # where announcements are fetched from
        await station.logged("Home Assistant uses this satellite")
        yield Kitchen(station, relay, entities, speaker)
        await home.call("config/core/update", internal_url=None)
        await home.call("assist_pipeline/pipeline/delete", pipeline_id=pipeline["id"])
        for entry in entries:
            await home.delete(f"/api/config/config_entries/entry/{entry}")


async def test_a_request_is_answered_and_may_interrupt_the_one_before(
    home: HomeAssistant, kitchen: Kitchen, speaker: Speaker, model: ScriptedModel
) -> None:
    never = asyncio.Event()
    model.will_answer(never, "It is a long story.")
    model.will_answer("Fish and more fish.")
    await kitchen.call(QUESTION)
    async with asyncio.timeout(SOON):
        while not model.chats:  # noqa: ASYNC110 -- it has no event for that
            await asyncio.sleep(0.05)
    assert await home.state(kitchen.entities["assist_satellite"]) == "processing"
    await kitchen.call(ANOTHER)
    async with asyncio.timeout(SOON):
        await model.abandoned.wait()  # the work for the first one has ended
    await kitchen.seen("synthesize")
    await kitchen.station.sounds(0.8)
    await kitchen.station.quiet(0.5)
    assert "fish" in (await speaker.understand(bytes(kitchen.station.heard))).casefold()
    await until(lambda: home.state(kitchen.entities["assist_satellite"]), lambda state: state == "idle")


async def test_an_announcement_is_played_to_its_end_and_nobody_thinks_the_satellite_gone(
    home: HomeAssistant, kitchen: Kitchen, speaker: Speaker
) -> None:
    since, pings = len(kitchen.station.heard), kitchen.relay.seen.count("ping")
    await home.service(
        "assist_satellite.announce", entity_id=kitchen.entities["assist_satellite"], message=LONG, preannounce=False
    )
    assert await home.state(kitchen.entities["assist_satellite"]) == "idle"
    await kitchen.station.quiet(1.0)
    heard = bytes(kitchen.station.heard[since:])
    assert "being played" in (await speaker.understand(heard[-4 * 2 * RATE :])).casefold()
    assert kitchen.relay.seen.count("ping") >= pings + 2
    assert kitchen.relay.seen.count("run-satellite") == 1


async def test_a_timer_that_was_set_by_voice_rings(kitchen: Kitchen) -> None:
    await kitchen.call("Set a timer for two seconds.")
    await kitchen.seen("timer-started")
    await kitchen.seen("timer-finished")
    await kitchen.station.quiet(0.5)  # after the answer, or the first ring
    since = len(kitchen.station.heard)
    ring = await kitchen.station.sounds(0.5, since)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(ring, "<i2").astype(float)))
    loudest = float(np.argmax(spectrum)) * RATE / 2 / (len(spectrum) - 1)
    assert loudest == pytest.approx(1046.5, abs=10) or loudest == pytest.approx(784, abs=10)
    await kitchen.call()
    await kitchen.station.quiet(2.5)  # longer than between two rings
    await kitchen.seen("error")  # for nothing was asked


async def test_the_mute_switch_is_obeyed(home: HomeAssistant, kitchen: Kitchen) -> None:
    await home.service("switch.turn_on", entity_id=kitchen.entities["mute"])
    await kitchen.station.logged("does not use this satellite any more")
    assert "pause-satellite" in kitchen.relay.seen
    await kitchen.seen("ping", kitchen.relay.seen.count("ping") + 1)  # only then Home Assistant looks at its switch
    await home.service("switch.turn_off", entity_id=kitchen.entities["mute"])
    await kitchen.station.logged("uses this satellite", count=2)
