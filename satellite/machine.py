"""The satellite's states.

    WAITING for a server --it answers--> LISTENING --wake word, push--> ASKING --enough is heard--> ANSWERING
       ^                                   ^  ^                           ^ |                        |  |  |
       |                                   |  +-- nothing was said, stop, mute, failure              |  |  |
       |                                   |                              +--- wake word, it asked --+  |  |
       |                                   +-- all of it was heard, stop word, stop, failure -----------+  |
       +------------------------------------------ the server went ----------------------------------------+

The ears run all the time beside them and hand each piece of audio to whoever wants it: the request while ASKING, the
wake word otherwise. Audio leaves the satellite only while ASKING. A wake word while ANSWERING interrupts: the answer
falls silent, and the next turn begins; one while WAITING is told that nobody is there. Muted, the microphone is let go
of, in every state: a request that was being heard is dropped, an answer goes on.

Every state ends by itself: WAITING asks again with growing pauses; ASKING when the server has heard enough, says
nothing for SILENT_SECONDS, or after ASKING_SECONDS; ANSWERING with the last sound, or TURN_SECONDS after the server
last said that it works on something long; both when the connection closes. A live satellite also plays what the server
says by itself, between turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

from handlers.errors import EngineError, MeadowlarkError
from satellite.front_end import FrontEnd, PassThrough
from satellite.happenings import Happenings, Kind
from satellite.link import LinkLostError
from satellite.partner import Exchange, Partner
from satellite.source import Source
from satellite.turn import TurnRequest, TurnResult
from satellite.volume import Volume
from satellite.wake import Opening, Wake, WakeListener

_LOGGER = logging.getLogger(__name__)

MOST_QUESTIONS = 5
"""Times that the assistant may ask back in a row without a wake word: a television would answer for ever."""

NOBODY_ASKED = frozenset({"no-speech", "not-woken", "other-satellite"})
"""Errors of the server after which the satellite just listens again."""


class State(StrEnum):
    """What the satellite does."""

    WAITING = "waiting"
    LISTENING = "listening"
    ASKING = "asking"
    ANSWERING = "answering"


class Notices(Protocol):
    """What is said to the satellite unasked, between its turns."""

    async def run(self) -> None:
        """Take what comes, for as long as it is not cancelled."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The length of a turn: what sounds is stopped, and what comes waits."""

    @property
    def sounding(self) -> bool:
        """Something is being played."""

    def stop(self) -> bool:
        """Somebody wants quiet. True when something was stopped."""


class Satellite:
    """Ears, mouth and whom it talks with. Its public half are its `Controls`.

    Without a `wake` listener a turn begins at once, or where it is `pushed`, when `talk` says so. `report` is told how
    each turn went. A partner that can judges wake words below `sure_score` by their sound. Without `notices` nobody can
    call it; without a `front_end` it hears itself.
    """

    def __init__(
        self,
        source: Source,
        partner: Partner,
        wake: WakeListener | None,
        name: str,
        report: Callable[[TurnResult], None],
        *,
        pushed: bool = False,
        sure_score: float = 0.0,
        volume: Volume | None = None,
        notices: Notices | None = None,
        front_end: FrontEnd | None = None,
        happenings: Happenings | None = None,
    ) -> None:
        self._source = source
        self._partner = partner
        self._wake = wake
        self._name = name
        self._report = report
        self._pushed = pushed
        self._sure_score = sure_score
        self._volume = volume or Volume()
        self._notices = notices
        self._front_end = front_end or PassThrough()
        self._happenings = happenings or Happenings()
        self._conversation_id: str | None = None
        self._waiting = True
        self._turn: Exchange | None = None
        self._running: asyncio.Task[TurnResult] | None = None
        self._opening = Opening(Wake())
        self._asked_back = 0
        self._heard_for: Exchange | None = None
        self._next: asyncio.Queue[Exchange | None] = asyncio.Queue()  # the turn that interrupts another, and the end
        self._muted = False
        self._lost = False
        self._answered = False
        self._fresh = True
        """What was heard last belongs to what is heard now; not so after being muted."""
        self._mute_changed = asyncio.Event()
        self._told_volume = self._volume.percent
        self._ears: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        if self._waiting:
            return State.WAITING
        if self._turn is None:
            return State.LISTENING if self._partner.is_there else State.WAITING
        return State.ANSWERING if self._turn.has_heard_enough else State.ASKING

    @property
    def is_muted(self) -> bool:
        return self._muted

    @property
    def is_healthy(self) -> bool:
        """Somebody listens, even where the microphone is gone: it is being looked for."""
        return self._ears is None or not self._ears.done()

    @property
    def status(self) -> dict[str, str | int | bool]:
        return {
            "name": self._name,
            "state": str(self.state),
            "muted": self._muted,
            "volume": self._volume.percent,
            "microphone": self._source.present and not self._muted,
        }

    def talk(self) -> None:
        """Listen to a request now, without a wake word. Not while muted, and not twice."""
        if self._muted:
            self._fail("muted", "The microphone is muted: unmute it to be heard")
        elif self._lost:
            self._fail("no-microphone", "The microphone is gone: see that it is plugged in")
        elif self.state is State.WAITING:
            self._nobody_there()
        elif self.state is not State.ASKING:
            self._asked_back = 0
            self._begin(Wake())

    def done(self) -> None:
        """The request is over: the key is let go."""
        if self._turn is not None and self.state is State.ASKING:
            self._turn.hear(self._opening.rest())
            self._turn.end_of_audio()

    def stop(self) -> None:
        """Be quiet: what is asked, answered or rung ends."""
        if self._notices is not None:
            self._notices.stop()
        if self._turn is None:
            return
        self._forget_requests()
        self._fresh = False
        self._asked_back = 0
        if self._running is not None:
            self._running.cancel()

    def mute(self) -> None:
        """Hear nothing from this moment on; the device is let go of within a second."""
        if self._muted:
            return
        self._muted = True
        self._forget_sound()
        if self.state is State.ASKING:
            self.stop()
        self._mute_changed.set()
        _LOGGER.info("Muted")
        self._happenings.tell(Kind.MUTED)

    def microphone_lost(self) -> None:
        """What it hears when it is back does not follow what was heard."""
        self._lost = True
        self._forget_sound()

    def microphone_found(self) -> None:
        """It is back."""
        self._lost = False

    def unmute(self) -> None:
        """Hear again, as soon as the device is open."""
        if not self._muted:
            return
        self._muted = False
        self._mute_changed.set()
        _LOGGER.info("Not muted any more")
        self._happenings.tell(Kind.UNMUTED)

    def set_volume(self, percent: int) -> None:
        """How loud it plays, 0 to 150."""
        self._volume.follow({"to": percent})
        self._tell_volume()

    async def run(self, *, once: bool) -> None:
        """Have turns until the source ends, or only one. Raises what made the last one fail, where there is no next."""
        stays = self._source.is_live and not once
        if not stays:
            await self._partner.find()
            self._waiting = False
        self._ears = ears = asyncio.create_task(self._hear(), name="ears")
        tasks = [ears, asyncio.create_task(self._mind_mute(), name="mute")]
        if self._notices is not None and stays:
            tasks.append(asyncio.create_task(self._notices.run(), name="notices"))
        try:
            if stays:
                await self._wait()
                self._happenings.tell(Kind.LISTENING)
            result = await self._have_turns(once=once, stays=stays)
            if result is None or not once:
                await ears  # raises why they ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if result is None and not stays:
            raise self._nothing_heard()
        if result is not None and result.error is not None and not stays:
            if result.error.code in NOBODY_ASKED and self._answered:  # such as the silence at the end of a recording
                return
            raise result.error

    async def _have_turns(self, *, once: bool, stays: bool) -> TurnResult | None:
        result = None
        while (turn := await self._next.get()) is not None:
            had = await self._have(turn)
            if had is None:
                continue
            result = had
            self._answered = self._answered or result.error is None
            self._report(result)
            self._tell(result)
            self._conversation_id = result.conversation_id
            if once:
                break
            if stays and isinstance(result.error, LinkLostError):
                await self._wait()
            await self._end(turn)
        return result

    async def _wait(self) -> None:
        """Until there is somebody to talk with. What was said meanwhile is not done minutes later."""
        assert self._ears is not None
        self._waiting = True
        self._forget_requests()
        coming = asyncio.create_task(self._partner.wait(), name="waiting for a partner")
        try:
            await asyncio.wait({coming, self._ears}, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                await coming
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        self._waiting = False

    async def _have(self, turn: Exchange) -> TurnResult | None:
        """Run a turn to its end, or until another interrupts it. None where it was dropped before it began."""
        async with self._notices.turn() if self._notices is not None else contextlib.nullcontext():
            if turn is not self._turn:
                return None
            self._running = asyncio.create_task(turn.run(), name="turn")
            self._happenings.tell(Kind.WOKEN, wake_word=turn.request.wake_word, score=round(turn.request.score, 3))
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

    def _tell(self, result: TurnResult) -> None:
        """What came of a turn."""
        self._tell_volume()
        if result.error is not None and not result.interrupted and result.error.code not in NOBODY_ASKED:
            self._fail(result.error.code, str(result.error))
        self._happenings.tell(
            Kind.FINISHED,
            seconds=round(result.audio_seconds, 3),
            interrupted=result.interrupted,
            listen=result.listen,
        )

    def _tell_volume(self) -> None:
        """An answer may have changed it, too."""
        if self._volume.percent != self._told_volume:
            self._told_volume = self._volume.percent
            _LOGGER.info("The volume is %d %%", self._told_volume)
            self._happenings.tell(Kind.VOLUME, percent=self._told_volume)

    def _fail(self, code: str, text: str) -> None:
        _LOGGER.debug("%s: %s", code, text)
        self._happenings.tell(Kind.ERROR, code=code, text=text)

    def _nobody_there(self) -> None:
        self._fail("no-server", "There is nobody to answer: the server is being looked for")

    def _forget_sound(self) -> None:
        self._fresh = False
        self._volume.unduck()

    def _forget_requests(self) -> None:
        """Turns that have not begun do not."""
        ended = False
        while not self._next.empty():
            ended = self._next.get_nowait() is None or ended
        if ended:
            self._next.put_nowait(None)
        self._turn = None

    async def _end(self, turn: Exchange) -> None:
        """After a turn: listen for the reply to what the assistant has asked, else for the wake word."""
        if self._wake is not None and self._turn is turn and self._heard_for is not turn:
            await self._wake.reset()  # else it has been listening since the answer began: perhaps to half a wake word
        if self._turn is not None and self._turn is not turn:  # another has interrupted it
            return
        result = turn.result
        asks = result.listen and result.error is None and self._turn is turn and not self._muted
        self._turn = None
        if asks and self._asked_back < MOST_QUESTIONS and self._source.is_live:
            self._asked_back += 1
            self._begin(Wake())
        else:
            self._asked_back = 0
            self._happenings.tell(Kind.LISTENING)

    async def _mind_mute(self) -> None:
        """Let go of the microphone, and take it again, as it is wanted."""
        while True:
            await self._mute_changed.wait()
            self._mute_changed.clear()
            await (self._source.pause() if self._muted else self._source.resume())

    async def _hear(self) -> None:
        try:
            while heard := await self._source.read():
                await self._listen(heard)
        finally:
            if self._turn is not None:
                self._turn.hear(self._opening.rest())
                self._turn.end_of_audio()
            self._next.put_nowait(None)

    async def _listen(self, heard: bytes) -> None:
        if not self._muted and not self._fresh:
            self._fresh = True
            if self._wake is not None:
                await self._wake.reset()
        if self._muted:
            return
        piece = self._front_end.process(heard)
        if self.state is not State.ASKING:
            wake = await self._notice(piece)
            if self.is_muted:  # meanwhile
                return
            self._duck()
            if wake is not None and self._follow(wake):
                return  # the piece is in the wake word's memory
        if self._turn is not None and not self._waiting:
            self._turn.hear(self._opening.add(piece))

    def _duck(self) -> None:
        """What sounds is quieter while somebody speaks."""
        sounds = self.state is State.ANSWERING or (self._notices is not None and self._notices.sounding)
        if sounds and self._wake is not None and self._wake.hears_speech:
            self._volume.duck()
        else:
            self._volume.unduck()

    async def _notice(self, piece: bytes) -> Wake | None:
        if self._wake is None:
            return Wake() if self.state is State.LISTENING and not self._pushed else None
        if self._turn is not None and self._heard_for is not self._turn:
            self._heard_for = self._turn
            await self._wake.reset()  # what it heard before the request is not what comes after it
        return await self._wake.hear(piece)

    def _follow(self, wake: Wake) -> bool:
        """Do what a word asks for; True when a turn begins with the wake word's memory."""
        if wake.stops:
            self.stop()
            return False
        if self.state is State.WAITING:
            self._nobody_there()
            return False
        self._asked_back = 0
        self._begin(wake)
        return bool(wake.memory)

    def _begin(self, wake: Wake) -> None:
        """A turn begins; one that goes on is interrupted."""
        if wake.name is not None:
            _LOGGER.info("Heard the wake word %s (score %.2f)", wake.name, wake.score)
        unsure = bool(wake.memory) and wake.score < self._sure_score and self._partner.judges_wake_words
        self._opening = Opening(wake, keep_word=unsure)
        self._volume.unduck()
        conversation_id = self._conversation_id if self._turn is None else self._turn.result.conversation_id
        self._turn = self._partner.begin(
            TurnRequest(self._name, conversation_id, wake.name, wake.score, wake.snr, unsure)
        )
        self._next.put_nowait(self._turn)
        if self._running is not None:
            self._running.cancel()

    def _nothing_heard(self) -> MeadowlarkError:
        if self._wake is None:
            return EngineError(f"There was no audio in {self._source.name}")
        words = " or ".join(f"'{phrase}'" for phrase in self._wake.words.values())
        return EngineError(
            f"The wake word {words} was not heard in {self._source.name}; use --wake-word none to send it without one"
        )
