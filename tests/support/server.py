"""Runs `meadowlark-server` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from wyoming.event import Event

from handlers.wire.client import WyomingClient, connect

START_SECONDS = 90.0
"""Loading every engine on two busy cores."""

ANSWER_SECONDS = 60.0
"""The longest any test waits for an event."""


def own_data(folder: Path, shared: Path) -> Path:
    """A data folder for one server: its memory and timers are its own, the models are those of the shared folder."""
    own = folder / "data"
    own.mkdir()
    (shared / "models").mkdir(exist_ok=True)
    (own / "models").symlink_to(shared / "models")
    return own


class ServerProcess:
    """A server on free ports of 127.0.0.1. A context manager: leaving it ends the process."""

    def __init__(self, folder: Path, arguments: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "server.cli", "--wyoming", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0"),
                    *arguments,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self.host = "127.0.0.1"
        self.port = 0
        self.http_port = 0

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def wait_ready(self) -> None:
        """Wait until the log says on which ports it serves."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            log = self.log()
            wyoming = re.search(r"connect to tcp://127\.0\.0\.1:(\d+)", log)
            page = re.search(r"http://127\.0\.0\.1:(\d+)/", log)
            if wyoming and page:
                self.port, self.http_port = int(wyoming[1]), int(page[1])
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"The server did not start:\n{self.log()}")

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[WyomingClient]:
        """A Wyoming connection to it."""
        async with connect(self.host, self.port) as client:
            yield client


async def read_until(client: WyomingClient, *types: str) -> list[Event]:
    """All events up to and with the first of one of these types; fails at an end or a deadline."""
    events: list[Event] = []
    while not events or events[-1].type not in types:
        event = await client.receive(ANSWER_SECONDS)
        assert event is not None, f"closed after {[event.type for event in events]}"
        events.append(event)
    return events
