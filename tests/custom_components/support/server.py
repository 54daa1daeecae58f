"""Runs `meadowlark-server` as a process of its own, in the server's environment and not in Home Assistant's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[3]
"""The repository."""

MODELS = ROOT / ".cache" / "test-data" / "models"
"""Model files that all test servers share; those that come as packages are put together there once."""

START_SECONDS = 90.0
"""Loading every engine on two busy cores."""

STOP_SECONDS = 90.0
"""More than the server's own deadline for what is still being said."""


def server_python() -> Path:
    """The Python that has the server installed: MEADOWLARK_SERVER_PYTHON, else that of script/setup."""
    return Path(os.environ.get("MEADOWLARK_SERVER_PYTHON") or ROOT / ".venv" / "bin" / "python")


class MeadowlarkServer:
    """A server on free ports of 127.0.0.1, with a data folder of its own. A context manager that ends the process."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, arguments: Sequence[str] = (), environment: dict[str, str] | None = None) -> None:
        """`folder` gets the log and the data; a second server on it is the same one, started again."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.http_port = 0
        self.wyoming_port = 0
        self._arguments = tuple(arguments)
        self._environment = environment or {}
        self._log = folder / "server.log"
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def id(self) -> str:
        """Its uuid: the unique id of a config entry."""
        return (self.data_dir / "server-id").read_text(encoding="utf-8").strip()

    @property
    def token(self) -> str:
        """What HTTP asks for when it runs with --lan; shown at the first start."""
        assert self._token, self.log()
        return self._token

    @property
    def url(self) -> str:
        """Of the page and the API, without a slash at the end."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves. A server that is started again keeps its ports and its data."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        models = self.data_dir / "models"
        if not models.is_symlink():
            MODELS.mkdir(parents=True, exist_ok=True)
            models.symlink_to(MODELS)
        if not (self.data_dir / "server-id").exists():  # so that it is known from the beginning
            (self.data_dir / "server-id").write_text(str(uuid.uuid4()), encoding="utf-8")
        # Nothing of the machine's settings, and nothing of Home Assistant's Python.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MEADOWLARK_") and name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(str(server_python()), "-m", "server.cli", "--data-dir", str(self.data_dir)),
                    *("--wyoming", f"tcp://{self.host}:{self.wyoming_port}"),
                    *("--http", f"{self.host}:{self.http_port}"),
                    *self._arguments,
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **self._environment},
            )
        self._wait_ready()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered. `resume` ends it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """All that it has logged since its last start."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _wait_ready(self) -> None:
        """Until the log says on which ports it serves."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            log = self.log()
            wyoming = re.search(r" connect to tcp://\S+:(\d+)", log)
            page = re.search(r" Open http://\S+:(\d+)/", log)
            if wyoming and page:
                self.wyoming_port, self.http_port = int(wyoming[1]), int(page[1])
                if first := re.search(r"/#token=(\S+)", log):
                    self._token = first[1]
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"The server did not start:\n{self.log()}")
