"""How often each wake word engine misses a word or hears one that nobody said, and what listening costs.

python -m bench.wake FOLDER [--word NAME]… [--threshold T]… [--json FILE]. See bench/README.md.

Every WAV file below FOLDER is heard, with two seconds of a quiet room after each. What is said in it stands in a .txt
of the same name, or else in its path: "alexa/12.wav" and "okay nabu, loud.wav" have a wake word in them. A recording
with the word in which it is not heard is a false reject; every detection in one without it is a false accept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.clips import noise
from bench.command import exit_code
from bench.names import interval
from bench.words import normalise
from handlers.audio import RATE, from_float, read_wav, seconds
from handlers.errors import AudioError
from handlers.wake.engines import MICRO, OPEN, WakeEngines, open_engines
from handlers.wake.gate import Gate, open_voice
from handlers.wake.scoring import FRAME_BYTES, ScoreDetector, Scorer
from handlers.wake.stage import phrase_of

_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97)

_GAP_SECONDS = 2.0
"""Room noise after each recording: a word is noticed up to 0.7 s after its end, and the models look back 2 s."""

_REFRACTORY_SECONDS = 2.0

_PIECE_BYTES = 640
"""A microphone's audio comes in pieces of 20 ms."""

_NOISE_DBFS = -45.0
"""A loud fan."""

_SETTLE_SECONDS = 40.0
"""The gate learns how loud the room is; what that costs is not counted."""

_COST_SECONDS = 60.0
"""Audio of each kind whose cost is measured."""


@dataclass(frozen=True)
class Recording:
    """A file and the words that are said in it."""

    path: Path
    words: frozenset[str]


@dataclass(frozen=True)
class Row:
    """One word at one threshold of one engine, over all recordings."""

    word: str
    engine: str
    gate: bool
    threshold: float
    usual: bool
    """Whether this engine and threshold are what the word stands for when nothing else is said."""
    said: int
    """Recordings with the word."""
    heard: int
    false_accepts: int
    hours: float
    """Length of the recordings without the word."""


@dataclass(frozen=True)
class Cost:
    """Processor seconds for an hour of audio."""

    what: str
    silence: float
    noise: float
    speech: float


Heard = Sequence[Sequence[Mapping[str, float]]]
"""For each recording the scores of its frames."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 for bad input, 1 for other failures."""
    return exit_code("bench.wake", lambda: _run(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.wake", description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="recordings, with and without wake words")
    add("--word", action="append", metavar="NAME", help="a wake word; by default all that are said in the recordings")
    add("--threshold", action="append", type=float, metavar="T", help=f"by default {_THRESHOLDS} and the usual one")
    add("--models", type=Path, metavar="FOLDER", help="wake word models of your own")
    add("--no-cost", action="store_true", help="do not measure processor time")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    return parser


def _run(options: argparse.Namespace) -> int:
    engines = open_engines(options.models)
    known = list(engines.words)
    recordings = find(options.folder, known)
    words = options.word or [word for word in known if any(word in recording.words for recording in recordings)]
    if not words:
        raise AudioError("No wake word is said in these recordings: name one to count false accepts, --word okay_nabu")
    words = sorted({engines.word(word).name for word in words})
    rows = []
    print(_HEAD, flush=True)
    for row in measure(engines, words, recordings, options.threshold or _THRESHOLDS):
        rows.append(row)
        print(line(row), flush=True)
    costs = []
    if not options.no_cost:
        print(f"\n{_COST_HEAD}", flush=True)
        for cost in costs_of(engines, words, speech_of(recordings)):
            costs.append(cost)
            print(f"{cost.what:<34}{cost.silence:>10.1f}{cost.noise:>10.1f}{cost.speech:>10.1f}", flush=True)
    if options.json is not None:
        document = {"rows": [asdict(row) for row in rows], "cpu_seconds_per_hour": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def find(folder: Path, words: Sequence[str]) -> list[Recording]:
    """All recordings below a folder, in a fixed order, with the wake words said in each. Raises AudioError."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav")
    if not paths:
        raise AudioError(f"There is no WAV file in the folder {folder}")
    return [Recording(path, _words_in(_said(path, folder), words)) for path in paths]


def measure(
    engines: WakeEngines, words: Sequence[str], recordings: Sequence[Recording], thresholds: Sequence[float]
) -> Iterator[Row]:
    """Every word by every engine that has it, without and with the gate before it, at all thresholds."""
    lengths = [seconds(read_wav(recording.path)) for recording in recordings]
    for engine, gated in itertools.product((MICRO, OPEN), (False, True)):
        one = engines.engines.get(engine)
        having = [word for word in words if one is not None and word in one.words]
        if one is None or not having:
            continue
        gate = Gate(open_voice() if engine == OPEN else None) if gated else None
        heard = listen(one.scorer({word: word for word in having}), recordings, gate)
        for word in having:
            usual = engines.word(f"{engine}/{word}").threshold
            others = [word not in recording.words for recording in recordings]
            hours = sum(itertools.compress(lengths, others)) / 3600
            for threshold in sorted({*thresholds, usual}):
                counts = detections(heard, word, threshold)
                wrong = sum(itertools.compress(counts, others))
                yield Row(
                    word,
                    engine,
                    gated,
                    threshold,
                    usual=threshold == usual and engines.engine_of(word) == engine,
                    said=others.count(False),
                    heard=sum(count > 0 and not other for count, other in zip(counts, others, strict=True)),
                    false_accepts=wrong,
                    hours=hours,
                )


def listen(scorer: Scorer, recordings: Sequence[Recording], gate: Gate | None) -> Heard:
    """The scores of all frames, with the recordings as one stream."""
    gap = noise(_GAP_SECONDS)
    for frame in _frames(gap, gate):
        scorer.score(frame)
    return [
        [scorer.score(frame) for frame in _frames(read_wav(recording.path) + gap, gate)] for recording in recordings
    ]


def detections(heard: Heard, name: str, threshold: float) -> list[int]:
    """How often a word is detected in each recording, by the rules of every detector."""
    replay = _Replay()
    detector = ScoreDetector([replay], {name: threshold}, _REFRACTORY_SECONDS)
    counts = []
    for frames in heard:
        count = 0
        for scores in frames:
            replay.scores = {name: scores[name]} if name in scores else {}
            count += len(detector.process(bytes(FRAME_BYTES)))
        counts.append(count)
    return counts


def costs_of(engines: WakeEngines, words: Sequence[str], speech: bytes) -> Iterator[Cost]:
    """What the usual engines cost with and without the gate, and pyopen-wakeword alone."""
    usual = {word: engines.word(word).threshold for word in words}
    names = ", ".join(f"{engines.engine_of(word)}/{word}" for word in words)
    dear = any(engines.engine_of(word) == OPEN for word in words)

    def gated() -> Callable[[bytes], object]:
        gate, detector = Gate(open_voice() if dear else None), engines.detector(usual, _REFRACTORY_SECONDS)
        return lambda piece: detector.process(gate.admit(piece))

    yield _cost(f"{names}, gate", gated, speech)
    yield _cost(f"{names}, no gate", lambda: engines.detector(usual, _REFRACTORY_SECONDS).process, speech)
    bare = [word for word in words if OPEN in engines.engines and word in engines.engines[OPEN].words]
    if bare and OPEN in engines.engines:
        yield _cost(f"pyopen-wakeword: {', '.join(bare)}", lambda: _bare(bare), speech)


def speech_of(recordings: Sequence[Recording]) -> bytes:
    """Some of the recordings, as from a television that never pauses."""
    pcm = b""
    for recording in recordings:
        pcm += read_wav(recording.path)
        if seconds(pcm) >= _COST_SECONDS:
            break
    return pcm


def line(row: Row) -> str:
    """A row of the table. The usual engine and threshold are marked with a star."""
    low, high = (round(100 * end) for end in interval(row.heard, row.said))
    share = f"{row.heard} of {row.said} [{low}-{high} %]" if row.said else "-"
    per_hour = f"{row.false_accepts / row.hours:.1f}" if row.hours else "-"
    return (
        f"{row.word:<16}{row.engine:<7}{'yes' if row.gate else 'no':<6}{row.threshold:>6.2f}{'*' if row.usual else ' '}"
        f"{share:>26}{row.said - row.heard:>9}{row.false_accepts:>9}{per_hour:>10}"
    )


_HEAD = f"{'word':<16}{'engine':<7}{'gate':<6}{'from':>6} {'heard':>26}{'missed':>9}{'false':>9}{'per hour':>10}"

_COST_HEAD = f"{'CPU s per hour of audio':<34}{'silence':>10}{'noise':>10}{'speech':>10}"


class _Replay:
    """A scorer that was heard before."""

    def __init__(self) -> None:
        self.scores: Mapping[str, float] = {}

    def score(self, frame: bytes) -> Mapping[str, float]:
        return self.scores

    def reset(self) -> None:
        self.scores = {}


def _cost(what: str, start: Callable[[], Callable[[bytes], object]], speech: bytes) -> Cost:
    """What a stream costs that `start` begins, for each kind of sound."""
    length = int((_SETTLE_SECONDS + _COST_SECONDS) * RATE)
    fan = np.random.default_rng(1).normal(0.0, 10 ** (_NOISE_DBFS / 20), length).astype(np.float32)
    repeated = speech * (int(_COST_SECONDS / max(seconds(speech), 1e-3)) + 1)
    sounds = (bytes(2 * length), from_float(fan), noise(_SETTLE_SECONDS) + repeated)
    figures = []
    for pcm in sounds:
        process = start()
        settled = int(_SETTLE_SECONDS * RATE) * 2
        end = settled + int(_COST_SECONDS * RATE) * 2
        _feed(process, pcm[:settled])
        began = time.process_time()
        _feed(process, pcm[settled:end])
        figures.append((time.process_time() - began) * 3600 / _COST_SECONDS)
    return Cost(what, *figures)


def _feed(process: Callable[[bytes], object], pcm: bytes) -> None:
    for start in range(0, len(pcm), _PIECE_BYTES):
        process(pcm[start : start + _PIECE_BYTES])


def _bare(words: Sequence[str]) -> Callable[[bytes], object]:
    """pyopen-wakeword as its own command uses it, but with its chunks of 80 ms."""
    import pyopen_wakeword

    features = pyopen_wakeword.OpenWakeWordFeatures.from_builtin()
    models = [pyopen_wakeword.OpenWakeWord.from_builtin(pyopen_wakeword.Model(word)) for word in words]
    pending = bytearray()

    def process(piece: bytes) -> None:
        pending.extend(piece)
        if len(pending) >= FRAME_BYTES:
            for embeddings in features.process_streaming(bytes(pending)):
                for model in models:
                    list(model.process_streaming(embeddings))
            pending.clear()

    return process


def _frames(pcm: bytes, gate: Gate | None) -> Iterator[bytes]:
    """Whole frames of what a model is to hear; the rest of a gap is silence and is left out."""
    pending = b""
    for start in range(0, len(pcm), _PIECE_BYTES):
        piece = pcm[start : start + _PIECE_BYTES]
        pending += piece if gate is None else gate.admit(piece)
        while len(pending) >= FRAME_BYTES:
            yield pending[:FRAME_BYTES]
            pending = pending[FRAME_BYTES:]


def _said(path: Path, folder: Path) -> str:
    """What is said in a recording, in words."""
    text_file = path.with_suffix(".txt")
    if not text_file.is_file():
        return str(path.relative_to(folder).with_suffix("")).replace("_", " ")
    try:
        return text_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(f"{text_file} cannot be read as UTF-8 text ({error})") from None


def _words_in(said: str, words: Sequence[str]) -> frozenset[str]:
    heard = normalise(said.replace("/", " "))
    parts = {word: normalise(phrase_of(word)) for word in words}
    return frozenset(
        word
        for word, part in parts.items()
        if any(heard[at : at + len(part)] == part for at in range(len(heard) - len(part) + 1))
    )


if __name__ == "__main__":
    sys.exit(main())
