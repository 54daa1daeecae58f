"""The front end: what of the speaker's sound is left in the microphone's, on a clock that the test sets."""

from __future__ import annotations

import logging
import sys

import numpy as np
import numpy.typing as npt
import pytest

from handlers.audio import RATE, AudioFormat, from_float, to_float
from satellite.front_end import FrontEndSettings, PassThrough, Processing, WebRtc, open_front_end
from satellite.pieces import PIECE_BYTES
from tests.support.speech import Speaker, likeness, silence

VOICE = AudioFormat(22_050, 2, 2)
"""Unlike internal audio in every respect."""

Samples = npt.NDArray[np.float32]

ECHO_ONLY = FrontEndSettings()

ANSWER = "The weather will be mostly sunny today, and in the evening you can expect a light wind from the west."


@pytest.fixture(scope="module")
def answer() -> Samples:
    return to_float(Speaker().say(ANSWER))


def room(samples: Samples) -> Samples:
    """Samples as they are heard in a small room beside the speaker, 6 dB quieter."""
    times = np.arange(RATE // 8)
    response = np.random.default_rng(1).standard_normal(len(times)) * 10 ** (-3 * times / len(times)) * 0.02
    response[8] = 0.5
    heard: Samples = np.convolve(samples, response)[: len(samples)].astype(np.float32)
    return heard


def as_played(samples: Samples) -> bytes:
    """Internal audio in the format of the voice."""
    at = np.arange(int(len(samples) * VOICE.rate / RATE)) * RATE / VOICE.rate
    pcm = np.rint(np.interp(at, np.arange(len(samples)), samples) * 32767).astype("<i2")
    return np.repeat(pcm, VOICE.channels).tobytes()


class Bench:
    """A microphone and a speaker without a sound card, both in time."""

    def __init__(self, settings: FrontEndSettings = ECHO_ONLY, *, jitter: float = 0.0) -> None:
        self.now = 100.0
        self._jitter = jitter
        self._random = np.random.default_rng(4)
        wanted = settings.noise_suppression or settings.gain_control or settings.high_pass
        self.front_end = Processing(settings, WebRtc(settings) if wanted else None, clock=lambda: self.now)

    def hear(self, near: Samples, played: Samples | None = None, *, told_late: float = 0.0) -> Samples:
        """Hear `near` while `played` is written to the speaker as it takes it, 0.2 s ahead; what comes out.

        What is heard is stated `told_late` seconds too late or, below 0, too early.
        """
        pcm, began = from_float(near), self.now
        voice = as_played(played) if played is not None else b""
        step = VOICE.bytes_per_second // 50 // 4 * 4
        written = 0
        out = b""
        for start in range(0, len(pcm), PIECE_BYTES):
            due = began + start / 2 / RATE
            while written < len(voice) and written / VOICE.bytes_per_second < start / 2 / RATE + 0.2:
                self.now = due
                heard_at = began + written / VOICE.bytes_per_second + told_late
                self.front_end.reference(voice[written : written + step], VOICE, heard_at)
                written += step
            self.now = due + 0.02 + self._jitter * self._random.random()
            out += self.front_end.process(pcm[start : start + PIECE_BYTES])
        self.now = began + len(near) / RATE
        return to_float(out)


def quieter(before: Samples, after: Samples, since: float = 1.0) -> float:
    """By how many dB, from some seconds after the beginning."""
    start = int(since * RATE)
    return float(10 * np.log10(np.mean(before[start:] ** 2) / (np.mean(after[start:] ** 2) + 1e-12)))


@pytest.mark.parametrize("told_late", [0.0, 0.02, -0.1, -0.3])
@pytest.mark.parametrize("jitter", [0.0, 0.03])
def test_the_speakers_sound_is_taken_out_however_wrong_its_delay(
    answer: Samples, told_late: float, jitter: float
) -> None:
    bench = Bench(jitter=jitter)
    bench.hear(np.zeros(RATE, np.float32))
    bench.hear(room(answer), answer, told_late=told_late)
    bench.hear(np.zeros(2 * RATE, np.float32))
    echo = room(answer)  # by now the delay is known
    assert quieter(echo, bench.hear(echo, answer, told_late=told_late)) >= 20


def test_a_voice_over_the_answer_stays(answer: Samples) -> None:
    voice = to_float(Speaker().say("Turn off the kitchen lights."))
    bench = Bench()
    bench.hear(np.zeros(RATE, np.float32))
    both = room(answer) * 2
    start = 2 * RATE
    both[start : start + len(voice)] += 0.5 * voice
    out = bench.hear(both, answer)
    wanted = from_float(voice)
    assert likeness(from_float(both), wanted) < 0.7
    assert likeness(from_float(out), wanted) >= 0.9


def test_without_an_answer_nothing_is_changed(answer: Samples) -> None:
    bench = Bench()
    out = bench.hear(answer)
    assert from_float(out) == from_float(answer)[: len(out) * 2]


def test_an_answer_that_is_cut_off_and_another_at_once(answer: Samples) -> None:
    bench = Bench()
    bench.hear(np.zeros(RATE, np.float32))
    bench.hear(room(answer)[:RATE], answer)  # what was told of the rest is never heard
    bench.hear(np.zeros(RATE // 4, np.float32))
    other = answer[::-1].copy()
    echo = room(other)
    assert quieter(echo, bench.hear(echo, other)) >= 20


def test_after_a_reset_it_learns_again(answer: Samples) -> None:
    bench = Bench()
    bench.hear(room(answer), answer)
    bench.front_end.reset()
    bench.now += 1000
    bench.hear(np.zeros(RATE, np.float32))
    echo = room(answer)
    assert quieter(echo, bench.hear(echo, answer)) >= 20


def test_pieces_of_any_length_lose_nothing(answer: Samples) -> None:
    front_end = open_front_end(ECHO_ONLY)
    pcm = from_float(answer)
    lengths = [2, 318, 322, 640, 1000, 4]
    out, start = b"", 0
    while start < len(pcm):
        length = lengths[start % len(lengths)]
        out += front_end.process(pcm[start : start + length])
        start += length
    assert 0 <= len(pcm) - len(out) < 320
    assert out == pcm[: len(out)]


def test_noise_is_suppressed_where_it_is_wanted() -> None:
    noise = np.random.default_rng(2).standard_normal(6 * RATE).astype(np.float32) * 0.01
    assert quieter(noise, Bench(FrontEndSettings(noise_suppression=True)).hear(noise), 3.0) >= 6
    assert quieter(noise, Bench(FrontEndSettings(noise_suppression=False)).hear(noise), 3.0) < 3


def test_a_quiet_voice_is_made_louder_where_it_is_wanted(answer: Samples) -> None:
    quiet = np.tile(answer, 3) * 0.02
    settings = FrontEndSettings(echo_cancellation=False, gain_control=True)
    assert quieter(quiet, Bench(settings).hear(quiet), 6.0) <= -6


def test_rumble_is_taken_away_where_it_is_wanted() -> None:
    rumble = (0.1 * np.sin(2 * np.pi * 20 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    assert quieter(rumble, Bench(FrontEndSettings(high_pass=True)).hear(rumble)) >= 20
    assert quieter(rumble, Bench(ECHO_ONLY).hear(rumble)) < 1


def test_with_everything_off_it_is_not_there() -> None:
    settings = FrontEndSettings(echo_cancellation=False)
    front_end = open_front_end(settings)
    assert isinstance(front_end, PassThrough)
    assert front_end.process(b"abc") == b"abc"
    front_end.reference(silence(0.1), AudioFormat(), 1.0)
    front_end.reset()


def test_without_the_wheel_echo_is_still_cancelled_and_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "livekit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "livekit", None)
    caplog.set_level(logging.INFO, "satellite")
    assert isinstance(open_front_end(FrontEndSettings()), Processing)
    assert not caplog.records
    assert isinstance(open_front_end(FrontEndSettings(noise_suppression=True)), Processing)
    assert isinstance(open_front_end(FrontEndSettings(echo_cancellation=False, noise_suppression=True)), PassThrough)
    assert ["livekit is not installed" in record.message for record in caplog.records] == [True, True]
