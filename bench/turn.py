"""Measures spoken turns from the client's side, in real time, over the real socket. See bench/README.md.

python bench/turn.py [WAV… | FOLDER…] [--server tcp://HOST:PORT] [--asr HOST:PORT --tts HOST:PORT]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.clips import Clip, load_clips, speak_clips
from bench.labels import choose_labeller
from bench.options import Options, parse
from bench.peer import Address, programs
from bench.pipeline import ServerTarget
from bench.record import Target, TurnRecord, take_turn
from bench.report import as_json, lines, progress
from bench.summary import summarise
from bench.usage import Usage, listening
from bench.wyoming_chain import ChainOptions, ChainTarget
from handlers.audio import seconds
from handlers.errors import MeadowlarkError, SettingsError
from handlers.wire.client import parse_uri

SCHEMA = 1
"""Version of the JSON; a key that changes its meaning makes it 2."""

_WYOMING_PORT = 10600
_ASR_PORT, _TTS_PORT = 10300, 10200
"""Where wyoming-faster-whisper and wyoming-piper listen in their own examples."""

_STATUS_SECONDS = 3.0
"""The status is a courtesy to the reader of the JSON."""

_STATUS_BYTES = 1024 * 1024
"""Far more than any status."""


@dataclass(frozen=True)
class Measured:
    """A target, and what there is to know about it."""

    target: Target
    uris: dict[str, str]
    programs: list[str]
    usage: Usage
    tts: Address
    """Who speaks the questions when there are no recordings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when every turn was answered, 1 when some failed, 2 for bad input."""
    options = parse(arguments)
    try:
        return asyncio.run(run(options))
    except (MeadowlarkError, OSError) as error:
        print(f"bench/turn.py: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, MeadowlarkError) else 1
    except KeyboardInterrupt:
        return 130


async def run(options: Options) -> int:
    """Measure and print; returns 0 or 1. Raises MeadowlarkError for what is wrong before the first turn."""
    started = datetime.now(UTC)
    screen = sys.stderr if options.json == "-" else sys.stdout
    labeller, label = choose_labeller(options.labeller)
    clips = load_clips(options.paths, label, options.text_reference) if options.paths else []
    measured = await _targets(options)
    if not clips:
        clips = await speak_clips(measured[0].tts, label)
        print("No recordings were given: these figures are of synthetic speech, not of people.", file=screen)
    print(*_headline(measured, clips, options, labeller), sep="\n", file=screen)
    records = await _take_turns(measured, clips, options)
    summaries = {
        entry.target.name: summarise(
            [record for record in records if record.target == entry.target.name], entry.usage.peak_rss_mib
        )
        for entry in measured
    }
    print("", *lines(summaries, records), sep="\n", file=screen)
    if options.json is not None:
        _write(
            options.json,
            {
                "schema": SCHEMA,
                "started": started.isoformat(timespec="seconds"),
                "config": {
                    **asdict(options),
                    "paths": [str(path) for path in options.paths],
                    "labeller": labeller,
                },
                "machine": {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()},
                "targets": await _about(measured, options),
                "clips": [_about_clip(clip) for clip in clips],
                "turns": [record.as_dict() for record in records],
                "summary": as_json(summaries),
            },
        )
    return 1 if any(record.error is not None for record in records) else 0


async def _targets(options: Options) -> list[Measured]:
    """What is measured; turns alternate in this order. Raises SettingsError when a server is not there."""
    found = []
    if options.server is not None:
        address = parse_uri(options.server, _WYOMING_PORT)
        known = await programs(address)
        usage = Usage(options.pid or listening(address))
        server = ServerTarget(address, options.silence, options.language, hang_up=options.hang_up)
        found.append(Measured(server, {"server": options.server}, known, usage, address))
    if options.asr is not None and options.tts is not None:
        asr, tts = parse_uri(options.asr, _ASR_PORT), parse_uri(options.tts, _TTS_PORT)
        known = [name for name in await programs(asr) if name.startswith("asr")]
        known += [name for name in await programs(tts) if name.startswith("tts")]
        usage = Usage(options.chain_pid or listening(asr, tts))
        chain_options = ChainOptions(
            options.silence, options.chain_silence, options.reply, options.language, options.hang_up
        )
        chain = ChainTarget(asr, tts, chain_options)
        found.append(Measured(chain, {"asr": options.asr, "tts": options.tts}, known, usage, tts))
    return found


async def _take_turns(measured: Sequence[Measured], clips: Sequence[Clip], options: Options) -> list[TurnRecord]:
    """All turns, each target in its turn with the same clip. The warm-up is left out of the result."""
    records: list[TurnRecord] = []
    total = len(measured) * len(clips) * options.rounds
    async with contextlib.AsyncExitStack() as watching:
        for entry in measured:
            await watching.enter_async_context(entry.usage.watch())
        for number, clip in _order(clips, options):
            for entry in measured:
                before = entry.usage.cpu_seconds()
                record = await take_turn(entry.target, clip, number, options.timeout)
                after = entry.usage.cpu_seconds()
                if before is not None and after is not None:
                    record.cpu_seconds = round(after - before, 3)
                if number > 0:
                    records.append(record)
                    print(progress(record, len(records), total), file=sys.stderr, flush=True)
    return records


def _order(clips: Sequence[Clip], options: Options) -> Iterator[tuple[int, Clip]]:
    """Round numbers and clips; round 0 is the warm-up."""
    for index in range(options.warmup):
        yield 0, clips[index % len(clips)]
    for number in range(1, options.rounds + 1):
        for clip in clips:
            yield number, clip


def _headline(measured: Sequence[Measured], clips: Sequence[Clip], options: Options, labeller: str) -> Iterator[str]:
    for entry in measured:
        yield f"{entry.target.name:<8}{' '.join(entry.uris.values())}  {'; '.join(entry.programs)}"
    yield (
        f"{len(clips)} clips x {options.rounds} rounds after {options.warmup} warm-up turns, "
        f"{options.silence:g} s of silence; end of speech labelled by {labeller}"
    )


async def _about(measured: Sequence[Measured], options: Options) -> dict[str, object]:
    """The key `targets` of the JSON."""
    about: dict[str, object] = {}
    for entry in measured:
        status = await asyncio.to_thread(_status, options.http) if entry.target.name == "server" else None
        about[entry.target.name] = {
            **entry.uris,
            "programs": entry.programs,
            "pids": entry.usage.pids,
            "status": status,
        }
    return about


def _status(url: str) -> object:
    """What the server says of itself on its web port; None when it says nothing."""
    if not url.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/voice/status", timeout=_STATUS_SECONDS) as answer:
            status: object = json.loads(answer.read(_STATUS_BYTES))
    except (OSError, ValueError):
        return None
    if isinstance(status, dict):
        status.pop("turns", None)  # the turns here say more
    return status


def _about_clip(clip: Clip) -> dict[str, object]:
    return {
        "name": clip.name,
        "seconds": round(seconds(clip.pcm), 3),
        "end_of_speech": round(clip.end_of_speech, 3),
        "cut_seconds": round(clip.cut_seconds, 3),
        "reference": clip.reference,
    }


def _write(target: str, document: Mapping[str, object]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The JSON cannot be written to {target} ({error.strerror or error})") from None


if __name__ == "__main__":
    raise SystemExit(main())
