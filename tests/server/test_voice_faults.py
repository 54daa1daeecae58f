"""Limits of `WS /api/v1/voice/stream` that take long, or a server of another kind: in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from handlers.agent.access import SatelliteSettings
from handlers.asr.recognizer import Recognizer
from handlers.asr.silero import Silero
from handlers.asr.stage import AsrSettings
from handlers.asr.whisper import WhisperTranscriber
from handlers.pipeline.notices import Notices
from handlers.pipeline.turn import Pipeline, Stages
from handlers.session import Role
from handlers.timeline import Outcome, Timeline
from handlers.tts.piper import PiperSynthesizer
from handlers.wake.engines import open_engines
from handlers.wake.stage import WakeEngine, WakeSettings
from handlers.workers import Workers
from server import voice_outbox, voice_session, voice_stream
from server.access import Access
from server.http import HttpServer, Status
from server.metrics import Metrics
from server.tokens import Tokens
from server.voice_protocol import EndAudio, Listen, Start, Text
from server.voice_session import VoiceSession, may_speak_for
from server.voice_stream import Voices
from tests.support.house import QUESTION, House, open_house
from tests.support.ollama import SOON, Call, FakeOllama
from tests.support.speech import Speaker, silence
from tests.support.voice_client import PATH, Conversation, VoiceClient, connected

STORY = "The cat sat on the wall, and looked at the bird that sang in the old apple tree behind the house. " * 12
"""Some minute of speech."""


@dataclass
class Served:
    """A server's HTTP side with voices behind it."""

    house: House
    pipeline: Pipeline
    status: Status
    timelines: list[Timeline]
    notices: Notices
    url: str = ""
    tokens: Tokens | None = None
    voices: Voices = field(init=False)

    @contextlib.asynccontextmanager
    async def listening(self, tokens: Tokens | None = None) -> AsyncIterator[Served]:
        self.voices = self.status.own.voices = Voices(self.pipeline, self.notices)
        http = HttpServer(["127.0.0.1"], 0, self.status, Metrics(), tokens)
        await http.start()
        self.url = f"http://127.0.0.1:{http.port}"
        try:
            yield self
        finally:
            await self.voices.close()
            await http.close()

    async def until_sessions(self, *connected: bool) -> None:
        """Wait until there are as many sessions, which have a connection or not."""
        async with asyncio.timeout(SOON):
            while [session["connected"] for session in self.voices.as_list()] != [*connected]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # it follows the end of a connection


@pytest.fixture(scope="module")
def wake() -> WakeEngine:
    return open_engines()


@pytest.fixture
async def building(
    tmp_path: Path, wake: WakeEngine, piper: PiperSynthesizer, whisper: WhisperTranscriber, silero: Silero
) -> AsyncIterator[Served]:
    workers = Workers("wake", 1)
    timelines: list[Timeline] = []
    try:
        async with FakeOllama() as ollama, open_house(tmp_path, ollama) as house:
            recognizer = Recognizer(whisper, silero, AsrSettings())
            stages = Stages(wake, workers, WakeSettings(), recognizer, house.agent, piper)
            yield Served(house, Pipeline(stages, timelines.append), Status(), timelines, Notices(piper))
    finally:
        await workers.close()


@pytest.fixture
async def served(building: Served) -> AsyncIterator[Served]:
    async with building.listening():
        yield building


@pytest.fixture
async def guarded(building: Served, tmp_path: Path) -> AsyncIterator[Served]:
    """A server that asks for a token."""
    building.tokens = Tokens(tmp_path)
    async with building.listening(building.tokens):
        yield building


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# What is answered


async def test_tools_and_a_question_back(served: Served) -> None:
    served.house.ollama.will_answer("Let me see.", Call("weather", {"name": "Rome"}))
    served.house.ollama.will_answer("It rains. In which other city?")
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.ask(QUESTION)
    messages = [message for message in talk.seen if message["type"] in ("handled_chunk", "tool_start", "tool_stop")]
    assert [message["type"] for message in messages][:3] == ["handled_chunk", "tool_start", "tool_stop"]
    assert (messages[1]["name"], messages[1]["arguments"]) == ("weather", {"name": "Rome"})
    assert (messages[2]["call"], messages[2]["failed"]) == (messages[1]["call"], False)
    assert talk.of("handled")[0]["listen"] is True


async def test_what_was_not_heard_is_not_kept(served: Served) -> None:
    served.house.ollama.will_answer("One is here. Two is here. Three is here.")
    served.house.ollama.will_answer("Well.")
    async with connected(served.url, conversation_id="c") as client:
        await client.ask(QUESTION)
        await client.send("played", seconds=0.0)
        await client.ask(QUESTION)
    assert [message["role"] for message in served.house.ollama.chats[1]["messages"]].count("assistant") == 0


async def test_a_turn_of_the_same_name_takes_the_floor(served: Served) -> None:
    served.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    first = Conversation()
    async with connected(served.url, first, name="hall") as one, connected(served.url, name="hall") as other:
        await one.send("text", text=QUESTION)
        await one.until("tool_start")
        await other.ask("What time is it?")
        assert (await one.until("done"))["outcome"] == "cancelled"
    assert first.of("error")[0]["code"] == "replaced"


def session_of(served: Served, name: str = "") -> VoiceSession:
    """One whose client takes nothing by itself."""
    return VoiceSession(served.pipeline, Access(), Start(type="start", protocol=1, name=name), lambda: True)


async def said(session: VoiceSession, turn: int) -> list[tuple[str, int]]:
    """What a session says up to the end of a turn: kinds of messages, and their turns. Audio is a kind of its own."""
    seen: list[tuple[str, int]] = []
    async with asyncio.timeout(SOON):
        while ("done", turn) not in seen:
            frame = await session.outbox.take()
            message: dict[str, Any] = json.loads(frame) if isinstance(frame, str) else {"type": "audio"}
            seen.append((message["type"], message.get("turn", 0)))
    return seen


async def test_nothing_is_heard_any_more_of_an_answer_that_was_replaced(served: Served) -> None:
    served.house.ollama.will_answer(STORY)
    one, other = session_of(served, "hall"), session_of(served, "hall")
    one.take(Text(type="text", text=QUESTION))
    async with asyncio.timeout(SOON):
        while one.outbox.waiting_bytes < 100_000:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # nothing tells
    other.take(Text(type="text", text="What time is it?"))
    assert ("audio", 0) in await said(other, 1)
    seen = await said(one, 1)
    assert ("error", 1) in seen
    assert ("audio", 0) not in seen
    await asyncio.gather(one.close(), other.close())


# A turn that waits for its wake word beside another


def called(speaker: Speaker) -> bytes:
    """Somebody calls, and asks what a skill knows."""
    return silence(0.5) + speaker.say("Hey Jarvis!") + silence(0.2) + speaker.say("What time is it?") + silence(0.5)


async def test_the_wake_word_interrupts_an_answer_that_is_made(served: Served, speaker: Speaker) -> None:
    served.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    talk = Conversation()
    async with connected(served.url, talk, name="hall") as client:
        await client.send("text", text=QUESTION)
        await client.until("tool_start")
        await client.send("listen", wake_words=["hey_jarvis"])
        await client.until("listening")
        await client.say(silence(0.5))
        assert not served.house.things.cancelled.is_set()
        await client.say(called(speaker))
        await client.send("end_audio")
        await client.until("detection", turn=2)
        heard = len(talk.audio)
        await client.until("audio_start", turn=2)
        assert len(talk.audio) == heard  # nothing more of the first
        assert (await client.until("done", turn=2))["outcome"] == "completed"
    assert served.house.things.cancelled.is_set()
    assert not talk.of("error")
    events = [(message["type"], message.get("turn")) for message in talk.seen]
    assert events.index(("detection", 2)) + 1 == events.index(("done", 1))
    assert events.index(("done", 1)) < events.index(("voice_started", 2))
    assert talk.of("done")[0]["outcome"] == "cancelled"


async def test_nothing_is_heard_of_an_answer_behind_the_wake_word(served: Served, speaker: Speaker) -> None:
    served.house.ollama.will_answer(STORY[:200], asyncio.Event())  # there is more of it to come
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("text", text=QUESTION)
        await client.until_audio(100_000)
        await client.send("listen", wake_words=["hey_jarvis"])
        await client.say(called(speaker))
        await client.send("end_audio")
        await client.until("detection", turn=2)
        heard = len(talk.audio)
        assert (await client.until("done", turn=1))["outcome"] == "cancelled"
        await client.until("audio_start", turn=2)
        assert len(talk.audio) == heard
    assert "audio_stop" not in talk.types(turn=1)


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, False), (None, True)], ids=["nothing", "all"])
async def test_what_was_played_of_an_answer_that_sounds_is_said_behind_the_wake_word(
    served: Served, speaker: Speaker, seconds: float | None, kept: bool
) -> None:
    """The server believes it, whatever time has gone by."""
    for answer in ("One is here. Two is here. Three is here.", "Well."):
        served.house.ollama.will_answer(answer)
    async with connected(served.url) as client:
        await client.ask(QUESTION)
        await client.send("listen", wake_words=["hey_jarvis"])
        await client.say(called(speaker))
        await client.send("end_audio")
        await client.until("detection", turn=2)
        await client.send("played", turn=1, **({} if seconds is None else {"seconds": seconds}))
        await client.send("played", turn=99)
        assert (await client.until("done"))["turn"] == 2
        await client.send("played")  # of the newest
        await client.ask(QUESTION)
    history = str(served.house.ollama.chats[1]["messages"])
    assert ("Three is here." in history) is kept
    assert ("One is here." in history) is kept
    assert "What time is it" in history


async def test_who_waits_takes_nothing_from_the_answer_before(served: Served) -> None:
    """However often the client begins to wait anew; only the newest does."""
    served.house.ollama.will_answer(STORY[:300])
    whole = Conversation()
    async with connected(served.url, whole) as client:
        await client.ask(QUESTION)
    go_on = asyncio.Event()
    served.house.ollama.will_answer(STORY[:200], go_on, STORY[200:300])
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("text", text=QUESTION)
        await client.until("audio_start")
        for _ in range(3):
            await client.send("listen", wake_words=["hey_jarvis"])
            await client.until("listening")
        go_on.set()
        assert (await client.until("done", turn=1))["outcome"] == "completed"
        await client.say(silence(0.5))
        await client.send("end_audio")
        assert (await client.until("done", turn=4))["outcome"] == "completed"
    assert len(talk.audio) == pytest.approx(len(whole.audio), rel=0.02)  # Piper is never quite the same
    assert [(done["turn"], done["outcome"]) for done in talk.of("done")[:2]] == [(2, "cancelled"), (3, "cancelled")]
    assert talk.types(turn=4) == ["listening", "not_detected", "done"]


@pytest.mark.parametrize(
    "frame", [{"type": "cancel"}, {"type": "text", "text": "What time is it?"}, {"type": "listen"}]
)
async def test_what_ends_the_answer_ends_the_waiting_too(served: Served, frame: dict[str, str]) -> None:
    served.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("text", text=QUESTION)
        await client.until("tool_start")
        await client.send("listen", wake_words=["hey_jarvis"])
        await client.until("listening")
        await client.send(**{"kind": frame["type"], **{key: value for key, value in frame.items() if key != "type"}})
        for _ in range(2):
            assert (await client.until("done"))["outcome"] == "cancelled"
        if frame["type"] == "text":
            assert (await client.until("done"))["outcome"] == "completed"
    ends = {message["turn"]: number for number, message in enumerate(talk.seen) if message["type"] == "done"}
    assert {1, 2} <= set(ends)
    behind = [number for number, message in enumerate(talk.seen) if message.get("turn") == 3]
    assert all(number > max(ends[1], ends[2]) for number in behind)


async def test_what_is_heard_belongs_to_the_newest_that_listens(served: Served, speaker: Speaker) -> None:
    """The one before has heard all that it will, and answers that; a lost connection goes on with the newest."""
    quiet, pcm = silence(0.4), called(speaker)
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("listen", mode="push_to_talk")
        await client.say(speaker.say("What day is it today?"))
        await client.send("listen", wake_words=["hey_jarvis"])
        await client.say(quiet)
        assert (await client.until("done", turn=1))["outcome"] == "completed"
        client.drop()
    async with connected(served.url, talk) as client:
        assert client.ready["turn"] == 2
        assert client.ready["audio_received"] == len(quiet)
        await client.say(pcm)
        await client.send("end_audio")
        assert (await client.until("done", turn=2))["outcome"] == "completed"
    assert "what day is it" in talk.of("transcript")[0]["text"].lower()
    assert talk.types(turn=2)[:2] == ["listening", "detection"]
    assert "time" in talk.of("transcript")[1]["text"].lower()


async def test_a_session_that_cannot_go_on_is_ended_at_once(served: Served) -> None:
    served.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("text", text=QUESTION)
        await client.until("tool_start")
        await client.send("ack", received=talk.received)
        await client.send("ping")
        await client.until("pong")
        async with connected(served.url, Conversation(talk.session, received=0)) as other:
            assert other.ready["resumed"] is False
            assert await client.closed() == 4409
            async with asyncio.timeout(SOON):
                await served.house.things.cancelled.wait()
            await served.until_sessions(True)
            assert (await other.ask("What time is it?"))["outcome"] == "completed"


# Deadlines


@pytest.mark.parametrize("called_by_voice", [True, False], ids=["voice", "text"])
async def test_a_turn_that_does_not_end_is_left_behind(
    served: Served, speaker: Speaker, monkeypatch: pytest.MonkeyPatch, *, called_by_voice: bool
) -> None:
    monkeypatch.setattr(voice_session, "_CANCEL_SECONDS", 0.05)
    session = session_of(served)
    session.take(Text(type="text", text="Lamp dim"))
    async with asyncio.timeout(SOON):
        await served.house.things.running.wait()  # what was begun is done to its end
    if called_by_voice:
        session.take(Listen(type="listen", wake_words=["hey_jarvis"]))
        session.take_audio(called(speaker))
        session.take(EndAudio(type="end_audio"))
    else:
        session.take(Text(type="text", text="What time is it?"))
    seen = await said(session, 2)
    assert not served.house.things.done
    assert ("audio", 0) in seen
    assert seen.index(("done", 1)) < seen.index(("handled_start", 2))
    served.house.things.gate.set()
    await session.close()
    assert served.house.things.done == ["lamp dim"]


async def test_who_does_not_start(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_stream, "START_SECONDS", 0.01)
    async with aiohttp.ClientSession() as session, session.ws_connect(served.url + PATH) as line:
        client = VoiceClient(line, Conversation())
        assert await client.closed() == 4408
        assert client.talk.of("error")[0]["code"] == "no-start"


async def test_who_says_nothing_any_more(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_stream, "IDLE_SECONDS", 0.05)
    talk = Conversation()
    async with connected(served.url, talk) as client:
        assert await client.closed() == 4408
    async with connected(served.url, talk) as client:
        assert client.ready["resumed"] is True


async def test_a_session_waits_only_so_long(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_stream, "RESUME_SECONDS", 0.05)
    served.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("text", text=QUESTION)
        await client.until("tool_start")
        session = talk.session
        client.drop()
        await served.until_sessions()
    async with asyncio.timeout(SOON):
        await served.house.things.cancelled.wait()
    async with connected(served.url, talk) as client:
        assert client.ready["resumed"] is False
        assert talk.session != session


# Limits


async def test_too_many_sessions(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_stream, "MOST_OF_TOKEN", 2)
    first = Conversation()
    async with connected(served.url, first) as one, connected(served.url):
        async with connected(served.url) as third:
            assert third.ready["code"] == "too-many"
            assert await third.closed() == 4429
        one.drop()
        await served.until_sessions(False, True)
        async with connected(served.url) as third:  # in the place of the one that has no connection
            assert third.ready["type"] == "ready"
    async with connected(served.url, first) as one:
        assert one.ready["resumed"] is False


async def test_one_token_has_half_of_few_sessions(guarded: Served) -> None:
    assert guarded.tokens is not None
    one, other = (bearer(guarded.tokens.add(name, Role.GUEST)) for name in ("one", "other"))
    guarded.voices._most = 2
    async with connected(guarded.url, headers=one), connected(guarded.url, headers=one) as second:
        assert second.ready["code"] == "too-many"
        async with connected(guarded.url, headers=other) as third:
            assert third.ready["type"] == "ready"


async def test_too_many_turns(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_stream, "TURNS_A_MINUTE", 3)
    async with connected(served.url) as client, connected(served.url) as other:
        for _ in range(2):
            await client.ask("What time is it?")
        await other.ask("What time is it?")
        await client.send("text", text="What time is it?")
        assert await client.closed() == 4429


async def test_too_many_frames(served: Served) -> None:
    async with connected(served.url) as client:
        with contextlib.suppress(ConnectionError):  # it may be closed before all are sent
            for _ in range(10 * voice_stream.MOST_TEXTS):
                await client.send("ack", received=0)
        assert await client.closed() == 4429


async def test_audio_much_faster_than_it_was_spoken(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_session, "QUEUE_SECONDS", 1.0)
    talk = Conversation()
    async with connected(served.url, talk) as client:
        await client.send("listen")
        await client.socket.send_bytes(bytes(32_000))
        await client.socket.send_bytes(bytes(32_002))
        assert await client.closed() == 4429
    async with connected(served.url, talk) as client:  # nothing that counts is lost
        assert client.ready["resumed"] is True
        assert client.ready["audio_received"] == 32_000


async def test_audio_behind_the_end_of_a_turn_is_never_too_much(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_session, "QUEUE_SECONDS", 1.0)
    async with connected(served.url) as client:
        await client.send("listen")
        await client.socket.send_bytes(bytes(32_000))
        await client.send("cancel")
        for _ in range(3):
            await client.socket.send_bytes(bytes(32_000))
        assert (await client.ask("What time is it?"))["turn"] == 1
        assert (await client.until("done"))["outcome"] == "completed"


async def test_who_takes_nothing_is_dropped_and_may_come_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_stream, "SEND_SECONDS", 0.1)
    monkeypatch.setattr(voice_outbox, "WAITING_BYTES", 100_000)
    served.house.ollama.will_answer(STORY)

    def small(address: tuple[object, ...]) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        return made

    talk = Conversation()
    connector = aiohttp.TCPConnector(socket_factory=small)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(served.url + PATH) as line,
    ):
        client = VoiceClient(line, talk)
        await client.send("start", protocol=1)
        talk.session = (await client.until("ready"))["session"]
        await client.send("text", text=QUESTION)
        await served.until_sessions(False)
        assert not served.timelines  # the answer waits for its listener
    monkeypatch.undo()
    async with connected(served.url, talk) as client:
        assert client.ready["resumed"] is True
        assert (await client.until("done"))["outcome"] == "completed"
    assert "".join(chunk["text"] for chunk in talk.of("handled_chunk")).strip() == STORY.strip()
    assert len(talk.audio) > 500_000


async def test_who_asks_without_reading_is_dropped(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_session, "WAITING_BYTES", 1)
    async with connected(served.url) as client:
        await client.send("ping")
        assert await client.closed() == 4408


# Access


async def test_a_token_is_wanted(guarded: Served) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await session.ws_connect(guarded.url + PATH)


async def test_the_session_of_another_token_is_as_unknown(guarded: Served) -> None:
    assert guarded.tokens is not None
    anna, tom = guarded.tokens.add("anna", Role.USER, "anna"), guarded.tokens.add("tom", Role.GUEST)
    talk = Conversation()
    async with connected(guarded.url, talk, headers=bearer(anna)) as client:
        stolen = Conversation(talk.session, talk.received)
        async with connected(guarded.url, stolen, headers=bearer(tom)) as other:
            assert other.ready["resumed"] is False
            assert stolen.session != talk.session
            assert [entry["role"] for entry in guarded.voices.as_list()] == ["user", "guest"]
        assert (await client.ask("What time is it?"))["outcome"] == "completed"


@pytest.mark.parametrize(
    ("role", "user", "owner", "expected"),
    [
        (Role.ADMIN, "", "anna", True),
        (Role.USER, "anna", "anna", True),
        (Role.USER, "", "anna", False),
        (Role.USER, "tom", "anna", False),
        (Role.USER, "tom", "", True),
        (Role.GUEST, "", "", False),
    ],
)
def test_nobody_speaks_for_the_place_of_another(role: Role, user: str, owner: str, expected: bool) -> None:
    """Or with that person's memory."""
    place = SatelliteSettings(user=owner)
    assert may_speak_for(Access("token", role, user), place) is expected
    assert may_speak_for(Access("token", role, user), None) is (role > Role.GUEST)


async def test_the_same_conversation_of_another_token_is_another_one(guarded: Served) -> None:
    assert guarded.tokens is not None
    anna, tom = guarded.tokens.add("anna", Role.USER), guarded.tokens.add("tom", Role.USER)
    for answer in ("The code is 4711.", "I do not know.", "It was 4711."):
        guarded.house.ollama.will_answer(answer)
    talk = Conversation()
    async with connected(guarded.url, talk, headers=bearer(anna), conversation_id="c") as client:
        await client.ask(QUESTION)
        await client.send("played")
        await client.send("ping")
        await client.until("pong")
    async with connected(guarded.url, headers=bearer(tom), conversation_id="c") as client:
        await client.ask(QUESTION)
    async with connected(guarded.url, headers=bearer(anna), conversation_id="c") as client:
        await client.ask(QUESTION)
    known = ["4711" in str(chat["messages"]) for chat in guarded.house.ollama.chats]
    assert known == [False, False, True]
    assert talk.of("handled")[0]["conversation_id"] == "c"  # as the client calls it


async def test_a_guest_takes_no_floor(guarded: Served) -> None:
    assert guarded.tokens is not None
    owner, guest = guarded.tokens.add("owner", Role.ADMIN), guarded.tokens.add("guest", Role.GUEST)
    guarded.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    guarded.house.ollama.will_answer("It is done.")
    async with (
        connected(guarded.url, headers=bearer(owner), name="hall") as one,
        connected(guarded.url, headers=bearer(guest), name="hall") as other,
    ):
        await one.send("text", text=QUESTION)
        await one.until("tool_start")
        assert (await other.ask("What time is it?"))["outcome"] == "completed"
        guarded.house.things.gate.set()
        assert (await one.until("done"))["outcome"] == "completed"


async def test_a_check_that_fails_ends_the_session(
    guarded: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(secret: str) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(voice_stream, "CHECK_SECONDS", 0.01)
    assert guarded.tokens is not None
    async with connected(guarded.url, headers=bearer(guarded.tokens.add("phone", Role.USER))) as client:
        monkeypatch.setattr(guarded.tokens, "find", defect)
        assert await client.closed() == 1011
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["A voice session failed"]


async def test_a_token_that_was_revoked(guarded: Served) -> None:
    assert guarded.tokens is not None
    secret = guarded.tokens.add("phone", Role.USER)
    talk = Conversation()
    async with connected(guarded.url, talk, headers=bearer(secret)) as client:
        await client.ask("What time is it?")
        guarded.tokens.revoke("phone")
        await client.send("text", text="What time is it?")
        assert await client.closed() == 4401
    assert len(talk.of("done")) == 1
    await guarded.until_sessions()


async def test_a_page_of_a_stranger(served: Served) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(served.url + PATH, origin="https://stranger.example")
    async with connected(served.url, headers={"Origin": served.url}) as client:
        assert client.ready["type"] == "ready"


async def test_one_token_has_a_quarter_of_the_connections(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have not said yet who they are count, too."""
    monkeypatch.setattr(voice_stream, "START_SECONDS", SOON)
    assert guarded.tokens is not None
    one, other = (bearer(guarded.tokens.add(name, Role.GUEST)) for name in ("one", "other"))
    async with aiohttp.ClientSession(guarded.url) as session, contextlib.AsyncExitStack() as opened:
        for _ in range(32):
            await opened.enter_async_context(session.ws_connect(PATH, headers=one))
        with pytest.raises(aiohttp.WSServerHandshakeError, match="429") as refused:
            await session.ws_connect(PATH, headers=one)
        assert refused.value.headers is not None
        assert "Retry-After" in refused.value.headers
        async with session.ws_connect(PATH, headers=other):
            pass


async def test_the_only_session_of_a_household_can_be_taken_over(guarded: Served) -> None:
    """The connection that it had may not be known to be gone."""
    assert guarded.tokens is not None
    guarded.voices = guarded.status.own.voices = Voices(guarded.pipeline, guarded.notices, 1)
    headers, talk = bearer(guarded.tokens.add("phone", Role.USER)), Conversation()
    async with connected(guarded.url, talk, headers=headers) as client:
        async with connected(guarded.url, talk, headers=headers) as again:
            assert again.ready["resumed"] is True
        assert await client.closed() == 4409


# The server's own beginning and end


async def test_before_the_engines_are_there(served: Served) -> None:
    served.status.own.voices = None
    async with aiohttp.ClientSession() as session, session.get(served.url + PATH) as answer:
        assert answer.status == 503


async def test_what_is_no_websocket(served: Served) -> None:
    async with aiohttp.ClientSession() as session, session.get(served.url + PATH) as answer:
        assert answer.status == 426
        assert "WebSocket" in json.loads(await answer.text())["error"]


async def test_the_server_says_goodbye_and_nothing_runs_on(building: Served) -> None:
    building.house.ollama.will_answer("Let me see.", Call("slow", {"name": "a"}))
    talk, left = Conversation(), Conversation()
    async with building.listening(), connected(building.url, talk) as client:
        async with connected(building.url, left) as gone:
            await gone.send("listen")
            await gone.until("listening")
            gone.drop()
        await client.send("text", text=QUESTION)
        await client.until("tool_start")
        closing = asyncio.create_task(building.voices.close())
        assert await client.closed() == 1012
        async with asyncio.timeout(SOON):
            await closing
        assert building.house.things.cancelled.is_set()
    assert [timeline.outcome for timeline in building.timelines] == [Outcome.CANCELLED] * 2
    running = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    assert not [name for name in running if name.startswith(("Voice", "Answer", "Pipeline"))]


async def test_a_connection_that_is_cut_before_it_is_one(served: Served) -> None:
    address = urlsplit(served.url)
    assert address.hostname is not None
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: Upgrade\r\n".encode())
    await writer.drain()
    writer.transport.abort()
    async with connected(served.url) as client:
        assert (await client.ask("What time is it?"))["outcome"] == "completed"
