"""What the microphone hears without what the loudspeaker plays, and, where it is wanted, without noise.

The loudspeaker's audio comes by `reference`, with the time at which it is heard. It is kept on a line of samples of the
microphone's own clock and taken out of the sound that was captured then (`echo.py`); by how much that time is wrong is
found while an answer plays. Noise, gain and rumble are left to WebRTC's audio processing in the `livekit` wheel, which
is imported only here and only when it is asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from pydantic import Field

from handlers.audio import BYTES_PER_SECOND, RATE, WIDTH, AudioFormat, Converter, from_float, to_float
from handlers.settings import Section
from satellite.echo import BLOCK, DelayFinder, EchoFilter, Samples

_LOGGER = logging.getLogger(__name__)

_FRAME_BYTES = BLOCK * WIDTH
"""10 ms at a time; WebRTC takes neither more nor less."""

_WANTED = int(0.02 * RATE)
_NEAR_ENOUGH = int(0.08 * RATE)
"""Samples by which the echo is to be behind its reference: it must not come before, and as much of the room's answer
to it must fit into the filter."""

_MOVED = int(0.001 * RATE)
"""Samples by which the delay may drift; after a jump, as when the speaker ran dry, what was learned is wrong."""

_TOGETHER = (-0.002, 0.03)
"""What is heard so many seconds before or after the end of what was written before follows it without a gap: the
speaker had not quite run dry. An answer that follows one that was cut off is heard earlier."""

_TAIL_SECONDS = 1.0
"""A room and a sound server go on sounding after the last word; then there is nothing to cancel."""

_LONGEST_SECONDS = 30.0
"""Of reference kept, far more than any sound system takes in advance; the oldest is dropped."""

_CLOCK_SECONDS = 2.0
"""Audio comes late, never early: the earliest piece of this time says how the microphone's clock stands."""


class FrontEndSettings(Section):
    """What is done to the microphone's sound before anything listens to it. Only the first needs no `livekit`."""

    echo_cancellation: bool = True
    """Take away what this satellite's own speaker plays, so that it is heard while it speaks."""

    noise_suppression: bool = False
    """Take away steady noise. Off: wake words were heard as well without, and commands now better, now worse."""

    gain_control: bool = False
    """Make quiet voices louder. Off: wake words were heard as well without, and commands nearly so."""

    high_pass: bool = False
    """Take away rumble below 100 Hz. Off, because nobody listens there."""

    delay_ms: int = Field(0, ge=0, le=500)
    """By how much the echo is behind what is played, where it is known; else the first answer tells it."""


class FrontEnd(Protocol):
    """Stands between the ears and whatever listens. Not for several threads."""

    def process(self, pcm: bytes) -> bytes:
        """The next internal audio of the microphone, of any length; as much of it as fills frames comes back."""

    def reference(self, pcm: bytes, audio_format: AudioFormat, at: float) -> None:
        """What the speaker was given, and when its beginning is heard on time.monotonic(). A sink's tap."""

    def reset(self) -> None:
        """Forget the room: a device was opened anew."""


def open_front_end(settings: FrontEndSettings) -> FrontEnd:
    """The front end; a plain pass-through where nothing is wanted. That livekit is missing is logged."""
    processing = None
    if settings.noise_suppression or settings.gain_control or settings.high_pass:
        try:
            processing = WebRtc(settings)
        except ImportError:
            _LOGGER.warning(
                "Noise suppression, gain control and the high-pass filter are off, because livekit is not installed "
                "(pip install 'meadowlark[echo]'; there are no wheels for 32-bit systems)"
            )
    if processing is None and not settings.echo_cancellation:
        return PassThrough()
    return Processing(settings, processing)


class PassThrough:
    """No front end."""

    def process(self, pcm: bytes) -> bytes:
        return pcm

    def reference(self, pcm: bytes, audio_format: AudioFormat, at: float) -> None:
        """Nobody needs it."""

    def reset(self) -> None:
        """Nothing is kept."""


class Processing:
    """Takes the echo away, and then what WebRTC's processing is wanted for."""

    def __init__(
        self, settings: FrontEndSettings, rest: WebRtc | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cancels_echo = settings.echo_cancellation
        self._rest = rest
        self._clock = clock
        self._shift = settings.delay_ms * RATE // 1000
        self._knows_delay = False
        self.reset()

    def reset(self) -> None:
        self._pending = bytearray()
        self._taken = 0  # samples that were processed
        self._position = _Position()
        self._played = _Reference()
        self._echo: _Answer | None = None

    def process(self, pcm: bytes) -> bytes:
        self._pending += pcm
        self._position.mark(self._clock(), self._taken + len(self._pending) // WIDTH)
        whole = len(self._pending) - len(self._pending) % _FRAME_BYTES
        frames = bytes(self._pending[:whole])
        del self._pending[:whole]
        return b"".join(self._process(frames[at : at + _FRAME_BYTES]) for at in range(0, whole, _FRAME_BYTES))

    def reference(self, pcm: bytes, audio_format: AudioFormat, at: float) -> None:
        if self._cancels_echo and self._position.known:
            sample = max(self._taken - self._shift, self._position.sample(at))
            self._played.add(pcm, audio_format, at, sample)

    def _process(self, frame: bytes) -> bytes:
        played, begins = self._played.take(self._taken - self._shift, BLOCK)
        self._taken += BLOCK
        if played is None:
            self._echo = None
        else:
            if begins or self._echo is None:
                self._echo = _Answer()
            frame = self._cancel(self._echo, to_float(frame), to_float(played))
        return self._rest.process(frame) if self._rest is not None else frame

    def _cancel(self, answer: _Answer, near: Samples, far: Samples) -> bytes:
        found = answer.finder.listen(near, far)
        if found is not None:
            # A single answer may be wrong, when somebody speaks; where nothing is known yet it is better than nothing.
            sure = not self._knows_delay or (answer.found is not None and abs(found - answer.found) <= _MOVED)
            answer.found = found
            if sure:
                self._follow(answer, found)
        return from_float(answer.filter.cancel(near, far))

    def _follow(self, answer: _Answer, delay: int) -> None:
        """The echo is so many samples behind its reference."""
        self._knows_delay = True
        if not 0 <= delay <= _NEAR_ENOUGH:
            self._shift += delay - _WANTED
            answer.found = delay = _WANTED
            answer.filter = EchoFilter()
            _LOGGER.debug("The echo is %.0f ms behind what is played", 1000 * (self._shift + delay) / RATE)
        elif answer.delay is not None and abs(delay - answer.delay) > _MOVED:
            answer.filter = EchoFilter()
        answer.delay = delay


class WebRtc:
    """WebRTC's audio processing without its echo canceller. Raises ImportError."""

    def __init__(self, settings: FrontEndSettings) -> None:
        from livekit.rtc.apm import AudioProcessingModule
        from livekit.rtc.audio_frame import AudioFrame

        self._frame = AudioFrame
        self._processing = AudioProcessingModule(
            noise_suppression=settings.noise_suppression,
            auto_gain_control=settings.gain_control,
            high_pass_filter=settings.high_pass,
        )

    def process(self, pcm: bytes) -> bytes:
        """10 ms of internal audio, cleaned."""
        frame = self._frame(bytearray(pcm), RATE, 1, len(pcm) // WIDTH)
        self._processing.process_stream(frame)
        return bytes(frame.data.cast("b"))


class _Answer:
    """Echo cancellation for as long as one answer sounds."""

    def __init__(self) -> None:
        self.filter = EchoFilter()
        self.finder = DelayFinder()
        self.delay: int | None = None
        """Samples by which the echo is behind its reference; None as long as that is not sure."""
        self.found: int | None = None
        """The same as it was found last."""


class _Position:
    """Which sample of the microphone's stream is heard at a time, told by when its pieces come."""

    def __init__(self) -> None:
        self._offset: float | None = None  # the stream's beginning on the clock, as the earliest pieces say
        self._newer: float | None = None
        self._changes = 0.0

    @property
    def known(self) -> bool:
        return self._offset is not None

    def mark(self, now: float, samples: int) -> None:
        """So many samples have come by now."""
        offset = now - samples / RATE
        if self._offset is None or now >= self._changes:
            self._offset = offset if self._newer is None else min(self._newer, offset)
            self._newer, self._changes = None, now + _CLOCK_SECONDS
        self._offset = min(self._offset, offset)
        self._newer = offset if self._newer is None else min(self._newer, offset)

    def sample(self, at: float) -> int:
        return round((at - (self._offset or 0.0)) * RATE)


class _Reference:
    """The speaker's sound on the line of the microphone's samples."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._begin = -int(_TAIL_SECONDS * RATE)  # sample at which the line begins
        self._started = self._begin  # sample at which something last began to play
        self._until = 0.0  # when the end of what was written is heard
        self._format: AudioFormat | None = None
        self._converter = Converter(AudioFormat())

    def add(self, pcm: bytes, audio_format: AudioFormat, at: float, sample: int) -> None:
        """Sound and when its beginning is heard; that is at `sample`, where it does not follow without a gap."""
        soonest, latest = _TOGETHER
        if audio_format != self._format or not soonest <= at - self._until <= latest:
            self._start(audio_format, sample)
            self._until = at
        self._line += self._converter.convert(pcm)
        self._until += len(pcm) / audio_format.bytes_per_second
        if len(self._line) > _LONGEST_SECONDS * BYTES_PER_SECOND:
            self._drop(len(self._line) // WIDTH // 2)

    def take(self, sample: int, count: int) -> tuple[bytes | None, bool]:
        """The sound of so many samples, None where nothing plays; and whether something begins to play in them."""
        if sample >= self._begin + len(self._line) // WIDTH + _TAIL_SECONDS * RATE:
            self._line.clear()
            return None, False
        self._drop(sample - self._begin)
        before = min(count, max(0, self._begin - sample))
        sound = bytes(before * WIDTH) + bytes(self._line[: (count - before) * WIDTH])
        begins = sample <= self._started < sample + count
        return sound.ljust(count * WIDTH, b"\0"), begins

    def _start(self, audio_format: AudioFormat, sample: int) -> None:
        """What was to be heard later was not; what lies between is silence."""
        if not self._line:
            self._begin = sample
        kept = max(0, sample - self._begin) * WIDTH
        del self._line[kept:]
        self._line += bytes(kept - len(self._line))
        self._begin = min(self._begin, sample)
        self._started = sample
        self._format, self._converter = audio_format, Converter(audio_format)

    def _drop(self, samples: int) -> None:
        if samples > 0:
            dropped = min(samples * WIDTH, len(self._line))
            del self._line[:dropped]
            self._begin += dropped // WIDTH
