"""`meadowlark-server` as a person starts and stops it: exit codes, sentences, signals."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.server import ServerProcess, own_data


def server(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **(environment or {})},
        check=False,
    )


class TestCheck:
    def test_valid_settings(self, tmp_path: Path) -> None:
        settings = tmp_path / "meadowlark.yaml"
        settings.write_text("wyoming: {uri: 'tcp://0.0.0.0:10600'}\nasr: {language: de}\nlan: true\n")
        result = server("--check", "--config", str(settings))
        assert (result.returncode, result.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ("asr: {modle: whisper-base}", ["modle", "asr.model"]),
            ("asr: {threads: many}", ["asr.threads", "many"]),
            ("log_level: verbose", ["log_level", "verbose", "info"]),
            ("wyoming: {uri: 'http://here'}", ["wyoming.uri", "http://here", "tcp://HOST:PORT"]),
            ("voice: joe", ["voice"]),
            ("asr: [", ["line"]),
            (
                "http: {names: ['https://voice.lan'], page: voice.lan}",
                ["http.names", "without 'https://'", "http.page", "https://voice.example.org/"],
            ),
        ],
    )
    def test_a_mistake_in_the_file(self, tmp_path: Path, settings: str, words: list[str]) -> None:
        path = tmp_path / "meadowlark.yaml"
        path.write_text(settings)
        result = server("--check", "--config", str(path))
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
        for word in [*words, "meadowlark.yaml"]:
            assert word in result.stderr

    def test_a_mistake_in_the_environment(self) -> None:
        result = server("--check", environment={"MEADOWLARK_ASR__LANGAUGE": "de"})
        assert result.returncode == 2
        assert "MEADOWLARK_ASR__LANGUAGE" in result.stderr

    def test_the_satellites_settings_are_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "meadowlark.yaml"
        path.write_text("satellite: {mic: default}\nlan: true\n")
        result = server("--check", "--config", str(path), environment={"MEADOWLARK_SATELLITE__SPEAKER": "default"})
        assert (result.returncode, result.stderr) == (0, "")

    def test_files_that_the_settings_name_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "tools.yaml").write_text("tools: {bad name: {}}")
        for key, value in (
            ("AGENT__CUSTOM_SENTENCES", "/nowhere.yaml"),
            ("AGENT__TOOLS__COMMANDS", str(tmp_path / "tools.yaml")),
            ("HTTP__CERTIFICATE", "/nowhere.pem"),
        ):
            result = server("--check", environment={f"MEADOWLARK_{key}": value})
            assert result.returncode == 2
            assert value in result.stderr
            assert "Traceback" not in result.stderr

    def test_a_flag_wins_and_is_named(self) -> None:
        result = server("--check", "--wyoming", "nowhere:99999", environment={"MEADOWLARK_WYOMING__URI": "tcp://ok:1"})
        assert result.returncode == 2
        assert "--wyoming" in result.stderr


class TestCannotStart:
    """One sentence and an exit code, never a stack trace."""

    def test_port_in_use(self, tmp_path: Path, data_dir: Path) -> None:
        data_dir = own_data(tmp_path, data_dir)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = server(
                *("--data-dir", str(data_dir), "--http", "127.0.0.1:0", "--wyoming", f"tcp://127.0.0.1:{port}")
            )
            http = server("--data-dir", str(data_dir), "--wyoming", "tcp://127.0.0.1:0", "--http", f"127.0.0.1:{port}")
        for outcome, flag in ((result, "--wyoming"), (http, "--http")):
            assert outcome.returncode == 2
            assert str(port) in last_line(outcome)
            assert flag in last_line(outcome)
            assert "Traceback" not in outcome.stderr

    def test_unwritable_data_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        result = server("--data-dir", str(tmp_path / "file" / "data"), "--wyoming", "tcp://127.0.0.1:0")
        assert result.returncode == 2
        assert "--data-dir" in last_line(result)
        assert "Traceback" not in result.stderr

    def test_truncated_model(self, tmp_path: Path, store: ModelStore) -> None:
        whole = store.locate("whisper-base", ModelKind.ASR)
        shutil.copytree(whole, tmp_path / "models" / "whisper-base")
        with (tmp_path / "models" / "whisper-base" / "model.bin").open("r+b") as file:
            file.truncate(1_000_000)
        result = server(
            *("--data-dir", str(tmp_path), "--http", "127.0.0.1:0", "--wyoming", "tcp://127.0.0.1:0"),
            environment={"MEADOWLARK_MODELS__OFFLINE": "true"},
        )
        assert result.returncode == 1
        assert "meadowlark-models pull whisper-base" in last_line(result)
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("MEADOWLARK_ASR__MODEL", "whisper-bose", "whisper-base"),
            ("MEADOWLARK_TTS__VOICE", "en_US-jo-medium", "en_US-joe-medium"),
            ("MEADOWLARK_ASR__LANGUAGE", "tlh", "tlh"),
        ],
    )
    def test_unknown_model_voice_or_language(
        self, tmp_path: Path, data_dir: Path, variable: str, value: str, words: str
    ) -> None:
        data_dir = own_data(tmp_path, data_dir)
        result = server(
            *("--data-dir", str(data_dir), "--http", "127.0.0.1:0", "--wyoming", "tcp://127.0.0.1:0"),
            environment={variable: value, "MEADOWLARK_MODELS__OFFLINE": "true"},
        )
        assert result.returncode in (1, 2)
        assert words in last_line(result)
        assert "Traceback" not in result.stderr


class TestStops:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_on_a_signal(self, tmp_path: Path, data_dir: Path, number: signal.Signals) -> None:
        with ServerProcess(tmp_path, ["--data-dir", str(own_data(tmp_path, data_dir))]) as process:
            process.wait_ready()
            assert process.stop(number) == 0
            assert "Traceback" not in process.log()

    def test_on_a_signal_while_it_loads(self, tmp_path: Path, data_dir: Path) -> None:
        with ServerProcess(tmp_path, ["--data-dir", str(own_data(tmp_path, data_dir))]) as process:
            while "ready in" not in process.log():
                assert process.process.poll() is None
            assert process.stop() == 0
            assert "Traceback" not in process.log()

    @pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
    def test_as_pid_1(self, tmp_path: Path, data_dir: Path) -> None:
        """As in a container without an init: PID 1 ignores signals that it has no handler for."""
        if shutil.which("unshare") is None:
            pytest.skip("util-linux has no unshare here")
        log = (tmp_path / "log").open("wb")
        command = [
            *("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "server.cli"),
            *(
                "--wyoming",
                "tcp://127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--data-dir",
                str(own_data(tmp_path, data_dir)),
            ),
        ]
        with log, subprocess.Popen(command, stdout=log, stderr=log) as outer:
            try:
                while b"is ready" not in (tmp_path / "log").read_bytes():
                    assert outer.poll() is None, (tmp_path / "log").read_text()
                children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
                os.kill(int(children[0]), signal.SIGTERM)
                assert outer.wait(90) == 0
            finally:
                outer.kill()


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """The sentence for the person; log lines come before it."""
    return result.stderr.strip().splitlines()[-1]
