"""Turns over the web port, as the page has them, against a scripted server, and beside those of a satellite."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench.clips import Clip, make_clip
from bench.labels import energy_label
from bench.options import parse
from bench.record import TurnRecord, take_turn
from bench.summary import beside, divided
from bench.turn import run
from bench.websocket import PageTarget
from handlers.audio import BYTES_PER_SECOND, write_wav
from handlers.errors import SettingsError
from tests.satellite.peer import Peer
from tests.support.bench_peers import pipeline, sounds
from tests.support.bench_web import WebPeer, sending, voice_stream

END = 0.5
"""Where the tone of the clip ends."""

TOLERANCE_MS = 1.0
"""Rounding, and timers that may fire a clock tick early."""

ERROR = {"type": "error", "code": "no-speech", "text": "No speech was heard", "turn": 1}
DONE = {"type": "done", "turn": 1, "outcome": "failed", "timeline": {"marks_ms": {"speech_start": 200.0}}}


@pytest.fixture
def clip() -> Clip:
    return make_clip("what time is it.wav", sounds(0.2, END - 0.2, 0.3), energy_label, "what time is it")


async def test_times_are_counted_from_the_end_of_speech(clip: Clip) -> None:
    script = voice_stream(END + 0.1, END + 0.2, END + 0.3, marks={"endpoint": END * 1000 + 80})
    async with WebPeer(script) as peer:
        record = await take_turn(PageTarget(peer.url, 1.0), clip, 1, 20.0)
        connection = await asyncio.wait_for(peer.ended.get(), 20)
    assert record.error is None
    early = (END - clip.end_of_speech) * 1000 - TOLERANCE_MS
    assert record.ms["transcript"] >= 100 + early
    assert record.ms["first_text"] >= 200 + early
    assert record.ms["first_audio"] >= 300 + early
    assert record.ms["transcript"] <= record.ms["first_text"] <= record.ms["first_audio"] <= record.ms["last_audio"]
    assert record.server_ms["endpoint"] <= record.ms["transcript"]
    assert (record.transcript, record.answer) == ("what time is it", "It is noon.")
    assert record.audio_seconds == pytest.approx(1.0, abs=0.001)
    assert record.round_trip_ms is not None
    assert record.round_trip_ms > 0
    assert connection.types() == ["start", *["ping"] * 5, "listen", "end_audio", "played"]
    assert connection.received[0]["protocol"] == 1
    assert connection.received[6]["mode"] == "hands_free"


async def test_audio_leaves_in_frames_as_it_is_spoken(clip: Clip) -> None:
    """Each when its last sample was spoken: the server hears 0.6 s of it 0.6 s after the first, and no sooner."""
    async with WebPeer(voice_stream(END + 0.1, END + 0.1, END + 0.1)) as peer:
        record = await take_turn(PageTarget(peer.url, 1.0, frame_seconds=0.064), clip, 1, 20.0)
    assert set(peer.connections[0].frames) == {0.064 * BYTES_PER_SECOND}
    assert record.late_ms is not None
    assert record.ms["first_audio"] >= 100 + (END - clip.end_of_speech) * 1000 - TOLERANCE_MS


async def test_a_long_answer_is_acknowledged(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.websocket._ACK_SECONDS", 0.0)
    async with WebPeer(voice_stream(END, END, END)) as peer:
        await take_turn(PageTarget(peer.url, 1.0), clip, 1, 20.0)
        connection = await asyncio.wait_for(peer.ended.get(), 20)
    acknowledged = [message["received"] for message in connection.received if message["type"] == "ack"]
    assert acknowledged == list(range(1, len(acknowledged) + 1))
    assert len(acknowledged) == 1 + 5 + 9  # the greeting, the pongs, and all up to `done`


async def test_hanging_up_at_the_first_audio_ends_the_turn(clip: Clip) -> None:
    async with WebPeer(voice_stream(END + 0.1, END + 0.1, END + 0.1)) as peer:
        record = await take_turn(PageTarget(peer.url, 1.0, hang_up=True), clip, 1, 20.0)
        connection = await asyncio.wait_for(peer.ended.get(), 20)
    assert record.error is None
    assert "first_audio" in record.ms
    assert "last_audio" not in record.ms
    assert "played" not in connection.types()


@pytest.mark.parametrize(
    ("frames", "close", "code"),
    [
        ([ERROR, DONE], 0, "no-speech"),
        ([{**ERROR, "fatal": True}], 4400, "no-speech"),
        ([{"type": "error"}, DONE], 0, "error"),
        ([{**DONE, "outcome": "completed"}], 0, "no-audio"),
        ([{**DONE, "outcome": "cancelled"}], 0, "cancelled"),
        ([b"\0\0"], 0, "malformed"),
        ([{"type": "audio_start", "turn": 1, "rate": "fast"}], 0, "malformed"),
        ([], 1011, "closed"),
        ([{"type": "transcript", "turn": 1, "text": "hello"}], 0, "timeout"),
    ],
)
async def test_what_is_no_answer_is_a_failure(
    clip: Clip, frames: list[dict[str, Any] | bytes], close: int, code: str
) -> None:
    async with WebPeer(sending(*frames, close=close)) as peer:
        record = await take_turn(PageTarget(peer.url, 1.0), clip, 1, 0.4)
    assert record.error_code == code
    assert record.error
    assert ("speech_start" in record.server_ms) is any(
        isinstance(frame, dict) and "timeline" in frame for frame in frames
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": 401}, "it answers with 401"),
        (
            {"greeting": {"type": "error", "code": "too-many", "text": "Too many sessions are open"}},
            "Too many sessions",
        ),
    ],
)
async def test_a_server_that_lets_nobody_in_is_told_before_the_first_turn(options: dict[str, Any], reason: str) -> None:
    async with WebPeer(sending(), **options) as peer:
        with pytest.raises(SettingsError, match=f"No voice session at .*{reason}.*: start the server, or name"):
            await PageTarget(peer.url, 1.0).check()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nowhere", ""])
async def test_an_address_without_a_server(url: str) -> None:
    with pytest.raises(SettingsError, match=r"No voice session at .*: start the server, or name its web port with"):
        await PageTarget(url, 1.0).check()


async def test_both_are_measured_in_one_run_and_compared(
    clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for name in ("a", "b"):
        write_wav(recordings / f"{name}.wav", sounds(0.2, END - 0.2, 0.3))
    token, file, chart = tmp_path / "token", tmp_path / "out.json", tmp_path / "turn.svg"
    token.write_text("secret\n", encoding="utf-8")
    satellite = pipeline(END + 0.1, END + 0.1, END + 0.1, marks={"endpoint": 600.0})
    page = voice_stream(END + 0.3, END + 0.3, END + 0.3, marks={"endpoint": 800.0})
    async with Peer(satellite) as server, WebPeer(page) as web:
        code = await run(
            parse(
                [
                    *(
                        str(recordings),
                        "--labeller",
                        "energy",
                        "--rounds",
                        "2",
                        "--warmup",
                        "0",
                        "--server",
                        server.uri,
                    ),
                    *("--websocket", "--http", web.url, "--token-file", str(token)),
                    *("--json", str(file), "--chart", str(chart)),
                ]
            )
        )
    shown = capsys.readouterr().out
    document = json.loads(file.read_text(encoding="utf-8"))
    assert code == 0
    assert web.connections[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in file.read_text(encoding="utf-8")
    # Of one question in two rounds, and of two questions in one round, each has begun once.
    order = [(turn["round"], turn["clip"], turn["target"]) for turn in document["turns"]]
    first = {(1, "a.wav"): "websocket", (1, "b.wav"): "server", (2, "a.wav"): "server", (2, "b.wav"): "websocket"}
    assert [(number, name) for number, name, _ in order[::2]] == list(first)
    assert {(number, name): target for number, name, target in order[::2]} == first
    assert [(number, name) for number, name, _ in order[1::2]] == list(first)
    compared = document["summary"]["page_beside_satellite"]
    medians = [document["summary"][name]["ms"]["first_audio"]["median"] for name in ("websocket", "server")]
    assert compared["n"] == 4
    assert (compared["page"]["median"], compared["satellite"]["median"]) == tuple(medians)
    assert compared["ratio"] == pytest.approx(medians[0] / medians[1], abs=0.001)
    assert document["summary"]["ratio_of_medians"]["first_audio"] == compared["ratio"]
    assert set(document["targets"]) == {"server", "websocket"}
    assert all(turn["round_trip_ms"] for turn in document["turns"] if turn["target"] == "websocket")
    assert "the page's first answer" in shown
    assert "endpoint" in shown
    assert shown.count("\nendpoint") == 1
    drawn = chart.read_text(encoding="utf-8")
    assert drawn.index(", as a satellite") < drawn.index(", as the page")


def _pair(number: int, satellite: float, page: float, round_trip: float = 2.0) -> list[TurnRecord]:
    records = [TurnRecord("server", "a.wav", number), TurnRecord("websocket", "a.wav", number)]
    records[0].ms, records[1].ms = {"first_audio": satellite}, {"first_audio": page}
    records[1].round_trip_ms = round_trip
    return records


@pytest.mark.parametrize(
    ("later", "within"),
    [([-5.0, -4.0, -3.0, -2.0], True), ([9.0, 10.0, 11.0, 12.0], False), ([-9.0, -1.0, 5.0, 12.0], None)],
)
def test_the_page_may_be_later_by_one_round_trip(later: list[float], within: bool | None) -> None:
    records = [record for number, less in enumerate(later) for record in _pair(number, 300.0, 300.0 + less)]
    found = beside(records)
    assert found is not None
    assert (found.difference.min, found.difference.max) == (min(later), max(later))
    assert found.surely[0] <= found.difference.median <= found.surely[1]
    assert found.within is within


def test_only_questions_that_both_answered_are_compared() -> None:
    records = [*_pair(1, 300.0, 310.0), *_pair(2, 100.0, 900.0)]
    records[2].fail("timeout", "late")
    found = beside(records)
    assert found is not None
    assert (found.n, found.difference.median) == (1, 10.0)
    assert beside(records[2:]) is None
    assert beside([]) is None


def test_whose_medians_are_divided() -> None:
    assert divided(["server", "chain"]) == ("server", "chain")
    assert divided(["server", "websocket", "chain"]) == ("server", "chain")
    assert divided(["server", "websocket"]) == ("websocket", "server")
    assert divided(["server"]) is None
