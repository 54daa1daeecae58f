"""Measures spoken turns from the client's side, in real time, over the real socket. See bench/README.md.

python bench/turn.py [WAV… | FOLDER…] [--server tcp://HOST:PORT] [--websocket] [--asr HOST:PORT --tts HOST:PORT]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.chart import choose, draw, lane
from bench.clips import Clip, load_clips, speak_clips
from bench.command import exit_code
from bench.document import about_clip, about_machine, server_status, write_json
from bench.labels import choose_labeller
from bench.options import Options, parse
from bench.peer import Address, programs
from bench.pipeline import ServerTarget
from bench.record import Target, TurnRecord, take_turn
from bench.report import as_json, lines, progress
from bench.summary import Summary, summarise
from bench.usage import Usage, listening
from bench.websocket import PageTarget
from bench.wyoming_chain import ChainOptions, ChainTarget
from handlers.errors import SettingsError
from handlers.wire.client import parse_uri

SCHEMA = 1
"""Version of the JSON; a key that changes its meaning makes it 2."""

_WYOMING_PORT = 10600
_ASR_PORT, _TTS_PORT = 10300, 10200
"""Where wyoming-faster-whisper and wyoming-piper listen in their own examples."""


@dataclass(frozen=True)
class Measured:
    """A target, and what there is to know about it."""

    target: Target
    uris: dict[str, str]
    programs: list[str]
    usage: Usage
    tts: Address
    """Who speaks the questions when there are no recordings."""
    role: str = ""
    """Behind its programs in a title, where the same programs are measured in two ways."""

    @property
    def title(self) -> str:
        """What a picture calls it: its programs with their versions."""
        names = {" ".join(program.split(" (")[0].split()[1:]): None for program in self.programs}
        shown = ", ".join(names) or self.target.name
        if self.target.name == "chain":
            return shown
        return shown[:1].upper() + shown[1:] + self.role


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when every turn was answered, 1 when some failed, 2 for bad input."""
    options = parse(arguments)
    return exit_code("bench/turn.py", lambda: asyncio.run(run(options)))


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
    if options.chart is not None:
        _draw(options.chart, measured, records, summaries)
    if options.json is not None:
        write_json(
            options.json,
            {
                "schema": SCHEMA,
                "started": started.isoformat(timespec="seconds"),
                "config": {
                    **asdict(options),
                    "paths": [str(path) for path in options.paths],
                    "chart": None if options.chart is None else str(options.chart),
                    "token_file": None if options.token_file is None else str(options.token_file),
                    "labeller": labeller,
                },
                "machine": about_machine(),
                "targets": await _about(measured, options),
                "clips": [about_clip(clip) for clip in clips],
                "turns": [record.as_dict() for record in records],
                "summary": as_json(summaries, records),
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
        roles = (", as a satellite", ", as the page") if options.websocket else ("", "")
        found.append(Measured(server, {"server": options.server}, known, usage, address, roles[0]))
        if options.websocket:
            page = PageTarget(
                options.http,
                options.silence,
                options.language,
                hang_up=options.hang_up,
                token=_token(options.token_file),
                frame_seconds=options.frame_ms / 1000,
            )
            await page.check()
            found.append(Measured(page, {"websocket": page.url}, known, Usage(usage.pids), address, roles[1]))
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
            for entry in _rotated(measured, clips.index(clip) + number):
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


def _rotated(measured: Sequence[Measured], count: int) -> Sequence[Measured]:
    """The targets as they take their turns with a question. The satellite and the page are the same server, which
    knows the second time what it has just answered: so each of them begins with every other question, and with each
    question in every other round."""
    if count % 2 and [entry.target.name for entry in measured[:2]] == ["server", "websocket"]:
        return [measured[1], measured[0], *measured[2:]]
    return measured


def _token(file: Path | None) -> str:
    """What the file holds. Raises SettingsError."""
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}): give a file that holds a token") from None


def _headline(measured: Sequence[Measured], clips: Sequence[Clip], options: Options, labeller: str) -> Iterator[str]:
    for entry in measured:
        yield f"{entry.target.name:<10}{' '.join(entry.uris.values())}  {'; '.join(entry.programs)}"
    yield (
        f"{len(clips)} clips x {options.rounds} rounds after {options.warmup} warm-up turns, "
        f"{options.silence:g} s of silence; end of speech labelled by {labeller}"
    )


def _draw(
    file: Path, measured: Sequence[Measured], records: Sequence[TurnRecord], summaries: Mapping[str, Summary]
) -> None:
    """Write the picture of one turn. Raises SettingsError when there is none, or the file cannot be written."""
    shown = choose(records, summaries)
    if not shown:
        raise SettingsError(f"{file} was not drawn: no question was answered by all that were measured")
    titles = {entry.target.name: entry.title for entry in measured}
    question = shown[0].reference or shown[0].transcript
    try:
        file.write_text(draw([lane(record, titles[record.target]) for record in shown], question), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The chart cannot be written to {file} ({error.strerror or error})") from None


async def _about(measured: Sequence[Measured], options: Options) -> dict[str, object]:
    """The key `targets` of the JSON."""
    about: dict[str, object] = {}
    for entry in measured:
        status = await asyncio.to_thread(server_status, options.http) if entry.target.name == "server" else None
        about[entry.target.name] = {
            **entry.uris,
            "programs": entry.programs,
            "pids": entry.usage.pids,
            "status": status,
        }
    return about


if __name__ == "__main__":
    raise SystemExit(main())
