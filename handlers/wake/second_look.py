"""A second look at a wake word of which a satellite was not sure: both engines hear it, or Whisper finds it likely.

Measured on 121 calls ("alexa" by 80 people, most in noise of 0 to 10 dB, and 41 by Piper) and 38 times that one engine
was wrong ("hey chatterbox", "athena", "Electra"): 119 calls are kept, and 24 of the others are found out. The other
engine alone keeps 115 where it finds out 10. The score of the first tells nothing: 40 % of either kind have 0.95.
Transcripts do not do: Whisper base has "okay, now be" for "okay nabu", and with the phrase in its prompt "Hey Mycroft"
for "hey, my car".
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from handlers.audio import BYTES_PER_SECOND
from handlers.errors import RequestError
from handlers.wake.ending import MEMORY_SECONDS, MORE_SECONDS, since_wake_word
from handlers.wake.engines import MICRO, OPEN
from handlers.wake.stage import Detector, WakeEngine, plain_name

_SCORE = 0.6
"""What each engine must give the word: 107 of those calls have it, and 10 of the others."""

LIKELY = -5.5
"""Mean log probability of the phrase from which it was said, where an engine did not hear it. Calls in a quiet room
have -0.1 to -4.5, other words -4 to -10."""

_LONGEST_BYTES = 3 * BYTES_PER_SECOND
"""Audio within which the word comes: our satellite remembers 1.5 s, others may remember more."""

_MEMORY_BYTES = int(MEMORY_SECONDS * BYTES_PER_SECOND)
_MORE_BYTES = int(MORE_SECONDS * BYTES_PER_SECOND)

_ONCE = 3600.0
"""Refractory time of a detector whose first word is all that counts."""


class SecondLook:
    """Hears the audio of a turn from its beginning, until it is known whether the wake word is in it.

    Blocking: call it from a worker, one call at a time.
    """

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._waiting = list(detectors)
        self._audio = bytearray()
        self._noticed = 0

    @property
    def called(self) -> bool:
        """Whether every engine has heard the word."""
        return not self._waiting

    @property
    def audio(self) -> bytes:
        """All that was heard."""
        return bytes(self._audio)

    @property
    def is_over(self) -> bool:
        """Whether enough was heard: all of the word, or too much without it."""
        return len(self._audio) >= (self._noticed + _MORE_BYTES if self.called else _LONGEST_BYTES)

    @property
    def rest(self) -> bytes:
        """What was heard from where the word can be over; all of it, where no engine heard the word."""
        if not self._noticed:
            return self.audio
        end = self._noticed + _MORE_BYTES
        return since_wake_word(bytes(self._audio[max(0, end - _MEMORY_BYTES - _MORE_BYTES) : end])) + self._audio[end:]

    def process(self, pcm: bytes) -> None:
        """Take the next audio, of any length."""
        self._audio += pcm
        still = []
        for detector in self._waiting:
            heard = detector.process(pcm)
            if heard:
                self._noticed = max(self._noticed, round(heard[0].seconds * BYTES_PER_SECOND))
            else:
                still.append(detector)
        self._waiting = still


def second_look(engine: WakeEngine, name: str) -> SecondLook | None:
    """A look by every engine that knows the word; None where there is none. Blocking, some 0.2 s."""
    detectors = []
    for each in (MICRO, OPEN):
        with contextlib.suppress(RequestError):  # it does not know the word
            detectors.append(engine.detector({f"{each}/{plain_name(name)}": _SCORE}, _ONCE))
    return SecondLook(detectors) if detectors else None
