"""Where the satellite's answers go: a WAV file, standard output, a speaker or nowhere, all of one kind."""

from __future__ import annotations

import contextlib
import os
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from handlers.audio import AudioFormat, Converter
from handlers.errors import AudioError
from satellite.blocking import call
from satellite.pieces import Tap

STDOUT = "-"
NONE = "none"

_WRITE_SECONDS = 10.0
"""A disk or a reading program that takes nothing for so long is stuck."""


Refresh = Callable[[], Awaitable[None]]
"""Lets go of the sound system for a moment (`Microphone.refresh`), so that it looks for devices anew."""


class Sink(Protocol):
    """Plays one answer after another: `start`, many `write`, then `drain` or `abort`."""

    @property
    def played(self) -> float:
        """Seconds of this answer that have been heard."""

    async def start(self, audio_format: AudioFormat) -> None:
        """Begin an answer. Raises AudioError."""

    async def write(self, pcm: bytes) -> None:
        """Take the next audio in the format of `start`; waits while enough of it lies ahead. Raises AudioError."""

    async def drain(self) -> None:
        """End the answer when all of it has been heard."""

    async def abort(self) -> None:
        """End the answer now and drop what was not heard. Does nothing between answers."""

    async def close(self) -> None:
        """Let go of the file or device."""


async def open_sink(
    name: str, *, tap: Tap | None = None, refresh: Refresh | None = None, patient: bool = False
) -> Sink:
    """A WAV file's path, '-' for raw audio on standard output, 'none', a speaker's name or number, or 'default'.

    `tap` is told what a speaker is given; `refresh` is called when it is not found, before it is looked for again; one
    that is not there yet is an error unless `patient`: then each answer looks for it. Raises AudioError, or
    MissingExtraError when a speaker is wanted and PyAudio is not installed.
    """
    if name == NONE:
        return NoSink()
    if name == STDOUT:
        return StandardOutput(1)
    if not is_device(name):
        return WavSink(Path(name))
    from satellite.pyaudio_device import open_speaker  # the only place that may need PyAudio

    return await open_speaker(name, tap=tap, refresh=refresh, patient=patient)


def is_device(name: str) -> bool:
    """Whether a sink of this name is a speaker."""
    return name not in {NONE, STDOUT} and not name.lower().endswith(".wav")


class NoSink:
    """Hears nothing, but counts."""

    def __init__(self) -> None:
        self.played = 0.0
        self._bytes_per_second = 1

    async def start(self, audio_format: AudioFormat) -> None:
        self.played = 0.0
        self._bytes_per_second = audio_format.bytes_per_second

    async def write(self, pcm: bytes) -> None:
        self.played += len(pcm) / self._bytes_per_second

    async def drain(self) -> None:
        """Nothing waits."""

    async def abort(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""


class WavSink:
    """Writes each answer to the same WAV file, which so holds the last one. An answer that fails leaves no file."""

    def __init__(self, path: Path) -> None:
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise AudioError(f"{path} cannot be written: choose a file in a folder that exists and is yours")
        self.played = 0.0
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._writer: wave.Wave_write | None = None
        self._bytes_per_second = 1

    async def start(self, audio_format: AudioFormat) -> None:
        await self.abort()
        self.played = 0.0
        self._bytes_per_second = audio_format.bytes_per_second
        try:
            self._writer = wave.open(str(self._part), "wb")  # noqa: SIM115 - drain or abort closes it
        except OSError as error:
            raise self._failed(error) from error
        self._writer.setframerate(audio_format.rate)
        self._writer.setsampwidth(audio_format.width)
        self._writer.setnchannels(audio_format.channels)

    async def write(self, pcm: bytes) -> None:
        if self._writer is None or not pcm:
            return
        writer = self._writer
        try:
            await call(lambda: writer.writeframes(pcm), _WRITE_SECONDS)
        except OSError as error:
            raise self._failed(error) from error
        self.played += len(pcm) / self._bytes_per_second

    async def drain(self) -> None:
        if self._writer is None:
            return
        if not self.played:
            await self.abort()
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
            self._part.replace(self._path)
        except OSError as error:
            raise self._failed(error) from error

    async def abort(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with contextlib.suppress(OSError, wave.Error):  # a full disk, or no frames: the file goes anyway
            writer.close()
        self._part.unlink(missing_ok=True)

    async def close(self) -> None:
        await self.abort()

    def _failed(self, error: OSError) -> AudioError:
        return AudioError(f"{self._path} cannot be written ({error.strerror or error})")


class StandardOutput:
    """Raw 16 kHz mono s16le, whatever the voice's format, so that the reader needs to know only one."""

    def __init__(self, descriptor: int) -> None:
        self.played = 0.0
        self._descriptor = descriptor
        self._converter: Converter | None = None
        self._bytes_per_second = 1

    async def start(self, audio_format: AudioFormat) -> None:
        self.played = 0.0
        self._bytes_per_second = audio_format.bytes_per_second
        self._converter = Converter(audio_format)

    async def write(self, pcm: bytes) -> None:
        if self._converter is not None:
            await self._put(self._converter.convert(pcm))
            self.played += len(pcm) / self._bytes_per_second

    async def drain(self) -> None:
        converter, self._converter = self._converter, None
        if converter is not None:
            await self._put(converter.flush())

    async def abort(self) -> None:
        self._converter = None

    async def close(self) -> None:
        """The descriptor belongs to the process."""

    async def _put(self, pcm: bytes) -> None:
        try:
            await call(lambda: _write_all(self._descriptor, pcm), _WRITE_SECONDS)
        except OSError as error:  # TimeoutError is one
            raise AudioError("Nobody takes the audio from standard output any more") from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
