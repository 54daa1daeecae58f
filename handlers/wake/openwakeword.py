"""Wake words by openWakeWord's models, run by `pyopen-wakeword` (a TFLite library inside a wheel, no ONNX)."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from pathlib import Path

from handlers.audio import BYTES_PER_SECOND, RATE
from handlers.errors import MissingExtraError, ModelError
from handlers.wake.stage import Detection, Detector, WakeWord, phrase_of, require_words

try:
    import pyopen_wakeword
except ImportError:
    raise MissingExtraError("The wake word engine", "satellite") from None

_LOGGER = logging.getLogger(__name__)

_FRAME_SAMPLES = 1280
"""openWakeWord scores once every 80 ms."""

_FEATURES = 96
_FLOAT_BYTES = 4

_SHARED_MODELS = {"melspectrogram", "embedding_model"}
"""Feature models that lie beside the wake words and are none themselves."""


class OpenWakeWordEngine:
    """The words inside the `pyopen-wakeword` package, plus the wake words among the `*.tflite` files of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._paths = {path.stem: path for path in _models_in(Path(pyopen_wakeword.__file__).parent / "models")}
        if folder is not None and folder.is_dir():
            self._paths |= {path.stem: path for path in _usable(_models_in(folder))}
        if not self._paths:
            raise ModelError("The package pyopen-wakeword has no wake words in it: install it again")

    @property
    def words(self) -> Mapping[str, WakeWord]:
        return {name: WakeWord(name, phrase_of(name), ("en",)) for name in sorted(self._paths)}

    def detector(self, thresholds: Mapping[str, float], refractory_seconds: float = 2.0) -> Detector:
        require_words(thresholds, self._paths)
        return _Detector({name: (self._paths[name], level) for name, level in thresholds.items()}, refractory_seconds)


class _Detector:
    """One audio stream. The features are computed once and shared by all words."""

    def __init__(self, words: Mapping[str, tuple[Path, float]], refractory_seconds: float) -> None:
        self._features = pyopen_wakeword.OpenWakeWordFeatures.from_builtin()
        self._models = {name: pyopen_wakeword.OpenWakeWord.from_model(path) for name, (path, _) in words.items()}
        self._thresholds = {name: threshold for name, (_, threshold) in words.items()}
        self._refractory_bytes = int(refractory_seconds * BYTES_PER_SECOND)
        self._pending = b""
        self._heard_bytes = 0
        self._deaf_until: dict[str, int] = {}
        self._above: set[str] = set()
        self._start()

    def process(self, pcm: bytes) -> list[Detection]:
        detections = []
        self._pending += pcm
        frame_bytes = _FRAME_SAMPLES * 2
        while len(self._pending) >= frame_bytes:
            frame, self._pending = self._pending[:frame_bytes], self._pending[frame_bytes:]
            self._heard_bytes += frame_bytes
            detections += self._score(frame)
        return detections

    def reset(self) -> None:
        self._features.reset()
        for model in self._models.values():
            model.reset()
        self._start()

    def _start(self) -> None:
        self._pending = b""
        self._heard_bytes = 0
        self._deaf_until = dict.fromkeys(self._models, 0)
        self._above = set()
        # A fresh feature extractor first works through 8 s of its own silence; not while somebody speaks.
        for embeddings in self._features.process_streaming(bytes(_FRAME_SAMPLES * 2)):
            for model in self._models.values():
                list(model.process_streaming(embeddings))

    def _score(self, frame: bytes) -> list[Detection]:
        best: dict[str, float] = {}
        for embeddings in self._features.process_streaming(frame):
            for name, model in self._models.items():
                for score in model.process_streaming(embeddings):
                    best[name] = max(best.get(name, 0.0), float(score))
        heard = []
        for name, score in best.items():
            if score < self._thresholds[name]:
                self._above.discard(name)
                continue
            # Only a score that rises is a word: it stays high for a second, which may be longer than we are deaf.
            rises = name not in self._above
            self._above.add(name)
            if rises and self._heard_bytes >= self._deaf_until[name]:
                self._deaf_until[name] = self._heard_bytes + self._refractory_bytes
                heard.append(Detection(name, score, self._heard_bytes / 2 / RATE))
        return heard


def _usable(paths: list[Path]) -> list[Path]:
    """The files that hold a wake word. TensorFlow Lite answers a damaged one with NULL, which would crash us later."""
    if not paths:
        return []
    lib = pyopen_wakeword.OpenWakeWordFeatures.from_builtin().lib
    usable = []
    for path in paths:
        if _is_wake_word(lib, path):
            usable.append(path)
        else:
            _LOGGER.warning("%s is left out: it is damaged or no openWakeWord model; fetch it again", path)
    return usable


def _is_wake_word(lib: ctypes.CDLL, path: Path) -> bool:
    """Whether the file turns windows of features, 1 x n x 96, into one score."""
    model = lib.TfLiteModelCreateFromFile(str(path).encode())
    if not model:
        return False
    interpreter = lib.TfLiteInterpreterCreate(model, None)
    try:
        if not interpreter or lib.TfLiteInterpreterAllocateTensors(interpreter) != 0:
            return False
        features = lib.TfLiteInterpreterGetInputTensor(interpreter, 0)
        score = lib.TfLiteInterpreterGetOutputTensor(interpreter, 0)
        shape = [lib.TfLiteTensorDim(features, axis) for axis in range(lib.TfLiteTensorNumDims(features))]
        return len(shape) == 3 and shape[2] == _FEATURES and lib.TfLiteTensorByteSize(score) == _FLOAT_BYTES
    except RuntimeError:  # it has no input or no output
        return False
    finally:
        if interpreter:
            lib.TfLiteInterpreterDelete(interpreter)
        lib.TfLiteModelDelete(model)


def _models_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.tflite")) if path.stem not in _SHARED_MODELS]
