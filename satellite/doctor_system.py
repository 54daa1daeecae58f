"""The doctor's checks of the server, the network, this machine and what is installed."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wyoming.info import Artifact, Describe, Info

from handlers import __version__
from handlers.errors import MeadowlarkError, ProtocolError
from handlers.wire.client import connect, parse_uri
from handlers.wire.discovery import find_server
from satellite import station
from satellite.findings import Finding, Tell, advice, ok, problem
from satellite.happenings import Value
from satellite.link import AUTO, DEFAULT_PORT, LOCAL, Address, Link, LinkLostError
from satellite.settings import SatelliteSettings
from satellite.sink import is_device
from satellite.wake import named_words

_ROUND_TRIPS = 5
"""Wi-Fi that is bad is bad in one of five."""

_ANSWER_SECONDS = 5.0
"""The server's own deadline for itself; it takes a millisecond, also under load."""

_SLOW_MS = 150.0
"""Ethernet takes 1 ms, good Wi-Fi 5 to 20. Above it an answer begins audibly later."""

_PROGRAM = "meadowlark"
"""How the server calls its programs."""

_EXTRAS = ("satellite", "microphone", "echo", "gpio", "mqtt")
"""Those of a satellite."""

_LITTLE_MB = 100
_TOO_LITTLE_MB = 40
"""The satellite takes some 80 MB; below that it makes the machine swap to its SD card."""

_COMMAND_SECONDS = 5.0
"""For `vcgencmd`, which answers at once."""

_UNDERVOLTAGE, _CAPPED, _THROTTLED, _HOT = 0, 1, 2, 3
_SINCE_BOOT = 16
"""Bits of the Pi's firmware: what is so now, and so many bits above it what was so since its start."""


async def check_server(settings: SatelliteSettings, tell: Tell) -> None:
    """Tell where the server is, how far away, and whether it is one."""
    try:
        (host, port), where = await _find(settings.server)
        uri = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        connecting, trips, info = await _ask(Link(uri))
    except (MeadowlarkError, OSError) as error:
        tell(problem("server", str(error)))
        return
    tell(judge_server(f"{uri} {where}", connecting, trips, info))


async def _find(server: str) -> tuple[Address, str]:
    """Where the server is, and how it was found. Raises MeadowlarkError, or OSError without a network."""
    if server != AUTO:
        return parse_uri(server, DEFAULT_PORT), "as it was named"
    if await _answers(LOCAL):
        return LOCAL, "on this machine"
    found = await find_server()
    for host in found.addresses if found is not None else ():
        assert found is not None
        if await _answers((host, found.wyoming_port)):
            return (host, found.wyoming_port), f"found on the network as '{found.name}'"
    raise LinkLostError(
        "No Meadowlark server was found on this machine or its network: start one with  meadowlark-server --lan,"
        "  or name it with  --server tcp://HOST:PORT"
    )


async def _answers(address: Address) -> bool:
    try:
        async with connect(*address):
            return True
    except (OSError, MeadowlarkError):
        return False


async def _ask(link: Link) -> tuple[float, list[float], Info]:
    """Milliseconds until there is a connection, and of some round trips on it; and what the server offers."""
    began = time.monotonic()
    async with link.open() as client:
        connecting = 1000 * (time.monotonic() - began)
        trips = []
        for _ in range(_ROUND_TRIPS):
            began = time.monotonic()
            await client.send(Describe().event())
            event = await client.receive(_ANSWER_SECONDS)
            trips.append(1000 * (time.monotonic() - began))
            if event is None or not Info.is_type(event.type):
                raise ProtocolError("The server does not tell what it offers: update it, or name another (--server)")
            info = Info.from_event(event)
    return connecting, trips, info


def judge_server(where: str, connecting: float, trips: Sequence[float], info: Info) -> Finding:
    """What a server said of itself, and how long that took in milliseconds."""
    kinds: dict[str, Sequence[Artifact]] = {"asr": info.asr, "tts": info.tts, "wake": info.wake, "handle": info.handle}
    ready = [kind for kind, programs in kinds.items() if any(program.installed for program in programs)]
    ours = next((program for program in info.handle if program.name == _PROGRAM), None)
    numbers: dict[str, Value] = {
        "server": where,
        "connect_ms": round(connecting, 1),
        "round_trip_ms": round(statistics.median(trips), 1),
        "worst_ms": round(max(trips), 1),
        "version": ours.version if ours is not None else None,
        "ready": ", ".join(ready),
    }
    shown = (
        f"{where}: connected in {connecting:.0f} ms, round trip {statistics.median(trips):.0f} ms"
        f" (worst {max(trips):.0f} ms), ready: {', '.join(ready) or 'nothing'}"
    )
    if ours is None:
        return problem(
            "server", f"{where} speaks Wyoming, but is no Meadowlark server", "Name yours (--server)", **numbers
        )
    shown += f", version {ours.version}"
    if missing := [kind for kind in kinds if kind not in ready]:
        return problem(
            "server", shown, f"It lacks {', '.join(missing)}: its log (meadowlark-server) says why", **numbers
        )
    if ours.version != __version__:
        return advice("server", f"{shown}; this satellite is {__version__}", "Update the older of the two", **numbers)
    if max(trips) > _SLOW_MS:
        return advice(
            "server", shown, "The network is slow: try a cable, or bring the satellite nearer to the Wi-Fi", **numbers
        )
    return ok("server", shown, **numbers)


async def check_house(uri: str, tell: Tell) -> None:
    """Whether Home Assistant can connect to the satellite at `uri`."""
    host, port = parse_uri(uri, station.DEFAULT_PORT)
    here = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    if here == host and host in ("127.0.0.1", "::1", "localhost"):
        tell(
            advice(
                "house",
                f"Home Assistant can connect to {uri} only from this machine",
                f"If it runs on another one: --uri tcp://0.0.0.0:{port}",
            )
        )
        return
    if await _answers((here, port)):
        tell(ok("house", f"something answers at port {port}: the satellite, if it runs; Home Assistant connects there"))
        return
    try:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), host, port)
    except OSError as error:
        tell(problem("house", f"{uri} cannot be used ({error.strerror or error})", "Choose another address: --uri"))
        return
    server.close()
    await server.wait_closed()
    tell(
        ok("house", f"port {port} is free for Home Assistant: add the integration Wyoming with this machine's address")
    )


def check_system(settings: SatelliteSettings, tell: Tell, root: Path = Path("/")) -> None:
    """Tell how this machine is. Blocking, for a moment. `root` is where /proc and /sys are."""
    for finding in (
        sound_system(root, os.environ) if uses_devices(settings) else None,
        power(root),
        processor(root),
        memory(root),
        *packages(settings, _missing()),
    ):
        if finding is not None:
            tell(finding)


def uses_devices(settings: SatelliteSettings) -> bool:
    """Whether a sound card is needed at all."""
    return is_device(settings.mic) or is_device(settings.speaker)


def sound_system(root: Path, environ: Mapping[str, str]) -> Finding:
    """Which sound system there is, and whether this user may use it."""
    folder = root / environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}").lstrip("/")
    cards = _text(root / "proc/asound/cards")
    devices = root / "dev/snd"
    if environ.get("PULSE_SERVER"):
        return ok("sound", f"the sound server at {environ['PULSE_SERVER']}")
    if (folder / "pipewire-0").exists():
        return ok("sound", "PipeWire")
    if (folder / "pulse/native").exists():
        return ok("sound", "PulseAudio")
    if "[" not in cards:
        return advice("sound", "There is neither a sound server nor a sound card", "Plug one in, and log in anew")
    if devices.is_dir() and not all(os.access(device, os.R_OK | os.W_OK) for device in devices.glob("pcm*")):
        return problem(
            "sound",
            "ALSA, whose devices this user may not use",
            f"sudo usermod -aG audio {environ.get('USER', '$USER')}, and log in anew",
        )
    names = re.findall(r"\[(\S+)\s*\]", cards)
    return ok("sound", f"ALSA without a sound server, cards: {', '.join(names)}")


def power(root: Path) -> Finding | None:
    """Whether a Raspberry Pi gets enough of it; None on other machines."""
    reported = next(iter(sorted(root.glob("sys/devices/platform/soc*/*firmware*/get_throttled"))), None)
    text = _text(reported) if reported is not None else _vcgencmd()
    if not text.strip():
        return None
    try:
        bits = int(text.strip().removeprefix("throttled="), 16)
    except ValueError:
        return None
    now = {bit for bit in (_UNDERVOLTAGE, _CAPPED, _THROTTLED, _HOT) if bits >> bit & 1}
    before = {bit for bit in (_UNDERVOLTAGE, _CAPPED, _THROTTLED, _HOT) if bits >> (bit + _SINCE_BOOT) & 1}
    supply = "Use the power supply that is made for this Pi, and a short cable"
    if _UNDERVOLTAGE in now:
        return problem("power", "The Pi gets too little power now", supply, throttled=bits)
    if _UNDERVOLTAGE in before:
        return advice("power", "The Pi got too little power since it was started", supply, throttled=bits)
    if now or before:
        return advice("power", "The Pi was slowed down by its heat", "Give it a heat sink or more air", throttled=bits)
    return ok("power", "the Pi gets enough", throttled=bits)


def _vcgencmd() -> str:
    program = shutil.which("vcgencmd")
    if program is None:
        return ""
    try:
        asked = subprocess.run(  # noqa: S603 - nothing of it is given by somebody
            [program, "get_throttled"], capture_output=True, text=True, timeout=_COMMAND_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout


def processor(root: Path) -> Finding | None:
    """Whether the processor may run at its full speed; None where that is not told."""
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor, driver = (_text(folder / name).strip() for name in ("scaling_governor", "scaling_driver"))
    if not governor:
        return None
    if governor == "powersave" and not driver.startswith(("intel_pstate", "amd-pstate")):  # theirs is a fast one
        return advice(
            "processor",
            "It always runs at its lowest speed (governor powersave)",
            "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
            governor=governor,
        )
    return ok("processor", f"governor {governor}", governor=governor)


def memory(root: Path) -> Finding | None:
    """Whether there is enough of it for the satellite; None where that is not told."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if found is None:
        return None
    free = int(found[1]) // 1024
    text = f"{free} MB are free"
    if free < _TOO_LITTLE_MB:
        return problem("memory", f"Only {text}", "End other programs, or add swap", available_mb=free)
    if free < _LITTLE_MB:
        return advice("memory", f"Only {text}", "End other programs, or add swap", available_mb=free)
    return ok("memory", text, available_mb=free)


def packages(settings: SatelliteSettings, missing: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Whether the extras are installed that the settings ask for. `missing` names packages by extra."""
    front_end = settings.front_end
    wanted = {
        "satellite": bool(named_words(settings.wake_word)),
        "microphone": uses_devices(settings),
        "echo": front_end.noise_suppression or front_end.gain_control or front_end.high_pass,
        "gpio": settings.buttons is not None or (settings.lights is not None and settings.lights.spi is None),
        "mqtt": settings.mqtt is not None,
    }
    findings = [
        problem(
            "packages",
            f"{', '.join(missing[extra])} is missing, which the settings ask for",
            f"pip install 'meadowlark[{extra}]'",
            extra=extra,
        )
        for extra, is_wanted in wanted.items()
        if is_wanted and missing.get(extra)
    ]
    if findings:
        return findings
    unused = [extra for extra in missing if missing[extra]]
    return [ok("packages", "all are there" + (f"; without the extra {' and '.join(unused)}" if unused else ""))]


def _missing() -> dict[str, list[str]]:
    """The packages that are not installed, for each extra of a satellite."""
    try:
        requirements = importlib.metadata.requires("meadowlark") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        return {}
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if match is not None and match[2] in _EXTRAS:
            found.setdefault(match[2], [])
            if not _is_installed(match[1]):
                found[match[2]].append(match[1])
    return found


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
