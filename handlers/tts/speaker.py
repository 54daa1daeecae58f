"""Speaks a text while it is still being written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from handlers.tts.clean import speakable
from handlers.tts.sentences import SentenceStream
from handlers.tts.stage import VoiceChoice
from handlers.tts.thoughts import ThoughtFilter

_SENTENCES = 2
"""The one whose audio is leaving, and the next: made meanwhile, so that no gap is heard. More would be work that an
interruption throws away."""


class Speaks(Protocol):
    """What `speak` needs of a `Synthesizer`."""

    def synthesize(self, text: str, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
        """The audio of a sentence."""


async def sentences(deltas: AsyncIterator[str], language: str) -> AsyncIterator[str]:
    """Speakable sentences of a text that arrives in pieces, each as soon as it is complete.

    The first may be a clause, so that audio can begin. Thoughts, markdown and what cannot be spoken are left out.
    """
    thoughts = ThoughtFilter()
    stream = SentenceStream(language)
    async for delta in deltas:
        for sentence in stream.feed(thoughts.feed(delta)):
            if spoken := speakable(sentence, language):
                yield spoken
    for sentence in [*stream.feed(thoughts.finish()), *stream.finish()]:
        if spoken := speakable(sentence, language):
            yield spoken


async def speak(texts: AsyncIterator[str], synthesizer: Speaks, choice: VoiceChoice) -> AsyncGenerator[bytes, None]:
    """Audio of speakable sentences, in order, in the voice's format. Closing it stops the synthesis."""
    ready: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by `room`
    room = asyncio.Semaphore(_SENTENCES)
    making = asyncio.create_task(_synthesize(texts, synthesizer, choice, ready, room), name="speak")
    making.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        while (pcm := await ready.get()) is not None:
            if pcm:
                yield pcm
            else:
                room.release()
        await making  # raises what failed
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


async def once(text: str) -> AsyncIterator[str]:
    """A whole text as a stream of one piece."""
    yield text


async def _synthesize(
    texts: AsyncIterator[str],
    synthesizer: Speaks,
    choice: VoiceChoice,
    ready: asyncio.Queue[bytes | None],
    room: asyncio.Semaphore,
) -> None:
    """Put the audio of each sentence into `ready`, and b"" behind it, while there is room for one more."""
    async for text in texts:
        await room.acquire()
        async with contextlib.aclosing(synthesizer.synthesize(text, choice)) as audio:
            async for pcm in audio:
                ready.put_nowait(pcm)
        ready.put_nowait(b"")
