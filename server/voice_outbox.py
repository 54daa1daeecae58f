"""What the server has to say in one session, numbered by its order, and kept until the client has it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

KEPT_BYTES = 2 * 1024 * 1024
"""Of frames that are not yet acknowledged: 47 seconds of speech at 22 kHz. A client that acknowledges nothing can be
given again no more than that."""

WAITING_BYTES = KEPT_BYTES // 2
"""Of frames that the connection has not taken yet. Beyond it the answer waits for its listener."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One WebSocket frame: JSON as text, PCM as bytes."""

    data: str | bytes
    greeting: bool = False
    """The `ready` of one connection; the next connection begins with its own."""


class Outbox:
    """Frames on their way to the client, over one connection after the other.

    Those in the queue have the numbers from `_before` on: first those that a connection has taken, then the rest.
    """

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._before = 0
        self._taken = 0
        self._bytes = 0
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.waiting_bytes = 0
        """Of frames that no connection has taken."""

    def put(self, data: str | bytes) -> None:
        """Add a frame at once. Of those that were taken, the oldest are forgotten when too many are kept."""
        self._frames.append(Frame(data))
        self._count(len(data), len(data))
        while self._bytes > KEPT_BYTES and self._taken:
            self._forget()
        self._something.set()

    async def send(self, data: str | bytes) -> None:
        """Add a frame; waits while the connection is behind, or gone."""
        await self._room.wait()
        self.put(data)

    async def take(self) -> str | bytes:
        """The next frame, for the connection."""
        while self._taken == len(self._frames):
            self._something.clear()
            await self._something.wait()
        frame = self._frames[self._taken]
        self._taken += 1
        self._count(0, -len(frame.data))
        return frame.data

    def acknowledge(self, received: int) -> bool:
        """The client has so many frames. False where it has more than were sent."""
        if received > self._before + self._taken:
            return False
        while self._before < received:
            self._forget()
        return True

    def rewind(self, received: int) -> bool:
        """For a new connection: what comes next is the frame behind those. False where it is not kept any more."""
        if not self._before <= received <= self._before + len(self._frames):
            return False
        self._taken = len(self._frames)
        self.acknowledge(received)
        self._taken = 0
        self._count(0, self._bytes - self.waiting_bytes)
        return True

    def greet(self, data: str) -> None:
        """Put a frame in front of all that is to come; it takes the place of a greeting that never arrived."""
        if self._frames and self._frames[0].greeting:
            stale = self._frames.popleft()
            self._count(-len(stale.data), -len(stale.data))
        self._frames.appendleft(Frame(data, greeting=True))
        self._count(len(data), len(data))
        self._something.set()

    def drop_audio(self) -> None:
        """Nobody wants to hear any more what has not been taken yet."""
        taken = [self._frames.popleft() for _ in range(self._taken)]
        rest = [frame for frame in self._frames if isinstance(frame.data, str)]
        dropped = self.waiting_bytes - sum(len(frame.data) for frame in rest)
        self._frames = deque([*taken, *rest])
        self._count(-dropped, -dropped)

    def _forget(self) -> None:
        """The oldest frame, which was taken."""
        frame = self._frames.popleft()
        self._before += 1
        self._taken -= 1
        self._count(-len(frame.data), 0)

    def _count(self, kept: int, waiting: int) -> None:
        self._bytes += kept
        self.waiting_bytes += waiting
        if self.waiting_bytes < WAITING_BYTES:
            self._room.set()
        else:
            self._room.clear()
