from __future__ import annotations

from handlers.audio import seconds
from handlers.wake.ending import from_wake_word
from tests.support.speech import Speaker, silence


def quiet_at_first(pcm: bytes) -> float:
    """Seconds of digital silence at the beginning."""
    return seconds(pcm[: len(pcm) - len(pcm.lstrip(b"\0"))])


def test_what_was_said_before_the_pause_before_the_word_is_silent(speaker: Speaker) -> None:
    secret, word = speaker.say("My secret is safe."), speaker.say("Okay Nabu.")
    memory = (secret + silence(0.3) + word)[-48_000:]
    kept = from_wake_word(memory)
    assert len(kept) == len(memory)
    assert kept[-len(word) :] == memory[-len(word) :]
    assert quiet_at_first(memory) < 0.05
    assert quiet_at_first(kept) > seconds(memory) - seconds(word) - 0.3


def test_without_a_pause_the_longest_word_is_kept(speaker: Speaker) -> None:
    memory = (speaker.say("This goes on and on without any rest or end in sight") * 2)[-48_000:]
    kept = from_wake_word(memory)
    assert len(kept) == len(memory)
    assert kept[-40_000:] == memory[-40_000:]


def test_silence_and_nothing_at_all() -> None:
    assert from_wake_word(b"") == b""
    assert from_wake_word(silence(1.5)) == silence(1.5)
