"""Text to speech by Piper."""

from __future__ import annotations

import asyncio
import difflib
import json
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from handlers import language as languages
from handlers.audio import AudioFormat, from_float
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import EngineError, MissingExtraError, ModelError, RequestError
from handlers.tts.stage import TtsSettings, Voice, VoiceChoice, pieces
from handlers.workers import Workers, usable_cores

try:
    import onnxruntime
    from piper import PiperVoice, SynthesisConfig
    from piper.config import PiperConfig
except ImportError:
    raise MissingExtraError("Text to speech", "server") from None

_WAITING = 1024
"""Texts and sentences that may wait for a thread; as many as may wait for the processor."""

_SILENCE = 1e-8
"""A peak that is no sound; as in Piper."""

_DEFAULT_THREADS = 1
"""ONNX threads; the reason is beside the setting."""


class PiperSynthesizer:
    """The Piper voices of some files. Making one loads the default voice and blocks for about a second."""

    def __init__(self, paths: Mapping[str, Path], settings: TtsSettings, cpu: Cpu) -> None:
        """`paths` maps voice names to .onnx files, each with its .onnx.json beside it; the default voice is first.

        Each sentence takes a slot of `cpu`.
        """
        self._settings = settings
        self._cpu = cpu
        configs = {name: _config(path) for name, path in paths.items()}
        self._voices = {name: _describe(name, config) for name, config in configs.items()}
        self._formats = {name: AudioFormat(config.audio.sample_rate) for name, config in configs.items()}
        self._paths = dict(paths)
        self._loaded: OrderedDict[str, PiperVoice] = OrderedDict()
        self._loading = threading.Lock()
        self._workers = Workers("piper", settings.workers or max(1, usable_cores() // _threads(settings)), _WAITING)
        # Phonemes take a fraction of a millisecond, and must not wait behind sentences to enter the processor's queue.
        self._reader = Workers("piper-phonemes", 1, _WAITING)
        first = self._utterance("Ready.", self.choose())
        for sentence in first.sentences:  # the first sentence allocates, and takes ten times as long
            first.speak(sentence)

    @property
    def voices(self) -> list[Voice]:
        return list(self._voices.values())

    def choose(self, name: str | None = None, language: str | None = None, speaker: str | None = None) -> VoiceChoice:
        voice = self._by_name(name) if name else self._by_language(language) if language else self.voices[0]
        if speaker is not None and speaker not in voice.speakers:
            known = ", ".join(voice.speakers) or "it has only one"
            raise RequestError("unknown-speaker", f"The voice '{voice.name}' has no speaker '{speaker}': {known}")
        return VoiceChoice(voice, speaker)

    def format(self, choice: VoiceChoice) -> AudioFormat:
        return self._formats[choice.voice.name]

    async def synthesize(
        self, text: str, choice: VoiceChoice, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        ticket = ticket or Ticket(Urgency.VOICE)
        utterance = await self._reader.run(lambda: self._utterance(text, choice))
        try:
            # One at a time, so that a listener who takes his time holds no worker that others wait for.
            for sentence in utterance.sentences:
                async with self._cpu.slot(ticket):
                    pcm = await self._workers.run(lambda sentence=sentence: utterance.speak(sentence))  # type: ignore[misc]
                for piece in pieces(pcm):
                    yield piece
        finally:
            utterance.stop()

    async def close(self) -> None:
        await asyncio.gather(self._reader.close(), self._workers.close())

    def _by_name(self, name: str) -> Voice:
        if name not in self._voices:
            near = difflib.get_close_matches(name, self._voices, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise RequestError("unknown-voice", f"No voice '{name}': {hint}installed are {', '.join(self._voices)}")
        return self._voices[name]

    def _by_language(self, tag: str) -> Voice:
        spoken = languages.require(tag, [language for v in self.voices for language in v.languages], "No voice")
        return next(voice for voice in self.voices if spoken in voice.languages)

    def _utterance(self, text: str, choice: VoiceChoice) -> _Utterance:
        voice = self._load(choice.voice.name)
        config = SynthesisConfig(
            speaker_id=voice.config.speaker_id_map.get(choice.speaker) if choice.speaker else None,
            length_scale=voice.config.length_scale / self._settings.speed,
        )
        try:
            sentences = [phonemes for phonemes in voice.phonemize(text.replace("\0", " ")) if phonemes]  # no NUL
        except Exception as error:  # Piper's errors share no class
            raise EngineError(f"Piper cannot read a text of {len(text)} characters: {error}") from error
        return _Utterance(voice, config, sentences)

    def _load(self, name: str) -> PiperVoice:
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = _load(self._paths[name], self._settings)
                if len(self._loaded) > self._settings.loaded_voices:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]


class _Utterance:
    """A text on its way to sound. Its methods block."""

    def __init__(self, voice: PiperVoice, config: SynthesisConfig, sentences: Sequence[Sequence[str]]) -> None:
        """`sentences` are lists of phonemes."""
        self.sentences = sentences
        self._options = onnxruntime.RunOptions()
        self._voice = replace(voice, session=_StoppableSession(voice.session, self._options))
        self._config = config

    def speak(self, sentence: Sequence[str]) -> bytes:
        """One sentence as s16le, as loud as can be, as Piper's own `synthesize` makes it."""
        try:
            ids = self._voice.phonemes_to_ids(list(sentence))
            audio = self._voice.phoneme_ids_to_audio(ids, self._config)
        except Exception as error:  # ONNX Runtime's errors share no class
            raise EngineError(f"Piper failed on a sentence of {len(sentence)} phonemes: {error}") from error
        samples: npt.NDArray[np.float32] = np.atleast_1d(audio[0] if isinstance(audio, tuple) else audio)
        peak = float(np.abs(samples).max(initial=0.0))
        return from_float(samples / peak if peak > _SILENCE else np.zeros_like(samples))

    def stop(self) -> None:
        """End `speak` within milliseconds where it runs now; nobody listens any more."""
        self._options.terminate = True


@dataclass(frozen=True)
class _StoppableSession:
    """What PiperVoice calls of an ONNX session, but with options by which a run can be ended."""

    session: onnxruntime.InferenceSession
    options: onnxruntime.RunOptions

    def run(
        self, outputs: Sequence[str] | None, inputs: Mapping[str, npt.NDArray[np.generic]]
    ) -> Sequence[npt.NDArray[np.generic]]:
        results: Sequence[npt.NDArray[np.generic]] = self.session.run(outputs, inputs, self.options)
        return results


class _Audio(BaseModel):
    sample_rate: int


class _Language(BaseModel):
    code: str = ""


class _Espeak(BaseModel):
    voice: str = ""


class _VoiceFile(BaseModel):
    """What we read ourselves of a voice's .onnx.json."""

    audio: _Audio
    language: _Language = _Language()
    espeak: _Espeak = _Espeak()
    speaker_id_map: dict[str, int] = {}


def _load(path: Path, settings: TtsSettings) -> PiperVoice:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads(settings)
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
        config = json.loads(_config_path(path).read_text(encoding="utf-8"))
        return PiperVoice(session=session, config=PiperConfig.from_dict(config))
    except Exception as error:  # ONNX Runtime's errors share no class
        raise ModelError(f"The voice {path} cannot be loaded ({error}): put a whole Piper .onnx file there") from error


def _threads(settings: TtsSettings) -> int:
    return settings.threads or _DEFAULT_THREADS


def _describe(name: str, config: _VoiceFile) -> Voice:
    tag = config.language.code or config.espeak.voice or "en"
    return Voice(name, (languages.normalize(tag),), tuple(config.speaker_id_map))


def _config(path: Path) -> _VoiceFile:
    file = _config_path(path)
    try:
        return _VoiceFile.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ModelError(
            f"The voice settings {file} cannot be read ({error.strerror}): put the voice's .onnx.json there"
        ) from error
    except ValidationError:
        raise ModelError(f"The voice settings {file} are not those of a Piper voice: fetch them again") from None


def _config_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")
