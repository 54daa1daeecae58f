"""Measures how long the agent waits for Home Assistant to say whether it understands a sentence.

python bench/house.py [--http HOST:PORT] [--wyoming URI] [--sentences N] [--json FILE]

Runs a server, waits until a Home Assistant lends its house to it, and asks it for sentences that it knows, made of the
names that are lent, and for sentences that it does not know.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.command import exit_code
from bench.summary import Spread, spread
from handlers.agent.agent import Agent, KnownCommands
from handlers.agent.stage import Request
from handlers.errors import MeadowlarkError
from server.app import App
from server.settings import ServerSettings

BAR_MS = 25.0
"""The 95th percentile must not be above it: so long may the first guess of a sentence take longer than without a
house, and nobody hears it."""

_LENT_SECONDS = 600.0
"""For somebody to set the integration up."""

_WARMING = 5
"""Sentences before those that count: Home Assistant builds its lists of names for the first."""

_SEED = 1
"""The same house is asked for the same sentences."""


@dataclass(frozen=True)
class Figures:
    """Of one kind of sentence; times in milliseconds."""

    kind: str
    sentences: int
    understood: int
    """By Home Assistant."""
    recognize_ms: Spread
    """Until Home Assistant has said whether it understands a sentence."""
    route_ms: Spread
    """Until the agent knows how it answers: its own skills, then the house."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0; 1 when the bar was missed; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="bench/house.py", description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("--http", default="127.0.0.1:10680", metavar="HOST:PORT", help="what to set up in Home Assistant (%(default)s)")
    add("--wyoming", default="tcp://127.0.0.1:10600", metavar="URI", help="where its audio goes (%(default)s)")
    add("--data-dir", type=Path, default=ServerSettings().data_dir, help="where models are kept (%(default)s)")
    add("--sentences", type=int, default=100, metavar="N", help="of each kind (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return exit_code("bench/house.py", lambda: asyncio.run(_run(options)))


async def _run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to((options.data_dir / "models").resolve())
        settings = ServerSettings.model_validate(
            {
                "data_dir": folder,  # memories, timers and the server's id are of this run alone
                "http": {"address": options.http},
                "wyoming": {"uri": options.wyoming},
                "agent": {"order": ["builtin"], "builtin": {"model": ""}, "memory": {"enabled": False}},
            }
        )
        app = App(settings)
        await app.start()
        try:
            print(f"Set Meadowlark up in Home Assistant: 127.0.0.1, port {app.http_port}", flush=True)
            assert app.engines is not None
            agent = app.engines.agent
            await asyncio.gather(app.engines.warming, app.engines.rehearsing)  # they take a core
            await _until_lent(agent)
            rows = [row async for row in _measure(agent, options.sentences)]
        finally:
            await app.close()
    for row in rows:
        print(_line(row))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.recognize_ms.p95 <= BAR_MS and row.route_ms.p95 <= BAR_MS for row in rows) else 1


async def _until_lent(agent: Agent) -> None:
    """A house is there, with names; what changes while Home Assistant starts has been told."""
    try:
        async with asyncio.timeout(_LENT_SECONDS):
            before = 0
            while not (agent.house.names and len(agent.house.names) == before):
                before = len(agent.house.names)
                await asyncio.sleep(2)
    except TimeoutError:
        raise MeadowlarkError("No Home Assistant has lent its house: set the integration up") from None


async def _measure(agent: Agent, wanted: int) -> AsyncIterator[Figures]:
    chance = random.Random(_SEED)
    for kind, sentences in (("known", list(_known(agent.house.names))), ("unknown", list(_unknown()))):
        chance.shuffle(sentences)
        if len(sentences) < wanted + _WARMING:
            raise MeadowlarkError(f"The house has too few names for {wanted} sentences: lend more, or ask for fewer")
        commands = agent.commands(Request(""))
        understood, asking, routing = 0, [], []
        for number, sentence in enumerate(sentences[: wanted + _WARMING]):
            request = Request(sentence)
            asked = await _milliseconds(agent.house.look_up(request))
            understood += number >= _WARMING and agent.house.understands(request) is not None
            # Written in another way: what was looked up before is remembered.
            routed = await _milliseconds(_route(commands, f"{sentence.capitalize()}."))
            if number >= _WARMING:
                asking.append(asked)
                routing.append(routed)
        recognize, route = spread(asking), spread(routing)
        assert recognize is not None
        assert route is not None
        yield Figures(kind, wanted, understood, recognize, route)


async def _route(commands: KnownCommands, sentence: str) -> None:
    await commands.consider(sentence, "en")
    commands.knows(sentence, "en")


async def _milliseconds(work: Coroutine[None, None, None]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


def _line(row: Figures) -> str:
    ask, route = row.recognize_ms, row.route_ms
    return (
        f"{row.sentences} {row.kind} sentences, {row.understood} understood (milliseconds, the bar is {BAR_MS:g} p95)\n"
        f"  asking the house: median {ask.median:.1f}, p95 {ask.p95:.1f}, max {ask.max:.1f}\n"
        f"  choosing a route: median {route.median:.1f}, p95 {route.p95:.1f}, max {route.max:.1f}"
    )


def _known(names: Sequence[str]) -> Iterator[str]:
    """Sentences that Home Assistant knows of all things that can be switched."""
    for verb, name in itertools.product(("turn on", "turn off"), names):
        yield f"{verb} {name}"


def _unknown() -> Iterator[str]:
    """Sentences that only a language model understands."""
    asked = ("why do you think that", "tell me how", "what would happen if", "do you remember when", "is it true that")
    who = ("my neighbour", "a small bird", "the old king", "our teacher", "somebody", "the whole town", "no one")
    does = ("sings at night", "travels to the moon", "forgot the bread", "likes green paint", "lost a shoe", "sleeps")
    for words in itertools.product(asked, who, does):
        yield " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
