"""`meadowlark-satellite talk`, `mute`, `status` and so on: steers a satellite that runs on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from handlers.errors import EngineError, MeadowlarkError, RequestError, SettingsError
from satellite.remote_socket import live_sockets

COMMANDS = {
    "talk": "listen to a request now, without a wake word",
    "done": "the request is over",
    "stop": "be quiet",
    "mute": "let go of the microphone",
    "unmute": "hear again",
    "toggle-mute": "mute, or unmute",
    "volume": "how loud it plays",
    "status": "what it does at the moment",
    "events": "print what happens as lines of JSON, until interrupted",
}
"""The words that make `meadowlark-satellite` this command, and what they do."""

_ANSWER_SECONDS = 5.0
"""A satellite answers at once; one that does not is stuck."""

_LINE_BYTES = 1024 * 1024
"""The longest event is that of an answer: 100,000 characters, of which JSON makes up to six bytes each."""

_WIDTH = 12
"""Of the names that `status` prints, as of those after a turn."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for one thing. 0: it is done, 2: the person can fix their input, 1: anything else went wrong."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except MeadowlarkError as error:
        sys.stderr.write(f"meadowlark-satellite: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0 if options.word == "events" else 1
    except BrokenPipeError:  # as in `events | head -1`
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()  # else Python complains about it at its end
    except OSError as error:
        sys.stderr.write(f"meadowlark-satellite: nobody takes the answer ({error.strerror})\n")
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--socket", type=Path, metavar="PATH", help="the satellite's socket; found by default")
    parser = argparse.ArgumentParser(
        prog="meadowlark-satellite", description="Steers a satellite that runs on this machine.", allow_abbrev=False
    )
    words = parser.add_subparsers(dest="word", required=True)
    for word, does in COMMANDS.items():
        command = words.add_parser(word, help=does, description=does, parents=[common], allow_abbrev=False)
        if word == "volume":
            command.add_argument("percent", type=int, help="0 to 150")
    return parser


def _run(options: argparse.Namespace) -> None:
    request = {"do": "listen" if options.word == "events" else options.word}
    if options.word == "volume":
        request["percent"] = options.percent
    with _connect(options.socket or _only_socket()) as connection:
        lines = _lines(connection, request)
        answer = next(lines)
        if not answer.get("ok"):
            raise _refused(answer)
        if options.word == "status":
            for name, value in answer.items():
                if name != "ok":
                    print(f"{name:<{_WIDTH}}{_shown(value)}")
        elif options.word == "events":
            connection.settimeout(None)  # until something happens
            for event in lines:
                print(json.dumps(event, ensure_ascii=False), flush=True)
        print(end="", flush=True)


def _refused(answer: dict[str, object]) -> MeadowlarkError:
    said = str(answer.get("error", "The satellite answered something else than expected"))
    return RequestError("percent", said) if answer.get("code") == "percent" else EngineError(said)


def _only_socket() -> Path:
    sockets = live_sockets()
    if not sockets:
        raise EngineError("No satellite runs here that you may steer; start one, or give --socket PATH")
    if len(sockets) > 1:
        raise SettingsError(f"Several satellites run here; say which: --socket {' or '.join(map(str, sockets))}")
    return sockets[0]


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise EngineError(f"No satellite answers at {path} ({error.strerror or error})") from None
    return connection


def _lines(connection: socket.socket, request: dict[str, object]) -> Iterator[dict[str, object]]:
    """What the satellite answers to a request."""
    try:
        with contextlib.suppress(BrokenPipeError):  # why it was not let in can still be read
            connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            while line := answers.readline(_LINE_BYTES):
                yield dict(json.loads(line))
    except TimeoutError:
        raise EngineError("The satellite does not answer") from None
    except ConnectionError:
        pass
    except (ValueError, TypeError):
        raise EngineError("The satellite answered something else than expected") from None
    raise EngineError("The satellite has ended")


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
