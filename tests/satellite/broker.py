"""A real MQTT broker, mosquitto, on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiomqtt

_FOLDERS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_START_SECONDS = 20.0


def missing_broker() -> str | None:
    """Why there can be no broker here, or None. With MEADOWLARK_TEST_STRICT=1 that is a failure."""
    problem = None
    if shutil.which("mosquitto", path=_FOLDERS) is None:
        problem = "mosquitto is not installed (apt-get install mosquitto)"
    if problem is not None and os.environ.get("MEADOWLARK_TEST_STRICT") == "1":
        raise RuntimeError(problem)
    return problem


class Broker:
    """The broker, for the length of an `async with` block. Forgets everything when it is stopped."""

    def __init__(self, folder: Path, *options: str) -> None:
        """options: more lines of its configuration."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.login: dict[str, Any] = {}
        """What `home` needs beyond host and port."""
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        options = options or ("allow_anonymous true",)
        self._config.write_text(
            "\n".join([f"listener {self.port} 127.0.0.1", "user root", "persistence false", *options, ""])
        )
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        program = shutil.which("mosquitto", path=_FOLDERS)
        assert program is not None
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                program, "-c", str(self._config), stdout=log, stderr=subprocess.STDOUT
            )
        async with asyncio.timeout(_START_SECONDS):
            while not await self._listens():
                if self._process.returncode is not None:
                    raise RuntimeError(f"mosquitto does not start: {self._log.read_text()}")
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def home(self, topic: str = "#") -> AsyncIterator[Home]:
        """Somebody else at the broker, who reads `topic`."""
        async with aiomqtt.Client("127.0.0.1", self.port, **self.login) as client:
            await client.subscribe(topic, qos=1)
            yield Home(client)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


class Home:
    """Reads and writes at the broker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.kept: dict[str, bytes] = {}
        """The newest message of each topic."""
        self._client = client

    async def next(self, topic: str, within: float = 30.0) -> bytes:
        """The next message with a topic that ends so."""
        async with asyncio.timeout(within):
            async for message in self._client.messages:
                assert isinstance(message.payload, bytes)
                self.kept[message.topic.value] = message.payload
                if message.topic.value.endswith(topic):
                    return message.payload
        raise EOFError

    async def until(self, topic: str, payload: bytes) -> None:
        while await self.next(topic) != payload:
            pass

    async def say(self, topic: str, payload: str, *, retain: bool = False) -> None:
        await self._client.publish(topic, payload, qos=1, retain=retain)
