"""`meadowlark-models`: list, pull and verify the models on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from handlers import __version__
from handlers.errors import MeadowlarkError
from handlers.models.catalogue import Model
from handlers.models.folder import expanded, usual_data_dir
from handlers.models.store import HUB, ModelStore, Where

_INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""

_STEP = 10
"""Percent between two lines of progress where there is no terminal, so that a log stays short."""

_BAR = 30
"""Characters of the progress bar: leaves room for the name on 80 columns."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns 0, 1 (a model is missing or damaged), 2 (bad input) or 130 (interrupted)."""
    arguments = _parser().parse_args(argv)
    try:
        store = ModelStore(arguments.data_dir, arguments.hub)
        if arguments.command == "list":
            return _list(store)
        if arguments.command == "verify":
            return _verify(store, arguments.names)
        return _pull(store, arguments.names)
    except MeadowlarkError as error:
        print(f"meadowlark-models: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nmeadowlark-models: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    default_hub = os.environ.get("MEADOWLARK_MODELS__HUB") or HUB
    parser = argparse.ArgumentParser("meadowlark-models", description="List, fetch and check the models.")
    parser.add_argument("--version", action="version", version=__version__)
    _add_options(parser, str(usual_data_dir()), default_hub)
    # Options may also stand after the command; there, their absence must not undo those before it.
    common = argparse.ArgumentParser(add_help=False)
    _add_options(common, argparse.SUPPRESS, argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", parents=[common], help="show the models and where they are")
    pull = commands.add_parser("pull", parents=[common], help="fetch models, or replace damaged ones")
    pull.add_argument("names", nargs="+", metavar="NAME")
    verify = commands.add_parser("verify", parents=[common], help="read and check every file of the models here")
    verify.add_argument("names", nargs="*", metavar="NAME")
    return parser


def _add_options(parser: argparse.ArgumentParser, data_dir: str, hub: str) -> None:
    parser.add_argument(
        "--data-dir", type=expanded, default=data_dir, metavar="DIR", help="the data folder (also MEADOWLARK_DATA_DIR)"
    )
    parser.add_argument("--hub", default=hub, metavar="URL", help=f"instead of {HUB} (also MEADOWLARK_MODELS__HUB)")


def _list(store: ModelStore) -> int:
    rows = [("NAME", "KIND", "SIZE", "STATE", "WHAT")]
    rows += [
        (model.name, str(model.kind), _size(model), _state(store, model), f"{model.description} [{model.licence}]")
        for model in store.known()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))
    print("Any Piper voice can be pulled by its name, such as de_DE-thorsten-medium.", flush=True)
    return 0


def _pull(store: ModelStore, names: list[str]) -> int:
    models = [store.model(name) for name in names]  # a typo in the last name shows before the first download
    for model in models:
        progress = _Progress()
        try:
            folder = store.pull(model.name, progress=progress.show)
        finally:
            progress.end()
        print(f"{model.name} is complete in {folder}", flush=True)
    return 0


def _verify(store: ModelStore, names: list[str]) -> int:
    failures = 0
    for model in [store.model(name) for name in names] or store.known():
        checks = store.verify(model)
        if names and store.where(model) is Where.NOWHERE:
            print(f"{model.name}: not here; `meadowlark-models pull {model.name}` fetches it")
            failures += 1
        for check in checks:
            verdict = f"DAMAGED ({check.problem})" if check.problem else "ok" if check.pinned else "no checksum known"
            print(f"{model.name}: {check.path}: {verdict}", flush=True)
        if any(check.problem for check in checks):
            print(f"{model.name}: `meadowlark-models pull {model.name}` replaces what is damaged", flush=True)
            failures += 1
    return 1 if failures else 0


def _state(store: ModelStore, model: Model) -> str:
    where = store.where(model)
    if store.damaged(model):
        return "damaged"
    if where is Where.PACKAGE:
        more = f" (+{len(model.packages) - 1})" if len(model.packages) > 1 else ""
        return f"in package {model.packages[0]}{more}"
    return "in data folder" if where is Where.DATA_FOLDER else "not here"


def _size(model: Model) -> str:
    exact = "" if all(file.size for file in model.files) else "~"
    return f"{exact}{model.size / 1e6:.0f} MB" if model.size >= 1e6 else f"{exact}{model.size / 1e3:.0f} kB"


class _Progress:
    """A bar that redraws itself on a terminal, a line for every tenth elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown: tuple[str, int] | None = None
        self._open_line = False

    def show(self, name: str, done: int, total: int | None) -> None:
        """Take note of `done` bytes of a file; `total` is None when the server does not say."""
        if self._shown and self._shown[0] != name:
            self.end()
        step = 1 if self._terminal else _STEP
        percent = (100 * done // total if total else done >> 20) // step * step
        if self._shown == (name, percent):
            return
        self._shown = (name, percent)
        amount = f"{percent:3d} % of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
        if self._terminal:
            filled = "#" * (_BAR * percent // 100 if total else 0)
            line = f"{name}  [{filled:<{_BAR}}] {amount}"
            print("\r" + line[: shutil.get_terminal_size().columns - 1], end="\x1b[K", flush=True)
            self._open_line = True
        else:
            print(f"{name}  {amount}", flush=True)

    def end(self) -> None:
        """Leave the bar as it is and go to a new line."""
        if self._open_line:
            print(flush=True)
        self._open_line = False


if __name__ == "__main__":
    sys.exit(main())
