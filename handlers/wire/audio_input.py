"""A queue of internal audio, and what turns the audio events of a Wyoming connection into one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from handlers.audio import BYTES_PER_SECOND, AudioFormat, Converter
from handlers.errors import AudioError, RequestError

_AHEAD_BYTES = 4 * BYTES_PER_SECOND
"""Audio that may wait for its reader. Beyond it the connection is not read on, so that TCP slows the sender."""

_SILENCE_SECONDS = 60.0
"""Between two chunks: a microphone sends them all the time, also of silence."""

_PIECE_BYTES = 16 * 1024
"""A client may send 1 MiB in one event; in pieces of this size nobody else waits for its conversion."""

AUDIO_EVENTS = frozenset({"audio-start", "audio-chunk", "audio-stop"})


class AudioQueue:
    """Internal audio on its way to the one task that reads it. Whoever fills it sees to its bound.

    After `close`, what waits is still read and further audio is dropped: the turn has heard enough.
    """

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self.waiting_bytes = 0
        self.ended = False
        """No more audio will be taken."""

    def put(self, pcm: bytes) -> None:
        """Add audio, 16 kHz mono s16le."""
        if self.ended or not pcm:
            return
        self.waiting_bytes += len(pcm)
        self._chunks.put_nowait(pcm)
        if self.waiting_bytes >= _AHEAD_BYTES:
            self._room.clear()

    def close(self) -> None:
        """Take no more audio and let go of whoever waits for room."""
        self.ended = True
        self._room.set()
        self._chunks.put_nowait(None)

    async def room(self) -> None:
        """Wait while the reader is some seconds behind."""
        await self._room.wait()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The audio, in pieces of any length. RequestError when the sender falls silent."""
        while (chunk := await self._next()) is not None:
            self.waiting_bytes -= len(chunk)
            if self.waiting_bytes < _AHEAD_BYTES:
                self._room.set()
            yield chunk

    async def _next(self) -> bytes | None:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                return await self._chunks.get()
        except TimeoutError:
            self.close()
            problem = f"No audio for {_SILENCE_SECONDS:g} seconds: the microphone has stopped"
            raise RequestError("timeout", problem) from None


class AudioInput(AudioQueue):
    """The audio of `audio-*` events. It ends at `audio-stop`."""

    def __init__(self) -> None:
        super().__init__()
        self._format: AudioFormat | None = None
        self._converter: Converter | None = None

    async def feed(self, event: Event) -> None:
        """Take an `audio-start`, `audio-chunk` or `audio-stop`; waits while the reader is behind."""
        if self.ended:
            return
        if AudioStart.is_type(event.type):
            self._use(_event_format(event, self._format))
        elif AudioChunk.is_type(event.type):
            self._use(_event_format(event, self._format))
            if self._converter is not None and event.payload:
                for start in range(0, len(event.payload), _PIECE_BYTES):
                    await self._put(self._converter.convert(event.payload[start : start + _PIECE_BYTES]))
        elif AudioStop.is_type(event.type):
            if self._converter is not None:
                await self._put(self._converter.flush())
            self.close()

    def _use(self, audio_format: AudioFormat) -> None:
        if audio_format == self._format:
            return
        try:
            self._converter = Converter(audio_format)
        except AudioError as error:
            raise RequestError("bad-audio-format", str(error)) from None
        self._format = audio_format

    async def _put(self, pcm: bytes) -> None:
        await self.room()
        await asyncio.sleep(0)  # room or not, others have their turn
        self.put(pcm)


def _event_format(event: Event, current: AudioFormat | None) -> AudioFormat:
    """The format that an event states; what it leaves out is as before."""
    values = []
    for key, known in (
        ("rate", current and current.rate),
        ("width", current and current.width),
        ("channels", current and current.channels),
    ):
        value = event.data.get(key, known)
        if not isinstance(value, int) or isinstance(value, bool):
            raise RequestError("bad-event", f"The event '{event.type}' needs a whole number '{key}'")
        values.append(value)
    return AudioFormat(*values)
