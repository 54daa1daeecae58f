"""What may have been said, when a speaker pauses: made while the pause lasts, used if it turns out to be the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from handlers.asr.patience import TurnDetector
from handlers.asr.stage import Hints, Transcriber, Transcript
from handlers.cpu import Ticket, Urgency
from handlers.errors import BusyError, EngineError

T = TypeVar("T")


class Guess:
    """At most one transcription of what was said so far, and one verdict on how it sounded."""

    def __init__(
        self,
        transcriber: Transcriber,
        turns: TurnDetector | None,
        language: str | None,
        hints: Hints,
        mended: Callable[[str], str],
        consider: Callable[[str], Awaitable[None]],
    ) -> None:
        """`mended` is a transcript with names as they are written; `consider` finds out whether it is a command, before
        the guess is known: its end depends on that."""
        self._transcriber = transcriber
        self._turns = turns
        self._language = language
        self._hints = hints
        self._mended = mended
        self._consider = consider
        self._pcm = b""
        self._ticket = Ticket(Urgency.GUESS)
        self._transcription: asyncio.Task[Transcript] | None = None
        self._verdict: asyncio.Task[float] | None = None
        self._known = 0

    @property
    def begun(self) -> bool:
        return self._transcription is not None

    @property
    def running(self) -> list[asyncio.Task[Transcript] | asyncio.Task[float]]:
        """What is under way and will bring news."""
        return [task for task in (self._transcription, self._verdict) if task is not None and not task.done()]

    @property
    def transcript(self) -> Transcript | None:
        """What was said, if it is known."""
        return _outcome(self._transcription)

    @property
    def text(self) -> str | None:
        transcript = self.transcript
        return None if transcript is None else transcript.text

    @property
    def complete(self) -> float | None:
        """Probability that the speaker has finished, by the sound; None where it is not known."""
        return _outcome(self._verdict)

    @property
    def dropped(self) -> bool:
        """Whether the guess was not made because the processor was busy."""
        task = self._transcription
        return task is not None and task.done() and not task.cancelled() and isinstance(task.exception(), BusyError)

    def has_news(self) -> bool:
        """Whether something has become known since this was last asked."""
        known = sum(1 for task in (self._transcription, self._verdict) if task is not None and task.done())
        news = known > self._known
        self._known = known
        return news

    async def start(self, utterance: bytes, recent: bytes) -> None:
        """Begin to transcribe, hoping that nothing more will be said."""
        if self._transcription is not None and utterance == self._pcm:
            return
        await self.discard()
        self._pcm = utterance
        self._ticket = Ticket(Urgency.GUESS)
        self._transcription = asyncio.create_task(self._transcribe(utterance, self._ticket))
        if self._turns is not None:
            self._verdict = asyncio.create_task(self._turns.complete(recent, Ticket(Urgency.GUESS)))

    async def discard(self) -> None:
        """Drop the guess. One that waits for a slot never runs."""
        tasks = [task for task in (self._transcription, self._verdict) if task is not None]
        self._transcription = self._verdict = None
        self._known = 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def commit(self, pcm: bytes) -> tuple[Transcript, float | None]:
        """The transcript of `pcm`, and the seconds that the guess has saved, None if there was none to use."""
        if self._transcription is not None and pcm == self._pcm and not self.dropped:
            self._ticket.urgency = Urgency.FINAL
            asked = time.monotonic()
            with contextlib.suppress(EngineError):  # a guess may fail, or be refused at the last moment
                transcript = await self._transcription
                return transcript, max(0.0, transcript.took - (time.monotonic() - asked))
        await self.discard()
        return await self._transcribe(pcm, Ticket(Urgency.FINAL)), None

    async def _transcribe(self, pcm: bytes, ticket: Ticket) -> Transcript:
        transcript = await self._transcriber.transcribe(pcm, self._language, self._hints, ticket)
        text = self._mended(transcript.text)
        if text:
            await self._consider(text)
        return replace(transcript, text=text)


def _outcome(task: asyncio.Task[T] | None) -> T | None:
    """What a task returned; None while it runs, and when it failed."""
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
