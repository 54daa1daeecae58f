"""Says something at a satellite that did not ask: a timer that ended, a reminder, an announcement.

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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

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
"""Beyond the length of the audio: the satellite waits up to a minute for a turn to end."""

_WAITING = 8
"""Notices that may wait at one satellite; one more is not heard, as it would come too late."""

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
    """What a satellite is to play."""

    id: str
    audio: bytes
    audio_format: AudioFormat
    about: Event | None = None
    """Sent before the audio."""
    rings: str = ""
    """What rings again and again until it is stopped; empty for what is said once."""

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.audio_format.bytes_per_second


class Notices:
    """All satellites that can be called. One connection for each; of two with one name the newer stays."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer = synthesizer
        self._places: dict[str, NoticeHandler] = {}
        self._arrivals: list[Callable[[str], None]] = []
        self._departures: list[Callable[[str], None]] = []

    @property
    def connected(self) -> Sequence[str]:
        """Names of the satellites that can be called now."""
        return tuple(self._places)

    def on_arrival(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the name of each satellite that comes. It must not wait."""
        self._arrivals.append(tell)

    def on_departure(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the name of each satellite that goes. It must not wait."""
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
        """Speak at a satellite, or at all for ''. Waits until it was heard, or could not be; never raises for that.

        `about` is sent before the audio; `rings` names what is said again until it is stopped. Cancelling makes the
        satellites silent.
        """
        places = [self._places[satellite_id]] if satellite_id in self._places else []
        if not satellite_id:
            places = list(self._places.values())
        if not places:
            return Heard.NOBODY
        try:
            notice = await self._make(text, language, chime, about, rings)
        except MeadowlarkError as error:
            _LOGGER.warning("A notice could not be spoken (%s)", error)
            return Heard.NOBODY
        playing = {asyncio.create_task(place.play(notice)) for place in places}
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
        self, satellites: Sequence[str], text: str, language: str, *, chime: bool, seconds: float
    ) -> dict[str, Heard]:
        """Speak at several satellites at the same time, and say what came of it at each of those that are connected.

        Whoever stops it at one does so for that one alone. Where it is not over after `seconds` it is ended, and counts
        as not heard. MeadowlarkError where it cannot be spoken. Cancelling makes the satellites silent.
        """
        places = {name: self._places[name] for name in satellites if name in self._places}
        if not places:
            return {}
        notice = await self._make(text, language, chime)
        playing = {name: asyncio.create_task(place.play(notice)) for name, place in places.items()}
        try:
            await asyncio.wait(playing.values(), timeout=seconds)
            return {name: task.result() if task.done() else Heard.NOBODY for name, task in playing.items()}
        finally:
            await _cancelled(playing.values())

    async def tell(self, satellite_id: str, event: Event) -> None:
        """Send an event to a satellite, or to all for ''. It may be lost."""
        places = [place for name, place in self._places.items() if satellite_id in ("", name)]
        await asyncio.gather(*(place.tell(event) for place in places))

    async def is_taken(self, name: str) -> bool:
        """Whether a satellite of this name is there and answers; one whose network went is not in the way for long."""
        place = self._places.get(name)
        return place is not None and await place.answers()

    def enter(self, name: str, place: NoticeHandler) -> None:
        """A satellite can be called from now on."""
        before = self._places.pop(name, None)
        self._places[name] = place
        if before is not None and before is not place:
            before.replaced()
        for tell in self._arrivals:
            tell(name)

    def leave(self, name: str, place: NoticeHandler) -> None:
        """It cannot be called on this connection any more."""
        if self._places.get(name) is place:
            del self._places[name]
            for tell in self._departures:
                tell(name)

    async def _make(self, text: str, language: str, chime: bool, about: Event | None = None, rings: str = "") -> Notice:
        choice = self._voice(language)
        audio_format = self._synthesizer.format(choice)
        audio = bytearray()
        spoken = speak(sentences(once(text[:LONGEST]), choice.language), self._synthesizer, choice)
        try:
            async with asyncio.timeout(_SYNTHESIS_SECONDS), contextlib.aclosing(spoken) as parts:
                async for pcm in parts:
                    audio += pcm
        except TimeoutError:
            raise DeadlineError(f"The server took more than {_SYNTHESIS_SECONDS:.0f} s to speak a notice") from None
        if not audio:
            raise RequestError("no-text", "There is nothing in this text that can be spoken")
        before = chime_audio(audio_format) if chime else b""
        return Notice(uuid.uuid4().hex, before + bytes(audio), audio_format, about, rings)

    def _voice(self, language: str) -> VoiceChoice:
        try:
            return self._synthesizer.choose(language=language)
        except RequestError:  # a wrong accent is better than silence
            return self._synthesizer.choose()


class NoticeHandler:
    """One satellite's connection for notices. Stands before every other service that takes `played`."""

    def __init__(self, connection: Connection, notices: Notices) -> None:
        self._connection = connection
        self._notices = notices
        self._name = ""
        self._keeping: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._inside = 0
        self._playing = ""
        self._outcome: asyncio.Future[Heard] | None = None
        self._answered = 0.0
        self._stirred = asyncio.Event()

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
        if self._inside >= _WAITING:
            return Heard.NOBODY
        self._inside += 1
        try:
            async with self._turn:
                return await self._play(notice)
        finally:
            self._inside -= 1

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
        notice = event.data.get("notice")
        if self._outcome is None or self._outcome.done() or notice not in (None, self._playing):
            return
        seconds = event.data.get("seconds")
        if event.data.get("stopped") is True:
            self._outcome.set_result(Heard.STOPPED)
        elif seconds is None or (isinstance(seconds, int | float) and seconds > 0):
            self._outcome.set_result(Heard.HEARD)
        else:
            self._outcome.set_result(Heard.NOBODY)

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
            if self._outcome is not None and not self._outcome.done():
                self._outcome.set_result(Heard.NOBODY)

    async def _play(self, notice: Notice) -> Heard:
        if self._keeping is None:
            return Heard.NOBODY
        self._playing = notice.id
        self._outcome = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(notice.seconds + PLAYED_SECONDS):
                await self._send(notice)
                return await self._outcome
        except PeerGoneError:
            return Heard.NOBODY
        except TimeoutError:
            await self._abort(notice)
            return Heard.NOBODY
        except asyncio.CancelledError:
            await self._abort(notice)
            raise
        finally:
            self._outcome = None

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
