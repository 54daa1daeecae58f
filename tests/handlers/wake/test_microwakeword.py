"""microWakeWord on real speech, and model files that are none."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pymicro_wakeword
import pytest

from handlers.audio import from_float, seconds
from handlers.errors import ModelError, RequestError
from handlers.wake.microwakeword import MicroWakeWordEngine
from handlers.wake.stage import Detection, Detector
from tests.support.speech import Speaker, silence

MODELS = Path(pymicro_wakeword.__file__).parent / "models"

SPOKEN = {"alexa": "Alexa!", "hey_jarvis": "Hey Jarvis!", "hey_mycroft": "Hey my croft.", "okay_nabu": "Okay naboo!"}

THRESHOLD = 0.8


@pytest.fixture(scope="module")
def engine() -> MicroWakeWordEngine:
    return MicroWakeWordEngine()


@pytest.fixture(scope="module")
def every_word(engine: MicroWakeWordEngine) -> Detector:
    return engine.detector(dict.fromkeys(engine.words, THRESHOLD))


@pytest.fixture
def detector(every_word: Detector) -> Detector:
    every_word.reset()
    return every_word


def listen(detector: Detector, pcm: bytes, size: int = 2560) -> list[Detection]:
    return [
        detection for start in range(0, len(pcm), size) for detection in detector.process(pcm[start : start + size])
    ]


def own(folder: Path, name: str = "mine", **changed: object) -> Path:
    """A copy of 'alexa' as a model of one's own; `changed` keys of its JSON file."""
    shutil.copy(MODELS / "alexa.tflite", folder / f"{name}.tflite")
    description = json.loads((MODELS / "alexa.json").read_text()) | {"wake_word": "Hello House"} | changed
    (folder / f"{name}.json").write_text(json.dumps(description))
    return folder / f"{name}.tflite"


def test_the_words_of_the_package_with_their_own_thresholds(engine: MicroWakeWordEngine) -> None:
    assert {name: word.threshold for name, word in engine.words.items()} == {
        "alexa": 0.9,
        "hey_jarvis": 0.97,
        "hey_mycroft": 0.95,
        "okay_nabu": 0.85,
    }
    assert engine.words["okay_nabu"].phrase == "okay nabu"
    assert "fr" in engine.words["okay_nabu"].languages


@pytest.mark.parametrize(("name", "text"), SPOKEN.items())
def test_a_word_is_heard_once_where_it_was_said(detector: Detector, speaker: Speaker, name: str, text: str) -> None:
    said = speaker.say(text)
    heard = listen(detector, silence(1) + said + silence(1.5))
    assert [detection.name for detection in heard] == [name]
    assert 1.0 < heard[0].seconds < 1.0 + seconds(said) + 0.6
    assert THRESHOLD <= heard[0].score <= 1.0


@pytest.mark.parametrize("wait", [0.0, 12.0])
def test_a_word_is_heard_at_any_time(detector: Detector, speaker: Speaker, wait: float) -> None:
    heard = listen(detector, silence(wait) + speaker.say("Alexa!") + silence(1))
    assert [detection.name for detection in heard] == ["alexa"]


def test_other_speech_and_noise_are_no_wake_word(detector: Detector, speaker: Speaker) -> None:
    noise = np.random.default_rng(4).standard_normal(4 * 16_000).astype(np.float32)
    other = speaker.say("What is the weather like tomorrow in Berlin? Hey, I would okay that, Jack.")
    assert listen(detector, silence(1) + other + silence(1) + from_float(0.05 * noise)) == []


def test_after_a_reset_it_is_as_new(engine: MicroWakeWordEngine, speaker: Speaker) -> None:
    pcm = silence(0.5) + speaker.say("Okay naboo!") + silence(1)
    words = {"okay_nabu": 0.3, "alexa": 0.3}
    used = engine.detector(words)
    listen(used, speaker.say("Alexa!") + speaker.say("Okay naboo!")[:-4_000])  # in the middle of a word
    used.reset()
    assert [heard.name for heard in listen(used, pcm)] == ["okay_nabu"]
    used.reset()
    assert listen(used, silence(3)) == []  # nothing is left of the word


def test_a_model_of_ones_own(tmp_path: Path, speaker: Speaker) -> None:
    path = own(tmp_path, trained_languages=["de"])
    engine = MicroWakeWordEngine(tmp_path)
    assert engine.own == {"mine"}
    word = engine.word("mine")
    assert (word.phrase, word.languages, word.threshold) == ("hello house", ("de",), 0.9)
    detector = engine.detector({"mine": 0.9})
    path.unlink()  # a listening satellite does not open it again
    detector.reset()
    assert [heard.name for heard in listen(detector, speaker.say("Alexa!") + silence(1))] == ["mine"]
    with pytest.raises(ModelError, match="put it back"):
        engine.detector({"mine": 0.9})


@pytest.mark.parametrize("damage", ["empty", "no model", "truncated", "zeros", "openWakeWord's", "of sound"])
def test_a_damaged_model_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    import pyopen_wakeword

    good = (MODELS / "alexa.tflite").read_bytes()
    others = Path(pyopen_wakeword.__file__).parent / "models"
    path = own(tmp_path)
    path.write_bytes(
        {
            "empty": b"",
            "no model": b"no model " * 1000,
            "truncated": good[:20_000],
            "zeros": good[:100] + bytes(len(good) - 100),
            "openWakeWord's": (others / "alexa.tflite").read_bytes(),
            "of sound": (others / "melspectrogram.tflite").read_bytes(),
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        engine = MicroWakeWordEngine(tmp_path)
    assert set(engine.words) == set(SPOKEN)
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        ("", "JSON"),
        ("[]", "JSON"),
        ("{}", "wake_word"),
        ('{"wake_word": "Alexa"}', "micro"),
        ('{"wake_word": "Alexa", "micro": {"probability_cutoff": 2, "sliding_window_size": 5}}', "probability_cutoff"),
        ('{"wake_word": "Alexa", "micro": {"probability_cutoff": 0.9}}', "sliding_window_size"),
        (
            '{"wake_word": "Alexa", "micro": {"probability_cutoff": 0.9, "sliding_window_size": 5, '
            '"feature_step_size": 20}}',
            "feature_step_size",
        ),
    ],
)
def test_a_description_that_says_nothing_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, description: str, problem: str
) -> None:
    path = own(tmp_path)
    path.with_suffix(".json").write_text(description)
    with caplog.at_level(logging.WARNING):
        engine = MicroWakeWordEngine(tmp_path)
    assert set(engine.words) == set(SPOKEN)
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert problem in record.getMessage()
    assert "\n" not in record.getMessage()


def test_an_unknown_word_is_named_with_the_nearest(engine: MicroWakeWordEngine) -> None:
    with pytest.raises(RequestError, match="did you mean 'alexa'"):
        engine.detector({"alexia": 0.5})
