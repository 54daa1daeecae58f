"""Lights that show what the satellite does: an LED on a GPIO pin, one of three colours, or a strip of APA102.

    listening        out
    asking           blue
    thinking         blue, blinking
    speaking         green
    a notice rings   yellow, blinking; a timer that ended blinks for two seconds at least
    an error         red, blinking for two seconds
    muted            red, with a wink now and then
    deaf             a red flash now and then: there is no server, or no microphone

An LED of one colour is on for any of them, so what differs in colour only differs to the eye by its rhythm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field, model_validator

from handlers.settings import Section
from satellite.backoff import Backoff
from satellite.blocking import call, call_patiently
from satellite.happenings import Happening, Kind
from satellite.lamps import OFF, Color, Lamp, PinLamp, Strip

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

_SIGNAL_SECONDS = 2.0
"""An error is shown for so long: to be seen by somebody who looks up because there was no answer."""

SLOW_SECONDS = 10.0
"""A pin is set within microseconds and a strip within milliseconds; a device that takes longer hangs."""

_TICK = 0.001
"""Seconds at least until a light changes by itself, since a rhythm's times are not exact numbers."""

_END_SECONDS = 1.0
"""For putting the lights out at the end."""


@dataclass(frozen=True)
class Look:
    """A colour and its rhythm."""

    color: Color = OFF
    on: float = 1.0
    off: float = 0.0
    """Seconds of each; without `off` it is steady."""


OUT = Look()
ASKING = Look((0, 0, 255))
THINKING = Look((0, 0, 255), 0.3, 0.3)
SPEAKING = Look((0, 255, 0))
NOTICE = Look((255, 255, 0), 0.5, 0.25)
ERROR = Look((255, 0, 0), 0.15, 0.15)
MUTED = Look((255, 0, 0), 2.7, 0.3)
DEAF = Look((255, 0, 0), 0.1, 2.9)

_ACTIVITIES = {
    Kind.LISTENING: OUT,
    Kind.WOKEN: ASKING,
    Kind.HEARD: THINKING,
    Kind.SPEAKING: SPEAKING,
    Kind.FINISHED: OUT,
}
_SIGNALS = {Kind.ERROR: ERROR, Kind.TIMER_FINISHED: NOTICE}
_BEGINNINGS = {
    Kind.NOTICE: NOTICE,
    Kind.MUTED: MUTED,
    Kind.DISCONNECTED: DEAF,
    Kind.MICROPHONE_LOST: DEAF,
}
_ENDS = {
    Kind.NOTICE_OVER: Kind.NOTICE,
    Kind.UNMUTED: Kind.MUTED,
    Kind.CONNECTED: Kind.DISCONNECTED,
    Kind.MICROPHONE_FOUND: Kind.MICROPHONE_LOST,
}


class LightSettings(Section):
    """Which LEDs there are: exactly one of gpio, gpio_rgb and spi."""

    gpio: int | None = Field(None, ge=0, le=1023)
    """The pin of one LED, 17 for GPIO17; high is on."""

    gpio_rgb: list[int] | None = Field(None, min_length=3, max_length=3)
    """The pins of an LED of three colours: red, green, blue; high is on."""

    spi: Path | None = None
    """The SPI device of a strip of APA102, as on ReSpeaker's boards: /dev/spidev0.0."""

    count: int = Field(3, ge=1, le=300)
    """LEDs of the strip: 3 on a ReSpeaker with two microphones, 12 with four."""

    brightness: int = Field(30, ge=1, le=100)
    """Of the strip, in percent."""

    power: int | None = Field(None, ge=0, le=1023)
    """A pin that gives the strip its current while it is high: 5 on a ReSpeaker with four microphones."""

    chip: Path = Path("/dev/gpiochip0")
    """Where the pins are; gpiodetect lists what there is."""

    @model_validator(mode="after")
    def _one_of_them(self) -> LightSettings:
        if sum(light is not None for light in (self.gpio, self.gpio_rgb, self.spi)) != 1:
            raise ValueError("lights need exactly one of gpio, gpio_rgb and spi")
        if self.power is not None and self.spi is None:
            raise ValueError("power is for a strip (spi) only")
        return self


class Scene:
    """What the lights are to show, from what happened. Times are in seconds on one clock."""

    def __init__(self) -> None:
        self._activity = OUT
        self._signal = OUT
        self._signal_until = 0.0
        self._going_on: set[Kind] = set()
        self._look = OUT
        self._since = 0.0

    def take(self, kind: Kind, now: float) -> None:
        self._activity = _ACTIVITIES.get(kind, self._activity)
        if kind in _SIGNALS:
            self._signal, self._signal_until = _SIGNALS[kind], now + _SIGNAL_SECONDS
        elif kind is Kind.WOKEN:  # somebody speaks to it again
            self._signal_until = now
        if kind in _BEGINNINGS:
            self._going_on.add(kind)
        elif kind in _ENDS:
            self._going_on.discard(_ENDS[kind])

    def color(self, now: float) -> tuple[Color, float | None]:
        """What to show now, and after how many seconds it changes by itself."""
        look = self._wanted(now)
        if look != self._look:
            self._look, self._since = look, now
        color = look.color
        pauses = [self._signal_until - now] if now < self._signal_until else []
        if look.off:
            phase = (now - self._since) % (look.on + look.off)
            color = look.color if phase < look.on else OFF
            pauses.append(look.on - phase if phase < look.on else look.on + look.off - phase)
        return color, max(_TICK, min(pauses)) if pauses else None

    def _wanted(self, now: float) -> Look:
        if now < self._signal_until:
            return self._signal
        if self._activity != OUT:
            return self._activity
        return next((look for kind, look in _BEGINNINGS.items() if kind in self._going_on), OUT)


class Lights:
    """Shows what it observes. Add `observe` to the happenings, and keep `run` running."""

    def __init__(self, settings: LightSettings, *, slow_seconds: float = SLOW_SECONDS) -> None:
        """Raises MissingExtraError where pins are asked for and the extra is not installed."""
        self._open = _lamp_of(settings)
        self._slow_seconds = slow_seconds
        self._scene = Scene()
        self._changed = asyncio.Event()
        self._lamp: Lamp | None = None
        self._told = False

    def observe(self, happening: Happening) -> None:
        """Only notes it: however slow the lights are, the newest state is what they show next."""
        self._scene.take(happening.kind, asyncio.get_running_loop().time())
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; then the lights go out."""
        pauses = Backoff()
        shown: Color | None = None
        try:
            while True:
                self._changed.clear()
                color, seconds = self._scene.color(asyncio.get_running_loop().time())
                if color != shown:
                    try:
                        await self._show(color)
                        shown, pauses = color, Backoff()
                    except OSError as error:
                        shown = None
                        self._failed(error)
                        await asyncio.sleep(pauses.next())
                        continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()
        finally:
            await self._let_go()

    async def _show(self, color: Color) -> None:
        """Opens the lamp where it is not open yet."""
        if self._lamp is None:
            self._lamp = await self._patiently(self._open, undo=_close)
        lamp = self._lamp
        try:
            await self._patiently(lambda: lamp.show(color))
        except OSError:
            await self._let_go()
            raise
        if self._told:
            self._told = False
            _LOGGER.info("The lights are there")

    async def _patiently(self, work: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
        return await call_patiently(work, self._slow_seconds, lambda: self._failed(OSError("the device hangs")), undo)

    async def _let_go(self) -> None:
        lamp, self._lamp = self._lamp, None
        if lamp is not None:
            with contextlib.suppress(TimeoutError):
                await call(lambda: _close(lamp), _END_SECONDS)

    def _failed(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            _LOGGER.warning(
                "The lights cannot be set (%s): check the settings of 'lights', and that this user may open the device "
                "(groups gpio and spi). Trying again until they can",
                error.strerror or error,
            )


def _close(lamp: Lamp) -> None:
    """Also where it broke."""
    with contextlib.suppress(OSError):
        lamp.close()


def _lamp_of(settings: LightSettings) -> Callable[[], Lamp]:
    """What opens the device."""
    if settings.spi is None or settings.power is not None:
        import satellite.pins  # noqa: F401 - where it is not installed it is said now, and not in a thread
    if settings.spi is not None:
        path = settings.spi
        return lambda: Strip(path, settings.count, settings.brightness, settings.power, settings.chip)
    pins = settings.gpio_rgb or [settings.gpio or 0]
    return lambda: PinLamp(settings.chip, pins)
