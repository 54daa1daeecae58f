"""A connection of Home Assistant: what it says goes to the turn that goes on, or is news.

Interrupting needs care. Home Assistant ends a pipeline only when the next one is asked for, and takes the end of the
old one for the end of the new one: the new request's audio is then thrown away, and nobody answers. So an interrupted
pipeline is ended by one that cannot begin (speech without a text), which is answered with an `error`; only behind that
the next turn begins. Audio of the old answer that is still on its way is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.snd import Played
from wyoming.tts import Synthesize

from handlers.errors import ProtocolError
from handlers.wire.connection import Connection, PeerGoneError
from satellite.link import LinkLostError
from satellite.speech import Speech
from satellite.timers import timer_happening
from satellite.turn import read_format

if TYPE_CHECKING:
    from satellite.station import Station
    from satellite.station_turn import StationTurn

SILENT_SECONDS = 30.0
"""Home Assistant sends a `ping` every 2 s. One that has sent nothing for so long hangs, and is let go of."""

_ALIVE_SECONDS = 5.0
"""Home Assistant itself takes a connection for broken when it has heard nothing for so long."""

_WATCH_SECONDS = 1.0
"""Between two looks at what Home Assistant does."""

_PAUSED_SECONDS = 4.0
"""After a pause Home Assistant may send one more `ping`, within 2 s. Who goes on with it has switched the satellite on
again before it looked, and will not say so."""

_TELL_SECONDS = 0.2
"""For what Home Assistant can do without; an interruption does not wait for a slow network."""

_HALT_SECONDS = 5.0
"""For the end of an interrupted pipeline: milliseconds, more on a busy machine. What is said meanwhile is kept."""

_HALTED_CODE = "validation-error"
"""Of the `error` that answers a pipeline which cannot begin."""

_STALE_SECONDS = 10.0
"""For the audio of an interrupted answer that is still on its way; later audio is something else."""

_SAME_WAKE_SECONDS = 2.5
"""Home Assistant takes a wake word that comes again within 2 s for another satellite's, even from this one."""


class Line:
    """The `Service` of one connection (see `handlers/wire/connection.py`). It reads on, whatever happens here."""

    def __init__(self, connection: Connection, station: Station) -> None:
        self.connection = connection
        self.is_paused = False
        self.is_busy = False
        """A pipeline may run in Home Assistant."""
        self._station = station
        self._runs = False  # this connection is the one
        self._paused_at = 0.0
        self._took = 0.0  # the last event that was no `ping`
        self._turn: StationTurn | None = None
        self._arriving: Speech | None = None
        self._stale_until = 0.0
        self._halting = False
        self._halted = asyncio.Event()
        self._last_wake = ("", float("-inf"))

    @property
    def is_alive(self) -> bool:
        """Home Assistant is surely at the other end. One that has come back has let go of its old connection."""
        return self._runs and not self.is_paused and self.connection.silent_seconds < _ALIVE_SECONDS

    def wants(self, event_type: str) -> bool:
        return self._runs or RunSatellite.is_type(event_type)

    async def handle(self, event: Event) -> None:
        self._took = asyncio.get_running_loop().time()
        if RunSatellite.is_type(event.type):
            self._run()
        elif PauseSatellite.is_type(event.type):
            self.is_paused = True
            self._paused_at = self._took
            self._station.look()
            self._lose("Home Assistant has switched this satellite off")
        elif AudioStart.is_type(event.type):
            self._audio_starts(event)
        elif AudioChunk.is_type(event.type):
            if self._arriving is not None and event.payload:
                self._arriving.add(event.payload)
        elif AudioStop.is_type(event.type):
            self._audio_stops()
        elif (happening := timer_happening(event)) is not None:
            self._station.timer(happening.kind, happening.data)
        elif self._halting:
            if Error.is_type(event.type) and event.data.get("code") == _HALTED_CODE:  # the rest is the old pipeline's
                self._halting = False
                self._halted.set()
        else:
            self._pipeline_says(event)

    async def begin(self, turn: StationTurn) -> None:
        """What comes from now on is this turn's. Waits for the end of another pipeline. Raises LinkLostError."""
        if self.is_busy:
            await self.halt()
        if self._halting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HALT_SECONDS):
                    await self._halted.wait()
            self._halting = False
        if not self._runs or self.is_paused:
            raise LinkLostError("Home Assistant is not connected to this satellite")
        self._turn = turn
        self.is_busy = True

    def end(self, turn: StationTurn, *, is_whole: bool) -> None:
        """The turn is over. Where its answer is not whole, the rest of it is dropped."""
        if self._turn is turn:
            self._turn = None
        if not is_whole:
            self._arriving = None
            self._stale_until = asyncio.get_running_loop().time() + _STALE_SECONDS

    async def halt(self) -> None:
        """End the pipeline that runs in Home Assistant. The next `begin` waits for it."""
        self.is_busy = False
        if not self._runs or self.is_paused:
            return
        self._halting = True
        self._halted.clear()
        await self.tell(RunPipeline(start_stage=PipelineStage.TTS, end_stage=PipelineStage.TTS).event())

    def may_name(self, wake_word: str) -> bool:
        """Whether Home Assistant would believe that this wake word was heard; it is now said to have been."""
        now = asyncio.get_running_loop().time()
        name, when = self._last_wake
        if name == wake_word and now - when < _SAME_WAKE_SECONDS:
            return False
        self._last_wake = (wake_word, now)
        return True

    async def send(self, event: Event) -> None:
        """Raises PeerGoneError."""
        try:
            await self.connection.send(event)
        except RuntimeError:  # asyncio's word for a connection that says its goodbye
            raise PeerGoneError("The connection is being closed") from None

    async def tell(self, event: Event) -> None:
        """Send what can be lost."""
        with contextlib.suppress(OSError):  # PeerGoneError and TimeoutError are
            async with asyncio.timeout(_TELL_SECONDS):
                await self.send(event)

    async def played(self) -> None:
        """What it has said unasked is over."""
        await self.tell(Played().event())

    def replace(self) -> None:
        """Another connection runs the satellite now."""
        self.connection.dismiss(ProtocolError("Another Home Assistant runs this satellite now", code="replaced"))
        self.close()

    def close(self) -> None:
        """The connection is over."""
        if self._runs:
            self._runs = False
            self._station.leave(self)
        self._halted.set()
        self._lose("Home Assistant closed the connection in the middle of the turn")

    def _run(self) -> None:
        if not self._runs:
            self._runs = True
            self.connection.start(self._watch(), "watch")
        self.is_paused = False
        self._station.enter(self)

    def _lose(self, reason: str) -> None:
        if self._turn is not None:
            self._turn.lost(reason)
        if self._arriving is not None:
            self._arriving.end()
            self._arriving = None

    def _pipeline_says(self, event: Event) -> None:
        if Transcript.is_type(event.type):
            self._stale_until = 0.0  # the next answer is this turn's
        elif Synthesize.is_type(event.type) or Error.is_type(event.type):
            self.is_busy = False  # these are its last
        if self._turn is not None:
            self._turn.take(event)

    def _audio_starts(self, event: Event) -> None:
        if self._halting or self._is_stale():
            return
        if self._arriving is not None:  # the end of a failed answer is not told
            self._arriving.end()
        self._arriving = Speech(read_format(event))
        if self._turn is None or not self._turn.speak(self._arriving):
            self._station.announce(self._arriving, self)

    def _audio_stops(self) -> None:
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.end()
        elif self._is_stale():
            self._stale_until = 0.0
        elif self._turn is not None:
            self._turn.speak(None)

    def _is_stale(self) -> bool:
        return asyncio.get_running_loop().time() < self._stale_until

    async def _watch(self) -> None:
        """Let go of a Home Assistant that hangs. As a task of the connection it also keeps that from being idle."""
        loop = asyncio.get_running_loop()
        silent = 0.0
        while silent < SILENT_SECONDS:
            await asyncio.sleep(_WATCH_SECONDS)
            silent = 0.0 if self.is_paused else self.connection.silent_seconds
            pinged = loop.time() - self.connection.silent_seconds
            if self.is_paused and pinged > max(self._paused_at + _PAUSED_SECONDS, self._took + _WATCH_SECONDS):
                self._run()
        self.connection.dismiss(ProtocolError(f"No event for {SILENT_SECONDS:g} seconds", code="idle"))
