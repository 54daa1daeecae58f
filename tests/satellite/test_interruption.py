"""Somebody calls while an answer plays: on a sound card whose microphone hears its speaker, with a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from handlers.audio import AudioFormat
from satellite.front_end import FrontEndSettings, open_front_end
from satellite.happenings import Happening, Happenings, Kind
from satellite.link import Link
from satellite.machine import Satellite
from satellite.sink import Sink, open_sink
from satellite.source import open_source
from satellite.turn import ServerPartner, TurnResult
from satellite.wake import open_wake_words
from tests.satellite.virtual_audio import VirtualAudio
from tests.support.server import ServerProcess
from tests.support.speech import Speaker, silence

ATTEMPTS = 4
"""On a busy machine the virtual sound card stumbles."""

ATTEMPT_SECONDS = 25.0


class Watched:
    """A sink that says when two seconds of an answer have been heard, by when the satellite knows the room, and that
    is silent afterwards."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.under_way = asyncio.Event()
        self.aborted = 0

    @property
    def played(self) -> float:
        return self._sink.played

    async def start(self, audio_format: AudioFormat) -> None:
        self.under_way.clear()
        await self._sink.start(audio_format)

    async def write(self, pcm: bytes) -> None:
        await self._sink.write(pcm)
        if self.played >= 2.0:
            self.under_way.set()

    async def drain(self) -> None:
        await self._sink.drain()

    async def abort(self) -> None:
        self.aborted += 1
        await self._sink.abort()

    async def close(self) -> None:
        await self._sink.close()


async def test_a_call_over_an_answer_silences_it_and_is_understood(
    virtual_audio: VirtualAudio, server: ServerProcess, speaker: Speaker, wav: Callable[[bytes], Path], tmp_path: Path
) -> None:
    first = wav(speaker.say("Hey Jarvis!") + silence(0.3) + speaker.say("What can you do?") + silence(0.5))
    first = first.rename(tmp_path / "first.wav")
    again = speaker.say("Hey Jarvis!") + silence(0.3) + speaker.say("What time is it?") + silence(0.5)
    softly = np.frombuffer(again, dtype="<i2").astype(np.float32) / 2  # from across the room
    second = wav(softly.astype("<i2").tobytes()).rename(tmp_path / "second.wav")
    told: asyncio.Queue[Happening] = asyncio.Queue()

    async def until(kind: Kind) -> Happening:
        while (happening := await told.get()).kind is not kind:
            pass
        return happening

    async def interrupt() -> tuple[TurnResult, TurnResult]:
        """The interrupted turn and the one that interrupted it."""
        results.clear()
        await asyncio.to_thread(virtual_audio.say, first)
        await sink.under_way.wait()
        await asyncio.to_thread(virtual_audio.say, second)
        while len(results) < 2:
            await until(Kind.FINISHED)
        return results[0], results[1]

    results: list[TurnResult] = []
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(virtual_audio.echo(100))
        front_end = open_front_end(FrontEndSettings())
        source = await open_source("default", changed=lambda present: front_end.reset())
        stack.push_async_callback(source.close)
        sink = Watched(await open_sink("default", tap=front_end.reference))
        stack.push_async_callback(sink.close)
        wake = await open_wake_words(["open/hey_jarvis:0.5"], stop_words=["none"])
        assert wake is not None
        stack.push_async_callback(wake.close)
        happenings = Happenings()
        happenings.add(told.put_nowait)
        partner = ServerPartner(Link(f"tcp://127.0.0.1:{server.port}"), sink, happenings=happenings)
        satellite = Satellite(source, partner, wake, "hall", results.append, front_end=front_end, happenings=happenings)
        running = asyncio.create_task(satellite.run(once=False))
        try:
            async with asyncio.timeout(30):
                await until(Kind.LISTENING)
            for _ in range(ATTEMPTS):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ATTEMPT_SECONDS):
                        interrupted, answered = await interrupt()
                        if interrupted.interrupted and "time" in answered.transcript.lower():
                            break
                satellite.stop()
            else:
                raise AssertionError(f"never interrupted and understood: {results}")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert "what can you do" in interrupted.transcript.lower()
    assert interrupted.error is None
    assert sink.aborted >= 1
    assert answered.error is None
    assert answered.answer.startswith("It's")
