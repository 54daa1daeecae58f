"""Bounded thread pools for blocking work, so that the event loop only moves bytes and decisions."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from handlers.errors import BusyError

T = TypeVar("T")

_STREAM_AHEAD = 16
"""Items that a producing thread may be ahead of its reader: enough to never starve it, small enough to stop early."""


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

    @property
    def inside(self) -> int:
        """Calls that run or wait now."""
        return self._inside

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the pool. Cancelling drops it when it has not begun; what runs already runs to its end."""
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def stream(self, produce: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
        """Iterate a blocking iterator in the pool, item by item.

        Closing or cancelling the async iterator ends the blocking one at its next item. The producer is never
        more than a few items ahead of the reader.
        """

        def emit_all(emit: Callable[[T], bool]) -> None:
            for item in produce():
                if not emit(item):
                    return

        async with contextlib.aclosing(self.stream_calls(emit_all)) as items:
            async for item in items:
                yield item

    async def stream_calls(self, produce: Callable[[Callable[[T], bool]], None]) -> AsyncGenerator[T, None]:
        """Like `stream`, for work that calls back: `produce(emit)` runs in the pool; `emit` says whether to go on."""
        with self._place():
            async with contextlib.aclosing(_stream_from_thread(self._pool, produce)) as items:
                async for item in items:
                    yield item

    async def close(self) -> None:
        """Drop what waits and wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._pool.shutdown)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
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
    room = threading.Semaphore(_STREAM_AHEAD)
    stopped = threading.Event()

    def hand_over(item: tuple[T] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so is the reader
            loop.call_soon_threadsafe(ready.put_nowait, item)

    def emit(item: T) -> bool:
        room.acquire()
        if not stopped.is_set():
            hand_over((item,))
        return not stopped.is_set()

    def run() -> None:
        try:
            if not stopped.is_set():
                produce(emit)
        finally:
            hand_over(None)

    running = loop.run_in_executor(pool, run)
    try:
        while (item := await ready.get()) is not None:
            room.release()
            yield item[0]
        await running  # raises what the producer raised
    finally:
        stopped.set()
        room.release()
        # Only what still waits for a thread can be cancelled; of the rest, observe the outcome so that it is not
        # reported as an exception that nobody saw.
        if not running.cancel() and not running.cancelled():
            running.exception()
