"""Measures a server with many satellites at once, each speaking in real time. See bench/README.md.

python bench/load.py [WAV… | FOLDER…] [--server tcp://HOST:PORT] [--satellites 1,10,25,50,100]
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.clips import REFERENCES, Clip, load_clips, speak_clips
from bench.command import exit_code
from bench.document import about_clip, about_machine, server_status, write_json
from bench.labels import LABELLERS, choose_labeller
from bench.options import HTTP, SERVER
from bench.peer import Address, programs
from bench.pipeline import ServerTarget
from bench.record import TurnRecord, take_turn
from bench.report import BUSY, BUSY_MS
from bench.satellites import LOST, Level, Plan, growth, run_level
from bench.usage import listening
from handlers.wire.client import parse_uri

SCHEMA = 1
"""Version of the JSON; a key that changes its meaning makes it 2."""

COMMANDS = (
    "What time is it?",
    "What day is it today?",
    "Thank you.",
    "What can you do?",
    "Good morning.",
    "What is your name?",
    "Tell me the time.",
    "Never mind.",
)
"""Spoken when no recording is given: what a server answers by itself, so that no language model is measured."""

_WYOMING_PORT = 10600
_SILENCE_SECONDS = 3.0
"""After the command of the turn that does not count."""

_OTHERS = 0.2
"""Share of a core that an idle desktop may take; more is missed by a server under load."""

_TOLD = 5
"""Failures of a level that are told one by one; the JSON has them all."""

_MOST_SATELLITES = 1000
"""In one process; more would measure this client."""


@dataclass(frozen=True)
class Options:
    """What is measured and how; times in seconds."""

    paths: tuple[Path, ...]
    server: str
    http: str
    satellites: tuple[int, ...]
    every: float
    seconds: float
    least_turns: int
    timeout: float
    seed: int
    labeller: str
    text_reference: str
    pid: tuple[int, ...]
    json: str | None

    @property
    def plan(self) -> Plan:
        return Plan(self.every, self.seconds, self.least_turns, self.timeout, self.seed)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; exits with 2 and one sentence when they cannot be used."""
    parser = argparse.ArgumentParser(prog="bench/load.py", description="Measures many satellites at once.")
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="WAV|FOLDER", help="recordings; without any, the server's voice asks")
    add("--server", metavar="URI", default=SERVER, help="a Meadowlark server (%(default)s)")
    add("--http", metavar="URL", default=HTTP, help="its web port, for its counts of guesses (%(default)s)")
    add("--satellites", type=_counts, default=(1, 10, 25, 50, 100), metavar="N,N…", help="levels (1,10,25,50,100)")
    add("--every", type=_seconds, default=30.0, metavar="S", help="each says one command in S (%(default)g)")
    add("--seconds", type=_seconds, default=60.0, metavar="S", help="length of a level (%(default)g)")
    add("--least-turns", type=_count, default=6, metavar="N", help="longer levels for few satellites (%(default)s)")
    add("--timeout", type=_seconds, default=15.0, metavar="S", help="a later answer is lost (%(default)g)")
    add("--seed", type=int, default=1, metavar="N", help="of the moments of speaking (%(default)s)")
    add("--labeller", choices=LABELLERS, default="auto", help="finds the end of speech (%(default)s)")
    add(
        "--text-reference", choices=REFERENCES, default="txt", help="what was said: a same-named .txt, or the file name"
    )
    add("--pid", type=_count, action="append", default=[], help="a process of the server (repeatable)")
    add("--json", metavar="FILE|-", help="write everything as JSON; '-' is standard output")
    options = parser.parse_args(arguments)
    if options.seconds < options.every:
        parser.error("--seconds must be at least --every, so that each satellite speaks")
    if options.json not in (None, "-") and not Path(options.json).absolute().parent.is_dir():
        parser.error(f"the folder of {options.json} does not exist")
    for name in ("paths", "pid"):
        setattr(options, name, tuple(getattr(options, name)))
    return Options(**vars(options))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when every turn was answered, 1 when some failed or were lost, 2 for bad input."""
    options = parse(arguments)
    return exit_code("bench/load.py", lambda: asyncio.run(run(options)))


async def run(options: Options) -> int:
    """Measure and print; returns 0 or 1. Raises MeadowlarkError for what is wrong before the first turn."""
    started = datetime.now(UTC)
    screen = sys.stderr if options.json == "-" else sys.stdout
    labeller, label = choose_labeller(options.labeller)
    clips = load_clips(options.paths, label, options.text_reference) if options.paths else []
    address = parse_uri(options.server, _WYOMING_PORT)
    known = await programs(address)
    if not clips:
        clips = await speak_clips(address, label, COMMANDS)
        print("No recordings were given: these figures are of synthetic speech, not of people.", file=screen)
    pids = sorted(options.pid or listening(address))
    print(*_headline(options, known, clips, labeller), sep="\n", file=screen)
    levels = await _run_levels(options, address, clips, pids)
    print(*lines(levels), sep="\n", file=screen)
    if options.json is not None:
        write_json(
            options.json,
            {
                "schema": SCHEMA,
                "started": started.isoformat(timespec="seconds"),
                "config": {**asdict(options), "paths": [str(path) for path in options.paths], "labeller": labeller},
                "machine": about_machine(),
                "server": {
                    "uri": options.server,
                    "programs": known,
                    "pids": pids,
                    "status": await asyncio.to_thread(server_status, options.http),
                },
                "clips": [about_clip(clip) for clip in clips],
                "levels": [{**level.as_dict(), "growth": factor} for level, factor in growth(levels)],
            },
        )
    return 1 if any(level.errors or level.lost for level in levels) else 0


def lines(levels: Sequence[Level]) -> Iterator[str]:
    """The tables of a run."""
    yield ""
    yield "ms from the labelled end of speech to the first audio"
    yield f"{'satellites':>10}{'min':>8}{'median':>8}{'p95':>8}{'max':>8}{'growth of the median':>23}"
    for level, factor in growth(levels):
        wait = level.summary.ms.get("first_audio")
        values = (
            (f"{value:.0f}" for value in (wait.min, wait.median, wait.p95, wait.max)) if wait is not None else "----"
        )
        cells = "".join(f"{value:>8}" for value in values)
        yield f"{level.satellites:>10}{cells}{'-' if factor is None else f'x {factor:.2f}':>23}"
    yield ""
    yield (
        f"{'satellites':>10}{'turns':>8}{'errors':>8}{'lost':>8}{'cut off':>8}{'word errors':>13}"
        f"{'server CPU':>12}{'client CPU':>12}{'other CPU':>11}{'RSS MiB':>9}{'sent late':>11}"
    )
    for level in levels:
        summary = level.summary
        yield (
            f"{level.satellites:>10}{summary.turns:>8}{level.errors:>8}{level.lost:>8}{summary.cut_offs:>8}"
            f"{_share(summary.wer, 1):>13}{_share(level.server_cpu):>12}{_share(level.client_cpu):>12}"
            f"{_share(level.other_cpu):>11}"
            f"{'-' if summary.peak_rss_mib is None else f'{summary.peak_rss_mib:.0f}':>9}{summary.late_ms:>8.0f} ms"
        )
    counted = [(level, level.guesses) for level in levels if level.guesses is not None]
    if counted:
        yield ""
        yield f"{'satellites':>10}{'guesses kept':>14}{'discarded':>11}{'dropped':>9}{'saved a kept one':>18}"
    for level, guesses in counted:
        saved = f"{guesses.saved_seconds / guesses.kept * 1000:.0f} ms" if guesses.kept else "-"
        yield f"{level.satellites:>10}{guesses.kept:>14}{guesses.discarded:>11}{guesses.dropped:>9}{saved:>18}"
    taken = max((level.other_cpu or 0.0 for level in levels), default=0.0)
    if taken > _OTHERS:
        yield ""
        yield f"Something else on this machine used up to {_share(taken)} of a core: close it and measure again."
    if any(level.summary.late_ms > BUSY_MS for level in levels):
        yield ""
        yield BUSY


async def _run_levels(options: Options, address: Address, clips: Sequence[Clip], pids: Sequence[int]) -> list[Level]:
    """Every level in its turn, after one turn that does not count."""
    _Failures().ended(await take_turn(ServerTarget(address, _SILENCE_SECONDS), clips[0], 0, options.timeout))
    levels = []
    for satellites in options.satellites:
        level = await run_level(
            satellites, address, clips, options.plan, pids=pids, http=options.http, ended=_Failures().ended
        )
        levels.append(level)
        wait = level.summary.ms.get("first_audio")
        shown = "no answer" if wait is None else f"median {wait.median:.0f} ms, p95 {wait.p95:.0f} ms"
        print(f"[{satellites}] {len(level.records)} turns, {shown}", file=sys.stderr, flush=True)
    return levels


def _headline(options: Options, known: Sequence[str], clips: Sequence[Clip], labeller: str) -> Iterator[str]:
    yield f"{options.server}  {'; '.join(known)}"
    yield (
        f"{len(clips)} clips; each satellite says one every {options.every:g} s, at a moment drawn evenly from the "
        f"interval (seed {options.seed}); end of speech labelled by {labeller}"
    )


class _Failures:
    """Tells of the first turns of a level that fail; what follows has the same reasons."""

    def __init__(self) -> None:
        self._left = _TOLD

    def ended(self, record: TurnRecord) -> None:
        if record.error is not None and self._left:
            self._left -= 1
            what = "LOST" if record.error_code == LOST else "ERROR"
            print(f"{what}  {record.clip}: {record.error} [{record.error_code}]", file=sys.stderr, flush=True)


def _share(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value * 100:.{digits}f} %"


def _counts(text: str) -> tuple[int, ...]:
    found = tuple(int(part) for part in text.split(","))
    if not all(0 < count <= _MOST_SATELLITES for count in found):
        raise argparse.ArgumentTypeError(f"{text} is no list of whole numbers from 1 to {_MOST_SATELLITES}, as in 1,10")
    return found


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value <= 3600):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0 and up to 3600")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
