"""Who may use the sink: turns before everything that is said unasked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Mouth:
    """One at a time, and whatever else waits lets turns go first."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._turns = 0  # that go on or wait for it
        self._quiet = asyncio.Event()  # there are none
        self._quiet.set()

    @property
    def is_wanted(self) -> bool:
        """A turn has it or waits for it."""
        return self._turns > 0

    @contextlib.asynccontextmanager
    async def turn(self, hush: Callable[[], object]) -> AsyncIterator[None]:
        """The length of a turn; `hush` makes whoever has the mouth let go of it."""
        self._turns += 1
        self._quiet.clear()
        try:
            hush()
            async with self._lock:
                yield
        finally:
            self._turns -= 1
            if not self._turns:
                self._quiet.set()

    async def take(self) -> None:
        """Acquire it when no turn wants it. A lock alone would serve who waited longer."""
        while True:
            await self._quiet.wait()
            await self._lock.acquire()
            if not self._turns:
                return
            self._lock.release()

    def release(self) -> None:
        self._lock.release()
