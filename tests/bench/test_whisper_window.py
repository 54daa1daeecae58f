"""bench/whisper_window.py on one spoken command: its rows, its figures, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.clips import make_clip
from bench.labels import energy_label
from bench.whisper_window import main, throughput
from handlers.audio import write_wav
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.speech import Speaker, silence


@pytest.fixture
def recordings(tmp_path: Path, speaker: Speaker) -> Path:
    said = "turn off all of the lights in the office"
    write_wav(tmp_path / f"{said}.wav", speaker.say(f"{said.capitalize()}.") + silence(1))
    return tmp_path


def test_each_window_and_the_server_with_and_without_names(recordings: Path, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("Office\nKitchen\n", encoding="utf-8")
    options = ["--windows", "15,5", "--text-reference", "name", "--data-dir", str(data_dir)]
    assert main([str(recordings), *options, "--names", str(tmp_path / "names"), "--json", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out").read_text(encoding="utf-8"))["accuracy"]
    assert [(row["how"], row["names"]) for row in rows] == [
        ("15 s", False),
        ("5 s", False),
        ("15 s", True),
        ("5 s", True),
        ("server", False),
        ("server", True),
    ]
    assert all(row["words"] == 9 and row["median_ms"] > 0 for row in rows)
    by_name = {(row["how"], row["names"]): row for row in rows}
    assert by_name["server", False]["word_errors"] == 0
    assert by_name["5 s", False]["looped"] == 1
    assert by_name["5 s", False]["word_errors"] > 0


def test_throughput_counts_all_utterances_of_a_batch(data_dir: Path, speaker: Speaker) -> None:
    folder = ModelStore(data_dir, offline=True).locate("whisper-base", ModelKind.ASR)
    clip = make_clip("yes", speaker.say("Yes.") + silence(1), energy_label, "yes")
    assert throughput(folder, [clip], window=5, threads=1, workers=1, batch=8) > 0


@pytest.mark.parametrize("extra", [["--names", "nowhere"], ["--text-reference", "txt"], ["--model", "nowhere"]])
def test_bad_input_is_one_sentence(
    recordings: Path, data_dir: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recordings), "--text-reference", "name", "--data-dir", str(data_dir), *extra]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bench/whisper_window.py: ")
    assert error.count("\n") == 1
