"""What of an answer has been heard: the conversation keeps no more of it when it is interrupted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_ROUNDING = 0.05
"""Two chunks of audio: a satellite counts what left its buffer, a server what it made."""


@dataclass
class Playback:
    """One answer's sentences and how long each sounds. Filled while the answer is spoken."""

    sentences: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    """Seconds from the beginning of the audio to the end of each sentence."""
    began: float | None = None
    """When the first audio left, on the monotonic clock; it cannot have been heard earlier."""
    complete: bool = False
    """Whether all of the answer has left."""
    aside: str = ""
    """A first sentence that only filled the time: heard, but no part of the answer."""
    reported: float | None = None
    """Seconds that the satellite says it has played; it knows better than the clock."""

    def sentence(self, text: str) -> None:
        """The audio that follows is this sentence's."""
        self.ends.append(self.seconds)
        self.sentences.append(text)

    def sounds(self, seconds: float) -> None:
        """Add audio to the last sentence."""
        self.ends[-1] += seconds

    def begin(self) -> None:
        """The first audio leaves."""
        if self.began is None:
            self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Length of all audio so far."""
        return self.ends[-1] if self.ends else 0.0

    @property
    def possible_seconds(self) -> float:
        """The most that can have been heard by now."""
        if self.reported is not None:
            return min(self.seconds, self.reported)
        return 0.0 if self.began is None else min(self.seconds, time.monotonic() - self.began)

    def heard(self, seconds: float) -> str:
        """The sentences that were heard whole when `seconds` of the audio had been played."""
        heard = [text for text, end in zip(self.sentences, self.ends, strict=True) if end <= seconds + _ROUNDING]
        return " ".join(heard[1:] if self.aside and heard[:1] == [self.aside] else heard)
