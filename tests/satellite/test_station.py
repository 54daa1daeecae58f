"""The satellite under Home Assistant. `House` speaks as its `wyoming` integration does, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import wave
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated
from wyoming.tts import Synthesize
from wyoming.vad import VoiceStopped
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from handlers.audio import AudioFormat
from handlers.errors import SettingsError
from handlers.wire.discovery import WYOMING_TYPE
from satellite.happenings import Happening, Happenings, Kind
from satellite.link import LinkLostError
from satellite.partner import Partner
from satellite.sink import NoSink, Sink, WavSink
from satellite.station import Station
from satellite.station_notices import ring_audio
from satellite.station_turn import StationTurn
from satellite.turn import TurnRequest, TurnResult
from tests.support.speech import silence

WORDS = {"okay_nabu": "okay nabu"}
FORMAT = AudioFormat(22050, 2, 1)
ANSWER = bytes(range(256)) * 80
"""0.46 s in FORMAT."""

PIECE = 2048
"""Bytes of audio in one event of Home Assistant's."""

REQUEST = TurnRequest("kitchen", wake_word="okay_nabu", score=0.9)
PUSHED = TurnRequest("kitchen")


class House:
    """Home Assistant's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.seen: list[str] = []
        """Types of the events that came, but for audio and `pong`."""
        self.audio = b""

    async def say(self, *events: Event) -> None:
        for event in events:
            await async_write_event(event, self._writer)

    async def say_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self) -> Event | None:
        event = await async_read_event(self._reader)
        if event is not None and event.type == "audio-chunk":
            self.audio += event.payload or b""
        elif event is not None and event.type != "pong":
            self.seen.append(event.type)
        return event

    async def until(self, event_type: str) -> Event:
        while (event := await self.hear()) is not None:
            if event.type == event_type:
                return event
        raise AssertionError(f"The satellite closed the connection before '{event_type}', after {self.seen}")

    async def ping(self) -> None:
        """Returns when the satellite has taken all that was said."""
        await self.say(Ping().event())
        await self.until("pong")

    async def hears_request(self, seconds: float = 0.1) -> None:
        await self.until("run-pipeline")
        await self.say(Transcribe(language="en").event())
        while len(self.audio) < seconds * 32_000:
            await self.hear()

    async def understands(self, text: str = "What time is it?") -> None:
        await self.say(VoiceStopped(timestamp=900).event(), Transcript(text=text).event())

    async def hang_up(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def spoken(audio: bytes = ANSWER) -> list[Event]:
    """As the integration sends speech."""
    rate, width, channels = FORMAT.rate, FORMAT.width, FORMAT.channels
    return [
        AudioStart(rate, width, channels, timestamp=0).event(),
        *(
            AudioChunk(rate, width, channels, audio[start : start + PIECE], timestamp=0).event()
            for start in range(0, len(audio), PIECE)
        ),
        AudioStop(timestamp=0).event(),
    ]


def answer(text: str = "It is noon.", audio: bytes = ANSWER) -> list[Event]:
    return [Synthesize(text=text).event(), *spoken(audio)]


class Mouth(NoSink):
    """A speaker that plays until it is told how much may be heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = b""
        self.sounds = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.aborted = 0
        self.drained = 0

    async def write(self, pcm: bytes) -> None:
        await super().write(pcm)
        self.heard += pcm
        self.sounds.set()
        await self.goes_on.wait()

    async def drain(self) -> None:
        self.drained += 1

    async def abort(self) -> None:
        self.aborted += 1


class Diary:
    """What happened."""

    def __init__(self) -> None:
        self.happenings = Happenings()
        self.happenings.add(self._note)
        self.entries: list[Happening] = []
        self._changed = asyncio.Event()

    @property
    def kinds(self) -> list[Kind]:
        return [entry.kind for entry in self.entries]

    def of(self, kind: Kind) -> list[Mapping[str, object]]:
        return [entry.data for entry in self.entries if entry.kind is kind]

    async def until(self, kind: Kind, count: int = 1) -> None:
        while self.kinds.count(kind) < count:
            self._changed.clear()
            await self._changed.wait()

    def _note(self, happening: Happening) -> None:
        self.entries.append(happening)
        self._changed.set()


class Standing(Station):
    """A station, and who has called it."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.houses: list[House] = []


@contextlib.asynccontextmanager
async def standing(
    sink: Sink,
    diary: Diary,
    *,
    silent_seconds: float = 30.0,
    ring_seconds: float = 600.0,
    find_seconds: float = 15.0,
) -> AsyncIterator[Standing]:
    station = Standing(
        "tcp://127.0.0.1:0",
        sink,
        "kitchen",
        WORDS,
        diary.happenings,
        silent_seconds=silent_seconds,
        ring_seconds=ring_seconds,
        find_seconds=find_seconds,
    )
    await station.start()
    running = asyncio.create_task(station.run())
    try:
        async with asyncio.timeout(30):
            yield station
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.gather(station.close(), *(house.hang_up() for house in station.houses))


async def call(station: Standing) -> House:
    house = House(*await asyncio.open_connection("127.0.0.1", station.port))
    station.houses.append(house)
    return house


async def move_in(station: Standing) -> House:
    """As the integration begins."""
    house = await call(station)
    await house.say(RunSatellite().event(), Describe().event())
    await house.until("info")
    house.seen.clear()
    return house


def there(station: Partner) -> bool:
    return station.is_there


@contextlib.asynccontextmanager
async def asking(
    station: Station, request: TurnRequest = REQUEST
) -> AsyncIterator[tuple[StationTurn, asyncio.Task[TurnResult]]]:
    """A turn as the satellite's machine has it, with some audio."""
    async with station.turn():
        turn = station.begin(request)
        running = asyncio.create_task(turn.run())
        for _ in range(10):
            turn.hear(silence(0.05))
        try:
            yield turn, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def mouth() -> Mouth:
    return Mouth()


@pytest.fixture
def diary() -> Diary:
    return Diary()


async def test_it_says_what_it_is(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await call(station)
        await house.say(Describe().event())
        info = Info.from_event(await house.until("info"))
        assert info.satellite is not None
        assert (info.satellite.name, info.satellite.installed, info.satellite.area) == ("kitchen", True, None)
        assert info.satellite.active_wake_words == ["okay_nabu"]
        assert {model.name: model.phrase for program in info.wake for model in program.models} == WORDS
        assert not station.is_there  # it was only asked


async def test_home_assistant_comes_pauses_and_comes_back(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        partner: Partner = station
        finding = asyncio.create_task(partner.find())
        house = await move_in(station)
        await finding
        assert there(station)
        await house.say(PauseSatellite().event())
        await diary.until(Kind.DISCONNECTED)
        assert not there(station)
        waiting = asyncio.create_task(station.wait())
        await house.hang_up()
        await move_in(station)
        await waiting
    assert diary.kinds == [Kind.CONNECTED, Kind.DISCONNECTED, Kind.CONNECTED, Kind.DISCONNECTED]


async def test_a_house_that_does_not_come_is_told_of_once(
    mouth: Mouth, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    async with standing(mouth, diary, find_seconds=0.05) as station:
        with pytest.raises(LinkLostError, match=f":{station.port}: add the integration"):
            await station.find()
        waiting = asyncio.create_task(station.wait())
        while "Waiting for it" not in caplog.text:  # noqa: ASYNC110 -- the log has no event
            await asyncio.sleep(0.005)
        await move_in(station)
        await waiting
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_request_is_answered_and_played(diary: Diary, tmp_path: Path) -> None:
    async with standing(WavSink(tmp_path / "a.wav"), diary) as station:
        house = await move_in(station)
        async with asking(station) as (turn, running):
            detection = await house.until("detection")
            assert detection.data["name"] == "okay_nabu"
            run = await house.until("run-pipeline")
            assert (run.data["start_stage"], run.data["end_stage"], run.data["restart_on_end"]) == ("asr", "tts", False)
            while len(house.audio) < 16_000:
                await house.hear()
            before = turn.has_heard_enough
            await house.understands()
            await house.until("streaming-stopped")
            assert (before, turn.has_heard_enough) == (False, True)
            turn.hear(silence(1.0))
            await house.say(*answer())
            await house.until("played")
            result = await running
    assert result.error is None
    assert (result.transcript, result.answer) == ("What time is it?", "It is noon.")
    assert result.audio_seconds == pytest.approx(len(ANSWER) / 44_100)
    assert result.sent_seconds == pytest.approx(0.5)
    assert len(house.audio) == 16_000
    assert list(result.arrivals) == ["sent", "transcript", "text", "audio"]
    assert house.seen == ["detection", "run-pipeline", "streaming-started", "streaming-stopped", "played"]
    assert diary.kinds[1:5] == [Kind.HEARD, Kind.TRANSCRIPT, Kind.ANSWER, Kind.SPEAKING]
    with wave.open(str(tmp_path / "a.wav"), "rb") as reader:
        assert reader.readframes(reader.getnframes()) == ANSWER


async def test_the_end_of_a_recording_is_told(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station, PUSHED) as (turn, running):
            turn.end_of_audio()
            await house.until("audio-stop")
            await house.until("streaming-stopped")
            await house.say(Error(text="No text recognized", code="stt-no-text-recognized").event())
            result = await running
    assert house.seen == ["run-pipeline", "streaming-started", "audio-stop", "streaming-stopped"]
    assert len(house.audio) == 16_000
    assert result.error is not None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stt-no-text-recognized", "no-speech"),
        ("duplicate_wake_up_detected", "other-satellite"),
        ("intent-failed", "intent-failed"),
    ],
)
async def test_errors_have_our_names(mouth: Mouth, diary: Diary, theirs: str, ours: str) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.say(Error(text="It is so", code=theirs).event())
            result = await running
        assert result.error is not None
        assert (result.error.code, str(result.error)) == (ours, "It is so")
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            await house.say(*answer())
            mouth.goes_on.set()
            assert (await running).error is None
    assert "played" not in house.seen[:4]


async def test_pings_are_answered_while_much_more_is_said_than_can_be_played(mouth: Mouth, diary: Diary) -> None:
    minute = bytes(60 * 44_100)
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            await house.say(*answer(audio=minute))
            await mouth.sounds.wait()
            await house.ping()  # all of it is here, and a tenth of a second was played
            assert len(mouth.heard) == 4410
            mouth.goes_on.set()
            await house.until("played")
            assert mouth.drained == 1
            result = await running
    assert len(mouth.heard) == len(minute)
    assert result.audio_seconds == pytest.approx(60)


async def test_an_answer_may_begin_before_its_text_and_may_have_none(mouth: Mouth, diary: Diary) -> None:
    mouth.goes_on.set()
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            start, *chunks, stop = spoken()
            await house.say(start, chunks[0])
            await mouth.sounds.wait()
            await house.say(Synthesize(text="A long story.").event(), *chunks[1:], stop)
            assert (await running).answer == "A long story."
            assert mouth.heard == ANSWER
        async with asking(station, PUSHED) as (_, running):
            await house.hears_request(1.0)
            await house.understands()
            await house.say(Synthesize(text="…").event(), AudioStop(timestamp=0).event())
            result = await running
    assert result.error is None
    assert result.audio_seconds == 0.0


async def test_an_empty_answer_ends_the_turn_and_a_late_one_is_played_nevertheless(mouth: Mouth, diary: Diary) -> None:
    mouth.goes_on.set()
    async with standing(mouth, diary, silent_seconds=0.3) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands("Never mind.")
            result = await running
        assert result.error is None
        assert result.transcript == "Never mind."
        await house.say(*spoken())
        await house.until("played")
        assert house.seen.count("run-pipeline") == 1  # the pipeline was left alone
        async with asking(station):  # until somebody asks something else
            assert (await house.until("run-pipeline")).data["start_stage"] == "tts"
            await house.say(*spoken(bytes(4410)))  # too late
            await house.ping()
    assert mouth.heard == ANSWER
    assert diary.kinds.count(Kind.NOTICE) == 1


async def test_a_house_that_says_nothing_is_not_waited_for(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary, silent_seconds=0.3) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            result = await running
        assert result.error is not None
        assert result.error.code == "timeout"
        await house.until("run-pipeline")
        assert (await house.until("run-pipeline")).data["start_stage"] == "tts"  # which ends the other


async def test_an_interrupted_answer_is_silent_at_once_and_its_rest_is_dropped(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            start, *chunks, stop = spoken()
            await house.say(Synthesize(text="It is noon.").event(), start, *chunks[:4])
            await mouth.sounds.wait()
            running.cancel()
            await house.until("played")
            assert mouth.aborted == 1
            assert (await asyncio.gather(running, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        mouth.goes_on.set()
        mouth.heard = b""
        async with asking(station, PUSHED) as (_, running):
            await house.say(*chunks[4:], stop)
            await house.hears_request(1.0)
            await house.understands("Stop.")
            await house.say(*answer("Well.", ANSWER[:4410]))
            result = await running
    assert result.answer == "Well."
    assert mouth.heard == ANSWER[:4410]
    assert Kind.NOTICE not in diary.kinds
    assert house.seen.count("run-pipeline") == 2  # the first pipeline was over


async def test_a_pipeline_that_still_works_is_ended_before_the_next_begins(mouth: Mouth, diary: Diary) -> None:
    mouth.goes_on.set()
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            await diary.until(Kind.TRANSCRIPT)
            running.cancel()
            assert (await house.until("run-pipeline")).data["start_stage"] == "tts"
        async with asking(station, TurnRequest("kitchen", wake_word="hey_jarvis")) as (_, running):
            await house.ping()
            assert house.seen.count("run-pipeline") == 2
            await house.say(Error(text="Too late", code="intent-failed").event())  # the first one's
            await house.say(*answer("An answer to the first."))
            await house.ping()
            assert house.seen.count("run-pipeline") == 2
            await house.say(Error(text="tts_input is required", code="validation-error").event())
            assert (await house.until("detection")).data["name"] == "hey_jarvis"
            await house.hears_request(1.0)  # nothing that was said meanwhile is lost
            await house.understands("And now?")
            await house.say(*answer("Now it is one.", ANSWER[:4410]))
            result = await running
    assert result.error is None
    assert (result.transcript, result.answer) == ("And now?", "Now it is one.")
    assert mouth.heard == ANSWER[:4410]
    assert Kind.NOTICE not in diary.kinds


async def test_the_same_wake_word_soon_after_is_not_taken_for_another_satellites(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        for _ in range(2):
            async with asking(station) as (_, running):
                await house.hears_request()
                await house.say(Error(text="No text recognized", code="stt-no-text-recognized").event())
                await running
    assert house.seen.count("run-pipeline") == 2
    assert house.seen.count("detection") == 1


async def test_a_lost_connection_ends_the_request(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.hang_up()
            result = await running
        assert isinstance(result.error, LinkLostError)
        await diary.until(Kind.DISCONNECTED)
        async with asking(station) as (_, running):
            assert isinstance((await running).error, LinkLostError)


async def test_an_answer_that_is_complete_is_played_without_a_connection(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            await house.say(*answer())
            await mouth.sounds.wait()
            await house.ping()
            await house.hang_up()
            await diary.until(Kind.DISCONNECTED)
            mouth.goes_on.set()
            assert (await running).error is None
    assert mouth.heard == ANSWER
    assert mouth.aborted == 0


async def test_half_an_answer_is_played_and_called_half(mouth: Mouth, diary: Diary) -> None:
    mouth.goes_on.set()
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            await house.say(*answer()[:6])
            await mouth.sounds.wait()
            await house.hang_up()
            assert isinstance((await running).error, LinkLostError)
    assert mouth.heard == ANSWER[: 4 * PIECE]


async def test_being_switched_off_ends_the_request(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.say(PauseSatellite().event())
            result = await running
        assert isinstance(result.error, LinkLostError)
        assert not station.is_there


async def test_who_goes_on_with_pings_has_switched_it_on_again(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        await house.say(PauseSatellite().event())
        await diary.until(Kind.DISCONNECTED)
        while not station.is_there:
            await house.ping()
            await asyncio.sleep(0.5)
        await house.say(TimerCancelled(id="t1").event(), PauseSatellite().event())
        await diary.until(Kind.DISCONNECTED, 2)


async def test_a_house_that_hangs_is_let_go_of(mouth: Mouth, diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satellite.station_line.SILENT_SECONDS", 0.5)
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        assert (await house.until("error")).data["code"] == "idle"
        await house.hang_up()
        await diary.until(Kind.DISCONNECTED)


async def test_a_second_house_takes_over_and_the_first_is_told(mouth: Mouth, diary: Diary) -> None:
    mouth.goes_on.set()
    async with standing(mouth, diary) as station:
        first = await move_in(station)
        async with asking(station) as (_, running):
            await first.hears_request()
            second = await move_in(station)
            assert isinstance((await running).error, LinkLostError)
        assert (await first.until("error")).data["code"] == "replaced"
        assert await first.hear() is None
        assert station.is_there
        async with asking(station, PUSHED) as (_, running):
            await second.hears_request()
            await second.understands()
            await second.say(*answer())
            assert (await running).answer == "It is noon."
    assert Kind.DISCONNECTED not in diary.kinds[:-1]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    ],
)
async def test_garbage_is_answered_and_harms_nobody(mouth: Mouth, diary: Diary, garbage: bytes) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        await house.say_raw(garbage)
        assert (await house.until("error")).data["text"]
        assert await house.hear() is None
        await house.hang_up()
        await diary.until(Kind.DISCONNECTED)
        await move_in(station)
        assert station.is_there


async def test_audio_of_no_format_is_answered(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        await house.say(Event("audio-start", {"rate": "fast"}))
        assert "rate" in (await house.until("error")).data["text"]
        await house.say(Event("audio-chunk", {}, b"\0\0"), Event("audio-stop", {}))
        await house.ping()
        assert Kind.NOTICE not in diary.kinds


async def test_what_comes_unasked_before_it_may_is_ignored(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        stranger = await call(station)
        await stranger.say(*spoken(), TimerFinished(id="t1").event(), Event("something-new", {}))
        await stranger.ping()
        house = await move_in(station)
        await house.say(Event("something-new", {}), Event("audio-chunk", {}, b"\0\0"), Event("audio-stop", {}))
        await house.ping()
    assert diary.kinds == [Kind.CONNECTED, Kind.DISCONNECTED]


async def test_connections_are_bounded_and_who_is_refused_is_told(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        houses = [await call(station) for _ in range(8)]
        for house in houses:
            await house.ping()
        late = await call(station)
        assert (await late.until("error")).data["code"] == "too-many-connections"
        await houses[0].hang_up()
        while True:  # until that is noticed
            again = await call(station)
            await again.say(Describe().event())
            if (event := await again.hear()) is not None and event.type == "info":
                break


async def test_an_announcement_is_played_while_it_comes(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        start, *chunks, stop = spoken()
        await house.say(start, *chunks[:3])
        await mouth.sounds.wait()
        before = station.sounding
        mouth.goes_on.set()
        await house.say(*chunks[3:], stop)
        await house.until("played")
        assert (before, station.sounding) == (True, False)
        assert not station.stop()
    assert mouth.heard == ANSWER
    assert diary.of(Kind.NOTICE_OVER) == [{"stopped": False}]


async def test_an_announcement_waits_for_the_end_of_a_turn(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asking(station) as (_, running):
            await house.hears_request()
            await house.understands()
            await house.say(*answer())
            await mouth.sounds.wait()
            await house.say(*spoken(ANSWER[:4410]))
            await house.ping()
            assert Kind.NOTICE not in diary.kinds
            mouth.goes_on.set()
            assert (await running).audio_seconds == pytest.approx(len(ANSWER) / 44_100)
        await diary.until(Kind.NOTICE_OVER)
        await house.until("played")
        await house.until("played")
    assert mouth.heard == ANSWER + ANSWER[:4410]


@pytest.mark.parametrize("by_word", [False, True])
async def test_an_announcement_is_stopped(mouth: Mouth, diary: Diary, by_word: bool) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        await house.say(*spoken())
        await mouth.sounds.wait()
        if by_word:
            async with station.turn():
                assert mouth.aborted == 1
        else:
            assert station.stop()
        await house.until("played")
        assert not station.sounding
    assert diary.of(Kind.NOTICE_OVER) == [{"stopped": True}]


async def test_timers_are_told_and_ring_until_somebody_wants_quiet(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        await house.say(
            TimerStarted(id="t1", total_seconds=300, name="pizza", start_minutes=5).event(),
            TimerUpdated(id="t1", is_active=False, total_seconds=200).event(),
            TimerStarted(id="t2", total_seconds=60).event(),
            TimerCancelled(id="t2").event(),
            TimerFinished(id="t1").event(),
        )
        mouth.goes_on.set()
        while len(mouth.heard) < 2 * len(ring_audio()):  # it rings again
            mouth.sounds.clear()
            await mouth.sounds.wait()
        before = station.sounding
        await house.ping()
        assert station.stop()
        await diary.until(Kind.NOTICE_OVER)
        assert (before, station.sounding) == (True, False)
    assert diary.of(Kind.TIMER_STARTED) == [
        {"id": "t1", "name": "pizza", "seconds": 300},
        {"id": "t2", "name": None, "seconds": 60},
    ]
    assert diary.of(Kind.TIMER_UPDATED) == [{"id": "t1", "seconds": 200, "active": False}]
    assert diary.of(Kind.TIMER_CANCELLED) == [{"id": "t2"}]
    assert diary.of(Kind.TIMER_FINISHED) == [{"id": "t1"}]
    assert diary.of(Kind.NOTICE_OVER) == [{"stopped": True}]
    assert mouth.heard.startswith(ring_audio())


async def test_a_ring_waits_for_a_turn_lets_announcements_in_and_ends_by_itself(mouth: Mouth, diary: Diary) -> None:
    mouth.goes_on.set()
    async with standing(mouth, diary, ring_seconds=2.5) as station:
        house = await move_in(station)
        async with station.turn():
            await house.say(TimerFinished(id="t1").event())
            await house.ping()
            assert not mouth.sounds.is_set()
        await mouth.sounds.wait()
        await house.say(*spoken())
        await house.until("played")
        await diary.until(Kind.NOTICE_OVER, 3)
    assert ANSWER in mouth.heard
    assert mouth.heard.count(ring_audio()) >= 2
    assert diary.of(Kind.NOTICE_OVER) == [{"stopped": False}] * 3


async def test_a_wake_word_stops_the_ring(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        await house.say(TimerFinished(id="t1").event())
        await mouth.sounds.wait()
        async with asking(station) as (_, running):
            assert mouth.aborted == 1
            mouth.goes_on.set()
            mouth.heard = b""
            await house.hears_request()
            await house.understands("Thanks.")
            await house.say(*answer())
            await running
        await house.ping()
        assert not station.sounding
    assert mouth.heard == ANSWER


async def test_its_end_is_told_to_the_house(mouth: Mouth, diary: Diary) -> None:
    async with standing(mouth, diary) as station:
        house = await move_in(station)
        async with asyncio.TaskGroup() as group:
            group.create_task(station.close())
            assert (await house.until("error")).data["code"] == "stopped"
            await house.hang_up()
        assert not station.is_there
    assert not [task for task in asyncio.all_tasks() if "home-assistant" in task.get_name()]


async def test_addresses_that_cannot_be_are_told(mouth: Mouth, diary: Diary, tmp_path: Path) -> None:
    for uri in ("http://0.0.0.0:10700", "tcp://0.0.0.0:99999", "tcp://"):
        with pytest.raises(SettingsError, match=r"tcp://0\.0\.0\.0:10700"):
            Station(uri, mouth, "kitchen", WORDS, diary.happenings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match="in use"):
            await Station(uri, mouth, "kitchen", WORDS, diary.happenings).start()
    station = Station(f"unix://{tmp_path}/s", mouth, "kitchen", WORDS, diary.happenings)
    await station.start()
    try:
        house = House(*await asyncio.open_unix_connection(tmp_path / "s"))
        await house.say(Describe().event())
        await house.until("info")
        await house.hang_up()
    finally:
        await station.close()


async def test_it_is_found_on_the_network(mouth: Mouth, diary: Diary) -> None:
    name = f"kitchen-{id(diary)}"
    loopback = ["127.0.0.1"]
    station = Station("tcp://127.0.0.1:0", mouth, name, WORDS, diary.happenings, interfaces=loopback)
    running = asyncio.create_task(station.run())
    zeroconf = AsyncZeroconf(interfaces=loopback)
    try:
        async with asyncio.timeout(30):
            info = AsyncServiceInfo(WYOMING_TYPE, f"{name} satellite.{WYOMING_TYPE}")
            while not await info.async_request(zeroconf.zeroconf, 3000):
                pass
        assert (info.port, info.parsed_addresses()) == (station.port, loopback)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await station.close()
        await zeroconf.async_close()
