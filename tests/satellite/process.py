"""The satellite's own command as a process, with a pipe for a microphone and its socket for a hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

_PIECE = 3200
"""Bytes of 0.1 s."""

COMMAND = [sys.executable, "-W", "ignore", "-c", "import sys; from satellite.cli import main; sys.exit(main())"]


class Process:
    """A running satellite."""

    def __init__(self, process: asyncio.subprocess.Process, socket: Path) -> None:
        self._process = process
        self._socket = socket
        self._happenings: asyncio.Queue[dict[str, object]] = asyncio.Queue()

    async def hear(self, pcm: bytes) -> None:
        """Internal audio, as fast as it is said; two seconds fit in the pipe of one that is frozen."""
        assert self._process.stdin is not None
        for start in range(0, len(pcm), _PIECE):
            self._process.stdin.write(pcm[start : start + _PIECE])
            await self._process.stdin.drain()
            await asyncio.sleep(_PIECE / 32_000)

    async def do(self, what: str) -> dict[str, object]:
        """Ask something of it by its socket, which answers."""
        async with self._connected(what) as reader:
            answer: dict[str, object] = json.loads(await reader.readline())
        assert "error" not in answer, answer
        return answer

    async def until(self, kind: str) -> dict[str, object]:
        """The next happening of a kind; those before it are forgotten."""
        while (happening := await self._happenings.get())["event"] != kind:
            pass
        return happening

    async def freeze(self) -> None:
        """Stop it as a closed lid does; `thaw` lets it go on."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def follow(self) -> None:
        """Take what happens, until it ends."""
        async with self._connected("listen") as reader:
            while line := await reader.readline():
                happening = json.loads(line)
                if "event" in happening:
                    self._happenings.put_nowait(happening)

    @contextlib.asynccontextmanager
    async def _connected(self, what: str) -> AsyncIterator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(json.dumps({"do": what}).encode() + b"\n")
            yield reader
        finally:
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def running(folder: Path, uri: str, wake_word: str) -> AsyncIterator[Process]:
    """A satellite that listens."""
    socket = folder / "s.sock"
    started = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("--server", uri, "--mic", "-", "--speaker", "none", "--name", "attic", "--wake-word", wake_word),
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "MEADOWLARK_SATELLITE__SOCKET": str(socket)},
    )
    process = Process(started, socket)
    following: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(90):
            while not socket.exists():
                assert started.returncode is None
                await asyncio.sleep(0.05)
            following = asyncio.create_task(process.follow())
            while (await process.do("status"))["state"] != "listening":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
            yield process
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()
