from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioStart
from wyoming.error import Error
from wyoming.event import Event
from wyoming.vad import VoiceStopped

from handlers.audio import read_wav
from handlers.errors import DeadlineError, MeadowlarkError, ProtocolError
from satellite.asking import ASKING_SECONDS
from satellite.link import Link, LinkLostError
from satellite.sink import NoSink, Sink, WavSink
from satellite.turn import Turn, TurnRequest, TurnResult
from tests.satellite.peer import ANSWER, ANSWER_AUDIO, TIMELINE, Peer, PeerConnection, Script, well_behaved
from tests.support.speech import silence

Serve = Callable[[Script], "asyncio.Future[Peer]"]

SECOND = [silence(0.02)] * 50


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def have_turn(
    peer: Peer, sink: Sink | None = None, *, ends: bool = False, patience: float = 10.0, limit: float = 60.0
) -> TurnResult:
    request = TurnRequest("kitchen", "c0", "okay_nabu")
    turn = Turn(Link(peer.uri), sink or NoSink(), request, silent_seconds=patience, turn_seconds=limit)
    for piece in SECOND:
        turn.hear(piece)
    if ends:
        turn.end_of_audio()
    async with asyncio.timeout(30):
        return await turn.run()


async def test_a_turn_asks_and_plays_the_whole_answer(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(well_behaved)
    result = await have_turn(peer, WavSink(tmp_path / "a.wav"))
    assert result.error is None
    assert (result.transcript, result.answer) == ("What time is it?", ANSWER)
    assert result.timeline == TIMELINE
    assert result.conversation_id == "c1"
    assert result.audio_seconds == pytest.approx(len(ANSWER_AUDIO) / 44100)
    assert result.arrivals.keys() == {"sent", "transcript", "text", "audio"}
    assert 0 < result.arrivals["transcript"] <= result.arrivals["text"] <= result.arrivals["audio"]
    assert read_wav(tmp_path / "a.wav") != b""
    with (tmp_path / "a.wav").open("rb") as file:
        assert ANSWER_AUDIO in file.read()


async def test_the_request_says_who_asks_and_goes_on_with_a_conversation(serve: Serve) -> None:
    peer = await serve(well_behaved)
    await have_turn(peer)
    request = peer.turns[0].request
    assert (request.data["start_stage"], request.data["end_stage"]) == ("asr", "tts")
    assert request.data["wake_word_name"] == "okay_nabu"
    assert request.data["context"] == {"conversation_id": "c0", "satellite_id": "kitchen"}
    assert [event.type for event in peer.turns[0].received[:3]] == ["run-pipeline", "audio-start", "audio-chunk"]


@pytest.mark.parametrize("enough", [VoiceStopped().event(), Transcript(text="Stop.").event()], ids=lambda e: e.type)
async def test_nothing_is_sent_once_the_server_has_heard_enough(serve: Serve, enough: Event) -> None:
    told = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(1.0)
        await connection.send(enough)
        told.set()
        await connection.receive_until("audio-chunk")

    peer = await serve(script)
    turn = Turn(Link(peer.uri), NoSink(), TurnRequest("kitchen"), silent_seconds=1.0)
    for piece in SECOND:
        turn.hear(piece)
    running = asyncio.create_task(turn.run())
    await told.wait()
    while not turn.has_heard_enough:  # noqa: ASYNC110 - until what `told` announced has been read
        await asyncio.sleep(0)
    for piece in SECOND:
        turn.hear(piece)
    result = await running
    assert result.sent_seconds == pytest.approx(1.0)
    connection = await peer.ended.get()
    assert len(connection.audio) == 32_000
    assert "audio-stop" not in [event.type for event in connection.received]


async def test_the_end_of_the_audio_is_told(serve: Serve) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        await connection.answer()

    peer = await serve(script)
    result = await have_turn(peer, ends=True)
    assert result.error is None
    assert len(peer.turns[0].audio) == 32_000
    assert result.sent_seconds == pytest.approx(1.0)


async def test_an_answer_that_breaks_off_leaves_no_file(serve: Serve, tmp_path: Path) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        await connection.send(*connection.audio_events())
        await connection.hang_up()

    (tmp_path / "a.wav").write_bytes(b"the answer before")
    result = await have_turn(await serve(script), WavSink(tmp_path / "a.wav"))
    assert isinstance(result.error, LinkLostError)
    assert names(tmp_path) == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"the answer before"


async def test_an_error_event_ends_the_turn_with_its_words_code_and_timeline(serve: Serve) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        error = Error(text="No speech was heard", code="no-speech").event()
        await connection.send(Event(type=error.type, data={**error.data, "timeline": TIMELINE}))
        await connection.receive_until("never")

    result = await have_turn(await serve(script))
    assert result.error is not None
    assert (str(result.error), result.error.code, result.error.exit_code) == ("No speech was heard", "no-speech", 1)
    assert result.timeline == TIMELINE


async def test_a_silent_server_ends_the_turn(serve: Serve) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("never")

    result = await have_turn(await serve(script), patience=0.2)
    assert isinstance(result.error, DeadlineError)
    assert not result.interrupted


async def test_a_server_that_says_it_is_at_work_is_waited_for(serve: Serve) -> None:
    """Longer than for silence, and longer than an answer may take."""

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        for _ in range(5):
            await asyncio.sleep(0.4)  # at work
            await connection.send(Event("ping", {"text": "there?"}))
            await connection.receive_until("pong")
        await connection.answer()
        await connection.receive_until("never")

    peer = await serve(script)
    result = await have_turn(peer, patience=1.5, limit=1.5)
    assert result.error is None
    assert result.answer == ANSWER
    (turn,) = peer.turns
    assert [event.data for event in turn.received if event.type == "pong"] == [{"text": "there?"}] * 5


async def test_a_server_that_never_comes_to_an_end_is_left(serve: Serve) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        while True:
            await asyncio.sleep(0.05)
            await connection.send(Event("handled-chunk", {"text": "and "}))

    result = await have_turn(await serve(script), limit=0.5)
    assert isinstance(result.error, DeadlineError)
    assert not result.interrupted


CHUNK = {"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}, "payload_length": 2}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError),
        (b"[]\n", ProtocolError),
        (b'{"type": "audio-start", "data": {"rate": "fast", "width": 2, "channels": 1}}\n', ProtocolError),
        (b'{"type": "audio-start", "data": {"rate": 1, "width": 2, "channels": 1}}\n', ProtocolError),
        (json.dumps(CHUNK).encode() + b"\n\0\0", ProtocolError),
        (b'{"type": "audio-chunk", "payload_length": 1000000000000}\n', ProtocolError),
        (b'{"type": "audio-chunk", "payload_length": 10}\nhalf', ProtocolError),
        (b'{"type": "transcript", "data": {"text": 7}}\n{"type": "handled", "data": {"context": []}}\n', LinkLostError),
        (b"", LinkLostError),
    ],
)
async def test_garbage_from_the_server_is_a_clear_error(serve: Serve, sent: bytes, kind: type[MeadowlarkError]) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        await connection.send_raw(sent)
        await connection.hang_up()

    result = await have_turn(await serve(script))
    assert isinstance(result.error, kind)


async def test_a_format_that_changes_is_refused(serve: Serve, tmp_path: Path) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        await connection.send(*connection.audio_events(), AudioStart(rate=48000, width=2, channels=2).event())
        await connection.receive_until("never")

    result = await have_turn(await serve(script), WavSink(tmp_path / "a.wav"))
    assert isinstance(result.error, ProtocolError)
    assert names(tmp_path) == []


async def test_cancelling_a_turn_closes_its_connection(serve: Serve, tmp_path: Path) -> None:
    playing = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        await connection.send(*connection.audio_events())
        playing.set()
        await connection.receive_until("never")

    peer = await serve(script)
    sink = WavSink(tmp_path / "a.wav")
    running = asyncio.create_task(have_turn(peer, sink))
    await playing.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(10):
        await peer.ended.get()  # the server saw the connection close
    assert names(tmp_path) == []


async def test_audio_that_waits_too_long_for_a_connection_is_dropped(serve: Serve) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        await connection.answer()

    peer = await serve(script)
    turn = Turn(Link(peer.uri), NoSink(), TurnRequest("kitchen"))
    for _ in range(60):
        for piece in SECOND:
            turn.hear(piece)
    turn.end_of_audio()
    result = await turn.run()
    assert result.error is None
    assert len(peer.turns[0].audio) == 10 * 32_000


async def test_a_server_that_never_has_heard_enough_does_not_keep_the_microphone(serve: Serve) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        if connection.received:
            await connection.answer()

    peer = await serve(script)
    turn = Turn(Link(peer.uri), NoSink(), TurnRequest("kitchen"))
    running = asyncio.create_task(turn.run())
    said = 0
    while not turn.has_heard_enough:
        turn.hear(silence(1.0))
        said += 1
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        result = await running
    assert said == ASKING_SECONDS + 1
    assert (result.error, result.answer) == (None, ANSWER)
    assert result.sent_seconds <= ASKING_SECONDS
