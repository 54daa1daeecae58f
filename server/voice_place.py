"""A session of the voice stream as a place that can be called: its client shows and speaks what is said there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wyoming.event import Event

from handlers.agent.schedule.entry import Heard
from handlers.pipeline.notices import Notice, NoticeQueue
from server.voice_protocol import Message, Noticed, NoticeEnd, NoticeMessage

_PAUSE_SECONDS = 10.0
"""What rings is stopped for good also so long behind its end: the next ring comes within some seconds."""

_CAME = {"heard": Heard.HEARD, "stopped": Heard.STOPPED, "failed": Heard.NOBODY}


class VoicePlace:
    """One `Place` of the `Notices`. It goes on while its session waits for a connection."""

    def __init__(self, name: str, send: Callable[[Message], None]) -> None:
        """`send` has a message sent as soon as there is a connection."""
        self.name = name
        self._send = send
        self._queue = NoticeQueue(self._begin, self._end)
        self._newest: Notice | None = None
        self._stopped = ("", 0.0)  # what rang, and until when that counts

    @property
    def listed(self) -> bool:
        return False

    async def play(self, notice: Notice) -> Heard:
        """Have the client play a notice behind those that came before it, and wait for what came of it."""
        rings, until = self._stopped
        if notice.rings and notice.rings == rings and asyncio.get_running_loop().time() < until:
            return Heard.STOPPED
        return await self._queue.play(notice)

    async def tell(self, event: Event) -> None:
        """A page shows no timers that run."""

    async def answers(self) -> bool:
        """It leaves its name to a satellite."""
        return False

    def noticed(self, message: Noticed) -> None:
        """The client says what came of a notice."""
        heard, newest = _CAME[message.outcome], self._newest
        if self._queue.settle(message.id, heard) or heard is not Heard.STOPPED:
            return
        if newest is not None and newest.id == message.id:  # in the pause between two rings
            self._stopped = (newest.rings, asyncio.get_running_loop().time() + _PAUSE_SECONDS)

    def replaced(self) -> None:
        """Another has its name: what is said here is to be silent."""
        if self._queue.playing:
            self._send(NoticeEnd(id=self._queue.playing))
        self.give_up()

    def give_up(self) -> None:
        """Nobody hears any more what is said here."""
        self._queue.give_up()

    async def _begin(self, notice: Notice) -> None:
        self._newest = notice
        self._send(
            NoticeMessage(
                id=notice.id,
                text=notice.text,
                language=notice.language,
                chime=notice.chime,
                rings=bool(notice.rings),
            )
        )

    async def _end(self, notice: Notice) -> None:
        self._send(NoticeEnd(id=notice.id))
