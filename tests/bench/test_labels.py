"""Where speech ends, and how a recording is cut there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.clips import NOISE_DBFS, TAIL_SECONDS, load_clips, make_clip, noise
from bench.labels import choose_labeller, energy_label
from handlers.audio import seconds, to_float, write_wav
from handlers.errors import AudioError
from tests.support.bench_peers import sounds
from tests.support.speech import Speaker, silence


@pytest.mark.parametrize(("lead", "loud", "tail"), [(0.3, 0.5, 0.6), (0.1, 0.2, 2.0), (0.5, 1.0, 0.0)])
def test_energy_finds_the_end_within_a_frame(lead: float, loud: float, tail: float) -> None:
    assert energy_label(sounds(lead, loud, tail)) == pytest.approx(lead + loud, abs=0.02)


def test_energy_takes_no_click_for_speech() -> None:
    pcm = bytearray(sounds(0.3, 0.5, 0.6))
    pcm[-3200:-3180] = b"\xff\x7f" * 10
    assert energy_label(bytes(pcm)) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("pcm", [b"", bytes(32_000), noise(1.0)], ids=["empty", "zeros", "noise"])
@pytest.mark.parametrize("labeller", ["energy", "silero"])
def test_no_speech_is_one_sentence(labeller: str, pcm: bytes) -> None:
    _, label = choose_labeller(labeller)
    with pytest.raises(AudioError, match=r"^a\.wav cannot be used: "):
        make_clip("a.wav", pcm, label, None)


def test_silero_finds_the_end_of_speech_and_the_rest_is_cut() -> None:
    speech = Speaker().say("What time is it?")
    name, label = choose_labeller("auto")
    clip = make_clip("q", silence(0.3) + speech + silence(2.0), label, None)
    end = 0.3 + seconds(speech)
    assert name == "silero"
    assert end - 0.3 < clip.end_of_speech < end + 0.1
    assert seconds(clip.pcm) == pytest.approx(clip.end_of_speech + TAIL_SECONDS, abs=0.001)
    assert clip.cut_seconds == pytest.approx(end + 2.0 - seconds(clip.pcm), abs=0.001)


def test_the_silence_has_the_level_of_a_quiet_microphone() -> None:
    samples = to_float(noise(2.0))
    assert len(samples) == 32_000
    assert 20 * np.log10(np.sqrt(np.mean(np.square(samples)))) == pytest.approx(NOISE_DBFS, abs=0.5)


def test_references_come_from_texts_or_names(tmp_path: Path) -> None:
    for name in ("turn it on", "b"):
        write_wav(tmp_path / f"{name}.wav", sounds(0.1, 0.3, 0.1))
    (tmp_path / "b.txt").write_text("turn it off\n", encoding="utf-8")

    def words(references: str) -> dict[str, str | None]:
        return {clip.name: clip.reference for clip in load_clips([tmp_path], energy_label, references)}

    assert words("txt") == {"b.wav": "turn it off", "turn it on.wav": None}
    assert words("name") == {"b.wav": "turn it off", "turn it on.wav": "turn it on"}
    assert words("none") == {"b.wav": None, "turn it on.wav": None}
