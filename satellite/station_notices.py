"""What Home Assistant says unasked, and timers that ring: both between turns, and until somebody wants quiet."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from handlers.audio import SPEECH, from_float, tones
from handlers.errors import AudioError, DeadlineError
from satellite.happenings import Happenings, Kind
from satellite.mouth import Mouth
from satellite.sink import Sink
from satellite.speech import Speech, nobody_asks

_LOGGER = logging.getLogger(__name__)

RING_SECONDS = 600.0
"""After it nobody is there to hear a timer."""

WAIT_SECONDS = 60.0
"""For the end of a turn; an announcement that is older has been overtaken."""

_RING_PERIOD = 2.0
"""From one ring to the next: in the pause a wake word is heard well."""

_TONES = ((784.0, 0.14), (1046.5, 0.14), (784.0, 0.14), (1046.5, 0.3))
"""Hertz and seconds of four soft tones, a G and a C: heard through a closed door, and no alarm of a smoke detector."""

_LEVEL = 0.35
"""Of full scale: as loud as speech."""

_EDGE_SECONDS = 0.02
"""A tone swells and fades over so much of it, else it clicks."""

_WAITING = 4
"""Announcements that may wait for a turn's end. Home Assistant has one at a time, and waits little longer than its
length for each."""


@dataclass
class _Announcement:
    speech: Speech
    played: Callable[[], Awaitable[None]]
    until: float
    """When it is too late to begin, on the loop's clock."""


class StationNotices:
    """The mouth between turns. `run` is its task, turns happen inside of `turn`."""

    def __init__(
        self,
        sink: Sink,
        happenings: Happenings,
        *,
        ring_seconds: float = RING_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._sink = sink
        self._happenings = happenings
        self._ring_seconds = ring_seconds
        self._wait_seconds = wait_seconds
        self._mouth = Mouth()
        self._wanted = asyncio.Event()  # something waits to sound
        self._announcements: deque[_Announcement] = deque()
        self._announced = asyncio.Event()  # since it began to ring
        self._ringing: set[str] = set()
        self._ring_until = 0.0
        self._playing: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def sounding(self) -> bool:
        """Something is being played, or rings and pauses."""
        return self._playing is not None and not self._playing.done()

    def stop(self) -> bool:
        """Somebody wants quiet: end what sounds, waits or rings. False when there was nothing."""
        something = self.sounding or bool(self._announcements) or bool(self._ringing)
        self._announcements.clear()
        self._hush()
        return something

    def announce(self, speech: Speech, played: Callable[[], Awaitable[None]]) -> None:
        """Play it when no turn goes on, then call `played`."""
        if len(self._announcements) < _WAITING:
            until = asyncio.get_running_loop().time() + self._wait_seconds
            self._announcements.append(_Announcement(speech, played, until))
            self._announced.set()
            self._wanted.set()

    def ring(self, timer: str) -> None:
        """A timer is over."""
        self._ringing.add(timer)
        self._ring_until = asyncio.get_running_loop().time() + self._ring_seconds
        self._wanted.set()

    def forget(self, timer: str) -> None:
        """It need not ring any more."""
        self._ringing.discard(timer)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The length of a turn: what sounds is stopped, what comes or waits goes on waiting."""
        return self._mouth.turn(self._hush)

    async def run(self) -> None:
        """Play what comes, for as long as it is not cancelled."""
        while True:
            await self._wanted.wait()
            await self._mouth.take()
            announcement = self._next()
            if announcement is None and not self._ringing:
                self._wanted.clear()
                self._mouth.release()
                continue
            self._stopped = False
            self._playing = playing = asyncio.create_task(self._sound(announcement), name="notice")
            try:
                await asyncio.wait({playing})
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
                self._mouth.release()
            if announcement is not None:
                await announcement.played()

    def _next(self) -> _Announcement | None:
        now = asyncio.get_running_loop().time()
        announcement = None
        while self._announcements and announcement is None:
            announcement = self._announcements.popleft()
            if announcement.until < now:
                _LOGGER.info("An announcement was left out: somebody talked with the satellite all the time")
                announcement = None
        return announcement

    async def _sound(self, announcement: _Announcement | None) -> None:
        self._happenings.tell(Kind.NOTICE)
        try:
            await (self._ring() if announcement is None else announcement.speech.play(self._sink, nobody_asks))
        except (AudioError, DeadlineError) as error:
            _LOGGER.warning("A notice could not be played: %s", error)
        except Exception:
            _LOGGER.exception("A notice could not be played, for a reason that was not foreseen")
        finally:
            self._happenings.tell(Kind.NOTICE_OVER, stopped=self._stopped)

    async def _ring(self) -> None:
        """Until nothing rings any more, or there is an announcement. A speaker that is gone may come back."""
        loop = asyncio.get_running_loop()
        missing = False
        self._announced.clear()
        while self._ringing and not self._announced.is_set():
            began = loop.time()
            if began > self._ring_until:
                self._ringing.clear()
                return
            speech = Speech(SPEECH)
            speech.add(ring_audio())
            speech.end()
            try:
                await speech.play(self._sink, nobody_asks)
            except AudioError as error:
                if not missing:
                    _LOGGER.warning("A timer cannot ring: %s", error)
                missing = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + _RING_PERIOD):
                    await self._announced.wait()

    def _hush(self) -> None:
        """End what sounds and what rings."""
        self._ringing.clear()
        if self._playing is not None and not self._playing.done():
            self._stopped = True
            self._playing.cancel()


def ring_audio() -> bytes:
    """One ring, as internal audio."""
    return from_float(tones(_TONES, _LEVEL, _EDGE_SECONDS))
