"""What a person asks of a satellite without words: push to talk, mute, stop; and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from wyoming.audio import AudioChunk, AudioStart
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.vad import VoiceStopped

from satellite.happenings import Happening, Happenings, Kind
from satellite.link import Link
from satellite.machine import Satellite, State
from satellite.sink import NoSink, Sink
from satellite.turn import ServerPartner, TurnResult
from satellite.volume import Volume
from satellite.wake import open_wake_words
from tests.satellite.live import Loudspeaker, Microphone, speak
from tests.satellite.peer import ANSWER, Peer, PeerConnection, Script, well_behaved
from tests.support.speech import Speaker, likeness, silence

Serve = Callable[[Script], asyncio.Future[Peer]]


@dataclass
class Life:
    """A running satellite and what is known of it."""

    satellite: Satellite
    happenings: asyncio.Queue[Happening] = field(default_factory=asyncio.Queue)

    async def until(self, kind: Kind) -> Happening:
        """The next happening of a kind; those before it are forgotten."""
        while (happening := await self.happenings.get()).kind is not kind:
            pass
        return happening

    def so_far(self) -> list[Kind]:
        return [self.happenings.get_nowait().kind for _ in range(self.happenings.qsize())]


@contextlib.asynccontextmanager
async def living(
    microphone: Microphone,
    uri: str,
    sink: Sink,
    *,
    words: Sequence[str] = ("none",),
    pushed: bool = True,
    volume: Volume | None = None,
) -> AsyncIterator[Life]:
    """A satellite with a live microphone; push to talk where no wake words are given."""
    wake = await open_wake_words(words)
    told = Happenings()
    results: list[TurnResult] = []
    life = Life(None)  # type: ignore[arg-type]  # a moment later
    satellite = Satellite(
        microphone.source,
        ServerPartner(Link(uri), sink, happenings=told),
        wake,
        "kitchen",
        results.append,
        pushed=pushed,
        volume=volume,
        happenings=told,
    )
    life.satellite = satellite
    told.add(life.happenings.put_nowait)
    running = asyncio.create_task(satellite.run(once=False))
    try:
        async with asyncio.timeout(60):
            yield life
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if wake is not None:
            await wake.close()


async def hears_all(connection: PeerConnection) -> None:
    """Takes audio up to its end, as of a held key, and answers."""
    await connection.receive_until("audio-stop")
    if connection.received:
        await connection.answer()
        await connection.receive_until("never")


async def test_nothing_leaves_before_the_push_and_nothing_after_the_key_is_let_go(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    peer = await serve(hears_all)
    question = speaker.say("What time is it?")
    async with living(microphone, peer.uri, NoSink()) as life:
        await life.until(Kind.LISTENING)
        await speak(microphone, speaker.say("My secret is safe."))
        life.satellite.talk()
        await life.until(Kind.WOKEN)
        await speak(microphone, silence(0.2) + question + silence(0.4))
        life.satellite.done()
        assert life.satellite.state is State.ANSWERING
        await speak(microphone, speaker.say("And this is nobody's business."))
        finished = await life.until(Kind.FINISHED)
        await life.until(Kind.LISTENING)
    assert finished.data["interrupted"] is False
    [turn] = peer.turns
    assert likeness(turn.audio, question) > 0.99
    assert len(turn.audio) < len(silence(1.5)) + len(question)


async def test_what_happens_is_told_in_order(serve: Serve, microphone: Microphone) -> None:
    peer = await serve(well_behaved)
    async with living(microphone, peer.uri, NoSink()) as life:
        await life.until(Kind.LISTENING)
        life.satellite.talk()
        woken = await life.happenings.get()
        await speak(microphone, silence(1.0))
        kinds = []
        while (happening := await life.happenings.get()).kind is not Kind.LISTENING:
            kinds.append(happening.kind)
    assert woken == Happening(Kind.WOKEN, {"wake_word": None, "score": 0.0})
    assert kinds == [Kind.HEARD, Kind.TRANSCRIPT, Kind.SPEAKING, Kind.ANSWER, Kind.FINISHED]


async def test_muted_nothing_is_heard_and_what_was_being_asked_is_dropped(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    peer = await serve(hears_all)
    called = silence(0.3) + speaker.say("Okay Nabu.") + silence(1.0)
    async with living(microphone, peer.uri, NoSink(), words=["okay_nabu"]) as life:
        await life.until(Kind.LISTENING)
        await speak(microphone, called)
        await life.until(Kind.WOKEN)
        life.satellite.mute()
        assert life.satellite.is_muted
        sent = len(peer.turns[0].audio) if peer.turns else 0
        dropped = await life.until(Kind.FINISHED)
        await speak(microphone, called)
        life.satellite.talk()
        refused = await life.until(Kind.ERROR)
        await speak(microphone, silence(2.5))
        assert life.so_far() == []
        life.satellite.unmute()
        await speak(microphone, called)
        again = await life.until(Kind.WOKEN)
    assert dropped.data["interrupted"] is True
    assert refused.data["code"] == "muted"
    assert again.data["wake_word"] == "okay_nabu"
    assert all(len(turn.audio) <= sent + len(silence(1.0)) for turn in peer.turns[:1])
    assert not any(event.type == "audio-stop" for event in peer.turns[0].received)  # never taken for a request


async def test_stop_silences_an_answer_and_the_satellite_listens_again(serve: Serve, microphone: Microphone) -> None:
    played: asyncio.Queue[Event | None] = asyncio.Queue()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.2)
        if not connection.received:
            return
        handled = Handled(text="Well?", context={"conversation_id": "c1"}).event()
        handled.data["listen"] = True
        await connection.send(VoiceStopped().event(), handled, AudioStart(rate=16000, width=2, channels=1).event())
        for _ in range(100):
            await connection.send(AudioChunk(rate=16000, width=2, channels=1, audio=bytes(9600)).event())
        await connection.receive_until("played")
        played.put_nowait(connection.received[-1])

    peer = await serve(script)
    sink = Loudspeaker()
    async with living(microphone, peer.uri, sink) as life:
        await life.until(Kind.LISTENING)
        life.satellite.talk()
        await speak(microphone, silence(0.5))
        await life.until(Kind.SPEAKING)
        life.satellite.stop()
        finished = await life.until(Kind.FINISHED)
        await life.until(Kind.LISTENING)  # not to the reply to its question: nobody heard it
        told = await played.get()
        life.satellite.stop()  # of nothing
        life.satellite.talk()
        await life.until(Kind.WOKEN)
    assert finished.data["interrupted"] is True
    assert told is not None
    assert told.data["seconds"] < 10  # of thirty
    assert sink.aborted >= 1


async def test_a_push_interrupts_an_answer(serve: Serve, microphone: Microphone) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.2)
        if not connection.received:
            return
        await connection.send(VoiceStopped().event(), Handled(text="Well.").event())
        await connection.send(AudioStart(rate=16000, width=2, channels=1).event())
        for _ in range(100):
            await connection.send(AudioChunk(rate=16000, width=2, channels=1, audio=bytes(9600)).event())
        await connection.receive_until("never")

    peer = await serve(script)
    async with living(microphone, peer.uri, Loudspeaker()) as life:
        await life.until(Kind.LISTENING)
        life.satellite.talk()
        await speak(microphone, silence(0.5))
        await life.until(Kind.SPEAKING)
        life.satellite.talk()
        interrupted = await life.until(Kind.FINISHED)
        await life.until(Kind.WOKEN)
        life.satellite.talk()  # it is listening already
        await speak(microphone, silence(0.5))
        await life.until(Kind.SPEAKING)
    assert interrupted.data["interrupted"] is True
    assert len(peer.turns) == 2


async def test_whoever_calls_while_there_is_no_server_hears_that(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    async with Peer(well_behaved) as gone:
        uri, port = gone.uri, gone.port
    async with living(microphone, uri, NoSink(), words=["okay_nabu"]) as life:
        await life.until(Kind.DISCONNECTED)
        assert life.satellite.state is State.WAITING
        await speak(microphone, silence(0.3) + speaker.say("Okay Nabu.") + silence(1.0))
        told = await life.until(Kind.ERROR)
        async with Peer(well_behaved, port=port) as peer:
            await life.until(Kind.CONNECTED)
            await life.until(Kind.LISTENING)
            await speak(microphone, silence(2.5) + speaker.say("Okay Nabu.") + silence(1.5))
            answer = await life.until(Kind.ANSWER)
            assert len(peer.turns) == 1
    assert told.data["code"] == "no-server"
    assert answer.data["text"] == ANSWER


async def test_what_is_dropped_before_it_began_is_never_done(serve: Serve, microphone: Microphone) -> None:
    """Two pushes and a mute while an answer is still falling silent."""
    released = asyncio.Event()

    class Slow(Loudspeaker):
        async def abort(self) -> None:
            await super().abort()
            await released.wait()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.1)
        if not connection.received:
            return
        await connection.send(VoiceStopped().event(), Handled(text="Well.").event())
        await connection.send(AudioStart(rate=16000, width=2, channels=1).event())
        for _ in range(100):
            await connection.send(AudioChunk(rate=16000, width=2, channels=1, audio=bytes(9600)).event())
        await connection.receive_until("never")

    peer = await serve(script)
    async with living(microphone, peer.uri, Slow()) as life:
        await life.until(Kind.LISTENING)
        life.satellite.talk()
        await speak(microphone, silence(0.5))
        await life.until(Kind.SPEAKING)
        life.satellite.talk()
        life.satellite.done()
        life.satellite.talk()  # instead of the one before
        released.set()
        await life.until(Kind.FINISHED)
        await life.until(Kind.WOKEN)
        await speak(microphone, silence(0.5))
        await life.until(Kind.SPEAKING)
        released.clear()
        life.satellite.talk()
        life.satellite.mute()
        released.set()
        await life.until(Kind.FINISHED)
        await life.until(Kind.LISTENING)
        assert life.so_far() == []
    assert len(peer.turns) == 2


async def test_muted_or_deaf_what_sounds_is_not_ducked_for_ever(serve: Serve, microphone: Microphone) -> None:
    peer = await serve(well_behaved)
    volume = Volume(ducked=30)
    async with living(microphone, peer.uri, NoSink(), volume=volume) as life:
        await life.until(Kind.LISTENING)
        for ends in (life.satellite.mute, life.satellite.microphone_lost):
            volume.duck()
            ends()
            assert not volume.is_ducked
        life.satellite.unmute()
        life.satellite.talk()
        told = await life.until(Kind.ERROR)
        life.satellite.microphone_found()
        volume.duck()
        life.satellite.talk()
        assert not volume.is_ducked
    assert told.data["code"] == "no-microphone"


async def test_status_and_volume(serve: Serve, microphone: Microphone) -> None:
    peer = await serve(well_behaved)
    async with living(microphone, peer.uri, NoSink()) as life:
        await life.until(Kind.LISTENING)
        life.satellite.set_volume(30)
        life.satellite.set_volume(30)
        life.satellite.mute()
        assert life.satellite.status == {
            "name": "kitchen",
            "state": "listening",
            "muted": True,
            "volume": 30,
            "microphone": False,
        }
        assert life.so_far() == [Kind.VOLUME, Kind.MUTED]
        assert life.satellite.is_healthy
