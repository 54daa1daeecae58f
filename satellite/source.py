"""Where the satellite's audio comes from: a WAV file, standard input or a microphone, all of one kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from handlers.audio import Converter, open_wav, wav_format
from handlers.errors import AudioError
from satellite.blocking import BlockReader, call
from satellite.ears import Changed, Microphone, ignore
from satellite.pieces import PIECE_BYTES as PIECE_BYTES
from satellite.pieces import PIECE_SECONDS as PIECE_SECONDS
from satellite.pieces import Pieces as Pieces

STDIN = "-"

_PIPE_SPEED = 1.01
"""Standard input may be a file (then it is paced) or a recorder whose clock is fast (then nothing may pile up in the
pipe): a hundredth above real time serves both."""

_OPEN_SECONDS = 10.0
"""A file on a sleeping disk or a slow share opens within seconds."""

_CLOSE_SECONDS = 0.5
"""A reader that hangs in a read is left behind."""

_WAV_BLOCK_SECONDS = 0.1
_WAV_BLOCKS_AHEAD = 20

Read = Callable[[], bytes | None]
"""Blocking: the next internal audio of any length, None at the end."""


class Source(Protocol):
    """A stream of internal audio in real time."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    @property
    def is_live(self) -> bool:
        """True for a microphone or a pipe from one; False for a recording, with which the program ends."""

    @property
    def present(self) -> bool:
        """False while a device is gone."""

    async def read(self) -> bytes:
        """The next 20 ms (the last piece may be shorter), or b'' at the end. Raises AudioError.

        Of a microphone that is gone there is no end: nothing comes until it is back.
        """

    async def pause(self) -> None:
        """Let go of a device until `resume`, so that nothing is captured. A recording or pipe goes on."""

    async def resume(self) -> None:
        """Open the device again, in the background."""

    async def close(self) -> None:
        """Let go of the file or device."""


async def open_source(
    name: str, *, channel: int | None = None, changed: Changed = ignore, patient: bool = False
) -> Source:
    """A WAV file's path, '-' for standard input, a microphone's name or number, or 'default'.

    Of a microphone `channel` (from 1) is heard, None is as `pyaudio_device` chooses; `changed` is told when it is lost
    and when it is back; one that is not there yet is an error unless `patient`. Raises AudioError, or
    MissingExtraError when a microphone is wanted and PyAudio is not installed.
    """
    if name == STDIN:
        return Recording("standard input", StandardInput(0).read, is_live=True, speed=_PIPE_SPEED)
    if name.lower().endswith(".wav"):
        return await open_recording(Path(name))
    from satellite.pyaudio_device import Inputs  # the only place that may need PyAudio

    return await Microphone.open(name, Inputs(name, channel).open, changed=changed, patient=patient)


async def open_recording(path: Path) -> Recording:
    """A WAV file of any PCM format, played in real time. Raises AudioError, also when there is no audio in it."""
    blocks = await call(lambda: WavBlocks(path), _OPEN_SECONDS)
    return Recording(str(path), blocks.read, finish=blocks.close)


class Recording:
    """Audio from a file or pipe, handed out no faster than it was spoken."""

    present = True

    def __init__(
        self,
        name: str,
        read: Read,
        *,
        is_live: bool = False,
        speed: float = 1.0,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.is_live = is_live
        self._blocks = BlockReader(read, bound=_WAV_BLOCKS_AHEAD, lossy=False, finish=finish)
        self._pieces = Pieces()
        self._piece_seconds = PIECE_SECONDS / speed
        self._start: float | None = None
        self._given = 0

    async def read(self) -> bytes:
        while not (piece := self._pieces.take()):
            block = await self._blocks.next()
            if block is None:
                return self._pieces.rest()
            self._pieces.add(block)
        await self._pace()
        return piece

    async def pause(self) -> None:
        """Its audio goes by unheard, as a pipe must not fill up: whoever reads it drops it."""

    async def resume(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        await self._blocks.stop(_CLOSE_SECONDS)

    async def _pace(self) -> None:
        """A microphone gives a piece when it is over, so the first comes after its own length."""
        now = asyncio.get_running_loop().time()
        if self._start is None:
            self._start = now
        self._given += 1
        await asyncio.sleep(max(0.0, self._start + self._given * self._piece_seconds - now))


class WavBlocks:
    """Blocking reader of a WAV file or stream as internal audio. Raises AudioError, also when it is empty."""

    def __init__(self, source: Path | ExactReader) -> None:
        self._open = contextlib.ExitStack()
        self._wav = self._open.enter_context(open_wav(source))  # type: ignore[arg-type]  # wave needs only `read`
        self._converter: Converter | None = None
        audio_format = wav_format(self._wav)
        self._frames = max(1, int(audio_format.rate * _WAV_BLOCK_SECONDS))
        try:
            self._converter = Converter(audio_format)
            self._first = self._next()
            if self._first is None:
                raise AudioError(f"{source} has no audio in it")
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes | None:
        block, self._first = self._first, None
        return self._next() if block is None else block

    def close(self) -> None:
        self._open.close()

    def _next(self) -> bytes | None:
        if self._converter is None:
            return None
        try:
            data = self._wav.readframes(self._frames)
        except (OSError, EOFError, wave.Error) as error:
            raise AudioError(f"The audio ends in the middle ({error})") from error
        if data:
            return self._converter.convert(data)
        converter, self._converter = self._converter, None
        return converter.flush() or None


class ExactReader:
    """A file descriptor read without Python's buffer, whose lock would be held by a thread that waits for input."""

    def __init__(self, descriptor: int, head: bytes = b"") -> None:
        self._descriptor = descriptor
        self._head = head

    def __str__(self) -> str:
        return "Standard input"

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        data = bytearray(self._head[:size])
        self._head = self._head[size:]
        while len(data) < size and (more := os.read(self._descriptor, size - len(data))):
            data += more
        return bytes(data)

    def close(self) -> None:
        """Nothing: the descriptor belongs to the process."""


class StandardInput:
    """Blocking reader of a descriptor that carries raw 16 kHz mono s16le, or a WAV when it begins with RIFF."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read: Read | None = None

    def read(self) -> bytes | None:
        if self._read is None:
            self._read = self._begin()
        return self._read()

    def _begin(self) -> Read:
        head = ExactReader(self._descriptor).read(4)
        if not head:
            raise AudioError("Nothing came in on standard input: pipe 16 kHz mono 16-bit audio or a WAV file into it")
        stream = ExactReader(self._descriptor, head)
        if head == b"RIFF":
            return WavBlocks(stream).read
        return lambda: stream.read(PIECE_BYTES) or None
