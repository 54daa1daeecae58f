from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from wyoming.event import Event

from handlers.audio import AudioFormat
from satellite.link import Link
from satellite.sink import NoSink, WavSink
from satellite.turn import Turn, TurnRequest
from satellite.volume import LOUDEST, Volume, VolumeSink
from tests.satellite.peer import Peer, PeerConnection, Script
from tests.support.speech import silence

VOICE = AudioFormat(22_050)

Serve = Callable[[Script], asyncio.Future[Peer]]


class Ear(NoSink):
    """Keeps what was played."""

    def __init__(self) -> None:
        super().__init__()
        self.pcm = b""

    async def write(self, pcm: bytes) -> None:
        self.pcm += pcm
        await super().write(pcm)

    @property
    def samples(self) -> np.ndarray:
        return np.frombuffer(self.pcm, dtype="<i2").astype(np.int64)


def tone(level: float, seconds: float = 0.5) -> bytes:
    times = np.arange(int(seconds * VOICE.rate)) / VOICE.rate
    return (level * 32767 * np.sin(2 * np.pi * 220 * times)).astype("<i2").tobytes()


async def played(percent: int, pcm: bytes) -> Ear:
    ear = Ear()
    sink = VolumeSink(ear, Volume(percent))
    await sink.start(VOICE)
    await sink.write(pcm)
    await sink.drain()
    return ear


@pytest.mark.parametrize(
    ("wanted", "percent"),
    [
        ({"change": 10}, 60),
        ({"change": -10}, 40),
        ({"to": 30}, 30),
        ({"to": 0}, 0),
        ({"change": -1000}, 0),
        ({"change": 1000}, LOUDEST),
        ({"to": 10**9}, LOUDEST),
        ({"to": "30"}, 50),
        ({"to": True}, 50),
        ({"change": 1.5}, 50),
        ({}, 50),
        (None, 50),
        ("loud", 50),
        ([30], 50),
    ],
)
def test_the_volume_follows_the_server(wanted: object, percent: int) -> None:
    volume = Volume(50)
    volume.follow(wanted)
    assert volume.percent == percent


async def test_at_full_volume_audio_is_not_touched() -> None:
    pcm = tone(1.0)
    assert (await played(100, pcm)).pcm == pcm


async def test_half_the_volume_is_12_db_less() -> None:
    peak = np.abs((await played(50, tone(0.8))).samples).max()
    assert peak == pytest.approx(0.8 * 32767 / 4, rel=0.01)


async def test_no_volume_is_silence() -> None:
    assert not (await played(0, tone(0.8))).samples.any()


async def test_more_than_full_is_louder_and_cut_off_where_there_is_no_more() -> None:
    quiet = (await played(150, tone(0.2))).samples
    assert np.abs(quiet).max() == pytest.approx(0.2 * 32767 * 2.25, rel=0.01)
    loud = (await played(150, tone(1.0))).samples
    assert loud.max() == 32767
    assert loud.min() == -32768
    assert (np.sign(loud) == np.sign(np.frombuffer(tone(1.0), dtype="<i2"))).all()  # nothing turns over


async def test_while_ducked_it_plays_more_quietly_and_then_as_before() -> None:
    ear, volume = Ear(), Volume(80, ducked=50)
    sink = VolumeSink(ear, volume)
    await sink.start(VOICE)
    loudest = []
    for change in (None, volume.duck, volume.duck, volume.unduck):
        if change is not None:
            change()
        ear.pcm = b""
        await sink.write(tone(0.8))
        loudest.append(int(np.abs(ear.samples[VOICE.rate // 10 :]).max()))  # behind the ramp
    assert loudest == pytest.approx([0.8 * 32767 * gain for gain in (0.64, 0.16, 0.16, 0.64)], rel=0.01)
    assert volume.percent == 80


async def test_a_change_by_voice_holds_when_it_is_ducked_no_longer() -> None:
    volume = Volume(50, ducked=0)
    volume.duck()
    volume.follow({"change": 50})
    assert volume.gain == 0.0
    volume.unduck()
    assert volume.gain == 1.0


@pytest.mark.parametrize(("before", "after"), [(100, 30), (30, 100), (0, 150), (100, 0)])
async def test_a_change_while_it_plays_makes_no_step(before: int, after: int) -> None:
    ear, volume = Ear(), Volume(before)
    sink = VolumeSink(ear, volume)
    await sink.start(VOICE)
    constant = np.full(1000, 10_000, dtype="<i2").tobytes()  # a step in the gain is a step in this
    await sink.write(constant)
    volume.follow({"to": after})
    for start in range(0, len(constant), 100):  # in pieces shorter than the change takes
        await sink.write(constant[start : start + 100])
    steps = np.abs(np.diff(ear.samples))
    assert steps.max() <= 10_000 / 220 + 1
    assert ear.samples[0] == round(10_000 * (before / 100) ** 2)
    assert ear.samples[-1] == round(10_000 * (after / 100) ** 2)


async def test_samples_that_are_cut_in_two_stay_whole() -> None:
    pcm = tone(0.5)
    ear = Ear()
    sink = VolumeSink(ear, Volume(70))
    await sink.start(VOICE)
    for start in range(0, len(pcm), 333):
        await sink.write(pcm[start : start + 333])
    assert ear.pcm == (await played(70, pcm)).pcm


async def test_back_at_full_volume_a_cut_sample_is_not_lost() -> None:
    pcm = tone(0.5, 0.1)
    ear, volume = Ear(), Volume(99)
    sink = VolumeSink(ear, volume)
    await sink.start(VOICE)
    await sink.write(pcm[:1001])
    volume.follow({"to": 100})
    for start in range(1001, len(pcm), 333):
        await sink.write(pcm[start : start + 333])
    assert len(ear.pcm) == len(pcm)
    assert ear.pcm[-1000:] == pcm[-1000:]


async def test_another_width_is_played_as_it_is() -> None:
    ear = Ear()
    sink = VolumeSink(ear, Volume(20))
    await sink.start(AudioFormat(22_050, 3))
    await sink.write(b"\1\2\3" * 50)
    assert ear.pcm == b"\1\2\3" * 50


async def test_an_answer_may_change_the_volume(serve: Serve, tmp_path: Path) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.3)
        await connection.send(
            Event("transcript", {"text": "Louder."}),
            Event("handled", {"text": "Louder.", "volume": {"change": -50}}),
            *connection.audio_events(),
            Event("audio-stop", {}),
        )
        await connection.receive_until("never")

    peer = await serve(script)
    volume = Volume()
    sink = VolumeSink(WavSink(tmp_path / "a.wav"), volume)
    turn = Turn(Link(peer.uri), sink, TurnRequest("kitchen"), volume=volume)
    turn.hear(silence(0.5))
    result = await turn.run()
    assert result.error is None
    assert volume.percent == 50
    assert sink.played > 0.4
