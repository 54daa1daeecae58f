"""Measures spoken turns from the client's side, in real time, over the real socket. See bench/README.md.

    python bench/turn.py [WAV… | FOLDER…] [--server tcp://HOST:PORT] [--asr HOST:PORT --tts HOST:PORT]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.clips import NOISE_DBFS, REFERENCES, TAIL_SECONDS, Clip, load_clips, speak_clips
from bench.labels import LABELLERS, choose_labeller
from bench.peer import CHUNK_SECONDS, Address, programs
from bench.pipeline import ServerTarget
from bench.record import Target, TurnRecord, take_turn
from bench.report import as_json, lines, progress
from bench.summary import summarise
from bench.wyoming_chain import ChainOptions, ChainTarget
from handlers.audio import seconds
from handlers.errors import MeadowlarkError, SettingsError
from handlers.wire.client import parse_uri

SCHEMA = 1
"""Version of the JSON; a key that changes its meaning makes it 2."""

_SERVER = "tcp://127.0.0.1:10600"
_HTTP = "http://127.0.0.1:10680"
_WYOMING_PORT = 10600
_ASR_PORT, _TTS_PORT = 10300, 10200
"""Where wyoming-faster-whisper and wyoming-piper listen in their own examples."""

_HTTP_SECONDS = 3.0
"""The status is a courtesy to the reader of the JSON."""


@dataclass(frozen=True)
class Measured:
    """A target with what there is to know about it."""

    target: Target
    uris: dict[str, str]
    addresses: tuple[Address, ...]
    pids: tuple[int, ...]
    """Given by the user; found by the ports when there are none."""
    programs: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when every turn was answered, 1 when some failed, 2 for bad input."""
    options = parse(arguments)
    try:
        return asyncio.run(measure(options))
    except MeadowlarkError as error:
        print(f"bench/turn.py: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; exits with 2 and one sentence when they cannot be used."""
    parser = argparse.ArgumentParser(prog="bench/turn.py", description="Measures spoken turns against running servers.")
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="WAV|FOLDER", help="recordings; without any, the server's voice asks")
    add("--server", metavar="URI", help=f"a Meadowlark server ({_SERVER} unless only a chain is measured)")
    add("--http", metavar="URL", default=_HTTP, help="its web port, asked once for its status (%(default)s)")
    add("--asr", metavar="HOST:PORT", help="measure a chain of other Wyoming servers: its speech to text")
    add("--tts", metavar="HOST:PORT", help="the chain's text to speech")
    add("--reply", metavar="TEXT", help="what the chain says in place of the transcript")
    add("--chain-silence", type=_positive, metavar="S", help="end the chain's audio here S after the end of speech")
    add("--rounds", type=_count, default=1, metavar="N", help="turns with each recording (%(default)s)")
    add("--warmup", type=_count_or_none, default=1, metavar="N", help="turns first that do not count (%(default)s)")
    add("--silence", type=_positive, default=3.0, metavar="S", help="longest silence after a recording (%(default)s)")
    add("--timeout", type=_positive, default=60.0, metavar="S", help="from question to whole answer (%(default)s)")
    add("--language", metavar="TAG", help="told to the servers, such as 'en'")
    add("--labeller", choices=LABELLERS, default="auto", help="finds the end of speech (%(default)s)")
    add("--text-reference", choices=REFERENCES, default="txt", help="what was said: same-named .txt, or the file's name")
    add("--pid", type=_count, action="append", default=[], help="a process of the server (repeatable)")
    add("--chain-pid", type=_count, action="append", default=[], help="a process of the chain (repeatable)")
    add("--json", metavar="FILE|-", help="write everything as JSON; '-' is standard output")
    options = parser.parse_args(arguments)
    if bool(options.asr) != bool(options.tts):
        parser.error("a chain needs both --asr and --tts")
    if not options.asr and (options.reply or options.chain_silence or options.chain_pid):
        parser.error("--reply, --chain-silence and --chain-pid need a chain: give --asr and --tts")
    if options.json not in (None, "-") and not Path(options.json).absolute().parent.is_dir():
        parser.error(f"the folder of {options.json} does not exist")
    if not options.server and not options.asr:
        options.server = _SERVER
    return options


async def measure(options: argparse.Namespace) -> int:
    """The whole run. Raises MeadowlarkError for what is wrong before the first turn."""
    from bench.usage import Usage, listening  # where its library is missing, that is one sentence of `main`

    started = datetime.now(UTC)
    labeller, label = choose_labeller(options.labeller)
    measured = [await _meet(entry) for entry in _targets(options)]
    say = sys.stderr if options.json == "-" else sys.stdout
    clips = (
        load_clips(options.paths, label, options.text_reference)
        if options.paths
        else await _spoken(measured[0].addresses[-1], label)
    )
    for line in _headline(measured, clips, options, labeller):
        print(line, file=say)
    usages = {entry.target.name: Usage(entry.pids or listening(*entry.addresses)) for entry in measured}
    records: list[TurnRecord] = []
    turns = [(entry.target, clip, number) for number, clip in _order(clips, options) for entry in measured]
    async with AsyncExitStack() as watching:
        for usage in usages.values():
            await watching.enter_async_context(usage.watch())
        for target, clip, number in turns:
            usage = usages[target.name]
            before = usage.cpu_seconds()
            record = await take_turn(target, clip, number, options.timeout)
            after = usage.cpu_seconds()
            if before is not None and after is not None:
                record.cpu_seconds = round(after - before, 3)
            if number > 0:  # 0 is a warm-up
                records.append(record)
                total = len(measured) * len(clips) * options.rounds
                print(progress(record, len(records), total), file=sys.stderr, flush=True)
    summaries = {
        name: summarise([record for record in records if record.target == name], usage.peak_rss_mib)
        for name, usage in usages.items()
    }
    print("", *lines(summaries, records), sep="\n", file=say)
    if options.json:
        document = {
            "schema": SCHEMA,
            "started": started.isoformat(timespec="seconds"),
            "config": _config(options, labeller),
            "machine": {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()},
            "targets": {
                entry.target.name: {
                    **entry.uris,
                    "programs": entry.programs,
                    "pids": usages[entry.target.name].pids,
                    **({"status": await _status(options.http)} if entry.target.name == "server" else {}),
                }
                for entry in measured
            },
            "clips": [_clip(clip) for clip in clips],
            "turns": [record.as_dict() for record in records],
            "summary": as_json(summaries),
        }
        _write(options.json, json.dumps(document, ensure_ascii=False, indent=2))
    return 0 if all(record.error is None for record in records) else 1


def _targets(options: argparse.Namespace) -> list[Measured]:
    """What is measured; turns alternate in this order."""
    found = []
    if options.server:
        address = parse_uri(options.server, _WYOMING_PORT)
        server = ServerTarget(address, options.silence, options.language)
        found.append(Measured(server, {"server": options.server}, (address,), tuple(options.pid)))
    if options.asr:
        asr, tts = parse_uri(options.asr, _ASR_PORT), parse_uri(options.tts, _TTS_PORT)
        chain = ChainTarget(
            asr, tts, ChainOptions(options.silence, options.chain_silence, options.reply, options.language)
        )
        uris = {"asr": options.asr, "tts": options.tts}
        found.append(Measured(chain, uris, (asr, tts), tuple(options.chain_pid)))
    return found


async def _meet(entry: Measured) -> Measured:
    """The same with what its servers say of themselves. Raises SettingsError when one is not there."""
    for address in entry.addresses:
        entry.programs.extend(name for name in await programs(address) if name not in entry.programs)
    return entry


async def _spoken(tts: Address, label: object) -> list[Clip]:
    raise NotImplementedError


def _order(clips: Sequence[Clip], options: argparse.Namespace) -> list[tuple[int, Clip]]:
    """Round numbers and clips in the order of the turns; round 0 is the warm-up."""
    warmup = [(0, clips[index % len(clips)]) for index in range(options.warmup)]
    return warmup + [(number, clip) for number in range(1, options.rounds + 1) for clip in clips]
