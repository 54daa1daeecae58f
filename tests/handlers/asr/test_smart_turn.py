"""Whether somebody has finished, heard in speech."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.asr import smart_turn
from handlers.asr.smart_turn import WEIGHTS, SmartTurn, load_smart_turn
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import BusyError, EngineError, ModelError
from handlers.models.packages import find_package_file
from tests.support.speech import Speaker, silence

PAUSE = silence(0.13)


@pytest.fixture
async def detector() -> AsyncIterator[SmartTurn]:
    loaded = load_smart_turn(Cpu(1))
    assert loaded is not None, "the extra 'models' is installed with the development environment"
    yield loaded
    await loaded.close()


@pytest.mark.parametrize("text", ["What time is it?", "Tell me a joke.", "Turn on the light in the living room."])
async def test_a_finished_sentence_sounds_complete(detector: SmartTurn, speaker: Speaker, text: str) -> None:
    assert await detector.complete(silence(0.3) + speaker.say(text) + PAUSE, Ticket(Urgency.GUESS)) >= 0.5


async def test_an_open_phrase_sounds_less_complete(detector: SmartTurn, speaker: Speaker) -> None:
    ticket = Ticket(Urgency.FINAL)
    finished = await detector.complete(speaker.say("Turn on the light in the living room.") + PAUSE, ticket)
    assert await detector.complete(speaker.say("Turn on the") + PAUSE, ticket) < finished


@pytest.mark.parametrize("seconds", [0.0, 0.01, 7.99, 8.0, 8.01, 30.0])
async def test_audio_of_any_length_has_a_verdict(detector: SmartTurn, seconds: float) -> None:
    assert 0 <= await detector.complete(silence(seconds), Ticket(Urgency.FINAL)) <= 1


async def test_only_the_last_eight_seconds_count(detector: SmartTurn, speaker: Speaker) -> None:
    said = speaker.say("Turn on the kitchen light.") + PAUSE
    ticket = Ticket(Urgency.FINAL)
    last = (silence(8.0) + said)[-8 * 32_000 :]
    assert await detector.complete(said * 9 + last, ticket) == await detector.complete(last, ticket)


async def test_it_takes_a_slot_of_the_processor(speaker: Speaker) -> None:
    cpu = Cpu(1)
    detector = load_smart_turn(cpu)
    assert detector is not None
    said = speaker.say("Turn on the kitchen light.") + PAUSE
    async with cpu.slot(Ticket(Urgency.VOICE)):
        waiting = [asyncio.create_task(detector.complete(said, Ticket(Urgency.GUESS))) for _ in range(2)]
        for _ in range(5):  # each of them gets to the queue
            await asyncio.sleep(0)
        assert cpu.waiting == len(waiting)
        with pytest.raises(BusyError):  # guesses are the first to be dropped
            await detector.complete(said, Ticket(Urgency.GUESS))
    assert len(set(await asyncio.gather(*waiting))) == 1
    await detector.close()
    with pytest.raises(EngineError):
        await detector.complete(said, Ticket(Urgency.FINAL))


def test_where_it_is_not_installed_there_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(smart_turn, "WEIGHTS", replace(WEIGHTS, package="a_package_that_nobody_installed"))
    with caplog.at_level(logging.INFO, logger=smart_turn.__name__):
        assert load_smart_turn(Cpu(1)) is None
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "models" in caplog.text


def test_another_file_of_that_name_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / WEIGHTS.package / WEIGHTS.path
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another network")
    (tmp_path / WEIGHTS.package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_package_file(WEIGHTS) == other
    assert load_smart_turn(Cpu(1)) is None
    assert "reinstall" in caplog.text


def test_a_file_that_is_no_network_is_a_clear_error(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another network")
    with pytest.raises(ModelError, match="cannot be loaded"):
        SmartTurn(other, Cpu(1))
