"""Microphone and speaker through PortAudio. The only module that imports PyAudio."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from handlers.audio import RATE, AudioFormat, Converter
from handlers.errors import AudioError, MissingExtraError
from satellite.blocking import BlockReader, call
from satellite.source import PIECE_SECONDS, Pieces

try:
    import pyaudio
except ImportError:
    raise MissingExtraError("A microphone or speaker", "microphone") from None

_LOGGER = logging.getLogger(__name__)

DEFAULT = "default"

_OPEN_SECONDS = 10.0
"""Enumerating every ALSA device takes 0.1 s on a desktop and some seconds on a Pi with a slow USB hub."""

_SILENCE_SECONDS = 3.0
"""A microphone delivers a block every few milliseconds; one that is silent for so long is gone."""

_WRITE_SECONDS = 5.0
"""A speaker takes a piece in the time of its length plus what lies ahead of it, far below a second."""

_CLOSE_SECONDS = 1.0

_BLOCKS_AHEAD = 50
"""One second of the microphone. What is older when nobody reads is dropped: late audio is worse than none."""

_EXTRA_DRAIN_SECONDS = 0.1
"""PortAudio's output latency leaves out the sound server's own buffer, 50 ms with PulseAudio."""

_FORMAT_ERRORS = {pyaudio.paInvalidSampleRate, pyaudio.paInvalidChannelCount}
"""The device is there but not in this format: its own may do."""

_MAX_CHANNELS = 32
"""What the converter takes; devices of a sound server claim up to 128 and take any number."""

_BUFFER_SECONDS = 0.032
"""Per period of the device. Shorter ones run over on a busy machine, longer ones delay the wake word."""

_SETUP = threading.Lock()
"""PortAudio is one per process, and its opening and closing calls must not run side by side."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Device:
    index: int
    name: str
    rate: int
    channels: int


async def open_microphone(wanted: str) -> Microphone:
    """Open a microphone by name, number or 'default'. Raises AudioError that says what to do."""
    read, finish, name = await _in_time(lambda: _open_input(wanted), f"The microphone '{wanted}' does not open")
    return Microphone(name, read, finish)


async def open_speaker(wanted: str) -> Speaker:
    """Find a speaker by name, number or 'default'; it is opened for each answer. Raises AudioError."""

    def find() -> _Device:
        with _portaudio() as audio:
            return _find(audio, wanted, capture=False)

    return Speaker(await _in_time(find, f"The speaker '{wanted}' does not answer"))


class Microphone:
    """A sound card's input as internal audio."""

    is_live = True

    def __init__(self, name: str, read: Callable[[], bytes | None], finish: Callable[[], None]) -> None:
        self.name = name
        self._blocks = BlockReader(read, bound=_BLOCKS_AHEAD, lossy=True, finish=finish)
        self._pieces = Pieces()

    @property
    def overflows(self) -> int:
        """Blocks that were dropped because nobody read them in time."""
        return self._blocks.dropped

    async def read(self) -> bytes:
        while not (piece := self._pieces.take()):
            try:
                block = await self._blocks.next(_SILENCE_SECONDS)
            except OSError as error:  # TimeoutError is one
                raise AudioError(
                    f"The microphone '{self.name}' stopped ({_reason(error)}): check that it is plugged in and that "
                    "the sound server runs, then start the satellite again"
                ) from error
            if block is None:
                return b""
            self._pieces.add(block)
        return piece

    async def close(self) -> None:
        await self._blocks.stop(_CLOSE_SECONDS)


class Speaker:
    """A sound card's output. The device is held only while an answer plays."""

    def __init__(self, device: _Device) -> None:
        self.name = device.name
        self._device = device
        self._output: _Output | None = None
        self._written = 0.0
        self._bytes_per_second = 1

    @property
    def played(self) -> float:
        ahead = self._output.latency if self._output is not None else 0.0
        return max(0.0, self._written - ahead)

    async def start(self, audio_format: AudioFormat) -> None:
        await self.abort()
        self._written = 0.0
        self._bytes_per_second = audio_format.bytes_per_second
        self._output = await self._call(lambda: _Output(self._device, audio_format), _OPEN_SECONDS)

    async def write(self, pcm: bytes) -> None:
        output = self._output
        if output is None:
            return
        step = max(1, int(PIECE_SECONDS * self._bytes_per_second))  # small, so that an abort never waits long
        for start in range(0, len(pcm), step):
            piece = pcm[start : start + step]
            await self._call(lambda piece=piece: output.write(piece), _WRITE_SECONDS)  # type: ignore[misc]
            self._written += len(piece) / self._bytes_per_second

    async def drain(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            await self._call(output.drain, _WRITE_SECONDS)

    async def abort(self) -> None:
        output = self._output
        if output is not None:
            self._written = self.played
            self._output = None
            with contextlib.suppress(AudioError):  # it is given up anyway
                await self._call(output.close, _CLOSE_SECONDS)

    async def close(self) -> None:
        await self.abort()

    async def _call(self, work: Callable[[], T], within: float) -> T:
        try:
            return await call(work, within)
        except OSError as error:  # TimeoutError is one
            raise AudioError(
                f"The speaker '{self.name}' does not play ({_reason(error)}): check that it is plugged in and that "
                "the sound server runs"
            ) from error


class _Output:
    """One open output stream. Blocking; a lock keeps a close from pulling the stream from under a write."""

    def __init__(self, device: _Device, audio_format: AudioFormat) -> None:
        self._lock = threading.Lock()
        self._stream, opened = _open_stream(device, audio_format.rate, capture=False)
        self._rate = opened.rate
        self._channels = opened.channels
        self._converter = Converter(audio_format, opened.rate)
        self.latency: float = self._stream.get_output_latency()
        """Seconds between writing a sample and hearing it."""

    def write(self, pcm: bytes) -> None:
        with self._lock:
            self._put(self._converter.convert(pcm))

    def drain(self) -> None:
        """Neither stopping nor closing waits for what is in the buffers when ALSA leads to a sound server.

        So as much silence is written behind the last word; what is cut off is part of it.
        """
        with self._lock:
            self._put(self._converter.flush())
            self._put(bytes(2 * int((self.latency + _EXTRA_DRAIN_SECONDS) * self._rate)))
        self.close()

    def close(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                _close_stream(stream)

    def _put(self, mono: bytes) -> None:
        if self._stream is None or not mono:
            return
        if self._channels > 1:
            mono = np.repeat(np.frombuffer(mono, dtype="<i2"), self._channels).tobytes()
        self._stream.write(mono)


def _open_input(wanted: str) -> tuple[Callable[[], bytes | None], Callable[[], None], str]:
    with _portaudio() as audio:
        device = _find(audio, wanted, capture=True)
    stream, opened = _open_stream(device, RATE, capture=True)
    converter = Converter(opened)
    frames = int(opened.rate * PIECE_SECONDS)

    def read() -> bytes:
        return converter.convert(stream.read(frames, exception_on_overflow=False))

    return read, lambda: _close_stream(stream), device.name


def _find(audio: pyaudio.PyAudio, wanted: str, *, capture: bool) -> _Device:
    """The device with this number, this name or, where only one has it, this part of a name."""
    kind, count_key = ("microphone", "maxInputChannels") if capture else ("speaker", "maxOutputChannels")
    devices = []
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        if int(info[count_key]) > 0:
            name, rate = str(info["name"]), int(info["defaultSampleRate"])
            devices.append(_Device(index, name, rate, min(_MAX_CHANNELS, int(info[count_key]))))
    if not devices:
        raise AudioError(f"No {kind} was found: plug one in, or check that the sound server runs and is yours to use")
    if wanted == DEFAULT:
        info = audio.get_default_input_device_info() if capture else audio.get_default_output_device_info()
        found = [device for device in devices if device.index == int(info["index"])]
    elif wanted.isdecimal():
        found = [device for device in devices if device.index == int(wanted)]
    else:
        same = [device for device in devices if device.name.lower() == wanted.lower()]
        found = same[:1] or [device for device in devices if wanted.lower() in device.name.lower()]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{device.index} ({device.name})" for device in devices)
    problem = "Several devices match" if found else "There is no"
    raise AudioError(f"{problem} {kind} '{wanted}'; choose one of {known}, 'default', or a file that ends in .wav")


def _open_stream(device: _Device, rate: int, *, capture: bool) -> tuple[pyaudio.Stream, AudioFormat]:
    """Open in mono at `rate`, or else in the first format of the device's own that it takes."""
    formats = dict.fromkeys((r, c) for r in (rate, device.rate) for c in (1, 2, device.channels))
    failure: OSError | None = None
    for candidate, channels in formats:
        with _SETUP, _quiet():
            audio = pyaudio.PyAudio()
            try:
                stream = audio.open(
                    rate=candidate,
                    channels=channels,
                    format=pyaudio.paInt16,
                    input=capture,
                    output=not capture,
                    input_device_index=device.index if capture else None,
                    output_device_index=None if capture else device.index,
                    frames_per_buffer=int(candidate * _BUFFER_SECONDS),
                )
            except OSError as error:
                audio.terminate()
                failure = error
            else:
                return stream, AudioFormat(candidate, 2, channels)
        if failure.errno not in _FORMAT_ERRORS:
            break
    raise AudioError(
        f"The {'microphone' if capture else 'speaker'} '{device.name}' does not open ({_reason(failure)}): "
        "another program may hold it, or the sound server is gone"
    ) from failure


def _close_stream(stream: pyaudio.Stream) -> None:
    with _SETUP, _quiet():
        try:
            stream.close()
        finally:
            stream._parent.terminate()


@contextlib.contextmanager
def _portaudio() -> Iterator[pyaudio.PyAudio]:
    with _SETUP, _quiet():
        audio = pyaudio.PyAudio()
    try:
        yield audio
    finally:
        with _SETUP:
            audio.terminate()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ALSA and JACK write dozens of lines to the process's stderr while devices open; they go to our debug log."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as chatter:
        kept = os.dup(2)
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            chatter.seek(0)
            for line in chatter.read().decode("utf-8", "replace").splitlines():
                _LOGGER.debug("sound library: %s", line)


async def _in_time(work: Callable[[], T], problem: str) -> T:
    try:
        return await call(work, _OPEN_SECONDS)
    except OSError as error:  # TimeoutError is one
        raise AudioError(f"{problem} ({_reason(error)}): check that the sound server runs") from error


def _reason(error: OSError | None) -> str:
    if isinstance(error, TimeoutError):
        return "it neither takes nor gives anything"
    return str(error.strerror or error) if error is not None else "unknown reason"
