from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from handlers.audio import AudioFormat, read_wav, seconds, write_wav
from handlers.errors import AudioError, MeadowlarkError
from satellite.blocking import BlockReader, call
from satellite.source import PIECE_BYTES, Recording, Source, StandardInput, open_recording, open_source
from tests.support.speech import likeness


def tone(rate: int, length: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A sweep in [-0.5, 0.5]."""
    at = np.arange(int(rate * length)) / rate
    return 0.5 * np.sin(2 * np.pi * (200 * at + 800 * at**2))


def encode(samples: np.ndarray[tuple[int], np.dtype[np.float64]], audio_format: AudioFormat) -> bytes:
    both = np.repeat(samples, audio_format.channels)
    if audio_format.width == 1:
        return (both * 127 + 128).astype(np.uint8).tobytes()
    if audio_format.width == 2:
        return (both * 32767).astype("<i2").tobytes()
    if audio_format.width == 3:
        return (both * 8388607).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return (both * 2147483647).astype("<i4").tobytes()


async def everything(source: Source) -> list[bytes]:
    pieces = []
    while piece := await source.read():
        pieces.append(piece)
    await source.close()
    return pieces


@pytest.fixture
async def pipe() -> AsyncIterator[tuple[int, int]]:
    """Both ends of a pipe: what a source reads, and what is written into it."""
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass


@pytest.mark.parametrize(
    "audio_format",
    [AudioFormat(), AudioFormat(44_100, 1, 2), AudioFormat(48_000, 3, 1), AudioFormat(22_050, 4, 2)],
    ids=str,
)
async def test_a_wav_file_of_any_format_comes_as_pieces_of_internal_audio(
    tmp_path: Path, audio_format: AudioFormat
) -> None:
    path = tmp_path / "q.wav"
    write_wav(path, encode(tone(audio_format.rate, 0.5), audio_format), audio_format)
    pieces = await everything(await open_source(str(path)))
    assert {len(piece) for piece in pieces[:-1]} == {PIECE_BYTES}
    pcm = b"".join(pieces)
    assert seconds(pcm) == pytest.approx(0.5, abs=0.001)
    assert likeness(pcm, encode(tone(16_000, 0.5), AudioFormat())[: len(pcm) - 64]) > 0.98


async def test_a_recording_takes_as_long_as_it_lasts(tmp_path: Path) -> None:
    path = tmp_path / "q.wav"
    write_wav(path, encode(tone(16_000, 0.6), AudioFormat()))
    source = await open_recording(path)
    start = time.monotonic()
    pieces = await everything(source)
    assert time.monotonic() - start >= seconds(b"".join(pieces)) - 0.001


def empty_wav() -> bytes:
    target = io.BytesIO()
    write_wav(target, b"")
    return target.getvalue()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"RIFF", b"ID3 this is no WAV file at all", empty_wav()[:30], empty_wav()],
    ids=["missing", "empty", "cut", "mp3", "no data chunk", "no audio"],
)
async def test_a_wav_file_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "q.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=r"q\.wav") as caught:
        await open_source(str(path))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


async def test_a_wav_file_cut_off_in_its_audio_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "q.wav"
    write_wav(path, encode(tone(16_000, 0.5), AudioFormat()))
    path.write_bytes(path.read_bytes()[:-8001])
    pieces = await everything(await open_source(str(path)))
    assert seconds(b"".join(pieces)) == pytest.approx(0.25, abs=0.001)


async def test_an_unknown_source_is_an_error() -> None:
    with pytest.raises(MeadowlarkError):
        await open_source("no such microphone")


async def test_standard_input_takes_raw_audio(pipe: tuple[int, int]) -> None:
    pcm = encode(tone(16_000, 0.3), AudioFormat())
    os.write(pipe[1], pcm)
    os.close(pipe[1])
    assert b"".join(await everything(Recording("pipe", StandardInput(pipe[0]).read))) == pcm


async def test_standard_input_takes_a_wav_file(pipe: tuple[int, int]) -> None:
    target = io.BytesIO()
    write_wav(target, encode(tone(48_000, 0.3), AudioFormat(48_000)), AudioFormat(48_000))
    os.write(pipe[1], target.getvalue())
    os.close(pipe[1])
    pcm = b"".join(await everything(Recording("pipe", StandardInput(pipe[0]).read)))
    assert pcm == read_wav(target.getvalue())


@pytest.mark.parametrize("sent", [b"", b"RIFF", b"RIFF\0\0\0\0nonsense", empty_wav()])
async def test_standard_input_without_audio_is_an_error(pipe: tuple[int, int], sent: bytes) -> None:
    os.write(pipe[1], sent)
    os.close(pipe[1])
    source = Recording("pipe", StandardInput(pipe[0]).read)
    with pytest.raises(AudioError):
        await source.read()


async def test_a_source_that_waits_for_input_closes(pipe: tuple[int, int]) -> None:
    source = Recording("pipe", StandardInput(pipe[0]).read)
    reading = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    reading.cancel()
    async with asyncio.timeout(10):
        await source.close()
    assert reading.cancelling()


def numbered(count: int, done: threading.Event) -> Callable[[], bytes | None]:
    blocks = iter(range(count))

    def read() -> bytes | None:
        number = next(blocks, None)
        if number is None:
            done.set()
            return None
        return bytes([number])

    return read


async def all_blocks(reader: BlockReader) -> bytes:
    blocks = b""
    while (block := await reader.next(10)) is not None:
        blocks += block
    return blocks


async def test_a_full_buffer_drops_the_oldest_and_counts() -> None:
    done = threading.Event()
    reader = BlockReader(numbered(10, done), bound=4, lossy=True)
    done.wait(10)
    assert await all_blocks(reader) == bytes([6, 7, 8, 9])
    assert reader.dropped == 6


async def test_a_full_buffer_makes_a_file_wait() -> None:
    done = threading.Event()
    reader = BlockReader(numbered(100, done), bound=4, lossy=False)
    assert await reader.next(10) == b"\0"
    assert not done.is_set()
    assert await all_blocks(reader) == bytes(range(1, 100))
    assert reader.dropped == 0


async def test_a_read_that_fails_is_told_after_what_came_before() -> None:
    def finish() -> None:
        closed.set()

    closed = threading.Event()
    answers = iter([b"a"])

    def read() -> bytes:
        try:
            return next(answers)
        except StopIteration:
            raise OSError("unplugged") from None

    reader = BlockReader(read, bound=4, lossy=True, finish=finish)
    assert await reader.next(10) == b"a"
    with pytest.raises(OSError, match="unplugged"):
        await reader.next(10)
    assert closed.is_set()


async def test_a_read_that_never_returns_has_a_deadline_and_does_not_keep_us() -> None:
    release = threading.Event()

    def read() -> None:
        release.wait(60)

    reader = BlockReader(read, bound=4, lossy=True)
    with pytest.raises(TimeoutError):
        await reader.next(0.05)
    await reader.stop(0.05)
    assert not release.is_set()
    release.set()


async def test_a_blocking_call_answers_raises_or_runs_out_of_time() -> None:
    release = threading.Event()
    assert await call(lambda: 7, 10) == 7
    with pytest.raises(ValueError, match="seven"):
        await call(lambda: int("seven"), 10)
    with pytest.raises(TimeoutError):
        await call(lambda: release.wait(60), 0.05)
    release.set()
