"""One turn on the link: a question goes up while it is spoken, an answer comes down and is played."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, NotHandled
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.snd import Played
from wyoming.vad import VoiceStopped

from handlers.audio import BYTES_PER_SECOND, RATE, SPEECH, WIDTH, AudioFormat
from handlers.errors import AudioError, DeadlineError, EngineError, MeadowlarkError, ProtocolError
from handlers.wire.client import WyomingClient
from satellite.asking import Asking
from satellite.happenings import Happenings, Kind
from satellite.link import Link, LinkLostError
from satellite.sink import Sink
from satellite.volume import Volume

_LOGGER = logging.getLogger(__name__)

SILENT_SECONDS = 30.0
"""A server that is at work says something within this time, if only `ping`, every 10 s."""

TURN_SECONDS = 600.0
"""No answer is longer; a server that trickles for ever is stuck. A `ping` says that it works on something that takes
longer: then the time begins anew."""

_TELL_SECONDS = 0.2
"""For the word of what was played; an interruption does not wait for a slow network."""

_ANSWER_CHARACTERS = 100_000
"""Far beyond any answer that somebody listens to."""


@dataclass(frozen=True)
class TurnRequest:
    """What a turn is about, besides its audio."""

    satellite_id: str
    conversation_id: str | None = None
    """The conversation that this turn goes on with."""
    wake_word: str | None = None
    score: float = 0.0
    """How surely the wake word was heard, 0 to 1."""
    snr: float = 0.0
    """How far it stood out of the room, in dB."""
    in_audio: bool = False
    """The audio begins with the wake word, which was not heard surely: the server is to look whether it was one."""


@dataclass
class TurnResult:
    """What came of a turn."""

    transcript: str = ""
    answer: str = ""
    timeline: dict[str, object] = field(default_factory=dict)
    """The server's own: turn_id, route, outcome, marks_ms."""
    audio_seconds: float = 0.0
    """Length of the spoken answer."""
    sent_seconds: float = 0.0
    """Length of the audio that was sent."""
    conversation_id: str | None = None
    arrivals: dict[str, float] = field(default_factory=dict)
    """Seconds from the request to the first `transcript`, `text` and `audio` of the answer; `sent` is the last audio
    that went up."""
    listen: bool = False
    """The answer is a question."""
    interrupted: bool = False
    """Somebody called before the answer was over."""
    error: MeadowlarkError | None = None


class Turn:
    """A turn from its wake-up to the end of its answer. `hear` gives it audio while `run` is at work."""

    def __init__(
        self,
        link: Link,
        sink: Sink,
        request: TurnRequest,
        *,
        volume: Volume | None = None,
        happenings: Happenings | None = None,
        silent_seconds: float = SILENT_SECONDS,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        """`volume` is changed when the answer says so."""
        self._happenings = happenings or Happenings()
        self._silent_seconds = silent_seconds
        self._turn_seconds = turn_seconds
        self._link = link
        self._sink = sink
        self.request = request
        self._volume = volume
        self._asking = Asking(self._happenings)
        self._format: AudioFormat | None = None
        self._asked = 0.0
        self.result = TurnResult(conversation_id=request.conversation_id)
        """What came of it so far."""

    @property
    def has_heard_enough(self) -> bool:
        """No more audio is taken, by the server or for being too long."""
        return self._asking.is_over

    def hear(self, piece: bytes) -> None:
        """Take the next internal audio. Never waits; once enough was heard it is dropped."""
        self._asking.hear(piece)

    def end_of_audio(self) -> None:
        """There is no more audio to hear."""
        self._asking.end()

    async def run(self) -> TurnResult:
        """Have the turn. What goes wrong is in the result; cancelling ends it here and on the server."""
        result = self.result
        finished = False
        try:
            async with asyncio.timeout(self._turn_seconds) as deadline, self._link.open() as client:
                await self._converse(client, deadline)
            finished = True
        except OSError as error:  # TimeoutError is one
            if deadline.expired():
                result.interrupted = False  # by nobody here
                result.error = DeadlineError(f"The answer was not over after {self._turn_seconds:g} seconds")
            else:
                result.error = LinkLostError(f"The connection to the server was lost ({error.strerror or error})")
        except MeadowlarkError as error:
            result.error = error
        finally:
            self._asking.close()
            if not finished:
                await self._sink.abort()
        return result

    async def _converse(self, client: WyomingClient, deadline: asyncio.Timeout) -> None:
        await client.send(self._run_pipeline())
        self._asked = asyncio.get_running_loop().time()
        sending = asyncio.create_task(self._send_audio(client))
        try:
            while (event := await client.receive(self._silent_seconds)) is not None:
                if Ping.is_type(event.type):
                    deadline.reschedule(asyncio.get_running_loop().time() + self._turn_seconds)
                    await tell(client, Pong(text=read_text(event) or None).event())
                elif await self._take(event):
                    await self._sink.drain()
                    await tell(client, Played().event())
                    return
            raise LinkLostError("The server closed the connection in the middle of the turn")
        except asyncio.CancelledError:  # silence first; then the conversation is to keep what was heard
            sending.cancel()
            self.result.interrupted = True
            await self._sink.abort()
            await tell(client, Event("played", {"seconds": round(self._sink.played, 3)}))
            raise
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)  # what made it fail, `receive` has met too

    def _run_pipeline(self) -> Event:
        event = RunPipeline(
            start_stage=PipelineStage.ASR, end_stage=PipelineStage.TTS, wake_word_name=self.request.wake_word
        ).event()
        context = {"satellite_id": self.request.satellite_id, "conversation_id": self.request.conversation_id}
        event.data["context"] = {key: value for key, value in context.items() if value is not None}
        if self.request.wake_word is not None:
            event.data["wake"] = {
                "score": round(self.request.score, 3),
                "snr": round(self.request.snr, 1),
                "in_audio": self.request.in_audio,
            }
        return event

    async def _send_audio(self, client: WyomingClient) -> None:
        await client.send(AudioStart(rate=SPEECH.rate, width=SPEECH.width, channels=SPEECH.channels).event())
        async for piece in self._asking.pieces():
            await client.send(AudioChunk(rate=RATE, width=WIDTH, channels=1, audio=piece).event())
            self.result.arrivals["sent"] = self._since_asked()
            self.result.sent_seconds += len(piece) / BYTES_PER_SECOND
        if self._asking.is_wanted:
            await client.send(AudioStop().event())

    async def _take(self, event: Event) -> bool:
        """Take one event of the server; True after the last one."""
        result = self.result
        if VoiceStopped.is_type(event.type):
            self._asking.enough()
        elif Transcript.is_type(event.type):
            self._asking.enough()
            self._arrived("transcript")
            result.transcript = read_text(event)
            self._happenings.tell(Kind.TRANSCRIPT, text=result.transcript)
        elif HandledChunk.is_type(event.type):
            self._arrived("text")
            result.answer = (result.answer + read_text(event))[:_ANSWER_CHARACTERS]
        elif Handled.is_type(event.type) or NotHandled.is_type(event.type):
            self._arrived("text")
            result.answer = read_text(event) or result.answer
            self._happenings.tell(Kind.ANSWER, text=result.answer)
            context = event.data.get("context")
            if isinstance(context, dict) and isinstance(context.get("conversation_id"), str):
                result.conversation_id = context["conversation_id"]
            result.listen = event.data.get("listen") is True
            if self._volume is not None:
                self._volume.follow(event.data.get("volume"))
        elif Error.is_type(event.type):
            self._keep_timeline(event)
            raise server_error(event)
        elif AudioStop.is_type(event.type):
            self._keep_timeline(event)
            return True
        else:
            await self._play(event)
        return False

    async def _play(self, event: Event) -> None:
        if AudioStart.is_type(event.type):
            if self._format is None:
                self._format = read_format(event)
                await self._sink.start(self._format)
            elif read_format(event) != self._format:
                raise ProtocolError("The server changed the audio format in the middle of its answer")
        elif AudioChunk.is_type(event.type) and event.payload:
            if self._format is None:
                raise ProtocolError("The server sent audio before it stated the format")
            if "audio" not in self.result.arrivals:
                self._arrived("audio")
                self._happenings.tell(Kind.SPEAKING)
            self.result.audio_seconds += len(event.payload) / self._format.bytes_per_second
            await self._sink.write(event.payload)

    def _arrived(self, what: str) -> None:
        self.result.arrivals.setdefault(what, self._since_asked())

    def _since_asked(self) -> float:
        return asyncio.get_running_loop().time() - self._asked

    def _keep_timeline(self, event: Event) -> None:
        timeline = event.data.get("timeline")
        if isinstance(timeline, dict):
            self.result.timeline = timeline


class ServerPartner:
    """Meadowlark's server as the satellite's partner (see `partner.py`)."""

    is_there = True
    """For all that is known: a turn finds out, and then it is waited for."""

    judges_wake_words = True

    def __init__(
        self, link: Link, sink: Sink, *, volume: Volume | None = None, happenings: Happenings | None = None
    ) -> None:
        self._link = link
        self._sink = sink
        self._volume = volume
        self._happenings = happenings or Happenings()

    async def find(self) -> None:
        await self._link.find()
        self._happenings.tell(Kind.CONNECTED)

    async def wait(self) -> None:
        self._happenings.tell(Kind.DISCONNECTED)
        await self._link.wait()
        self._happenings.tell(Kind.CONNECTED)

    def begin(self, request: TurnRequest) -> Turn:
        return Turn(self._link, self._sink, request, volume=self._volume, happenings=self._happenings)


async def tell(client: WyomingClient, event: Event) -> None:
    """Send what the server can do without."""
    with contextlib.suppress(OSError, MeadowlarkError):
        async with asyncio.timeout(_TELL_SECONDS):
            await client.send(event)


def server_error(event: Event) -> EngineError:
    """What an `error` event says."""
    error = EngineError(read_text(event) or "The server failed without saying why; its log says more")
    code = event.data.get("code")
    if isinstance(code, str):
        error.code = code
    return error


def read_text(event: Event, key: str = "text") -> str:
    """A text of an event, empty where it has none."""
    text = event.data.get(key)
    return text if isinstance(text, str) else ""


def read_format(event: Event) -> AudioFormat:
    """The audio format of an event; ProtocolError when it cannot be played."""
    values = [value for key in ("rate", "width", "channels") if isinstance(value := event.data.get(key), int)]
    if len(values) < 3:
        raise ProtocolError(f"The server's '{event.type}' has no rate, width and channels that are whole numbers")
    audio_format = AudioFormat(*values)
    try:
        audio_format.check()
    except AudioError as error:
        raise ProtocolError(f"The server's audio cannot be played: {error}") from None
    return audio_format
