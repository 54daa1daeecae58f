from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.vad import VoiceStopped

from handlers.errors import AudioError, EngineError, MeadowlarkError
from satellite.happenings import Happenings, Kind
from satellite.link import Link, LinkLostError
from satellite.machine import MOST_QUESTIONS, Satellite
from satellite.sink import NoSink, Sink, WavSink
from satellite.source import Recording, Source, open_recording
from satellite.turn import ServerPartner, TurnResult
from satellite.wake import open_wake_words
from tests.satellite.live import Loudspeaker, Microphone, speak
from tests.satellite.peer import ANSWER, Peer, PeerConnection, Script, well_behaved
from tests.support.speech import Speaker, likeness, silence

Serve = Callable[[Script], asyncio.Future[Peer]]
Wav = Callable[[bytes], Path]


async def run(source: Source, peer: Peer, *words: str, once: bool = False) -> list[TurnResult]:
    results: list[TurnResult] = []
    wake = await open_wake_words(words)
    try:
        satellite = Satellite(source, ServerPartner(Link(peer.uri), NoSink()), wake, "kitchen", results.append)
        async with asyncio.timeout(60):
            await satellite.run(once=once)
    finally:
        await source.close()
        if wake is not None:
            await wake.close()
    return results


async def test_only_what_follows_the_wake_word_leaves_the_satellite(serve: Serve, speaker: Speaker, wav: Wav) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        if connection.received:
            await connection.answer()

    peer = await serve(script)
    secret, question = speaker.say("My secret is safe."), speaker.say("What time is it?")
    audio = secret + silence(0.5) + speaker.say("Okay Nabu.") + silence(0.4) + question + silence(0.2)
    [result] = await run(await open_recording(wav(audio)), peer, "okay_nabu", once=True)
    assert result.error is None
    [turn] = peer.turns
    assert turn.request.data["wake_word_name"] == "okay_nabu"
    assert likeness(turn.audio, question) > 0.999
    assert len(turn.audio) < len(question) + len(silence(1.0))  # neither the secret nor the wake word


async def test_a_recording_without_the_wake_word_says_so(serve: Serve, speaker: Speaker, wav: Wav) -> None:
    peer = await serve(well_behaved)
    source = await open_recording(wav(silence(0.5) + speaker.say("What time is it?")))
    with pytest.raises(EngineError, match=r"'okay nabu' was not heard in .*q\.wav; use --wake-word none") as caught:
        await run(source, peer, "okay_nabu")
    assert caught.value.exit_code == 1
    assert peer.turns == []


async def test_two_questions_in_a_recording_are_two_turns_of_one_conversation(
    serve: Serve, speaker: Speaker, wav: Wav
) -> None:
    peer = await serve(well_behaved)
    asked = silence(0.3) + speaker.say("Okay Nabu.") + silence(0.3) + speaker.say("What time is it?") + silence(1.5)
    results = await run(await open_recording(wav(asked + asked)), peer, "okay_nabu")
    assert [result.answer for result in results] == [ANSWER, ANSWER]
    assert [turn.request.data["context"].get("conversation_id") for turn in peer.turns] == [None, "c1"]


async def test_push_to_talk_sends_everything_at_once(serve: Serve, wav: Wav, speaker: Speaker) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        if connection.received:
            await connection.answer()

    peer = await serve(script)
    question = speaker.say("What time is it?")
    [result] = await run(await open_recording(wav(question)), peer, "none", once=True)
    assert result.error is None
    assert peer.turns[0].audio == question
    assert "wake_word_name" not in peer.turns[0].request.data


async def test_a_turn_that_fails_is_raised_where_there_is_no_next(serve: Serve, wav: Wav) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.2)

    with pytest.raises(LinkLostError):
        await run(await open_recording(wav(silence(0.5))), await serve(script), "none", once=True)


async def test_one_turn_ends_though_the_microphone_says_nothing_more(serve: Serve, microphone: Microphone) -> None:
    microphone.say(silence(1.0))
    [result] = await run(microphone.source, await serve(well_behaved), "none", once=True)
    assert result.answer == ANSWER


async def test_a_microphone_that_fails_is_told(serve: Serve) -> None:
    def read() -> bytes:
        raise AudioError("The microphone is gone")

    source = Recording("broken", read, is_live=True)
    with pytest.raises(AudioError, match="gone"):
        await run(source, await serve(well_behaved), "okay_nabu", once=True)


async def test_it_ends_with_its_microphone_though_there_is_no_server(microphone: Microphone) -> None:
    async with Peer(well_behaved) as gone:
        uri = gone.uri
    satellite = Satellite(microphone.source, ServerPartner(Link(uri), NoSink()), None, "kitchen", lambda _: None)
    microphone.say(silence(0.2))
    microphone.end()
    async with asyncio.timeout(30):
        await satellite.run(once=False)


async def test_a_live_satellite_outlives_its_server(microphone: Microphone, tmp_path: Path) -> None:
    """The server dies in a turn, stays away for a while, and the next turn is answered."""
    results: asyncio.Queue[TurnResult] = asyncio.Queue()

    async def feed() -> None:
        while True:
            microphone.say(silence(0.1))
            await asyncio.sleep(0.1)

    async def die(connection: PeerConnection) -> None:
        await connection.receive_audio(0.1)

    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(Peer(die))
        sink = WavSink(tmp_path / "a.wav")
        satellite = Satellite(
            microphone.source, ServerPartner(Link(first.uri), sink), None, "kitchen", results.put_nowait
        )
        tasks = [asyncio.create_task(satellite.run(once=False)), asyncio.create_task(feed())]
        try:
            broken = await results.get()
            await stack.aclose()
            async with Peer(well_behaved, port=first.port):
                while (result := await results.get()).error is not None:
                    assert isinstance(result.error, LinkLostError)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(broken.error, MeadowlarkError)
    assert result.answer == ANSWER
    assert (tmp_path / "a.wav").stat().st_size > 10_000


@contextlib.asynccontextmanager
async def living(microphone: Microphone, peer: Peer, sink: Sink) -> AsyncIterator[asyncio.Queue[TurnResult]]:
    """A satellite with a live microphone, and what comes of its turns."""
    results: asyncio.Queue[TurnResult] = asyncio.Queue()
    wake = await open_wake_words(["okay_nabu"])
    assert wake is not None
    satellite = Satellite(microphone.source, ServerPartner(Link(peer.uri), sink), wake, "kitchen", results.put_nowait)
    running = asyncio.create_task(satellite.run(once=False))
    try:
        async with asyncio.timeout(60):
            yield results
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await wake.close()


async def test_the_wake_word_interrupts_an_answer_and_the_conversation_goes_on(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    played: asyncio.Queue[Event | None] = asyncio.Queue()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        if not connection.received:
            return
        await connection.send(VoiceStopped().event(), Handled(text="Well.", context={"conversation_id": "c1"}).event())
        await connection.send(AudioStart(rate=16000, width=2, channels=1).event())
        for _ in range(30):  # half a minute, a second at a time
            await connection.send(AudioChunk(rate=16000, width=2, channels=1, audio=silence(1.0)).event())
        await connection.receive_until("played")
        played.put_nowait(connection.received[-1])

    peer, sink = await serve(script), Loudspeaker()
    called = speaker.say("Okay Nabu.") + silence(0.3) + speaker.say("Tell me a story.") + silence(1.5)
    async with living(microphone, peer, sink) as results:
        await speak(microphone, silence(0.3) + called)
        await speak(microphone, silence(0.3) + called)
        result = await results.get()
        told = await played.get()
    assert result.interrupted
    assert result.error is None
    assert told is not None
    assert 0 < told.data["seconds"] < 10  # of thirty
    assert sink.aborted >= 1
    first, second = peer.turns[:2]
    assert second.request.data["context"] == {"satellite_id": "kitchen", "conversation_id": "c1"}
    assert first.request.data["wake"]["score"] >= 0.5


async def test_after_a_question_of_the_assistant_the_microphone_opens_again(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.5)
        if not connection.received:
            return
        first = "wake_word_name" in connection.request.data
        handled = Handled(text="Which one?" if first else "Done.", context={"conversation_id": "c1"}).event()
        handled.data["listen"] = first
        await connection.send(VoiceStopped().event(), handled, AudioStop().event())

    peer = await serve(script)
    async with living(microphone, peer, NoSink()) as results:
        await speak(microphone, silence(0.3) + speaker.say("Okay Nabu.") + silence(0.3) + speaker.say("Lamp on."))
        await speak(microphone, silence(1.0) + speaker.say("The one in the hall."))
        answers = [(await results.get()).answer, (await results.get()).answer]
    assert answers == ["Which one?", "Done."]
    assert "wake" not in peer.turns[1].request.data
    assert peer.turns[1].request.data["context"]["conversation_id"] == "c1"


async def test_an_assistant_that_asks_for_ever_is_not_listened_to_for_ever(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.1)
        if connection.received:
            handled = Handled(text="And then?", context={"conversation_id": "c1"}).event()
            handled.data["listen"] = True
            await connection.send(VoiceStopped().event(), handled, AudioStop().event())

    peer = await serve(script)
    async with living(microphone, peer, NoSink()) as results:
        await speak(microphone, silence(0.3) + speaker.say("Okay Nabu.") + silence(0.5))
        while results.qsize() <= MOST_QUESTIONS:
            await speak(microphone, silence(0.2))
        await speak(microphone, silence(0.5) + speaker.say("Okay Nabu.") + silence(2.5))
        asked = [await results.get() for _ in range(MOST_QUESTIONS + 2)]
    assert [result.error for result in asked] == [None] * (MOST_QUESTIONS + 2)
    called = ["wake_word_name" in turn.request.data for turn in peer.turns]
    assert called[: MOST_QUESTIONS + 2] == [True, *[False] * MOST_QUESTIONS, True]


async def test_what_was_said_while_the_server_was_away_is_not_done_later(
    speaker: Speaker, microphone: Microphone
) -> None:
    gone, back, found = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(connection: PeerConnection) -> None:
        await connection.receive_audio(0.1)
        if connection.received and not gone.is_set():
            gone.set()

    async def found_again(connection: PeerConnection) -> None:
        found.set()
        await well_behaved(connection)

    class Slow(NoSink):
        async def abort(self) -> None:
            await back.wait()

    called = speaker.say("Okay Nabu.") + silence(1.5)
    async with contextlib.AsyncExitStack() as stack:
        peer = await stack.enter_async_context(Peer(script))
        async with living(microphone, peer, Slow()) as results:
            await speak(microphone, silence(0.3) + called)
            await gone.wait()
            await stack.aclose()
            await speak(microphone, called)  # nobody is there to do it
            back.set()
            assert isinstance((await results.get()).error, LinkLostError)
            async with Peer(found_again, port=peer.port) as again:
                await found.wait()  # the pause before the next attempt has grown while there was no server
                await speak(microphone, silence(2.5) + called)
                result = await results.get()
                assert result.answer == ANSWER
                assert len(again.turns) == 1


async def test_a_defect_in_a_turn_is_told_and_the_next_one_works(
    serve: Serve, speaker: Speaker, microphone: Microphone
) -> None:
    class Faulty(NoSink):
        broken = True

        async def drain(self) -> None:
            if self.broken:
                self.broken = False
                raise ValueError("a defect")

    peer = await serve(well_behaved)
    called = silence(0.3) + speaker.say("Okay Nabu.") + silence(2.0)
    async with living(microphone, peer, Faulty()) as results:
        await speak(microphone, called)
        first = await results.get()
        await speak(microphone, called)
        second = await results.get()
    assert first.error is not None
    assert "ValueError" in str(first.error)
    assert (second.error, second.answer) == (None, ANSWER)


@pytest.mark.parametrize("sure", [0.0, 1.0])
async def test_a_wake_word_that_was_not_heard_surely_is_sent_along(
    serve: Serve, speaker: Speaker, wav: Wav, sure: float
) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive_until("audio-stop")
        if connection.received:
            await connection.send(Error(text="That was not the wake word", code="not-woken").event())

    peer = await serve(script)
    word, question = speaker.say("Okay Nabu."), speaker.say("What time is it?")
    source = await open_recording(wav(silence(0.5) + word + silence(0.4) + question + silence(0.3)))
    happened: list[Kind] = []
    told = Happenings()
    told.add(lambda happening: happened.append(happening.kind))
    wake = await open_wake_words(["okay_nabu"], stop_words=["none"])
    assert wake is not None
    satellite = Satellite(
        source,
        ServerPartner(Link(peer.uri), NoSink()),
        wake,
        "kitchen",
        lambda result: None,
        sure_score=sure,
        happenings=told,
    )
    with pytest.raises(EngineError, match="not the wake word"):
        async with asyncio.timeout(60):
            await satellite.run(once=True)
    await source.close()
    await wake.close()
    [turn] = peer.turns
    assert turn.request.data["wake"]["in_audio"] is bool(sure)
    assert likeness(turn.audio, question) > 0.99
    assert (len(turn.audio) > len(question) + len(silence(1.2))) is bool(sure)
    assert Kind.ERROR not in happened  # nobody is told of a call that was none
