"""The satellite's states.

    WAITING for a server --it answers--> LISTENING --wake word--> ASKING --the server has heard enough--> ANSWERING
       ^                                   ^  ^                      ^                                     |  |  |
       |                                   |  +--- nothing was said -+-------- wake word, or it asked -----+  |  |
       |                                   +----------------------- all of it was heard -----------------------+  |
       +--------------------------------------------- the server went --------------------------------------------+

The ears run all the time beside them and hand each piece of audio to whoever wants it: the wake word while LISTENING
and ANSWERING, the turn while ASKING, nobody while WAITING. Audio leaves the satellite only while ASKING. A wake word
while ANSWERING interrupts: the answer falls silent, and the next turn begins.

Every state ends by itself: WAITING asks again with growing pauses; ASKING when the server has heard enough, says
nothing for SILENT_SECONDS, or after ASKING_SECONDS of audio; ANSWERING with the last sound or after TURN_SECONDS; both
when the connection closes. A live satellite also plays what the server says by itself, between turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from enum import StrEnum

from handlers.errors import EngineError, MeadowlarkError
from satellite.front_end import FrontEnd, PassThrough
from satellite.link import Link, LinkLostError
from satellite.notices import NoticeLine
from satellite.sink import Sink
from satellite.source import Source
from satellite.turn import Turn, TurnRequest, TurnResult
from satellite.volume import Volume
from satellite.wake import Opening, Wake, WakeListener

_LOGGER = logging.getLogger(__name__)

MOST_QUESTIONS = 5
"""Times that the assistant may ask back in a row without a wake word: a television would answer for ever."""


class State(StrEnum):
    """What the satellite does."""

    WAITING = "waiting"
    LISTENING = "listening"
    ASKING = "asking"
    ANSWERING = "answering"


class Satellite:
    """Ears, mouth and link. Without a `wake` listener it is push to talk: a turn begins at once.

    `report` is told how each turn went. Without `notices` the server cannot call it; without a `front_end` it hears
    itself.
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
        front_end: FrontEnd | None = None,
    ) -> None:
        self._source = source
        self._front_end = front_end or PassThrough()
        self._sink = sink
        self._link = link
        self._wake = wake
        self._name = name
        self._report = report
        self._volume = volume
        self._notices = notices
        self._conversation_id: str | None = None
        self._waiting = True
        self._turn: Turn | None = None
        self._running: asyncio.Task[TurnResult] | None = None
        self._opening = Opening(Wake())
        self._asked_back = 0
        self._heard_for: Turn | None = None
        self._next: asyncio.Queue[Turn | None] = asyncio.Queue()  # the turn that interrupts another, and the end

    @property
    def state(self) -> State:
        if self._waiting:
            return State.WAITING
        if self._turn is None:
            return State.LISTENING
        return State.ANSWERING if self._turn.has_heard_enough else State.ASKING

    async def run(self, *, once: bool) -> None:
        """Have turns until the source ends, or only one. Raises what made the last one fail, where there is no next."""
        stays = self._source.is_live and not once
        await (self._link.wait() if stays else self._link.find())
        self._waiting = False
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
        while (turn := await self._next.get()) is not None:
            result = await self._have(turn)
            self._report(result)
            self._conversation_id = result.conversation_id
            if once:
                break
            if stays and isinstance(result.error, LinkLostError):
                self._waiting = True
                await self._link.wait()
                self._forget_requests()
                self._waiting = False
            await self._end(turn)
        return result

    async def _have(self, turn: Turn) -> TurnResult:
        """Run a turn to its end, or until another interrupts it."""
        async with self._notices.turn() if self._notices is not None else contextlib.nullcontext():
            self._running = asyncio.create_task(turn.run())
            try:
                await asyncio.wait({self._running})
            finally:
                self._running.cancel()
                await asyncio.gather(self._running, return_exceptions=True)
            if not self._running.cancelled() and (defect := self._running.exception()) is not None:
                _LOGGER.error("A turn failed", exc_info=defect)
                turn.result.error = EngineError(
                    f"Something unexpected went wrong in the turn ({type(defect).__name__})"
                )
            return turn.result

    def _forget_requests(self) -> None:
        """What was said while there was no server is not done minutes later."""
        ended = False
        while not self._next.empty():
            ended = self._next.get_nowait() is None or ended
        if ended:
            self._next.put_nowait(None)
        self._turn = None

    async def _end(self, turn: Turn) -> None:
        """After a turn: listen for the reply to what the assistant has asked, else for the wake word."""
        if self._wake is not None and self._turn is turn and self._heard_for is not turn:
            await self._wake.reset()  # else it has been listening since the answer began: perhaps to half a wake word
        if self._turn is not turn:  # another has interrupted it
            return
        result = turn.result
        self._turn = None
        if result.listen and result.error is None and self._asked_back < MOST_QUESTIONS and self._source.is_live:
            self._asked_back += 1
            self._begin(Wake())
        else:
            self._asked_back = 0

    async def _hear(self) -> None:
        try:
            while heard := await self._source.read():
                piece = self._front_end.process(heard)
                if self.state in (State.LISTENING, State.ANSWERING):
                    wake = await self._notice(piece)
                    if wake is not None:
                        self._asked_back = 0
                        self._begin(wake)
                        if wake.memory:
                            continue  # the piece is in it
                if self._turn is not None and not self._waiting:
                    self._turn.hear(self._opening.add(piece))
        finally:
            if self._turn is not None:
                self._turn.hear(self._opening.rest())
                self._turn.end_of_audio()
            self._next.put_nowait(None)

    async def _notice(self, piece: bytes) -> Wake | None:
        if self._wake is None:
            return Wake() if self._turn is None else None
        if self._turn is not None and self._heard_for is not self._turn:
            self._heard_for = self._turn
            await self._wake.reset()  # what it heard before the request is not what comes after it
        return await self._wake.hear(piece)

    def _begin(self, wake: Wake) -> None:
        """A turn begins; one that goes on is interrupted."""
        if wake.name is not None:
            _LOGGER.info("Heard the wake word %s (score %.2f)", wake.name, wake.score)
        self._opening = Opening(wake)
        conversation_id = self._conversation_id if self._turn is None else self._turn.result.conversation_id
        request = TurnRequest(self._name, conversation_id, wake.name, wake.score, wake.snr)
        self._turn = Turn(self._link, self._sink, request, volume=self._volume)
        self._next.put_nowait(self._turn)
        if self._running is not None:
            self._running.cancel()

    def _nothing_heard(self) -> MeadowlarkError:
        if self._wake is None:
            return EngineError(f"There was no audio in {self._source.name}")
        words = " or ".join(f"'{phrase}'" for phrase in self._wake.phrases)
        return EngineError(
            f"The wake word {words} was not heard in {self._source.name}; use --wake-word none to send it without one"
        )
