"""The real Whisper: what it hears, which window it takes, who goes first, and model folders that are not whole."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.asr.decoder import Decoded, Decoder
from handlers.asr.stage import AsrSettings, Hints
from handlers.asr.whisper import WhisperTranscriber, looping, threads_and_workers
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import BusyError, EngineError, ModelError, RequestError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from tests.support.speech import Speaker, silence

SOON = 60.0
"""A deadline that only a defect reaches."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@pytest.fixture(scope="module")
def folder(store: ModelStore) -> Path:
    return store.locate("whisper-base", ModelKind.ASR)


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Decoder:
    return Decoder(folder)


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


async def test_what_is_said_first_is_likelier_than_what_only_resembles_it(
    whisper: WhisperTranscriber, speaker: Speaker
) -> None:
    called = silence(0.5) + speaker.say("Okay Nabu, turn on the light.")
    resembles = silence(0.5) + speaker.say("Okay, now turn on the light.")
    said, other = [await whisper.likelihood(pcm, "Okay Nabu", "en") for pcm in (called, resembles)]
    assert other < -5.5 < said < 0
    assert await whisper.likelihood(b"", "Okay Nabu", "en") == -math.inf
    assert await whisper.likelihood(called, "", "en") == -math.inf


async def test_a_recording_longer_than_whispers_window(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    first, second = speaker.say("What time is it?"), speaker.say("Turn off the television.")
    transcript = await whisper.transcribe(first + silence(1) + first + silence(29) + second)
    heard = words(transcript.text)
    assert heard[:4] == ["what", "time", "is", "it"]
    assert heard[-4:] == ["turn", "off", "the", "television"]


async def test_a_long_recording_lets_others_in(folder: Path, speaker: Speaker, command: bytes) -> None:
    said = speaker.say("What time is it?")
    transcriber = WhisperTranscriber(folder, "whisper-base", AsrSettings(), Cpu(1))
    async with asyncio.timeout(SOON):
        file = asyncio.create_task(transcriber.transcribe(said + silence(29) + said + silence(29) + said))
        await asyncio.sleep(0)
        assert "kitchen" in words((await transcriber.transcribe(command)).text)
        assert not file.done()
        assert words((await file).text).count("time") == 3
    await transcriber.close()


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


async def test_a_made_up_name_is_heard_when_it_is_expected(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    said = speaker.say("Turn on the Zorblax lamp.")
    assert "zorblax" not in words((await whisper.transcribe(said)).text)
    hints = Hints(["Kitchen", "Zorblax lamp", "Bedroom"], ["timer"])
    assert "zorblax lamp" in (await whisper.transcribe(said, hints=hints)).text.lower()


async def test_the_same_bytes_give_the_same_text_also_side_by_side(
    whisper: WhisperTranscriber, speaker: Speaker, command: bytes
) -> None:
    said = speaker.say("Set the Zorblax to forty two percent.")
    hints = Hints(["Zorblax"])
    first = await whisper.transcribe(said, hints=hints)
    other = await whisper.transcribe(command)
    together = await asyncio.gather(
        whisper.transcribe(said, hints=hints, ticket=Ticket(Urgency.GUESS)),
        whisper.transcribe(command),
        whisper.transcribe(said, hints=hints),
    )
    assert list(together) == [first, other, first]


@pytest.mark.parametrize("length", [1, 12])
async def test_silence_says_nothing_or_next_to_nothing(whisper: WhisperTranscriber, length: int) -> None:
    assert len(words((await whisper.transcribe(silence(length))).text)) <= 1


async def test_somebody_may_repeat_themselves(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    said = speaker.say("What time is it? What time is it?")
    assert words((await whisper.transcribe(said)).text) == words("what time is it what time is it")


@pytest.mark.parametrize("text", ["What time is it?", "Turn off all of the lights in the office.", "Never mind."])
def test_the_short_window_hears_what_the_full_one_does(decoder: Decoder, speaker: Speaker, text: str) -> None:
    said = speaker.say(text)
    short, full = decoder.decode(said, 15, "en"), decoder.decode(said, 30, "en")
    assert words(short.text) == words(full.text) == words(text)
    assert not looping(short)


async def test_long_speech_gets_the_full_window(folder: Path, speaker: Speaker, decoder: Decoder) -> None:
    """Were it given the short one, its end would be missing."""
    said = speaker.say("Turn on the kitchen light.") + silence(5) + speaker.say("What time is it?")
    assert "time" not in words(decoder.decode(said, 5, "en").text)
    settings = AsrSettings(window_seconds=5, window_longest_seconds=30)
    transcriber = WhisperTranscriber(folder, "whisper-base", settings, Cpu(2))
    assert words((await transcriber.transcribe(said)).text)[-4:] == words("what time is it")
    await transcriber.close()


def test_only_audio_up_to_the_set_length_gets_the_short_window(whisper: WhisperTranscriber) -> None:
    assert [whisper.window(length) for length in (0.3, 10, 10.1, 12, 29)] == [15, 15, 30, 30, 30]


async def test_what_loops_in_a_short_window_is_looked_at_again(
    folder: Path, decoder: Decoder, command: bytes, whisper: WhisperTranscriber
) -> None:
    looped = decoder.decode(command, 5, "en")
    assert looping(looped)
    assert len(words(looped.text)) > len(words("turn on the kitchen light"))
    transcriber = WhisperTranscriber(folder, "whisper-base", AsrSettings(window_seconds=5), Cpu(2))
    assert words((await transcriber.transcribe(command)).text) == words("turn on the kitchen light")
    await transcriber.close()


@pytest.mark.parametrize(
    ("text", "cut", "loops"),
    [
        ("Turn on the light.", False, False),
        ("Turn on the light.", True, True),
        ("Turn on the light, turn on the light.", False, False),
        ("Turn on the light. Turn on the light. turn on the light", False, True),
        ("Stop, stop, stop!", False, False),
        ("the the the the the the the", False, True),
        ("", False, False),
    ],
)
def test_what_a_loop_is(text: str, cut: bool, loops: bool) -> None:
    assert looping(Decoded(text, "en", -0.1, cut)) is loops


def test_a_long_look_for_a_loop_ends() -> None:
    assert not looping(Decoded(" ".join(f"w{number} x" for number in range(300)), "en", -0.1, cut=False))


def test_more_text_than_the_audio_can_hold_is_cut(decoder: Decoder, speaker: Speaker) -> None:
    said = speaker.say("Turn on the lamp in the kitchen and then tell me what the weather will be like tomorrow.")
    whole = decoder.decode(said, 15, "en")
    assert not whole.cut
    assert words(whole.text)[-1] == "tomorrow"
    prompted = decoder.decode(said, 15, "en", decoder.prompt(["Kitchen", "Siobhan", "Weather"] * 20))
    assert not prompted.cut  # the prompt takes nothing of the budget


def test_a_prompt_is_text_and_never_a_special_token(decoder: Decoder) -> None:
    first_special = 50257  # <|endoftext|> of the multilingual models
    for hint in ("<|endoftext|>", "<<||endoftext|>", "<|endo<|endoftext|>text|>", "a\0b", "灯", "🐶"):
        tokens = decoder.prompt([hint, "Kitchen"])
        assert all(token < first_special for token in tokens)
        assert tokens[-1] == decoder.prompt(["Kitchen"])[-1]
    assert len(decoder.prompt(["Kitchen lights"] * 500)) == 223
    assert decoder.prompt(["", " ", "<|>"]) == []


async def test_a_guess_is_refused_when_the_processor_is_busy(
    folder: Path, whisper: WhisperTranscriber, command: bytes
) -> None:
    tasks = [asyncio.create_task(whisper.transcribe(command)) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="4 runs wait"):
        await whisper.transcribe(command, ticket=Ticket(Urgency.GUESS))
    async with asyncio.timeout(SOON):
        assert {transcript.text for transcript in await asyncio.gather(*tasks)} == {
            (await whisper.transcribe(command)).text
        }


async def test_what_is_cancelled_while_it_waits_is_never_run(whisper: WhisperTranscriber, command: bytes) -> None:
    tasks = [asyncio.create_task(whisper.transcribe(command)) for _ in range(200)]  # half a minute of work
    await asyncio.sleep(0)
    last = asyncio.create_task(whisper.transcribe(command))
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(SOON):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert (await last).text  # at once, not after those that were cancelled
    assert (await whisper.transcribe(command, ticket=Ticket(Urgency.GUESS))).text  # the queue is empty


@pytest.mark.parametrize(
    ("cores", "threads", "workers"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (8, 4, 2), (16, 4, 4), (64, 4, 16)]
)
def test_threads_and_workers_by_default(cores: int, threads: int, workers: int) -> None:
    assert threads_and_workers(AsrSettings(), cores) == (threads, workers)
    assert threads_and_workers(AsrSettings(threads=3, workers=5), cores) == (3, 5)


async def test_after_closing_it_takes_nothing(folder: Path, command: bytes) -> None:
    closing = WhisperTranscriber(
        folder, "closing", AsrSettings(language="en_US"), Cpu(2)
    )  # a region is no reason to fail
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
        WhisperTranscriber(tmp_path, "damaged", AsrSettings(), Cpu(2))
    assert str(tmp_path) in str(caught.value)


def test_a_language_of_the_settings_that_the_model_does_not_know(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"asr\.language 'klingon'; it knows .*en"):
        WhisperTranscriber(folder, "whisper-base", AsrSettings(language="klingon"), Cpu(2))
