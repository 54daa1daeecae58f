"""The simulation of ends: pauses put into speech, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.clips import Clip, noise
from bench.endpointing import End, main, table
from bench.pauses import PAUSES_MS, hesitations, with_room
from handlers.audio import RATE, from_float, seconds, to_float, write_wav
from tests.support.speech import Speaker

TEXT = "What time is it?"


@pytest.fixture(scope="module")
def clip(speaker: Speaker) -> Clip:
    said = speaker.say(TEXT)
    pcm = from_float(
        to_float(noise(0.5) + said + noise(0.05))
        + to_float(noise(0.55 + seconds(said)))[: len(said) // 2 + int(0.55 * RATE)]
    )
    return Clip("time.wav", pcm, 0.5 + seconds(said), 0.0, TEXT)


def test_a_pause_is_put_after_every_word_but_the_last(clip: Clip) -> None:
    words = [("What", 0.7), ("time", 0.95), ("is", 1.1), ("it?", 1.3)]
    made = list(hesitations(clip, lambda pcm: words))
    assert [hesitation.before for hesitation in made[:: len(PAUSES_MS)]] == ["What", "What time", "What time is"]
    for hesitation in made:
        longer = seconds(hesitation.clip.pcm) - seconds(clip.pcm)
        assert longer == pytest.approx(hesitation.pause_ms / 1000, abs=0.03)
        assert hesitation.clip.end_of_speech == pytest.approx(clip.end_of_speech + longer)


def test_what_was_misheard_gets_no_pauses(clip: Clip) -> None:
    assert not list(hesitations(clip, lambda pcm: [("Watch", 0.7), ("the", 0.95), ("tide.", 1.3)]))


def test_the_room_goes_on_after_the_recording(clip: Clip) -> None:
    longer = with_room(clip, 3.0)
    assert seconds(longer) == pytest.approx(seconds(clip.pcm) + 3.0, abs=0.03)
    room, added = to_float(clip.pcm)[: RATE // 3], to_float(longer)[-2 * RATE :]
    assert float(np.std(added)) == pytest.approx(float(np.std(room)), rel=0.3)


def test_the_table_counts_cut_offs_apart_from_waits() -> None:
    ends = [
        End("rule", "a", "as recorded", 300, False, 1, "a"),
        End("rule", "b", "as recorded", 500, False, 2, "b"),
        End("rule", "c", "as recorded", -200, True, 1, "c"),
        End("rule", "d", "as recorded", -20, False, 1, "d"),
    ]
    assert list(table(ends))[-2] == "| rule | 2 (50 %) | 1 | 400 | 400 | 490 | 500 | 1.25 |"


def test_recordings_are_measured(
    speaker: Speaker, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / f"{TEXT[:-1]}.wav", noise(0.5) + speaker.say(TEXT) + noise(0.5))
    target = tmp_path / "ends.json"
    options = ["--text-reference", "name", "--data-dir", str(data_dir), "--as-recorded", "--json", str(target)]
    assert main([str(tmp_path), *options]) == 0
    ends = {end["rule"]: end for end in json.loads(target.read_text(encoding="utf-8"))["ends"]}
    assert all(end["wait_ms"] > 0 and not end["lost_words"] for end in ends.values())
    assert (
        ends["the same, commands known"]["wait_ms"] < ends["fixed 320 ms"]["wait_ms"] < ends["fixed 700 ms"]["wait_ms"]
    )
    assert "| fixed 700 ms | 0 (0 %) |" in capsys.readouterr().out


def test_recordings_without_texts_cannot_be_used(
    tmp_path: Path, speaker: Speaker, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "a.wav", speaker.say(TEXT))
    assert main([str(tmp_path)]) == 2
    assert "No recording has a text" in capsys.readouterr().err


@pytest.mark.parametrize("given", [("patience", "800"), ("patience_ms", "long"), ("patience_ms", "-1")])
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, speaker: Speaker, data_dir: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, str]
) -> None:
    write_wav(tmp_path / "time.wav", noise(0.5) + speaker.say(TEXT) + noise(0.5))
    options = ["--text-reference", "name", "--data-dir", str(data_dir), "--set", *given]
    assert main([str(tmp_path), *options]) == 2
    assert f"--set {given[0]}:" in capsys.readouterr().err
