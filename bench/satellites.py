"""Many satellites at once, all in this process: each says a command now and then, and waits for its answer."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.clips import Clip
from bench.document import read_web
from bench.peer import Address
from bench.pipeline import ServerTarget
from bench.record import TurnRecord, take_turn
from bench.summary import Summary, summarise
from bench.usage import Usage, machine_cpu_seconds

CHUNK_SECONDS = 0.064
"""Of audio. Ours send 20 ms; longer pieces leave the shared processor to the server. It costs each turn up to 64 ms."""

_SILENCE_SECONDS = 3.0
"""After a command. Any server has found its end by then."""

_GUESSES = re.compile(r'^meadowlark_guesses_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)
_SAVED = re.compile(r"^meadowlark_guess_saved_seconds_total (\S+)$", re.MULTILINE)

LOST = "timeout"
"""Code of a turn whose answer was not whole in time."""


@dataclass(frozen=True)
class Plan:
    """How the satellites of a level behave; times in seconds."""

    every: float
    """In each interval of this length a satellite says one command, at a moment drawn evenly from the interval."""
    seconds: float
    """Commands begin within this time."""
    least_turns: int
    """With few satellites a level takes longer, until it has so many."""
    timeout: float
    """From the end of speech to the end of the answer; later is lost."""
    seed: int

    def moments(self, satellites: int) -> list[list[float]]:
        """For each satellite, when it begins to speak, in order; always the same for the same seed."""
        chance = random.Random(f"{self.seed}/{satellites}")
        intervals = max(int(self.seconds // self.every), -(-self.least_turns // satellites), 1)
        return [[self.every * (interval + chance.random()) for interval in range(intervals)] for _ in range(satellites)]


@dataclass(frozen=True)
class Guesses:
    """What the server counted of its guesses; see its /metrics."""

    kept: int
    discarded: int
    dropped: int
    saved_seconds: float


@dataclass(frozen=True)
class Level:
    """What came of so many satellites."""

    satellites: int
    elapsed: float
    """Seconds until the last answer."""
    records: list[TurnRecord]
    summary: Summary
    server_cpu: float | None
    """Share of one core over the level; 2.0 is two cores. None where the server's processes are not here."""
    client_cpu: float
    """The same of this process, which shares the machine with the server."""
    other_cpu: float | None
    """The same of everything else on this machine: what was taken from both. None where the server's is not known."""
    guesses: Guesses | None

    @property
    def lost(self) -> int:
        return sum(record.error_code == LOST for record in self.records)

    @property
    def errors(self) -> int:
        """Turns that failed otherwise."""
        return sum(record.error is not None and record.error_code != LOST for record in self.records)

    def as_dict(self) -> dict[str, object]:
        return {
            "satellites": self.satellites,
            "seconds": round(self.elapsed, 1),
            "errors": self.errors,
            "lost": self.lost,
            "server_cpu": self.server_cpu,
            "client_cpu": self.client_cpu,
            "other_cpu": self.other_cpu,
            "guesses": None if self.guesses is None else asdict(self.guesses),
            "summary": self.summary.as_dict(),
            "turns": [record.as_dict() for record in self.records],
        }


async def run_level(
    satellites: int,
    address: Address,
    clips: Sequence[Clip],
    plan: Plan,
    *,
    pids: Sequence[int] = (),
    http: str = "",
    ended: Callable[[TurnRecord], None] = lambda record: None,
) -> Level:
    """All turns of so many satellites. `ended` is told of each turn; `pids` are the server's processes."""
    usage = Usage(pids)
    records: list[TurnRecord] = []

    async def live(number: int, moments: Sequence[float], started: float) -> None:
        target = ServerTarget(
            address, _SILENCE_SECONDS, satellite=f"load-{satellites}-{number}", chunk_seconds=CHUNK_SECONDS
        )
        for turn, moment in enumerate(moments):
            await asyncio.sleep(started + moment - time.monotonic())
            clip = clips[(number + turn) % len(clips)]
            record = await take_turn(target, clip, turn + 1, plan.timeout)
            records.append(record)
            ended(record)

    before = await asyncio.to_thread(_counters, http)
    async with usage.watch():
        cpu_before, own_before, all_before = usage.cpu_seconds(), time.process_time(), machine_cpu_seconds()
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, moments in enumerate(plan.moments(satellites)):
                group.create_task(live(number, moments, started))
        elapsed = time.monotonic() - started
        cpu_after, own_after, all_after = usage.cpu_seconds(), time.process_time(), machine_cpu_seconds()
    after = await asyncio.to_thread(_counters, http)
    own = (own_after - own_before) / elapsed
    cpu = None if cpu_before is None or cpu_after is None else (cpu_after - cpu_before) / elapsed
    others = None if cpu is None else max(0.0, (all_after - all_before) / elapsed - cpu - own)
    return Level(
        satellites=satellites,
        elapsed=elapsed,
        records=records,
        summary=summarise(records, usage.peak_rss_mib),
        server_cpu=None if cpu is None else round(cpu, 3),
        client_cpu=round(own, 3),
        other_cpu=None if others is None else round(others, 3),
        guesses=_guesses(before, after),
    )


def growth(levels: Sequence[Level]) -> Iterator[tuple[Level, float | None]]:
    """Each level with its median wait for the first audio as a multiple of the first level's."""
    waits = [level.summary.ms.get("first_audio") for level in levels]
    first = waits[0]
    for level, wait in zip(levels, waits, strict=True):
        known = wait is not None and first is not None and first.median > 0
        yield level, round(wait.median / first.median, 2) if known and wait and first else None


def _counters(http: str) -> dict[str, float] | None:
    """The server's counts of guesses so far; None when it does not tell."""
    text = (read_web(http, "/metrics") or b"").decode("utf-8", "replace")
    counted = {outcome: float(value) for outcome, value in _GUESSES.findall(text)}
    saved = _SAVED.search(text)
    return {**counted, "saved": float(saved[1])} if saved else counted or None


def _guesses(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> Guesses | None:
    if after is None:
        return None
    grown = {name: value - (before or {}).get(name, 0.0) for name, value in after.items()}
    kept, discarded, dropped = (int(grown.get(name, 0.0)) for name in ("kept", "discarded", "dropped"))
    return Guesses(kept, discarded, dropped, round(grown.get("saved", 0.0), 2))
