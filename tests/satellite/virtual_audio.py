"""A sound card without hardware: a private PulseAudio server that PyAudio reaches through ALSA.

What is played into the null sink `mic_feed` is heard by the microphone; what the satellite plays into the null sink
`speaker` is recorded from its monitor.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

SPEAKER_RATE = 22050

_ASOUND = """
pcm.!default { type pulse hint { show on description "Virtual audio" } }
ctl.!default { type pulse }
"""

_DEVICE = """
pcm.%s { type pulse hint { show on description "Virtual audio" } }
"""

_START_SECONDS = 20.0


def missing_parts() -> str | None:
    """Why there can be no virtual sound card here, or None. With MEADOWLARK_TEST_STRICT=1 that is a failure."""
    problem = None
    if not all(shutil.which(command) for command in ("pulseaudio", "pactl", "paplay", "parecord")):
        problem = "PulseAudio is not installed (apt-get install pulseaudio pulseaudio-utils libasound2-plugins)"
    elif not any(Path("/usr/lib").rglob("libasound_module_pcm_pulse.so")):
        problem = "ALSA cannot reach PulseAudio (apt-get install libasound2-plugins)"
    else:
        try:
            import pyaudio  # noqa: F401
        except ImportError:
            problem = "PyAudio is not installed (pip install 'meadowlark[microphone]')"
    if problem is not None and os.environ.get("MEADOWLARK_TEST_STRICT") == "1":
        raise RuntimeError(problem)
    return problem


class VirtualAudio:
    """The sound server, for the length of a `with` block. Writes only below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700)
        (folder / "asound.conf").write_text(_ASOUND)
        self._socket = folder / "native"
        self.environment = {
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_STATE_PATH": str(folder),
            "PULSE_COOKIE": str(folder / "cookie"),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
            "JACK_NO_START_SERVER": "1",
        }
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        command += ["--disable-shm=yes", "--realtime=no", "--high-priority=no"]
        # Without norewinds the sinks render two seconds ahead, and the start of what is played is lost.
        for module in (
            f"module-native-protocol-unix socket={self._socket} auth-anonymous=1",
            f"module-null-sink sink_name=speaker norewinds=1 rate={SPEAKER_RATE} channels=1 format=s16le",
            "module-null-sink sink_name=mic_feed norewinds=1 rate=16000 channels=1 format=s16le",
            "module-remap-source source_name=mic master=mic_feed.monitor",
        ):
            command += ["-L", module]
        environment = {**os.environ, **self.environment, "HOME": str(self._folder)}
        with (self._folder / "pulse.log").open("ab") as log:
            self._server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while self._run("pactl", "info", check=False).returncode != 0:
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("PulseAudio did not start: " + (self._folder / "pulse.log").read_text()[-1000:])
        self._run("pactl", "set-default-sink", "speaker")
        self._run("pactl", "set-default-source", "mic")

    def stop(self) -> None:
        """End the server, as when it crashes."""
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(signal.SIGCONT)
            server.terminate()
            server.wait(10)
            self._socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """Let the server do nothing any more, as when its process is stopped."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `hang`."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def plug(self, *names: str) -> None:
        """Beside the default device, there are now devices with these names, numbered in their order."""
        (self._folder / "asound.conf").write_text(_ASOUND + "".join(_DEVICE % name for name in names))

    @contextlib.contextmanager
    def echo(self, percent: int, delay_ms: int = 200) -> Iterator[None]:
        """Let the microphone hear the speaker, as loud as that, during a `with` block."""
        loop = ["source=speaker.monitor", "sink=mic_feed", f"latency_msec={delay_ms}", "adjust_time=0"]
        module = self._run("pactl", "load-module", "module-loopback", *loop).stdout.decode().strip()
        try:
            # The loop's input is the only one that there is as yet.
            number = self._run("pactl", "list", "short", "sink-inputs").stdout.decode().split()[0]
            self._run("pactl", "set-sink-input-volume", number, f"{percent}%")
            yield
        finally:
            self._run("pactl", "unload-module", module)

    @contextlib.contextmanager
    def stereo(self) -> Iterator[None]:
        """The microphone has two channels during a `with` block; say it into `stereo_feed`."""
        sound = ["sink_name=stereo_feed", "norewinds=1", "rate=16000", "channels=2", "format=s16le"]
        self._run("pactl", "load-module", "module-null-sink", *sound)
        self._run("pactl", "set-default-source", "stereo_feed.monitor")
        try:
            yield
        finally:
            self._run("pactl", "set-default-source", "mic")

    def say(self, wav: Path, into: str = "mic_feed") -> None:
        """Play a WAV file into the microphone; returns when it is over."""
        self._run("paplay", f"--device={into}", str(wav))

    @contextlib.contextmanager
    def record(self, wav: Path) -> Iterator[None]:
        """Record what the speaker plays during a `with` block."""
        recorder = subprocess.Popen(
            ["parecord", "--device=speaker.monitor", "--latency-msec=20", "--format=s16le", "--channels=1",
             f"--rate={SPEAKER_RATE}", "--file-format=wav", str(wav)],
            env={**os.environ, **self.environment},
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (wav.exists() and wav.stat().st_size > 1000):  # it has begun
                if recorder.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("parecord records nothing")
            yield
            end = wav.stat().st_size + SPEAKER_RATE * 2 // 2
            while wav.stat().st_size < end and time.monotonic() < deadline:  # what is still on its way
                pass
        finally:
            recorder.send_signal(signal.SIGINT)  # lets it write the header
            recorder.wait(10)

    def _run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, env={**os.environ, **self.environment}, check=check, capture_output=True, timeout=60
        )
