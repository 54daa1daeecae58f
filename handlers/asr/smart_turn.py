"""Whether a speaker has finished, from the sound: pipecat's Smart Turn v3.2 on ONNX Runtime.

A Whisper encoder with one output, trained on pauses of many languages. It hears what the words do not say: the pitch
and the lengthening with which people hold the floor. About 25 ms on one core.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handlers.audio import RATE, to_float
from handlers.cpu import Cpu, Ticket
from handlers.errors import EngineError, MissingExtraError, ModelError
from handlers.models.catalogue import PackageFile
from handlers.models.integrity import sha256_of
from handlers.models.packages import find_package_file
from handlers.workers import Workers

try:
    import onnxruntime
    from faster_whisper.feature_extractor import FeatureExtractor
except ImportError:
    raise MissingExtraError("The turn detector", "server") from None

_LOGGER = logging.getLogger(__name__)

WEIGHTS = PackageFile(
    "pipecat",
    "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
    8_679_182,
    "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
)
"""Inside the wheel of `pipecat-ai` (BSD-2), of which nothing else is used."""

_SAMPLES = 8 * RATE
"""What the network sees: the last 8 s, shorter audio with zeros in front."""

_VARIANCE_FLOOR = 1e-7
"""Of Whisper's feature extractor; keeps silence from a division by zero."""

_THREADS = 2
"""Detections at the same time; the processor's slots are what limits them."""


def load_smart_turn(cpu: Cpu) -> SmartTurn | None:
    """The installed turn detector, or None where there is none: ends are then decided by words and silence alone."""
    path = find_package_file(WEIGHTS)
    if path is None:
        _LOGGER.info("Smart Turn is not installed (extra 'models'): words and silence alone decide when a turn ends")
        return None
    if sha256_of(path) != WEIGHTS.sha256:
        _LOGGER.warning("%s is not the file that Meadowlark knows and is not used: reinstall pipecat-ai", path)
        return None
    return SmartTurn(path, cpu)


class SmartTurn:
    """The loaded network. Making one blocks for a tenth of a second."""

    def __init__(self, path: Path, cpu: Cpu) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a slot of the processor is one core
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise ModelError(f"The turn detector in {path} cannot be loaded: {error}") from error
        self._mel = FeatureExtractor(chunk_length=8)
        self._cpu = cpu
        self._workers = Workers("smart-turn", _THREADS)
        self._run(bytes(RATE))  # the first call allocates

    async def complete(self, pcm: bytes, ticket: Ticket) -> float:
        """Probability that a speaker who falls silent at the end of `pcm`, internal audio, has finished.

        Raises BusyError when the processor is too busy for the ticket's urgency.
        """
        async with self._cpu.slot(ticket):
            return await self._workers.run(lambda: self._run(pcm))

    async def close(self) -> None:
        """Let running work end."""
        await self._workers.close()

    def _run(self, pcm: bytes) -> float:
        try:
            (probabilities,) = self._session.run(None, {"input_features": self._features(pcm)[np.newaxis]})
        except Exception as error:  # as above
            raise EngineError(f"The turn detector failed: {error}") from error
        return float(probabilities.reshape(-1)[0])

    def _features(self, pcm: bytes) -> npt.NDArray[np.float32]:
        """Log-mel features (80, 800) of the normalised waveform, as the network was trained on."""
        samples = to_float(pcm)[-_SAMPLES:]
        samples = np.pad(samples, (_SAMPLES - len(samples), 0))
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + _VARIANCE_FLOOR)
        features: npt.NDArray[np.float32] = self._mel(samples, padding=0).astype(np.float32)
        return features
