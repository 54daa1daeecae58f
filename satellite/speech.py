"""What Home Assistant says: it comes as fast as the network takes it, and is played at the speed of sound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from handlers.audio import AudioFormat
from handlers.errors import DeadlineError
from satellite.sink import Sink

_LOGGER = logging.getLogger(__name__)

_AHEAD_BYTES = 16 * 1024 * 1024
"""Of audio that waits to be played: six minutes of Home Assistant's 22050 Hz. What goes beyond is dropped, because
whoever stopped reading would also stop answering `ping`."""

_PIECE_SECONDS = 0.1
"""Written at a time: events are smaller than what is worth the way to a sound card."""

_SILENT_SECONDS = 30.0
"""Between two pieces: an assistant that uses a slow tool in the middle of its answer. More means that it broke off."""


class Speech:
    """Audio of one answer or announcement. `add` and `end` never wait; `play` does."""

    def __init__(self, audio_format: AudioFormat, silent_seconds: float = _SILENT_SECONDS) -> None:
        self.complete = False
        """No more will come."""
        self.seconds = 0.0
        """Length of what has come."""
        self._format = audio_format
        self._silent_seconds = silent_seconds
        self._audio = bytearray()
        self._changed = asyncio.Event()
        self._dropped = False

    def add(self, pcm: bytes) -> None:
        """The next audio, cut anywhere."""
        if self.complete:
            return
        if len(self._audio) + len(pcm) > _AHEAD_BYTES:
            if not self._dropped:
                self._dropped = True
                _LOGGER.warning("Home Assistant says more than can be kept until it is played: some of it is left out")
            return
        self._audio += pcm
        self.seconds += len(pcm) / self._format.bytes_per_second
        self._changed.set()

    def end(self) -> None:
        """There is no more."""
        self.complete = True
        self._changed.set()

    async def play(self, sink: Sink, began: Callable[[], None]) -> None:
        """Until all of it has been heard. `began` is called before the first sound. Cancelling silences it.

        Raises AudioError when it cannot be played, DeadlineError when it does not go on.
        """
        whole = False
        try:
            await sink.start(self._format)
            while piece := await self._next():
                began()
                began = nobody_asks
                await sink.write(piece)
            await sink.drain()
            whole = True
        finally:
            if not whole:
                await sink.abort()

    async def _next(self) -> bytes:
        frame = self._format.width * self._format.channels
        step = frame * max(1, int(_PIECE_SECONDS * self._format.rate))
        try:
            while len(self._audio) < frame and not self.complete:
                self._changed.clear()
                async with asyncio.timeout(self._silent_seconds):
                    await self._changed.wait()
        except TimeoutError:
            raise DeadlineError(
                f"Home Assistant broke off: what it says did not go on for {self._silent_seconds:g} seconds"
            ) from None
        size = min(step, len(self._audio) // frame * frame)
        piece = bytes(self._audio[:size])
        del self._audio[:size]
        return piece


def nobody_asks() -> None:
    """For whoever does not want to know when an answer begins to be heard."""
