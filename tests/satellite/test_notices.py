from __future__ import annotations

import asyncio
import contextlib
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from wyoming.event import Event

from handlers.agent.schedule.entry import Heard
from handlers.pipeline.notices import NoticeHandler, Notices
from handlers.tts.piper import PiperSynthesizer
from handlers.wire.client import WyomingClient
from satellite.happenings import Happening, Happenings, Kind
from satellite.link import Link
from satellite.machine import Satellite
from satellite.notices import NoticeLine
from satellite.sink import NoSink, Sink, WavSink
from satellite.source import Recording
from satellite.turn import ServerPartner, TurnResult
from satellite.wake import open_wake_words
from server.wyoming import WyomingServer
from tests.satellite.live import Microphone
from tests.satellite.peer import ANSWER, ANSWER_AUDIO, Peer, PeerConnection, Script, well_behaved
from tests.support.speech import Speaker, silence

Serve = Callable[[Script], asyncio.Future[Peer]]


class Mouth(NoSink):
    """A speaker that plays until it is told how much may be heard."""

    def __init__(self) -> None:
        super().__init__()
        self.sounds = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.aborted = 0
        self.drained = 0

    async def write(self, pcm: bytes) -> None:
        await super().write(pcm)
        self.sounds.set()
        await self.goes_on.wait()

    async def drain(self) -> None:
        self.drained += 1

    async def abort(self) -> None:
        self.aborted += 1


def notice(name: str = "n1", **data: str) -> list[Event]:
    start, *chunks = PeerConnection.audio_events()
    begin = Event("audio-start", {**start.data, "notice": name, **data})
    return [begin, *chunks, Event("audio-stop", {"notice": name})]


@contextlib.asynccontextmanager
async def listening(
    peer: Peer, sink: Sink, wait_seconds: float = 60.0, happenings: Happenings | None = None
) -> AsyncIterator[NoticeLine]:
    line = NoticeLine(Link(peer.uri), sink, "kitchen", wait_seconds=wait_seconds, happenings=happenings)
    task = asyncio.create_task(line.run())
    try:
        async with asyncio.timeout(60):
            yield line
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Server:
    """A scripted server's side: what it heard, and what a test makes it send."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[PeerConnection] = asyncio.Queue()
        self.heard: asyncio.Queue[Event] = asyncio.Queue()

    async def script(self, connection: PeerConnection) -> None:
        await connection.receive_until("satellite-connected")
        if connection.received:
            await self.follow(connection)

    async def follow(self, connection: PeerConnection) -> None:
        self.connections.put_nowait(connection)
        while (event := await connection.receive()) is not None:
            self.heard.put_nowait(event)

    async def played(self) -> Event:
        while (event := await self.heard.get()).type != "played":
            pass
        return event


async def reaches(server: Server, connection: PeerConnection, *events: Event) -> None:
    """Send, and wait until the satellite has taken it."""
    await connection.send(*events, Event("ping", {}))
    assert (await server.heard.get()).type == "pong"


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_notice_is_played_and_reported(serve: Serve, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    async with listening(await serve(server.script), WavSink(path)):
        connection = await server.connections.get()
        assert connection.received[0].data["context"] == {"satellite_id": "kitchen"}
        await connection.send(Event("ping", {"text": "there?"}))
        assert (await server.heard.get()).data == {"text": "there?"}
        await connection.send(Event("timer-finished", {"id": "t1"}), Event("something-new", {}), *notice())
        assert (await server.played()).data == {"notice": "n1"}
    with wave.open(str(path), "rb") as reader:
        assert reader.readframes(reader.getnframes()) == ANSWER_AUDIO


async def test_a_turn_stops_it_and_the_server_is_told(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        await connection.send(*notice())
        await mouth.sounds.wait()
        async with line.turn():
            assert mouth.aborted == 1
            reported = (await server.played()).data
    assert (reported["notice"], reported["stopped"]) == ("n1", True)
    assert 0 < reported["seconds"] < 0.3


async def test_it_waits_for_the_end_of_a_turn(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    mouth.goes_on.set()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        async with line.turn():
            await connection.send(*notice(), Event("ping", {}))
            assert (await server.heard.get()).type == "pong"  # it has it, and goes on listening
            assert not mouth.sounds.is_set()
        assert (await server.played()).data == {"notice": "n1"}
        assert mouth.drained == 1


async def test_it_does_not_wait_for_ever(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth, wait_seconds=0.05) as line:
        connection = await server.connections.get()
        async with line.turn():
            await connection.send(*notice())
            assert (await server.played()).data == {"notice": "n1", "seconds": 0.0, "stopped": False}
    assert not mouth.sounds.is_set()


async def test_it_lets_a_turn_that_interrupts_another_go_first(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    mouth.goes_on.set()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        async with line.turn():
            await reaches(server, connection, *notice())
        async with line.turn():
            assert not mouth.sounds.is_set()
        assert (await server.played()).data == {"notice": "n1"}


async def test_a_turn_before_its_first_sound_is_waited_for_again(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    mouth.goes_on.set()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        async with line.turn():
            await reaches(server, connection, *notice())
            mouth.played = 1.5  # of the answer
        await reaches(server, connection)  # it lets some quiet pass now
        async with line.turn():
            await reaches(server, connection)
            assert not mouth.sounds.is_set()
        assert (await server.played()).data == {"notice": "n1"}


async def test_turn_after_turn_is_not_waited_for_without_end(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth, wait_seconds=0.5) as line:
        connection = await server.connections.get()
        async with line.turn():
            await reaches(server, connection, *notice())
            mouth.played = 1.5
        await reaches(server, connection)
        async with line.turn():
            assert (await server.played()).data == {"notice": "n1", "seconds": 0.0, "stopped": False}
    assert not mouth.sounds.is_set()


async def test_one_that_waits_again_can_be_ended(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    mouth.goes_on.set()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        async with line.turn():
            await reaches(server, connection, *notice())
        await reaches(server, connection)
        async with line.turn():
            await reaches(server, connection, *notice("n2"))
        assert (await server.played()).data == {"notice": "n2"}


async def test_what_happens_is_told(serve: Serve, server: Server) -> None:
    told: list[Happening] = []
    happenings = Happenings()
    happenings.add(told.append)
    mouth = Mouth()
    async with listening(await serve(server.script), mouth, happenings=happenings) as line:
        connection = await server.connections.get()
        await reaches(
            server,
            connection,
            Event("timer-started", {"id": "t1", "total_seconds": 600, "name": "pasta"}),
            Event("timer-updated", {"id": "t1", "is_active": False, "total_seconds": 500}),
            Event("timer-cancelled", {"id": ["nonsense"]}),
            Event("timer-finished", {"id": "t1"}),
        )
        assert told == [
            Happening(Kind.TIMER_STARTED, {"id": "t1", "name": "pasta", "seconds": 600}),
            Happening(Kind.TIMER_UPDATED, {"id": "t1", "seconds": 500, "active": False}),
            Happening(Kind.TIMER_CANCELLED, {"id": None}),
            Happening(Kind.TIMER_FINISHED, {"id": "t1"}),
        ]
        told.clear()
        async with line.turn():
            await reaches(server, connection, *notice("n1"))
            assert (told, line.sounding) == ([], False)
        await mouth.sounds.wait()
        assert (told, line.sounding) == ([Happening(Kind.NOTICE)], True)
        async with line.turn():
            assert told[1:] == [Happening(Kind.NOTICE_OVER, {"stopped": True})]
            assert line.sounding is False
        assert (await server.played()).data["stopped"] is True
        mouth.goes_on.set()
        await connection.send(*notice("n2"))
        assert (await server.played()).data == {"notice": "n2"}
        assert told[2:] == [Happening(Kind.NOTICE), Happening(Kind.NOTICE_OVER, {"stopped": False})]


async def test_somebody_wants_quiet(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        assert not line.stop()
        await connection.send(*notice())
        await mouth.sounds.wait()
        assert line.stop()
        assert line.stop()  # twice is once
        reported = (await server.played()).data
        assert (reported["notice"], reported["stopped"]) == ("n1", True)
        assert reported["seconds"] > 0
        assert mouth.aborted == 1
        assert not line.stop()


async def test_quiet_is_also_for_what_was_not_heard_yet(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        async with line.turn():
            await reaches(server, connection, *notice("waits"))
            assert line.stop()
            assert (await server.played()).data == {"notice": "waits", "seconds": 0.0, "stopped": True}
        start, *rest = notice("comes")
        await reaches(server, connection, start)
        assert line.stop()
        await connection.send(*rest)
        assert (await server.played()).data == {"notice": "comes", "seconds": 0.0, "stopped": True}
        assert not line.stop()
    assert not mouth.sounds.is_set()


async def test_quiet_while_a_turn_ends_it(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        await connection.send(*notice())
        await mouth.sounds.wait()
        turn = line.turn()
        beginning = asyncio.create_task(turn.__aenter__())
        await asyncio.sleep(0)  # it has asked for quiet, and the notice has not yet ended
        assert line.stop()
        await beginning
        assert (await server.played()).data["stopped"] is True
        await turn.__aexit__(None, None, None)


@pytest.mark.parametrize("by_turn", [True, False])
async def test_what_rings_can_be_stopped_in_its_pause(serve: Serve, server: Server, by_turn: bool) -> None:
    mouth = Mouth()
    mouth.goes_on.set()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        for ringing in ("t0", "t1"):
            await connection.send(*notice("n1", rings=ringing))
            assert (await server.played()).data == {"notice": "n1"}
        if by_turn:
            async with line.turn():
                pass
        else:
            assert line.stop()
            assert not line.stop()
        mouth.sounds.clear()
        for ringing in ("t0", "t1"):
            await connection.send(*notice("n2", rings=ringing))
            assert (await server.played()).data == {"notice": "n2", "seconds": 0.0, "stopped": True}
        assert not mouth.sounds.is_set()
        await connection.send(*notice("n3", rings="t2"))  # another timer
        assert (await server.played()).data == {"notice": "n3"}


async def test_the_server_can_end_it(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth) as line:
        connection = await server.connections.get()
        await connection.send(*notice())
        await mouth.sounds.wait()
        await connection.send(Event("audio-stop", {"notice": "n1", "abort": True}), Event("ping", {}))
        assert (await server.heard.get()).type == "pong"  # and nothing was reported
        assert mouth.aborted == 1
        async with line.turn():  # the speaker is free
            pass


async def test_a_newer_notice_replaces_one_that_the_server_gave_up(serve: Serve, server: Server) -> None:
    mouth = Mouth()
    async with listening(await serve(server.script), mouth):
        connection = await server.connections.get()
        await connection.send(*notice("n1"))
        await mouth.sounds.wait()
        mouth.goes_on.set()
        await connection.send(*notice("n2"))
        while (await server.played()).data["notice"] != "n2":
            pass
        assert mouth.drained >= 1


@pytest.mark.parametrize(
    "nonsense",
    [
        [Event("audio-chunk", {"rate": 22050, "width": 2, "channels": 1}, b"\0\0")],
        [Event("audio-start", {"rate": "fast"})],
        [Event("error", {"text": "The server is full", "code": "idle"})],
        [],
    ],
)
async def test_it_comes_back_after_whatever_went_wrong(serve: Serve, nonsense: list[Event]) -> None:
    server, tries = Server(), 0

    async def script(connection: PeerConnection) -> None:
        nonlocal tries
        await connection.receive_until("satellite-connected")
        tries += 1
        if tries == 1:
            await connection.send(Event("ping", {}), *nonsense)
        else:
            await server.follow(connection)

    mouth = Mouth()
    mouth.goes_on.set()
    async with listening(await serve(script), mouth):
        connection = await server.connections.get()
        await connection.send(*notice())
        assert (await server.played()).data == {"notice": "n1"}


async def test_a_server_that_goes_while_it_plays_ends_it(serve: Serve) -> None:
    mouth = Mouth()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("satellite-connected")
        await connection.send(*notice())
        await mouth.sounds.wait()

    async with listening(await serve(script), mouth) as line:
        await mouth.sounds.wait()
        async with line.turn():
            pass
        while not mouth.aborted:  # noqa: ASYNC110 -- ends with the connection
            await asyncio.sleep(0.005)


async def test_it_survives_what_nobody_foresaw(serve: Serve, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    class Defective(Link):
        """Stands for a defect of ours, twice."""

        tries = 0

        @contextlib.asynccontextmanager
        async def open(self) -> AsyncIterator[WyomingClient]:
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError("a defect")
            async with super().open() as client:
                yield client

    peer = await serve(server.script)
    mouth = Mouth()
    mouth.goes_on.set()
    line = NoticeLine(Defective(peer.uri), mouth, "kitchen")
    task = asyncio.create_task(line.run())
    try:
        async with asyncio.timeout(30):
            connection = await server.connections.get()
            await connection.send(*notice())
            assert (await server.played()).data == {"notice": "n1"}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_mouth_with_a_defect_is_reported(serve: Serve, server: Server) -> None:
    class Defective(Mouth):
        async def drain(self) -> None:
            raise RuntimeError("a defect")

    mouth = Defective()
    mouth.goes_on.set()
    async with listening(await serve(server.script), mouth):
        connection = await server.connections.get()
        await connection.send(*notice())
        assert (await server.played()).data == {"notice": "n1", "seconds": 0.0, "stopped": False}


async def test_another_with_the_same_name_is_told(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("satellite-connected")
        await connection.send(
            Event("ping", {}), Event("error", {"text": "Another satellite is called 'kitchen'", "code": "replaced"})
        )
        await connection.receive_until("never")
        told.set()

    async with listening(await serve(script), Mouth()):
        await told.wait()
        while "Another satellite" not in caplog.text:  # noqa: ASYNC110 -- the log has no event
            await asyncio.sleep(0.005)


async def test_a_notice_is_heard_by_the_real_server(piper: PiperSynthesizer, tmp_path: Path) -> None:
    notices = Notices(piper)
    came = asyncio.Event()
    notices.on_arrival(lambda name: came.set())
    server = WyomingServer(
        "127.0.0.1",
        0,
        describe=lambda: Event("info", {}),
        services=lambda connection: [NoticeHandler(connection, notices)],
    )
    await server.start()
    try:
        sink = WavSink(tmp_path / "a.wav")
        line = NoticeLine(Link(f"tcp://127.0.0.1:{server.port}"), sink, "kitchen")
        task = asyncio.create_task(line.run())
        async with asyncio.timeout(60):
            await came.wait()
            assert await notices.say("kitchen", "Your timer is done.", "en", chime=True) is Heard.HEARD
            assert (tmp_path / "a.wav").stat().st_size > 60_000
            held = asyncio.create_task(notices.say("kitchen", "Your timer is done.", "en"))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await held is Heard.NOBODY
    finally:
        await server.close()


async def test_a_wake_word_stops_a_notice_and_begins_a_turn(serve: Serve, server: Server, speaker: Speaker) -> None:
    microphone = Microphone()

    async def script(connection: PeerConnection) -> None:
        event = await connection.receive()
        if event is not None and event.type == "satellite-connected":
            await server.follow(connection)
        elif event is not None:
            await well_behaved(connection)

    peer = await serve(script)
    mouth = Mouth()
    results: asyncio.Queue[TurnResult] = asyncio.Queue()
    wake = await open_wake_words(["okay_nabu"])
    assert wake is not None
    link = Link(peer.uri)
    satellite = Satellite(
        microphone.source,
        ServerPartner(link, mouth),
        wake,
        "kitchen",
        results.put_nowait,
        notices=NoticeLine(link, mouth, "kitchen"),
    )
    running = asyncio.create_task(satellite.run(once=False))
    try:
        async with asyncio.timeout(60):
            connection = await server.connections.get()
            await connection.send(*notice())
            await mouth.sounds.wait()
            mouth.goes_on.clear()
            said = silence(0.5) + speaker.say("Okay Nabu.") + silence(0.4) + speaker.say("Stop.") + silence(1.5)
            for start in range(0, len(said), 3200):
                await asyncio.to_thread(microphone.say, said[start : start + 3200])
            assert (await server.played()).data["stopped"] is True
            mouth.goes_on.set()
            result = await results.get()
        assert result.answer == ANSWER
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await wake.close()
        microphone.end()
        await microphone.source.close()


async def test_a_satellite_for_one_turn_cannot_be_called(serve: Serve, tmp_path: Path) -> None:
    peer = await serve(well_behaved)
    link, sink = Link(peer.uri), NoSink()
    reading = Recording("pipe", lambda: silence(0.1), is_live=True)
    satellite = Satellite(
        reading,
        ServerPartner(link, sink),
        None,
        "kitchen",
        lambda result: None,
        notices=NoticeLine(link, sink, "kitchen"),
    )
    async with asyncio.timeout(30):
        await satellite.run(once=True)
    await reading.close()
    types = {event.type for connection in peer.connections for event in connection.received}
    assert "run-pipeline" in types
    assert "satellite-connected" not in types
