from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pymicro_wakeword
import pytest

from handlers.audio import from_float, seconds, to_float
from handlers.errors import SettingsError
from handlers.wake.ending import since_wake_word
from handlers.wake.engines import WakeEngines, open_engines
from satellite.wake import (
    Opening,
    PreRoll,
    Wake,
    WakeListener,
    choose,
    open_wake_words,
    signal_to_noise,
)
from tests.support.speech import Speaker, likeness, silence

PIECE = 640

BEFORE = 1.5


@pytest.fixture(scope="module")
def engines() -> WakeEngines:
    return open_engines()


async def listener(*words: str) -> WakeListener:
    opened = await open_wake_words(words)
    assert opened is not None
    return opened


async def hear(wake: WakeListener, audio: bytes) -> tuple[Wake, bytes] | None:
    """The first wake-up, and all the audio that is sent for it."""
    for start in range(0, len(audio), PIECE):
        heard = await wake.hear(audio[start : start + PIECE])
        if heard is not None:
            opening = Opening(heard)
            rest = [audio[at : at + PIECE] for at in range(start + PIECE, len(audio), PIECE)]
            return heard, b"".join(opening.add(piece) for piece in rest) + opening.rest()
    return None


@pytest.mark.parametrize("word", ["okay_nabu", "hey_jarvis", "alexa"])
async def test_a_spoken_wake_word_is_heard(speaker: Speaker, word: str) -> None:
    wake = await listener("okay nabu", "hey jarvis", "alexa")
    found = await hear(wake, silence(BEFORE) + speaker.say(word.replace("_", " ").capitalize() + ".") + silence(1))
    await wake.close()
    assert found is not None
    assert found[0].name == word
    assert found[0].score >= 0.5


async def test_other_speech_does_not_wake(speaker: Speaker) -> None:
    wake = await listener("okay_nabu")
    spoken = speaker.say("The weather will be fine tomorrow. Please turn on the kitchen light.")
    assert await hear(wake, silence(BEFORE) + spoken + silence(1)) is None
    await wake.close()


async def test_the_threshold_counts(speaker: Speaker) -> None:
    wake = await listener("okay_nabu:0.999")
    assert await hear(wake, silence(BEFORE) + speaker.say("Okay Nabu.") + silence(1)) is None
    await wake.close()


async def test_it_hears_again_after_a_reset(speaker: Speaker) -> None:
    wake = await listener("okay_nabu")
    audio = silence(BEFORE) + speaker.say("Okay Nabu.") + silence(1)
    assert await hear(wake, audio) is not None
    await wake.reset()
    assert await hear(wake, audio) is not None
    await wake.close()


@pytest.mark.parametrize("pause", [0.3, 0.6, 1.5])
@pytest.mark.parametrize("word", ["Okay Nabu.", "Hey Jarvis.", "Alexa."])
async def test_after_a_pause_the_request_is_sent_whole_and_the_wake_word_not(
    speaker: Speaker, word: str, pause: float
) -> None:
    request = speaker.say("What time is it?")
    audio = silence(BEFORE) + speaker.say(word) + silence(pause) + request + silence(1)
    wake = await listener(word.strip(".").lower())
    found = await hear(wake, audio)
    await wake.close()
    assert found is not None
    sent = found[1]
    assert likeness(sent, request) > 0.999
    assert seconds(sent) <= pause + seconds(request) + 1 + 0.1  # the word has faded out before its last sample


async def test_a_request_in_the_same_breath_is_sent_whole(speaker: Speaker) -> None:
    spoken = speaker.say("Okay Nabu what time is it?")
    wake = await listener("okay_nabu")
    found = await hear(wake, silence(BEFORE) + spoken + silence(1))
    await wake.close()
    assert found is not None
    # By itself the wake word takes no less time than in a sentence, so the request begins before its end.
    request = spoken[len(speaker.say("Okay Nabu.")) :]
    assert likeness(found[1], request) > 0.999


@pytest.mark.parametrize(
    ("word", "command"),
    [("Okay Nabu", "stop"), ("Okay Nabu", "louder"), ("Okay Nabu", "pause"), ("Hey Jarvis", "next")],
)
async def test_a_short_command_in_the_same_breath_is_not_taken_for_a_part_of_the_wake_word(
    speaker: Speaker, word: str, command: str
) -> None:
    spoken = speaker.say(f"{word} {command}.")
    wake = await listener(word.lower())
    found = await hear(wake, silence(BEFORE) + spoken + silence(1))
    await wake.close()
    assert found is not None
    end = spoken[-8000:]  # a quarter of a second, which all of them have
    assert likeness(found[1], end) > 0.99


async def test_a_recording_that_ends_at_the_wake_word_loses_nothing(speaker: Speaker) -> None:
    wake = await listener("alexa")
    audio = silence(BEFORE) + speaker.say("Alexa.") + silence(0.3)
    for start in range(0, len(audio), PIECE):
        if (heard := await wake.hear(audio[start : start + PIECE])) is not None:
            break
    await wake.close()
    assert heard is not None
    opening = Opening(heard)
    assert opening.add(silence(0.02)) == b""
    rest = opening.rest()
    assert rest
    assert (heard.memory + silence(0.02)).endswith(rest)
    assert opening.add(b"more") == b"more"


async def test_where_the_server_is_to_listen_again_the_audio_begins_with_the_wake_word(speaker: Speaker) -> None:
    word = speaker.say("Okay Nabu.")
    audio = silence(BEFORE) + word + silence(0.5) + speaker.say("What time is it?") + silence(0.5)
    wake = await listener("okay_nabu")
    for start in range(0, len(audio), PIECE):
        if (heard := await wake.hear(audio[start : start + PIECE])) is not None:
            break
    await wake.close()
    assert heard is not None
    opening = Opening(heard, keep_word=True)
    following = [audio[at : at + PIECE] for at in range(start + PIECE, len(audio), PIECE)]
    sent = [opening.add(piece) for piece in following]
    assert sent[0] == heard.memory + following[0]  # at once: who decides is to have it soon
    assert sent[1:] == following[1:]
    assert opening.rest() == b""
    assert likeness(b"".join(sent), word) > 0.999
    assert Opening(heard, keep_word=True).rest() == heard.memory


def test_push_to_talk_sends_from_the_first_piece() -> None:
    opening = Opening(Wake())
    assert opening.add(b"12") == b"12"
    assert opening.rest() == b""


def test_noise_hides_the_gap_so_all_that_may_belong_to_the_request_is_kept(speaker: Speaker) -> None:
    loud = speaker.say("The quick brown fox jumps over the lazy dog and runs away.")[:48_000]
    assert seconds(since_wake_word(loud)) == pytest.approx(0.94, abs=0.021)


@pytest.mark.parametrize("length", [0, 2, 638, 640, 5_000])
def test_a_short_memory_is_no_error(length: int) -> None:
    assert len(since_wake_word(bytes(length))) <= length


def test_the_memory_is_bounded() -> None:
    memory = PreRoll(0.5)
    for number in range(100):
        memory.add(bytes([number]) * PIECE)
    assert len(memory.audio()) == 16_000
    assert memory.audio()[-1] == 99
    memory.clear()
    assert memory.audio() == b""


async def test_none_is_push_to_talk() -> None:
    assert await open_wake_words(["none"]) is None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (["okay nabbu"], "did you mean 'okay nabu'"),
        (["computer"], "known are alexa"),
        (["okay_nabu:2"], "threshold between 0 and 1"),
        (["okay_nabu:loud"], "threshold between 0 and 1"),
        (["none", "alexa"], "leave out the other"),
        ([], "No wake word is set"),
    ],
)
async def test_a_wake_word_that_cannot_be_is_one_sentence(wanted: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        await open_wake_words(wanted)
    assert "\n" not in str(caught.value)


async def test_words_may_be_written_as_they_are_said(engines: WakeEngines) -> None:
    assert choose(["Okay Nabu:0.7", "hey-jarvis"], engines) == {
        "okay_nabu": 0.7,
        "hey_jarvis": engines.word("hey_jarvis").threshold,
    }


def test_an_engine_may_be_named(engines: WakeEngines) -> None:
    assert choose(["micro/okay nabu", "Open/Alexa:0.6"], engines) == {"micro/okay_nabu": 0.85, "open/alexa": 0.6}
    with pytest.raises(SettingsError, match="there is open/hey_rhasspy"):
        choose(["micro/hey rhasspy"], engines)


@pytest.mark.parametrize("gate", [True, False])
async def test_words_of_both_engines_are_heard_one_after_the_other(speaker: Speaker, gate: bool) -> None:
    wake = await open_wake_words(["alexa", "open/okay_nabu"], gate=gate)
    assert wake is not None
    assert list(wake.words.values()) == ["alexa", "okay nabu"]
    for text, name in (("Okay Nabu.", "okay_nabu"), ("Alexa.", "alexa")):
        found = await hear(wake, silence(3) + speaker.say(text) + silence(1))
        assert found is not None
        assert found[0].name == name
        await wake.reset()
    await wake.close()


async def test_without_a_gate_the_memory_is_the_same(speaker: Speaker) -> None:
    audio = silence(3) + speaker.say("Alexa.") + silence(1)
    heard = []
    for gate in (True, False):
        wake = await open_wake_words(["alexa"], gate=gate)
        assert wake is not None
        found = await hear(wake, audio)
        await wake.close()
        assert found is not None
        heard.append(found[0].memory)
    with_gate, without = heard
    assert seconds(with_gate) == seconds(without) == 1.5
    assert with_gate[8_000:] in without + audio[-32_000:]  # the one may be noticed a frame later


async def test_models_of_ones_own(tmp_path: Path, speaker: Speaker) -> None:
    models = Path(pymicro_wakeword.__file__).parent / "models"
    shutil.copy(models / "alexa.tflite", tmp_path / "hello_house.tflite")
    shutil.copy(models / "alexa.json", tmp_path / "hello_house.json")
    wake = await open_wake_words(["hello house"], folder=tmp_path)
    assert wake is not None
    found = await hear(wake, silence(BEFORE) + speaker.say("Alexa.") + silence(1))
    await wake.close()
    assert found is not None
    assert found[0].name == "hello_house"


def copied(name: str, folder: Path, model: str = "alexa") -> Path:
    """A folder with a model of the package under another name: what hears "alexa" is then called `name`."""
    models = Path(pymicro_wakeword.__file__).parent / "models"
    folder.mkdir(exist_ok=True)
    shutil.copy(models / f"{model}.tflite", folder / f"{name}.tflite")
    said = json.loads((models / f"{model}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**said, "wake_word": name.replace("_", " ")}))
    return folder


async def every(wake: WakeListener, audio: bytes) -> list[tuple[str | None, bool]]:
    """Name of every word that is heard, and whether it is a stop word."""
    heard = [await wake.hear(audio[start : start + PIECE]) for start in range(0, len(audio), PIECE)]
    return [(found.name, found.stops) for found in heard if found is not None]


async def test_the_stop_word_is_heard_where_it_is_installed(tmp_path: Path, speaker: Speaker) -> None:
    audio = silence(BEFORE) + speaker.say("Okay Nabu.") + silence(1.5) + speaker.say("Alexa.") + silence(1)
    wake = await open_wake_words(["okay_nabu"], installed=copied("stop", tmp_path / "wake"))
    assert wake is not None
    assert list(wake.words.values()) == ["okay nabu"]
    assert await every(wake, audio) == [("okay_nabu", False), ("stop", True)]
    await wake.close()
    for stop_words, installed in ((["auto"], tmp_path / "nowhere"), (["none"], tmp_path / "wake")):
        wake = await open_wake_words(["okay_nabu"], stop_words=stop_words, installed=installed)
        assert wake is not None
        assert await every(wake, audio) == [("okay_nabu", False)]
        await wake.close()


async def test_any_word_can_be_a_stop_word(speaker: Speaker) -> None:
    wake = await open_wake_words(["alexa"], stop_words=["Open/okay nabu:0.6"])
    assert wake is not None
    audio = silence(BEFORE) + speaker.say("Alexa.") + silence(1.5) + speaker.say("Okay Nabu.") + silence(1)
    assert await every(wake, audio) == [("alexa", False), ("okay_nabu", True)]
    await wake.close()


async def test_of_two_at_once_the_wake_word_counts(tmp_path: Path, speaker: Speaker) -> None:
    folder = copied("stop", copied("hello_house", tmp_path / "wake"))
    wake = await open_wake_words(["hello house"], installed=folder)
    assert wake is not None
    assert await every(wake, silence(BEFORE) + speaker.say("Alexa.") + silence(1)) == [("hello_house", False)]
    await wake.close()


async def test_a_model_of_ones_own_comes_before_a_fetched_one(tmp_path: Path, speaker: Speaker) -> None:
    mine, fetched = copied("stop", tmp_path / "mine"), copied("stop", tmp_path / "wake", "hey_jarvis")
    wake = await open_wake_words(["okay_nabu"], folder=mine, installed=fetched)
    assert wake is not None
    audio = silence(BEFORE) + speaker.say("Hey Jarvis.") + silence(1.5) + speaker.say("Alexa.") + silence(1)
    assert await every(wake, audio) == [("stop", True)]
    await wake.close()


@pytest.mark.parametrize(
    ("wake_words", "stop_words", "words"),
    [
        (["alexa"], ["stop"], "There is no stop word 'stop': .*meadowlark-models pull stop"),
        (["alexa"], ["okay nabbu"], "no stop word 'okay nabbu': did you mean 'okay nabu'"),
        (["alexa"], ["okay_nabu:2"], "threshold between 0 and 1"),
        (["alexa"], ["auto", "okay_nabu"], "leave out the other stop words"),
        (["alexa"], ["none", "okay_nabu"], "leave out the other stop words"),
        (["micro/alexa"], ["open/alexa"], "'alexa' cannot be a wake word and a stop word"),
        (["none"], ["okay_nabu"], "Push to talk hears no stop words"),
    ],
)
async def test_a_stop_word_that_cannot_be_is_one_sentence(
    wake_words: list[str], stop_words: list[str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        await open_wake_words(wake_words, stop_words=stop_words)
    assert "\n" not in str(caught.value)


async def test_push_to_talk_leaves_the_stop_word_alone(tmp_path: Path) -> None:
    for stop_words in (["auto"], ["none"]):
        assert await open_wake_words(["none"], stop_words=stop_words, installed=copied("stop", tmp_path)) is None


def test_the_stop_word_is_no_wake_word_unless_it_is_named(tmp_path: Path) -> None:
    engines = open_engines(copied("stop", tmp_path))
    assert "stop" not in engines.words
    assert choose(["stop"], engines) == {"stop": engines.word("stop").threshold}
    with pytest.raises(SettingsError) as caught:
        choose(["computer"], engines)
    assert "known are alexa, hey jarvis, hey mycroft, hey rhasspy, okay nabu, and" in str(caught.value)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        await open_wake_words(["alexa"], folder=tmp_path / "nowhere")


async def test_refractory_time(speaker: Speaker) -> None:
    audio = silence(BEFORE) + 2 * (speaker.say("Alexa.") + silence(1.5))
    for refractory, count in ((10.0, 1), (1.5, 2)):
        wake = await open_wake_words(["open/alexa"], refractory_seconds=refractory)
        assert wake is not None
        heard = [await wake.hear(audio[at : at + PIECE]) for at in range(0, len(audio), PIECE)]
        await wake.close()
        assert sum(found is not None for found in heard) == count


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0, 40.0])
async def test_the_signal_to_noise_ratio_comes_with_the_word(speaker: Speaker, snr: float) -> None:
    said = silence(1) + speaker.say("Alexa.") + silence(0.4)
    loud = to_float(speaker.say("Alexa."))
    level = float(np.sqrt(np.mean(loud**2))) * 10 ** (-snr / 20)
    noise = np.random.default_rng(5).normal(0, level, len(said) // 2).astype(np.float32)
    assert signal_to_noise(from_float(to_float(said) + noise)[-48_000:]) == pytest.approx(snr, abs=4.0)


@pytest.mark.parametrize("memory", [b"", bytes(2), bytes(48_000)])
def test_silence_has_no_signal(memory: bytes) -> None:
    assert signal_to_noise(memory) == 0.0


async def test_a_nearer_satellite_hears_a_higher_ratio(speaker: Speaker) -> None:
    said = to_float(silence(BEFORE) + speaker.say("Alexa.") + silence(1))
    room = np.random.default_rng(6).normal(0, 0.003, len(said)).astype(np.float32)
    ratios = []
    for gain in (1.0, 0.2):
        wake = await listener("alexa")
        found = await hear(wake, from_float(gain * said + room))
        await wake.close()
        assert found is not None
        ratios.append(found[0].snr)
    assert ratios[0] - ratios[1] == pytest.approx(14, abs=3)
