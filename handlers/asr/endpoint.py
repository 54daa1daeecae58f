"""Decides from speech probabilities when an utterance begins, pauses and ends. Pure: no audio, no clock."""

from __future__ import annotations

from enum import Enum, auto

from handlers.asr.silero import FRAME_MS
from handlers.asr.stage import EndpointSettings


class Change(Enum):
    """What a frame changed."""

    STARTED = auto()
    """Speech has begun, `start_ms` ago."""
    PAUSED = auto()
    """Silence for `pause_ms`: perhaps the end."""
    RESUMED = auto()
    """Speech again after a pause."""
    ENDED = auto()
    """Silence for as long as there is patience: the end."""
    TOO_LONG = auto()
    """Speech for `longest_ms`."""
    NOTHING = auto()
    """No speech for `nothing_ms` from the start."""


class Endpointer:
    """A state machine over frames of FRAME_MS.

            start_ms of speech            pause_ms of silence           patience of silence
    waiting ------------------> speaking <-------------------> paused -----------------------> (ended)
       | nothing_ms                       one frame of speech

    Patience is `patience_ms` until somebody who knows what was said sets another for the pause that is going on. After
    ENDED, TOO_LONG or NOTHING it says nothing more until `reopen`.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self._frames = 0
        self._speech_run = 0
        self._speech_frames = 0
        self._silence_run = 0
        self._patience_ms = settings.patience_ms
        self._ended = False
        self.first_speech: int | None = None
        """Index of the first frame of the utterance."""
        self.last_speech: int | None = None
        """Index of the last frame with speech."""

    @property
    def silence_ms(self) -> int:
        """Silence since the last frame with speech; 0 before the first."""
        return self._silence_run * FRAME_MS

    @property
    def speech_ms(self) -> int:
        """Speech of the utterance so far, without its pauses."""
        return self._speech_frames * FRAME_MS

    @property
    def paused(self) -> bool:
        """Whether a pause is going on, so that a patience can be set for it."""
        return not self._ended and self.first_speech is not None and self.silence_ms >= self._settings.pause_ms

    def process(self, probability: float) -> Change | None:
        """Take the speech probability of the next frame."""
        index = self._frames
        self._frames += 1
        if self.first_speech is None:
            return self._wait(index, probability)
        speech = probability >= self._settings.silence_threshold
        paused = self.silence_ms >= self._settings.pause_ms
        if speech:
            self._silence_run = 0
            self._speech_frames += 1
            self._patience_ms = self._settings.patience_ms
            self.last_speech = index
        else:
            self._silence_run += 1
        if self._ended:
            return None
        if (index - self.first_speech) * FRAME_MS >= self._settings.longest_ms:
            self._ended = True
            return Change.TOO_LONG
        if speech:
            return Change.RESUMED if paused else None
        if self.silence_ms >= self._patience_ms:
            self._ended = True
            return Change.ENDED
        if not paused and self.silence_ms >= self._settings.pause_ms:
            return Change.PAUSED
        return None

    def set_patience(self, milliseconds: int) -> None:
        """How much silence ends the utterance, all of the pause counted. Forgotten when speech goes on.

        Does nothing without a pause. Where there has been so much silence already, `end_now` saves a frame.
        """
        if self.paused:
            self._patience_ms = milliseconds

    def end_now(self) -> None:
        """End the utterance in its pause; no ENDED will follow. Does nothing without a pause."""
        if self.paused:
            self._ended = True

    def reopen(self) -> None:
        """Go on listening after an end that was not one."""
        self._ended = False
        self._silence_run = 0
        self._patience_ms = self._settings.patience_ms

    def _wait(self, index: int, probability: float) -> Change | None:
        self._speech_run = self._speech_run + 1 if probability >= self._settings.speech_threshold else 0
        if self._speech_run * FRAME_MS >= self._settings.start_ms:
            self.first_speech = index - self._speech_run + 1
            self.last_speech = index
            self._speech_frames = self._speech_run
            return Change.STARTED
        if not self._ended and (index + 1) * FRAME_MS >= self._settings.nothing_ms:
            self._ended = True
            return Change.NOTHING
        return None
