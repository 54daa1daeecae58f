"""Measures the memory: what it finds, how fast, and what a kill leaves of it. See bench/README.md.

python bench/memory.py locomo10.json [--json] [--conversations 0-4|5-9|all] [--sizes 1000,10000,50000] [--kills N]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, get_args

import numpy as np
import platformdirs

from bench import memory_crash, memory_household, memory_index_crash
from bench.command import exit_code
from bench.document import about_machine, write_json
from bench.locomo import CATEGORIES, SCORED, Conversation, load, recall_at, reciprocal_rank
from bench.memory_speed import Speed
from bench.memory_speed import measure as measure_speed
from bench.memory_systems import OURS, Answered, Others, Search, answer, ours
from handlers.agent.memory.minilm import MiniLM
from handlers.agent.memory.stage import Embedder, Index
from handlers.models.catalogue import MINILM, ModelKind
from handlers.models.store import ModelStore

SCHEMA = 1
"""Version of the JSON; a key that changes its meaning makes it 2."""

CONVERSATIONS = {"0-4": range(5), "5-9": range(5, 10), "all": range(10)}
"""Ours was tuned on 0-4 only."""

_BOTH = ("0-4", "5-9")


@dataclass
class Scores:
    """What one system found: a row for each question."""

    rows: list[tuple[int, int, float, float, float, float]] = field(default_factory=list)
    """Conversation, category, recall@5, recall@10, reciprocal rank, milliseconds."""

    def add(self, conversation: int, category: int, evidence: frozenset[str], found: Answered) -> None:
        recalls = (recall_at(found.rank, evidence, 5), recall_at(found.rank, evidence, 10))
        self.rows.append((conversation, category, *recalls, reciprocal_rank(found.rank, evidence), found.ms))

    def figures(self, categories: Sequence[int] = SCORED, conversations: Sequence[int] = range(10)) -> dict[str, float]:
        """Percent, of all questions of these categories; nothing without any."""
        rows = [row for row in self.rows if row[1] in categories and row[0] in conversations]
        if not rows:
            return {}
        means = np.mean([row[2:5] for row in rows], axis=0)
        names = ("recall@5", "recall@10", "mrr")
        figures = {name: round(100 * float(mean), 1) for name, mean in zip(names, means, strict=True)}
        return {"questions": len(rows), **figures}

    def latency(self) -> dict[str, float]:
        p50, p95 = np.percentile([row[5] for row in self.rows], [50, 95])
        return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}

    def as_dict(self) -> dict[str, object]:
        parts = {f"conversations {name}": self.figures(conversations=CONVERSATIONS[name]) for name in _BOTH}
        categories = {CATEGORIES[number]: self.figures((number,)) for number in CATEGORIES}
        return {**self.figures(), **{k: v for k, v in {**parts, **categories}.items() if v}, **self.latency()}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    file: Path | None
    json: bool
    conversations: str
    index: Index
    ours_only: bool
    sizes: tuple[int, ...]
    kills: int
    seed: int
    data_dir: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0; 1 when the household's gates were missed or a kill lost something; 2 for bad input."""
    options = _parse(arguments)
    return exit_code("bench/memory.py", lambda: asyncio.run(run(options)))


async def run(options: Options) -> int:
    """Measure and print."""
    screen = sys.stderr if options.json else sys.stdout
    model = await asyncio.to_thread(ModelStore(options.data_dir).locate, MINILM.name, ModelKind.EMBEDDING)
    document: dict[str, object] = {
        "schema": SCHEMA,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about_machine(),
    }
    embedder = MiniLM(model)
    try:
        if options.file is not None:
            systems = await _locomo(load(options.file), embedder, options, screen)
            document |= systems[OURS].figures(conversations=CONVERSATIONS[options.conversations])
            document["locomo"] = {name: scores.as_dict() for name, scores in systems.items()}
            print("", *_locomo_lines(systems), sep="\n", file=screen, flush=True)
        household = await memory_household.measure(embedder, options.index)
    finally:
        await embedder.close()
    passed = household.passed
    document["household"] = {**asdict(household), "passed": household.passed}
    print("", *_household_lines(household), sep="\n", file=screen, flush=True)
    document["speed"] = [asdict(speed) for speed in await asyncio.to_thread(_speeds, options, model, screen)]
    if options.kills:
        for name, measure in (("crash", memory_crash.run), ("crash with Chroma", memory_index_crash.measure)):
            report = await asyncio.to_thread(measure, options.kills, options.seed)
            passed &= report.clean
            document[name] = asdict(report)
            print("", f"{name}, {report.kills} kills", *_shown(asdict(report)), sep="\n", file=screen, flush=True)
    if options.json:
        write_json("-", document)
    return 0 if passed else 1


async def _locomo(
    conversations: Sequence[Conversation], embedder: Embedder, options: Options, screen: TextIO
) -> dict[str, Scores]:
    """Every system over the chosen conversations, ours first."""
    systems: dict[str, Scores] = {}
    chosen = [entry for entry in conversations if entry.number in CONVERSATIONS[options.conversations]]
    for conversation in chosen:
        print(f"conversation {conversation.number}: {len(conversation.turns)} turns", file=screen, flush=True)
        async with ours(conversation, embedder, options.index) as search:
            await _ask(search, conversation, systems.setdefault(OURS, Scores()))
        if options.ours_only:
            continue
        others = await Others.prepare(conversation, embedder)
        try:
            for name, search in others.searches().items():
                await _ask(search, conversation, systems.setdefault(name, Scores()))
        finally:
            others.close()
    return systems


async def _ask(search: Search, conversation: Conversation, scores: Scores) -> None:
    for question in conversation.questions:
        found = await answer(search, question.text)
        scores.add(conversation.number, question.category, question.evidence, found)


def _speeds(options: Options, model: Path, screen: TextIO) -> list[Speed]:
    kinds: list[Index] = [options.index]
    if options.index == "auto":
        kinds = ["numpy", "chroma"] if importlib.util.find_spec("chromadb") else ["numpy"]
    speeds = []
    for size in options.sizes:
        for kind in kinds:
            speeds.append(measure_speed(size, kind, model))
            lines = [f"{'':<12}" + "".join(f"{name:>15}" for name in _SPEED_COLUMNS)] if len(speeds) == 1 else []
            print(*([""] if lines else []), *lines, _speed_line(speeds[-1]), sep="\n", file=screen, flush=True)
    return speeds


_SPEED_COLUMNS = {
    "recall p50 ms": "recall_p50",
    "p95 ms": "recall_p95",
    "embedding p50": "embedding_p50",
    "add p50 ms": "add_p50",
    "adds/s": "adds_per_second",
    "import/s": "filled_per_second",
    "index anew s": "index_seconds",
    "RSS MiB": "rss_mib",
    "disk MiB": "disk_mib",
}


def _speed_line(speed: Speed) -> str:
    figures = asdict(speed)
    return f"{speed.index:<7}{speed.size:>5}" + "".join(f"{figures[key]:>15}" for key in _SPEED_COLUMNS.values())


def _locomo_lines(systems: Mapping[str, Scores]) -> Iterator[str]:
    yield "LoCoMo, recall@5 / recall@10 in percent"
    columns = ["1-4 all", *_BOTH, *(CATEGORIES[number] for number in CATEGORIES)]
    yield f"{'':<16}" + "".join(f"{name:>14}" for name in columns) + f"{'MRR':>7}{'p50 ms':>8}{'p95 ms':>8}"
    for name, scores in systems.items():
        cells = [scores.figures()]
        cells += [scores.figures(conversations=CONVERSATIONS[part]) for part in _BOTH]
        cells += [scores.figures((number,)) for number in CATEGORIES]
        shown = "".join(f"{_pair(cell):>14}" for cell in cells)
        latency = scores.latency()
        yield f"{name:<16}{shown}{cells[0].get('mrr', 0.0):>7}{latency['p50_ms']:>8}{latency['p95_ms']:>8}"


def _pair(figures: Mapping[str, float]) -> str:
    return f"{figures['recall@5']:.1f}/{figures['recall@10']:.1f}" if figures else "-"


def _household_lines(report: memory_household.HouseholdReport) -> Iterator[str]:
    yield f"household, {report.facts} facts, {report.questions} questions, index {report.index}"
    figures = {key: value for key, value in asdict(report).items() if key not in ("facts", "questions", "index")}
    yield from _shown(figures)
    yield f"  gates {'passed' if report.passed else 'MISSED'}: {_listed(memory_household.GATES)}"


def _shown(figures: Mapping[str, object]) -> Iterator[str]:
    for name, value in figures.items():
        shown = _listed(value) if isinstance(value, dict) else value
        yield f"  {name.replace('_', ' ')}: {shown}"


def _listed(figures: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def _parse(arguments: Sequence[str] | None) -> Options:
    default_dir = os.environ.get("MEADOWLARK_DATA_DIR") or platformdirs.user_data_path("meadowlark")
    parser = argparse.ArgumentParser(prog="bench/memory.py", description="Measures the memory.")
    add = parser.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help="locomo10.json; without it, only what is ours is measured")
    add("--json", action="store_true", help="print JSON on standard output, and the tables on standard error")
    add("--conversations", choices=CONVERSATIONS, default="all", help="of LoCoMo (%(default)s)")
    add("--index", choices=get_args(Index), default="auto", help="as in the settings (%(default)s)")
    add("--ours-only", action="store_true", help="leave out the systems that it is compared with")
    add("--sizes", type=_sizes, default=(1000, 10_000, 50_000), metavar="N,N", help="notes in the stores; 0 for none")
    add("--kills", type=int, default=0, metavar="N", help="kill -9 so often, the journal and with Chroma (%(default)s)")
    add("--seed", type=int, default=1, help="of the kills (%(default)s)")
    add("--data-dir", type=Path, default=default_dir, metavar="DIR", help="has the embedding model, or gets it")
    return Options(**vars(parser.parse_args(arguments)))


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split(","))
    if any(size < 0 or size > 1_000_000 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text} are not numbers of notes from 0 to 1000000")
    return tuple(size for size in sizes if size)


if __name__ == "__main__":
    sys.exit(main())
