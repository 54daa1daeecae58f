"""The real `meadowlark-satellite` as a satellite of Home Assistant's, in a room where a test speaks and listens."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import deque
from pathlib import Path
from typing import Self

import numpy as np

from tests.custom_components.support.server import ROOT, server_python
from tests.e2e.support.home_assistant import SOON, end
from tests.e2e.support.speech import RATE

_STEP_SECONDS = 0.05
_STEP_BYTES = 2 * int(RATE * _STEP_SECONDS)


class Station:
    """A context manager. Its microphone is a pipe that always has sound, its speaker one that takes time to play."""

    def __init__(self, folder: Path, name: str, wake_word: str) -> None:
        self.port = _free_port()
        self.heard = bytearray()
        """All that was played so far, mono at RATE, and silence where nothing was."""
        self._name = name
        self._wake_word = wake_word
        self._log = folder / "satellite.log"
        self._process: asyncio.subprocess.Process | None = None
        self._living: asyncio.Task[None] | None = None
        self._to_say: deque[bytes] = deque()
        self._moment = asyncio.Event()  # set when this one is over

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(str(server_python().with_name("meadowlark-satellite")), "--uri", f"tcp://127.0.0.1:{self.port}"),
                *("--mic", "-", "--speaker", "-", "--wake-word", self._wake_word, "--name", self._name),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                limit=_STEP_BYTES,  # a speaker takes no more than it plays
            )
        self._living = asyncio.create_task(self._live())
        await self.logged("can use this satellite")
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._process is not None
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)
        await end(self._process, signal.SIGTERM)

    def say(self, audio: bytes) -> None:
        """Speak in the room, at the speed of speech."""
        self._to_say.extend(audio[start : start + _STEP_BYTES] for start in range(0, len(audio), _STEP_BYTES))

    async def logged(self, text: str, count: int = 1) -> None:
        """Wait until the satellite has logged a text so many times."""
        async with asyncio.timeout(SOON):
            while self.log.count(text) < count:
                assert self._process is not None
                assert self._process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def sounds(self, seconds: float, since: int = 0) -> bytes:
        """All that was played behind a place in `heard`, as soon as it has so much sound in it."""
        async with asyncio.timeout(SOON):
            while True:
                heard = np.frombuffer(bytes(self.heard[since:]), "<i2")
                if np.count_nonzero(heard) >= RATE * seconds:
                    return heard.tobytes()
                await self._moment.wait()

    async def quiet(self, seconds: float) -> None:
        """Wait until nothing was played for so long."""
        size = 2 * int(RATE * seconds)
        async with asyncio.timeout(SOON):
            while len(self.heard) < size or any(self.heard[-size:]):
                await self._moment.wait()

    async def _live(self) -> None:
        """Time goes by: something is said or not, played or not."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        loop = asyncio.get_running_loop()
        moment = loop.time()
        with contextlib.suppress(ConnectionError):
            while True:
                said = self._to_say.popleft() if self._to_say else b""
                self._process.stdin.write(said.ljust(_STEP_BYTES, b"\0"))
                played = b""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STEP_SECONDS / 10):
                        played = await self._process.stdout.read(_STEP_BYTES)
                self.heard += played.ljust(_STEP_BYTES, b"\0")
                self._moment.set()
                self._moment = asyncio.Event()
                moment += _STEP_SECONDS
                await asyncio.sleep(max(0.0, moment - loop.time()))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
