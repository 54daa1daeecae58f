"""Says a set of requests to the real agent and counts what it gets right, and how fast. See bench/README.md.

python -m bench.agent [--set FILE…] [--llm builtin|ollama[:MODEL]|URL[#MODEL]|none] [--language TAG] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from bench import agent_report
from bench.agent_run import Result, opened
from bench.agent_set import OWN, CaseSet, load_sets
from bench.command import exit_code
from bench.document import about_machine, write_json
from handlers.agent.llm.locality import is_local
from handlers.agent.stage import AgentSettings
from handlers.errors import SettingsError
from handlers.models.store import ModelStore

SCHEMA = 1
"""Version of the JSON; a key that changes its meaning makes it 2."""

_ENDPOINT = "endpoint"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    set: tuple[Path, ...]
    llm: str
    ollama: str
    language: str
    repeat: int
    timeout: float
    key_file: Path | None
    json: bool
    data_dir: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0; 1 when a request was routed or understood wrong, or a turn failed; 2 for bad input.

    What only the language model got wrong is in the figures and does not count here.
    """
    options = parse(arguments)
    return exit_code("bench/agent.py", lambda: asyncio.run(run(options)))


async def run(options: Options) -> int:
    """Measure and print. SettingsError for a set or a language model that cannot be used."""
    started = datetime.now(UTC)
    screen = sys.stderr if options.json else sys.stdout
    cases = load_sets(options.set, options.language)
    settings = agent_settings(options)
    results, model = await measure(cases, settings, options)
    languages = len({case.entry.language for case in cases.cases})
    print(
        f"{len(cases.cases)} requests x {options.repeat} in {languages} languages, language model: {model}\n",
        *agent_report.lines(results),
        sep="\n",
        file=screen,
    )
    if options.json:
        write_json(
            "-",
            {
                "schema": SCHEMA,
                "started": started.isoformat(timespec="seconds"),
                "config": {
                    **{name: getattr(options, name) for name in ("llm", "ollama", "language", "repeat", "timeout")},
                    "set": [str(path) for path in options.set],
                },
                "machine": about_machine(),
                "model": model,
                **agent_report.as_json(results),
            },
        )
    return 0 if all(is_sound(result) for result in results) else 1


async def measure(cases: CaseSet, settings: AgentSettings, options: Options) -> tuple[list[Result], str]:
    """What came of each request, round by round, and the name of the language model."""
    store = ModelStore(options.data_dir)
    results: list[Result] = []
    name = ""
    total = len(cases.cases) * options.repeat

    def show(result: Result) -> None:
        shown.append(result)
        if len(shown) % 50 == 0 or len(shown) == total:
            print(f"[{len(shown)}/{total}]", file=sys.stderr, flush=True)

    shown: list[Result] = []
    for number in range(1, options.repeat + 1):
        async with opened(settings, cases.tools, store) as runner:  # anew, so that no round hears of another
            name = runner.model.name or "none"
            if number == 1 and runner.no_memory:
                print(f"There is no memory: {runner.no_memory}", file=sys.stderr)
            results += await runner.run(cases, number, options.timeout, show)
    return results, name


def is_sound(result: Result) -> bool:
    """Whether everything is right that does not depend on the language model's wits."""
    if result.error:
        return False
    fast = result.case.entry.wanted_route == "fast" and not result.case.entry.needs_tools
    return result.right if fast else not result.judged.get("route")


def agent_settings(options: Options) -> AgentSettings:
    """The agent with the one language model that is asked for; SettingsError when that cannot be."""
    kind, _, model = options.llm.partition(":")
    # What is learnt from one request would change the answers to later ones.
    settings: dict[str, object] = {"memory": {"learn": False}, "builtin": {"model": ""}}
    if kind == "none":
        settings["order"] = ["builtin"]
    elif kind == "builtin":
        settings |= {"order": ["builtin"], "builtin": {}}
    elif kind == "ollama":
        settings |= {"order": ["ollama"], "ollama": {"url": options.ollama, "model": model}}
        settings["local_only"] = is_local(options.ollama)
    else:
        url, _, model = options.llm.partition("#")
        key = _key(options.key_file)
        settings |= {"order": [_ENDPOINT], "local_only": is_local(url)}
        settings["endpoints"] = [{"name": _ENDPOINT, "url": url, "model": model, "api_key": key}]
    try:
        return AgentSettings.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise SettingsError(
            f"--llm {options.llm} cannot be used: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _key(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"--key-file {file} cannot be read") from None


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; exits with 2 and one sentence when they cannot be used."""
    default_dir = os.environ.get("MEADOWLARK_DATA_DIR") or platformdirs.user_data_path("meadowlark")
    parser = argparse.ArgumentParser(prog="bench/agent.py", description="Measures what the agent gets right.")
    add = parser.add_argument
    add("--set", nargs="+", type=Path, default=[OWN], metavar="FILE", help="requests as YAML (bench/agent.yaml)")
    add(
        "--llm",
        type=_model,
        default="builtin",
        metavar="builtin|ollama[:MODEL]|URL[#MODEL]|none",
        help="who thinks (%(default)s); a URL is a server of OpenAI's protocol, as http://127.0.0.1:8000/v1",
    )
    add("--ollama", default="http://127.0.0.1:11434", metavar="URL", help="where Ollama listens (%(default)s)")
    add("--key-file", type=Path, metavar="FILE", help="has the key of the URL")
    add("--language", default="", metavar="TAG", help="only requests in this language, such as 'de'")
    add("--repeat", type=_count, default=1, metavar="N", help="rounds, each with an empty memory (%(default)s)")
    add("--timeout", type=_seconds, default=120.0, metavar="S", help="for one whole answer (%(default)s)")
    add("--json", action="store_true", help="print JSON on standard output, and the tables on standard error")
    add("--data-dir", type=Path, default=default_dir, metavar="DIR", help="has the models, or gets them")
    options = parser.parse_args(arguments)
    options.set = tuple(options.set)
    return Options(**vars(options))


def _model(text: str) -> str:
    known = text in ("builtin", "none", "ollama") or (text.startswith("ollama:") and text != "ollama:")
    if not known and not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"'{text}' is not builtin, ollama, ollama:MODEL, URL, URL#MODEL or none")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1000")
    return int(text)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds up to 3600")
    return value


if __name__ == "__main__":
    sys.exit(main())
