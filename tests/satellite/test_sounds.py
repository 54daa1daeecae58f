from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from handlers.audio import RATE, AudioFormat, to_float
from handlers.errors import AudioError, SettingsError
from satellite.happenings import Happening, Kind
from satellite.sounds import SoundSettings, SoundSink, open_sounds
from tests.support.speech import silence

SPEECH = AudioFormat()
WOKEN = Happening(Kind.WOKEN)


class Notebook:
    """A sink that writes down what it is asked for, and plays when it may."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.may_drain = asyncio.Event()
        self.broken = False
        self.tried = 0

    played = 1.5

    async def start(self, audio_format: AudioFormat) -> None:
        self.tried += 1
        if self.broken:
            raise AudioError("There is no speaker")
        self.calls.append("start")

    async def write(self, pcm: bytes) -> None:
        self.calls.append(f"write {len(pcm)}")

    async def drain(self) -> None:
        await self.may_drain.wait()
        self.calls.append("drain")

    async def abort(self) -> None:
        self.calls.append("abort")

    async def close(self) -> None:
        self.calls.append("close")


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_waits_for_the_sound_before_it_and_a_sound_never_for_an_answer() -> None:
    inner = Notebook()
    sink = SoundSink(inner, {Kind.WOKEN: silence(0.1)})
    sink.follow(WOKEN)
    sink.follow(WOKEN)  # one at a time
    sink.follow(Happening(Kind.ERROR))  # there is none
    await settle()
    assert inner.calls == ["start", "write 3200"]
    assert sink.played == 0.0  # of the answer
    answer = asyncio.create_task(sink.start(SPEECH))
    await settle()
    assert not answer.done()
    inner.may_drain.set()
    await answer
    assert inner.calls == ["start", "write 3200", "drain", "start"]
    assert sink.played == 1.5
    sink.follow(WOKEN)  # not into the answer
    await settle()
    await sink.write(b"ab")
    await sink.drain()
    assert inner.calls[4:] == ["write 2", "drain"]
    sink.follow(WOKEN)
    await settle()
    assert inner.calls[6:] == ["start", "write 3200", "drain"]


async def test_an_interruption_ends_the_sound_too() -> None:
    inner = Notebook()
    sink = SoundSink(inner, {Kind.WOKEN: silence(0.1)})
    sink.follow(WOKEN)
    await settle()
    await sink.abort()
    assert inner.calls == ["start", "write 3200", "abort", "abort"]
    await sink.close()
    assert inner.calls[-1] == "close"


async def test_what_was_played_is_known_after_the_end() -> None:
    """An interrupted turn silences first, and then tells the server how much was heard."""
    inner = Notebook()
    inner.may_drain.set()
    sink = SoundSink(inner, {})
    assert sink.played == 0.0
    await sink.start(SPEECH)
    await sink.abort()
    assert sink.played == 1.5
    await sink.abort()
    assert sink.played == 1.5
    await sink.start(SPEECH)
    await sink.drain()
    assert sink.played == 1.5


async def test_a_speaker_that_is_gone_is_not_asked_for_by_every_sound() -> None:
    inner = Notebook()
    inner.may_drain.set()
    inner.broken = True
    sink = SoundSink(inner, {Kind.WOKEN: silence(0.1)})
    for _ in range(3):
        sink.follow(WOKEN)
        await settle()
    assert inner.tried == 1
    inner.broken = False
    await sink.start(SPEECH)  # an answer has found it
    await sink.drain()
    sink.follow(WOKEN)
    await settle()
    assert inner.tried == 3


async def test_without_a_speaker_there_is_no_sound_and_no_error() -> None:
    inner = Notebook()
    inner.broken = True
    sink = SoundSink(inner, {Kind.WOKEN: silence(0.1)})
    sink.follow(WOKEN)
    await settle()
    with pytest.raises(AudioError, match="no speaker"):
        await sink.start(SPEECH)


async def test_the_sounds_are_short_soft_and_begin_and_end_in_silence() -> None:
    sounds = await open_sounds(SoundSettings(heard=True))
    assert set(sounds) == {Kind.WOKEN, Kind.HEARD, Kind.ERROR}
    for pcm in sounds.values():
        samples = to_float(pcm)
        assert 0.05 < len(samples) / RATE < 0.5
        assert 0.1 < np.abs(samples).max() < 0.25
        assert max(abs(samples[0]), abs(samples[-1])) < 0.01


async def test_sounds_of_ones_own(wav: Callable[[bytes], Path], tmp_path: Path) -> None:
    own = wav(silence(0.2))
    sounds = await open_sounds(SoundSettings(woken=own, error=False))
    assert sounds == {Kind.WOKEN: silence(0.2)}
    with pytest.raises(SettingsError, match="longer than 3 s"):
        await open_sounds(SoundSettings(woken=wav(silence(3.5))))
    with pytest.raises(SettingsError, match=r"nothing\.wav cannot be used"):
        await open_sounds(SoundSettings(woken=tmp_path / "nothing.wav"))
