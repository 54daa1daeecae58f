"""Speaks a text while it is still being written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from handlers.tts.clean import speakable
from handlers.tts.sentences import SentenceStream
from handlers.tts.stage import Synthesizer, VoiceChoice
from handlers.tts.thoughts import ThoughtFilter


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


async def speak(
    texts: AsyncIterator[str], synthesizer: Synthesizer, choice: VoiceChoice
) -> AsyncGenerator[bytes, None]:
    """Audio of speakable sentences, in order, in the voice's format. Closing it stops the synthesis."""
    async for text in texts:
        async with contextlib.aclosing(synthesizer.synthesize(text, choice)) as audio:
            async for pcm in audio:
                yield pcm


async def once(text: str) -> AsyncIterator[str]:
    """A whole text as a stream of one piece."""
    yield text
