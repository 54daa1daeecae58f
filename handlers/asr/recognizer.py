"""From a stream of audio to a transcript: guesses at every pause, commits at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from handlers.asr.endpoint import Change
from handlers.asr.guess import Guess
from handlers.asr.listener import Listener
from handlers.asr.names import mend, without_wake_phrase
from handlers.asr.patience import Patience, TurnDetector
from handlers.asr.silero import FRAME_BYTES, Silero
from handlers.asr.stage import NO_COMMANDS, NO_HINTS, AsrSettings, Commands, Hints, Transcriber, Transcript
from handlers.audio import BYTES_PER_SECOND
from handlers.errors import RequestError
from handlers.timeline import Mark, Timeline

_LOGGER = logging.getLogger(__name__)

STALL_SECONDS = 10.0
"""A microphone that sends nothing for so long has stopped without saying so."""

_FILE_STALL_SECONDS = 1.5
"""The same for a file, whose next chunk is always ready; a Wi-Fi may need a second to get over a loss."""

_LIVE_SHARE = 0.25
"""Audio that arrives more than four times faster than it was spoken comes from a file. A satellite's pre-roll comes at
once too, but by the time an end can be decided at least as much has followed in real time."""

_TURN_SECONDS = 8.0
"""What the turn detector listens to."""

_END_CHANGES = frozenset({Change.ENDED, Change.TOO_LONG, Change.NOTHING})


class Hearing(Protocol):
    """Told what is heard while it happens."""

    async def speech_started(self) -> None:
        """Somebody speaks."""

    async def guessed(self, transcript: Transcript) -> None:
        """This may have been all of it: the speaker pauses, and it sounds or reads like an end."""

    async def resumed(self, text: str) -> None:
        """It was not all: more is being said. `text` is what was guessed at the pause, empty if nothing was."""

    async def speech_ended(self, transcript: Transcript) -> None:
        """The utterance is over, and this is what was said; not called when nobody spoke."""


class Recognizer:
    """Endpointing and transcription of single utterances, for any number of streams at once."""

    def __init__(
        self,
        transcriber: Transcriber,
        vad: Silero,
        settings: AsrSettings,
        *,
        turns: TurnDetector | None = None,
        phrases: Sequence[str] = (),
        names: Callable[[], Sequence[str]] = tuple,
        language: str | None = None,
    ) -> None:
        """`phrases` are wake phrases and names of the assistant, after which a speaker only begins; `names` gives those
        of the house, which may change. `language` is that of a speaker who names none, instead of the transcriber's."""
        self.transcriber = transcriber
        self._vad = vad
        self._settings = settings
        self._turns = turns
        self._phrases = phrases
        self._names = names
        self._language = language

    async def recognize(
        self,
        audio: AsyncIterator[bytes],
        hearing: Hearing,
        timeline: Timeline,
        *,
        language: str | None = None,
        hints: Hints = NO_HINTS,
        commands: Commands = NO_COMMANDS,
        wake_phrase: str = "",
        answering: bool = False,
        whole: bool = False,
        stall_seconds: float = STALL_SECONDS,
    ) -> Transcript:
        """Read internal audio until the utterance ends or the audio does.

        Live audio ends at a silence as long as the guess and the sound ask for, and when none has come for
        `stall_seconds`. From a file, which arrives faster than speech, everything is taken, and so it is of a speaker
        who says when they have finished (`whole`).
        `wake_phrase` began the turn; what is left of it in the transcript is removed.
        `commands` knows which texts need no more words.
        `answering` says that the assistant has asked something: a lone name is then an answer, not a beginning.
        Raises RequestError for a file that is too long.
        """
        language = language or self._language
        spoken = language or self._settings.language
        names = [*hints.names, *self._settings.names, *self._names()]
        hints = Hints(names, [*hints.terms, *self._settings.terms])
        utterance = _Utterance(
            listener=Listener(self._vad.stream(), self._settings.endpoint),
            guess=Guess(
                self.transcriber,
                self._turns,
                language,
                hints,
                lambda text: mend(without_wake_phrase(text, wake_phrase), names),
                lambda text: commands.consider(text, spoken),
            ),
            patience=Patience(
                self._settings.endpoint,
                lambda text: commands.knows(text, spoken),
                [] if answering else [*self._phrases, *names],
                spoken,
            ),
            hearing=hearing,
            timeline=timeline,
            settings=self._settings,
            whole=whole,
            stall_seconds=stall_seconds,
        )
        try:
            await utterance.listen(audio)
            if not utterance.listener.heard:
                return Transcript("", spoken, 0.0)
            transcript = await utterance.commit()
            await hearing.speech_ended(transcript)
            return transcript
        finally:
            await utterance.guess.discard()


class _Utterance:
    """One utterance's way from the first chunk to the commitment."""

    def __init__(
        self,
        listener: Listener,
        guess: Guess,
        patience: Patience,
        hearing: Hearing,
        timeline: Timeline,
        settings: AsrSettings,
        *,
        whole: bool,
        stall_seconds: float,
    ) -> None:
        self.listener = listener
        self.guess = guess
        self._patience = patience
        self._hearing = hearing
        self._timeline = timeline
        self._longest_seconds = settings.longest_file_seconds
        self._full_patience_ms = settings.endpoint.patience_ms
        self._pace = _Pace()
        self._whole = whole
        self._stall = stall_seconds
        self._offered = False
        self._last_speech = time.monotonic()

    async def listen(self, audio: AsyncIterator[bytes]) -> None:
        """Take audio until the end of the utterance, or of the audio. Two things may end it: silence, or a guess."""
        chunk = _next(audio)
        try:
            while True:
                done, _ = await asyncio.wait(
                    {chunk, *self.guess.running}, timeout=self._stall, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    _LOGGER.info("No audio for %g seconds: taken as its end", self._stall)
                    return
                if chunk in done:
                    pcm = await _result(chunk)
                    if pcm is None or await self._take(pcm):
                        return
                    chunk = _next(audio)
                if await self._weigh():
                    return
        finally:
            chunk.cancel()
            await asyncio.gather(chunk, return_exceptions=True)

    async def commit(self) -> Transcript:
        """The transcript of the whole utterance: the guess if it was made on the same audio, else a run of its own."""
        timeline = self._timeline
        # Audio time is clock time only while somebody speaks live: that of a file would end before it began, and that
        # of a microphone that stopped long after.
        ended = min(time.monotonic() - self.listener.silence_seconds, self._last_speech)
        timeline.mark(Mark.SPEECH_END, max(ended, timeline.marks[Mark.SPEECH_START]))
        timeline.mark(Mark.ENDPOINT)
        if self.guess.dropped:
            timeline.guesses_dropped += 1
        transcript, saved = await self.guess.commit(self.listener.utterance())
        timeline.mark(Mark.TRANSCRIPT)
        if saved is not None:
            timeline.guesses_kept += 1
            timeline.saved_seconds += saved
        return transcript

    async def _take(self, pcm: bytes) -> bool:
        """Take one chunk; returns whether the utterance ended in it."""
        arrived = time.monotonic()
        self._pace.arrived(len(pcm))
        for start in range(0, len(pcm), FRAME_BYTES):
            changes = self.listener.feed(pcm[start : start + FRAME_BYTES])
            if self.listener.heard and not self.listener.silence_ms:
                self._last_speech = arrived
            for change in changes:
                if await self._change(change):
                    return True
            await asyncio.sleep(0)  # a client may send half a minute in one chunk: others have their turn
        if self.listener.seconds > self._longest_seconds:
            raise RequestError(
                "audio-too-long", f"The recording is longer than {self._longest_seconds} seconds; send it in parts"
            )
        return False

    async def _change(self, change: Change) -> bool:
        if change is Change.STARTED:
            self._timeline.mark(Mark.SPEECH_START)
            await self._hearing.speech_started()
        elif change is Change.PAUSED and self._pace.live:
            await self.guess.start(self.listener.utterance(), self.listener.recent(_TURN_SECONDS))
        elif change is Change.RESUMED:
            await self._resume()
        elif change in _END_CHANGES:
            if self._pace.live and not self._whole:
                return True
            self.listener.reopen()
            if not self._whole:
                self._stall = _FILE_STALL_SECONDS
        return False

    async def _resume(self) -> None:
        if not self.guess.begun:
            return
        text = self.guess.text or ""
        if self.guess.dropped:
            self._timeline.guesses_dropped += 1
        else:
            self._timeline.guesses_discarded += 1
        self._offered = False
        await self.guess.discard()
        await self._hearing.resumed(text)

    async def _weigh(self) -> bool:
        """Set the patience by what is known of the pause; returns whether the silence was long enough already."""
        if not self.guess.has_news():
            return False
        wait_ms = self._patience.wait_ms(self.guess.text, self.guess.complete, self.listener.speech_ms)
        self.listener.set_patience(wait_ms)
        if self.listener.silence_ms >= wait_ms and self._pace.live and not self._whole:
            self.listener.end_now()
            return True
        transcript = self.guess.transcript
        if transcript is not None and transcript.text and not self._offered and wait_ms < self._full_patience_ms:
            self._offered = True
            await self._hearing.guessed(transcript)
        return False


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


def _next(audio: AsyncIterator[bytes]) -> asyncio.Task[bytes]:
    """The next chunk as a task, so that other things can be waited for at the same time."""

    async def chunk() -> bytes:
        return await anext(audio)

    return asyncio.create_task(chunk())


async def _result(chunk: asyncio.Task[bytes]) -> bytes | None:
    """The chunk, or None at the end of the audio."""
    try:
        return await chunk
    except StopAsyncIteration:
        return None
