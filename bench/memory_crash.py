"""Kill -9 a process that remembers, again and again, and see whether anything it had acknowledged is gone.

python -m bench.memory_crash [--kills 200] [--seed 1] [--json [FILE]]. A third of the kills come at random moments, a
third while SQLite writes its log back into the file, a third while forgotten notes are purged.

The child tells on standard output, one JSON object per line, what it was told to be on disk: {"op": "add", "id",
"number"}, "vector", "link", "revise", "forgetting" (begins), "forget" (is done); and {"op": "phase", "name"} when
something begins that a kill can be aimed at.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from bench.command import exit_code
from bench.document import about_machine, write_json
from handlers.agent.memory.journal import Journal
from handlers.agent.memory.sqlite_file import NAME
from handlers.agent.memory.stage import (
    HOUSEHOLD,
    Link,
    LinkKind,
    Meaning,
    NewNote,
    Note,
    Origin,
    Source,
    Space,
    Vectors,
)
from handlers.errors import EngineError

AIMS = ("random", "checkpoint", "purge")
"""When to kill: at any moment; while the log is folded into the file; in a phase that the child announces."""

SPACE = Space("crash", "", 384)

_SOURCE = Source(Origin.SAID, "anna", "kitchen")

_KILLS_PER_FOLDER = 20
"""So that stores are young and old, and a wedge in one is not counted in all that follow."""

_RANDOM_SECONDS = 0.4
"""Of work before a random kill: some hundred notes."""

_PHASE_SECONDS = 0.03
"""How far into a phase an aimed kill comes at most; a purge of such a store takes about as long."""

_AIM_SECONDS = 20.0
"""A phase that does not come within this is not waited for; the kill then counts as random."""

_START_SECONDS = 60.0
"""Until a child has opened its store, on a loaded machine."""

_BURST = 20

Followed = Callable[[str, Sequence[str], Vectors | None], None]
"""What else a child does behind the journal, in an index: ('put', ids, vectors) or ('remove', ids, None)."""

Check = Callable[[Path, Journal], int]
"""Looks at a folder after a kill, beside the journal's own check; returns how many faults it found."""


@dataclass
class CrashReport:
    """What came of the kills. All but the first four figures and the times must be 0."""

    kills: int = 0
    aimed: dict[str, int] = field(default_factory=dict)
    """Kills by what they hit."""
    acknowledged: int = 0
    """Notes that the children were told to be on disk."""
    forgotten: int = 0
    lost: int = 0
    """Acknowledged notes that are gone or changed."""
    lost_vectors: int = 0
    lost_links: int = 0
    lost_versions: int = 0
    returned: int = 0
    """Forgotten notes that came back."""
    residue: int = 0
    """Forgotten notes of which a file still has words after the next start."""
    unsearchable: int = 0
    """Notes that full-text search does not find, of those tried."""
    damaged: int = 0
    """Stores that were not whole when opened."""
    faults: int = 0
    """Found by the caller's own check."""
    reopen_ms_p50: float = 0.0
    reopen_ms_max: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        wrong = self.lost + self.lost_vectors + self.lost_links + self.lost_versions + self.returned + self.residue
        return wrong + self.unsearchable + self.damaged + self.faults == 0


@dataclass
class _Told:
    """What children said about one folder."""

    notes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Seed and number, by id."""
    vectors: set[str] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    forgetting: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)


def run(
    kills: int,
    seed: int,
    *,
    child_module: str = "bench.memory_crash",
    aims: Sequence[str] = AIMS,
    check: Check | None = None,
) -> CrashReport:
    """Kill children that often and look after each. `child_module` is run as `python -m … --child FOLDER --seed N`.

    Raises EngineError when a child ends by itself.
    """
    chance = random.Random(seed)
    report = CrashReport()
    hits: Counter[str] = Counter()
    reopened: list[float] = []
    told = _Told()
    with tempfile.TemporaryDirectory(prefix="memory-crash-") as scratch:
        for number in range(kills):
            folder = Path(scratch) / str(number // _KILLS_PER_FOLDER)
            if number % _KILLS_PER_FOLDER == 0:
                _count(report, told)
                told = _Told()
            child_seed = chance.randrange(1 << 30)
            hits[_kill_one(child_module, folder, child_seed, aims[number % len(aims)], chance, told)] += 1
            begin = time.perf_counter()
            journal = Journal(folder)
            reopened.append((time.perf_counter() - begin) * 1000)
            try:
                _look(journal, folder, told, report, chance)
                if check is not None:
                    report.faults += check(folder, journal)
            finally:
                journal.close()
            report.kills += 1
    _count(report, told)
    report.aimed = dict(hits)
    if reopened:
        report.reopen_ms_p50, report.reopen_ms_max = statistics.median(reopened), max(reopened)
    return report


def announce(phase: str) -> None:
    """For a child: something begins that a kill can be aimed at."""
    _tell(op="phase", name=phase)


def work(folder: Path, seed: int, follow: Followed | None = None) -> None:
    """For a child: remember, link, revise and forget until somebody kills this process."""
    chance = random.Random(seed)
    journal = Journal(folder)
    try:
        notes = [note.id for note in journal.page(HOUSEHOLD, limit=100_000)]
        _tell(op="open")
        number = 0
        while True:
            what = chance.random()
            if what < 0.75:
                notes.append(_add(journal, seed, number, notes[-1] if notes else ""))
                number += 1
            elif what < 0.83:
                burst: list[str] = []
                for _ in range(_BURST):
                    burst.append(_add(journal, seed, number, burst[-1] if burst else ""))
                    number += 1
                _enrich(journal, burst, follow)
                notes += burst
            elif not notes:
                continue
            elif what < 0.9:
                note = journal.revise(HOUSEHOLD, chance.choice(notes), Meaning((f"revised{number}",)), _SOURCE)
                _tell(op="revise", id=note.id, version=note.version)
            elif what < 0.97:
                _forget(journal, notes.pop(chance.randrange(len(notes))), follow)
            else:
                announce("purge")
                journal.purge()
    finally:
        journal.close()


def _add(journal: Journal, seed: int, number: int, previous_id: str) -> str:
    note = journal.add(HOUSEHOLD, NewNote(content(seed, number), _SOURCE, previous_id=previous_id))
    _tell(op="add", id=note.id, seed=seed, number=number)
    return note.id


def _enrich(journal: Journal, ids: Sequence[str], follow: Followed | None) -> None:
    vectors = np.stack([vector(note_id) for note_id in ids])
    journal.put_vectors(HOUSEHOLD, SPACE, ids, vectors)
    for note_id in ids:
        _tell(op="vector", id=note_id)
    pairs = list(zip(ids[1:], ids, strict=False))
    journal.link(HOUSEHOLD, [Link(first, second, LinkKind.SIMILAR) for first, second in pairs], _SOURCE)
    for first, second in pairs:
        _tell(op="link", first=first, second=second)
    if follow is not None:
        follow("put", ids, vectors)


def _forget(journal: Journal, note_id: str, follow: Followed | None) -> None:
    _tell(op="forgetting", id=note_id)
    journal.forget(HOUSEHOLD, [note_id])
    _tell(op="forget", id=note_id)
    if follow is not None:
        follow("remove", [note_id], None)


def content(seed: int, number: int) -> str:
    """The words of a note; its first is in no other."""
    return f"w{seed}x{number}x is what somebody said in the kitchen, the {number}th thing that is to be kept"


def vector(note_id: str) -> Vectors:
    """The vector of a note; the same each time."""
    drawn = np.random.default_rng(int(note_id, 16)).standard_normal(SPACE.dimensions).astype(np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn)
    return unit


def _tell(**what: object) -> None:
    """At once and in one piece: a line is shorter than a pipe's atomic write."""
    os.write(1, json.dumps(what).encode() + b"\n")


def _kill_one(module: str, folder: Path, seed: int, aim: str, chance: random.Random, told: _Told) -> str:
    """Start a child, kill it, take down what it told. Returns what was hit."""
    command = [sys.executable, "-m", module, "--child", str(folder), "--seed", str(seed)]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert child.stdout is not None
            lines = _Lines(child.stdout.fileno())
            hit = _wait(lines, folder, aim, chance)
            if not lines.open:
                errors.seek(0)
                last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
                raise EngineError(f"{module} ended by itself: {last[0] if last else 'it said nothing'}")
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            if child.stdout is not None:
                lines.drain()
                child.stdout.close()
    for line in lines.all:
        _take_down(told, json.loads(line))
    return hit


def _wait(lines: _Lines, folder: Path, aim: str, chance: random.Random) -> str:
    """Return at the moment of the kill."""
    if not lines.read_until(lambda line: b'"open"' in line, _START_SECONDS) and lines.open:
        raise EngineError(f"The child has not opened its store in {_START_SECONDS:g} s")
    if aim == "checkpoint":
        path = folder / NAME
        begin, before = time.monotonic(), path.stat().st_mtime_ns
        while time.monotonic() - begin < _AIM_SECONDS and lines.open:
            if path.stat().st_mtime_ns != before:
                return aim
            lines.read(0.0)
    elif aim != "random":
        phase = json.dumps({"op": "phase", "name": aim}).encode()
        if lines.read_until(lambda line: line == phase, _AIM_SECONDS):
            time.sleep(chance.uniform(0, _PHASE_SECONDS))
            return aim
    else:
        lines.read_until(lambda line: False, chance.uniform(0, _RANDOM_SECONDS))
    return "random"


class _Lines:
    """What a child writes, read so that it never waits for us."""

    def __init__(self, descriptor: int) -> None:
        self.all: list[bytes] = []
        self.open = True
        self._descriptor = descriptor
        self._rest = b""

    def read(self, seconds: float) -> Iterator[bytes]:
        """New lines, when there are any within that time."""
        begin = len(self.all)
        if self.open and select.select([self._descriptor], [], [], seconds)[0]:
            data = os.read(self._descriptor, 1 << 16)
            self.open = bool(data)
            *whole, self._rest = (self._rest + data).split(b"\n")
            self.all += whole
        return iter(self.all[begin:])

    def read_until(self, wanted: Callable[[bytes], bool], seconds: float) -> bool:
        """Whether a line that is wanted came within that time."""
        deadline = time.monotonic() + seconds
        while self.open and (left := deadline - time.monotonic()) > 0:
            if any(wanted(line) for line in self.read(left)):
                return True
        return False

    def drain(self) -> None:
        """What was written before the kill."""
        while self.open:
            self.read(0.0)


def _take_down(told: _Told, line: dict[str, object]) -> None:
    note_id = str(line.get("id", ""))
    match line["op"]:
        case "add":
            told.notes[note_id] = (int(str(line["seed"])), int(str(line["number"])))
        case "vector":
            told.vectors.add(note_id)
        case "link":
            told.links.add((str(line["first"]), str(line["second"])))
        case "revise":
            told.versions[note_id] = int(str(line["version"]))
        case "forgetting":
            told.forgetting.add(note_id)
        case "forget":
            told.forgotten.add(note_id)


def _look(journal: Journal, folder: Path, told: _Told, report: CrashReport, chance: random.Random) -> None:
    """Compare a store with what children were told about it."""
    report.damaged += bool(journal.notice)
    there = {note.id: note for note in journal.page(HOUSEHOLD, limit=1_000_000)}
    due = [note_id for note_id in told.notes if note_id not in told.forgetting]
    report.lost += sum(not _is_same(there.get(note_id), told, note_id) for note_id in due)
    report.lost_versions += sum(
        note_id in there and there[note_id].version < told.versions.get(note_id, 1) for note_id in due
    )
    ids, vectors = journal.vectors(HOUSEHOLD, SPACE)
    rows = dict(zip(ids, vectors, strict=True))
    report.lost_vectors += sum(
        note_id not in rows or not np.array_equal(rows[note_id], vector(note_id))
        for note_id in told.vectors - told.forgetting
    )
    links = {(link.first, link.second) for link in journal.links(HOUSEHOLD, list(there))}
    report.lost_links += sum(not ({*pair} & told.forgetting) and pair not in links for pair in told.links)
    report.returned += len(told.forgotten & there.keys())
    for note_id in chance.sample(due, min(20, len(due))):
        word = content(*told.notes[note_id]).split()[0]
        found = {found for found, _ in journal.lexical(HOUSEHOLD, f'content : "{word}"', 5)}
        report.unsearchable += found != {note_id}
    data = b"".join(path.read_bytes() for path in sorted(folder.glob(f"{NAME}*")))
    # A child may forget a note that one before it had stored, but was killed before it could say so.
    known = told.forgotten & told.notes.keys()
    report.residue += sum(content(*told.notes[note_id]).encode() in data for note_id in known)


def _is_same(note: Note | None, told: _Told, note_id: str) -> bool:
    return note is not None and note.content == content(*told.notes[note_id])


def _count(report: CrashReport, told: _Told) -> None:
    report.acknowledged += len(told.notes)
    report.forgotten += len(told.forgotten)


def _print(report: CrashReport) -> None:
    aimed = ", ".join(f"{count} {aim}" for aim, count in sorted(report.aimed.items()))
    print(f"{report.kills} kills ({aimed}); {report.acknowledged} notes acknowledged, {report.forgotten} forgotten")
    print(f"lost: {report.lost} notes, {report.lost_vectors} vectors, {report.lost_links} links, ", end="")
    print(f"{report.lost_versions} versions; came back: {report.returned}; residue: {report.residue}")
    print(f"not found by words: {report.unsearchable}; damaged stores: {report.damaged}; faults: {report.faults}")
    print(f"reopening: {report.reopen_ms_p50:.0f} ms (median), {report.reopen_ms_max:.0f} ms (longest)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory_crash", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        work(options.child, options.seed)
    report = run(options.kills, options.seed)
    if options.json:
        write_json(options.json, {"machine": about_machine(), "crash": asdict(report)})
    if options.json != "-":
        _print(report)
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(exit_code("memory_crash", main))
