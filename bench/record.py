"""What is kept of one turn, and how a turn is run so that it ends in time whatever the server does."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Protocol

from wyoming.audio import AudioChunk
from wyoming.event import Event

from bench.clips import Clip
from bench.peer import format_of
from handlers.audio import AudioFormat
from handlers.errors import MeadowlarkError


@dataclass
class TurnRecord:
    """One turn. All times are milliseconds from the labelled end of speech, on the client's clock."""

    target: str
    """'server', 'websocket' or 'chain'."""
    clip: str
    round: int
    reference: str | None = None
    transcript: str = ""
    answer: str = ""
    ms: dict[str, float] = field(default_factory=dict)
    """When `transcript`, `first_text`, `first_audio`, `last_audio` and `voice_stopped` came."""
    timeline: dict[str, object] = field(default_factory=dict)
    """The server's own, as it came: turn_id, route, outcome, marks_ms since the server began the turn."""
    server_ms: dict[str, float] = field(default_factory=dict)
    """The timeline's marks, moved to the labelled end of speech."""
    audio_seconds: float = 0.0
    """Length of the spoken answer."""
    late_ms: float | None = None
    """How late the client's latest chunk of audio was, up to the transcript."""
    round_trip_ms: float | None = None
    """Of the WebSocket: from `ping` to `pong`, just before the turn."""
    cut_off: bool = False
    """The server took the question for finished while it was still being spoken."""
    cpu_seconds: float | None = None
    """Spent by the server's processes during the turn."""
    error: str | None = None
    error_code: str | None = None

    def saw(self, what: str, end_of_speech: float) -> None:
        """Something came now; only the first time counts."""
        self.ms.setdefault(what, _round((time.monotonic() - end_of_speech) * 1000))

    def heard(self, event: Event, end_of_speech: float) -> bool:
        """Take an `audio-chunk` of the answer; False when there is no audio in it."""
        if not AudioChunk.is_type(event.type) or not event.payload:
            return False
        self.heard_audio(event.payload, format_of(event), end_of_speech)
        return True

    def heard_audio(self, pcm: bytes, audio_format: AudioFormat, end_of_speech: float) -> None:
        """A piece of the answer's audio came now."""
        self.saw("first_audio", end_of_speech)
        self.ms.pop("last_audio", None)
        self.saw("last_audio", end_of_speech)
        self.audio_seconds += len(pcm) / audio_format.bytes_per_second

    def sent_late(self, seconds: float) -> None:
        """How late the audio has been so far; only the first time counts."""
        if self.late_ms is None:
            self.late_ms = _round(seconds * 1000)

    def hung_up(self) -> None:
        """The client has closed the connection at the first audio: what it would have heard last is not known."""
        self.ms.pop("last_audio", None)
        self.audio_seconds = 0.0

    def place_timeline(self, began: float, end_of_speech: float) -> None:
        """Move the server's marks to the client's clock. `began` is when the turn was asked for, so that the marks come
        out early by the time that the request was on its way."""
        marks = self.timeline.get("marks_ms")
        if isinstance(marks, dict):
            offset = (began - end_of_speech) * 1000
            self.server_ms = {
                str(mark): _round(offset + at)
                for mark, at in marks.items()
                if isinstance(at, (int, float)) and math.isfinite(at)
            }

    def judge(self) -> None:
        """Find out whether the speaker was cut off: the end was decided, or the transcript came, before the label."""
        decided = (self.ms.get("transcript"), self.ms.get("voice_stopped"), self.server_ms.get("endpoint"))
        self.cut_off = any(at is not None and at < 0 for at in decided)

    def fail(self, code: str, reason: str) -> None:
        self.error_code, self.error = code, reason

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Target(Protocol):
    """Something that answers spoken questions."""

    @property
    def name(self) -> str:
        """'server', 'websocket' or 'chain'."""

    async def turn(self, clip: Clip, record: TurnRecord) -> None:
        """Speak a clip in real time and write down what comes. Raises MeadowlarkError or OSError."""


async def take_turn(target: Target, clip: Clip, round_number: int, timeout: float) -> TurnRecord:
    """One turn, whose answer must be whole `timeout` s after the clip; what goes wrong is in the record."""
    record = TurnRecord(target.name, clip.name, round_number, clip.reference)
    try:
        async with asyncio.timeout(clip.end_of_speech + timeout) as deadline:
            await target.turn(clip, record)
        if "first_audio" not in record.ms:
            record.fail("no-audio", "The answer had no audio")
    except MeadowlarkError as error:
        record.fail(error.code, str(error))
    except OSError as error:  # TimeoutError is one
        if deadline.expired():
            record.fail("timeout", f"The answer was not whole {timeout:g} s after the question")
        else:
            record.fail("connection", f"The connection was lost ({error.strerror or error})")
    record.judge()
    return record


def _round(milliseconds: float) -> float:
    return round(milliseconds, 1)
