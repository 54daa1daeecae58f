"""A GPIO chip without hardware: what `gpiod.request_lines` answers, with the real library's settings and events.

The kernel can simulate one (gpio-sim), but only for root and with a module that few machines have.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable

import gpiod
from gpiod.line import Bias, Direction, Edge, Value

Settings = gpiod.LineSettings


class Chip:
    """The pins of `/dev/gpiochip-test`. Install with `monkeypatch.setattr(gpiod, "request_lines", chip.request_lines)`.

    Every pin floats until something pulls or drives it; `press` connects one to ground.
    """

    path = "/dev/gpiochip-test"

    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}
        """Of the pins that are driven; true is high."""
        self.history: list[dict[int, bool]] = []
        """All of them, after each time they were set."""
        self.requests: list[Request] = []
        """Those that are held."""
        self.problem: OSError | None = None
        """Why no pin can be had now."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def request_lines(
        self, path: str, config: dict[Iterable[int | str] | int | str, Settings | None], consumer: str | None = None
    ) -> Request:
        if self.problem is not None:
            raise self.problem
        if path != self.path:
            raise FileNotFoundError(2, "No such file or directory", path)
        lines = {
            pin: settings or Settings()
            for pins, settings in config.items()
            for pin in ((pins,) if isinstance(pins, int | str) else pins)
        }
        if any(pin in request.lines for pin in lines for request in self.requests):
            raise OSError(16, "Device or resource busy")
        request = Request(self, {int(pin): settings for pin, settings in lines.items()})
        self.requests.append(request)
        self.change()
        return request

    async def until(self, condition: Callable[[], bool], within: float = 20.0) -> None:
        """Until the condition holds, which is looked at after everything that is asked of the chip."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def change(self) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the test is over
            self._loop.call_soon_threadsafe(self._changed.set)

    def settings(self, pin: int) -> Settings:
        """How it was asked for."""
        return next(request.lines[pin] for request in self.requests if pin in request.lines)

    def press(self, pin: int, at: float) -> None:
        """Connect it to ground, at a time in seconds."""
        self._edge(pin, low=True, at=at)

    def let_go(self, pin: int, at: float) -> None:
        self._edge(pin, low=False, at=at)

    def unplug(self) -> None:
        """Whoever holds pins can read them no more."""
        self.problem = OSError(19, "No such device")
        for request in self.requests:
            request.wake()

    def _edge(self, pin: int, *, low: bool, at: float) -> None:
        for request in self.requests:
            if pin in request.lines:
                request.edge(pin, low, at)


class Request:
    """Lines that somebody holds, like gpiod.LineRequest."""

    def __init__(self, chip: Chip, lines: dict[int, Settings]) -> None:
        self.lines = lines
        self._chip = chip
        self._events: list[gpiod.EdgeEvent] = []
        self._out, self._in = os.pipe()  # readable when there are events, like the kernel's descriptor
        self._drive({pin: settings.output_value for pin, settings in lines.items()})

    @property
    def fd(self) -> int:
        return self._out

    def set_values(self, values: dict[int | str, Value]) -> None:
        if self._chip.problem is not None:
            raise self._chip.problem
        self._drive({int(pin): value for pin, value in values.items()})

    def read_edge_events(self) -> list[gpiod.EdgeEvent]:
        if self._chip.problem is not None:
            raise self._chip.problem
        os.read(self._out, len(self._events))
        events, self._events = self._events, []
        return events

    def release(self) -> None:
        self._chip.requests.remove(self)
        os.close(self._out)
        os.close(self._in)
        self._chip.change()

    def edge(self, pin: int, low: bool, at: float) -> None:
        settings = self.lines[pin]
        pulled = settings.bias is (Bias.PULL_UP if settings.active_low else Bias.PULL_DOWN)
        if settings.edge_detection is not Edge.BOTH or settings.direction is not Direction.INPUT or not pulled:
            return
        rising = low == settings.active_low  # of the logical level
        kind = gpiod.EdgeEvent.Type.RISING_EDGE if rising else gpiod.EdgeEvent.Type.FALLING_EDGE
        self._events.append(gpiod.EdgeEvent(kind.value, round(at * 1e9), pin, 0, 0))
        self.wake()

    def wake(self) -> None:
        os.write(self._in, b".")

    def _drive(self, values: dict[int, Value]) -> None:
        for pin, value in values.items():
            settings = self.lines[pin]
            if settings.direction is Direction.OUTPUT:
                self._chip.levels[pin] = bool(value) != settings.active_low
        self._chip.history.append(dict(self._chip.levels))
        self._chip.change()
