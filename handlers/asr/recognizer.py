"""From a stream of audio to a transcript: listens for the end and transcribes on a guess at every pause."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Protocol

from handlers.asr.endpoint import Change
from handlers.asr.listener import Listener
from handlers.asr.silero import FRAME_BYTES, Silero
from handlers.asr.stage import NO_HINTS, AsrSettings, Hints, Transcriber, Transcript
from handlers.audio import BYTES_PER_SECOND
from handlers.errors import RequestError
from handlers.timeline import Mark, Timeline

_LOGGER = logging.getLogger(__name__)

_STALL_SECONDS = 10.0
"""A microphone that sends nothing for so long has stopped without saying so."""

_FILE_STALL_SECONDS = 1.5
"""The same for a file, whose next chunk is always ready; a Wi-Fi may need a second to get over a loss."""

_LIVE_SHARE = 0.25
"""Audio that arrives more than four times faster than it was spoken comes from a file. A satellite's pre-roll comes at
once too, but by the time an end can be decided at least as much has followed in real time."""

_END_CHANGES = frozenset({Change.ENDED, Change.TOO_LONG, Change.NOTHING})


class Hearing(Protocol):
    """Told what is heard while it happens."""

    async def speech_started(self) -> None:
        """Somebody speaks."""

    async def speech_ended(self, text: str) -> None:
        """The utterance is over, and this is what was said; not called when nobody spoke."""


class Recognizer:
    """Endpointing and transcription of single utterances, for any number of streams at once."""

    def __init__(self, transcriber: Transcriber, vad: Silero, settings: AsrSettings) -> None:
        self.transcriber = transcriber
        self._vad = vad
        self._settings = settings

    async def recognize(
        self,
        audio: AsyncIterator[bytes],
        hearing: Hearing,
        timeline: Timeline,
        *,
        language: str | None = None,
        hints: Hints = NO_HINTS,
    ) -> Transcript:
        """Read internal audio until the utterance ends or the audio does.

        Live audio ends at a long silence. From a file, which arrives faster than speech, everything is taken.
        Raises RequestError for a file that is too long.
        """
        listener = Listener(self._vad.stream(), self._settings.endpoint)
        guess = _Guess(self.transcriber, language, hints)
        try:
            await self._listen(audio, listener, guess, hearing, timeline)
            if not listener.heard:
                return Transcript("", language or self._settings.language, 0.0)
            # Audio time is clock time only while somebody speaks live: that of a file would end before it began.
            ended = time.monotonic() - listener.silence_seconds
            timeline.mark(Mark.SPEECH_END, max(ended, timeline.marks[Mark.SPEECH_START]))
            timeline.mark(Mark.ENDPOINT)
            transcript = await guess.result(listener.utterance())
            timeline.mark(Mark.TRANSCRIPT)
            await hearing.speech_ended(transcript.text)
            return transcript
        finally:
            await guess.discard()

    async def _listen(
        self, audio: AsyncIterator[bytes], listener: Listener, guess: _Guess, hearing: Hearing, timeline: Timeline
    ) -> None:
        pace = _Pace()
        patience = _STALL_SECONDS
        while True:
            try:
                async with asyncio.timeout(patience):
                    chunk = await anext(audio)
            except StopAsyncIteration:
                return
            except TimeoutError:
                _LOGGER.info("No audio for %g seconds: taken as its end", patience)
                return
            pace.arrived(len(chunk))
            for start in range(0, len(chunk), FRAME_BYTES):
                for change in listener.feed(chunk[start : start + FRAME_BYTES]):
                    if change is Change.STARTED:
                        timeline.mark(Mark.SPEECH_START)
                        await hearing.speech_started()
                    elif change is Change.PAUSED and pace.live:
                        await guess.start(listener.utterance())
                    elif change is Change.RESUMED:
                        await guess.discard()
                    elif change in _END_CHANGES and pace.live:
                        return
                    elif change in _END_CHANGES:
                        listener.reopen()
                        patience = _FILE_STALL_SECONDS
                await asyncio.sleep(0)  # a client may send half a minute in one chunk: others have their turn
            if listener.seconds > self._settings.longest_file_seconds:
                raise RequestError(
                    "audio-too-long",
                    f"The recording is longer than {self._settings.longest_file_seconds} seconds; send it in parts",
                )


class _Pace:
    """Whether audio arrives as it is spoken."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._bytes = 0

    def arrived(self, count: int) -> None:
        """Count bytes of audio; the clock starts with the first."""
        if self._began is None:
            self._began = time.monotonic()
        self._bytes += count

    @property
    def live(self) -> bool:
        if self._began is None:
            return True
        return time.monotonic() - self._began >= self._bytes / BYTES_PER_SECOND * _LIVE_SHARE


class _Guess:
    """At most one transcription under way of what was said so far."""

    def __init__(self, transcriber: Transcriber, language: str | None, hints: Hints) -> None:
        self._transcriber = transcriber
        self._language = language
        self._hints = hints
        self._pcm = b""
        self._task: asyncio.Task[Transcript] | None = None

    async def start(self, pcm: bytes) -> None:
        """Begin to transcribe `pcm`, hoping that nothing more will be said."""
        if self._task is not None and pcm == self._pcm:
            return
        await self.discard()
        self._pcm = pcm
        self._task = asyncio.create_task(self._transcriber.transcribe(pcm, self._language, self._hints))

    async def discard(self) -> None:
        """Drop the guess. One that waits for a worker never runs."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def result(self, pcm: bytes) -> Transcript:
        """The transcript of `pcm`: the guess if it was made on the same bytes, else a run of its own."""
        if self._task is not None and pcm == self._pcm:
            return await self._task
        await self.discard()
        return await self._transcriber.transcribe(pcm, self._language, self._hints)
