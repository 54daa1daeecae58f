"""Both engines as one, each alone, and words that both know."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

import pymicro_wakeword
import pyopen_wakeword
import pytest

from handlers.errors import MissingExtraError, RequestError
from handlers.wake.engines import MEASURED, MICRO, OPEN, WakeEngines, open_engines
from handlers.wake.stage import Detection, Detector, WakeSettings, choose_words
from tests.support.speech import Speaker, silence

MICRO_MODELS = Path(pymicro_wakeword.__file__).parent / "models"
OPEN_MODELS = Path(pyopen_wakeword.__file__).parent / "models"


@pytest.fixture(scope="module")
def engines() -> WakeEngines:
    return open_engines()


def listen(detector: Detector, pcm: bytes) -> list[Detection]:
    return [found for start in range(0, len(pcm), 2560) for found in detector.process(pcm[start : start + 2560])]


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these had never been installed."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    for module in ("handlers.wake.microwakeword", "handlers.wake.openwakeword"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_each_word_has_the_engine_that_was_measured_to_be_better(engines: WakeEngines) -> None:
    assert {name: engines.engine_of(name) for name in engines.words} == {
        "alexa": MICRO,
        "hey_jarvis": MICRO,
        "hey_mycroft": OPEN,
        "hey_rhasspy": OPEN,
        "okay_nabu": OPEN,
    }
    assert set(MEASURED) == set(engines.words)


def test_an_engine_can_be_named(engines: WakeEngines) -> None:
    assert engines.engine_of("open/alexa") == OPEN
    assert engines.engine_of("micro/okay_nabu") == MICRO
    assert engines.word("open/alexa").threshold == 0.5
    assert engines.word("micro/okay_nabu").threshold == 0.85
    assert engines.word("micro/okay_nabu").name == "okay_nabu"


@pytest.mark.parametrize("name", ["micro/hey_rhasspy", "other/alexa", "/alexa", "open/micro/alexa"])
def test_an_engine_without_the_word_says_who_has_it(engines: WakeEngines, name: str) -> None:
    with pytest.raises(RequestError, match=r"there is .*open/") as caught:
        engines.detector({name: 0.5})
    assert caught.value.code == "unknown-wake-word"


def test_the_usual_threshold_is_that_of_the_word_and_settings_come_before_it(engines: WakeEngines) -> None:
    assert choose_words(engines, [], WakeSettings()) == {
        "alexa": 0.7,
        "hey_jarvis": 0.9,
        "hey_mycroft": 0.5,
        "hey_rhasspy": 0.5,
        "okay_nabu": 0.5,
    }
    settings = WakeSettings(threshold=0.4, thresholds={"open/alexa": 0.6})
    assert choose_words(engines, ["open/alexa", "micro/alexa"], settings) == {"open/alexa": 0.6, "micro/alexa": 0.4}


def test_words_of_both_engines_in_one_detector(engines: WakeEngines, speaker: Speaker) -> None:
    detector = engines.detector(choose_words(engines, ["alexa", "okay_nabu"], WakeSettings()))
    pcm = silence(0.5) + speaker.say("Alexa!") + silence(0.5) + speaker.say("Okay Nabu.") + silence(1)
    assert [found.name for found in listen(detector, pcm)] == ["alexa", "okay_nabu"]
    detector.reset()
    assert [found.name for found in listen(detector, pcm)] == ["alexa", "okay_nabu"]


def test_two_engines_that_hear_the_same_word_report_it_once(engines: WakeEngines, speaker: Speaker) -> None:
    pcm = silence(0.5) + speaker.say("Alexa!") + silence(3) + speaker.say("Alexa!") + silence(1)
    both = {"micro/alexa": 0.8, "open/alexa": 0.5}
    assert [found.name for found in listen(engines.detector(both, 2.0), pcm)] == ["alexa", "alexa"]
    assert len(listen(engines.detector(both, 0.0), pcm)) >= 4  # so both did hear it


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("pymicro_wakeword", {"alexa", "hey_jarvis", "hey_mycroft", "hey_rhasspy", "okay_nabu"}),
        ("pyopen_wakeword", {"alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"}),
    ],
)
def test_without_one_package_the_other_hears_all_its_words_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, speaker: Speaker, missing: str, words: set[str]
) -> None:
    without(monkeypatch, missing)
    with caplog.at_level(logging.INFO):
        alone = open_engines()
    assert set(alone.words) == words
    assert [missing.replace("_", "-") in record.getMessage() for record in caplog.records] == [True]
    detector = alone.detector({"okay_nabu": alone.word("okay_nabu").threshold})
    assert listen(detector, silence(0.5) + speaker.say("Okay Nabu.") + silence(1))


def test_without_both_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pymicro_wakeword", "pyopen_wakeword")
    with pytest.raises(MissingExtraError, match="pip install"):
        open_engines()


def test_models_of_ones_own_for_both_engines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, speaker: Speaker
) -> None:
    shutil.copy(MICRO_MODELS / "alexa.tflite", tmp_path / "small.tflite")
    shutil.copy(MICRO_MODELS / "alexa.json", tmp_path / "small.json")
    shutil.copy(OPEN_MODELS / "alexa.tflite", tmp_path / "large.tflite")
    with caplog.at_level(logging.INFO):
        engines = open_engines(tmp_path)
    assert caplog.records == []
    assert (engines.engine_of("small"), engines.engine_of("large")) == (MICRO, OPEN)
    detector = engines.detector({name: engines.word(name).threshold for name in ("small", "large")})
    heard = listen(detector, silence(0.5) + speaker.say("Alexa!") + silence(1))
    assert {found.name for found in heard} == {"small", "large"}


def test_a_model_of_ones_own_comes_before_one_of_a_package_with_its_name(tmp_path: Path) -> None:
    shutil.copy(MICRO_MODELS / "okay_nabu.tflite", tmp_path)
    shutil.copy(MICRO_MODELS / "okay_nabu.json", tmp_path)
    shutil.copy(OPEN_MODELS / "alexa.tflite", tmp_path)
    engines = open_engines(tmp_path)
    assert (engines.engine_of("okay_nabu"), engines.engine_of("alexa")) == (MICRO, OPEN)
    assert engines.word("okay_nabu").threshold == 0.85


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path, engines: WakeEngines) -> None:
    assert set(open_engines(tmp_path / "none").words) == set(engines.words)
