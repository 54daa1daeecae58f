"""GPIO pins by the kernel's character device. Imported only where a pin is asked for: it needs the extra `gpio`.

A pin is the number of a line on its chip; on a Raspberry Pi these are the GPIO numbers of its header. Everything here
blocks and raises OSError, except that `Inputs.read` does not block when `Inputs.fileno` is readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from handlers.errors import MissingExtraError

try:
    import gpiod
    from gpiod.line import Bias, Direction, Edge, Value
except ImportError:
    raise MissingExtraError("A light or a button on a GPIO pin", "gpio") from None

_DEBOUNCE = timedelta(milliseconds=10)
"""The contacts of a push-button bounce for some milliseconds; the kernel waits until they rest."""


@dataclass(frozen=True)
class Change:
    """A button that was pressed or let go."""

    pin: int
    pressed: bool
    at: float
    """Seconds on time.monotonic(), as the kernel saw it."""


class Outputs:
    """Pins that are driven. All are off at first."""

    def __init__(self, chip: Path, pins: Sequence[int]) -> None:
        self._pins = tuple(pins)
        self._request = _request(chip, self._pins, gpiod.LineSettings(direction=Direction.OUTPUT))

    def set(self, levels: Sequence[bool]) -> None:
        """Drive each pin high or low."""
        self._request.set_values(
            {pin: Value.ACTIVE if level else Value.INACTIVE for pin, level in zip(self._pins, levels, strict=True)}
        )

    def close(self) -> None:
        """Switch all off: what a pin is after it was let go of differs from board to board."""
        try:
            self.set([False] * len(self._pins))
        finally:
            self._request.release()


class Inputs:
    """Pins with push-buttons. `pull_up`: to ground, and held high by the chip; else to the supply, and held low."""

    def __init__(self, chip: Path, pins: Sequence[int], *, pull_up: bool) -> None:
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            bias=Bias.PULL_UP if pull_up else Bias.PULL_DOWN,
            active_low=pull_up,
            debounce_period=_DEBOUNCE,
        )
        self._request = _request(chip, tuple(pins), settings)

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._request.fd

    def read(self) -> list[Change]:
        """What changed, in order."""
        return [
            Change(event.line_offset, event.event_type is event.Type.RISING_EDGE, event.timestamp_ns / 1e9)
            for event in self._request.read_edge_events()
        ]

    def close(self) -> None:
        self._request.release()


def _request(chip: Path, pins: tuple[int, ...], settings: gpiod.LineSettings) -> gpiod.LineRequest:
    try:
        return gpiod.request_lines(str(chip), consumer="meadowlark", config={pins: settings})
    except (ValueError, NotImplementedError) as error:  # what gpiod makes of EINVAL and EOPNOTSUPP
        raise OSError(f"{chip} does not do that with the pins {', '.join(map(str, pins))}") from error
