"""Turns the text events of a connection into a stream of text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from handlers.errors import RequestError

_SILENCE_SECONDS = 120.0
"""Between two pieces: a large language model may think for a minute; a client that is stuck is not waited for."""


class TextInput:
    """Text that arrives in pieces, and its end. Bounded by the length of the text as a whole."""

    def __init__(self, longest: int) -> None:
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._longest = longest
        self._length = 0
        self._ended = False
        self._read = False

    def put(self, piece: str) -> None:
        """Add text. RequestError, once, where the whole becomes too long; what came before is still spoken."""
        if self._ended or not piece:
            return
        self._length += len(piece)
        if self._length > self._longest:
            self.end()
            raise RequestError(
                "text-too-long", f"A text of over {self._longest} characters is too long to speak; send it in parts"
            )
        self._pieces.put_nowait(piece)

    def end(self) -> None:
        """No more text."""
        if not self._ended:
            self._ended = True
            self._pieces.put_nowait(None)

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes. A second reader takes over where the first one stopped."""
        while not self._read:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    piece = await self._pieces.get()
            except TimeoutError:
                self._read = True
                problem = f"No text for {_SILENCE_SECONDS:g} seconds; the rest is not spoken"
                raise RequestError("timeout", problem) from None
            if piece is None:
                self._read = True
            else:
                yield piece
