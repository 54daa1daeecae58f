"""What the server says without being asked: timers that ended, reminders, announcements.

A connection of its own stays open for it (see `handlers/pipeline/notices.py` for what goes over it). A notice waits
for the end of a turn, and ends when a turn begins; one of which nothing was heard by then waits for that turn, too.
What rings comes again and again, with a pause between; a turn or a `stop` in the pause ends it as well.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.ping import Ping, Pong
from wyoming.satellite import SatelliteConnected
from wyoming.snd import Played

from handlers.audio import AudioFormat
from handlers.errors import AudioError, MeadowlarkError, ProtocolError
from handlers.wire.client import WyomingClient
from satellite.backoff import Backoff
from satellite.happenings import Happenings, Kind
from satellite.link import Link, LinkLostError
from satellite.mouth import Mouth
from satellite.sink import Sink
from satellite.timers import timer_happening
from satellite.turn import read_format, read_text, server_error, tell

_LOGGER = logging.getLogger(__name__)

SILENT_SECONDS = 70.0
"""The server sends a ping every 20 s; three that are missed mean that it is gone without a word."""

WAIT_SECONDS = 60.0
"""For a turn that goes on; then the server is told that nobody heard, and tries again later."""

_SETTLE_SECONDS = 0.7
"""Of quiet between an answer and a notice, so that they are not taken for one."""

_REPLACED_SECONDS = 60.0
"""Between attempts while another satellite has our name: both would push each other out without end."""

_LONGEST_SECONDS = 120.0
"""Of one notice's audio; it is gathered whole before it is played. The server's are shorter."""

_PIECE_SECONDS = 0.1
"""Written at a time, so that a wake word is heard soon."""

_RANG_SECONDS = 10.0
"""After a ring, within which it goes on: the server pauses for two seconds, needs some to speak, and two or three that
ring take turns."""

_STOPPED_SECONDS = 30.0
"""Within which the next ring of what was stopped must come, or it is another day's."""


@dataclass
class _Notice:
    """What is to be played."""

    id: str
    audio_format: AudioFormat
    rings: str = ""
    """What rings until it is stopped; empty for what is said once."""
    audio: bytearray = field(default_factory=bytearray)
    began: bool = False
    """The sink plays it; what it played before was something else."""
    stopped: bool = False
    """A turn began meanwhile."""
    silenced: bool = False
    """Somebody here wants quiet, whether it was heard or not."""


class NoticeLine:
    """The open ear for the server. `run` is its task; turns happen inside of `turn`.

    `happenings` are told of notices and of the server's timers.
    """

    def __init__(
        self,
        link: Link,
        sink: Sink,
        name: str,
        *,
        wait_seconds: float = WAIT_SECONDS,
        happenings: Happenings | None = None,
    ) -> None:
        self._link = link
        self._sink = sink
        self._name = name
        self._wait_seconds = wait_seconds
        self._happenings = happenings or Happenings()
        self._mouth = Mouth()
        self._coming: _Notice | None = None
        self._waiting: _Notice | None = None  # its task has not yet asked for the mouth
        self._current: _Notice | None = None  # waits for the mouth, or sounds
        self._sounding: _Notice | None = None
        self._playing: asyncio.Task[None] | None = None
        self._rang: dict[str, float] = {}  # what rang, and until when that can be stopped
        self._not_again: dict[str, float] = {}  # what was stopped since, and until when it stays silent
        self._heard_of = False

    @property
    def sounding(self) -> bool:
        """A notice is being played."""
        return self._sounding is not None and self._sounding.began

    def stop(self) -> bool:
        """Somebody here wants quiet: end what sounds, waits or comes, and what rings and pauses. The server is told
        that it was stopped. False when there was nothing."""
        current = self._current
        if current is not None and not current.silenced:
            current.silenced = True
            if not current.stopped and self._playing is not None:  # else a turn is ending it
                current.stopped = True
                self._playing.cancel()
        others = [notice for notice in (self._waiting, self._coming) if notice is not None]
        for notice in others:
            notice.silenced = True
        return self._stop_ringing() or current is not None or bool(others)

    async def run(self) -> None:
        """Stay connected for as long as it is not cancelled. That there is no server is told once."""
        pauses = Backoff()
        missing = puzzled = False
        while True:
            self._heard_of = False
            try:
                await self._listen()
            except Exception as error:  # whatever it is: a timer that nobody hears is worse
                expected = isinstance(error, OSError | MeadowlarkError)
                if self._heard_of and expected:
                    pauses, missing = Backoff(), False
                replaced = isinstance(error, MeadowlarkError) and error.code == "replaced"
                if expected and not missing:
                    _LOGGER.log(logging.WARNING if replaced else logging.INFO, "No notices for now: %s", error)
                elif not expected and not puzzled:
                    puzzled = True
                    _LOGGER.exception("No notices for now, for a reason that was not foreseen. Trying again")
                missing = True
                await asyncio.sleep(_REPLACED_SECONDS if replaced else pauses.next())

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The length of a turn: what sounds is stopped, and what comes or waits goes on waiting."""
        return self._mouth.turn(self._silence)

    def _silence(self) -> None:
        self._stop_ringing()
        if self._sounding is not None and self._playing is not None and not self._sounding.stopped:
            self._sounding.stopped = True
            self._playing.cancel()

    async def _listen(self) -> None:
        async with self._link.open() as client:
            event = SatelliteConnected().event()
            event.data = {"context": {"satellite_id": self._name}}
            await client.send(event)
            try:
                while (event_in := await client.receive(SILENT_SECONDS)) is not None:
                    if not self._heard_of:
                        _LOGGER.info("The server can call this satellite")
                    self._heard_of = True
                    await self._take(event_in, client)
                raise LinkLostError("The server closed the connection")
            finally:
                self._coming = None
                await self._hush()

    async def _take(self, event: Event, client: WyomingClient) -> None:
        if Ping.is_type(event.type):
            text = event.data.get("text")
            await client.send(Pong(text=text if isinstance(text, str) else None).event())
        elif Error.is_type(event.type):
            raise server_error(event)
        elif AudioStart.is_type(event.type):
            self._coming = _Notice(read_text(event, "notice"), read_format(event), read_text(event, "rings"))
            self._coming.silenced = self._coming.rings in _lasting(self._not_again)
        elif AudioChunk.is_type(event.type) and event.payload:
            self._gather(event.payload)
        elif AudioStop.is_type(event.type):
            notice, self._coming = self._coming, None
            if event.data.get("abort") is True:
                await self._hush()
            elif notice is not None:
                await self._hush()  # the server has given up the one before
                self._waiting = notice
                self._playing = asyncio.create_task(self._play(notice, client), name="notice")
        elif (happening := timer_happening(event)) is not None:
            self._happenings.tell(happening.kind, **happening.data)

    def _stop_ringing(self) -> bool:
        """End what rings and pauses. Says whether anything did."""
        rang, self._rang = _lasting(self._rang), {}
        until = asyncio.get_running_loop().time() + _STOPPED_SECONDS
        self._not_again = _lasting(self._not_again) | dict.fromkeys(rang, until)
        return bool(rang)

    def _gather(self, pcm: bytes) -> None:
        notice = self._coming
        if notice is None:
            raise ProtocolError("The server sent audio before it stated the format")
        if len(notice.audio) + len(pcm) <= _LONGEST_SECONDS * notice.audio_format.bytes_per_second:
            notice.audio += pcm

    async def _hush(self) -> None:
        """End the notice that sounds or waits."""
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        self._waiting = None

    async def _play(self, notice: _Notice, client: WyomingClient) -> None:
        """Play when nobody speaks, and say how much of it was heard."""
        self._waiting, self._current = None, notice
        try:
            played = 0.0 if notice.silenced else await self._play_in_quiet(notice)
        except asyncio.CancelledError:
            if not notice.silenced or not _forgiven():
                raise
            played = 0.0
        finally:
            self._current = None
        if played is None and notice.rings:
            self._rang = _lasting(self._rang) | {notice.rings: asyncio.get_running_loop().time() + _RANG_SECONDS}
        await self._report(client, notice, played)

    async def _play_in_quiet(self, notice: _Notice) -> float | None:
        """Seconds that were heard of it, None for all of it."""
        deadline = asyncio.get_running_loop().time() + self._wait_seconds
        while True:
            waited = self._mouth.is_wanted
            try:
                async with asyncio.timeout_at(deadline):
                    await self._mouth.take()
            except TimeoutError:
                return 0.0
            try:
                played = await self._try(notice, waited)
            finally:
                self._mouth.release()
            if not notice.stopped or notice.silenced or played != 0.0:
                return played
            notice.stopped = False  # nobody can have meant it, as it was not heard yet

    async def _try(self, notice: _Notice, waited: bool) -> float | None:
        """Seconds that were heard of it until a turn began, 0.0 when it cannot be played; None for all of it."""
        self._sounding = notice
        notice.began = False
        try:
            if waited:
                await asyncio.sleep(_SETTLE_SECONDS)
            await self._sound(notice)
        except asyncio.CancelledError:
            if not notice.stopped or not _forgiven():
                raise
            return self._sink.played if notice.began else 0.0
        except AudioError as error:
            _LOGGER.warning("A notice could not be played: %s", error)
            return 0.0
        except Exception:
            _LOGGER.exception("A notice could not be played, for a reason that was not foreseen")
            return 0.0
        finally:
            self._sounding = None
            if notice.began:
                self._happenings.tell(Kind.NOTICE_OVER, stopped=notice.stopped)
        return None

    async def _sound(self, notice: _Notice) -> None:
        finished = False
        step = max(1, int(_PIECE_SECONDS * notice.audio_format.rate)) * (
            notice.audio_format.width * notice.audio_format.channels
        )
        try:
            await self._sink.start(notice.audio_format)
            notice.began = True
            self._happenings.tell(Kind.NOTICE)
            for start in range(0, len(notice.audio), step):
                await self._sink.write(bytes(notice.audio[start : start + step]))
            await self._sink.drain()
            finished = True
        finally:
            if not finished:
                await self._sink.abort()

    async def _report(self, client: WyomingClient, notice: _Notice, played: float | None) -> None:
        event = Played().event()
        event.data = {"notice": notice.id}
        if played is not None:
            event.data |= {"seconds": round(played, 3), "stopped": notice.stopped or notice.silenced}
        await tell(client, event)


def _forgiven() -> bool:
    """Go on after being cancelled from here; not where the server gave the notice up as well."""
    task = asyncio.current_task()
    if task is None or task.cancelling() > 1:
        return False
    task.uncancel()
    return True


def _lasting(until: dict[str, float]) -> dict[str, float]:
    """Those whose time has not passed."""
    now = asyncio.get_running_loop().time()
    return {what: end for what, end in until.items() if now < end}
