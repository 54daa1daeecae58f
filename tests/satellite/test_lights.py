"""The lights show what the satellite does, and hold up nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import gpiod
import pytest
from pydantic import ValidationError

from handlers.errors import MissingExtraError
from satellite.happenings import Happenings, Kind
from satellite.lamps import OFF, Color, apa102
from satellite.lights import (
    ASKING,
    DEAF,
    ERROR,
    MUTED,
    NOTICE,
    OUT,
    SPEAKING,
    THINKING,
    Lights,
    LightSettings,
    Look,
    Scene,
)
from tests.satellite.gpio import Chip

RED, GREEN, BLUE = 5, 6, 13


@pytest.fixture
async def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    chip = Chip()
    monkeypatch.setattr(gpiod, "request_lines", chip.request_lines)
    return chip


@contextlib.asynccontextmanager
async def shining(**given: object) -> AsyncIterator[Happenings]:
    """Lights that run, and what they observe."""
    lights = Lights(LightSettings.model_validate(given))
    happenings = Happenings()
    happenings.add(lights.observe)
    task = asyncio.create_task(lights.run())
    try:
        yield happenings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Reader:
    """The other end of an SPI device: takes apart what an APA102 strip gets."""

    def __init__(self, path: Path, count: int) -> None:
        os.mkfifo(path)
        self._device = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._length = 4 + 4 * count + 4 + (count + 15) // 16
        self._count = count

    async def next(self) -> tuple[int, list[Color]]:
        """Brightness and the colours of the next frame."""
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._device, readable.set)
        try:
            async with asyncio.timeout(20):
                await readable.wait()
        finally:
            loop.remove_reader(self._device)
        frame = os.read(self._device, self._length)
        assert len(frame) == self._length
        return decode(frame, self._count)

    async def until(self, colors: list[Color]) -> None:
        async with asyncio.timeout(20):
            while (await self.next())[1] != colors:
                pass

    def close(self) -> None:
        os.close(self._device)


def decode(frame: bytes, count: int) -> tuple[int, list[Color]]:
    """As the strip reads it: a start of 32 zero bits, then 111, five bits of brightness, blue, green, red."""
    assert frame[:4] == bytes(4)
    levels = set()
    colors = []
    for start in range(4, 4 + 4 * count, 4):
        head, blue, green, red = frame[start : start + 4]
        assert head >> 5 == 0b111
        levels.add(head & 0x1F)
        colors.append((red, green, blue))
    end = frame[4 + 4 * count :]
    assert len(end) * 8 >= 32 + count / 2, "clocks for the last light, and for the reset of an SK9822"
    assert not any(end)
    (level,) = levels
    return level, colors


def look(*kinds: Kind) -> tuple[Color, float | None]:
    scene = Scene()
    for kind in kinds:
        scene.take(kind, 100.0)
    return scene.color(100.0)


@pytest.mark.parametrize(
    ("kinds", "shown"),
    [
        ([], OUT),
        ([Kind.CONNECTED, Kind.LISTENING], OUT),
        ([Kind.WOKEN], ASKING),
        ([Kind.WOKEN, Kind.HEARD], THINKING),
        ([Kind.WOKEN, Kind.HEARD, Kind.TRANSCRIPT, Kind.ANSWER], THINKING),
        ([Kind.WOKEN, Kind.HEARD, Kind.SPEAKING], SPEAKING),
        ([Kind.WOKEN, Kind.HEARD, Kind.SPEAKING, Kind.FINISHED], OUT),
        ([Kind.WOKEN, Kind.HEARD, Kind.ERROR, Kind.FINISHED, Kind.LISTENING], ERROR),
        ([Kind.ERROR, Kind.WOKEN], ASKING),
        ([Kind.MUTED], MUTED),
        ([Kind.MUTED, Kind.UNMUTED], OUT),
        ([Kind.SPEAKING, Kind.MUTED], SPEAKING),
        ([Kind.SPEAKING, Kind.MUTED, Kind.FINISHED], MUTED),
        ([Kind.NOTICE], NOTICE),
        ([Kind.MUTED, Kind.NOTICE], NOTICE),
        ([Kind.NOTICE, Kind.WOKEN], ASKING),
        ([Kind.NOTICE, Kind.NOTICE_OVER], OUT),
        ([Kind.TIMER_FINISHED], NOTICE),
        ([Kind.DISCONNECTED], DEAF),
        ([Kind.DISCONNECTED, Kind.CONNECTED], OUT),
        ([Kind.MICROPHONE_LOST, Kind.DISCONNECTED, Kind.CONNECTED], DEAF),
        ([Kind.MICROPHONE_LOST, Kind.MICROPHONE_FOUND], OUT),
    ],
)
def test_what_is_shown(kinds: list[Kind], shown: Look) -> None:
    color, seconds = look(*kinds)
    assert color == shown.color
    if shown.off:
        assert seconds == pytest.approx(shown.on)
    else:
        assert seconds is None, "it stays until something happens"


def test_an_error_blinks_for_two_seconds() -> None:
    scene, now, shown = Scene(), 100.0, []
    scene.take(Kind.ERROR, now)
    while (seconds := scene.color(now)[1]) is not None:
        shown.append(scene.color(now)[0])
        now += seconds
    assert [color for color, _ in itertools.groupby(shown)][:4] == [ERROR.color, OFF, ERROR.color, OFF]
    assert now == pytest.approx(102.0, abs=0.01)
    assert scene.color(now) == (OFF, None)


def test_blinking_begins_with_light() -> None:
    scene = Scene()
    scene.take(Kind.WOKEN, 50.0)
    scene.color(50.0)
    scene.take(Kind.HEARD, 51.17)
    color, seconds = scene.color(51.17)
    assert color == THINKING.color
    assert seconds == pytest.approx(THINKING.on)
    assert scene.color(51.17 + THINKING.on + 0.01)[0] == OFF


async def test_one_light_on_a_pin(chip: Chip) -> None:
    async with shining(gpio=17, chip=Chip.path) as happenings:
        await chip.until(lambda: chip.levels == {17: False})
        happenings.tell(Kind.WOKEN)
        await chip.until(lambda: chip.levels[17])
        happenings.tell(Kind.FINISHED)
        await chip.until(lambda: not chip.levels[17])


async def test_a_light_of_three_colours(chip: Chip) -> None:
    def colors() -> tuple[bool, ...]:
        return tuple(chip.levels.get(pin, False) for pin in (RED, GREEN, BLUE))

    async with shining(gpio_rgb=[RED, GREEN, BLUE], chip=Chip.path) as happenings:
        for kind, wanted in [
            (Kind.WOKEN, (False, False, True)),
            (Kind.SPEAKING, (False, True, False)),
            (Kind.FINISHED, (False, False, False)),
            (Kind.MUTED, (True, False, False)),
        ]:
            happenings.tell(kind)
            await chip.until(lambda wanted=wanted: colors() == wanted)  # type: ignore[misc]
    assert colors() == (False, False, False), "out at the end"
    assert not chip.requests


async def test_a_light_that_blinks_goes_on_by_itself(chip: Chip) -> None:
    async with shining(gpio=17, chip=Chip.path) as happenings:
        happenings.tell(Kind.HEARD)
        await chip.until(lambda: [levels[17] for levels in chip.history].count(True) >= 3)


async def test_a_strip(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "spi", 3)
    async with shining(spi=tmp_path / "spi", count=3, brightness=100) as happenings:
        assert await reader.next() == (31, [OFF] * 3)
        happenings.tell(Kind.WOKEN)
        assert await reader.next() == (31, [ASKING.color] * 3)
        happenings.tell(Kind.SPEAKING)
        assert await reader.next() == (31, [SPEAKING.color] * 3)
    assert await reader.next() == (31, [OFF] * 3), "out at the end"
    reader.close()


async def test_the_newest_state_wins(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "spi", 1)
    async with shining(spi=tmp_path / "spi", count=1) as happenings:
        await reader.next()
        for _ in range(1000):
            for kind in (Kind.WOKEN, Kind.HEARD, Kind.SPEAKING, Kind.FINISHED, Kind.WOKEN):
                happenings.tell(kind)
        assert (await reader.next())[1] == [ASKING.color]
    assert (await reader.next())[1] == [OFF], "and nothing in between"
    reader.close()


async def test_the_current_of_a_strip(tmp_path: Path, chip: Chip) -> None:
    reader = Reader(tmp_path / "spi", 12)
    async with shining(spi=tmp_path / "spi", count=12, power=5, chip=Chip.path):
        await reader.next()
        assert chip.levels == {5: True}
    assert chip.levels == {5: False}
    reader.close()


async def test_a_strip_that_hangs_is_told_and_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spi"
    os.mkfifo(path)  # opening it waits until somebody reads
    happenings = Happenings()
    lights = Lights(LightSettings(spi=path, count=1), slow_seconds=0.05)
    happenings.add(lights.observe)
    task = asyncio.create_task(lights.run())
    with watched("satellite.lights") as logged:
        async with asyncio.timeout(20):
            await logged.wait()
    assert "the device hangs" in caplog.records[0].message
    happenings.tell(Kind.WOKEN)
    task.cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(task, return_exceptions=True)
    reader = os.open(path, os.O_RDONLY)  # the thread goes on, and puts the lights out
    frame = await asyncio.to_thread(os.read, reader, 100)
    assert decode(frame, 1)[1] == [OFF]
    os.close(reader)


@contextlib.contextmanager
def watched(name: str) -> Iterator[asyncio.Event]:
    """An event that is set when something is logged."""
    logged = asyncio.Event()
    handler = logging.Handler()
    handler.emit = lambda record: logged.set()  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)
    try:
        yield logged
    finally:
        logging.getLogger(name).removeHandler(handler)


async def test_lights_that_go_are_told_once_and_come_back(chip: Chip, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="satellite.lights")
    with watched("satellite.lights") as logged:
        async with shining(gpio=17, chip=Chip.path) as happenings, asyncio.timeout(20):
            await chip.until(lambda: len(chip.history) == 2)  # they are had, and set
            chip.unplug()
            happenings.tell(Kind.WOKEN)
            await logged.wait()
            logged.clear()
            happenings.tell(Kind.SPEAKING)
            await chip.until(lambda: not chip.requests)
            chip.problem = None
            await chip.until(lambda: chip.levels[17])
            await logged.wait()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "No such device" in caplog.records[0].message


def test_a_long_strip_gets_its_clocks() -> None:
    """144 lights: half a clock each."""
    assert decode(apa102([(1, 2, 3)] * 144, 9), 144) == (9, [(1, 2, 3)] * 144)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    monkeypatch.delitem(sys.modules, "satellite.pins", raising=False)
    with pytest.raises(MissingExtraError, match="'gpio'"):
        Lights(LightSettings(gpio=17))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "exactly one of"),
        ({"gpio": 17, "spi": "/dev/spidev0.0"}, "exactly one of"),
        ({"gpio_rgb": [1, 2]}, "at least 3"),
        ({"gpio": 17, "power": 5}, "for a strip"),
        ({"spi": "/dev/spidev0.0", "brightness": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        LightSettings.model_validate(given)
