"""A whole turn in this process: what leaves in which order, what is spoken while tools run, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from wyoming.event import Event

from handlers.agent.stage import Volume
from handlers.agent.tools.stage import ToolFinished, ToolStarted
from handlers.asr.recognizer import Recognizer
from handlers.asr.silero import Silero
from handlers.asr.stage import AsrSettings, EndpointSettings, Hints
from handlers.asr.whisper import WhisperTranscriber
from handlers.audio import BYTES_PER_SECOND
from handlers.errors import RequestError
from handlers.pipeline.arbiter import Heard
from handlers.pipeline.handler import PipelineHandler, read_turn_request, to_wyoming
from handlers.pipeline.recordings import Recordings, RecordingSettings
from handlers.pipeline.stage import (
    AnswerChunk,
    Answered,
    AnswerStarted,
    AnswerStopped,
    AudioPiece,
    AudioStarted,
    AudioStopped,
    Detected,
    Feedback,
    Stage,
    ToolUsed,
    Transcribed,
    TurnEvent,
    TurnRequest,
)
from handlers.pipeline.turn import Pipeline, Stages
from handlers.session import Session
from handlers.timeline import Mark, Timeline
from handlers.tts.piper import PiperSynthesizer
from handlers.wake.engines import open_engines
from handlers.wake.stage import WakeSettings
from handlers.workers import Workers
from tests.support.house import ANNA, AT_ONCE, QUESTION, House, open_house, settle
from tests.support.ollama import SOON, Call, FakeOllama
from tests.support.server import read_until
from tests.support.serving import served
from tests.support.speech import Speaker, silence

CHUNK = 2048
IN_KITCHEN = replace(ANNA, conversation="c1")
"""Bytes of audio that a satellite sends at a time."""


@pytest.fixture
async def fake_ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as ollama:
        yield ollama


@dataclass
class Room:
    """A house that hears and speaks."""

    house: House
    pipeline: Pipeline
    timelines: list[Timeline]

    def turn(self, start: Stage = Stage.HANDLE, end: Stage = Stage.TTS, **request: object) -> Turn:
        described: dict[str, object] = {"session": IN_KITCHEN, **request}
        return Turn(self.pipeline, TurnRequest(start, end, **described))  # type: ignore[arg-type]

    async def ask(self, text: str, **request: object) -> list[TurnEvent]:
        """A turn from text to speech, to its end."""
        turn = self.turn(Stage.HANDLE, Stage.TTS, **request)
        async with turn.running(text=text) as task, asyncio.timeout(SOON):
            await task
        return turn.events

    def answers(self) -> list[str]:
        """What the conversation keeps of the assistant's words."""
        return [turn.answer for turn in self.house.agent.conversations.turns("c1")]


@dataclass
class Turn:
    """One turn, and what came of it so far."""

    pipeline: Pipeline
    request: TurnRequest
    events: list[TurnEvent] = field(default_factory=list)
    feedback: Feedback = field(default_factory=Feedback)
    timeline: Timeline = field(default_factory=lambda: Timeline("turn-1"))
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @contextlib.asynccontextmanager
    async def running(
        self, text: str = "", audio: AsyncIterator[bytes] | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Runs it, and cancels it in the end if it has not come to one."""
        run = self.pipeline.run(
            self.request, audio or _nothing(), _once(text), self._take, self.timeline, self.feedback
        )
        task = asyncio.create_task(run)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, *kinds: type[TurnEvent]) -> TurnEvent:
        """Wait for an event of these kinds."""
        async with self._changed:
            await self._changed.wait_for(lambda: any(isinstance(event, kinds) for event in self.events))
        return next(event for event in self.events if isinstance(event, kinds))

    async def _take(self, event: TurnEvent) -> None:
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()


async def _once(text: str) -> AsyncIterator[str]:
    yield text


async def _nothing() -> AsyncIterator[bytes]:
    nothing: list[bytes] = []
    for chunk in nothing:
        yield chunk


async def live(pcm: bytes, then: float = 0.0) -> AsyncGenerator[bytes, None]:
    """Audio as a microphone gives it: the sound, and silence for some seconds."""
    whole = pcm + silence(then)
    for start in range(0, len(whole), CHUNK):
        yield whole[start : start + CHUNK]
        await asyncio.sleep(CHUNK / BYTES_PER_SECOND)


OpenRoom = Callable[..., "contextlib.AbstractAsyncContextManager[Room]"]


@pytest.fixture
def room_of(
    tmp_path: Path, fake_ollama: FakeOllama, piper: PiperSynthesizer, whisper: WhisperTranscriber, silero: Silero
) -> OpenRoom:
    @contextlib.asynccontextmanager
    async def open_room(endpoint: EndpointSettings | None = None, **settings: object) -> AsyncIterator[Room]:
        asr = AsrSettings(endpoint=endpoint or EndpointSettings())
        workers = Workers("wake", 1)
        timelines: list[Timeline] = []
        try:
            async with open_house(tmp_path, fake_ollama, **settings) as house:  # type: ignore[arg-type]
                recognizer = Recognizer(whisper, silero, asr)
                stages = Stages(open_engines(), workers, WakeSettings(), recognizer, house.agent, piper)
                yield Room(house, Pipeline(stages, timelines.append), timelines)
        finally:
            await workers.close()

    return open_room


@pytest.fixture
async def room(room_of: OpenRoom) -> AsyncIterator[Room]:
    async with room_of() as room:
        yield room


def kinds(events: list[TurnEvent]) -> list[type]:
    """The kinds of the events, without audio."""
    return [type(event) for event in events if not isinstance(event, AudioStarted | AudioPiece | AudioStopped)]


def index(events: list[TurnEvent], kind: type) -> int:
    return next(number for number, event in enumerate(events) if isinstance(event, kind))


# Tools


async def test_tools_are_seen_between_the_words(room: Room) -> None:
    room.house.ollama.will_answer("Let me see.", Call("weather", {"name": "Rome"}))
    room.house.ollama.will_answer("It rains.")
    events = await room.ask(QUESTION)
    assert kinds(events) == [
        *(AnswerStarted, AnswerChunk, ToolUsed, ToolUsed, AnswerChunk, AnswerStopped, Answered),
    ]
    used = [event.event for event in events if isinstance(event, ToolUsed)]
    assert [type(event) for event in used] == [ToolStarted, ToolFinished]
    answered = events[index(events, Answered)]
    assert answered == Answered("Let me see. It rains.", "c1")
    assert isinstance(events[-1], AudioStopped)


async def test_a_tool_is_not_on_the_wire_and_all_else_is(room: Room) -> None:
    room.house.ollama.will_answer("Let me see.", Call("weather", {"name": "Rome"}))
    events = await room.ask(QUESTION)
    assert [event for event in events if to_wyoming(event) is None] == [
        event for event in events if isinstance(event, ToolUsed)
    ]


async def test_what_is_said_before_a_tool_is_heard_while_it_runs(room: Room) -> None:
    room.house.ollama.will_answer("Let me see", Call("slow", {"name": "a"}))
    room.house.ollama.will_answer("It rains.")
    turn = room.turn()
    async with turn.running(QUESTION) as task, asyncio.timeout(SOON):
        await turn.until(AudioPiece)
        assert room.house.things.running.is_set()
        assert len([event for event in turn.events if isinstance(event, ToolUsed)]) <= 1  # it has not ended
        room.house.things.gate.set()
        await task
    assert room.answers() == ["Let me see It rains."]


async def test_an_interruption_ends_the_tool(room: Room) -> None:
    room.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    turn = room.turn()
    async with turn.running(QUESTION), asyncio.timeout(SOON):
        await room.house.things.running.wait()
    assert room.house.things.cancelled.is_set()
    assert [str(timeline.outcome) for timeline in room.timelines] == ["cancelled"]


async def test_the_log_knows_the_turn_by_the_id_of_its_timeline(room: Room) -> None:
    room.house.ollama.will_answer(Call("weather", {"name": "Rome"}))
    await room.ask(QUESTION)
    await room.ask("Lamp on")
    assert [line["turn"] for line in await room.house.attempts()] == ["turn-1", "turn-1"]
    thought, skill = room.timelines
    assert (thought.decision, thought.route) == ("think", "ollama/llama3.2:latest")
    assert (skill.decision, skill.confidence, skill.route) == ("fast", 1.0, "skill/SwitchLamp")
    assert {Mark.ROUTE, Mark.FIRST_TOKEN, Mark.FIRST_AUDIO} <= thought.marks.keys() & skill.marks.keys()


# Drafts

SURE = EndpointSettings(finished_ms=2000, unsure_ms=2000, patience_ms=2500)
"""Takes its time to be sure, so that a draft is well under way by then."""


async def test_a_tool_of_a_draft_runs_once_and_only_when_the_speaker_has_finished(
    room_of: OpenRoom, speaker: Speaker
) -> None:
    async with room_of(endpoint=SURE) as room:
        room.house.ollama.will_answer("Let me see.", Call("weather", {"name": "Rome"}))
        room.house.ollama.will_answer("It rains.")
        turn = room.turn(Stage.ASR)
        pcm = silence(0.2) + speaker.say("Tell me about the weather in Rome.")
        async with turn.running(audio=live(pcm, then=10)) as task, asyncio.timeout(SOON):
            await room.house.ollama.until(finished=1)
            await settle()
            assert not any(isinstance(event, Transcribed | AnswerStarted) for event in turn.events)
            assert room.house.things.done == []
            assert await room.house.audit.read() == []
            await task
        assert room.house.things.done == ["weather Rome"]
        assert len(room.house.ollama.chats) == 2  # the draft became the answer
        assert [line["turn"] for line in await room.house.attempts()] == [turn.timeline.turn_id]
        assert turn.timeline.decision == "think"


async def test_the_tool_of_a_draft_that_was_dropped_never_runs(room_of: OpenRoom, speaker: Speaker) -> None:
    async with room_of(endpoint=SURE) as room:
        room.house.ollama.will_answer(Call("delete_record", {"name": "web"}), Call("weather", {"name": "Rome"}))
        room.house.ollama.will_answer("Cats purr.")
        turn = room.turn(Stage.ASR)
        first, second = speaker.say("Tell me about the weather in Rome."), speaker.say("And tell me about the cats.")
        pcm = silence(0.2) + first + silence(1.2) + second
        async with turn.running(audio=live(pcm, then=10)) as task, asyncio.timeout(SOON):
            await task
        assert turn.events[index(turn.events, Answered)] == Answered("Cats purr.", "c1")
        assert room.house.things.done == []
        assert await room.house.audit.read() == []
        assert not room.house.waits()


# Words that are no part of the answer


async def test_a_filler_is_written_and_spoken_and_not_remembered(room_of: OpenRoom) -> None:
    async with room_of(quick_sentence_seconds=0.01) as room:
        go_on = asyncio.Event()
        room.house.ollama.will_answer(go_on, "It rains.")
        turn = room.turn()
        async with turn.running(QUESTION) as task, asyncio.timeout(SOON):
            await turn.until(AudioPiece)
            assert [event for event in turn.events if isinstance(event, AnswerChunk)] == [AnswerChunk("One moment. ")]
            go_on.set()
            await task
        assert turn.events[index(turn.events, Answered)] == Answered("One moment. It rains.", "c1")
        assert room.answers() == ["It rains."]
        assert turn.timeline.decision == "hybrid"


@pytest.mark.parametrize(("played", "kept"), [(0.9, []), (2.2, ["It rains in Rome."])], ids=["filler", "sentence"])
async def test_of_an_interrupted_answer_the_filler_is_not_kept(
    room_of: OpenRoom, played: float, kept: list[str]
) -> None:
    """'One moment.' takes 0.6 s, the sentence behind it one more second."""
    async with room_of(quick_sentence_seconds=0.01) as room:
        go_on = asyncio.Event()
        room.house.ollama.will_answer(go_on, "It rains in Rome. ", "And in Oslo it is snowing all day long. ")
        turn = room.turn()
        async with turn.running(QUESTION) as task, asyncio.timeout(SOON):
            await turn.until(AudioPiece)
            go_on.set()
            await task
        room.pipeline.played("c1", turn.feedback, played)
        assert room.answers() == kept


@pytest.mark.parametrize(
    ("text", "volume"), [("Louder.", Volume(change=10)), ("What time is it?", Volume())], ids=["louder", "time"]
)
async def test_the_volume_is_with_the_whole_answer(room: Room, text: str, volume: Volume) -> None:
    events = await room.ask(text)
    answered = events[index(events, Answered)]
    assert isinstance(answered, Answered)
    assert answered.volume == volume
    wire = to_wyoming(answered)
    assert wire is not None
    assert wire.data.get("volume") == ({"change": 10} if volume.change else None)


# Confirmation, by voice


async def test_a_confirmed_tool_is_seen_and_what_follows_is_spoken(room: Room) -> None:
    room.house.ollama.will_answer(Call("delete_record", {"name": "web"}))
    room.house.ollama.will_answer("It is gone.")
    asked = await room.ask("Get rid of the old record of mine")
    assert asked[index(asked, Answered)] == Answered("Delete the record web? Say yes to confirm.", "c1", asks=True)
    events = await room.ask("Yes.", session=replace(IN_KITCHEN, conversation="c2"))
    assert kinds(events) == [AnswerStarted, ToolUsed, ToolUsed, AnswerChunk, AnswerStopped, Answered]
    assert room.house.things.done == ["deleted web"]
    assert isinstance(events[-1], AudioStopped)


# The memory's work in the background


async def test_the_memory_works_while_a_wake_word_is_waited_for_and_rests_when_it_comes(
    room_of: OpenRoom, speaker: Speaker
) -> None:
    async with room_of(pace=AT_ONCE) as room:
        heard = asyncio.Event()

        async def microphone() -> AsyncGenerator[bytes, None]:
            yield silence(0.5)
            await heard.wait()
            async for chunk in live(silence(0.3) + speaker.say("Okay naboo!"), then=30):
                yield chunk

        with room.house.agent.attending():
            await room.ask("My sister Lena lives in Graz, you know?")
        turn = room.turn(Stage.WAKE, wake_words=("okay_nabu",))
        room.house.ollama.will_answer(asyncio.Event())  # a long thought
        async with turn.running(audio=microphone()), asyncio.timeout(SOON):
            await room.house.ollama.until(chats=2)  # nobody is attended to yet
            heard.set()
            await turn.until(Detected)
            await room.house.ollama.until(abandoned=1)
            assert room.house.upkeep.waiting == 1
        await room.house.ollama.until(chats=3)  # the turn is over: it is thought about again


# Language, voice and persona


async def test_a_profile_gives_language_and_persona_by_the_wake_word_that_the_server_heard(
    room_of: OpenRoom, speaker: Speaker
) -> None:
    profiles = [{"wake_words": ["okay_nabu"], "persona": "You are a butler.", "language": "sv"}]
    async with room_of(profiles=profiles) as room:
        turn = room.turn(Stage.WAKE, wake_words=("okay_nabu",))
        pcm = silence(0.3) + speaker.say("Okay naboo!") + silence(0.4) + speaker.say("Tell me about the birds.")
        async with turn.running(audio=live(pcm, then=5)), asyncio.timeout(SOON):
            await turn.until(Answered)
        system = room.house.ollama.chats[-1]["messages"][0]["content"]
    assert system.startswith("You are a butler.")
    assert "Answer in Swedish." in system


async def test_a_profile_s_language_is_for_those_who_name_none(room_of: OpenRoom) -> None:
    async with room_of(profiles=[{"satellites": ["kitchen"], "language": "de"}]) as room:
        await room.ask("Warum ist der Himmel blau?")
        await room.ask("Why is the sky blue?", session=replace(IN_KITCHEN, language="en"))
        asked = [chat["messages"][0]["content"] for chat in room.house.ollama.chats]
    assert ["Answer in German." in system for system in asked] == [True, False]


async def test_a_profile_s_voice_that_is_not_there_is_an_error_that_names_it(room_of: OpenRoom) -> None:
    async with room_of(profiles=[{"users": ["anna"], "voice": "alan"}]) as room:
        with pytest.raises(RequestError, match="alan"):
            await room.ask("What time is it?")


# A wake word that is waited for here


async def test_who_waits_for_a_wake_word_takes_the_floor_when_it_comes(room: Room, speaker: Speaker) -> None:
    called = asyncio.Event()

    async def microphone() -> AsyncGenerator[bytes, None]:
        yield silence(0.5)
        await called.wait()
        async for chunk in live(speaker.say("Hey Jarvis!") + silence(0.3) + speaker.say("What time is it?"), then=2):
            yield chunk

    room.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    waiting, answering = room.turn(Stage.WAKE, wake_words=("hey_jarvis",)), room.turn()
    async with waiting.running(audio=microphone()) as woken, answering.running(QUESTION) as answer:
        async with asyncio.timeout(SOON):
            await room.house.things.running.wait()
            assert not answer.done()
            called.set()
            await waiting.until(Detected)
            await asyncio.wait([answer])
            assert answering.feedback.replaced
            assert room.house.things.cancelled.is_set()
            await woken
    assert isinstance(waiting.events[-1], AudioStopped)


async def test_who_hears_no_wake_word_interrupts_nobody(room: Room) -> None:
    """Nor ends what the conversation keeps of an answer that still sounds."""
    room.house.ollama.will_answer("It rains in Rome. And in Oslo it is snowing all day long.")
    await room.ask(QUESTION)
    waiting = room.turn(Stage.WAKE, wake_words=("hey_jarvis",))
    async with waiting.running(audio=live(silence(0.2))) as task, asyncio.timeout(SOON):
        await task
    assert room.house.agent.conversations.turns("c1")[-1].playback is not None


# A lone name


async def test_a_lone_name_after_a_question_is_an_answer(room_of: OpenRoom, speaker: Speaker) -> None:
    """Without a question it is how somebody begins to speak to Anna, and there is more to come."""
    # So much patience that a transcript of a busy machine comes far sooner.
    async with room_of(EndpointSettings(patience_ms=4000)) as room:
        unasked = await _wait_behind_a_name(room, speaker)
        room.house.ollama.will_answer("Whom shall I call?")
        turn = room.turn()
        async with turn.running("Call one of my friends for me") as task, asyncio.timeout(SOON):
            await task
        room.pipeline.played("c1", turn.feedback, math.inf)
        assert await _wait_behind_a_name(room, speaker) < unasked / 2


async def _wait_behind_a_name(room: Room, speaker: Speaker) -> float:
    """Seconds."""
    turn = room.turn(Stage.ASR, Stage.ASR, hints=Hints(["Anna"], []))
    async with turn.running(audio=live(silence(0.2) + speaker.say("Anna."), then=9)) as task, asyncio.timeout(SOON):
        await task
    return turn.timeline.marks[Mark.ENDPOINT] - turn.timeline.marks[Mark.SPEECH_END]


# Signs of life


async def test_a_turn_at_work_shows_signs_of_life(room: Room) -> None:
    room.house.ollama.will_answer(Call("slow", {"name": "a"}))
    room.house.ollama.will_answer("It rains.")
    handler = partial(PipelineHandler, pipeline=room.pipeline, longest_text=1000, ping_seconds=0.05)
    async with served(lambda connection: [handler(connection)]) as client, asyncio.timeout(SOON):
        await client.send(Event("run-pipeline", {"start_stage": "handle", "end_stage": "handle"}))
        await client.send(Event("transcript", {"text": QUESTION}))
        await room.house.things.running.wait()
        for _ in range(3):
            await read_until(client, "ping")
        room.house.things.gate.set()
        events = await read_until(client, "handled", "error")
    assert events[-1].data["text"] == "It rains."


async def test_nobody_is_told_of_life_while_a_wake_word_is_waited_for(room: Room) -> None:
    handler = partial(PipelineHandler, pipeline=room.pipeline, longest_text=1000, ping_seconds=0.001)
    async with served(lambda connection: [handler(connection)]) as client, asyncio.timeout(SOON):
        await client.send(Event("run-pipeline", {"start_stage": "wake", "end_stage": "wake"}))
        await client.send(Event("audio-start", {"rate": 16_000, "width": 2, "channels": 1}))
        await client.send(Event("audio-chunk", {"rate": 16_000, "width": 2, "channels": 1}, silence(3)))
        await client.send(Event("audio-stop"))
        assert [event.type for event in await read_until(client, "not-detected")] == ["not-detected"]


# Who was called, and whether anybody was

CLEAR = Heard(0.95, 20.0)


async def test_only_the_satellite_that_heard_best_answers_and_loses_nothing(room: Room, speaker: Speaker) -> None:
    pcm = speaker.say("What is two plus two?")
    hall = room.turn(
        Stage.ASR, session=Session(satellite="hall", conversation="h"), wake_word="okay_nabu", heard=Heard(0.9, 5.0)
    )
    kitchen = room.turn(
        Stage.ASR, session=Session(satellite="kitchen", conversation="k"), wake_word="okay_nabu", heard=CLEAR
    )
    async with (
        asyncio.timeout(SOON),
        hall.running(audio=live(pcm, 5)) as far,
        kitchen.running(audio=live(pcm, 5)) as near,
    ):
        with pytest.raises(RequestError) as refused:
            await far
        await near
    assert refused.value.code == "other-satellite"
    assert hall.events == []
    answered = kitchen.events[index(kitchen.events, Answered)]
    assert isinstance(answered, Answered)
    assert "4" in answered.text


@pytest.mark.parametrize(
    ("word", "said", "score", "answers"),
    [
        ("okay_nabu", "Okay Nabu, what is two plus two?", 0.55, True),
        ("okay_nabu", "Okay, now what is two plus two?", 0.55, False),
        ("hey_jarvis", "Hey Jarvis. What is two plus two?", 0.55, True),
        ("hey_jarvis", "What is two plus two?", 0.55, False),
        ("hey_jarvis", "What is two plus two?", 0.95, True),
        ("hello_house", "What is two plus two?", 0.55, True),
    ],
    ids=["called", "nearly", "called, pause", "not called", "sure", "nobody can tell"],
)
async def test_a_doubtful_wake_word_is_listened_to_again(
    room: Room, speaker: Speaker, word: str, said: str, score: float, answers: bool
) -> None:
    turn = room.turn(Stage.ASR, Stage.HANDLE, wake_word=word, heard=Heard(score, 12.0, in_audio=True))
    pcm = silence(0.8) + speaker.say(said)
    async with asyncio.timeout(SOON), turn.running(audio=live(pcm, 5)) as task:
        if answers:
            await task
            transcribed = turn.events[index(turn.events, Transcribed)]
            assert isinstance(transcribed, Transcribed)
            asked = transcribed.text.lower()
            assert "two plus two" in asked.replace("2", "two").replace("+", "plus")
            assert not any(name in asked for name in ("nabu", "okay", "jarvis"))
            assert any(isinstance(event, Answered) for event in turn.events)
        else:
            with pytest.raises(RequestError) as refused:
                await task
            assert refused.value.code == "not-woken"
            assert not any(isinstance(event, Transcribed | AnswerStarted) for event in turn.events)


@pytest.mark.parametrize(
    "wake",
    [{"score": 2}, {"score": "high"}, {"score": 0.5, "snr": "loud"}, {"score": True}, {"score": 0.5, "snr": 1e999}],
)
async def test_how_well_it_was_heard_must_be_numbers(room: Room, wake: dict[str, object]) -> None:
    event = Event("run-pipeline", {"start_stage": "asr", "end_stage": "tts", "wake": wake})
    with pytest.raises(RequestError, match="score from 0 to 1"):
        read_turn_request(event, room.pipeline)


async def test_what_is_said_is_kept_where_that_is_on_and_the_place_not_private(
    room: Room, speaker: Speaker, tmp_path: Path
) -> None:
    recordings = Recordings(tmp_path / "recordings", RecordingSettings(keep_days=1))
    room.pipeline.stages = replace(room.pipeline.stages, recordings=recordings)
    pcm = speaker.say("What time is it?")

    async def say() -> None:
        turn = room.turn(Stage.ASR, Stage.ASR, whole=True)
        async with turn.running(audio=_file(pcm)) as task, asyncio.timeout(SOON):
            await task

    await say()
    await room.ask("Go private.")
    await say()
    await recordings.close()
    told, sound = sorted((tmp_path / "recordings").iterdir())
    assert json.loads(told.read_text())["turn"] == "turn-1"
    assert "time" in json.loads(told.read_text())["text"].lower()
    assert sound.read_bytes()[44:] == pcm


async def _file(pcm: bytes) -> AsyncIterator[bytes]:
    yield pcm
