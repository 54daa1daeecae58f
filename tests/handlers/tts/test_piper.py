"""The real Piper: choosing a voice, speaking, stopping, and voice files that are not whole."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import AudioFormat, Converter
from handlers.cpu import Cpu, Ticket, Urgency
from handlers.errors import BusyError, EngineError, ModelError, RequestError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.tts.piper import PiperSynthesizer
from handlers.tts.stage import TtsSettings, VoiceChoice

SOON = 60.0
"""A deadline that only a defect reaches."""

LONG = "This is one of very many sentences. " * 40


@pytest.fixture(scope="module")
def joe(store: ModelStore) -> Path:
    return store.locate("en_US-joe-medium", ModelKind.TTS)


def disguised(joe: Path, folder: Path, name: str, **settings: object) -> Path:
    """Joe's voice under another name, with other settings beside it."""
    voice = folder / f"{name}.onnx"
    voice.symlink_to(joe)
    config = json.loads(joe.with_name(joe.name + ".json").read_text())
    voice.with_name(f"{name}.onnx.json").write_text(json.dumps(config | settings))
    return voice


@pytest.fixture(scope="module")
def choir(joe: Path, tmp_path_factory: pytest.TempPathFactory) -> PiperSynthesizer:
    """Three voices that all sound like Joe, of which two may be in memory; two sentences at a time."""
    folder = tmp_path_factory.mktemp("voices")
    german = disguised(joe, folder, "de_DE-johann-medium", language={"code": "de_DE"})
    british = disguised(
        joe, folder, "en_GB-twins-medium", language={"code": "en_GB"}, speaker_id_map={"Ann": 0, "Bob": 0}
    )
    paths = {"en_US-joe-medium": joe, "de_DE-johann-medium": german, "en_GB-twins-medium": british}
    return PiperSynthesizer(paths, TtsSettings(loaded_voices=2, workers=2), Cpu(2))


async def spoken(piper: PiperSynthesizer, text: str, choice: VoiceChoice | None = None) -> bytes:
    async with asyncio.timeout(SOON):
        return b"".join([piece async for piece in piper.synthesize(text, choice or piper.choose())])


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 -- a state of the code under test, which has no event for it
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("name", "language", "chosen"),
    [
        (None, None, "en_US-joe-medium"),
        ("de_DE-johann-medium", None, "de_DE-johann-medium"),
        ("de_DE-johann-medium", "en", "de_DE-johann-medium"),
        (None, "en", "en_US-joe-medium"),
        (None, "en-GB", "en_GB-twins-medium"),
        (None, "en_gb", "en_GB-twins-medium"),
        (None, "en-AU", "en_US-joe-medium"),
        (None, "de-AT", "de_DE-johann-medium"),
        (None, "DE", "de_DE-johann-medium"),
    ],
)
def test_the_voice_for_a_request(choir: PiperSynthesizer, name: str | None, language: str | None, chosen: str) -> None:
    choice = choir.choose(name, language)
    assert choice.voice.name == chosen
    assert choir.format(choice) == AudioFormat(22_050, 2, 1)


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        ({"name": "en_US-jo-medium"}, "unknown-voice", "did you mean 'en_US-joe-medium'"),
        ({"name": "?"}, "unknown-voice", "installed are en_US-joe-medium, de_DE-johann-medium"),
        ({"name": "nobody", "language": "en"}, "unknown-voice", "nobody"),
        ({"language": "xx-XX"}, "unknown-language", "xx-XX"),
        ({"speaker": "Ann"}, "unknown-speaker", "only one"),
        ({"language": "en-GB", "speaker": "Cy"}, "unknown-speaker", "Ann, Bob"),
    ],
)
def test_what_is_not_there_is_named(choir: PiperSynthesizer, request_: dict[str, str], code: str, named: str) -> None:
    with pytest.raises(RequestError, match=named.replace("?", r"\?")) as caught:
        choir.choose(**request_)
    assert caught.value.code == code


def test_the_voices_are_told_with_the_default_first(choir: PiperSynthesizer) -> None:
    assert [(voice.name, voice.languages, voice.speakers) for voice in choir.voices] == [
        ("en_US-joe-medium", ("en-US",), ()),
        ("de_DE-johann-medium", ("de-DE",), ()),
        ("en_GB-twins-medium", ("en-GB",), ("Ann", "Bob")),
    ]


async def test_what_is_spoken_can_be_understood(piper: PiperSynthesizer, whisper: WhisperTranscriber) -> None:
    pcm = await spoken(piper, "The kitchen light is on.")
    converter = Converter(piper.format(piper.choose()))
    transcript = await whisper.transcribe(converter.convert(pcm) + converter.flush())
    heard = transcript.text.lower().rstrip(".").split()
    assert len({"the", "kitchen", "light", "is", "on"} & set(heard)) >= 4  # the voice is never twice the same


@pytest.mark.parametrize("text", ["", " ", "...", "\n\n", "[[", "\u202e"])
async def test_a_text_without_sound_is_silence_and_an_end(piper: PiperSynthesizer, text: str) -> None:
    assert await spoken(piper, text) == b""


@pytest.mark.parametrize("text", ["a\0b", "😀", "[[ h@l ]]", "你好", "x" * 300, "<speak>Hello</speak>"])
async def test_odd_texts_are_spoken_somehow(piper: PiperSynthesizer, text: str) -> None:
    pcm = await spoken(piper, text)
    assert len(pcm) > 1000
    assert len(pcm) % 2 == 0
    assert np.frombuffer(pcm, dtype="<i2").any()


async def test_a_faster_voice_needs_less_time(joe: Path, piper: PiperSynthesizer) -> None:
    fast = PiperSynthesizer({"en_US-joe-medium": joe}, TtsSettings(speed=2.0), Cpu(2))
    text = "The kitchen light is on, the garage door is closed, and nobody is at home."  # long: each run varies
    normal = len(await spoken(piper, text))
    assert 0.35 * normal < len(await spoken(fast, text)) < 0.75 * normal
    await fast.close()
    with pytest.raises(EngineError, match="closed"):
        await spoken(fast, "Hello.")


async def test_a_speaker_of_several_speaks(choir: PiperSynthesizer) -> None:
    assert await spoken(choir, "Hello.", choir.choose(language="en-GB", speaker="Bob"))


async def test_voices_that_no_longer_fit_into_memory_are_loaded_again(choir: PiperSynthesizer) -> None:
    for voice in [*choir.voices, choir.voices[0]]:
        assert await spoken(choir, "Hello.", choir.choose(voice.name))
        assert len(choir._loaded) <= 2


async def test_two_at_once(choir: PiperSynthesizer) -> None:
    names = ["en_US-joe-medium", "de_DE-johann-medium"] * 2
    both = await asyncio.gather(*(spoken(choir, "One. Two. Three.", choir.choose(name)) for name in names))
    assert all(len(pcm) > 22_050 for pcm in both)


async def first_piece(pieces: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(SOON):
        return await anext(pieces)


async def test_a_listener_who_takes_his_time_keeps_nobody_waiting(piper: PiperSynthesizer) -> None:
    slow = piper.synthesize(LONG, piper.choose())
    assert await first_piece(slow)
    assert await spoken(piper, "Somebody else.")
    await slow.aclose()


async def test_the_first_sentence_leaves_before_the_last_is_made(piper: PiperSynthesizer) -> None:
    pieces = piper.synthesize(LONG, piper.choose())
    first = await first_piece(pieces)
    assert 0 < len(first) <= 4096
    assert piper._workers.inside == 0  # nothing is made that nobody has asked for
    await pieces.aclose()


async def test_cancelling_stops_the_synthesis(piper: PiperSynthesizer) -> None:
    heard = threading.Event()

    async def listen() -> None:
        async for _ in piper.synthesize(LONG, piper.choose()):
            heard.set()

    task = asyncio.create_task(listen())
    assert await asyncio.to_thread(heard.wait, SOON)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert piper._workers.inside == 0
    assert await spoken(piper, "The next.")


async def test_a_cancelled_sentence_does_not_run_to_its_end(joe: Path) -> None:
    """A sentence of half a minute takes seconds; the one thread is free long before."""
    piper = PiperSynthesizer({"en_US-joe-medium": joe}, TtsSettings(workers=1), Cpu(1))
    endless = " ".join(["one thousand two hundred and thirty four"] * 16)
    began = time.process_time()
    whole = await spoken(piper, endless)
    whole_seconds = time.process_time() - began
    assert len(whole) > 20 * 2 * 22_050
    began = time.process_time()
    task = asyncio.create_task(spoken(piper, endless))
    await until(lambda: time.process_time() - began > whole_seconds / 5)  # it is in the middle of the sentence
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await piper.close()  # waits for the thread
    assert time.process_time() - began < whole_seconds * 0.6


async def test_sentences_wait_for_a_slot_and_the_urgent_go_first(joe: Path) -> None:
    cpu = Cpu(1)
    piper = PiperSynthesizer({"en_US-joe-medium": joe}, TtsSettings(), cpu)
    order: list[str] = []

    async def say(name: str, urgency: Urgency) -> None:
        async for _ in piper.synthesize("Hello.", piper.choose(), Ticket(urgency)):
            if name not in order:
                order.append(name)

    async with asyncio.timeout(SOON), asyncio.TaskGroup() as group, cpu.slot(Ticket(Urgency.VOICE)):
        group.create_task(say("guess", Urgency.GUESS))
        await until(lambda: cpu.waiting == 1)
        group.create_task(say("voice", Urgency.VOICE))
        await until(lambda: cpu.waiting == 2)
        assert order == []
    assert order == ["voice", "guess"]
    await piper.close()


async def test_a_guess_is_refused_when_many_wait(joe: Path) -> None:
    cpu = Cpu(1)
    piper = PiperSynthesizer({"en_US-joe-medium": joe}, TtsSettings(), cpu)
    async with cpu.slot(Ticket(Urgency.VOICE)):
        tasks = [asyncio.create_task(spoken(piper, "Hello.")) for _ in range(4)]
        await until(lambda: cpu.waiting == 4)
        with pytest.raises(BusyError):
            async for _ in piper.synthesize("Perhaps.", piper.choose(), Ticket(Urgency.GUESS)):
                pass
    assert all(await asyncio.gather(*tasks))
    await piper.close()


async def test_many_at_once_are_all_spoken(piper: PiperSynthesizer) -> None:
    """More than there are threads, by far: they wait, and nobody is refused."""
    answers = await asyncio.gather(*(spoken(piper, "Okay.") for _ in range(60)))
    assert all(answers)
    assert piper._workers.inside == 0


def damaged(joe: Path, folder: Path, content: bytes) -> Path:
    voice = disguised(joe, folder, "damaged")
    voice.unlink()
    voice.write_bytes(content)
    return voice


@pytest.mark.parametrize("kept", [0, 100, 100_000])
def test_a_voice_that_is_damaged_is_one_sentence(joe: Path, tmp_path: Path, kept: int) -> None:
    voice = damaged(joe, tmp_path, joe.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"damaged\.onnx cannot be loaded"):
        PiperSynthesizer({"damaged": voice}, TtsSettings(), Cpu(2))


async def test_a_damaged_voice_among_others_costs_only_itself(joe: Path, tmp_path: Path) -> None:
    voice = damaged(joe, tmp_path, b"no voice at all")
    choir = PiperSynthesizer({"en_US-joe-medium": joe, "damaged": voice}, TtsSettings(), Cpu(2))
    with pytest.raises(ModelError, match=r"damaged\.onnx"):
        await spoken(choir, "Hello.", choir.choose("damaged"))
    assert await spoken(choir, "Hello.")


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "no json", '{"audio": {"sample_rate": "fast"}}'])
def test_settings_of_a_voice_that_are_none(joe: Path, tmp_path: Path, content: str | None) -> None:
    voice = disguised(joe, tmp_path, "damaged")
    settings = tmp_path / "damaged.onnx.json"
    settings.write_text(content or "")
    if content is None:
        settings.unlink()
    with pytest.raises(ModelError, match=r"damaged\.onnx\.json"):
        PiperSynthesizer({"damaged": voice}, TtsSettings(), Cpu(2))
