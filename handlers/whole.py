"""Work that must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Wait for something that must not be left half done, also when cancelled meanwhile. It is quick."""
    task = asyncio.ensure_future(work)
    try:
        await until_done(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            task.exception()  # nobody is left to hear of it; what was done is written down
        raise
    return task.result()


async def until_done(task: asyncio.Future[T]) -> None:
    """Wait for the end of a task, however it ends; a cancellation that comes meanwhile is raised after it."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
