"""A satellite's controls that only write down what they are asked."""

from __future__ import annotations

import asyncio

Call = tuple[str] | tuple[str, int]


class Recorder:
    """What `satellite.partner.Controls` promises, and what was asked of it, in `calls`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """Each the method's name, and its argument where it has one."""
        self.state = "listening"
        self.volume = 100
        self._muted = False
        self._called = asyncio.Event()

    def talk(self) -> None:
        self._note("talk")

    def done(self) -> None:
        self._note("done")

    def stop(self) -> None:
        self._note("stop")

    def mute(self) -> None:
        self._muted = True
        self._note("mute")

    def unmute(self) -> None:
        self._muted = False
        self._note("unmute")

    def set_volume(self, percent: int) -> None:
        self.volume = percent
        self._note("set_volume", percent)

    @property
    def is_muted(self) -> bool:
        return self._muted

    @property
    def status(self) -> dict[str, str | int | bool]:
        return {
            "state": self.state,
            "muted": self._muted,
            "volume": self.volume,
            "microphone": True,
            "name": "kitchen",
        }

    async def until(self, count: int, within: float = 20.0) -> list[Call]:
        """The calls, when there are `count` or more. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while len(self.calls) < count:
                self._called.clear()
                await self._called.wait()
        return self.calls

    def _note(self, *call: str | int) -> None:
        self.calls.append(call)  # type: ignore[arg-type]  # a name, and at most one number
        self._called.set()
