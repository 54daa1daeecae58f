"""Settings: who wins, and what a person is told about each mistake."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, SecretStr, field_validator, model_validator

from handlers.errors import SettingsError
from handlers.settings import Section, describe_settings, load_settings

SECRET = "hunter2-and-more"  # what no message may ever contain


class Word(Section):
    threshold: float = Field(0.5, gt=0, lt=1)
    """How sure the detector must be."""


class Asr(Section):
    model: str = "base"
    """Name of the Whisper model."""
    threads: Annotated[int, Field(ge=1, le=64)] | None = None
    """Threads of the transcriber; all cores when left out."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where it runs."""
    vad: bool = True
    languages: tuple[str, ...] = ("en",)


class Http(Section):
    bind: str = "127.0.0.1:10680"
    token: SecretStr | None = None

    @field_validator("token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < 8:
            raise ValueError(f"the token {token.get_secret_value()} is shorter than 8 characters")
        return token


class Wake(Section):
    words: dict[str, Word] = Field(default_factory=dict)


class Patience(Section):
    short: float = 0.2
    long: float = 0.8

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.short > self.long:
            raise ValueError("short must not be longer than long")
        return self


class Root(Section):
    asr: Asr = Asr()
    http: Http = Http()
    wake: Wake = Wake()
    patience: Patience = Patience()
    data_dir: Path = Path("data")
    """Where everything is kept."""


class Strict(Section):
    name: str
    asr: Asr = Asr()


def load(
    tmp_path: Path,
    yaml: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Root:
    file = None
    if yaml is not None:
        file = tmp_path / "home.yaml"
        file.write_text(yaml, encoding="utf-8")
    return load_settings(
        Root, flags=flags or {}, config_file=file, environ=environ or {}, flag_names={"asr.model": "--model"}
    )


def failure(tmp_path: Path, **given: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **given)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "a cause would print what was given"
    return str(caught.value)


def test_flags_beat_the_environment_beats_the_file_beats_the_defaults(tmp_path: Path) -> None:
    yaml = "asr:\n  model: file\n  threads: 2\n  device: cuda\ndata_dir: from-file\n"
    environ = {"MEADOWLARK_ASR__MODEL": "environment", "MEADOWLARK_ASR__THREADS": "3", "HOME": "/"}
    settings = load(tmp_path, yaml, environ, {"asr": {"model": "flag"}})
    assert (settings.asr.model, settings.asr.threads, settings.asr.device) == ("flag", 3, "cuda")
    assert settings.data_dir == Path("from-file")
    assert settings.http.bind == "127.0.0.1:10680"
    assert type(settings) is Root


def test_all_kinds_of_values_come_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "MEADOWLARK_ASR__LANGUAGES": "en, de",
        "MEADOWLARK_ASR__VAD": "false",
        "MEADOWLARK_HTTP": '{"token": "a long token"}',
        "MEADOWLARK_HTTP__BIND": "0.0.0.0:80",
        "MEADOWLARK_WAKE__WORDS__HEY_JARVIS__THRESHOLD": "0.7",
        "MEADOWLARK_ASR__MODEL": "",  # as a compose file passes on what is not set
    }
    settings = load(tmp_path, "wake: {words: {okay_nabu: {threshold: 0.4}}}", environ)
    assert settings.asr.languages == ("en", "de")
    assert settings.asr.vad is False
    assert settings.asr.model == "base"
    assert settings.http.token is not None
    assert settings.http.token.get_secret_value() == "a long token"
    assert settings.http.bind == "0.0.0.0:80"
    assert {word: value.threshold for word, value in settings.wake.words.items()} == {
        "okay_nabu": 0.4,
        "hey_jarvis": 0.7,
    }


def test_lists_are_also_read_as_json(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"MEADOWLARK_ASR__LANGUAGES": '["a, b"]'}).asr.languages == ("a, b",)


@pytest.mark.parametrize("yaml", ["", "# nothing\n", "asr:\n  # model: base\n", "---\n", "asr: {}\n"])
def test_a_file_with_nothing_in_it_is_fine(tmp_path: Path, yaml: str) -> None:
    assert load(tmp_path, yaml) == Root()


def test_words_that_yaml_takes_for_something_else_stay_words(tmp_path: Path) -> None:
    settings = load(tmp_path, "asr: {model: 2026-11-20, languages: [no, on, y], vad: off}")
    assert settings.asr.model == "2026-11-20"
    assert settings.asr.languages == ("no", "on", "y")
    assert settings.asr.vad is False


FILE_MISTAKES = [
    # the file; what the message must say
    ("asrr: {model: tiny}", ["home.yaml line 1: asrr", "no such key; did you mean asr?"]),
    ("asr:\n  modle: tiny", ["line 2: asr.modle = 'tiny'", "did you mean asr.model?"]),
    ("wake: {words: {a: {treshold: 0.1}}}", ["wake.words.a.treshold = '0.1'", "did you mean wake.words.a.threshold?"]),
    ("model: tiny", ["line 1: model = 'tiny'", "did you mean asr.model?"]),
    ("data-dir: /x", ["data-dir = '/x'", "did you mean data_dir?"]),
    ("zzzzzz: 1", ["zzzzzz = '1'", "there are asr, http, wake, patience, data_dir"]),
    ("asr: {zzzzzz: 1}", ["asr.zzzzzz = '1'", "there are asr.model, asr.threads"]),
    ("no: 1", ["line 1: no = '1'", "no such key"]),
    ("asr:\n\n  threads: many", ["line 3: asr.threads = 'many'", "must be a whole number from 1 to 64"]),
    ("asr: {threads: 65}", ["asr.threads = '65'", "must be a whole number from 1 to 64"]),
    ("asr: {threads: 1.5}", ["asr.threads = '1.5'", "must be a whole number from 1 to 64"]),
    ("wake: {words: {a: {threshold: 1}}}", ["wake.words.a.threshold = '1'", "greater than 0 and less than 1"]),
    ("asr: {device: cpuu}", ["asr.device = 'cpuu'", "must be 'cpu', 'cuda' or 'auto'", "did you mean 'cpu'?"]),
    ("asr: {device: CUDA}", ["asr.device = 'CUDA'", "did you mean 'cuda'?"]),
    ("asr: {vad: perhaps}", ["asr.vad = 'perhaps'", "must be true or false"]),
    ("asr: {model: true}", ["asr.model = 'true'", "must be text; put it in quotes"]),
    ("asr: {model: 1.50}", ["asr.model = '1.50'", "must be text; put it in quotes"]),
    ("patience: {zzzzz: 1}", ["patience.zzzzz = '1'", "there are patience.short, patience.long"]),
    ("asr: {model: }", ["asr.model", "is empty; it must be text, or leave the key out"]),
    ("asr: {model: {a: 1}}", ["asr.model = (a section)", "must be text"]),
    ("asr: tiny", ["line 1: asr = 'tiny'", "must be a section with the keys model, threads"]),
    ("asr: [tiny]", ["line 1: asr = (a list)", "must be a section with the keys model, threads"]),
    ("asr: {languages: en}", ["asr.languages = 'en'", "must be a list"]),
    ("asr:\n  languages:\n  - en\n  - [de]", ["line 4: asr.languages.1 = (a list)", "must be text"]),
    ("asr: {model: a}\nasr: {model: b}", ["home.yaml line 2: asr is given twice"]),
    ("asr: &x {model: *x}", ["asr.model = (a section)", "must be text"]),
    ("x: &x {short: 2}\npatience: {<<: *x}", ["line 1: x = (a section)", "line 2: patience = (a section): short must"]),
    ("patience: {short: 2}", ["line 1: patience = (a section): short must not be longer than long"]),
]


@pytest.mark.parametrize(("yaml", "said"), FILE_MISTAKES, ids=[yaml for yaml, _ in FILE_MISTAKES])
def test_mistakes_in_the_file_name_line_key_value_and_what_would_do(tmp_path: Path, yaml: str, said: list[str]) -> None:
    message = failure(tmp_path, yaml=yaml)
    for words in said:
        assert words in message
    assert message.count("home.yaml") == message.count("\n") or "\n" not in message, "one problem is one line"


NO_FILES = [
    ("asr: {model: a", "column 15: not valid YAML: while parsing a flow mapping, expected ',' or '}', but got"),
    ("asr:\n  model: a\n threads: 1", "line 3, column 2: not valid YAML: "),
    ("asr: *hunter2-and-more", "not valid YAML: found undefined alias"),
    ("a: 1\n---\nb: 1", "line 2, column 1: not valid YAML: "),
    ("a: \x07", "not valid YAML"),
    ("- asr", "must hold keys with values"),
    ("just text", "must hold keys with values"),
    ("asr: {model: " + "9" * 5000 + "}", "put quotes around"),
    ("asr: !!python/object:os.system {}", "not valid YAML"),
    ("? [a, b]\n: 1", "not valid YAML"),
    ("[" * 5000, "nested too deeply"),
    ("# " + "x" * 1024 * 1024, "larger than 1024 KiB"),
]


@pytest.mark.parametrize(("yaml", "said"), NO_FILES, ids=[said for _, said in NO_FILES])
def test_what_is_no_settings_file(tmp_path: Path, yaml: str, said: str) -> None:
    message = failure(tmp_path, yaml=yaml)
    assert message.startswith(f"settings file {tmp_path / 'home.yaml'}")
    assert said in message
    assert SECRET not in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    def complaint(path: Path) -> str:
        with pytest.raises(SettingsError) as caught:
            load_settings(Root, flags={}, config_file=path, environ={})
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert "there is no such file" in complaint(tmp_path / "missing.yaml")
    assert "this is a folder, not a file" in complaint(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9")
    assert "is not UTF-8 text (byte 5)" in complaint(tmp_path / "latin.yaml")
    (tmp_path / "file").touch()
    assert "cannot be read" in complaint(tmp_path / "file" / "below.yaml")
    os.mkfifo(tmp_path / "pipe")
    assert "this is not a file" in complaint(tmp_path / "pipe")  # and does not wait for a writer


ENVIRONMENT_MISTAKES = [
    ("MEADOWLARK_ASR__MODLE", "tiny", ["asr.modle = 'tiny'", "no such variable; did you mean MEADOWLARK_ASR__MODEL?"]),
    ("MEADOWLARK_ASR_MODEL", "tiny", ["'tiny'", "no such variable; did you mean MEADOWLARK_ASR__MODEL?"]),
    ("MEADOWLARK_ASRR__MODEL", "tiny", ["'tiny'", "did you mean MEADOWLARK_ASR__MODEL?"]),
    ("MEADOWLARK_MODEL", "tiny", ["'tiny'", "did you mean MEADOWLARK_ASR__MODEL?"]),
    ("MEADOWLARK_DATADIR", "/x", ["'/x'", "did you mean MEADOWLARK_DATA_DIR?"]),
    ("MEADOWLARK_PATIENCE__MAX", "1", ["patience.max = '1'", "there are MEADOWLARK_PATIENCE__SHORT"]),
    ("MEADOWLARK_QQQQQQ", "1", ["'1'", "there are MEADOWLARK_ASR, MEADOWLARK_HTTP"]),
    ("MEADOWLARK_QQQQQQ", "", ["no such variable"]),
    ("MEADOWLARK_", "1", ["no such variable"]),
    ("MEADOWLARK_ASR__", "1", ["no such variable"]),
    ("MEADOWLARK_ASR__MODEL__NAME", "tiny", ["asr.model = (a section)", "must be text"]),
    ("MEADOWLARK_ASR__THREADS", "many", ["asr.threads = 'many'", "must be a whole number from 1 to 64"]),
    ("MEADOWLARK_ASR__THREADS", "0", ["asr.threads = '0'", "must be a whole number from 1 to 64"]),
    ("MEADOWLARK_ASR__DEVICE", "gpu", ["asr.device = 'gpu'", "must be 'cpu', 'cuda' or 'auto'"]),
    ("MEADOWLARK_ASR", "tiny", ["asr = 'tiny'", "must be a section with the keys model, threads"]),
    ("MEADOWLARK_ASR", '{"threads": "x"}', ["asr.threads = 'x'", "must be a whole number"]),
    ("MEADOWLARK_ASR__LANGUAGES", "[en", ["asr.languages = '[en'", "must be a list"]),
    ("MEADOWLARK_WAKE__WORDS__A__THRESHOLD", "2", ["wake.words.a.threshold = '2'", "less than 1"]),
    ("MEADOWLARK_ASR__MODLE_FILE", "/x", ["asr.modle_file = '/x'", "did you mean MEADOWLARK_ASR__MODEL?"]),
]


@pytest.mark.parametrize(("name", "value", "said"), ENVIRONMENT_MISTAKES)
def test_mistakes_in_the_environment_name_variable_value_and_what_would_do(
    tmp_path: Path, name: str, value: str, said: list[str]
) -> None:
    message = failure(tmp_path, environ={name: value})
    assert message.startswith(f"environment variable {name}")
    for words in said:
        assert words in message
    assert "\n" not in message


def test_a_check_of_several_keys_names_their_section(tmp_path: Path) -> None:
    message = failure(tmp_path, environ={"MEADOWLARK_PATIENCE__SHORT": "2"}, flags={"patience": {}})
    variable = "environment variable MEADOWLARK_PATIENCE__SHORT"
    assert message == f"{variable}: patience = (a section): short must not be longer than long"


def test_flags_are_called_by_their_names(tmp_path: Path) -> None:
    message = failure(tmp_path, flags={"asr": {"model": 5, "threads": "lots"}})
    assert message.splitlines() == [
        "2 settings cannot be used:",
        "  flag --model: asr.model = '5': must be text; put it in quotes",
        "  flag --asr-threads: asr.threads = 'lots': must be a whole number from 1 to 64",
    ]


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    message = failure(
        tmp_path,
        yaml="asr: {modle: a, device: gpu, threads: none of your business}\nhtp: {}",
        environ={"MEADOWLARK_ASR__THREADS": "0", "MEADOWLARK_HTPP": "x"},
        flags={"data_dir": 5},
    )
    assert message.splitlines()[0] == "6 settings cannot be used:"
    for words in ("asr.modle", "asr.device", "MEADOWLARK_ASR__THREADS", "htp", "MEADOWLARK_HTPP", "--data-dir"):
        assert words in message
    assert "business" not in message, "the environment's value replaced it"


def test_a_missing_value_says_where_to_put_it() -> None:
    with pytest.raises(SettingsError, match=r"^name is missing; set it in the settings file or as MEADOWLARK_NAME$"):
        load_settings(Strict, flags={}, config_file=None, environ={})


def test_variables_of_the_other_program_and_of_the_scripts_are_left_alone() -> None:
    environ = {
        "MEADOWLARK_MIC__NAME": "usb",
        "MEADOWLARK_WAKE__COOLDOWN": "2",
        "MEADOWLARK_PYTHON": "/usr/bin/python3",
        "MEADOWLARKS": "birds",
    }
    settings = load_settings(Root, flags={}, config_file=None, environ=environ, foreign=["mic", "wake.cooldown"])
    assert settings == Root()
    with pytest.raises(SettingsError, match="MEADOWLARK_WAKE__COOLDOWN"):
        load_settings(Root, flags={}, config_file=None, environ=environ, foreign=["mic"])


def test_a_value_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET + "\n")
    settings = load(tmp_path, environ={"MEADOWLARK_HTTP__TOKEN_FILE": str(tmp_path / "token")})
    assert settings.http.token is not None
    assert settings.http.token.get_secret_value() == SECRET


def test_a_value_from_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    variable = "MEADOWLARK_HTTP__TOKEN_FILE"
    both = failure(tmp_path, environ={variable: str(token), "MEADOWLARK_HTTP__TOKEN": SECRET + "!"})
    assert both == f"environment variables MEADOWLARK_HTTP__TOKEN and {variable} are both set; keep one of them"
    missing = failure(tmp_path, environ={variable: str(tmp_path / "nowhere")})
    assert missing == f"environment variable {variable} = '{tmp_path / 'nowhere'}': there is no such file"
    assert "folder" in failure(tmp_path, environ={variable: str(tmp_path)})
    token.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in failure(tmp_path, environ={variable: str(token)})
    token.write_text("x" * 70_000)
    assert "larger than 64 KiB" in failure(tmp_path, environ={variable: str(token)})
    token.write_text("many\n")
    wrong = failure(tmp_path, environ={"MEADOWLARK_ASR__THREADS_FILE": str(token)})
    assert wrong.startswith("environment variable MEADOWLARK_ASR__THREADS_FILE: asr.threads = 'many': must be")


@pytest.mark.parametrize(
    "given",
    [
        {"yaml": f"http: {{token: [{SECRET}]}}"},
        {"yaml": f"http: {SECRET}"},
        {"yaml": f"http: [{SECRET}]"},
        {"yaml": f"http: {{tokne: {SECRET}}}"},
        {"yaml": f"htpp: {{token: {SECRET}}}"},
        {"yaml": f"api_key: {SECRET}"},
        {"yaml": f"http: {{token: {SECRET}, token: {SECRET}x}}"},
        {"yaml": f"http: {{token: {SECRET}"},
        {"yaml": f"http:\n  token: %{SECRET}"},
        {"environ": {"MEADOWLARK_HTTP": SECRET}},
        {"environ": {"MEADOWLARK_HTTP": f'{{"token": ["{SECRET}"]}}'}},
        {"environ": {"MEADOWLARK_TOKEN": SECRET}},
        {"environ": {"MEADOWLARK_HTTP_TOKEN": SECRET}},
        {"environ": {"MEADOWLARK_HTTP__TOKEN__X": SECRET}},
        {"environ": {"MEADOWLARK_HTTP__TOKEN": SECRET[:7]}},
        {"flags": {"http": {"token": {"x": SECRET}}}},
    ],
    ids=str,
)
def test_secrets_are_never_repeated(tmp_path: Path, given: dict[str, object]) -> None:
    assert SECRET[:7] not in failure(tmp_path, **given)


def test_the_help_lists_every_key_with_what_it_takes() -> None:
    text = describe_settings(Root)
    assert "asr.model: text, default 'base'\n    Name of the Whisper model." in text
    assert "asr.threads: a whole number from 1 to 64\n" in text
    assert "asr.device: 'cpu', 'cuda' or 'auto', default 'cpu'" in text
    assert "http.token: text\n" in text
    assert "data_dir: a path, default 'data'\n    Where everything is kept." in text
