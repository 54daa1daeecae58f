"""Listens to one audio stream: finds the utterance in it and keeps its audio."""

from __future__ import annotations

from handlers.asr.endpoint import Change, Endpointer
from handlers.asr.silero import FRAME_BYTES, SileroStream
from handlers.asr.stage import EndpointSettings
from handlers.audio import BYTES_PER_SECOND

_BYTES_PER_MS = BYTES_PER_SECOND // 1000


class Listener:
    """Voice activity, endpointing and the utterance's audio.

    The utterance is a fixed cut: from `before_ms` before the first speech frame to `after_ms` after the last one. So
    the audio at a pause and the audio at the end that follows it without more speech are the same bytes, and a
    transcript of the first is the transcript of the second.
    """

    def __init__(self, vad: SileroStream, settings: EndpointSettings) -> None:
        self._vad = vad
        self._settings = settings
        self._endpointer = Endpointer(settings)
        self._audio = bytearray()
        self._dropped = 0
        self._framed = 0

    @property
    def heard(self) -> bool:
        """Whether there was any speech."""
        return self._endpointer.first_speech is not None

    @property
    def silence_seconds(self) -> float:
        """Silence since the last speech frame, in audio time."""
        last = self._endpointer.last_speech
        return 0.0 if last is None else (self._framed - (last + 1) * FRAME_BYTES) / BYTES_PER_SECOND

    @property
    def speech_ms(self) -> int:
        """Speech so far, without pauses."""
        return self._endpointer.speech_ms

    @property
    def seconds(self) -> float:
        """All audio so far, in seconds."""
        return (self._dropped + len(self._audio)) / BYTES_PER_SECOND

    def feed(self, pcm: bytes) -> list[Change]:
        """Take the next audio, of any length; returns what changed, in order."""
        self._audio += pcm
        changes = []
        while self._framed + FRAME_BYTES <= self._dropped + len(self._audio):
            start = self._framed - self._dropped
            self._framed += FRAME_BYTES
            change = self._endpointer.process(self._vad.probability(bytes(self._audio[start : start + FRAME_BYTES])))
            if change is not None:
                changes.append(change)
        if not self.heard:
            self._forget()
        return changes

    @property
    def silence_ms(self) -> int:
        """Silence since the last speech frame, in whole frames."""
        return self._endpointer.silence_ms

    def set_patience(self, milliseconds: int) -> None:
        """How much silence ends the utterance, from now on and until somebody speaks again."""
        self._endpointer.set_patience(milliseconds)

    def end_now(self) -> None:
        """The silence was long enough for what is known now."""
        self._endpointer.end_now()

    def reopen(self) -> None:
        """Go on listening after an end that was not one."""
        self._endpointer.reopen()

    def recent(self, seconds: float) -> bytes:
        """The last audio with its silence, as it came; of the utterance only, at most `seconds` of it."""
        first = self._endpointer.first_speech
        if first is None:
            return b""
        start = first * FRAME_BYTES - self._settings.before_ms * _BYTES_PER_MS
        longest = self._framed - int(seconds * BYTES_PER_SECOND)
        return bytes(self._audio[max(0, max(start, longest) - self._dropped) : self._framed - self._dropped])

    def utterance(self) -> bytes:
        """The audio of the utterance so far; empty when there was no speech."""
        first, last = self._endpointer.first_speech, self._endpointer.last_speech
        if first is None or last is None:
            return b""
        start = first * FRAME_BYTES - self._settings.before_ms * _BYTES_PER_MS - self._dropped
        after_ms = min(self._settings.after_ms, self._settings.pause_ms)  # more is not there yet at a pause
        end = (last + 1) * FRAME_BYTES + after_ms * _BYTES_PER_MS - self._dropped
        return bytes(self._audio[max(0, start) : max(0, end)])

    def _forget(self) -> None:
        """Before speech, keep only what may belong to its beginning."""
        keep = self._settings.before_ms * _BYTES_PER_MS + self._settings.start_ms * _BYTES_PER_MS + FRAME_BYTES
        surplus = len(self._audio) - keep
        if surplus > 0:
            del self._audio[:surplus]
            self._dropped += surplus
