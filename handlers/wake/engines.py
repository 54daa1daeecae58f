"""Both wake word engines as one: each word is heard by the engine that hears it better."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from handlers.errors import MissingExtraError, RequestError
from handlers.wake.scoring import ScoreDetector, Scorer
from handlers.wake.stage import Detector, WakeWord, plain_name, require_words

_LOGGER = logging.getLogger(__name__)

MICRO = "micro"
"""microWakeWord, as in 'micro/alexa'."""

OPEN = "open"
"""openWakeWord, as in 'open/alexa'."""

STOP_WORD = "stop"
"""The model that is made to silence an answer. It calls nobody, so it is no wake word unless somebody names it."""

_PACKAGES = {MICRO: "pymicro-wakeword", OPEN: "pyopen-wakeword"}


class OneEngine(Protocol):
    """What each of the two offers."""

    @property
    def words(self) -> Mapping[str, WakeWord]: ...

    @property
    def own(self) -> frozenset[str]:
        """Words from folders of models of one's own."""

    def scorer(self, names: Mapping[str, str]) -> Scorer:
        """Scores of words, `names` from installed to reported ones."""


@dataclass(frozen=True)
class Measured:
    """What was found out about a word."""

    engine: str
    """The better one, MICRO or OPEN."""
    reason: str
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By engine, where the model's own is not the best."""


MEASURED: Mapping[str, Measured] = {
    "alexa": Measured(
        MICRO,
        "of 329 people it hears 99.7 % at 0.7, with 3 false accepts in 2.4 hours; openWakeWord 98.2 % at its 0.5. Its"
        " own 0.9 hears 97 %, and in a noisy kitchen one word in five less",
        {MICRO: 0.7},
    ),
    "hey_jarvis": Measured(
        MICRO,
        "of 384 people who say 'jarvis' alone 13 wake it, and 202 openWakeWord; both take 'hey chatterbox' for it (21"
        " and 10 of 56). Its own 0.97 misses 7 of 40 words of synthetic speech, 0.9 misses 1",
        {MICRO: 0.9},
    ),
    "hey_mycroft": Measured(
        OPEN,
        "microWakeWord takes 19 of 3,690 other recordings for it ('alexa', 'hey savant'), openWakeWord none of 2,142",
    ),
    "okay_nabu": Measured(
        OPEN,
        "microWakeWord takes 43 of 3,690 other recordings for it (40 of them 'athena'), openWakeWord none of 2,142;"
        " both hear it in synthetic speech, microWakeWord also where somebody pauses after 'okay'",
    ),
    "hey_rhasspy": Measured(OPEN, "microWakeWord has no model of it"),
}
"""The engine for each word, from people's recordings of 13 words and phrases in quiet rooms: Picovoice's
wake-word-benchmark and Mycroft's community data, 2.6 hours. bench/wake.py measures the same on recordings of yours."""


class WakeEngines:
    """The words of one or both engines. 'alexa' is heard by the better one, 'micro/alexa' and 'open/alexa' name one."""

    def __init__(self, engines: Mapping[str, OneEngine]) -> None:
        self.engines = engines
        """By MICRO or OPEN, those that are there."""
        self._usual = {
            name: self._better(name) for name in sorted({name for one in engines.values() for name in one.words})
        }

    @property
    def words(self) -> Mapping[str, WakeWord]:
        """All but the stop word, which a name still finds."""
        return {name: self.engines[engine].words[name] for name, engine in self._usual.items() if name != STOP_WORD}

    @property
    def has_stop_word(self) -> bool:
        """Whether the model that is made for it is installed."""
        return STOP_WORD in self._usual

    def engine_of(self, name: str) -> str:
        """MICRO or OPEN, for an installed word. Unknown ones: RequestError."""
        require_words([name], self._usual)
        engine, slash, word = name.rpartition("/")
        if not slash:
            return self._usual[word]
        having = [known for known, one in self.engines.items() if word in one.words]
        if engine not in having:
            raise RequestError(
                "unknown-wake-word",
                f"No wake word '{name}': there is {' and '.join(f'{known}/{word}' for known in sorted(having))}",
            )
        return engine

    def word(self, name: str) -> WakeWord:
        engine, plain = self.engine_of(name), plain_name(name)
        word = self.engines[engine].words[plain]
        if plain in MEASURED and plain not in self.engines[engine].own:
            threshold = MEASURED[plain].thresholds.get(engine, word.threshold)
            return WakeWord(word.name, word.phrase, word.languages, threshold)
        return word

    def detector(self, thresholds: Mapping[str, float], refractory_seconds: float = 2.0) -> Detector:
        wanted: dict[str, dict[str, str]] = {}
        by_model: dict[str, float] = {}
        for name, threshold in thresholds.items():
            engine, plain = self.engine_of(name), plain_name(name)
            model = f"{engine}/{plain}"
            wanted.setdefault(engine, {})[plain] = model
            by_model[model] = threshold
        scorers = [self.engines[engine].scorer(names) for engine, names in wanted.items()]
        return ScoreDetector(scorers, by_model, refractory_seconds)

    def _better(self, name: str) -> str:
        """A model of one's own is meant before one of a package; else what was measured; microWakeWord costs less."""
        having = [engine for engine in (MICRO, OPEN) if engine in self.engines and name in self.engines[engine].words]
        own = [engine for engine in having if name in self.engines[engine].own]
        if own:
            return own[0]
        if name in MEASURED and MEASURED[name].engine in having:
            return MEASURED[name].engine
        return having[0]


def open_engines(*folders: Path | None) -> WakeEngines:
    """The engines whose packages are installed, with the words of folders, of which a later one comes first.

    Blocking. MissingExtraError without any package.
    """
    engines: dict[str, OneEngine] = {}
    missing: dict[str, MissingExtraError] = {}
    opening: Mapping[str, Callable[..., OneEngine]] = {MICRO: _open_micro, OPEN: _open_open}
    for name, opened in opening.items():
        try:
            engines[name] = opened(*folders)
        except MissingExtraError as error:
            missing[name] = error
    if not engines:
        raise missing[MICRO]
    found = WakeEngines(engines)
    for name in missing:
        _LOGGER.info("Without the package %s the wake words are %s", _PACKAGES[name], ", ".join(found.words))
    return found


def _open_micro(*folders: Path | None) -> OneEngine:
    from handlers.wake.microwakeword import MicroWakeWordEngine  # imports the engine's package

    return MicroWakeWordEngine(*folders)


def _open_open(*folders: Path | None) -> OneEngine:
    from handlers.wake.openwakeword import OpenWakeWordEngine  # imports the engine's package

    return OpenWakeWordEngine(*folders)
