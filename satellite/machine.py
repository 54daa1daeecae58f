"""The satellite's states.

    WAITING for a server --it answers--> LISTENING --wake word--> TURN --answer heard--> LISTENING
       ^                                                            |
       +------------------------- the server went ------------------+

The ears run all the time beside them and hand each piece of audio to whoever wants it: the wake word while LISTENING,
the turn during a TURN (its server says when it has heard enough), nobody while WAITING. Audio leaves the satellite
only in a TURN. A live satellite also plays what the server says by itself, between turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from handlers.errors import EngineError, MeadowlarkError
from satellite.link import Link, LinkLostError
from satellite.notices import NoticeLine
from satellite.sink import Sink
from satellite.source import Source
from satellite.turn import Turn, TurnRequest, TurnResult
from satellite.volume import Volume
from satellite.wake import Opening, Wake, WakeListener

_LOGGER = logging.getLogger(__name__)


class Satellite:
    """Ears, mouth and link. Without a `wake` listener it is push to talk: a turn begins at once.

    `report` is told how each turn went. Without `notices` the server cannot call it.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        link: Link,
        wake: WakeListener | None,
        name: str,
        report: Callable[[TurnResult], None],
        *,
        volume: Volume | None = None,
        notices: NoticeLine | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._link = link
        self._wake = wake
        self._name = name
        self._report = report
        self._volume = volume
        self._notices = notices
        self._conversation_id: str | None = None
        self._turn: Turn | None = None
        self._opening = Opening(Wake())
        self._turns: asyncio.Queue[Turn | None] = asyncio.Queue(2)  # one turn at a time, and the end

    async def run(self, *, once: bool) -> None:
        """Have turns until the source ends, or only one. Raises what made the last one fail, where there is no next."""
        stays = self._source.is_live and not once
        if stays:
            await self._link.wait()
        else:
            await self._link.find()
        ears = asyncio.create_task(self._hear())
        tasks = [ears]
        if self._notices is not None and stays:
            tasks.append(asyncio.create_task(self._notices.run()))
        try:
            result = await self._have_turns(once=once, stays=stays)
            if result is None or not once:
                await ears  # raises why they ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if result is None:
            raise self._nothing_heard()
        if result.error is not None and not stays:
            raise result.error

    async def _have_turns(self, *, once: bool, stays: bool) -> TurnResult | None:
        result = None
        while (turn := await self._turns.get()) is not None:
            async with self._notices.turn() if self._notices is not None else contextlib.nullcontext():
                result = await turn.run()
            self._report(result)
            self._conversation_id = result.conversation_id
            if once:
                break
            if stays and isinstance(result.error, LinkLostError):
                await self._link.wait()
            if self._wake is not None:
                await self._wake.reset()
            self._turn = None
        return result

    async def _hear(self) -> None:
        try:
            while piece := await self._source.read():
                if self._turn is None and (wake := await self._notice(piece)) is not None:
                    self._begin(wake)
                    if wake.memory:
                        continue  # the piece is in it
                if self._turn is not None:
                    self._turn.hear(self._opening.add(piece))
        finally:
            if self._turn is not None:
                self._turn.hear(self._opening.rest())
                self._turn.end_of_audio()
            self._turns.put_nowait(None)

    async def _notice(self, piece: bytes) -> Wake | None:
        if self._wake is None:
            return Wake()
        return await self._wake.hear(piece)

    def _begin(self, wake: Wake) -> None:
        if wake.name is not None:
            _LOGGER.info("Heard the wake word %s (score %.2f)", wake.name, wake.score)
        self._opening = Opening(wake)
        request = TurnRequest(self._name, self._conversation_id, wake.name)
        self._turn = Turn(self._link, self._sink, request, volume=self._volume)
        self._turns.put_nowait(self._turn)

    def _nothing_heard(self) -> MeadowlarkError:
        if self._wake is None:
            return EngineError(f"There was no audio in {self._source.name}")
        words = " or ".join(f"'{phrase}'" for phrase in self._wake.phrases)
        return EngineError(
            f"The wake word {words} was not heard in {self._source.name}; use --wake-word none to send it without one"
        )
