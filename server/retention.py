"""Removes what has been kept for long enough, whether or not anything new is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from handlers.agent.safety.audit import Audit
from handlers.pipeline.recordings import Recordings

_LOGGER = logging.getLogger(__name__)

_PAUSE_SECONDS = 3600.0
"""What is kept for days goes within an hour; to look at the names in some folders costs milliseconds."""


async def keep_pruning(
    audits: Iterable[Audit],
    recordings: Iterable[Recordings],
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Remove what is too old, now and then again and again; never returns. What cannot be removed is logged, once
    until it can. `wait` is told the seconds between two rounds."""
    kept: list[Audit | Recordings] = [*audits, *recordings]
    failing: set[Audit | Recordings] = set()
    while True:
        for one in kept:
            try:
                await one.prune()
                failing.discard(one)
            except OSError as error:
                if one not in failing:
                    _LOGGER.error("What is older than it may be cannot be removed (%s): remove it yourself", error)
                failing.add(one)
        await wait(_PAUSE_SECONDS)
