"""Bounded thread pools for blocking work, so that the event loop only moves bytes and decisions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from handlers.errors import BusyError, EngineError

T = TypeVar("T")

STREAM_AHEAD = 512
"""Items that a producing thread may be ahead of its reader: more than an answer of a language model or the pieces of a
sentence, so that a listener who reads slowly does not hold a thread that others wait for."""


def usable_cores() -> int:
    """Cores that this process may use; a container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """A pool of `threads` threads that belongs to one engine.

    At most `waiting` calls may queue behind the running ones; one more raises BusyError at once instead of
    answering too late. Close it when the engine goes.
    """

    def __init__(self, name: str, threads: int = 1, waiting: int = 32) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._limit = threads + waiting
        self._inside = 0
        self._closed = False

    @property
    def inside(self) -> int:
        """Calls that run or wait now."""
        return self._inside

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the pool. Cancelling drops it when it has not begun; what runs already runs to its end."""
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def stream_calls(self, produce: Callable[[Callable[[T], bool]], None]) -> AsyncGenerator[T, None]:
        """What blocking work hands out while it runs: `produce(emit)` runs in the pool; `emit` says whether to go on.

        Closing or cancelling the generator ends the work at its next item. The work is never more than a few items
        ahead of the reader, and holds its thread while the reader is slow.
        """
        with self._place():
            async with contextlib.aclosing(_stream_from_thread(self._pool, produce)) as items:
                async for item in items:
                    yield item

    async def close(self) -> None:
        """Drop what waits, as if it was cancelled, and wait for what runs."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._pool.shutdown)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._closed:
            raise EngineError(f"{self._name} is closed")
        if self._inside >= self._limit:
            raise BusyError(
                f"{self._name} has {self._inside} requests waiting and takes no more; try again in a moment"
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


async def _stream_from_thread(
    pool: ThreadPoolExecutor, produce: Callable[[Callable[[T], bool]], None]
) -> AsyncGenerator[T, None]:
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[tuple[T] | None] = asyncio.Queue()  # bounded by `room`
    room = threading.Semaphore(STREAM_AHEAD)
    stopped = threading.Event()

    def emit(item: T) -> bool:
        if stopped.is_set():  # nobody makes room any more
            return False
        room.acquire()
        if not stopped.is_set():
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so is the reader
                loop.call_soon_threadsafe(ready.put_nowait, (item,))
        return not stopped.is_set()

    def run() -> None:
        if not stopped.is_set():
            produce(emit)

    running = loop.run_in_executor(pool, run)
    running.add_done_callback(lambda _: ready.put_nowait(None))  # after all items; also when it never ran
    try:
        while (item := await ready.get()) is not None:
            room.release()
            yield item[0]
        await running  # raises what the producer raised; CancelledError when the pool was closed before
    finally:
        stopped.set()
        room.release()
        # Only what still waits for a thread can be cancelled; of the rest, observe the outcome so that it is not
        # reported as an exception that nobody saw.
        if not running.cancel() and not running.cancelled():
            running.exception()
