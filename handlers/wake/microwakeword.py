"""Wake words by microWakeWord's models, run by `pymicro-wakeword`: small streaming networks made for microcontrollers.

Measured on one core: 0.11 ms for 80 ms of audio and one word, 0.07 ms for each further word (openWakeWord: 0.7
and 0.03 ms).
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from handlers.errors import MissingExtraError, ModelError
from handlers.wake.folder import model_files, require_present
from handlers.wake.scoring import FRAME_BYTES, ScoreDetector
from handlers.wake.stage import Detector, WakeWord, phrase_of, require_words
from handlers.wake.tflite import Tensor, holds_model, shape_of

try:
    import pymicro_wakeword
except ImportError:
    raise MissingExtraError("The wake word engine", "satellite") from None

_LOGGER = logging.getLogger(__name__)

_FEATURES = 40

_QUANTIZED = {3, 9}
"""TensorFlow Lite's numbers for unsigned and signed bytes."""

_LONGEST_STRIDE = 10
"""Feature steps of 10 ms that a model takes at once; the known ones take 3."""

_FLUSH_FRAMES = 30
"""2.4 s of silence: more than a word is long, so nothing of earlier audio is left in a model's memory."""


@dataclass(frozen=True)
class _Model:
    path: Path
    word: WakeWord
    window: int
    """Scores that are averaged."""


class MicroWakeWordEngine:
    """The words inside the `pymicro-wakeword` package, plus those of folders: `*.tflite` beside ESPHome's `.json`."""

    def __init__(self, *folders: Path | None) -> None:
        package = Path(pymicro_wakeword.__file__).parent
        library = next(iter(sorted((package / "lib").glob("*tensorflowlite_c.*"))), None)
        built_in = model_files(package / "models").described
        if library is None or not built_in:
            raise ModelError("The package pymicro-wakeword has no wake words in it: install it again")
        self._library = library
        self._models = {path.stem: _described(path) for path in built_in}
        own = self._usable(model_files(*folders).described)
        self.own = frozenset(own)
        """Names of the words that come from a folder."""
        self._models |= own

    @property
    def words(self) -> Mapping[str, WakeWord]:
        return {name: self._models[name].word for name in sorted(self._models)}

    def word(self, name: str) -> WakeWord:
        require_words([name], self._models)
        return self._models[name].word

    def scorer(self, names: Mapping[str, str]) -> MicroWakeWordScorer:
        """Scores of words, `names` from installed to reported ones."""
        require_words(names, self._models)
        require_present(model.path for name, model in self._models.items() if name in names and name in self.own)
        return MicroWakeWordScorer({names[name]: self._load(self._models[name]) for name in names})

    def detector(self, thresholds: Mapping[str, float], refractory_seconds: float = 2.0) -> Detector:
        return ScoreDetector([self.scorer({name: name for name in thresholds})], thresholds, refractory_seconds)

    def _load(self, model: _Model) -> pymicro_wakeword.MicroWakeWord:
        return pymicro_wakeword.MicroWakeWord(
            model.word.name,
            wake_word=model.word.phrase,
            tflite_model=model.path,
            probability_cutoff=model.word.threshold,
            sliding_window_size=model.window,
            trained_languages=list(model.word.languages),
            libtensorflowlite_c_path=self._library,
        )

    def _usable(self, paths: Sequence[Path]) -> dict[str, _Model]:
        """The files that hold a wake word. TensorFlow Lite answers others with NULL, which would crash us later."""
        if not paths:
            return {}
        lib = self._load(next(iter(self._models.values()))).lib
        usable = {}
        for path in paths:
            try:
                model = _described(path)
            except ModelError as error:
                _LOGGER.warning("%s is left out: %s", path, error)
                continue
            if _is_wake_word(lib, path):
                usable[path.stem] = model
            else:
                _LOGGER.warning("%s is left out: it is damaged or no microWakeWord model; fetch it again", path)
        return usable


class MicroWakeWordScorer:
    """One audio stream. The features are computed once and shared by all words; a score is the mean of the last few."""

    def __init__(self, models: Mapping[str, pymicro_wakeword.MicroWakeWord]) -> None:
        self._features = pymicro_wakeword.MicroWakeWordFeatures()
        self._models = models
        self._flush()

    def score(self, frame: bytes) -> Mapping[str, float]:
        best: dict[str, float] = {}
        for features in self._features.process_streaming(frame):
            for name, model in self._models.items():
                score = model.process_streaming_prob(features)
                if score is not None:
                    best[name] = max(best.get(name, 0.0), float(score))
        return best

    def reset(self) -> None:
        self._flush()

    def _flush(self) -> None:
        # A model's own reset() opens its file again, which may be gone or damaged by now and would then crash us.
        # Silence does the same, in 2 ms a word, and fills the window of scores, so that a word at the start is heard.
        self._features.reset()
        for _ in range(_FLUSH_FRAMES):
            self.score(bytes(FRAME_BYTES))


class _Micro(BaseModel):
    probability_cutoff: float = Field(gt=0, lt=1)
    sliding_window_size: int = Field(ge=1, le=100)
    feature_step_size: Literal[10] = 10


class _Description(BaseModel):
    """What of ESPHome's JSON file counts here."""

    wake_word: str = Field(min_length=1, max_length=100)
    trained_languages: list[str] = Field(default_factory=lambda: ["en"])
    micro: _Micro


def _described(path: Path) -> _Model:
    """A model and what its JSON file says. ModelError for one that cannot be used."""
    try:
        description = _Description.model_validate_json(path.with_suffix(".json").read_bytes())
    except OSError as error:
        raise ModelError(f"its .json cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"its .json does not describe a microWakeWord model ({where or 'JSON'}: {first['msg']})"
        ) from None
    phrase = phrase_of("_".join(description.wake_word.lower().split()))
    micro = description.micro
    word = WakeWord(path.stem, phrase, tuple(description.trained_languages), micro.probability_cutoff)
    return _Model(path, word, micro.sliding_window_size)


def _is_wake_word(lib: ctypes.CDLL, path: Path) -> bool:
    """Whether the file turns some steps of features, 1 x n x 40 bytes, into one score of a byte."""

    def fits(features: Tensor, score: Tensor) -> bool:
        shape = shape_of(lib, features)
        return (
            len(shape) == 3
            and 1 <= shape[1] <= _LONGEST_STRIDE
            and shape[2] == _FEATURES
            and {lib.TfLiteTensorType(features), lib.TfLiteTensorType(score)} <= _QUANTIZED
            and lib.TfLiteTensorByteSize(score) == 1
        )

    return holds_model(lib, path, fits)
