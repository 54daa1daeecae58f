"""The command `meadowlark-satellite`: which of its words is meant. What only one needs is imported only for it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

from satellite import remote_cli


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done or stopped, 2: the person can fix their input, 130: Ctrl-C, 1: anything else went wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    word = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    try:
        if word in remote_cli.COMMANDS:
            return remote_cli.main(arguments)
        if not word:
            from satellite.run import run

            return run(arguments)
        if word in _WORDS:
            return _WORDS[word]()(arguments[1:])
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    near = difflib.get_close_matches(word, [*_WORDS, *remote_cli.COMMANDS], 1)
    hint = f"did you mean {near[0]}?" if near else "--help names those there are"
    print(f"meadowlark-satellite: there is no command '{word}'; {hint}", file=sys.stderr)
    return 2


def _doctor() -> Callable[[Sequence[str]], int]:
    from satellite.doctor import main as doctor

    return doctor


def _install() -> Callable[[Sequence[str]], int]:
    from satellite.install import install

    return install


def _uninstall() -> Callable[[Sequence[str]], int]:
    from satellite.install import uninstall

    return uninstall


_WORDS: dict[str, Callable[[], Callable[[Sequence[str]], int]]] = {
    "doctor": _doctor,
    "install": _install,
    "uninstall": _uninstall,
}
