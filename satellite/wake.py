"""The local wake word, and the short memory of sound that keeps what was said in the same breath."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handlers.audio import BYTES_PER_SECOND, to_float
from handlers.errors import RequestError, SettingsError
from handlers.wake.ending import MEMORY_SECONDS, MORE_SECONDS, from_wake_word, since_wake_word
from handlers.wake.engines import OPEN, STOP_WORD, WakeEngines, open_engines
from handlers.wake.gate import Gate, open_voice
from handlers.wake.stage import Detector, WakeSettings, plain_name
from handlers.workers import Workers

_LOGGER = logging.getLogger(__name__)

NONE = "none"
"""Instead of a wake word: push to talk. Instead of a stop word: no stop word."""

AUTO = "auto"
"""Instead of a stop word: the model that is made for it, where it is installed."""

_DEFAULTS = WakeSettings()

_STEP_SECONDS = 0.02
_STEP_BYTES = int(_STEP_SECONDS * BYTES_PER_SECOND)

_FRAME_BYTES = int(0.08 * BYTES_PER_SECOND)
"""The engine scores every 80 ms, so the worker is called no more often."""

_NOISE_SHARE = 0.1
"""The quietest tenth of the memory is taken for the room's noise: there are gaps even in fluent speech."""

_SPEECH_SHARE = 0.3
"""The loudest part of the memory, 0.45 s, is taken for the word: the shortest one takes so long."""

_SNR_LIMIT = 60.0
"""Beyond it, digital silence would make any difference look large."""


@dataclass(frozen=True)
class Wake:
    """Why a turn begins."""

    name: str | None = None
    """The wake word, or None when the person pushed to talk."""
    score: float = 0.0
    memory: bytes = b""
    """The last sound up to this moment, with the wake word in it."""
    snr: float = 0.0
    """How far the word stands out of the room, in dB, estimated from the memory."""
    stops: bool = False
    """It is a stop word: what sounds is to be silent, and nothing begins."""


class WakeListener:
    """Hears wake words in pieces of internal audio, and `stops`, the names of stop words.

    A `gate` keeps from the detector what cannot be one.
    """

    def __init__(
        self, detector: Detector, words: Mapping[str, str], gate: Gate | None = None, stops: Collection[str] = ()
    ) -> None:
        self.words = words
        """How the wake words are said, by their names."""
        self._stops = stops
        self._detector = detector
        self._gate = gate
        self._workers = Workers("wake", threads=1)
        self._memory = PreRoll(MEMORY_SECONDS)
        self._frame = bytearray()

    @property
    def tells_speech(self) -> bool:
        """Whether `hears_speech` can ever be true."""
        return self._gate is not None and self._gate.tells_speech

    @property
    def hears_speech(self) -> bool:
        """Somebody speaks, as far as the gate can tell."""
        return self._gate is not None and self._gate.hears_speech

    async def hear(self, piece: bytes) -> Wake | None:
        """Take the next audio; the answer is a wake-up when a word was heard. Of two at once a wake word counts."""
        self._memory.add(piece)
        self._frame += piece if self._gate is None else self._gate.admit(piece)
        if len(self._frame) < _FRAME_BYTES:
            return None
        frame = bytes(self._frame)
        self._frame.clear()
        heard = await self._workers.run(lambda: self._detector.process(frame))
        if not heard:
            return None
        best = max(heard, key=lambda detection: (detection.name not in self._stops, detection.score))
        memory = self._memory.audio()
        return Wake(best.name, best.score, memory, signal_to_noise(memory), best.name in self._stops)

    async def reset(self) -> None:
        """Forget everything heard, before listening again."""
        self._memory.clear()
        self._frame.clear()
        if self._gate is not None:
            self._gate.reset()
        await self._workers.run(self._detector.reset)

    async def close(self) -> None:
        await self._workers.close()


class PreRoll:
    """The last seconds of internal audio."""

    def __init__(self, seconds: float) -> None:
        self._limit = int(seconds * BYTES_PER_SECOND)
        self._audio = bytearray()

    def add(self, pcm: bytes) -> None:
        self._audio += pcm
        del self._audio[: max(0, len(self._audio) - self._limit)]

    def audio(self) -> bytes:
        return bytes(self._audio)

    def clear(self) -> None:
        self._audio.clear()


class Opening:
    """The first audio of a turn: held back for a moment, until it can be told where the wake word ended.

    This costs no time, as the server catches up at once and answers only when the request is over. With `keep_word`
    nothing is held back, and the audio begins with the memory, silent up to the wake word: the server listens to the
    word again, and finds the end of it.
    """

    def __init__(self, wake: Wake, *, keep_word: bool = False) -> None:
        memory = from_wake_word(wake.memory) if keep_word else wake.memory
        self._held = bytearray(memory) if memory else None
        self._missing = 0 if keep_word else int(MORE_SECONDS * BYTES_PER_SECOND)
        self._keep_word = keep_word

    def add(self, piece: bytes) -> bytes:
        """Take the next audio; the answer is what can be sent now."""
        if self._held is None:
            return piece
        self._held += piece
        self._missing -= len(piece)
        return b"" if self._missing > 0 else self.rest()

    def rest(self) -> bytes:
        """All that is still held back, when there is no more audio."""
        held, self._held = bytes(self._held or b""), None
        return held if self._keep_word else since_wake_word(held)


def signal_to_noise(memory: bytes) -> float:
    """How many dB the word in a memory stands out of the room's noise: its loudest steps against its quietest ones."""
    steps = len(memory) // _STEP_BYTES
    if not steps:
        return 0.0
    power = np.sort(np.mean(to_float(memory[: steps * _STEP_BYTES]).reshape(steps, -1).astype(np.float64) ** 2, axis=1))
    noise = float(np.mean(power[: max(1, round(_NOISE_SHARE * steps))]))
    loud = float(np.mean(power[-max(1, round(_SPEECH_SHARE * steps)) :]))
    if loud <= noise:
        return 0.0
    ratio = (loud - noise) / max(noise, loud * 10 ** (-_SNR_LIMIT / 10))
    return float(np.clip(10 * np.log10(ratio), -_SNR_LIMIT, _SNR_LIMIT))


def named_words(wanted: Sequence[str]) -> list[str]:
    """The words as they are written, without the 'none' of push to talk."""
    return [word for word in wanted if not _is(NONE, word)]


async def open_wake_words(
    wanted: Sequence[str],
    *,
    stop_words: Sequence[str] = (AUTO,),
    folder: Path | None = None,
    installed: Path | None = None,
    refractory_seconds: float = _DEFAULTS.refractory_seconds,
    gate: bool = True,
    tell_speech: bool = False,
) -> WakeListener | None:
    """A listener for NAME or NAME:THRESHOLD each, or None for push to talk ('none').

    `stop_words` are written in the same way, or are 'auto' or 'none'. `folder` has models of one's own, `installed`
    those that were fetched, if any were. With `tell_speech` the gate knows speech even where that costs more than it
    saves. Raises SettingsError for a word or threshold that cannot be, MissingExtraError without an engine's package.
    """
    if _only(NONE, wanted, "wake words", "push to talk"):
        if not {NONE, AUTO}.issuperset(word.strip().lower() for word in stop_words):
            raise SettingsError("Push to talk hears no stop words: leave them out, or name a wake word")
        return None
    workers = Workers("wake-loading", threads=1)
    try:
        engine = await workers.run(lambda: _open(folder, installed))
        thresholds = choose(wanted, engine)
        stops = choose_stops(stop_words, engine, thresholds)
        detector = await workers.run(lambda: engine.detector({**thresholds, **stops}, refractory_seconds))
        opened = await workers.run(lambda: _gate_for([*thresholds, *stops], engine, tell_speech)) if gate else None
    finally:
        await workers.close()
    words = {plain_name(name): engine.word(name).phrase for name in thresholds}
    return WakeListener(detector, words, opened, {plain_name(name) for name in stops})


def _open(folder: Path | None, installed: Path | None) -> WakeEngines:
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"The folder {folder} for wake words is not there")
    return open_engines(installed, folder)


def _gate_for(names: Iterable[str], engine: WakeEngines, tell_speech: bool) -> Gate:
    """Silero costs a third of openWakeWord, and saves all of it while what is loud is no speech. Before microWakeWord,
    which costs no more than Silero, it saves nothing."""
    dear = any(engine.engine_of(name) == OPEN for name in names)
    return Gate(open_voice() if dear or tell_speech else None)


def choose(wanted: Sequence[str], engine: WakeEngines) -> dict[str, float]:
    """Installed names with their thresholds. A word may be written as it is said: 'okay nabu' for 'okay_nabu'.

    'micro/okay_nabu' and 'open/okay_nabu' are the same word by one engine.
    """
    thresholds = _chosen(wanted, engine, "wake word", "none for push to talk")
    if not thresholds:
        raise SettingsError("No wake word is set: name one, or 'none' for push to talk")
    return thresholds


def choose_stops(wanted: Sequence[str], engine: WakeEngines, wake_words: Iterable[str]) -> dict[str, float]:
    """The same for stop words, which may be none; a word cannot be one and a wake word as well."""
    if _only(NONE, wanted, "stop words", "no stop word"):
        return {}
    if _only(AUTO, wanted, "stop words", "the stop word that is installed"):
        taken = STOP_WORD in (plain_name(name) for name in wake_words)
        wanted = [STOP_WORD] if engine.has_stop_word and not taken else []
        _LOGGER.debug("Stop words: %s", ", ".join(wanted) or f"none (meadowlark-models pull {STOP_WORD})")
    pull = f"none for no stop word; `meadowlark-models pull {STOP_WORD}` fetches one"
    thresholds = _chosen(wanted, engine, "stop word", pull)
    both = {plain_name(name) for name in thresholds} & {plain_name(name) for name in wake_words}
    if both:
        raise SettingsError(f"'{min(both)}' cannot be a wake word and a stop word: leave out one of them")
    return thresholds


def _only(special: str, wanted: Sequence[str], kind: str, meaning: str) -> bool:
    """Whether `special` is wanted, which then stands alone."""
    if not any(_is(special, word) for word in wanted):
        return False
    if len(wanted) > 1:
        raise SettingsError(f"'{special}' instead of {kind} means {meaning}: leave out the other {kind}")
    return True


def _is(special: str, word: str) -> bool:
    return word.strip().lower() == special


def _chosen(wanted: Sequence[str], engine: WakeEngines, kind: str, instead: str) -> dict[str, float]:
    words = [*engine.words.values(), *([engine.word(STOP_WORD)] if engine.has_stop_word else [])]
    by_phrase = {_plain(word.name): word.name for word in words} | {_plain(word.phrase): word.name for word in words}
    thresholds: dict[str, float] = {}
    for entry in wanted:
        given, _, threshold = entry.partition(":")
        prefix, slash, said = given.rpartition("/")
        if _plain(said) not in by_phrase:
            near = difflib.get_close_matches(_plain(said), by_phrase, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? " if near else ""
            known = ", ".join(sorted(word.phrase for word in engine.words.values()))
            raise SettingsError(f"There is no {kind} '{given}': {hint}known are {known}, and {instead}")
        name = prefix.strip().lower() + slash + by_phrase[_plain(said)]
        try:
            thresholds[name] = _threshold(entry, threshold, engine.word(name).threshold)
        except RequestError as error:
            raise SettingsError(str(error)) from None
    return thresholds


def _threshold(entry: str, text: str, usual: float) -> float:
    try:
        value = float(text) if text else usual
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise SettingsError(f"'{entry}' is not NAME:THRESHOLD with a threshold between 0 and 1, like okay_nabu:0.6")
    return value


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
