"""Blocking calls that may never return: a pulled microphone, a stuck speaker, a silent pipe.

They run in daemon threads, because a thread pool would keep the program from ending while one of them hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def call(work: Callable[[], T], within: float | None, undo: Callable[[T], None] | None = None) -> T:
    """Run `work` in a thread of its own. Raises TimeoutError after `within` seconds and leaves the thread behind.

    What it then makes although nobody waits any more, such as an open device, is given to `undo`, in a thread too.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            if error is None and undo is not None:
                _in_background(lambda: undo(result))  # type: ignore[arg-type]  # a T whenever there is no error
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # handed to whoever awaits
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop is gone, and so is whoever awaited
            if failure is None and undo is not None:
                undo(result)  # type: ignore[arg-type]

    _in_background(run)
    try:
        async with asyncio.timeout(within):
            return await outcome
    except (asyncio.CancelledError, TimeoutError):
        if undo is not None and outcome.done() and not outcome.cancelled() and outcome.exception() is None:
            result = outcome.result()  # it came in the same moment
            _in_background(lambda: undo(result))
        raise


async def call_patiently(
    work: Callable[[], T], slow_seconds: float, slow: Callable[[], None], undo: Callable[[T], None] | None = None
) -> T:
    """`call` without a deadline, since a second attempt would only hang behind the first; but `slow` hears of it."""
    telling = asyncio.get_running_loop().call_later(slow_seconds, slow)
    try:
        return await call(work, None, undo)
    finally:
        telling.cancel()


def _in_background(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


class BlockReader:
    """Calls a blocking `read` again and again and hands its blocks to the event loop.

    `read` answers None at the end. At most `bound` blocks wait; then the thread waits too or, when `lossy`, the
    oldest block is dropped and counted, because a microphone cannot wait. `finish` runs in the thread at its end.
    """

    def __init__(
        self, read: Callable[[], bytes | None], *, bound: int, lossy: bool, finish: Callable[[], None] = lambda: None
    ) -> None:
        self.dropped = 0
        self._read = read
        self._finish = finish
        self._bound = bound
        self._lossy = lossy
        self._blocks: deque[bytes] = deque()
        self._room = threading.Condition()
        self._ready = asyncio.Event()
        self._finished = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._stopped = False
        self._ended = False
        _in_background(self._run)

    async def next(self, within: float | None = None) -> bytes | None:
        """The next block, or None at the end; raises what `read` raised, and TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while True:
                with self._room:
                    if self._blocks:
                        self._room.notify()
                        return self._blocks.popleft()
                    if self._ended:
                        break
                    self._ready.clear()
                await self._ready.wait()
        if self._error is not None:
            raise self._error
        return None

    async def stop(self, within: float) -> None:
        """End the thread; one that hangs in `read` for longer than `within` seconds is left behind."""
        with self._room:
            self._stopped = True
            self._room.notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._finished.wait()

    def _run(self) -> None:
        try:
            while not self._stopped and (block := self._read()) is not None:
                if block:
                    self._put(block)
        except Exception as error:  # raised again by `next`
            self._error = error
        finally:
            with contextlib.suppress(Exception):  # closing what is broken already
                self._finish()
            with self._room:
                self._ended = True
            self._tell(self._ready)
            self._tell(self._finished)

    def _put(self, block: bytes) -> None:
        with self._room:
            if self._lossy and len(self._blocks) >= self._bound:
                self._blocks.popleft()
                self.dropped += 1
            while len(self._blocks) >= self._bound and not self._stopped:
                self._room.wait()
            self._blocks.append(block)
        self._tell(self._ready)

    def _tell(self, event: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so is the reader
            self._loop.call_soon_threadsafe(event.set)
