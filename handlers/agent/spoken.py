"""What a language model streams, as the agent takes it: only words for the listener, and in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from handlers.errors import DeadlineError
from handlers.tts.thoughts import ThoughtFilter


async def spoken(
    deltas: AsyncGenerator[str, None], first_seconds: float, silence_seconds: float
) -> AsyncGenerator[str, None]:
    """Pass on `deltas` without thoughts and leading blanks. Closes them however it ends.

    Raises DeadlineError when the first word does not come within `first_seconds`, however much was thought, or no
    delta at all for `silence_seconds` after it. The time that the reader takes does not count.
    """
    thoughts = ThoughtFilter()
    loop = asyncio.get_running_loop()
    first_until = loop.time() + first_seconds
    said = False
    async with contextlib.aclosing(deltas):
        while True:
            until = loop.time() + silence_seconds if said else first_until
            delta = await _next(deltas, until, silence_seconds if said else first_seconds)
            text = thoughts.finish() if delta is None else thoughts.feed(delta)
            if not said:
                text = text.lstrip()
            if text:
                said = True
                yield text
            if delta is None:
                return


async def _next(deltas: AsyncGenerator[str, None], until: float, seconds: float) -> str | None:
    try:
        async with asyncio.timeout_at(until) as deadline:
            return await anext(deltas, None)
    except TimeoutError:
        if not deadline.expired():  # the connection's own
            raise
        raise DeadlineError(f"no word came for {seconds:g} seconds") from None
