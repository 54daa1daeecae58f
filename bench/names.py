"""Measures what known names do for recognition: told to Whisper, mended afterwards, and among names that nobody says.

python bench/names.py WAV…|FOLDER… --names FILE [--distractors N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path

from bench.clips import REFERENCES, Clip, load_clips, noise
from bench.labels import choose_labeller
from bench.words import normalise, word_errors
from handlers.asr.names import mend
from handlers.asr.stage import AsrSettings, Hints
from handlers.asr.whisper import WhisperTranscriber
from handlers.cpu import Cpu
from handlers.errors import AudioError, MeadowlarkError
from handlers.models.catalogue import ModelKind
from handlers.models.store import ModelStore
from handlers.workers import usable_cores
from server.settings import ServerSettings

DISTRACTORS = (
    *("Aquarium Pump", "Attic Lamp", "Baby Monitor", "Basement", "Bookshelf Lamp", "Ceiling Fan", "Christmas Tree"),
    *("Cloakroom", "Coffee Machine", "Conservatory", "Deep Freezer", "Dehumidifier", "Dining Room", "Dishwasher"),
    *("Espresso Maker", "Fireplace", "Greenhouse", "Guest Bathroom", "Hallway", "Hue Play", "Laundry Room"),
    *("Marlene", "Movie Night", "Nanoleaf", "Nursery", "Octavia", "Patio Heater", "Playroom", "Pool Heater"),
    *("Reading Corner", "Robo Vac", "Sauna Stove", "Shelly Plug", "Sonos Move", "Stairwell", "Tumble Dryer"),
    *("Utility Room", "Veranda", "Water Heater", "Wine Cellar", "Winter Garden", "Workshop"),
)
"""Names of other people's homes."""

_AFTER_SECONDS = 0.15
"""With what a clip keeps after its label, the 200 ms that the endpointer keeps."""

_NORMAL_95 = 1.96
"""Standard deviations on either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Row:
    """One way of using the names, over all clips."""

    how: str
    clips: int
    words: int
    word_errors: int
    exact: int
    """Clips understood word for word."""
    named: int
    """Clips in which a name is said."""
    names_right: int
    """Of these, how many have all their names in the transcript."""
    invented: int
    """Names in transcripts that nobody said there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="bench/names.py", description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="WAV|FOLDER", help="recordings of people whose words are known")
    add("--names", type=Path, metavar="FILE", required=True, help="the names that may be said, one a line")
    add(
        "--distractors",
        type=_number_of_distractors,
        default=20,
        metavar="N",
        help=f"other names put before and after them, 0 to {len(DISTRACTORS)} (%(default)s)",
    )
    add("--model", default=AsrSettings().model, help="a model's name or folder (%(default)s)")
    add("--data-dir", type=Path, default=ServerSettings().data_dir, help="where models are kept (%(default)s)")
    add("--text-reference", choices=REFERENCES[:2], default="txt", help="a same-named .txt, or the file name")
    add("--show", action="store_true", help="print what was mended, and where names are wrong")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    try:
        names = [line.strip() for line in options.names.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not names:
            raise AudioError(f"There is no name in {options.names}; write one on each line")
        loaded = load_clips(options.paths, choose_labeller("auto")[1], options.text_reference)
        clips = [clip for clip in loaded if clip.reference]
        if not clips:
            raise AudioError("Of no recording is it known what is said in it; see --text-reference")
        folder = ModelStore(options.data_dir).locate(options.model, ModelKind.ASR)
        rows = measure(folder, clips, names, options.distractors, show=options.show)
        print(f"{len(clips)} clips, {len(names)} names\n{_HEAD}", flush=True)
        document = []
        for row in rows:
            print(line(row), flush=True)
            document.append(asdict(row))
        if options.json is not None:
            options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except (MeadowlarkError, OSError, UnicodeDecodeError) as error:
        print(f"bench/names.py: {error}", file=sys.stderr)
        return 2
    return 0


def measure(
    folder: Path, clips: Sequence[Clip], names: Sequence[str], distractors: int, *, show: bool = False
) -> Iterator[Row]:
    """Rows without hints, with the names, with distractors too; each as heard and then mended."""
    others = [name for name in DISTRACTORS if name.casefold() not in {known.casefold() for known in names}]
    half = distractors // 2
    crowd = [*others[:half], *names, *others[half:distractors]]
    ways = [("no hints", [], names), ("names", names, names)]
    if distractors:
        ways.append((f"names + {distractors} others", crowd, crowd))
    with asyncio.Runner() as runner:
        transcriber = WhisperTranscriber(folder, folder.name, AsrSettings(), Cpu(usable_cores()))
        try:
            for how, told, known in ways:
                heard = [
                    runner.run(transcriber.transcribe(clip.pcm + noise(_AFTER_SECONDS), None, Hints(told))).text
                    for clip in clips
                ]
                mended = [mend(text, known) for text in heard]
                yield score(how, clips, heard, known)
                yield score(f"{how}, mended", clips, mended, known)
                if show:
                    _show(clips, heard, mended, known)
        finally:
            runner.run(transcriber.close())


def score(how: str, clips: Sequence[Clip], texts: Sequence[str], names: Sequence[str]) -> Row:
    """Count what is right in the texts of clips."""
    errors = [word_errors(clip.reference or "", text) for clip, text in zip(clips, texts, strict=True)]
    said = [_names_in(clip.reference or "", names) for clip in clips]
    found = [_names_in(text, names) for text in texts]
    return Row(
        how,
        clips=len(clips),
        words=sum(count for _, count in errors),
        word_errors=sum(wrong for wrong, _ in errors),
        exact=sum(wrong == 0 for wrong, _ in errors),
        named=sum(bool(wanted) for wanted in said),
        names_right=sum(bool(wanted) and wanted <= got for wanted, got in zip(said, found, strict=True)),
        invented=sum(len(got - wanted) for wanted, got in zip(said, found, strict=True)),
    )


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) of nothing."""
    if not count:
        return 0.0, 1.0
    share, z = right / count, _NORMAL_95
    middle = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def line(row: Row) -> str:
    """A row of the table, with 95 % intervals of the shares."""
    return (
        f"{row.how:<26}{100 * row.word_errors / row.words:>7.1f}"
        f"{_share(row.exact, row.clips):>22}{_share(row.names_right, row.named):>22}{row.invented:>10}"
    )


_HEAD = f"{'':<26}{'WER %':>7}{'exact':>22}{'all names right':>22}{'invented':>10}"


def _share(right: int, count: int) -> str:
    if not count:
        return "-"
    low, high = (round(100 * end) for end in interval(right, count))
    return f"{right} of {count} [{low}-{high} %]"


def _names_in(text: str, names: Sequence[str]) -> set[str]:
    """Names that stand in a text, whatever their case."""
    words = normalise(text)
    wanted = {name: normalise(name) for name in names}
    return {
        name
        for name, part in wanted.items()
        if part and any(words[at : at + len(part)] == part for at in range(len(words)))
    }


def _show(clips: Sequence[Clip], heard: Sequence[str], mended: Sequence[str], names: Sequence[str]) -> None:
    for clip, before, after in zip(clips, heard, mended, strict=True):
        said = clip.reference or ""
        if before != after:
            print(f"    said {said!r}, heard {before!r}, mended {after!r}")
        elif _names_in(said, names) != _names_in(after, names):
            print(f"    said {said!r}, heard {before!r}")


def _number_of_distractors(text: str) -> int:
    if not 0 <= int(text) <= len(DISTRACTORS):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to {len(DISTRACTORS)}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
