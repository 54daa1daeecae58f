"""Devices with lights: LEDs on GPIO pins, and a strip of APA102 on an SPI bus. Whatever they do blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from satellite.pins import Outputs

_SPEED = 4_000_000
"""Bits per second on the SPI bus. A Raspberry Pi would use 125 million by itself, which the wires of a strip garble."""

_SPI_IOC_WR_MAX_SPEED_HZ = 0x40046B04
"""The kernel's number for setting it, from linux/spi/spidev.h."""

_BRIGHTEST = 31
"""An APA102 has five bits of brightness."""

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

OFF: Color = (0, 0, 0)


class Lamp(Protocol):
    """A device with lights. Its methods are called in a thread, and raise OSError."""

    def show(self, color: Color) -> None:
        """In all of its lights."""

    def close(self) -> None:
        """Put it out, and let go of it."""


class PinLamp:
    """One LED, or one of three colours, on GPIO pins: each is on or off."""

    def __init__(self, chip: Path, pins: list[int]) -> None:
        from satellite.pins import Outputs

        self._pins = Outputs(chip, pins)
        self._count = len(pins)

    def show(self, color: Color) -> None:
        self._pins.set([any(color)] if self._count == 1 else [part > 0 for part in color])

    def close(self) -> None:
        self._pins.close()


class Strip:
    """A strip of APA102 on an SPI bus, by plain writes to the kernel's device."""

    def __init__(self, path: Path, count: int, brightness: int, power: int | None, chip: Path) -> None:
        self._count = count
        self._level = max(1, round(_BRIGHTEST * brightness / 100))
        self._device = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._set_speed()
            self._power = _switch_on(chip, power) if power is not None else None
        except BaseException:
            os.close(self._device)
            raise

    def show(self, color: Color) -> None:
        frame = apa102([color] * self._count, self._level)
        if os.write(self._device, frame) != len(frame):
            raise OSError("the device took only a part")

    def close(self) -> None:
        try:
            self.show(OFF)
        finally:
            os.close(self._device)
            if self._power is not None:
                self._power.close()

    def _set_speed(self) -> None:
        try:
            fcntl.ioctl(self._device, _SPI_IOC_WR_MAX_SPEED_HZ, struct.pack("=I", _SPEED))
        except OSError as error:
            if error.errno != errno.ENOTTY:  # a driver that has no speed to choose
                raise


def _switch_on(chip: Path, pin: int) -> Outputs:
    from satellite.pins import Outputs

    power = Outputs(chip, [pin])
    power.set([True])
    return power


def apa102(colors: list[Color], level: int) -> bytes:
    """What is written to show `colors` at `level`, 0 to 31.

    First four bytes of 0, which all LEDs take for the beginning. Then for each LED four bytes: three bits of 1 and five
    of brightness, blue, green, red. At the end four bytes of 0, without which the SK9822, a copy, does not change; and
    one for each 16 LEDs, since each LED hands the data on half a clock late and somebody must go on with the clock.
    """
    lights = b"".join(bytes((0xE0 | level, blue, green, red)) for red, green, blue in colors)
    return bytes(4) + lights + bytes(4 + (len(colors) + 15) // 16)
