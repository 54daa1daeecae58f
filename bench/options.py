"""The options of bench/turn.py."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.clips import REFERENCES
from bench.labels import LABELLERS

SERVER = "tcp://127.0.0.1:10600"
"""The server's own default."""

HTTP = "http://127.0.0.1:10680"


@dataclass(frozen=True)
class Options:
    """What is measured and how; times in seconds."""

    paths: tuple[Path, ...]
    server: str | None
    http: str
    websocket: bool
    frame_ms: int
    token_file: Path | None
    asr: str | None
    tts: str | None
    reply: str | None
    chain_silence: float | None
    rounds: int
    warmup: int
    silence: float
    timeout: float
    hang_up: bool
    language: str | None
    labeller: str
    text_reference: str
    pid: tuple[int, ...]
    chain_pid: tuple[int, ...]
    json: str | None
    chart: Path | None


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; exits with 2 and one sentence when they cannot be used."""
    parser = argparse.ArgumentParser(prog="bench/turn.py", description="Measures spoken turns against running servers.")
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="WAV|FOLDER", help="recordings; without any, the server's voice asks")
    add("--server", metavar="URI", help=f"a Meadowlark server ({SERVER}, unless only a chain is given)")
    add("--http", metavar="URL", default=HTTP, help="its web port, asked once for its status (%(default)s)")
    add(
        "--websocket", action="store_true", help="measure the same turns through its web port too, as the page has them"
    )
    add("--frame-ms", type=_milliseconds, default=20, metavar="MS", help="audio in one frame of those (%(default)s)")
    add("--token-file", type=Path, metavar="FILE", help="holds a token for the web port, where it asks for one")
    add("--asr", metavar="HOST:PORT", help="measure a chain of other Wyoming servers: its speech to text")
    add("--tts", metavar="HOST:PORT", help="the chain's text to speech")
    add("--reply", metavar="TEXT", help="what the chain says, in place of the transcript")
    add("--chain-silence", type=_seconds, metavar="S", help="end the chain's audio S after the end of speech")
    add("--rounds", type=_count, default=1, metavar="N", help="turns with each recording (%(default)s)")
    add("--warmup", type=_count_or_none, default=1, metavar="N", help="first turns that do not count (%(default)s)")
    add("--silence", type=_seconds, default=3.0, metavar="S", help="longest silence after a recording (%(default)s)")
    add("--timeout", type=_seconds, default=60.0, metavar="S", help="from question to whole answer (%(default)s)")
    add("--hang-up", action="store_true", help="close at the first audio; long answers then cost no time")
    add("--language", metavar="TAG", help="told to the servers, such as 'en'")
    add("--labeller", choices=LABELLERS, default="auto", help="finds the end of speech (%(default)s)")
    add(
        "--text-reference", choices=REFERENCES, default="txt", help="what was said: a same-named .txt, or the file name"
    )
    add("--pid", type=_count, action="append", default=[], help="a process of the server (repeatable)")
    add("--chain-pid", type=_count, action="append", default=[], help="a process of the chain (repeatable)")
    add("--json", metavar="FILE|-", help="write everything as JSON; '-' is standard output")
    add("--chart", type=Path, metavar="FILE.svg", help="draw one turn near the median, the server's above the chain's")
    options = parser.parse_args(arguments)
    if (options.asr is None) != (options.tts is None):
        parser.error("a chain needs both --asr and --tts")
    if options.asr is None and (options.reply or options.chain_silence or options.chain_pid):
        parser.error("--reply, --chain-silence and --chain-pid need a chain: give --asr and --tts")
    if options.json not in (None, "-") and not Path(options.json).absolute().parent.is_dir():
        parser.error(f"the folder of {options.json} does not exist")
    if options.json is not None and Path(options.json).is_dir():
        parser.error(f"{options.json} is a folder; give the name of a file")
    if options.chart is not None and (options.chart.is_dir() or not options.chart.absolute().parent.is_dir()):
        parser.error(f"{options.chart} cannot be written: give the name of a file in a folder that exists")
    if not options.websocket and options.token_file is not None:
        parser.error("--token-file needs --websocket")
    if options.server is None and (options.asr is None or options.websocket):
        options.server = SERVER
    for name in ("paths", "pid", "chain_pid"):
        setattr(options, name, tuple(getattr(options, name)))
    return Options(**vars(options))


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value <= 600):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0 and up to 600")
    return value


def _milliseconds(text: str) -> int:
    if not 4 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of milliseconds from 4 to 1000")
    return int(text)


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)
