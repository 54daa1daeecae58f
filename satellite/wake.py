"""The local wake word, and the short memory of sound that keeps what was said in the same breath."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handlers.audio import BYTES_PER_SECOND, to_float
from handlers.errors import RequestError, SettingsError
from handlers.wake.engines import OPEN, WakeEngines, open_engines
from handlers.wake.gate import Gate, open_voice
from handlers.wake.stage import Detector, WakeSettings
from handlers.workers import Workers

NONE = "none"
"""Instead of a wake word: push to talk."""

_DEFAULTS = WakeSettings()

_MEMORY_SECONDS = 1.5
"""Pre-roll: the longest wake word and what is said until it is noticed."""

_LATE_SECONDS = 0.7
"""openWakeWord notices a word 0.1 to 0.45 s after its end, in fluent speech up to 0.7 s (measured with Piper)."""

_PAUSE_SECONDS = 0.2
"""A gap of this length lies between the wake word and the request; consonants ("what time") close for up to 0.15 s."""

_MORE_SECONDS = 0.24
"""Some words are noticed 0.1 s after their end; so much later, a pause behind them can be told."""

_WORD_SECONDS = 0.3
"""The shortest wake word has more sound than this, so a gap after less of it lies before the word."""

_LONGEST_WORD_SECONDS = 0.7
"""More sound than this in one breath is a wake word and a request ("okay nabu stop"): the gap behind it is not the one
between them. Where somebody says the word more slowly, its end is sent along, which does no harm."""

_QUIET = 0.1
"""A gap is 20 dB below the loudest sound around it."""

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


class WakeListener:
    """Hears wake words in pieces of internal audio. A `gate` keeps from the detector what cannot be one."""

    def __init__(self, detector: Detector, phrases: Sequence[str], gate: Gate | None = None) -> None:
        self.phrases = phrases
        """How the words are said, for messages."""
        self._detector = detector
        self._gate = gate
        self._workers = Workers("wake", threads=1)
        self._memory = PreRoll(_MEMORY_SECONDS)
        self._frame = bytearray()

    async def hear(self, piece: bytes) -> Wake | None:
        """Take the next audio; the answer is a wake-up when a word was heard."""
        self._memory.add(piece)
        self._frame += piece if self._gate is None else self._gate.admit(piece)
        if len(self._frame) < _FRAME_BYTES:
            return None
        frame = bytes(self._frame)
        self._frame.clear()
        heard = await self._workers.run(lambda: self._detector.process(frame))
        if not heard:
            return None
        best = max(heard, key=lambda detection: detection.score)
        memory = self._memory.audio()
        return Wake(best.name, best.score, memory, signal_to_noise(memory))

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

    This costs no time, as the server catches up at once and answers only when the request is over.
    """

    def __init__(self, wake: Wake) -> None:
        self._held = bytearray(wake.memory) if wake.memory else None
        self._missing = int(_MORE_SECONDS * BYTES_PER_SECOND)

    def add(self, piece: bytes) -> bytes:
        """Take the next audio; the answer is what can be sent now."""
        if self._held is None:
            return piece
        self._held += piece
        self._missing -= len(piece)
        return b"" if self._missing > 0 else self.rest()

    def rest(self) -> bytes:
        """All that is still held back, when there is no more audio."""
        held, self._held = self._held, None
        return since_wake_word(bytes(held)) if held else b""


def since_wake_word(heard: bytes) -> bytes:
    """The end of `heard`, which goes a moment beyond the detection, from where the wake word can be over.

    That is the first gap after it, where what lies before the gap is no longer than a wake word. Without one (noise, or
    a request in the same breath) it is as much as a detection may be late: then the end of the wake word is sent along,
    because losing the first word would be worse.
    """
    steps = len(heard) // _STEP_BYTES
    heard = heard[len(heard) - steps * _STEP_BYTES :]
    if not steps:
        return b""
    loudness = np.sqrt(np.mean(to_float(heard).reshape(steps, -1) ** 2, axis=1))
    loud = loudness > _QUIET * loudness.max()
    earliest = max(0, steps - round((_LATE_SECONDS + _MORE_SECONDS) / _STEP_SECONDS))
    pause = round(_PAUSE_SECONDS / _STEP_SECONDS)
    for step in range(earliest, steps - pause + 1):
        if not loud[step : step + pause].any() and loud[:step].sum() >= _WORD_SECONDS / _STEP_SECONDS:
            if _last_breath(loud[:step], pause) > _LONGEST_WORD_SECONDS / _STEP_SECONDS:
                break
            return heard[step * _STEP_BYTES :]
    return heard[earliest * _STEP_BYTES :]


def _last_breath(loud: npt.NDArray[np.bool_], pause: int) -> int:
    """Steps from the beginning of the last sound that is not interrupted by a pause, to its end."""
    sounding = np.flatnonzero(loud)
    if not sounding.size:
        return 0
    gaps = np.flatnonzero(np.diff(sounding) > pause)
    first = sounding[gaps[-1] + 1] if gaps.size else sounding[0]
    return int(sounding[-1] - first + 1)


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


async def open_wake_words(
    wanted: Sequence[str],
    *,
    folder: Path | None = None,
    refractory_seconds: float = _DEFAULTS.refractory_seconds,
    gate: bool = True,
) -> WakeListener | None:
    """A listener for NAME or NAME:THRESHOLD each, or None for push to talk ('none').

    `folder` has models of one's own. Raises SettingsError for a word or threshold that cannot be, MissingExtraError
    without an engine's package.
    """
    if NONE in (word.strip().lower() for word in wanted):
        if len(wanted) > 1:
            raise SettingsError("The wake word 'none' means push to talk: leave out the other wake words")
        return None
    workers = Workers("wake-loading", threads=1)
    try:
        engine = await workers.run(lambda: _open(folder))
        thresholds = choose(wanted, engine)
        detector = await workers.run(lambda: engine.detector(thresholds, refractory_seconds))
        opened = await workers.run(lambda: _gate_for(thresholds, engine)) if gate else None
    finally:
        await workers.close()
    return WakeListener(detector, [engine.word(name).phrase for name in thresholds], opened)


def _open(folder: Path | None) -> WakeEngines:
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"The folder {folder} for wake words is not there")
    return open_engines(folder)


def _gate_for(names: Iterable[str], engine: WakeEngines) -> Gate:
    """Silero costs a twentieth of openWakeWord, but twice as much as microWakeWord: before that it saves nothing."""
    dear = any(engine.engine_of(name) == OPEN for name in names)
    return Gate(open_voice() if dear else None)


def choose(wanted: Sequence[str], engine: WakeEngines) -> dict[str, float]:
    """Installed names with their thresholds. A word may be written as it is said: 'okay nabu' for 'okay_nabu'.

    'micro/okay_nabu' and 'open/okay_nabu' are the same word by one engine.
    """
    words = engine.words
    by_phrase = {_plain(name): name for name in words} | {_plain(word.phrase): word.name for word in words.values()}
    thresholds: dict[str, float] = {}
    for entry in wanted:
        given, _, threshold = entry.partition(":")
        prefix, slash, said = given.rpartition("/")
        if _plain(said) not in by_phrase:
            near = difflib.get_close_matches(_plain(said), by_phrase, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'? " if near else ""
            known = ", ".join(sorted(word.phrase for word in words.values()))
            raise SettingsError(f"There is no wake word '{given}': {hint}known are {known}, and none for push to talk")
        name = prefix.strip().lower() + slash + by_phrase[_plain(said)]
        try:
            thresholds[name] = _threshold(entry, threshold, engine.word(name).threshold)
        except RequestError as error:
            raise SettingsError(str(error)) from None
    if not thresholds:
        raise SettingsError("No wake word is set: name one, or 'none' for push to talk")
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
