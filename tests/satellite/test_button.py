"""Push-buttons: what is pressed reaches the satellite's controls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import gpiod
import pytest
from pydantic import ValidationError

from handlers.errors import MissingExtraError
from satellite.button import Button, ButtonSettings
from satellite.pins import Inputs
from tests.satellite.controls import Recorder
from tests.satellite.gpio import Chip

TALK, MUTE = 17, 27


@pytest.fixture
async def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    chip = Chip()
    monkeypatch.setattr(gpiod, "request_lines", chip.request_lines)
    return chip


@contextlib.asynccontextmanager
async def running(button: Button) -> AsyncIterator[None]:
    task = asyncio.create_task(button.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def settings(**given: object) -> ButtonSettings:
    return ButtonSettings.model_validate({"pin": TALK, "mute_pin": MUTE, "chip": Path(Chip.path)} | given)


async def test_a_short_press_starts_a_request(chip: Chip) -> None:
    controls = Recorder()
    async with running(Button(settings(), controls)):
        await chip.until(lambda: bool(chip.requests))
        chip.press(TALK, at=10.0)
        chip.let_go(TALK, at=10.2)
        chip.press(MUTE, at=11.0)  # so that we know when the one before was taken
        assert await controls.until(2) == [("talk",), ("mute",)]
    assert not chip.requests, "the pins are let go at the end"


async def test_a_request_is_over_when_the_button_was_held_and_is_let_go(chip: Chip) -> None:
    controls = Recorder()
    async with running(Button(settings(), controls)):
        await chip.until(lambda: bool(chip.requests))
        chip.press(TALK, at=10.0)
        await controls.until(1)
        controls.state = "asking"
        chip.let_go(TALK, at=12.5)
        assert await controls.until(2) == [("talk",), ("done",)]


async def test_a_press_while_it_listens_ends_the_request(chip: Chip) -> None:
    controls = Recorder()
    controls.state = "asking"
    async with running(Button(settings(), controls)):
        await chip.until(lambda: bool(chip.requests))
        chip.press(TALK, at=10.0)
        chip.let_go(TALK, at=13.0)
        chip.press(MUTE, at=14.0)
        assert await controls.until(2) == [("done",), ("mute",)]


async def test_a_press_while_it_answers_interrupts(chip: Chip) -> None:
    controls = Recorder()
    controls.state = "answering"
    async with running(Button(settings(), controls)):
        await chip.until(lambda: bool(chip.requests))
        chip.press(TALK, at=10.0)
        assert (await controls.until(1))[0] == ("talk",)


async def test_the_mute_button_mutes_and_unmutes(chip: Chip) -> None:
    controls = Recorder()
    async with running(Button(settings(pin=None), controls)):
        await chip.until(lambda: bool(chip.requests))
        for start in (1.0, 2.0, 9.0):
            chip.press(MUTE, at=start)
            chip.let_go(MUTE, at=start + 0.1)
        assert await controls.until(3) == [("mute",), ("unmute",), ("mute",)]


async def test_a_button_to_the_supply(chip: Chip) -> None:
    """It is pulled down, and pressed when it is high."""
    controls = Recorder()
    async with running(Button(settings(pull_up=False), controls)):
        await chip.until(lambda: bool(chip.requests))
        chip.let_go(MUTE, at=1.0)  # which is: connected to the supply
        assert (await controls.until(1))[0] == ("mute",)


async def test_the_kernel_debounces(chip: Chip) -> None:
    async with running(Button(settings(), Recorder())):
        await chip.until(lambda: bool(chip.requests))
        for pin in (TALK, MUTE):
            assert chip.settings(pin).debounce_period.total_seconds() >= 0.005


async def test_pins_that_go_are_told_once_and_taken_again(chip: Chip, caplog: pytest.LogCaptureFixture) -> None:
    controls = Recorder()
    caplog.set_level(logging.INFO, logger="satellite.button")
    async with running(Button(settings(), controls)):
        await chip.until(lambda: bool(chip.requests))
        chip.press(TALK, at=1.0)
        await controls.until(1)
        chip.unplug()
        assert await controls.until(2) == [("talk",), ("done",)], "nobody sees the button let go"
        await chip.until(lambda: not chip.requests)
        chip.problem = None
        await chip.until(lambda: bool(chip.requests))
        chip.press(MUTE, at=2.0)
        await controls.until(3)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "No such device" in caplog.records[0].message


def test_a_chip_that_is_not_there(tmp_path: Path) -> None:
    """By the real library, which needs no hardware for that."""
    with pytest.raises(OSError, match="No such file"):
        Inputs(tmp_path / "none", [TALK], pull_up=True)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    monkeypatch.delitem(sys.modules, "satellite.pins", raising=False)
    with pytest.raises(MissingExtraError, match="'gpio'"):
        Button(settings(), Recorder())


@pytest.mark.parametrize(
    ("given", "problem"),
    [({}, "needs a pin"), ({"pin": 5, "mute_pin": 5}, "must differ"), ({"pin": -1}, "greater than or equal")],
)
def test_settings_that_cannot_be(given: dict[str, int], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ButtonSettings.model_validate(given)
