"""Microphone and speaker through PortAudio. The only module that imports PyAudio."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from handlers.audio import RATE, AudioFormat, Converter
from handlers.errors import AudioError, MissingExtraError
from satellite.blocking import call
from satellite.chatter import Filter
from satellite.ears import reason
from satellite.pieces import PIECE_SECONDS, Tap
from satellite.sink import Refresh

try:
    import pyaudio
except ImportError:
    raise MissingExtraError("A microphone or speaker", "microphone") from None

_LOGGER = logging.getLogger(__name__)

DEFAULT = "default"

_OPEN_SECONDS = 10.0
"""Enumerating every ALSA device takes 0.1 s on a desktop and some seconds on a Pi with a slow USB hub."""

_WRITE_SECONDS = 5.0
"""A speaker takes a piece in the time of its length plus what lies ahead of it, far below a second."""

_CLOSE_SECONDS = 1.0

_EXTRA_DRAIN_SECONDS = 0.1
"""PortAudio's output latency leaves out the sound server's own buffer, 50 ms with PulseAudio."""

_FORMAT_ERRORS = {pyaudio.paInvalidSampleRate, pyaudio.paInvalidChannelCount}
"""The device is there but not in this format: its own may do."""

_MAX_CHANNELS = 32
"""What the converter takes; devices of a sound server claim up to 128 and take any number."""

_CARD_CHANNELS = 16
"""Whoever claims more is a sound server, which gives every number of channels that it is asked for."""

_INPUT_SECONDS = 0.032
"""Per period of a microphone. Shorter ones run over on a busy machine, longer ones delay the wake word."""

_OUTPUT_SECONDS = 0.064
"""The same of a speaker, whose buffer has three: an answer goes on while this process gets no turn for 0.19 s. Its
first sound and its abort do not wait for the buffer (measured: 10 and 2 ms with any length from 10 to 64 ms)."""

_CARD = re.compile(r" \(hw:\d+,\d+\)$")
"""ALSA's number of a card, at the end of PortAudio's names. It is another one when a cable was out."""

_SETUP = threading.Lock()
"""PortAudio is one per process, and its opening and closing calls must not run side by side."""

_CHATTER = Filter()
"""One for the process, as stderr is."""

Choose = Callable[[pyaudio.PyAudio], "_Device"]

T = TypeVar("T")


@dataclass(frozen=True)
class _Device:
    index: int
    name: str
    rate: int
    channels: int

    @property
    def card(self) -> str:
        """The part of its name that stays when it is plugged in elsewhere."""
        return _CARD.sub("", self.name)


class Inputs:
    """Opens one microphone, again and again.

    wanted: its name, a part of its name, its number or 'default'. One that was found keeps its name, not its number.
    channel: which one is heard, from 1. None is the mean of two and the first of more: arrays of microphones put
    what their own processing made of the others there, and some have the loudspeaker's sound on another.
    """

    def __init__(self, wanted: str, channel: int | None = None) -> None:
        self._finder = _Finder(wanted, capture=True)
        self._channel = channel

    def open(self) -> Input:
        """Blocking. Raises AudioError that says what to do."""
        stream, opened, name = _open_stream(self._finder.find, _input_formats(self._channel), capture=True)
        channel = self._channel
        if channel is None and opened.channels > 2:
            channel = 1
        try:
            return Input(stream, opened, name, None if channel is None else channel - 1)
        except BaseException:
            _close_stream(stream)
            raise


class Input:
    """An open microphone, as `ears.Capture` has it."""

    def __init__(self, stream: pyaudio.Stream, opened: AudioFormat, name: str, channel: int | None) -> None:
        self.name = name
        self.latency: float = stream.get_input_latency()
        self._stream = stream
        self._converter = Converter(opened, channel=channel)
        self._frames = int(opened.rate * PIECE_SECONDS)

    def read(self) -> bytes:
        return self._converter.convert(self._stream.read(self._frames, exception_on_overflow=False))

    def close(self) -> None:
        _close_stream(self._stream)


async def open_speaker(
    wanted: str, *, tap: Tap | None = None, refresh: Refresh | None = None, patient: bool = False
) -> Speaker:
    """Find a speaker by name, number or 'default'; it is opened for each answer.

    Raises AudioError where it cannot be had, unless `patient`: then each answer looks for it.
    """
    finder = _Finder(wanted, capture=False)
    name = wanted
    try:
        name = await _speaker_name(finder, wanted)
    except AudioError as error:
        if not patient:
            raise
        _LOGGER.warning("%s. Looking for it at each answer", str(error).rstrip("."))
    return Speaker(name, finder, tap, refresh)


async def _speaker_name(finder: _Finder, wanted: str) -> str:
    def find() -> _Device:
        with portaudio() as audio:
            return finder.find(audio)

    try:
        return (await call(find, _OPEN_SECONDS)).name
    except OSError as error:  # TimeoutError is one
        raise AudioError(
            f"The speaker '{wanted}' does not answer ({reason(error)}): check that the sound server runs"
        ) from error


class Speaker:
    """A sound card's output. The device is looked for and held only while an answer plays.

    One that is gone is an AudioError for that answer; the next answer looks for it again. PortAudio knows only the
    devices that were there when the microphone was opened: `refresh` is to open that anew.
    """

    def __init__(self, name: str, finder: _Finder, tap: Tap | None = None, refresh: Refresh | None = None) -> None:
        self.name = name
        self._finder = finder
        self._tap = tap
        self._refresh = refresh
        self._output: _Output | None = None
        self._format = AudioFormat()
        self._written = 0.0
        self._heard_at = 0.0
        """When the end of what was written is heard."""

    @property
    def played(self) -> float:
        ahead = max(0.0, self._heard_at - time.monotonic()) if self._output is not None else 0.0
        return max(0.0, self._written - ahead)

    async def start(self, audio_format: AudioFormat) -> None:
        await self.abort()
        self._written = self._heard_at = 0.0
        self._format = audio_format
        try:
            self._output = await self._open(audio_format)
        except AudioError as error:
            if self._refresh is None or isinstance(error.__cause__, TimeoutError):  # a sound server that hangs
                raise
            await self._refresh()
            self._output = await self._open(audio_format)

    async def write(self, pcm: bytes) -> None:
        output = self._output
        if output is None:
            return
        step = max(1, int(PIECE_SECONDS * self._format.rate)) * self._format.width * self._format.channels
        for start in range(0, len(pcm), step):  # small, so that an abort never waits long
            piece = pcm[start : start + step]
            await self._call(lambda piece=piece: output.write(piece), _WRITE_SECONDS)  # type: ignore[misc]
            if self._output is not output:  # it was aborted
                return
            # The device takes it at once while there is room, and then plays without a gap until it has run dry.
            heard_at = max(self._heard_at, time.monotonic())
            length = len(piece) / self._format.bytes_per_second
            self._heard_at = heard_at + length
            self._written += length
            if self._tap is not None:
                self._tap(piece, self._format, heard_at)

    async def drain(self) -> None:
        output = self._output
        if output is not None:
            await self._call(output.drain, _WRITE_SECONDS)
            if self._output is output:  # it was not aborted
                self._output = None

    async def abort(self) -> None:
        output = self._output
        if output is not None:
            self._written = self.played
            self._output = None
            with contextlib.suppress(AudioError):  # it is given up anyway
                await self._call(output.close, _CLOSE_SECONDS)

    async def close(self) -> None:
        await self.abort()

    async def _open(self, audio_format: AudioFormat) -> _Output:
        return await self._call(
            lambda: _Output(self._finder, audio_format), _OPEN_SECONDS, undo=lambda late: late.close()
        )

    async def _call(self, work: Callable[[], T], within: float, undo: Callable[[T], None] | None = None) -> T:
        try:
            return await call(work, within, undo)
        except OSError as error:  # TimeoutError is one
            raise AudioError(
                f"The speaker '{self.name}' does not play ({reason(error)}): check that it is plugged in and that "
                "the sound server runs"
            ) from error


class _Output:
    """One open output stream. Blocking; a lock keeps a close from pulling the stream from under a write."""

    def __init__(self, finder: _Finder, audio_format: AudioFormat) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._stream, opened, _ = _open_stream(finder.find, _output_formats(audio_format.rate), capture=False)
        try:
            self._rate = opened.rate
            self._channels = opened.channels
            self._converter = Converter(audio_format, opened.rate)
            self._latency: float = self._stream.get_output_latency()
        except BaseException:
            self.close()
            raise

    def write(self, pcm: bytes) -> None:
        with self._lock:
            self._put(self._converter.convert(pcm))

    def drain(self) -> None:
        """Neither stopping nor closing waits for what is in the buffers when ALSA leads to a sound server.

        So as much silence is written behind the last word; what is cut off is part of it. `close` breaks it off.
        """
        try:
            with self._lock:
                self._put(self._converter.flush())
            piece = int(PIECE_SECONDS * self._rate)
            for _ in range(math.ceil((self._latency + _EXTRA_DRAIN_SECONDS) / PIECE_SECONDS)):
                with self._lock:
                    self._put(bytes(2 * piece))
        finally:
            self.close()

    def close(self) -> None:
        self._closed = True  # before the lock, which a drain takes again and again
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                _close_stream(stream)

    def _put(self, mono: bytes) -> None:
        if self._closed or self._stream is None or not mono:
            return
        if self._channels > 1:
            mono = np.repeat(np.frombuffer(mono, dtype="<i2"), self._channels).tobytes()
        self._stream.write(mono)


class _Finder:
    """Looks for one device, again and again. Raises AudioError that names those there are."""

    def __init__(self, wanted: str, *, capture: bool) -> None:
        self._wanted = wanted
        self._capture = capture
        self._known: _Device | None = None

    def find(self, audio: pyaudio.PyAudio) -> _Device:
        """The device with this number, this name or, where only one has it, this part of a name."""
        wanted = self._wanted
        devices = list_devices(audio, capture=self._capture)
        if wanted == DEFAULT:
            info = audio.get_default_input_device_info() if self._capture else audio.get_default_output_device_info()
            found = [device for device in devices if device.index == int(info["index"])]
        elif wanted.isdecimal():
            found = self._numbered(devices, int(wanted))
        else:
            same = [device for device in devices if wanted.lower() in (device.name.lower(), device.card.lower())]
            found = same[:1] or [device for device in devices if wanted.lower() in device.name.lower()]
        if len(found) == 1:
            self._known = found[0]
            return found[0]
        kind = "microphone" if self._capture else "speaker"
        known = ", ".join(f"{device.index} ({device.name})" for device in devices)
        problem = "Several devices match" if found else "There is no"
        raise AudioError(f"{problem} {kind} '{wanted}'; choose one of {known}, 'default', or a file that ends in .wav")

    def _numbered(self, devices: list[_Device], index: int) -> list[_Device]:
        """The number is asked for once: when a cable was out, another device may have it."""
        if self._known is None:
            return [device for device in devices if device.index == index]
        same = [device for device in devices if device.card == self._known.card]
        return [device for device in same if device.index == self._known.index] or same[:1]


def list_devices(audio: pyaudio.PyAudio, *, capture: bool) -> list[_Device]:
    kind, count_key = ("microphone", "maxInputChannels") if capture else ("speaker", "maxOutputChannels")
    devices = []
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        if int(info[count_key]) > 0:
            name, rate = str(info["name"]), int(info["defaultSampleRate"])
            devices.append(_Device(index, name, rate, min(_MAX_CHANNELS, int(info[count_key]))))
    if not devices:
        raise AudioError(f"No {kind} was found: plug one in, or check that the sound server runs and is yours to use")
    return devices


Formats = Callable[[_Device], list[tuple[int, int]]]
"""Rates and numbers of channels, the best first."""


def _input_formats(channel: int | None) -> Formats:
    def formats(device: _Device) -> list[tuple[int, int]]:
        if channel is None:
            counts = [1, 2, device.channels]
        elif channel > device.channels:
            raise AudioError(f"The microphone '{device.name}' has no channel {channel}, only 1 to {device.channels}")
        elif device.channels <= _CARD_CHANNELS:
            counts = [device.channels]
        else:
            counts = [max(2, channel)]
        return [(rate, count) for rate in dict.fromkeys((RATE, device.rate)) for count in dict.fromkeys(counts)]

    return formats


def _output_formats(rate: int) -> Formats:
    def formats(device: _Device) -> list[tuple[int, int]]:
        return [(r, c) for r in dict.fromkeys((rate, device.rate)) for c in dict.fromkeys((1, 2, device.channels))]

    return formats


def _open_stream(find: Choose, formats: Formats, *, capture: bool) -> tuple[pyaudio.Stream, AudioFormat, str]:
    """Open in the first format that the device takes; also the format and the device's name."""
    with _SETUP:
        audio = _initialize()
        try:
            device = find(audio)
            failure: OSError | None = None
            for rate, channels in formats(device):
                try:
                    stream = audio.open(
                        rate=rate,
                        channels=channels,
                        format=pyaudio.paInt16,
                        input=capture,
                        output=not capture,
                        input_device_index=device.index if capture else None,
                        output_device_index=None if capture else device.index,
                        frames_per_buffer=int(rate * (_INPUT_SECONDS if capture else _OUTPUT_SECONDS)),
                    )
                except OSError as error:
                    failure = error
                    if error.errno not in _FORMAT_ERRORS:
                        break
                else:
                    return stream, AudioFormat(rate, 2, channels), device.name
            raise AudioError(
                f"The {'microphone' if capture else 'speaker'} '{device.name}' does not open ({reason(failure)}): "
                "another program may hold it, or the sound server is gone"
            ) from failure
        except BaseException:
            _terminate(audio)
            raise


def _close_stream(stream: pyaudio.Stream) -> None:
    with _SETUP:
        try:
            stream.close()
        finally:
            _terminate(stream._parent)


@contextlib.contextmanager
def portaudio() -> Iterator[pyaudio.PyAudio]:
    with _SETUP:
        audio = _initialize()
        try:
            yield audio
        finally:
            _terminate(audio)


def _initialize() -> pyaudio.PyAudio:
    _CHATTER.enter()
    try:
        return pyaudio.PyAudio()
    except BaseException:
        _CHATTER.leave()
        raise


def _terminate(audio: pyaudio.PyAudio) -> None:
    try:
        audio.terminate()
    finally:
        _CHATTER.leave()
