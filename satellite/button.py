"""Push-buttons on GPIO pins.

talk, pressed        listens at once; an answer is interrupted. While it listens to a request: the request is over
talk, let go         after half a second or more: the request is over (push to talk). After less: nothing
mute, pressed        mutes, or unmutes
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from handlers.settings import Section
from satellite.backoff import Backoff
from satellite.blocking import call_patiently
from satellite.partner import Controls

if TYPE_CHECKING:
    from satellite.pins import Change, Inputs

_LOGGER = logging.getLogger(__name__)

_HOLD_SECONDS = 0.5
"""Whoever holds the button for so long speaks meanwhile; a short press takes 0.1 to 0.3 s."""

_SLOW_SECONDS = 10.0
"""Asking the kernel for pins takes milliseconds; a device that takes longer hangs."""


class ButtonSettings(Section):
    """Push-buttons on GPIO pins."""

    pin: int | None = Field(None, ge=0, le=1023)
    """The button to talk, 17 for GPIO17, as on ReSpeaker's board with two microphones."""

    mute_pin: int | None = Field(None, ge=0, le=1023)
    """The button to mute and unmute."""

    pull_up: bool = True
    """The buttons connect their pins to ground; false: to the supply."""

    chip: Path = Path("/dev/gpiochip0")
    """Where the pins are; gpiodetect lists what there is."""

    @model_validator(mode="after")
    def _two_pins(self) -> ButtonSettings:
        if self.pin is None and self.mute_pin is None:
            raise ValueError("a button needs a pin, a mute_pin or both")
        if self.pin == self.mute_pin:
            raise ValueError("pin and mute_pin must differ")
        return self


class Button:
    """Asks of `controls` what is pressed. Keep `run` running."""

    def __init__(self, settings: ButtonSettings, controls: Controls) -> None:
        """Raises MissingExtraError."""
        import satellite.pins  # noqa: F401 - where it is not installed it is said now, and not in a thread

        self._settings = settings
        self._controls = controls
        self._pins = [pin for pin in (settings.pin, settings.mute_pin) if pin is not None]
        self._talking_since: float | None = None
        self._told = False

    async def run(self) -> None:
        """Until cancelled. Pins that are not there, or go, are told once and tried again."""
        pauses = Backoff()
        while True:
            try:
                inputs = await call_patiently(self._open, _SLOW_SECONDS, self._slow, lambda late: late.close())
                if self._told:
                    self._told = False
                    _LOGGER.info("The buttons are there")
                pauses = Backoff()
                await self._watch(inputs)
            except OSError as error:
                self._failed(error)
            await asyncio.sleep(pauses.next())

    def _open(self) -> Inputs:
        from satellite.pins import Inputs

        return Inputs(self._settings.chip, self._pins, pull_up=self._settings.pull_up)

    async def _watch(self, inputs: Inputs) -> None:
        """Until the pins go."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()

        def take() -> None:
            try:
                for change in inputs.read():
                    self._take(change)
            except OSError as error:
                loop.remove_reader(inputs.fileno())
                if not gone.done():
                    gone.set_exception(error)

        loop.add_reader(inputs.fileno(), take)
        try:
            await gone
        finally:
            loop.remove_reader(inputs.fileno())
            with contextlib.suppress(OSError):
                inputs.close()
            self._let_go()

    def _take(self, change: Change) -> None:
        if change.pin == self._settings.mute_pin:
            if change.pressed:
                self._toggle_mute()
        elif change.pressed:
            self._press(change.at)
        elif self._talking_since is not None:
            if change.at - self._talking_since >= _HOLD_SECONDS:
                self._controls.done()
            self._talking_since = None

    def _press(self, at: float) -> None:
        if self._controls.status["state"] == "asking":
            self._controls.done()
        else:
            self._talking_since = at
            self._controls.talk()

    def _let_go(self) -> None:
        """Nobody will see that the button is let go."""
        if self._talking_since is not None:
            self._talking_since = None
            self._controls.done()

    def _toggle_mute(self) -> None:
        if self._controls.is_muted:
            self._controls.unmute()
        else:
            self._controls.mute()

    def _slow(self) -> None:
        self._failed(OSError("the device hangs"))

    def _failed(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            _LOGGER.warning(
                "The buttons cannot be read (%s): check the settings of 'buttons', and that this user may open %s "
                "(group gpio). Trying again until they can",
                error.strerror or error,
                self._settings.chip,
            )
