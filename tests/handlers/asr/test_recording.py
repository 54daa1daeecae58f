"""Recordings: cut into windows at pauses, transcribed with the times of words, after whoever speaks now."""

from __future__ import annotations

import asyncio
import time

import pytest

from handlers.asr.cuts import windows
from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import BYTES_PER_SECOND, seconds
from tests.support.speech import Speaker, silence

_FOX = "The quick brown fox jumps over the lazy dog."
_BOOK = "Everybody stayed at home to read a book."


def test_a_recording_is_cut_at_a_pause(speaker: Speaker) -> None:
    sentence = speaker.say("Read one page of the book every evening")
    loud = sentence * (int(26 / seconds(sentence)) + 1)
    loud = loud[: 26 * BYTES_PER_SECOND]
    pcm = loud + silence(0.5) + loud
    cut = list(windows(pcm))
    assert [start for start, _ in cut[1:]] == [end for _, end in cut[:-1]]
    assert (cut[0][0], cut[-1][1]) == (0, len(pcm))
    assert all(0 < end - start <= 30 * BYTES_PER_SECOND and start % 2 == 0 for start, end in cut)
    assert 26.0 < cut[0][1] / BYTES_PER_SECOND < 26.5  # in the half second of silence


@pytest.mark.parametrize("length", [0, 1, 29.9, 30.0, 61.0])
def test_every_byte_is_in_one_window(length: float) -> None:
    pcm = silence(length)
    assert b"".join(pcm[start:end] for start, end in windows(pcm)) == pcm


async def test_words_have_their_times(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    fox, book = speaker.say(_FOX), speaker.say(_BOOK)
    gap = 31.0
    found = await whisper.transcribe_recording(fox + silence(gap) + book, "en")
    assert found.seconds == pytest.approx(seconds(fox) + gap + seconds(book))
    words = {word.word.strip(".,").lower(): word for segment in found.segments for word in segment.words}
    assert 0.0 <= words["quick"].start < words["fox"].end <= seconds(fox) + 0.5
    second = seconds(fox) + gap
    assert second - 0.5 <= words["everybody"].start < words["book"].end <= second + seconds(book) + 0.5
    assert found.text.lower().startswith("the quick brown fox")
    assert "read a book" in found.text
    assert found.language == "en"


async def test_nobody_speaks(whisper: WhisperTranscriber) -> None:
    found = await whisper.transcribe_recording(silence(3), "auto")
    assert (found.text, list(found.segments), found.seconds) == ("", [], 3.0)
    assert (await whisper.transcribe_recording(b"")).segments == []


async def test_a_turn_goes_before_the_rest_of_a_recording(whisper: WhisperTranscriber, speaker: Speaker) -> None:
    """Two slots: other recordings wait for the first, and the turn takes the slot that is left."""
    sentence = speaker.say(_FOX) + silence(0.4)
    long = sentence * (int(35 / seconds(sentence)) + 1)
    ended: dict[str, float] = {}

    async def note(name: str, work: object) -> None:
        await work  # type: ignore[misc]
        ended[name] = time.monotonic()

    recordings = [asyncio.create_task(note(f"recording {n}", whisper.transcribe_recording(long))) for n in range(2)]
    await asyncio.sleep(0)
    await asyncio.gather(*(note(f"turn {n}", whisper.transcribe(sentence)) for n in range(3)))
    assert not any(name.startswith("recording") for name in ended)
    for recording in recordings:
        recording.cancel()
    await asyncio.gather(*recordings, return_exceptions=True)
    assert (await whisper.transcribe(sentence)).text  # nothing is held by what was cancelled
