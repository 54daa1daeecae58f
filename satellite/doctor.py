"""The command `meadowlark-satellite doctor`: tries everything that a satellite needs, and says what to change."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Sequence
from typing import TextIO

from handlers.errors import MeadowlarkError, MissingExtraError
from satellite.blocking import call
from satellite.doctor_sound import check_sound
from satellite.doctor_system import check_house, check_server, check_system
from satellite.findings import Finding, Person, Tell, as_data, is_well, line, summary
from satellite.flags import add_flags, settings_from
from satellite.settings import SatelliteSettings
from satellite.usable import check_usable

_ANSWER_SECONDS = 30.0
"""For the person to answer a question."""

_INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


def main(arguments: Sequence[str]) -> int:
    """Run the checks. 0: nothing is a problem, 1: something is, 2: the settings cannot be used."""
    options = _parser().parse_args(arguments)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        if not options.json:
            _write(line(finding))

    try:
        settings = settings_from(options)
        # What goes wrong is a finding; the log would say it a second time.
        level = logging.DEBUG if settings.log_level == "debug" else logging.CRITICAL
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        person = None if options.quick or not sys.stdin.isatty() else Terminal()
        asyncio.run(examine(settings, person, tell))
    except MeadowlarkError as error:
        _write(f"meadowlark-satellite doctor: {error}", sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    _write(json.dumps(as_data(findings), indent=1) if options.json else "\n" + summary(findings))
    return 0 if is_well(findings) else 1


async def examine(settings: SatelliteSettings, person: Person | None, tell: Tell) -> None:
    """Tell everything that is found. Raises SettingsError or RequestError for what could not be used anywhere."""
    with contextlib.suppress(MissingExtraError):  # `packages` says so
        await check_usable(settings)
    check_system(settings, tell)
    if settings.uri is None:
        await check_server(settings, tell)
    else:
        await check_house(settings.uri, tell)
    await check_sound(settings, person, tell)


class Terminal:
    """The person at the terminal. What is said to them goes to stderr, so that a program can read the findings."""

    def say(self, text: str) -> None:
        _write(f"{'':<8} {text}", sys.stderr)

    async def confirms(self, question: str) -> bool | None:
        self.say(f"{question} [y/n]")
        try:
            answer = await call(sys.stdin.readline, _ANSWER_SECONDS)
        except TimeoutError:
            return None
        return answer.strip().lower().startswith("y") if answer.strip() else None


def _write(text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    stream.write(f"{text}\n")  # at once: `chatter` reads stderr while devices are open
    stream.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meadowlark-satellite doctor",
        description="Tries microphone, wake word, speaker, server and machine with the satellite's settings, and says"
        " what to change. Ends with 0 when nothing is a problem, 1 when something is, 2 for settings that cannot be"
        " used.",
        allow_abbrev=False,
    )
    add_flags(parser)
    parser.add_argument("--quick", action="store_true", help="ask nothing of the person, as without a terminal")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser
