"""How loud the satellite plays: a gain in software, because not every sound card has a mixer of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from handlers.audio import AudioFormat
from satellite.sink import Sink

FULL = 100
"""Percent at which audio is played as it came."""

LOUDEST = 150
"""Percent. More would cut off most of a voice's peaks."""

_RAMP_SECONDS = 0.01
"""From silence to full volume it takes so long, so that a change does not click."""


class Volume:
    """The volume in percent, kept while the satellite runs, and how much of it is left while somebody speaks."""

    def __init__(self, percent: int = FULL, *, ducked: int = FULL) -> None:
        self.percent = _within(percent)
        self.is_ducked = False
        self._ducked = max(0, min(FULL, ducked))

    @property
    def gain(self) -> float:
        """Factor of the samples. Quadratic, because that is about how loudness is felt: 50 % is 12 dB less."""
        left = self._ducked if self.is_ducked else FULL
        return (self.percent * left / FULL**2) ** 2

    def duck(self) -> None:
        """Play more quietly from the next audio on, until `unduck`."""
        self.is_ducked = True

    def unduck(self) -> None:
        """Play as loudly as before."""
        self.is_ducked = False

    def follow(self, wanted: object) -> None:
        """Do what the server's `handled` says: `{"change": 10}` or `{"to": 30}`. Anything else is left alone."""
        if not isinstance(wanted, dict):
            return
        to, change = wanted.get("to"), wanted.get("change")
        if isinstance(to, int) and not isinstance(to, bool):
            self.percent = _within(to)
        elif isinstance(change, int) and not isinstance(change, bool):
            self.percent = _within(self.percent + change)


class VolumeSink:
    """A sink behind the volume. Audio that is not 16 bits wide is played as it is."""

    def __init__(self, sink: Sink, volume: Volume) -> None:
        self._sink = sink
        self._volume = volume
        self._gain = volume.gain
        self._format = AudioFormat()
        self._half = b""  # of a sample, where a chunk was cut in its middle

    @property
    def played(self) -> float:
        return self._sink.played

    async def start(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._gain = self._volume.gain
        self._half = b""
        await self._sink.start(audio_format)

    async def write(self, pcm: bytes) -> None:
        await self._sink.write(self._amplified(pcm))

    async def drain(self) -> None:
        await self._sink.drain()

    async def abort(self) -> None:
        await self._sink.abort()

    async def close(self) -> None:
        await self._sink.close()

    def _amplified(self, pcm: bytes) -> bytes:
        wanted = self._volume.gain
        if self._format.width != 2 or (wanted == self._gain == 1.0 and not self._half):
            return pcm
        pcm = self._half + pcm
        self._half = pcm[len(pcm) - len(pcm) % 2 :]
        samples = np.frombuffer(pcm[: len(pcm) - len(self._half)], dtype="<i2").astype(np.float32)
        if not samples.size:
            return b""
        samples *= self._ramp(len(samples), wanted)
        return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()

    def _ramp(self, length: int, wanted: float) -> npt.NDArray[np.float32]:
        """Gains of the next samples: from the present one towards the wanted one, then that."""
        frames = np.arange(1, length + 1) // self._format.channels
        moved = frames / (_RAMP_SECONDS * self._format.rate)
        low, high = sorted((self._gain, wanted))
        gains = np.clip(self._gain + moved if wanted > self._gain else self._gain - moved, low, high)
        self._gain = float(gains[-1])
        return gains.astype(np.float32)


def _within(percent: int) -> int:
    return max(0, min(LOUDEST, percent))
