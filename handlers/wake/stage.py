"""What the wake stage is: audio in, detections out."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from handlers.errors import RequestError
from handlers.settings import Section


class WakeSettings(Section):
    """Wake words offered by the server."""

    threshold: float | None = Field(None, gt=0, lt=1)
    """Score from which a wake word counts as heard. Unset, it is what was measured to be best for each word."""

    thresholds: dict[str, float] = Field(default_factory=dict)
    """Thresholds of single words, by name, where the usual one is wrong in your rooms: {okay_nabu: 0.6}."""

    sure_score: float = Field(0.95, ge=0, le=1)
    """Below this score of a satellite the wake word is listened to again, where the satellite sends it, and if it is
    none, nobody has called; 0 never checks. No lower than the satellites' own `wake_sure_score`."""

    refractory_seconds: float = Field(2.0, ge=0, le=30)
    """After a detection the same word is not heard again for this long: one utterance scores high on many frames."""


@dataclass(frozen=True)
class WakeWord:
    """A phrase that an engine can hear."""

    name: str
    phrase: str
    """How a person says it."""
    languages: tuple[str, ...]
    threshold: float = 0.5
    """Score, 0 to 1, from which it usually counts as heard."""


@dataclass(frozen=True)
class Detection:
    """A wake word was heard."""

    name: str
    """Without the engine's."""
    score: float
    """0 to 1."""
    seconds: float
    """Position in the detector's audio at which the score was reached, in seconds since its start or reset."""


class Detector(Protocol):
    """Listens to one stream of internal audio. Blocking: call it from a worker, one call at a time.

    Its native memory goes with the last reference, which a worker may hold longer than the stream's owner.
    """

    def process(self, pcm: bytes) -> list[Detection]:
        """Take the next audio, of any length."""

    def reset(self) -> None:
        """Forget all audio, for a new stream. Some 5 ms with microWakeWord, 100 ms with openWakeWord."""


class WakeEngine(Protocol):
    """Knows wake words and makes detectors for them. A name may say the engine, where there are two: 'micro/alexa'."""

    @property
    def words(self) -> Mapping[str, WakeWord]:
        """All installed words by name, without an engine's."""

    def word(self, name: str) -> WakeWord:
        """What is meant by a name. Unknown ones: RequestError."""

    def detector(self, thresholds: Mapping[str, float], refractory_seconds: float) -> Detector:
        """A detector for these words, each with its threshold. Blocking, some 100 ms. Unknown words: RequestError."""


def plain_name(name: str) -> str:
    """The word without its engine: 'micro/alexa' and 'open/alexa' are both 'alexa'."""
    return name.rpartition("/")[2]


def phrase_of(name: str) -> str:
    """'okay_nabu' is said 'okay nabu'; the suffix of a version as in 'hey_jarvis_v0.1' is not said."""
    words = [part for part in plain_name(name).replace("-", "_").split("_") if part]
    return " ".join(part for part in words if not (part[:1] == "v" and part[1:2].isdigit()))


def require_words(names: Iterable[str], known: Collection[str]) -> None:
    """RequestError for a wake word that is not there; it names the nearest one and all that are."""
    for name in names:
        if plain_name(name) not in known:
            near = difflib.get_close_matches(plain_name(name), known, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise RequestError(
                "unknown-wake-word", f"No wake word '{name}': {hint}known are {', '.join(sorted(known))}"
            )


def choose_words(engine: WakeEngine, names: Sequence[str], settings: WakeSettings) -> dict[str, float]:
    """Names (all installed words if none are given) with their thresholds."""
    usual = {name: settings.threshold or engine.word(name).threshold for name in names or list(engine.words)}
    return {name: settings.thresholds.get(name, threshold) for name, threshold in usual.items()}
