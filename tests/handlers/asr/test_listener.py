"""The utterance that is found in real speech, whatever the chunks are like."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import numpy as np
import pytest

from handlers.asr.endpoint import Change
from handlers.asr.listener import Listener
from handlers.asr.silero import FRAME_BYTES, Silero
from handlers.asr.stage import EndpointSettings
from handlers.audio import BYTES_PER_SECOND, from_float
from tests.support.speech import Speaker, silence

SETTINGS = EndpointSettings()


def cut(pcm: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    start = 0
    for size in sizes:
        yield pcm[start : start + size]
        start += size
        if start >= len(pcm):
            return


def listen(silero: Silero, pcm: bytes, size: int, settings: EndpointSettings = SETTINGS) -> list[tuple[Change, bytes]]:
    """Every change with the utterance at that time."""
    listener = Listener(silero.stream(), settings)
    return [
        (change, listener.utterance())
        for start in range(0, len(pcm), size)
        for change in listener.feed(pcm[start : start + size])
    ]


@pytest.fixture(scope="module")
def command(speaker: Speaker) -> bytes:
    return speaker.say("Turn on the kitchen light.")


def test_at_a_pause_the_utterance_is_what_it_is_at_the_end(silero: Silero, command: bytes) -> None:
    seen = listen(silero, silence(0.7) + command + silence(1.5), 640)
    assert [change for change, _ in seen] == [Change.STARTED, Change.PAUSED, Change.ENDED]
    assert seen[1][1] == seen[2][1]


@pytest.mark.parametrize("after_ms", [0, 200, 1000])
@pytest.mark.parametrize("pause_ms", [32, 200, 500])
def test_that_holds_for_all_settings(silero: Silero, command: bytes, pause_ms: int, after_ms: int) -> None:
    settings = EndpointSettings(pause_ms=pause_ms, after_ms=after_ms)
    # A short pause comes several times; the last is the one before the end.
    utterances = dict(listen(silero, silence(0.5) + command + silence(1.5), 320, settings))
    assert utterances[Change.PAUSED] == utterances[Change.ENDED] != b""


def test_the_utterance_has_all_the_speech_with_its_margins(silero: Silero, command: bytes) -> None:
    before, after = silence(0.7), silence(1.5)
    utterance = listen(silero, before + command + after, 640)[-1][1]
    start = (before + command + after).index(utterance)
    assert start <= len(before)
    assert start + len(utterance) >= len(before) + len(command) - FRAME_BYTES
    margins = (SETTINGS.before_ms + SETTINGS.after_ms) * BYTES_PER_SECOND // 1000
    assert len(utterance) <= len(command) + margins + 4 * FRAME_BYTES


@pytest.mark.parametrize("size", [2, 160, 1000, FRAME_BYTES, 4096, 10_000])
def test_how_chunks_are_cut_changes_nothing(silero: Silero, command: bytes, size: int) -> None:
    pcm = silence(0.51) + command + silence(1.2)
    wanted = listen(silero, pcm, 640)
    assert [change for change, _ in listen(silero, pcm, size)] == [change for change, _ in wanted]
    assert listen(silero, pcm, size)[-1] == wanted[-1]


def test_chunks_of_any_odd_sizes_change_nothing(silero: Silero, command: bytes) -> None:
    pcm = silence(1.7) + command + silence(1.2)
    wanted = listen(silero, pcm, 640)
    chance = random.Random(7)
    for _ in range(5):
        listener = Listener(silero.stream(), SETTINGS)
        changes: list[Change] = []
        for chunk in cut(pcm, iter(lambda: chance.choice([1, 3, 31, 640, 2047, 5000]), None)):
            changes += listener.feed(chunk)
        assert changes == [change for change, _ in wanted]
        assert listener.utterance() == wanted[-1][1]


def test_waiting_costs_no_memory(silero: Silero) -> None:
    listener = Listener(silero.stream(), SETTINGS)
    for _ in range(300):
        listener.feed(silence(0.1))
        assert len(listener._audio) < BYTES_PER_SECOND
    assert listener.seconds == pytest.approx(30)
    assert not listener.heard
    assert listener.utterance() == b""
    assert listener.silence_seconds == 0.0


@pytest.mark.parametrize("text", ["Five.", "Next.", "Stop.", "Turn on the kitchen light."])
@pytest.mark.parametrize("wait", [0.0, 7.0, 20.0, 29.5])
def test_speech_after_any_wait_is_found_from_its_beginning(
    silero: Silero, speaker: Speaker, text: str, wait: float
) -> None:
    said = speaker.say(text)
    listener = Listener(silero.stream(), SETTINGS)
    for chunk in cut(silence(wait) + said + silence(0.5), itertools.repeat(700)):
        listener.feed(chunk)
    assert said[: len(said) // 2] in listener.utterance()
    assert listener.silence_seconds == pytest.approx(0.5, abs=0.2)


def test_noise_is_no_speech(silero: Silero) -> None:
    random_numbers = np.random.default_rng(5)
    white = random_numbers.standard_normal(3 * 16_000).astype(np.float32)
    hum = np.sin(2 * np.pi * 50 * np.arange(3 * 16_000) / 16_000).astype(np.float32)
    for level in (0.001, 0.01, 0.1):
        for noise in (white, hum, white * hum):
            changes = [change for change, _ in listen(silero, from_float(level * noise), 640)]
            assert changes == [] or changes == [Change.NOTHING]


def test_speech_in_noise_is_found(silero: Silero, command: bytes) -> None:
    clean = np.frombuffer(silence(0.7) + command + silence(1.5), dtype="<i2").astype(np.float32) / 32768
    noise = np.random.default_rng(5).standard_normal(len(clean)).astype(np.float32)
    noisy = from_float(clean + 0.01 * noise)
    assert [change for change, _ in listen(silero, noisy, 640)] == [Change.STARTED, Change.PAUSED, Change.ENDED]


def test_two_streams_do_not_disturb_each_other(silero: Silero, command: bytes) -> None:
    pcm = silence(0.5) + command + silence(1.2)
    alone = listen(silero, pcm, 640)
    one, two = Listener(silero.stream(), SETTINGS), Listener(silero.stream(), SETTINGS)
    seen = []
    for start in range(0, len(pcm), 640):
        two.feed(silence(0.02))
        seen += [(change, one.utterance()) for change in one.feed(pcm[start : start + 640])]
    assert seen == alone
    assert not two.heard
