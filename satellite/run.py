"""The satellite itself, as a process: its flags, its signals, and what it prints."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from handlers.errors import EngineError, MeadowlarkError
from satellite import remote_cli
from satellite.assembly import run_satellite
from satellite.flags import add_flags, settings_from
from satellite.machine import NOBODY_ASKED
from satellite.report import lines, summary
from satellite.settings import SatelliteSettings
from satellite.sink import STDOUT
from satellite.turn import TurnResult

_LOGGER = logging.getLogger(__name__)


def run(arguments: Sequence[str]) -> int:
    """Run the satellite. 0: done or stopped, 2: the person can fix their input, 1: anything else went wrong."""
    options = _parser().parse_args(arguments)
    try:
        settings = settings_from(options)
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        logging.getLogger("zeroconf").setLevel(logging.ERROR)  # it warns with a stack trace where IPv6 has no route
        asyncio.run(_run(settings, once=options.once))
    except MeadowlarkError as error:
        print(f"meadowlark-satellite: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        _LOGGER.debug("Unexpected", exc_info=True)
        problem = f"{type(error).__name__}: {error}"
        print(f"meadowlark-satellite: something unexpected went wrong ({problem})", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meadowlark-satellite",
        description="Ears and mouth of Meadowlark: hears the wake word, asks the server, plays the answer.",
        epilog="Commands of their own (each has --help): doctor tries everything and says what to change;"
        " install and uninstall make the satellite a service of systemd, and take it away; "
        + ", ".join(remote_cli.COMMANDS)
        + " steer the one that runs.",
        allow_abbrev=False,
    )
    add_flags(parser)
    parser.add_argument(
        "--once", action="store_true", help="one turn, then exit; prints transcript, answer and timeline"
    )
    return parser


async def _run(settings: SatelliteSettings, *, once: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:

        def report(result: TurnResult) -> None:
            _report(result, once=once, spoken_to_stdout=settings.speaker == STDOUT)

        await run_satellite(settings, report, stop, once=once)
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
        _LOGGER.info("Stopped")


def _report(result: TurnResult, *, once: bool, spoken_to_stdout: bool) -> None:
    if not once:
        quiet = result.error is None or result.error.code in NOBODY_ASKED
        _LOGGER.log(logging.INFO if quiet else logging.WARNING, "%s", summary(result))
        return
    if result.transcript or result.answer or result.timeline:
        try:
            for line in lines(result):
                print(line, file=sys.stderr if spoken_to_stdout else sys.stdout, flush=True)
        except OSError as error:
            raise EngineError(f"Nobody takes what came of it ({error.strerror})") from None
