"""Measures what Whisper gains and loses with a window shorter than 30 s, and how many runs a machine can do.

python bench/whisper_window.py WAV…|FOLDER… [--windows 30,20,15,10] [--names FILE] [--throughput] [--json FILE]

See bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer

from bench.clips import REFERENCES, Clip, load_clips, noise
from bench.labels import choose_labeller
from bench.words import word_errors
from handlers.asr.decoder import Decoder
from handlers.asr.stage import AsrSettings, Hints
from handlers.asr.whisper import WhisperTranscriber, looping
from handlers.audio import RATE, to_float
from handlers.cpu import Cpu
from handlers.errors import AudioError, MeadowlarkError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.workers import usable_cores
from server.settings import ServerSettings

_AFTER_SECONDS = 0.15
"""With what a clip keeps after its label, the 200 ms that the endpointer keeps."""

_THROUGHPUT = ((30, 2, 1, 1), (30, 1, 2, 1), (15, 2, 1, 1), (15, 1, 2, 1), (15, 1, 2, 2), (15, 1, 2, 4), (15, 2, 1, 4))
"""Window, threads, workers, utterances in one call."""

_UTTERANCES = 16
"""For each row: some seconds."""


@dataclass(frozen=True)
class Row:
    """One way of decoding, over all clips."""

    how: str
    names: bool
    words: int
    word_errors: int
    exact: int
    clips: int
    looped: int
    median_ms: float
    p90_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="bench/whisper_window.py", description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="WAV|FOLDER", help="recordings of people whose words are known")
    add("--windows", type=_windows, default=(30, 20, 15, 10), metavar="S,S", help="whole seconds (30,20,15,10)")
    add(
        "--names",
        type=Path,
        metavar="FILE",
        help="expected names, one a line; every row is then measured with them too",
    )
    add("--throughput", action="store_true", help="also measure runs a second with several threads, workers, batches")
    add("--model", default=AsrSettings().model, help="a model's name or folder (%(default)s)")
    add("--data-dir", type=Path, default=ServerSettings().data_dir, help="where models are kept (%(default)s)")
    add("--text-reference", choices=REFERENCES[:2], default="txt", help="a same-named .txt, or the file name")
    add("--show", action="store_true", help="print what was understood otherwise than it was said")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"the folder of {options.json} does not exist")
    try:
        folder = ModelStore(options.data_dir).locate(options.model, ModelKind.ASR)
        loaded = load_clips(options.paths, choose_labeller("auto")[1], options.text_reference)
        clips = [clip for clip in loaded if clip.reference]
        if not clips:
            raise AudioError("Of no recording is it known what is said in it; see --text-reference")
        names = options.names.read_text(encoding="utf-8").splitlines() if options.names else []
    except (MeadowlarkError, OSError, UnicodeDecodeError) as error:
        print(f"bench/whisper_window.py: {error}", file=sys.stderr)
        return 2
    print(f"{len(clips)} clips, one thread, {usable_cores()} cores; ms for one run", flush=True)
    print(f"{'':<12}{'names':<7}{'WER %':>7}{'exact %':>9}{'looped':>8}{'median':>8}{'p90':>7}")
    rows = []
    for row in accuracy(folder, clips, options.windows, names, _show if options.show else None):
        rows.append(row)
        print(_line(row), flush=True)
    rates = []
    if options.throughput:
        print(f"\n{'window':>6}{'threads':>9}{'workers':>9}{'batch':>7}{'runs a second':>15}")
        for window, threads, workers, batch in _THROUGHPUT:
            rate = throughput(folder, clips, window, threads, workers, batch)
            rates.append(
                {"window": window, "threads": threads, "workers": workers, "batch": batch, "rate": round(rate, 2)}
            )
            print(f"{window:>6}{threads:>9}{workers:>9}{batch:>7}{rate:>15.1f}", flush=True)
    if options.json is not None:
        document = {"clips": len(clips), "accuracy": [asdict(row) for row in rows], "throughput": rates}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def accuracy(
    folder: Path,
    clips: Sequence[Clip],
    windows: Sequence[int],
    names: Sequence[str],
    differs: Callable[[str, str], None] | None = None,
) -> Iterator[Row]:
    """Each window alone, without a second look; then speech to text as the server does it. Each without and with names.

    `differs` is told what was said and what was heard of each clip that was not understood.
    """
    decoder = Decoder(folder)
    for listed in [(), tuple(names)] if names else [()]:
        prompt = decoder.prompt(listed)
        for window in windows:

            def decode(pcm: bytes, window: int = window, prompt: Sequence[int] = prompt) -> tuple[str, bool]:
                decoded = decoder.decode(pcm, window, "en", prompt)
                return decoded.text, looping(decoded)

            yield _row(f"{window} s", bool(listed), clips, decode, differs)
    with asyncio.Runner() as runner:
        transcriber = WhisperTranscriber(folder, folder.name, AsrSettings(threads=1), Cpu(usable_cores()))
        for listed in [(), tuple(names)] if names else [()]:

            def transcribe(pcm: bytes, hints: Hints = Hints(listed)) -> tuple[str, bool]:  # noqa: B008
                return runner.run(transcriber.transcribe(pcm, "en", hints)).text, False

            yield _row("server", bool(listed), clips, transcribe, differs)
        runner.run(transcriber.close())


def throughput(folder: Path, clips: Sequence[Clip], window: int, threads: int, workers: int, batch: int) -> float:
    """Utterances a second when there are always enough of them, decoded `batch` in one call."""
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads, num_workers=workers)
    tokenizer = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language="en")
    start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]

    def decode(some: Sequence[Clip]) -> None:
        waves = [np.resize(np.append(to_float(clip.pcm), np.zeros(window * RATE)), window * RATE) for clip in some]
        columns = [model.feature_extractor(wave, padding=0)[:, : window * 100] for wave in waves]
        encoded = model.model.encode(StorageView.from_array(np.stack(columns).astype(np.float32)))
        model.model.generate(encoded, [start] * len(some), beam_size=1, max_length=40)

    chosen = list(islice(cycle(clips), _UTTERANCES))
    calls = [chosen[at : at + batch] for at in range(0, len(chosen), batch)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode, calls[:workers]))  # the first call of each worker allocates
        began = time.perf_counter()
        list(pool.map(decode, calls))
        return len(chosen) / (time.perf_counter() - began)


def _row(
    how: str,
    names: bool,
    clips: Sequence[Clip],
    decode: Callable[[bytes], tuple[str, bool]],
    differs: Callable[[str, str], None] | None,
) -> Row:
    times, errors, words, exact, looped = [], 0, 0, 0, 0
    decode(clips[0].pcm)  # the first call allocates
    for clip in clips:
        said = clip.reference or ""
        pcm = clip.pcm + noise(_AFTER_SECONDS)
        began = time.perf_counter()
        text, loops = decode(pcm)
        times.append(1000 * (time.perf_counter() - began))
        wrong, count = word_errors(said, text)
        errors, words, exact, looped = errors + wrong, words + count, exact + (not wrong), looped + loops
        if wrong and differs is not None:
            differs(said, text)
    median, p90 = (round(float(np.percentile(times, share)), 1) for share in (50, 90))
    return Row(how, names, words, errors, exact, len(clips), looped, median, p90)


def _line(row: Row) -> str:
    wer, exact = 100 * row.word_errors / row.words, 100 * row.exact / row.clips
    names = "yes" if row.names else "no"
    return f"{row.how:<12}{names:<7}{wer:>7.1f}{exact:>9.0f}{row.looped:>8}{row.median_ms:>8.0f}{row.p90_ms:>7.0f}"


def _show(said: str, heard: str) -> None:
    print(f"    said {said!r}, heard {heard!r}")


def _windows(text: str) -> tuple[int, ...]:
    windows = tuple(int(part) for part in text.split(","))
    if not all(1 <= window <= 30 for window in windows):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole seconds from 1 to 30")
    return windows


if __name__ == "__main__":
    raise SystemExit(main())
