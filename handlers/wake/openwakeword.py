"""Wake words by openWakeWord's models, run by `pyopen-wakeword` (a TFLite library inside a wheel, no ONNX).

The package runs them without the library's fast kernels; where it has them we turn them on.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from handlers.errors import MissingExtraError, ModelError
from handlers.wake.folder import model_files, require_present
from handlers.wake.scoring import FRAME_BYTES, ScoreDetector
from handlers.wake.stage import Detector, WakeWord, phrase_of, require_words
from handlers.wake.tflite import Tensor, hand_to_xnnpack, has_xnnpack, holds_model, shape_of

try:
    import pyopen_wakeword
except ImportError:
    raise MissingExtraError("The wake word engine", "satellite") from None

_LOGGER = logging.getLogger(__name__)

_THRESHOLD = 0.5
"""openWakeWord's models were trained for it."""

_FEATURES = 96
_FLOAT_BYTES = 4

_Part = TypeVar("_Part", bound=pyopen_wakeword.OpenWakeWord | pyopen_wakeword.OpenWakeWordFeatures)

_SHARED_MODELS = {"melspectrogram", "embedding_model"}
"""Feature models that lie beside the wake words and are none themselves."""


class OpenWakeWordEngine:
    """The words inside the `pyopen-wakeword` package, plus those of folders: `*.tflite` without a `.json`."""

    def __init__(self, *folders: Path | None) -> None:
        built_in = sorted((Path(pyopen_wakeword.__file__).parent / "models").glob("*.tflite"))
        self._paths = {path.stem: path for path in _wake_words(built_in)}
        own = _usable(_wake_words(model_files(*folders).alone))
        self.own = frozenset(path.stem for path in own)
        """Names of the words that come from a folder."""
        self._paths |= {path.stem: path for path in own}
        if not self._paths:
            raise ModelError("The package pyopen-wakeword has no wake words in it: install it again")

    @property
    def words(self) -> Mapping[str, WakeWord]:
        return {name: WakeWord(name, phrase_of(name), ("en",), _THRESHOLD) for name in sorted(self._paths)}

    def word(self, name: str) -> WakeWord:
        require_words([name], self._paths)
        return self.words[name]

    def scorer(self, names: Mapping[str, str]) -> OpenWakeWordScorer:
        """Scores of words, `names` from installed to reported ones."""
        require_words(names, self._paths)
        require_present(path for name, path in self._paths.items() if name in names and name in self.own)
        return OpenWakeWordScorer({names[name]: self._paths[name] for name in names})

    def detector(self, thresholds: Mapping[str, float], refractory_seconds: float = 2.0) -> Detector:
        return ScoreDetector([self.scorer({name: name for name in thresholds})], thresholds, refractory_seconds)


class OpenWakeWordScorer:
    """One audio stream. The features, nearly all of the work, are computed once and shared by all words."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._ending = contextlib.ExitStack()
        self._features = _fast(pyopen_wakeword.OpenWakeWordFeatures.from_builtin, ("mel_", "emb_"), self._ending)
        self._models = {
            name: _fast(functools.partial(pyopen_wakeword.OpenWakeWord.from_model, path), ("",), self._ending)
            for name, path in paths.items()
        }
        self._start()

    def __del__(self) -> None:
        self._ending.close()

    def score(self, frame: bytes) -> Mapping[str, float]:
        best: dict[str, float] = {}
        for embeddings in self._features.process_streaming(frame):
            for name, model in self._models.items():
                for score in model.process_streaming(embeddings):
                    best[name] = max(best.get(name, 0.0), float(score))
        return best

    def reset(self) -> None:
        self._features.reset()
        for model in self._models.values():
            model.reset()
        self._start()

    def _start(self) -> None:
        # A fresh feature extractor first works through 8 s of its own silence; not while somebody speaks.
        self.score(bytes(FRAME_BYTES))


def _fast(make: Callable[[], _Part], prefixes: Sequence[str], ending: contextlib.ExitStack) -> _Part:
    """A part of the package, with its interpreters (of which the attributes begin with `prefixes`) handed to XNNPACK:
    the same scores for a sixth of the processor time. `ending` closes it. Where something is not as we know it, it is
    as the package makes it."""
    part = make()
    if not has_xnnpack(part.lib):
        return part
    try:
        close = part.close
        handed = all(_hand_over(part, prefix, ending) for prefix in prefixes)
    except (AttributeError, RuntimeError, ctypes.ArgumentError):  # the package's attributes have changed
        handed = False
    if not handed:
        _LOGGER.debug("pyopen-wakeword goes without XNNPACK")
        return make()
    ending.callback(close)
    return part


def _hand_over(part: _Part, prefix: str, ending: contextlib.ExitStack) -> bool:
    """Whether one of its interpreters now uses XNNPACK."""
    interpreter = getattr(part, f"{prefix}interpreter")
    known = hasattr(part, f"{prefix}input_tensor") and hasattr(part, f"{prefix}output_tensor")
    if not known or not hand_to_xnnpack(part.lib, interpreter, ending):
        return False
    setattr(part, f"{prefix}input_tensor", part.lib.TfLiteInterpreterGetInputTensor(interpreter, 0))
    setattr(part, f"{prefix}output_tensor", part.lib.TfLiteInterpreterGetOutputTensor(interpreter, 0))
    return True


def _usable(paths: Sequence[Path]) -> list[Path]:
    """The files that hold a wake word. TensorFlow Lite answers a damaged one with NULL, which would crash us later."""
    if not paths:
        return []
    lib = pyopen_wakeword.OpenWakeWordFeatures.from_builtin().lib
    usable = []
    for path in paths:
        if _is_wake_word(lib, path):
            usable.append(path)
        else:
            _LOGGER.warning(
                "%s is left out: it is damaged or no openWakeWord model (microWakeWord's need their .json beside "
                "them); fetch it again",
                path,
            )
    return usable


def _is_wake_word(lib: ctypes.CDLL, path: Path) -> bool:
    """Whether the file turns windows of features, 1 x n x 96, into one score."""

    def fits(features: Tensor, score: Tensor) -> bool:
        shape = shape_of(lib, features)
        return len(shape) == 3 and shape[2] == _FEATURES and lib.TfLiteTensorByteSize(score) == _FLOAT_BYTES

    return holds_model(lib, path, fits)


def _wake_words(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.stem not in _SHARED_MODELS]
