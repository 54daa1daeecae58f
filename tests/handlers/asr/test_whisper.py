"""The real Whisper: what it hears, its bounds, and model folders that are not whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.asr.stage import AsrSettings, Hints
from handlers.asr.whisper import WhisperTranscriber
from handlers.errors import BusyError, EngineError, ModelError, RequestError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.satellite.speech import Speaker, silence

SOON = 60.0
"""A deadline that only a defect reaches."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@pytest.fixture(scope="module")
def folder(store: ModelStore) -> Path:
    return store.locate("whisper-base", ModelKind.ASR)


@pytest.fixture(scope="module")
def command(speaker: Speaker) -> bytes:
    return speaker.say("Turn on the kitchen light.")


async def test_a_command(whisper: WhisperTranscriber, command: bytes) -> None:
    transcript = await whisper.transcribe(command)
    assert words(transcript.text) == words("Turn on the kitchen light")
    assert transcript.language == "en"
    assert transcript.seconds == len(command) / 32_000


async def test_the_language_that_is_asked_for_is_the_one_that_is_used(
    whisper: WhisperTranscriber, command: bytes
) -> None:
    assert (await whisper.transcribe(command, "de")).language == "de"
    assert (await whisper.transcribe(command, "auto")).language == "en"


async def test_an_unknown_language_is_refused(whisper: WhisperTranscriber, command: bytes) -> None:
    with pytest.raises(RequestError, match="xx") as caught:
        await whisper.transcribe(command, "xx")
    assert caught.value.code == "unknown-language"


@pytest.mark.parametrize("pcm", [b"", bytes(2), bytes(200)], ids=len)
async def test_next_to_no_audio(whisper: WhisperTranscriber, pcm: bytes) -> None:
    assert (await whisper.transcribe(pcm)).text == ""


async def test_a_recording_longer_than_whispers_window(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    first, second = speaker.say("What time is it?"), speaker.say("Turn off the television.")
    transcript = await whisper.transcribe(first + silence(1) + first + silence(29) + second)
    heard = words(transcript.text)
    assert heard[:4] == ["what", "time", "is", "it"]
    assert heard[-4:] == ["turn", "off", "the", "television"]


async def test_expected_names_are_spelled_as_they_are(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    said = speaker.say("Turn on the lamp of Siobhan.")
    plain = await whisper.transcribe(said)
    hinted = await whisper.transcribe(said, hints=Hints(["Shavonn"]))
    assert "Shavonn" not in plain.text
    assert "Shavonn" in hinted.text


@pytest.mark.parametrize(
    "hints",
    [Hints(["kitchen"] * 2000, ["light"] * 2000), Hints(["x" * 100_000]), Hints(["<|endoftext|>", "a\0b", "", "灯"])],
)
async def test_no_hint_does_harm(whisper: WhisperTranscriber, command: bytes, hints: Hints) -> None:
    assert "kitchen" in words((await whisper.transcribe(command, hints=hints)).text)


async def test_one_more_than_may_wait_is_busy_and_the_others_can_be_cancelled(
    whisper: WhisperTranscriber, command: bytes
) -> None:
    tasks = [asyncio.create_task(whisper.transcribe(command)) for _ in range(33)]
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="whisper has 33 requests waiting"):
        await whisper.transcribe(command)
    async with asyncio.timeout(SOON):
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) > 20
        assert (await whisper.transcribe(command)).text  # at once, not after those that were cancelled


async def test_after_closing_it_takes_nothing(folder: Path, command: bytes) -> None:
    closing = WhisperTranscriber(folder, "closing", AsrSettings(language="en_US"))  # a region is no reason to fail
    async with asyncio.timeout(SOON):
        running = asyncio.create_task(closing.transcribe(command))
        await asyncio.sleep(0)
        await closing.close()
        assert (await running).language == "en"
        with pytest.raises(EngineError):
            await closing.transcribe(command)


def truncated_model(model: Path) -> None:
    content = (model / "model.bin").read_bytes()[:1_000_000]
    (model / "model.bin").unlink()
    (model / "model.bin").write_bytes(content)


def no_model(model: Path) -> None:
    (model / "model.bin").unlink()


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def damaged_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.json").write_text('{"version": ')


def damaged_config(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").write_text("{")


@pytest.mark.parametrize("damage", [truncated_model, no_model, no_tokenizer, damaged_tokenizer, damaged_config])
def test_a_folder_that_is_not_a_whole_model_is_one_sentence(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file.resolve())
    damage(tmp_path)
    with pytest.raises(ModelError) as caught:
        WhisperTranscriber(tmp_path, "damaged", AsrSettings())
    assert str(tmp_path) in str(caught.value)


def test_a_language_of_the_settings_that_the_model_does_not_know(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"asr\.language 'klingon'; it knows .*en"):
        WhisperTranscriber(folder, "whisper-base", AsrSettings(language="klingon"))
