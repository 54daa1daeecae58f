"""The microphone under supervision: a device that goes is noticed, closed and opened again, for as long as it takes.

    OPENING --first sound--> HEARING --no frames for 2 s, an error, an end--> LOST --a growing pause--> OPENING

While it is gone its reader gets nothing, not even silence, and `changed` has been told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from handlers.errors import AudioError
from satellite.backoff import Backoff
from satellite.blocking import BlockReader, call
from satellite.pieces import Pieces

_LOGGER = logging.getLogger(__name__)

_OPEN_SECONDS = 10.0
"""Enumerating every ALSA device takes 0.1 s on a desktop and some seconds on a Pi with a slow USB hub."""

_FIRST_SECONDS = 5.0
"""A Bluetooth headset takes some seconds from its opening to its first sound."""

_SILENCE_SECONDS = 1.8
"""A microphone delivers a block every few milliseconds; one that is silent for so long is gone. With what it takes to
close it, whoever waits for it knows within 2 s."""

_CLOSE_SECONDS = 1.0

_BLOCKS_AHEAD = 50
_PIECES_AHEAD = 50
"""One second of the microphone. What is older when nobody reads is dropped: late audio is worse than none."""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
"""Seconds between attempts: a sound server that restarts is back in half a second, a cable is put back by somebody who
then tries whether it works."""

_STEADY_SECONDS = 10.0
"""One that is lost again sooner has a bad contact: that is not told again, and the pauses go on growing."""

Changed = Callable[[bool], None]
"""Told on the event loop: False, the microphone is lost; True, it is back."""


def ignore(present: bool) -> None:
    """For whom it is all the same."""


class Capture(Protocol):
    """An open microphone. Its methods block and are called in a thread; they raise OSError."""

    name: str
    latency: float
    """Seconds from a sound to its being read."""

    def read(self) -> bytes:
        """The next internal audio, of any length."""

    def close(self) -> None:
        """Let go of the device."""


class Microphone:
    """A supervised microphone as a source of internal audio. `open` makes one."""

    is_live = True

    def __init__(
        self, wanted: str, open_device: Callable[[], Capture], first: Capture | None, changed: Changed
    ) -> None:
        self.name = first.name if first is not None else wanted
        self.latency = first.latency if first is not None else 0.0
        """Seconds from a sound to its being read, as the sound system says."""
        self.present = first is not None
        self.overflows = 0
        """Pieces that were dropped because nobody read them in time."""
        self._open_device = open_device
        self._changed = changed
        self._pieces: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._told = first is None
        """That it is missing was logged, and not yet that it is back."""
        self._puzzled = False
        """An error that was not foreseen has been logged."""
        self._quiet_until = 0.0
        self._paused = False
        self._first = first
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._run(), name="microphone")

    @classmethod
    async def open(
        cls, wanted: str, open_device: Callable[[], Capture], *, changed: Changed = ignore, patient: bool = False
    ) -> Microphone:
        """Open it for the first time. Raises AudioError where it cannot be had, unless `patient`: then it waits."""
        first: Capture | None = None
        try:
            first = await call(open_device, _OPEN_SECONDS, undo=lambda late: late.close())
        except (AudioError, OSError) as error:  # TimeoutError is one
            if not patient:
                if isinstance(error, AudioError):
                    raise
                raise AudioError(
                    f"The microphone '{wanted}' does not open ({reason(error)}): check that the sound server runs"
                ) from error
            _LOGGER.warning("%s. Trying again until it is there", reason(error).rstrip("."))
        return cls(wanted, open_device, first, changed)

    async def read(self) -> bytes:
        """The next 20 ms, b'' only after `close`."""
        while not self._pieces:
            if self._closed:
                return b""
            self._ready.clear()
            await self._ready.wait()
        return self._pieces.popleft()

    async def pause(self) -> None:
        """Let go of the device until `resume`: nothing is captured at all."""
        self._paused = True
        await self._let_go()

    async def resume(self) -> None:
        """Open the device again, in the background. Does nothing where it is not paused."""
        self._paused = False
        self._begin()

    async def refresh(self) -> None:
        """Open the device anew. PortAudio lists devices only when none is open: for a speaker that came back."""
        if self._task is not None:
            try:
                await self._let_go()
            finally:  # an answer that is interrupted meanwhile must not leave us deaf
                self._begin()

    async def close(self) -> None:
        await self.pause()
        self._closed = True
        self._ready.set()

    def _begin(self) -> None:
        if self._task is None and not self._closed and not self._paused:
            self._task = asyncio.create_task(self._run(), name="microphone")

    async def _let_go(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        first, self._first = self._first, None
        if first is not None:  # the task never began
            with contextlib.suppress(OSError):
                await call(first.close, _CLOSE_SECONDS)
        self.present = False
        self._pieces.clear()

    async def _run(self) -> None:
        pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        capture, self._first = self._first, None
        while True:
            if capture is None:
                capture = await self._open_again(pauses)
            began = asyncio.get_running_loop().time()
            await self._hear(capture)
            if asyncio.get_running_loop().time() - began >= _STEADY_SECONDS:
                pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
            capture = None
            await asyncio.sleep(pauses.next())

    async def _open_again(self, pauses: Backoff) -> Capture:
        while True:
            try:
                # Without a deadline: where the sound system hangs, a second attempt would only hang behind the first.
                return await call(self._open_device, None, undo=lambda late: late.close())
            except Exception as error:  # whatever a driver comes up with: it is tried again
                self._failed(error)
            await asyncio.sleep(pauses.next())

    async def _hear(self, capture: Capture) -> None:
        """Take what comes until nothing does."""
        blocks = BlockReader(capture.read, bound=_BLOCKS_AHEAD, lossy=True, finish=capture.close)
        pieces = Pieces()
        patience = _FIRST_SECONDS
        try:
            while (block := await blocks.next(patience)) is not None:
                self._there(capture)
                patience = _SILENCE_SECONDS
                pieces.add(block)
                while piece := pieces.take():
                    self._keep(piece)
            self._missing("it ended")
        except Exception as error:  # as above: it is opened again
            self._failed(error)
        finally:
            await blocks.stop(_CLOSE_SECONDS)

    def _keep(self, piece: bytes) -> None:
        if len(self._pieces) >= _PIECES_AHEAD:
            self._pieces.popleft()
            self.overflows += 1
        self._pieces.append(piece)
        self._ready.set()

    def _there(self, capture: Capture) -> None:
        if self.present:
            return
        self.present, self.name, self.latency = True, capture.name, capture.latency
        if self._told:
            _LOGGER.info("The microphone '%s' is there", self.name)
            self._told = False
            self._quiet_until = asyncio.get_running_loop().time() + _STEADY_SECONDS
        self._tell(True)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, AudioError | OSError):
            self._puzzle(error)
        self._missing(reason(error))

    def _missing(self, why: str) -> None:
        if not self._told and asyncio.get_running_loop().time() >= self._quiet_until:
            _LOGGER.warning(
                "The microphone '%s' is gone (%s): check that it is plugged in and that the sound server runs. "
                "Trying again until it is back",
                self.name,
                why.rstrip("."),
            )
            self._told = True
        else:
            _LOGGER.debug("The microphone '%s' is gone (%s)", self.name, why)
        if self.present:
            self.present = False
            self._pieces.clear()
            self._tell(False)

    def _tell(self, present: bool) -> None:
        try:
            self._changed(present)
        except Exception as error:  # theirs; the microphone goes on
            self._puzzle(error)

    def _puzzle(self, error: Exception) -> None:
        if not self._puzzled:
            self._puzzled = True
            _LOGGER.error("The microphone '%s' met an error that was not foreseen", self.name, exc_info=error)


def reason(error: BaseException | None) -> str:
    """What a sound system's error says, for a message."""
    if isinstance(error, TimeoutError):
        return "it neither takes nor gives anything"
    return str((error.strerror if isinstance(error, OSError) else None) or error or "unknown reason")
