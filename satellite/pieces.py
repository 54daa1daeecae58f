"""How audio is handed on inside the satellite."""

from __future__ import annotations

from collections.abc import Callable

from handlers.audio import BYTES_PER_SECOND, AudioFormat

PIECE_SECONDS = 0.02
"""Length of a piece: short enough that nobody waits for it, long enough that events cost little on the wire."""

PIECE_BYTES = int(PIECE_SECONDS * BYTES_PER_SECOND)

Tap = Callable[[bytes, AudioFormat, float], None]
"""Told on the event loop what a speaker was given: audio, its format, and when its beginning is heard, on
time.monotonic()."""


class Pieces:
    """Cuts audio of any lengths into pieces of 20 ms."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def add(self, pcm: bytes) -> None:
        self._pending += pcm

    def take(self) -> bytes:
        """A whole piece, or b'' when there is none yet."""
        if len(self._pending) < PIECE_BYTES:
            return b""
        return self.rest(PIECE_BYTES)

    def rest(self, size: int | None = None) -> bytes:
        """All that is left, or its first `size` bytes."""
        piece = bytes(self._pending[:size])
        del self._pending[:size]
        return piece
