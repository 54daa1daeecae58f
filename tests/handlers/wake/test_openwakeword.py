"""Wake words in real speech, and model files that are none."""

from __future__ import annotations

import gc
import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import pyopen_wakeword
import pytest

from handlers.audio import from_float, seconds
from handlers.errors import RequestError
from handlers.wake import tflite
from handlers.wake.openwakeword import OpenWakeWordEngine, OpenWakeWordScorer
from handlers.wake.scoring import FRAME_BYTES
from handlers.wake.stage import Detection, Detector, WakeSettings, choose_words, phrase_of
from tests.support.speech import Speaker, silence

MODELS = Path(pyopen_wakeword.__file__).parent / "models"

SPOKEN = {
    "alexa": "Alexa!",
    "hey_jarvis": "Hey Jarvis!",
    "hey_mycroft": "Hey my croft.",
    "hey_rhasspy": "Hey raspy!",
    "okay_nabu": "Okay naboo!",
}


has_xnnpack = tflite.has_xnnpack(pyopen_wakeword.OpenWakeWordFeatures.from_builtin().lib)

needs_xnnpack = pytest.mark.skipif(not has_xnnpack, reason="this wheel's library has no fast kernels")


@pytest.fixture(scope="module")
def engine() -> OpenWakeWordEngine:
    return OpenWakeWordEngine()


@pytest.fixture(scope="module")
def every_word(engine: OpenWakeWordEngine) -> Detector:
    return engine.detector(dict.fromkeys(engine.words, 0.5), 2.0)


@pytest.fixture
def detector(every_word: Detector) -> Detector:
    every_word.reset()
    return every_word


def listen(detector: Detector, pcm: bytes, size: int = 2560) -> list[Detection]:
    return [
        detection for start in range(0, len(pcm), size) for detection in detector.process(pcm[start : start + size])
    ]


def test_the_words_of_the_package(engine: OpenWakeWordEngine) -> None:
    assert set(engine.words) == set(SPOKEN)
    assert engine.words["okay_nabu"].phrase == "okay nabu"
    assert engine.words["okay_nabu"].languages == ("en",)


@pytest.mark.parametrize(("name", "text"), SPOKEN.items())
def test_a_word_is_heard_once_where_it_was_said(detector: Detector, speaker: Speaker, name: str, text: str) -> None:
    said = speaker.say(text)
    heard = listen(detector, silence(1) + said + silence(1.5))
    assert [detection.name for detection in heard] == [name]
    assert 1.0 < heard[0].seconds < 1.0 + seconds(said) + 0.6
    assert 0.5 <= heard[0].score <= 1.0


@pytest.mark.parametrize("wait", [0.0, 0.3, 12.0])
def test_a_word_is_heard_at_any_time(detector: Detector, speaker: Speaker, wait: float) -> None:
    heard = listen(detector, silence(wait) + speaker.say("Alexa!") + silence(1))
    assert [detection.name for detection in heard] == ["alexa"]
    assert wait < heard[0].seconds < wait + 1.5


def test_other_speech_and_noise_are_no_wake_word(detector: Detector, speaker: Speaker) -> None:
    noise = np.random.default_rng(4).standard_normal(4 * 16_000).astype(np.float32)
    other = speaker.say("What is the weather like tomorrow in Berlin? Hey, I would okay that, Jack.")
    assert listen(detector, silence(1) + other + silence(1) + from_float(0.05 * noise)) == []


def test_how_chunks_are_cut_changes_nothing(detector: Detector, speaker: Speaker) -> None:
    pcm = silence(0.5) + speaker.say("Hey Jarvis!") + silence(1)
    wanted = listen(detector, pcm)
    chance = random.Random(3)
    for sizes in ([333], [len(pcm)], [31, 4000, 2559]):
        detector.reset()
        heard, start = [], 0
        while start < len(pcm):
            size = chance.choice(sizes)
            heard += detector.process(pcm[start : start + size])
            start += size
        assert heard == wanted


def test_the_same_word_is_not_heard_again_too_soon(engine: OpenWakeWordEngine, speaker: Speaker) -> None:
    said = speaker.say("Alexa!")
    pcm = silence(0.5) + said + silence(0.7) + said + silence(3) + said + silence(1)
    places = [detection.seconds for detection in listen(engine.detector({"alexa": 0.5}, 2.0), pcm)]
    assert len(places) == 2
    assert places[1] > seconds(pcm) - 1.0 - seconds(said)
    assert len(listen(engine.detector({"alexa": 0.5}, 0.0), pcm)) == 3  # not once for every frame that scores high
    assert len(listen(engine.detector({"alexa": 0.5}, 30.0), pcm)) == 1


def test_two_words_do_not_deafen_each_other(detector: Detector, speaker: Speaker) -> None:
    pcm = silence(0.5) + speaker.say("Alexa!") + silence(0.4) + speaker.say("Hey Jarvis!") + silence(1)
    assert [detection.name for detection in listen(detector, pcm)] == ["alexa", "hey_jarvis"]


def test_two_streams_do_not_disturb_each_other(engine: OpenWakeWordEngine, speaker: Speaker) -> None:
    one, two = engine.detector({"alexa": 0.5}), engine.detector({"alexa": 0.5})
    pcm = silence(0.5) + speaker.say("Alexa!") + silence(1)
    heard = []
    for start in range(0, len(pcm), 2560):
        heard += one.process(pcm[start : start + 2560])
        assert two.process(silence(0.08)) == []
    assert [detection.name for detection in heard] == ["alexa"]


def test_each_word_has_its_own_threshold(engine: OpenWakeWordEngine, speaker: Speaker) -> None:
    pcm = silence(0.5) + speaker.say("Okay naboo!") + silence(0.5) + speaker.say("Alexa!") + silence(1)
    settings = WakeSettings(thresholds={"okay_nabu": 0.999})
    words = choose_words(engine, ["okay_nabu", "alexa"], settings)
    assert words == {"okay_nabu": 0.999, "alexa": 0.5}
    assert [detection.name for detection in listen(engine.detector(words), pcm)] == ["alexa"]


def test_without_names_all_words_are_meant(engine: OpenWakeWordEngine) -> None:
    assert choose_words(engine, [], WakeSettings(threshold=0.4)) == dict.fromkeys(SPOKEN, 0.4)


def test_an_unknown_word_is_named_with_the_nearest(engine: OpenWakeWordEngine) -> None:
    with pytest.raises(RequestError, match="did you mean 'hey_jarvis'") as caught:
        engine.detector({"hey_jarvi": 0.5})
    assert caught.value.code == "unknown-wake-word"
    with pytest.raises(RequestError, match="known are alexa, hey_jarvis"):
        engine.detector({"zzz": 0.5})


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("okay_nabu", "okay nabu"),
        ("hey_jarvis_v0.1", "hey jarvis"),
        ("alexa-v2", "alexa"),
        ("hey_victor", "hey victor"),
        ("computer", "computer"),
    ],
)
def test_how_a_word_is_said(name: str, phrase: str) -> None:
    assert phrase_of(name) == phrase


def test_a_model_of_ones_own(tmp_path: Path, speaker: Speaker) -> None:
    (tmp_path / "my_computer_v0.1.tflite").write_bytes((MODELS / "alexa.tflite").read_bytes())
    (tmp_path / "embedding_model.tflite").write_bytes((MODELS / "embedding_model.tflite").read_bytes())
    own = OpenWakeWordEngine(tmp_path)
    assert set(own.words) == {*SPOKEN, "my_computer_v0.1"}
    assert own.words["my_computer_v0.1"].phrase == "my computer"
    heard = listen(own.detector({"my_computer_v0.1": 0.5}), silence(0.5) + speaker.say("Alexa!") + silence(1))
    assert [detection.name for detection in heard] == ["my_computer_v0.1"]


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert set(OpenWakeWordEngine(tmp_path / "none").words) == set(SPOKEN)


@pytest.mark.parametrize("damage", ["empty", "no model", "truncated", "zeros", "another kind"])
def test_a_damaged_model_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, speaker: Speaker, damage: str
) -> None:
    good = (MODELS / "alexa.tflite").read_bytes()
    content = {
        "empty": b"",
        "no model": b"no model " * 1000,
        "truncated": good[:20_000],
        "zeros": good[:100] + bytes(len(good) - 100),
        "another kind": (MODELS / "melspectrogram.tflite").read_bytes(),
    }[damage]
    (tmp_path / "mine.tflite").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        engine = OpenWakeWordEngine(tmp_path)
    assert set(engine.words) == set(SPOKEN)
    assert [str(tmp_path / "mine.tflite") in record.getMessage() for record in caplog.records] == [True]
    assert listen(engine.detector({"alexa": 0.5}), silence(0.5) + speaker.say("Alexa!") + silence(1))


class Bare:
    """The package as it is, without us."""

    def __init__(self) -> None:
        self._features = pyopen_wakeword.OpenWakeWordFeatures.from_builtin()
        self._models = {name: pyopen_wakeword.OpenWakeWord.from_model(MODELS / f"{name}.tflite") for name in SPOKEN}
        self.score(bytes(FRAME_BYTES))  # as we do at the start

    def score(self, frame: bytes) -> dict[str, float]:
        scores: dict[str, float] = {}
        for embeddings in self._features.process_streaming(frame):
            for name, model in self._models.items():
                scores[name] = max([scores.get(name, 0.0), *model.process_streaming(embeddings)])
        return scores


def all_scores(scorer: OpenWakeWordScorer | Bare, pcm: bytes) -> list[list[float]]:
    whole = len(pcm) - len(pcm) % FRAME_BYTES
    found = [scorer.score(pcm[start : start + FRAME_BYTES]) for start in range(0, whole, FRAME_BYTES)]
    return [[scores[name] for name in SPOKEN] for scores in found]


def every_score(engine: OpenWakeWordEngine) -> OpenWakeWordScorer:
    return engine.scorer({name: name for name in SPOKEN})


@pytest.fixture(scope="module")
def all_said(speaker: Speaker) -> bytes:
    other = speaker.say("What is the weather like tomorrow in Berlin?")
    return b"".join(silence(0.5) + speaker.say(text) for text in SPOKEN.values()) + other + silence(1)


@pytest.fixture(scope="module")
def bare_scores(all_said: bytes) -> list[list[float]]:
    """What the package itself says of it, every 80 ms for every word."""
    return all_scores(Bare(), all_said)


def test_the_fast_kernels_find_the_scores_of_the_package(
    engine: OpenWakeWordEngine, all_said: bytes, bare_scores: list[list[float]]
) -> None:
    assert np.max(bare_scores, axis=0).min() > 0.5  # each word is heard
    assert np.abs(np.subtract(all_scores(every_score(engine), all_said), bare_scores)).max() < 1e-3


def test_after_a_reset_the_scores_are_those_of_a_new_one(
    engine: OpenWakeWordEngine, all_said: bytes, bare_scores: list[list[float]]
) -> None:
    scorer = every_score(engine)
    all_scores(scorer, all_said[: len(all_said) // 3])
    scorer.reset()
    assert np.abs(np.subtract(all_scores(scorer, all_said), bare_scores)).max() < 1e-3


@needs_xnnpack
def test_the_fast_kernels_are_fast_and_need_no_threads_of_their_own(
    engine: OpenWakeWordEngine, all_said: bytes
) -> None:
    def cost(scorer: OpenWakeWordScorer | Bare) -> float:
        began = time.process_time()
        all_scores(scorer, all_said)
        return time.process_time() - began

    ours, theirs = every_score(engine), Bare()
    threads = psutil.Process().num_threads()
    assert min(cost(ours) for _ in range(3)) < 0.5 * min(cost(theirs) for _ in range(3))
    another = every_score(engine)
    all_scores(another, all_said)
    assert psutil.Process().num_threads() <= threads


def test_streams_in_several_threads_at_once(
    engine: OpenWakeWordEngine, all_said: bytes, bare_scores: list[list[float]]
) -> None:
    together = threading.Barrier(4)

    def listen_twice() -> list[list[list[float]]]:
        together.wait(60)
        return [all_scores(every_score(engine), all_said) for _ in range(2)]  # the first ends while others listen

    with ThreadPoolExecutor(4) as threads:
        heard = [future.result() for future in [threads.submit(listen_twice) for _ in range(4)]]
    assert np.abs(np.subtract(heard, bare_scores)).max() < 1e-3


def test_detectors_that_are_dropped_leave_no_memory(engine: OpenWakeWordEngine) -> None:
    def drop(count: int) -> int:
        for _ in range(count):
            detector = engine.detector({"alexa": 0.5})
            del detector
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    before = drop(20)
    assert drop(200) - before < 20 * 2**20


def test_a_circle_of_references_does_no_harm(engine: OpenWakeWordEngine, all_said: bytes) -> None:
    for _ in range(5):
        scorer = every_score(engine)
        scorer.itself = scorer  # type: ignore[attr-defined]  # the garbage collector takes it apart in its own order
        del scorer
        gc.collect()
    assert all_scores(every_score(engine), all_said)


def test_the_library_does_not_greet_and_stderr_is_as_before() -> None:
    program = (
        "import ctypes, sys; from handlers.wake.openwakeword import OpenWakeWordEngine;"
        "detector = OpenWakeWordEngine().detector({'alexa': 0.5}); detector.process(bytes(2560 * 20));"
        "ctypes.CDLL(None).perror(b'from C'); print('from Python', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["from C", "from Python"]


@pytest.fixture(params=["a library without fast kernels", "other attributes"])
def another_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the package."""
    if request.param == "other attributes":
        monkeypatch.setattr(pyopen_wakeword.OpenWakeWord, "from_model", Renamed.opened)
    else:
        monkeypatch.setattr(tflite, "_XNNPACK", ("TfLiteXNNPackNoMore",))


class Renamed(pyopen_wakeword.OpenWakeWord):
    """Keeps its input under another name."""

    @staticmethod
    def opened(path: Path) -> Renamed:
        usual = pyopen_wakeword.OpenWakeWordFeatures.from_builtin()
        made = Renamed(path.stem, tflite_model=path, libtensorflowlite_c_path=usual.libtensorflowlite_c_path)
        del made.input_tensor
        return made

    def process_streaming(self, embeddings: npt.NDArray[np.float32]) -> Iterator[float]:
        self.input_tensor = self.lib.TfLiteInterpreterGetInputTensor(self.interpreter, 0)
        try:
            yield from super().process_streaming(embeddings)
        finally:
            del self.input_tensor


@pytest.mark.usefixtures("another_version")
def test_another_version_of_the_package_is_used_as_it_is(
    engine: OpenWakeWordEngine, all_said: bytes, bare_scores: list[list[float]]
) -> None:
    assert np.abs(np.subtract(all_scores(every_score(engine), all_said), bare_scores)).max() < 1e-3
