"""Short sounds that say what the satellite does: it listens, it has heard enough, something went wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from handlers.audio import SPEECH, AudioFormat, Converter, from_float, open_wav, tones, wav_format
from handlers.errors import AudioError, MeadowlarkError, SettingsError
from handlers.settings import Section
from satellite.blocking import call
from satellite.happenings import Happening, Kind
from satellite.sink import Sink

_LEVEL = 0.2
"""Of full scale: softer than speech, so that it is no burden at night and little of it comes back."""

_EDGE_SECONDS = 0.015
"""A tone swells and fades over so much of it, else it clicks."""

_LONGEST_SECONDS = 3.0
"""Of a sound of one's own: a request waits behind it for its answer."""

_READ_SECONDS = 10.0
"""A file on a sleeping disk or a slow share opens within seconds."""


_TONES: dict[Kind, Sequence[tuple[float, float]]] = {
    Kind.WOKEN: ((659.3, 0.07), (987.8, 0.09)),
    Kind.HEARD: ((987.8, 0.07),),
    Kind.ERROR: ((392.0, 0.12), (311.1, 0.18)),
}
"""Hertz and seconds, one tone after another: rising is a question, falling is bad news."""


class SoundSettings(Section):
    """Sounds of the satellite's own, on a speaker: true, false, or a WAV file of yours of up to 3 s."""

    woken: bool | Path = True
    """It was called and listens."""

    heard: bool | Path = False
    """It has heard enough. Off, as the answer follows at once."""

    error: bool | Path = True
    """Nothing comes of it: there is no server, or it failed."""


class SoundSink:
    """A sink with sounds before and between its answers. A sound never delays a request, only the answer behind it."""

    def __init__(self, sink: Sink, sounds: dict[Kind, bytes]) -> None:
        """`sounds` are internal audio."""
        self._sink = sink
        self._sounds = sounds
        self._sounding: asyncio.Task[None] | None = None
        self._answers = False
        self._played = 0.0
        """Of the last answer, once it was ended."""
        self._silent = False
        """The speaker did not take a sound: none is tried before an answer finds it again."""

    @property
    def played(self) -> float:
        return self._sink.played if self._answers else self._played

    def follow(self, happening: Happening) -> None:
        """Play what belongs to it, where there is something and nothing else plays. An observer."""
        pcm = self._sounds.get(happening.kind)
        free = not self._answers and (self._sounding is None or self._sounding.done())
        if pcm and free and not self._silent:
            self._sounding = asyncio.create_task(self._play(pcm), name="sound")

    async def start(self, audio_format: AudioFormat) -> None:
        while self._sounding is not None and not self._sounding.done():
            await asyncio.wait({self._sounding})
        self._answers = True
        await self._sink.start(audio_format)
        self._silent = False

    async def write(self, pcm: bytes) -> None:
        await self._sink.write(pcm)

    async def drain(self) -> None:
        if self._answers:
            await self._sink.drain()
            self._played, self._answers = self._sink.played, False

    async def abort(self) -> None:
        await self._hush()
        await self._sink.abort()
        if self._answers:
            self._played, self._answers = self._sink.played, False

    async def close(self) -> None:
        await self._hush()
        await self._sink.close()

    async def _hush(self) -> None:
        sounding, self._sounding = self._sounding, None
        if sounding is not None:
            sounding.cancel()
            await asyncio.gather(sounding, return_exceptions=True)

    async def _play(self, pcm: bytes) -> None:
        whole = False
        self._silent = True
        with contextlib.suppress(MeadowlarkError):  # a speaker that is not there is told when an answer needs it
            try:
                await self._sink.start(SPEECH)
                await self._sink.write(pcm)
                self._silent = False
                await self._sink.drain()
                whole = True
            finally:
                if not whole:
                    await self._sink.abort()


async def open_sounds(settings: SoundSettings) -> dict[Kind, bytes]:
    """The sounds that are on, as internal audio. Raises SettingsError for a file that cannot be one."""
    wanted = {Kind.WOKEN: settings.woken, Kind.HEARD: settings.heard, Kind.ERROR: settings.error}
    sounds: dict[Kind, bytes] = {}
    for kind, source in wanted.items():
        if isinstance(source, Path):
            sounds[kind] = await call(lambda path=source: _read(path), _READ_SECONDS)  # type: ignore[misc]
        elif source:
            sounds[kind] = from_float(tones(_TONES[kind], _LEVEL, _EDGE_SECONDS))
    return sounds


def _read(path: Path) -> bytes:
    try:
        with open_wav(path) as wav:
            audio_format = wav_format(wav)
            if wav.getnframes() > _LONGEST_SECONDS * audio_format.rate:
                raise SettingsError(f"The sound {path} is longer than {_LONGEST_SECONDS:g} s: choose a shorter one")
            converter = Converter(audio_format)
            return converter.convert(wav.readframes(wav.getnframes())) + converter.flush()
    except AudioError as error:
        raise SettingsError(f"The sound {path} cannot be used: {error}") from None
