"""What all tests share: one model cache, speech made at test time, engines that are loaded once, a server process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.asr.silero import Silero
from handlers.asr.stage import AsrSettings
from handlers.asr.whisper import WhisperTranscriber
from handlers.cpu import Cpu
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.tts.piper import PiperSynthesizer
from handlers.tts.stage import TtsSettings
from handlers.workers import usable_cores
from tests.support.server import ServerProcess, own_data
from tests.support.speech import Speaker

_ROOT = Path(__file__).parent.parent

collect_ignore = ["custom_components", "e2e"]
"""Suites of their own, in Home Assistant's environments: script/test runs them."""


def pytest_configure(config: pytest.Config) -> None:
    """No test may depend on settings or a proxy of the machine that runs it."""
    for name in [name for name in os.environ if name.startswith("MEADOWLARK_") and name != "MEADOWLARK_TEST_STRICT"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """A data folder that is kept between runs, so that the Whisper model is joined once."""
    folder = _ROOT / ".cache" / "test-data"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def store(data_dir: Path) -> ModelStore:
    return ModelStore(data_dir, offline=True)


@pytest.fixture(scope="session")
def speaker() -> Speaker:
    """Says any text with the Piper voice from the package registry; the same text always sounds the same."""
    return Speaker()


@pytest.fixture(scope="session")
def silero() -> Silero:
    return Silero()


@pytest.fixture(scope="session")
def whisper(store: ModelStore) -> WhisperTranscriber:
    return WhisperTranscriber(store.locate("whisper-base", ModelKind.ASR), "whisper-base", AsrSettings(), Cpu(2))


@pytest.fixture(scope="session")
def piper(store: ModelStore) -> PiperSynthesizer:
    path = store.locate("en_US-joe-medium", ModelKind.TTS)
    return PiperSynthesizer({"en_US-joe-medium": path}, TtsSettings(), Cpu(usable_cores()))


@pytest.fixture(scope="session")
def server(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real `meadowlark-server` on free ports, shared by all tests that only talk to it."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, ["--data-dir", str(own_data(folder, data_dir))]) as process:
        process.wait_ready()
        yield process
