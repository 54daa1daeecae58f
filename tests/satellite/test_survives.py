"""What a bad network and a laptop's lid do to a satellite."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from wyoming.ping import Ping
from wyoming.vad import VoiceStopped

from satellite.happenings import Kind
from satellite.link import Link, LinkLostError
from satellite.machine import State
from satellite.pieces import PIECE_BYTES
from satellite.sink import NoSink
from satellite.turn import ServerPartner, Turn, TurnRequest, TurnResult
from tests.satellite.live import Microphone, speak
from tests.satellite.peer import ANSWER, ANSWER_AUDIO, Peer, PeerConnection, Script, well_behaved
from tests.satellite.process import running
from tests.satellite.test_controls import living
from tests.satellite.wire import Wire
from tests.support.speech import Speaker, likeness, silence

Serve = Callable[[Script], asyncio.Future[Peer]]

TURNS = 20


@contextlib.asynccontextmanager
async def losing(port: int, share: float) -> AsyncIterator[Wire]:
    async with Wire(port) as wire:
        lose(wire, share)
        yield wire


def lose(wire: Wire, share: float) -> None:
    try:
        wire.lose(share)
    except PermissionError:
        pytest.skip("this system does not let a process filter its own sockets")


async def ask(link: Link) -> TurnResult:
    """A turn with a second of audio, as fast as it goes."""
    turn = ServerPartner(link, NoSink()).begin(TurnRequest("kitchen"))
    for _ in range(50):
        turn.hear(bytes(PIECE_BYTES))
    return await turn.run()


async def test_turns_succeed_where_every_tenth_segment_is_lost(serve: Serve) -> None:
    peer = await serve(well_behaved)
    async with losing(peer.port, 0.1) as wire:
        results = await asyncio.gather(*(ask(Link(wire.uri)) for _ in range(TURNS)))
    assert [result.error for result in results] == [None] * TURNS
    assert {result.answer for result in results} == {ANSWER}
    assert {round(result.audio_seconds * 44100) for result in results} == {len(ANSWER_AUDIO)}


async def test_a_half_open_connection_is_noticed_by_asking_whether_it_is_there(serve: Serve) -> None:
    asked = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        await connection.send(VoiceStopped().event(), Ping().event())
        await connection.receive_until("pong")  # all is acknowledged
        asked.set()  # and it thinks for ever
        await connection.receive_until("never")

    peer = await serve(script)
    async with losing(peer.port, 0.0) as wire:
        link = Link(wire.uri)
        turn = Turn(link, NoSink(), TurnRequest("kitchen"), silent_seconds=1000, turn_seconds=1000)
        running = asyncio.create_task(turn.run())
        for _ in range(50):
            turn.hear(bytes(PIECE_BYTES))
        async with asyncio.timeout(60):
            await asked.wait()
            lose(wire, 1.0)
            result = await running
            wire.lose(0.0)
            await link.find()
    assert isinstance(result.error, LinkLostError)


async def test_what_was_said_into_a_dead_connection_is_not_said_again(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    question, other = speaker.say("What is the weather like?"), speaker.say("Turn on the light.")
    asked = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.2)
        asked.set()
        await connection.receive_audio(1.0 + len(other) / 32_000)
        if connection.received:
            await connection.answer()
            await connection.receive_until("never")

    peer = await serve(script)
    async with losing(peer.port, 0.0) as wire, living(microphone, wire.uri, NoSink()) as life:
        await life.until(Kind.LISTENING)
        life.satellite.talk()
        await speak(microphone, silence(0.3))
        await asked.wait()
        lose(wire, 1.0)
        wire.lose(0.0)  # of the next connection nothing
        await speak(microphone, question + silence(0.2))
        while life.satellite.state is State.ASKING:
            await speak(microphone, silence(0.5))
        lost = await life.until(Kind.ERROR)
        await life.until(Kind.LISTENING)
        life.satellite.talk()
        await speak(microphone, silence(0.2) + other + silence(1.0))
        answer = await life.until(Kind.ANSWER)
    assert lost.data["code"] == "no-server"
    assert answer.data["text"] == ANSWER
    first, second = peer.turns
    assert likeness(first.audio, question) < 0.5
    assert likeness(second.audio, question) < 0.5
    assert likeness(second.audio, other) > 0.99


async def test_a_satellite_that_slept_drops_what_it_was_asked_and_finds_its_server_again(
    speaker: Speaker, tmp_path: Path
) -> None:
    question, other = speaker.say("What is the weather like?"), speaker.say("Turn on the light.")
    turns: asyncio.Queue[PeerConnection] = asyncio.Queue()
    asleep = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive()
        if not connection.received or connection.received[0].type == "satellite-connected":
            await connection.receive_until("never")
            return
        await connection.receive_audio(0.2)
        turns.put_nowait(connection)
        if not asleep.is_set():
            await asleep.wait()
            return  # the server has had enough of a satellite that says nothing
        await connection.receive_audio(1.0 + len(other) / 32_000)
        await connection.answer()
        await connection.receive_until("never")

    async with Peer(script) as peer, running(tmp_path, peer.uri, "none") as process:
        await process.do("talk")
        await process.hear(silence(0.5))
        first = await turns.get()
        await process.freeze()
        await process.hear(question)  # the system's buffers go on hearing for a moment
        asleep.set()
        while await peer.ended.get() is not first:
            pass
        process.thaw()
        await process.until("disconnected")
        await process.until("listening")
        await process.hear(silence(0.5))  # what was in the buffers is heard by nobody
        await process.do("talk")
        await process.hear(silence(0.2) + other + silence(1.5))
        answer = await process.until("answer")
        second = await turns.get()
    assert answer["text"] == ANSWER
    assert likeness(first.audio, question) < 0.5
    assert likeness(second.audio, question) < 0.5
    assert likeness(second.audio, other) > 0.99
