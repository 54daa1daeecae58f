"""One turn with Home Assistant: the request goes to its Assist pipeline, the answer comes and is played.

    satellite:       detection, run-pipeline, streaming-started, audio-chunk …, streaming-stopped, …      played
    Home Assistant:                     transcribe, (voice-stopped,) transcript, synthesize, audio-start …, audio-stop

Where the answer has more than 60 letters, its audio begins before `synthesize` says what it is. Where it is empty,
nothing follows the transcript at all. See `station_line.py` for what happens when a turn is interrupted.
"""

from __future__ import annotations

import asyncio

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import StreamingStarted, StreamingStopped
from wyoming.snd import Played
from wyoming.tts import Synthesize
from wyoming.vad import VoiceStopped
from wyoming.wake import Detection

from handlers.audio import BYTES_PER_SECOND, RATE, WIDTH
from handlers.errors import DeadlineError, EngineError, MeadowlarkError
from satellite.asking import Asking
from satellite.happenings import Happenings, Kind
from satellite.link import LinkLostError
from satellite.sink import Sink
from satellite.speech import Speech
from satellite.station_line import Line
from satellite.turn import SILENT_SECONDS, TURN_SECONDS, TurnRequest, TurnResult, read_text, server_error

_CODES = {"stt-no-text-recognized": "no-speech", "duplicate_wake_up_detected": "other-satellite"}
"""Home Assistant's names of what is no failure, and ours."""


class StationTurn:
    """An `Exchange` (see `partner.py`). Without a `line` it ends at once: Home Assistant is not there."""

    def __init__(
        self,
        line: Line | None,
        sink: Sink,
        request: TurnRequest,
        happenings: Happenings,
        *,
        silent_seconds: float = SILENT_SECONDS,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self.result = TurnResult()
        """What came of it so far."""
        self._line = line
        self._sink = sink
        self.request = request
        self._happenings = happenings
        self._silent_seconds = silent_seconds
        self._turn_seconds = turn_seconds
        self._asking = Asking(self._happenings)
        self._asked = 0.0
        self._patience: asyncio.Timeout | None = None
        self._decided = asyncio.Event()  # there is an answer, it is known that there is none, or why
        self._speech: Speech | None = None
        self._failure: MeadowlarkError | None = None
        self._understood = False
        self._may_go_on = False  # in Home Assistant, without this turn

    @property
    def has_heard_enough(self) -> bool:
        """No more audio is taken, by Home Assistant or for being too long."""
        return self._asking.is_over

    def hear(self, piece: bytes) -> None:
        """Take the next internal audio. Never waits; once enough was heard it is dropped."""
        self._asking.hear(piece)

    def end_of_audio(self) -> None:
        """There is no more audio to hear."""
        self._asking.end()

    async def run(self) -> TurnResult:
        """Have the turn. What goes wrong is in the result; cancelling ends it here and in Home Assistant."""
        result = self.result
        try:
            async with asyncio.timeout(self._turn_seconds) as deadline:
                await self._converse()
        except asyncio.CancelledError:
            result.interrupted = True
            raise
        except OSError as error:  # TimeoutError is one
            if deadline.expired():
                result.error = DeadlineError(f"The answer was not over after {self._turn_seconds:g} seconds")
            else:
                result.error = LinkLostError(f"The connection to Home Assistant was lost ({error})")
        except MeadowlarkError as error:
            result.error = error
        finally:
            self._asking.close()
        return result

    def take(self, event: Event) -> None:
        """What Home Assistant says of this turn, but for audio. Never waits."""
        self._go_on()
        if VoiceStopped.is_type(event.type):
            self._asking.enough()
        elif Transcript.is_type(event.type):
            self._asking.enough()
            self._understood = True
            self._arrived("transcript")
            self.result.transcript = read_text(event)
            self._happenings.tell(Kind.TRANSCRIPT, text=self.result.transcript)
        elif Synthesize.is_type(event.type):
            self._arrived("text")
            self.result.answer = read_text(event)
            self._happenings.tell(Kind.ANSWER, text=self.result.answer)
        elif Error.is_type(event.type):
            error = server_error(event)
            error.code = _CODES.get(error.code, error.code)
            self._fail(error)

    def speak(self, speech: Speech | None) -> bool:
        """The answer begins to arrive; None: there is none. False where it has had one, and this is something else."""
        if self._speech is not None:
            return False
        self._asking.enough()
        self._speech = speech
        self._decided.set()
        return True

    def lost(self, reason: str) -> None:
        """Home Assistant is gone. An answer that is complete is played nevertheless."""
        if self._speech is None or not self._speech.complete:
            self._fail(LinkLostError(reason))

    async def _converse(self) -> None:
        if self._line is None:
            raise LinkLostError("Home Assistant is not connected to this satellite")
        line = self._line
        self._asked = asyncio.get_running_loop().time()
        await line.begin(self)
        sending: asyncio.Task[None] | None = None
        try:
            if self.request.wake_word is not None and line.may_name(self.request.wake_word):
                await line.send(Detection(name=self.request.wake_word).event())
            await line.send(RunPipeline(start_stage=PipelineStage.ASR, end_stage=PipelineStage.TTS).event())
            await line.send(StreamingStarted().event())
            sending = asyncio.create_task(self._send_audio(line), name="audio for Home Assistant")
            speech = await self._answer()
            if speech is not None:
                await self._play(speech)
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)  # what made it fail, the line has met too
            await self._leave(line)
        if self._failure is not None:  # in the middle of the answer
            raise self._failure

    async def _answer(self) -> Speech | None:
        try:
            async with asyncio.timeout(self._silent_seconds) as self._patience:
                await self._decided.wait()
        except TimeoutError:
            if not self._understood:
                raise DeadlineError(f"Home Assistant said nothing for {self._silent_seconds:g} seconds") from None
            self._may_go_on = True  # the answer is empty, most likely; one that comes late is played as a notice
        finally:
            self._patience = None
        if self._speech is None and self._failure is not None:
            raise self._failure
        return self._speech

    async def _play(self, speech: Speech) -> None:
        def began() -> None:
            self._arrived("audio")
            self._happenings.tell(Kind.SPEAKING)

        try:
            await speech.play(self._sink, began)
        finally:
            self.result.audio_seconds = speech.seconds

    async def _leave(self, line: Line) -> None:
        """Let Home Assistant know that the turn is over; what it still does for it ends."""
        is_whole = self._speech.complete if self._speech is not None else not line.is_busy
        line.end(self, is_whole=is_whole or self._may_go_on)
        if line.is_busy and not self._may_go_on:
            await line.halt()
        if self._speech is not None:
            await line.tell(Played().event())

    async def _send_audio(self, line: Line) -> None:
        async for piece in self._asking.pieces():
            await line.send(AudioChunk(rate=RATE, width=WIDTH, channels=1, audio=piece).event())
            self.result.arrivals["sent"] = self._since_asked()
            self.result.sent_seconds += len(piece) / BYTES_PER_SECOND
        if self._asking.is_wanted:
            await line.send(AudioStop().event())
        await line.tell(StreamingStopped().event())

    def _fail(self, error: EngineError) -> None:
        self._failure = error
        if self._speech is not None:
            self._speech.end()
        self._decided.set()

    def _go_on(self) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + self._silent_seconds)

    def _arrived(self, what: str) -> None:
        self.result.arrivals.setdefault(what, self._since_asked())

    def _since_asked(self) -> float:
        return asyncio.get_running_loop().time() - self._asked
