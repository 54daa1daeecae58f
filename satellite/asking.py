"""The audio of a request, between the ears, which never wait, and a connection, which may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from handlers.audio import BYTES_PER_SECOND
from satellite.happenings import Happenings, Kind

ASKING_SECONDS = 35.0
"""That a request may take, by its audio and by the clock: the server hears no more than 15 s of speech and some of
silence. Behind that the satellite listens for its wake word again, whatever the server says."""

_AHEAD_SECONDS = 10.0
"""Audio that may wait for a slow connection. What does not fit is dropped: nobody answers to late audio."""


class Asking:
    """What is asked, once. `hear` takes audio while `pieces` gives it."""

    def __init__(self, happenings: Happenings) -> None:
        self._happenings = happenings
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()  # bounded by bytes, below; b'' is the end
        self._waiting_bytes = 0
        self._seconds = 0.0
        self.is_over = False
        """No more audio is taken."""
        self.is_wanted = True
        """Whoever answers has not heard enough yet."""

    def hear(self, piece: bytes) -> None:
        """Take the next internal audio. Never waits; once it is over, audio is dropped."""
        if self.is_over or not piece:
            return
        self._seconds += len(piece) / BYTES_PER_SECOND
        if self._seconds > ASKING_SECONDS:
            self.end()
        elif self._waiting_bytes + len(piece) <= _AHEAD_SECONDS * BYTES_PER_SECOND:
            self._waiting_bytes += len(piece)
            self._pieces.put_nowait(piece)

    def end(self) -> None:
        """There is no more audio to hear; what waits is still given."""
        if not self.is_over:
            self.close()
            self._happenings.tell(Kind.HEARD)

    def enough(self) -> None:
        """Whoever answers wants no more; what waits is dropped."""
        self.is_wanted = False
        self.end()

    def close(self) -> None:
        """The turn is over."""
        self.is_over = True
        self._pieces.put_nowait(b"")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The audio, as it comes."""
        too_long = asyncio.get_running_loop().call_later(ASKING_SECONDS, self.end)  # of a dead microphone, too
        try:
            while (piece := await self._pieces.get()) and self.is_wanted:
                self._waiting_bytes -= len(piece)
                yield piece
        finally:
            too_long.cancel()
