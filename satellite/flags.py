"""The satellite's flags and how its settings come from them, the same for all its commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from handlers.settings import load_settings
from satellite.settings import SatelliteSettings, Settings

FLAGS = ("server", "uri", "mic", "speaker", "wake_word", "name", "log_level")
"""Keys of the section `satellite` that have a flag of the same name."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each of FLAGS, and --config."""
    add = parser.add_argument
    add("--server", metavar="auto|tcp://HOST:PORT", help="the server; auto (the default) finds it")
    add("--uri", metavar="tcp://HOST:PORT", help="where Home Assistant's own Wyoming integration finds this satellite")
    add("--mic", metavar="NAME|FILE.wav|-", help="a device's name or number, a recording, or - for stdin")
    add("--speaker", metavar="NAME|FILE.wav|-|none", help="a device's name or number, a file, - for stdout, or none")
    add(
        "--wake-word",
        metavar="NAME[:THRESHOLD]",
        action="append",
        help="may be given several times; none is push to talk",
    )
    add("--name", help="how this satellite is called on the server; the host's name by default")
    add("--config", metavar="FILE", type=Path, help="a YAML settings file")
    add("--log-level", choices=("debug", "info", "warning", "error"))


def given(options: argparse.Namespace) -> dict[str, object]:
    """Settings that were given as flags, by their keys."""
    return {key: getattr(options, key) for key in FLAGS if getattr(options, key) is not None}


def settings_from(options: argparse.Namespace, environ: Mapping[str, str] | None = None) -> SatelliteSettings:
    """Flags, environment (this process's when None) and file together. Raises SettingsError.

    Everything outside of MEADOWLARK_SATELLITE__* is the server's.
    """
    environ = os.environ if environ is None else environ
    flags = given(options)
    return load_settings(
        Settings,
        flags={"satellite": flags} if flags else {},
        config_file=options.config,
        environ={name: value for name, value in environ.items() if name.upper().startswith("MEADOWLARK_SATELLITE")},
        flag_names={f"satellite.{key}": "--" + key.replace("_", "-") for key in FLAGS},
    ).satellite
