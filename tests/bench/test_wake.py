"""The benchmark of wake words: what it takes for said, and what it counts, on speech made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.wake import Row, detections, find, line, main
from handlers.audio import write_wav
from tests.support.speech import Speaker, silence


def recording(path: Path, pcm: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, pcm)
    return path


def test_what_is_said_stands_in_a_text_or_in_the_path(tmp_path: Path) -> None:
    recording(tmp_path / "alexa" / "1.wav", silence(0.1))
    recording(tmp_path / "okay_nabu, loud.wav", silence(0.1))
    recording(tmp_path / "x.wav", silence(0.1)).with_suffix(".txt").write_text("Alexa, or OK Nabu?")
    recording(tmp_path / "alexander.wav", silence(0.1))
    recording(tmp_path / "alexa no.wav", silence(0.1)).with_suffix(".txt").write_text("what time is it")
    found = {each.path.stem: set(each.words) for each in find(tmp_path, ["alexa", "okay_nabu"])}
    assert found == {
        "1": {"alexa"},
        "okay_nabu, loud": {"okay_nabu"},
        "x": {"alexa", "okay_nabu"},
        "alexander": set(),
        "alexa no": set(),
    }


def test_an_utterance_is_one_detection_and_a_second_one_another() -> None:
    def scores(*values: float) -> list[dict[str, float]]:
        return [{"alexa": value, "other": 1.0} for value in values]

    heard = [scores(0.1, 0.6, 0.9, 0.7, 0.1), scores(*[0.0] * 30), scores(0.95, 0.2), [{}]]
    assert detections(heard, "alexa", 0.5) == [1, 0, 1, 0]
    assert detections(heard, "alexa", 0.92) == [0, 0, 1, 0]


def test_missed_and_false_ones_are_counted_for_both_engines_with_and_without_the_gate(
    tmp_path: Path, speaker: Speaker, capsys: pytest.CaptureFixture[str]
) -> None:
    said = silence(0.5) + speaker.say("Alexa!") + silence(0.5)
    recording(tmp_path / "in" / "alexa" / "said.wav", said)
    recording(tmp_path / "in" / "alexa" / "not said.wav", silence(1.0))
    recording(tmp_path / "in" / "others" / "1.wav", said)
    recording(tmp_path / "in" / "others" / "2.wav", speaker.say("What time is it?"))
    figures = tmp_path / "figures.json"
    assert main([str(tmp_path / "in"), "--threshold", "0.5", "--no-cost", "--json", str(figures)]) == 0
    rows = [Row(**row) for row in json.loads(figures.read_text())["rows"]]
    assert {(row.word, row.engine, row.gate) for row in rows} == {
        ("alexa", engine, gate) for engine in ("micro", "open") for gate in (True, False)
    }
    assert [(row.said, row.heard, row.false_accepts) for row in rows] == [(2, 1, 1)] * len(rows)
    assert all(row.hours == pytest.approx(rows[0].hours) and 0 < row.hours < 0.002 for row in rows)
    assert [row.threshold for row in rows if row.usual] == [0.7, 0.7]  # with and without the gate
    shown = capsys.readouterr().out
    assert all(line(row) in shown for row in rows)
    assert "1 of 2" in shown


def test_costs_are_per_hour_and_the_gate_makes_silence_cheap(
    tmp_path: Path, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.wake._COST_SECONDS", 2.0)
    monkeypatch.setattr("bench.wake._SETTLE_SECONDS", 1.0)
    recording(tmp_path / "okay nabu.wav", speaker.say("Okay Nabu."))
    figures = tmp_path / "figures.json"
    assert main([str(tmp_path), "--threshold", "0.5", "--json", str(figures)]) == 0
    gated, free, bare = json.loads(figures.read_text())["cpu_seconds_per_hour"]
    assert (gated["what"], free["what"]) == ("open/okay_nabu, gate", "open/okay_nabu, no gate")
    assert gated["silence"] < 0.3 * free["silence"]
    assert "pyopen-wakeword" in bare["what"]
    assert bare["speech"] > 0


def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "There is no WAV file" in capsys.readouterr().err
    recording(tmp_path / "hello.wav", silence(0.1))
    assert main([str(tmp_path)]) == 2
    assert "No wake word is said" in capsys.readouterr().err
    assert main([str(tmp_path), "--word", "alexia"]) == 2
    assert "did you mean 'alexa'" in capsys.readouterr().err
