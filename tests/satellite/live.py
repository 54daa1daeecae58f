"""A live microphone and a loudspeaker without a sound card, for tests of a satellite that stays."""

from __future__ import annotations

import asyncio
import os

from handlers.audio import AudioFormat
from satellite.source import Recording, StandardInput


class Microphone:
    """A pipe that stands for a microphone: raw audio goes in, and it is live."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self.source = Recording("pipe", StandardInput(reading).read, is_live=True)

    def say(self, pcm: bytes) -> None:
        os.write(self._writing, pcm)

    def end(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1


class Loudspeaker:
    """Takes audio as fast as it sounds, and remembers when it was silenced."""

    def __init__(self) -> None:
        self.played = 0.0
        self.aborted = 0
        self._bytes_per_second = 1

    async def start(self, audio_format: AudioFormat) -> None:
        self.played = 0.0
        self._bytes_per_second = audio_format.bytes_per_second

    async def write(self, pcm: bytes) -> None:
        seconds = len(pcm) / self._bytes_per_second
        await asyncio.sleep(seconds)
        self.played += seconds

    async def drain(self) -> None:
        """Nothing waits."""

    async def abort(self) -> None:
        self.aborted += 1

    async def close(self) -> None:
        """Nothing is open."""


async def speak(microphone: Microphone, pcm: bytes) -> None:
    """Into the microphone, as fast as it is said; a pipe holds two seconds."""
    step = 3200
    for start in range(0, len(pcm), step):
        microphone.say(pcm[start : start + step])
        await asyncio.sleep(step / 32_000)
