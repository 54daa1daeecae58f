"""Says something at a place where nobody asked: a timer that ended, a reminder, an announcement.

A place is a satellite, or a session of the voice stream (`server/voice_place.py`).

A satellite keeps a second connection open for it. It begins with the protocol's `satellite-connected`, with
`{"context": {"satellite_id": NAME}}`; the server then sends `ping` now and then, the protocol's timer events, and for
each notice `audio-start`, `audio-chunk`… and `audio-stop`. The satellite answers `played` when it has been heard, with
`seconds` where it was cut short and `stopped` where somebody there stopped it. `notice` in `audio-start`, `audio-stop`
and `played` says which one is meant; an `audio-stop` with `abort` ends what still sounds. `rings` in `audio-start` is
the same for every ring of a timer or alarm: what was stopped in the pause before can be answered `stopped` unheard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.ping import Ping, Pong
from wyoming.satellite import SatelliteConnected, SatelliteDisconnected
from wyoming.snd import Played

from handlers.agent.handler import context_id
from handlers.agent.schedule.entry import Heard
from handlers.audio import AudioFormat, from_float, tones
from handlers.errors import DeadlineError, MeadowlarkError, ProtocolError, RequestError
from handlers.tts.speaker import once, sentences, speak
from handlers.tts.stage import Synthesizer, VoiceChoice, pieces
from handlers.wire import fields
from handlers.wire.connection import Connection, PeerGoneError

_LOGGER = logging.getLogger(__name__)

PING_SECONDS = 20.0
"""Keeps routers from forgetting the connection, and the server from taking it for an idle one (see SPARE_SECONDS)."""

SILENT_SECONDS = 70.0
"""A satellite that answers no ping for so long is gone: three were lost."""

PLAYED_SECONDS = 75.0
"""Beyond the length of the audio: the place waits up to a minute for a turn to end, or half of one for its network."""

_WAITING = 8
"""Notices that may wait at one place; one more is not heard, as it would come too late."""

LONGEST = 1000
"""Characters of a notice: over a minute."""

_SYNTHESIS_SECONDS = 30.0
"""For the audio of a notice on a busy server."""

_ANSWER_SECONDS = 2.0
"""To a ping, before another satellite gets the name: it is answered in milliseconds, also while something is played."""

_TELL_SECONDS = 5.0
"""For an event that the satellite can do without."""

_CHIME = ((880.0, 0.16), (1174.7, 0.16), (880.0, 0.16), (1174.7, 0.32))
"""Hertz and seconds of four soft tones, an A and a D: heard through a closed door, and no alarm of a smoke detector."""

_CHIME_LEVEL = 0.35
"""Of full scale: as loud as speech."""

_CHIME_EDGE = 0.02
"""Seconds over which a tone swells and fades, so that it does not click."""

_CHIME_REST = 0.25
"""Seconds of silence behind it."""


@dataclass(frozen=True)
class Notice:
    """What a place is to play."""

    id: str
    text: str
    language: str
    """That of the voice."""
    audio: bytes
    """With the chime, if there is one."""
    audio_format: AudioFormat
    chime: bool = False
    about: Event | None = None
    """Sent before the audio."""
    rings: str = ""
    """What rings again and again until it is stopped; empty for what is said once."""

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.audio_format.bytes_per_second


class Place(Protocol):
    """Where something can be said."""

    @property
    def listed(self) -> bool:
        """Whether it is a satellite, which stays at its place and is shown; others come and go."""

    async def play(self, notice: Notice) -> Heard:
        """Play a notice behind those that came before it, and wait for what came of it, within a deadline. Cancelling
        makes the place silent."""

    async def tell(self, event: Event) -> None:
        """Pass on what can be lost."""

    async def answers(self) -> bool:
        """Whether it is still there, and keeps its name to itself."""

    def replaced(self) -> None:
        """Another place has its name."""


class Notices:
    """All places that can be called. Of two with one name the newer stays, but none takes that of a satellite."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer = synthesizer
        self._places: dict[str, Place] = {}
        self._arrivals: list[Callable[[str], None]] = []
        self._departures: list[Callable[[str], None]] = []

    @property
    def connected(self) -> Sequence[str]:
        """Names of all places that can be called now."""
        return tuple(self._places)

    @property
    def satellites(self) -> Sequence[str]:
        """Names of those that are satellites."""
        return tuple(name for name, place in self._places.items() if place.listed)

    def on_arrival(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the name of each place that comes. It must not wait."""
        self._arrivals.append(tell)

    def on_departure(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the name of each place that goes. It must not wait."""
        self._departures.append(tell)

    async def say(
        self,
        satellite_id: str,
        text: str,
        language: str,
        *,
        chime: bool = False,
        about: Event | None = None,
        rings: str = "",
    ) -> Heard:
        """Speak at a place, or at all for ''. Waits until it was heard, or could not be; never raises for that.

        `about` is sent before the audio; `rings` names what is said again until it is stopped. Cancelling makes the
        places silent.
        """
        names = [name for name in self._places if satellite_id in ("", name)]
        if not names:
            return Heard.NOBODY
        try:
            notice = await self._make(text, language, chime, about, rings)
        except MeadowlarkError as error:
            _LOGGER.warning("A notice could not be spoken (%s)", error)
            return Heard.NOBODY
        playing = {asyncio.create_task(self._play(name, notice)) for name in names}
        heard = Heard.NOBODY
        try:
            for task in asyncio.as_completed(playing):
                heard = max(heard, await task)
                if heard is Heard.STOPPED:
                    break
        finally:
            await _cancelled(playing)
        return heard

    async def announce(
        self, names: Sequence[str], text: str, language: str, *, chime: bool, seconds: float
    ) -> dict[str, Heard]:
        """Speak at several places at the same time, and say what came of it at each of those that are connected.

        Whoever stops it at one does so for that one alone. Where it is not over after `seconds` it is ended, and counts
        as not heard. MeadowlarkError where it cannot be spoken. Cancelling makes the places silent.
        """
        names = [name for name in names if name in self._places]
        if not names:
            return {}
        notice = await self._make(text, language, chime)
        playing = {name: asyncio.create_task(self._play(name, notice)) for name in names}
        try:
            await asyncio.wait(playing.values(), timeout=seconds)
            return {name: task.result() if task.done() else Heard.NOBODY for name, task in playing.items()}
        finally:
            await _cancelled(playing.values())

    async def tell(self, satellite_id: str, event: Event) -> None:
        """Send an event to a place, or to all for ''. It may be lost."""
        places = [place for name, place in self._places.items() if satellite_id in ("", name)]
        await asyncio.gather(*(place.tell(event) for place in places))

    async def is_taken(self, name: str) -> bool:
        """Whether a satellite of this name is there and answers; one whose network went is not in the way for long."""
        place = self._places.get(name)
        return place is not None and await place.answers()

    def enter(self, name: str, place: Place) -> None:
        """A place can be called from now on; unless it is none of the satellites, and one of them has the name."""
        before = self._places.get(name)
        if before is not None and before.listed and not place.listed:
            return
        self._places.pop(name, None)
        self._places[name] = place
        if before is not None and before is not place:
            before.replaced()
        for tell in self._arrivals:
            tell(name)

    def leave(self, name: str, place: Place) -> None:
        """It cannot be called any more."""
        if self._places.get(name) is place:
            del self._places[name]
            for tell in self._departures:
                tell(name)

    async def _play(self, name: str, notice: Notice) -> Heard:
        """At the place that has this name now: it may have changed while the notice was made."""
        place = self._places.get(name)
        return Heard.NOBODY if place is None else await place.play(notice)

    async def _make(self, text: str, language: str, chime: bool, about: Event | None = None, rings: str = "") -> Notice:
        text = text[:LONGEST]
        choice = self._voice(language)
        audio_format = self._synthesizer.format(choice)
        audio = bytearray()
        spoken = speak(sentences(once(text), choice.language), self._synthesizer, choice)
        try:
            async with asyncio.timeout(_SYNTHESIS_SECONDS), contextlib.aclosing(spoken) as parts:
                async for pcm in parts:
                    audio += pcm
        except TimeoutError:
            raise DeadlineError(f"The server took more than {_SYNTHESIS_SECONDS:.0f} s to speak a notice") from None
        if not audio:
            raise RequestError("no-text", "There is nothing in this text that can be spoken")
        before = chime_audio(audio_format) if chime else b""
        return Notice(uuid.uuid4().hex, text, choice.language, before + bytes(audio), audio_format, chime, about, rings)

    def _voice(self, language: str) -> VoiceChoice:
        try:
            return self._synthesizer.choose(language=language)
        except RequestError:  # a wrong accent is better than silence
            return self._synthesizer.choose()


class NoticeQueue:
    """The notices of one place: one behind the other, each until it is known what came of it."""

    def __init__(self, begin: Callable[[Notice], Awaitable[None]], end: Callable[[Notice], Awaitable[None]]) -> None:
        """`begin` has the place play a notice, PeerGoneError where it cannot; `end` makes it silent."""
        self._begin = begin
        self._end = end
        self._turn = asyncio.Lock()
        self._outcomes: dict[str, asyncio.Future[Heard]] = {}
        """Of the one that is played, and of those that wait."""
        self.playing = ""
        """The id of the one that is played; empty when none is."""

    async def play(self, notice: Notice) -> Heard:
        """Play a notice behind those that came before it, and wait for what came of it."""
        if len(self._outcomes) >= _WAITING:
            return Heard.NOBODY
        outcome = self._outcomes[notice.id] = asyncio.get_running_loop().create_future()
        try:
            async with self._turn:
                return await self._play(notice, outcome)
        finally:
            del self._outcomes[notice.id]

    def settle(self, notice_id: str, heard: Heard) -> bool:
        """Say what came of the notice that is played. False where it is another, or known already."""
        outcome = self._outcomes.get(notice_id)
        if notice_id != self.playing or outcome is None or outcome.done():
            return False
        outcome.set_result(heard)
        return True

    def give_up(self) -> None:
        """Nobody hears those that are here."""
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_result(Heard.NOBODY)

    async def _play(self, notice: Notice, outcome: asyncio.Future[Heard]) -> Heard:
        if outcome.done():
            return outcome.result()
        self.playing = notice.id
        try:
            async with asyncio.timeout(notice.seconds + PLAYED_SECONDS):
                await self._begin(notice)
                return await outcome
        except PeerGoneError:
            return Heard.NOBODY
        except TimeoutError:
            await self._end(notice)
            return Heard.NOBODY
        except asyncio.CancelledError:
            await self._end(notice)
            raise
        finally:
            self.playing = ""


class NoticeHandler:
    """One satellite's connection for notices. Stands before every other service that takes `played`."""

    def __init__(self, connection: Connection, notices: Notices) -> None:
        self._connection = connection
        self._notices = notices
        self._name = ""
        self._keeping: asyncio.Task[None] | None = None
        self._queue = NoticeQueue(self._send, self._abort)
        self._answered = 0.0
        self._stirred = asyncio.Event()

    @property
    def listed(self) -> bool:
        return True

    def wants(self, event_type: str) -> bool:
        if SatelliteConnected.is_type(event_type):
            return True
        mine = (Played, Pong, SatelliteDisconnected)
        return self._keeping is not None and any(kind.is_type(event_type) for kind in mine)

    async def handle(self, event: Event) -> None:
        self._answered = asyncio.get_running_loop().time()
        self._stirred.set()
        if SatelliteConnected.is_type(event.type):
            self._connected(event)
        elif SatelliteDisconnected.is_type(event.type) and self._keeping is not None:
            self._keeping.cancel()
        elif Played.is_type(event.type):
            self._played(event)

    async def play(self, notice: Notice) -> Heard:
        """Send a notice behind those that came before it, and wait for what came of it."""
        return await self._queue.play(notice) if self._keeping is not None else Heard.NOBODY

    async def tell(self, event: Event) -> None:
        """Send what can be lost."""
        with contextlib.suppress(PeerGoneError, TimeoutError):
            async with asyncio.timeout(_TELL_SECONDS):
                await self._connection.send(event)

    async def answers(self) -> bool:
        """Whether the satellite is still there, by a `ping`."""
        self._stirred.clear()
        await self.tell(Ping().event())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return self._keeping is not None

    def replaced(self) -> None:
        """Another connection has this satellite's name."""
        self._connection.dismiss(
            ProtocolError(
                f"Another satellite is called '{self._name}': give one of them another --name", code="replaced"
            )
        )

    def _connected(self, event: Event) -> None:
        name = context_id(fields.mapping(event, "context"), "satellite_id")
        if not name:
            raise RequestError("bad-event", "A 'satellite-connected' needs a context with a 'satellite_id'")
        if self._keeping is not None:
            raise RequestError("bad-event", "This connection has said already which satellite it is")
        self._name = name
        self._keeping = self._connection.start(self._keep(), "notices")

    def _played(self, event: Event) -> None:
        notice, seconds = event.data.get("notice"), event.data.get("seconds")
        if event.data.get("stopped") is True:
            heard = Heard.STOPPED
        elif seconds is None or (isinstance(seconds, int | float) and seconds > 0):
            heard = Heard.HEARD
        else:
            heard = Heard.NOBODY
        if notice in (None, self._queue.playing):
            self._queue.settle(self._queue.playing, heard)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._connection.send(Ping().event())  # also says that we know what this connection is for
            if await self._notices.is_taken(self._name):
                self.replaced()
                return
            self._notices.enter(self._name, self)
            while loop.time() - self._answered < SILENT_SECONDS:
                await asyncio.sleep(PING_SECONDS)
                await self._connection.send(Ping().event())
            self._connection.dismiss(ProtocolError("The satellite answers no ping", code="idle"))
        finally:
            self._notices.leave(self._name, self)
            self._keeping = None
            self._queue.give_up()

    async def _send(self, notice: Notice) -> None:
        audio = notice.audio_format
        if notice.about is not None:
            await self._connection.send(notice.about)
        start = _named(AudioStart(audio.rate, audio.width, audio.channels).event(), notice)
        if notice.rings:
            start.data["rings"] = notice.rings
        await self._connection.send(start)
        for piece in pieces(notice.audio):
            await self._connection.send(AudioChunk(audio.rate, audio.width, audio.channels, piece).event())
        await self._connection.send(_named(AudioStop().event(), notice))

    async def _abort(self, notice: Notice) -> None:
        event = _named(AudioStop().event(), notice)
        event.data["abort"] = True
        await self.tell(event)


def chime_audio(audio_format: AudioFormat) -> bytes:
    """Four soft tones in the format of a voice."""
    rest = np.zeros(int(_CHIME_REST * audio_format.rate), np.float32)
    mono = np.concatenate([tones(_CHIME, _CHIME_LEVEL, _CHIME_EDGE, audio_format.rate), rest])
    return from_float(np.repeat(mono, audio_format.channels))


async def _cancelled(tasks: Collection[asyncio.Task[Heard]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _named(event: Event, notice: Notice) -> Event:
    event.data = {**event.data, "notice": notice.id}
    return event
