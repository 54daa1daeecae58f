"""Speech for tests, spoken by a real server's own voice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import audioop
from wyoming.audio import AudioChunk
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize

from .server import MeadowlarkServer

RATE = 16_000
WIDTH = 2

ANSWER_SECONDS = 60.0
"""The longest that a test waits for the server."""

PIECE_BYTES = 1024
"""32 ms, about as Home Assistant hands it on."""


def silence(seconds: float) -> bytes:
    """16 kHz mono s16le without a sound."""
    return bytes(WIDTH * int(seconds * RATE))


async def say(server: MeadowlarkServer, text: str) -> bytes:
    """A text as 16 kHz mono s16le."""
    pcm = b""
    state = None
    async with asyncio.timeout(ANSWER_SECONDS), AsyncTcpClient(server.host, server.wyoming_port) as client:
        await client.write_event(Synthesize(text).event())
        while (event := await client.read_event()) is not None and event.type != "audio-stop":
            if AudioChunk.is_type(event.type):
                chunk = AudioChunk.from_event(event)
                piece, state = audioop.ratecv(chunk.audio, chunk.width, chunk.channels, chunk.rate, RATE, state)
                pcm += piece
    assert pcm, "the server did not speak"
    return pcm


class Microphone:
    """Audio as from a microphone, paced; it goes on with silence for ever. Knows whether it was closed."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm
        self.heard = 0
        """Bytes that were taken from it."""
        self.closed = False
        self.open = asyncio.Event()
        """Something was taken from it."""

    async def stream(self) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while True:
                piece = self._pcm[self.heard : self.heard + PIECE_BYTES].ljust(PIECE_BYTES, b"\0")
                self.heard += PIECE_BYTES
                self.open.set()
                await asyncio.sleep(max(0.0, began + self.heard / (RATE * WIDTH) - loop.time()))
                yield piece
        finally:
            self.closed = True

    async def timed(self) -> AsyncGenerator[tuple[bytes, int]]:
        """With the time of each piece in milliseconds."""
        async for piece in self.stream():
            yield piece, (self.heard - PIECE_BYTES) * 1000 // (RATE * WIDTH)


async def at_once(pcm: bytes) -> AsyncGenerator[bytes]:
    """Audio of a file, as fast as it is taken."""
    for start in range(0, len(pcm), PIECE_BYTES):
        yield pcm[start : start + PIECE_BYTES]
