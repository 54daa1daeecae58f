"""The Wyoming service `wake`: `detect`, audio in, `detection` out, `not-detected` when the audio ends without one."""

from __future__ import annotations

import asyncio

from wyoming.audio import AudioStart
from wyoming.event import Event
from wyoming.wake import Detect, NotDetected
from wyoming.wake import Detection as DetectionEvent

from handlers.errors import RequestError
from handlers.wake.stage import WakeEngine, WakeSettings, choose_words, require_words
from handlers.wire import fields
from handlers.wire.audio_input import AUDIO_EVENTS, AudioInput
from handlers.wire.connection import Connection
from handlers.workers import Workers

_MAX_NAMES = 64


class WakeHandler:
    """One connection's wake word detection. Takes audio only after a `detect`."""

    def __init__(self, connection: Connection, engine: WakeEngine, workers: Workers, settings: WakeSettings) -> None:
        self._connection = connection
        self._engine = engine
        self._workers = workers
        self._settings = settings
        self._names: list[str] | None = None
        self._input: AudioInput | None = None
        self._task: asyncio.Task[None] | None = None

    def wants(self, event_type: str) -> bool:
        return Detect.is_type(event_type) or (self._names is not None and event_type in AUDIO_EVENTS)

    async def handle(self, event: Event) -> None:
        if Detect.is_type(event.type):
            names = fields.texts(event, "names", limit=_MAX_NAMES)
            require_words(names, self._engine.words)
            self._names = names
            self._abandon()
            self._input = None
            return
        if self._input is None or (self._input.ended and AudioStart.is_type(event.type)):
            self._input = AudioInput()
            self._task = self._connection.start(self._detect(self._input, self._names or []), "wake")
        try:
            await self._input.feed(event)
        except RequestError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Drop audio that is not to be heard to its end: nobody waits for what is in it."""
        if self._input is not None and self._task is not None and not self._input.ended:
            self._input.close()
            self._task.cancel()

    async def _detect(self, audio: AudioInput, names: list[str]) -> None:
        words = choose_words(self._engine, names, self._settings)
        refractory = self._settings.refractory_seconds
        detected = False
        try:
            detector = await self._workers.run(lambda: self._engine.detector(words, refractory))
            async for chunk in audio.chunks():
                for detection in await self._workers.run(lambda pcm=chunk: detector.process(pcm)):  # type: ignore[misc]
                    detected = True
                    await self._connection.send(
                        DetectionEvent(name=detection.name, timestamp=round(detection.seconds * 1000)).event()
                    )
            if not detected:
                await self._connection.send(NotDetected().event())
        finally:
            audio.close()  # else the connection would wait for a reader of its audio
