"""A thousand turns in which everything goes wrong by turns. Nothing may get stuck, and nothing may be left behind.

Another seed: SOAK_SEED=7 pytest tests/satellite/test_soak.py
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import psutil
import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk
from wyoming.ping import Ping
from wyoming.timer import TimerFinished
from wyoming.vad import VoiceStopped

from handlers.audio import AudioFormat
from handlers.errors import AudioError
from handlers.wake.stage import Detection
from satellite.happenings import Happening, Happenings, Kind
from satellite.link import Link
from satellite.machine import Satellite, State
from satellite.notices import NoticeLine
from satellite.pieces import PIECE_BYTES
from satellite.sink import NoSink
from satellite.sounds import SoundSettings, SoundSink, open_sounds
from satellite.turn import ServerPartner, Turn, TurnRequest, TurnResult
from satellite.volume import Volume, VolumeSink
from satellite.wake import WakeListener
from tests.satellite.peer import Peer, PeerConnection
from tests.satellite.wire import Wire

SATELLITES = 20
"""Side by side, as most of a turn is waiting."""

ROUNDS = 4
TURNS = 250
"""In each round, by all satellites together; after it they rest, and what they hold is looked at."""

SHOWN = 100
"""Turns after which a line is printed."""

SPEED = 5.0
"""How much faster than in life these satellites hear and speak."""

PATIENCE = 60.0
"""For what takes a second at most on a machine with nothing else to do."""

MEGABYTES = 10.0
"""By which the process may grow after the first round."""

SILENT_SECONDS = 0.5
TURN_SECONDS = 1.5
"""A satellite waits for 30 s and 10 minutes; the ways in which it gives up are the same."""

QUIET = bytes(PIECE_BYTES)
CALL = b"\x11\x11" * (PIECE_BYTES // 2)
STOP = b"\x22\x22" * (PIECE_BYTES // 2)
"""What the wake word and the stop word sound like here."""

SPEECH = AudioStart(rate=22050, width=2, channels=1).event()


class Ears:
    """A microphone in a quiet room. It can be pulled."""

    name = "room"
    is_live = True

    def __init__(self) -> None:
        self.said: deque[bytes] = deque()
        self._plugged = self._wanted = True
        self._hears = asyncio.Event()
        self._hears.set()

    @property
    def present(self) -> bool:
        return self._hears.is_set()

    def plug(self, plugged: bool) -> None:
        self._plugged = plugged
        self._changed()

    async def read(self) -> bytes:
        await asyncio.sleep(0.02 / SPEED)
        await self._hears.wait()
        return self.said.popleft() if self.said else QUIET

    async def pause(self) -> None:
        self._wanted = False
        self._changed()

    async def resume(self) -> None:
        self._wanted = True
        self._changed()

    async def close(self) -> None:
        """Nothing is open."""

    def _changed(self) -> None:
        if self._plugged and self._wanted:
            self._hears.set()
        else:
            self._hears.clear()


class Mouth(NoSink):
    """A speaker that fails now and then."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.is_open = False
        self._chance = chance

    async def start(self, audio_format: AudioFormat) -> None:
        if self._chance.random() < 0.03:
            raise AudioError("The speaker is gone")
        assert not self.is_open, "two at once"
        self.is_open = True
        await super().start(audio_format)

    async def write(self, pcm: bytes) -> None:
        if self._chance.random() < 0.01:
            raise AudioError("The speaker was pulled")
        await asyncio.sleep(len(pcm) / self._bytes_per_second / SPEED)
        await super().write(pcm)

    async def drain(self) -> None:
        self.is_open = False

    async def abort(self) -> None:
        self.is_open = False


class Ear:
    """Hears the words of this room."""

    def process(self, pcm: bytes) -> list[Detection]:
        return [Detection(name, 0.9, 0.0) for name, sound in (("call", CALL), ("stop", STOP)) if sound in pcm]

    def reset(self) -> None:
        """Nothing is remembered."""


class Impatient:
    """Meadowlark's server as a partner, with short deadlines."""

    is_there = True
    judges_wake_words = ServerPartner.judges_wake_words

    def __init__(self, link: Link, sink: SoundSink, volume: Volume, happenings: Happenings) -> None:
        server = ServerPartner(link, sink, volume=volume, happenings=happenings)
        self.find, self.wait = server.find, server.wait
        self._link, self._sink, self._volume, self._happenings = link, sink, volume, happenings

    def begin(self, request: TurnRequest) -> Turn:
        return Turn(
            self._link,
            self._sink,
            request,
            volume=self._volume,
            happenings=self._happenings,
            silent_seconds=SILENT_SECONDS,
            turn_seconds=TURN_SECONDS,
        )


def chunk(seconds: float) -> Event:
    return AudioChunk(rate=22050, width=2, channels=1, audio=bytes(2 * int(22050 * seconds))).event()


def handled(**data: object) -> Event:
    event = Handled(text="It is noon.").event()
    event.data |= {"context": {"conversation_id": "c1"}, **data}
    return event


def answer(**data: object) -> list[Event]:
    """What goes well, in the order of the contract."""
    heard = [VoiceStopped().event(), Transcript(text="What time is it?").event()]
    said = [HandledChunk(text="It is noon.").event(), handled(**data), SPEECH, chunk(0.2), chunk(0.3)]
    return [*heard, *said, AudioStop().event()]


Behaviour = Callable[[PeerConnection, random.Random], Awaitable[None]]


async def well(connection: PeerConnection, chance: random.Random) -> None:
    await connection.receive_audio(0.2)
    await connection.send(*answer())


async def asks_back(connection: PeerConnection, chance: random.Random) -> None:
    await connection.receive_audio(0.2)
    await connection.send(*answer(listen=True, volume={"to": chance.randrange(150)}))


async def goes_anywhere(connection: PeerConnection, chance: random.Random) -> None:
    await connection.receive_audio(chance.random() * 0.2)
    events = answer()
    await connection.send(*events[: chance.randrange(len(events))])
    await connection.hang_up()


async def goes_at_once(connection: PeerConnection, chance: random.Random) -> None:
    """It does not even read what was sent: that is a reset."""


async def fails(connection: PeerConnection, chance: random.Random) -> None:
    code = chance.choice(["no-speech", "not-woken", "other-satellite", "overloaded", None])
    await connection.send(*answer()[: chance.randrange(6)], Error(text="Something went wrong", code=code).event())


async def babbles(connection: PeerConnection, chance: random.Random) -> None:
    await connection.send_raw(chance.randbytes(200) + b"\n" + chance.randbytes(70_000))


async def stops_in_an_event(connection: PeerConnection, chance: random.Random) -> None:
    await connection.send_raw(b'{"type": "transcript", "data_length": 1000}\n{"text": "')
    await connection.receive_until("never")


async def says_nothing(connection: PeerConnection, chance: random.Random) -> None:
    await connection.receive_until("never")


async def takes_nothing(connection: PeerConnection, chance: random.Random) -> None:
    await asyncio.sleep(4 * SILENT_SECONDS)


async def trickles(connection: PeerConnection, chance: random.Random) -> None:
    await connection.send(VoiceStopped().event())
    while True:
        await connection.send(HandledChunk(text="and ").event())
        await asyncio.sleep(0.1)


async def says_no_format(connection: PeerConnection, chance: random.Random) -> None:
    wrong = [
        [chunk(0.1)],
        [SPEECH, AudioStart(rate=8000, width=2, channels=1).event()],
        [AudioStart(rate=-1, width=2, channels=1).event()],
        [Event("audio-start", {"rate": "fast"})],
    ]
    await connection.send(*answer()[:4], *chance.choice(wrong))
    await connection.receive_until("never")


async def says_what_nobody_knows(connection: PeerConnection, chance: random.Random) -> None:
    strange = {"text": 5, "context": [], "listen": "yes", "volume": {"to": "loud"}, "code": {}, "timeline": "none"}
    kinds = ["transcript", "handled", "handled-chunk", "voice-stopped", "info", "timer-started", "audio-stop"]
    await connection.send(*(Event(kind, strange) for kind in chance.sample(kinds, len(kinds))))


async def says_a_book(connection: PeerConnection, chance: random.Random) -> None:
    await connection.send(VoiceStopped().event(), *(HandledChunk(text="x" * 60_000).event() for _ in range(10)))
    await connection.send(SPEECH, *(chunk(10) for _ in range(10)), AudioStop().event())
    await connection.receive_until("never")


FAULTS: tuple[Behaviour, ...] = (
    asks_back,
    goes_anywhere,
    goes_at_once,
    fails,
    babbles,
    stops_in_an_event,
    says_nothing,
    takes_nothing,
    trickles,
    says_no_format,
    says_what_nobody_knows,
    says_a_book,
)


EVENTS = (
    *["nothing"] * 4,
    *("stop", "stop-word", "push", "call", "call", "done", "mute", "pulled", "reset", "frozen", "restart"),
)
"""What comes between."""


@dataclass
class Soak:
    """What is counted over all satellites."""

    show: Callable[[], None]
    """After each turn."""
    turns: int = 0
    wanted: int = 0
    """At which the round ends."""
    answered: int = 0
    came: Counter[str] = field(default_factory=Counter)
    """What went wrong, and how often."""


class Life:
    """A satellite, its server, the wire between them, and whoever lives with it."""

    def __init__(self, number: int, seed: int, soak: Soak) -> None:
        self._chance = random.Random(f"{seed}/{number}")
        self._soak = soak
        self._name = f"s{number}"
        self.story: deque[str] = deque(maxlen=40)
        """What happened last."""
        self._told = asyncio.Event()
        self._kinds: Counter[Kind] = Counter()
        self.can_be_called = False

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[None]:
        chance = self._chance
        happenings = Happenings()
        happenings.add(self._note)
        self.ears, self.mouth = Ears(), Mouth(chance)
        wake = WakeListener(Ear(), {"call": "call"}, stops={"stop"})
        volume = Volume(100)
        sink = SoundSink(VolumeSink(self.mouth, volume), await open_sounds(SoundSettings(heard=True)))
        happenings.add(sink.follow)
        async with Peer(self._serve) as self.peer, Wire(self.peer.port) as self.wire:
            link = Link(self.wire.uri)
            self.satellite = Satellite(
                self.ears,
                Impatient(link, sink, volume, happenings),
                wake,
                self._name,
                self._report,
                volume=volume,
                notices=NoticeLine(link, sink, self._name, happenings=happenings),
                happenings=happenings,
            )
            running = asyncio.create_task(self.satellite.run(once=False))
            try:
                yield
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await sink.close()
                await wake.close()

    async def have_turns(self) -> None:
        """Until the round is over. Raises AssertionError when the satellite is stuck."""
        while self._soak.turns < self._soak.wanted:
            await self.until(lambda: self.satellite.state is State.LISTENING, "listens again")
            woken = self._kinds[Kind.WOKEN]
            if self._chance.random() < 0.5:
                self.satellite.talk()
            else:
                self.ears.said.append(CALL)
            await self.until(lambda before=woken: self._kinds[Kind.WOKEN] > before, "wakes")  # type: ignore[misc]
            await self._interfere()
            self.peer.connections.clear()
            self.wire.sent.clear()
            while not self.peer.ended.empty():
                self.peer.ended.get_nowait()

    async def rest(self) -> None:
        """Until everything is as it was at the beginning."""
        await self.until(lambda: self.satellite.state is State.LISTENING, "listens again")
        await self.until(lambda: self.can_be_called, "can be called")
        await self.until(lambda: not self.mouth.is_open, "is quiet")
        await self.until(lambda: self._kinds[Kind.WOKEN] == self._kinds[Kind.FINISHED], "ends what it begins")

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self._told.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):  # not all that is waited for is told
                            await self._told.wait()
        except TimeoutError:
            raise AssertionError(f"{self._name} never {what}: {self.satellite.status}, {list(self.story)}") from None

    async def _interfere(self) -> None:
        """Somebody or something comes between, at any moment of the turn."""
        satellite = self.satellite
        await asyncio.sleep(self._chance.random() ** 2 * 0.4)
        what = self._chance.choice(EVENTS)
        self.story.append(f"({what})")
        match what:
            case "stop":
                satellite.stop()
            case "stop-word":
                self.ears.said.append(STOP)
            case "push":
                satellite.talk()
            case "call":
                self.ears.said.append(CALL)
            case "done":
                satellite.done()
            case "mute":
                satellite.mute()
                await asyncio.sleep(self._chance.random() * 0.2)
                satellite.unmute()
            case "pulled":
                self.ears.plug(False)
                await asyncio.sleep(self._chance.random() * 0.4)
                self.ears.plug(True)
            case "reset":
                self.wire.reset()
            case "frozen":
                self.wire.freeze()
                await self.until(lambda: satellite.state is State.LISTENING, "notices a frozen connection")
                self.wire.reset()  # its line for notices waits for 70 s
            case "restart":
                await self.wire.close()
                await asyncio.sleep(self._chance.random() * 0.3)
                await self.wire.open()

    async def _serve(self, connection: PeerConnection) -> None:
        first = await connection.receive()
        if first is None:  # it only looked
            return
        if first.type == "satellite-connected":
            self.can_be_called = True
            try:
                await self._call(connection)
            finally:
                self.can_be_called = False
            return
        behaviour = well if self._chance.random() < 0.4 else self._chance.choice(FAULTS)
        self.story.append(behaviour.__name__)
        self._soak.came[behaviour.__name__] += 1
        await behaviour(connection, self._chance)
        await connection.receive_until("never")

    async def _call(self, connection: PeerConnection) -> None:
        """Something to say, now and then; then the line is open."""
        await connection.send(Ping().event())
        if self._chance.random() < 0.5:
            begin = Event("audio-start", {**SPEECH.data, "notice": "n1", "rings": self._chance.choice(["", "t1"])})
            await connection.send(TimerFinished(id="t1").event(), begin, chunk(0.5), Event("audio-stop"))
        while await connection.receive() is not None:
            connection.received.clear()

    def _note(self, happening: Happening) -> None:
        self._kinds[happening.kind] += 1
        self._told.set()
        self.story.append(str(happening.kind))

    def _report(self, result: TurnResult) -> None:
        self._soak.turns += 1
        if result.error is None and not result.interrupted:
            self._soak.answered += 1
        elif result.error is not None:
            self.story.append(f"{result.error.code}: {result.error}"[:80])
            self._soak.came[result.error.code] += 1
        else:
            self._soak.came["interrupted"] += 1
        self._soak.show()


@dataclass(frozen=True)
class Held:
    """What this process holds."""

    tasks: Counter[str]
    files: int
    threads: int
    megabytes: float

    @classmethod
    def now(cls) -> Held:
        process = psutil.Process()
        tasks = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
        threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]  # the loop's
        return cls(tasks, process.num_fds(), len(threads), process.memory_info().rss / 1e6)

    def no_more_than(self, other: Held) -> bool:
        return self.tasks <= other.tasks and self.files <= other.files and self.threads <= other.threads

    def __str__(self) -> str:
        return f"{self.tasks.total()} tasks, {self.files} files, {self.threads} threads, {self.megabytes:.0f} MB"


async def settled(than: Held | None) -> Held:
    """What is held when the last connections are closed: no more `than` before, or still more after `PATIENCE`."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)  # what is free, but kept for the next answer, is not held
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while than is not None and not Held.now().no_more_than(than):  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # what closes takes up to a second, and tells nobody
    return Held.now()


@pytest.mark.timeout(400)
async def test_a_thousand_turns_with_faults_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("SOAK_SEED", "1"))
    began = time.monotonic()

    def show(what: str = "") -> None:
        if what or soak.turns % SHOWN == 0:
            with capsys.disabled():
                passed = time.monotonic() - began
                print(
                    f"\nsoak: {passed:3.0f} s, {soak.turns:4} turns, {soak.answered:4} answered; {Held.now()} {what}",
                    end="",
                )

    soak = Soak(show)
    lives = [Life(number, seed, soak) for number in range(SATELLITES)]
    empty = Held.now()
    first: Held | None = None
    after_first = empty
    async with contextlib.AsyncExitStack() as stack:
        for life in lives:
            await stack.enter_async_context(life.begin())
        for number in range(ROUNDS + 1):  # before the first nothing happens: so much is held at the beginning
            soak.wanted = number * TURNS
            await asyncio.gather(*(life.have_turns() for life in lives))
            await asyncio.gather(*(life.rest() for life in lives))
            held = await settled(first)
            show(f"at rest (seed {seed})")
            first = first or held
            if number == 1:
                after_first = held
            assert held.no_more_than(first), (
                f"seed {seed}: {held.tasks - first.tasks}, {[life.story for life in lives]}"
            )
        assert held.megabytes - after_first.megabytes < MEGABYTES
        assert soak.turns >= ROUNDS * TURNS
        assert soak.answered > ROUNDS * TURNS / 10
        assert not {fault.__name__ for fault in FAULTS} - set(soak.came)
    left = await settled(empty)
    show(f"at the end; {dict(soak.came)}\n")
    assert left.no_more_than(empty), f"seed {seed}: {left.tasks - empty.tasks}"
