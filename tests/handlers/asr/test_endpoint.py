"""The state machine that finds an utterance in speech probabilities."""

from __future__ import annotations

import math

import pytest

from handlers.asr.endpoint import Change, Endpointer
from handlers.asr.silero import FRAME_MS
from handlers.asr.stage import EndpointSettings

SETTINGS = EndpointSettings()
SPEECH, SOFT, SILENCE = 0.9, 0.4, 0.05


def frames(milliseconds: int) -> int:
    """The frames after which so much time has passed."""
    return math.ceil(milliseconds / FRAME_MS)


def changes(endpointer: Endpointer, *runs: tuple[float, int]) -> list[tuple[int, Change]]:
    """What changed, with the number of the frame, counted from where these runs begin."""
    seen, index = [], 0
    for probability, count in runs:
        for _ in range(count):
            change = endpointer.process(probability)
            if change is not None:
                seen.append((index, change))
            index += 1
    return seen


def test_an_utterance_begins_pauses_and_ends() -> None:
    endpointer = Endpointer(SETTINGS)
    start, pause, end = frames(SETTINGS.start_ms), frames(SETTINGS.pause_ms), frames(SETTINGS.patience_ms)
    assert changes(endpointer, (SILENCE, 10), (SPEECH, 20), (SILENCE, 100)) == [
        (10 + start - 1, Change.STARTED),
        (30 + pause - 1, Change.PAUSED),
        (30 + end - 1, Change.ENDED),
    ]
    assert (endpointer.first_speech, endpointer.last_speech) == (10, 29)


def test_a_click_is_no_speech() -> None:
    endpointer = Endpointer(SETTINGS)
    assert changes(endpointer, (SPEECH, 1), (SILENCE, 1), (SPEECH, 1), (SILENCE, 5)) == []
    assert endpointer.first_speech is None


def test_a_soft_syllable_starts_nothing_but_is_no_pause() -> None:
    assert changes(Endpointer(SETTINGS), (SOFT, 50)) == []
    spoken = changes(Endpointer(SETTINGS), (SPEECH, 10), (SOFT, 50), (SPEECH, 10))
    assert [change for _, change in spoken] == [Change.STARTED]


def test_a_gap_below_a_pause_changes_nothing() -> None:
    gap = frames(SETTINGS.pause_ms) - 1
    spoken = changes(Endpointer(SETTINGS), (SPEECH, 10), (SILENCE, gap), (SPEECH, 10), (SILENCE, gap))
    assert [change for _, change in spoken] == [Change.STARTED]


def test_speech_after_a_pause_resumes_and_the_silence_counts_anew() -> None:
    nearly = frames(SETTINGS.patience_ms) - 1
    runs = [(SPEECH, 10), (SILENCE, nearly)] * 3 + [(SILENCE, 1)]
    kinds = [change for _, change in changes(Endpointer(SETTINGS), *runs)]
    assert kinds == [Change.STARTED, *[Change.PAUSED, Change.RESUMED] * 2, Change.PAUSED, Change.ENDED]


def test_nobody_speaks() -> None:
    endpointer = Endpointer(SETTINGS)
    assert changes(endpointer, (SILENCE, 500)) == [(frames(SETTINGS.nothing_ms) - 1, Change.NOTHING)]


def test_speech_that_begins_after_nothing_is_heard_when_it_is_reopened() -> None:
    endpointer = Endpointer(SETTINGS)
    silent = frames(SETTINGS.nothing_ms) + 9
    kinds = []
    for index in range(silent + 60):
        change = endpointer.process(SPEECH if silent <= index < silent + 10 else SILENCE)
        if change is Change.NOTHING:
            endpointer.reopen()
        elif change is not None:
            kinds.append(change)
    assert kinds == [Change.STARTED, Change.PAUSED, Change.ENDED]
    assert endpointer.first_speech == silent


def test_speech_never_runs_past_its_limit() -> None:
    endpointer = Endpointer(SETTINGS)
    assert changes(endpointer, (SPEECH, 2000))[1:] == [(frames(SETTINGS.longest_ms), Change.TOO_LONG)]


def test_after_the_end_nothing_more_until_it_is_reopened() -> None:
    endpointer = Endpointer(SETTINGS)
    changes(endpointer, (SPEECH, 10), (SILENCE, 30))
    assert changes(endpointer, (SPEECH, 10), (SILENCE, 100)) == []
    assert endpointer.last_speech == 49
    endpointer.reopen()
    kinds = [change for _, change in changes(endpointer, (SPEECH, 10), (SILENCE, 100))]
    assert kinds == [Change.PAUSED, Change.ENDED]


@pytest.mark.parametrize("patience_ms", [100, 200])
def test_where_patience_is_no_longer_than_a_pause_the_end_comes_at_once(patience_ms: int) -> None:
    settings = EndpointSettings(pause_ms=200, patience_ms=patience_ms)
    kinds = [change for _, change in changes(Endpointer(settings), (SPEECH, 10), (SILENCE, 50))]
    assert kinds == [Change.STARTED, Change.ENDED]


def paused() -> Endpointer:
    """After a second of speech and just so much silence that it is a pause."""
    endpointer = Endpointer(SETTINGS)
    kinds = [change for _, change in changes(endpointer, (SPEECH, 30), (SILENCE, frames(SETTINGS.pause_ms)))]
    assert kinds == [Change.STARTED, Change.PAUSED]
    return endpointer


@pytest.mark.parametrize("patience_ms", [320, 500, 1500])
def test_patience_can_be_set_for_a_pause(patience_ms: int) -> None:
    endpointer = paused()
    endpointer.set_patience(patience_ms)
    more = frames(patience_ms) - frames(SETTINGS.pause_ms)
    assert changes(endpointer, (SILENCE, 100)) == [(more - 1, Change.ENDED)]
    assert endpointer.silence_ms >= 100 * FRAME_MS


def test_patience_is_forgotten_when_speech_goes_on() -> None:
    endpointer = paused()
    endpointer.set_patience(320)
    full = frames(SETTINGS.patience_ms)
    assert changes(endpointer, (SPEECH, 1), (SILENCE, full)) == [
        (0, Change.RESUMED),
        (frames(SETTINGS.pause_ms), Change.PAUSED),
        (full, Change.ENDED),
    ]


def test_patience_that_has_run_out_ends_with_the_next_frame_or_now() -> None:
    endpointer = paused()
    endpointer.set_patience(0)
    assert changes(endpointer, (SILENCE, 10)) == [(0, Change.ENDED)]
    endpointer = paused()
    endpointer.end_now()
    assert changes(endpointer, (SILENCE, 100), (SPEECH, 100)) == []


def test_a_verdict_that_comes_while_somebody_speaks_is_late() -> None:
    endpointer = paused()
    changes(endpointer, (SPEECH, 1))
    assert endpointer.silence_ms == 0
    endpointer.set_patience(0)
    endpointer.end_now()
    seen = [change for _, change in changes(endpointer, (SILENCE, frames(SETTINGS.patience_ms)))]
    assert seen == [Change.PAUSED, Change.ENDED]


def test_before_speech_there_is_nothing_to_end() -> None:
    endpointer = Endpointer(SETTINGS)
    changes(endpointer, (SILENCE, 20))
    endpointer.set_patience(0)
    endpointer.end_now()
    assert [change for _, change in changes(endpointer, (SILENCE, 5), (SPEECH, 10))] == [Change.STARTED]


def test_a_reopened_utterance_has_full_patience() -> None:
    endpointer = paused()
    endpointer.set_patience(320)
    endpointer.end_now()
    endpointer.reopen()
    assert changes(endpointer, (SILENCE, 100))[-1] == (frames(SETTINGS.patience_ms) - 1, Change.ENDED)


def test_speech_is_counted_without_its_pauses() -> None:
    endpointer = Endpointer(SETTINGS)
    changes(endpointer, (SILENCE, 7), (SPEECH, 10), (SILENCE, 9), (SOFT, 5), (SILENCE, 9))
    assert endpointer.speech_ms == 15 * FRAME_MS
