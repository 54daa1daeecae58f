"""What the satellite's tests share: recordings, a scripted server, a virtual sound card."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from handlers.audio import write_wav
from tests.satellite.live import Microphone
from tests.satellite.peer import Peer, Script
from tests.satellite.virtual_audio import VirtualAudio, missing_parts


@pytest.fixture
def wav(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes internal audio as a WAV file."""

    def write(pcm: bytes) -> Path:
        path = tmp_path / "q.wav"
        write_wav(path, pcm)
        return path

    return write


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Script], asyncio.Future[Peer]]]:
    """Starts scripted servers on free ports."""
    async with contextlib.AsyncExitStack() as stack:

        def start(script: Script) -> asyncio.Future[Peer]:
            return asyncio.ensure_future(stack.enter_async_context(Peer(script)))

        yield start


@pytest.fixture
def virtual_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualAudio]:
    """A sound server of this test's own, which PyAudio finds as its default device."""
    if problem := missing_parts():
        pytest.skip(problem)
    with VirtualAudio(tmp_path / "va") as audio:
        for name, value in audio.environment.items():
            monkeypatch.setenv(name, value)
        yield audio


@pytest.fixture
async def microphone() -> AsyncIterator[Microphone]:
    microphone = Microphone()
    yield microphone
    microphone.end()
    await microphone.source.close()
