"""`meadowlark-server`: reads the settings and runs the server."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from handlers import __version__
from handlers.errors import MeadowlarkError, SettingsError
from handlers.settings import describe_settings, load_settings
from server.settings import ServerSettings

SATELLITE_SECTIONS = ("satellite",)
"""Sections of a common settings file and environment that are the satellite's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; returns the exit code: 0 after a signal, 2 for settings that cannot be used, else 1."""
    arguments = _parser().parse_args(argv)
    if arguments.help_settings:
        print(describe_settings(ServerSettings))
        return 0
    try:
        settings = read_settings(arguments)
        if arguments.command == "token":
            _change_tokens(arguments, settings)
            return 0
        if arguments.command == "audit":
            from server.audit_cli import show

            _require_tenant(arguments.tenant, settings)
            folder = settings.folder_of(arguments.tenant) / "audit"
            show(folder, arguments.since, arguments.who, follow=arguments.follow)
            return 0
        if arguments.check:
            check_files(settings)
            print("The settings are valid.")
            return 0
        logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s")
        for library in (
            "faster_whisper",
            "httpx",
            "httpx2",
            "openai",
            "chromadb",
        ):  # they log every request at our level
            logging.getLogger(library).setLevel(logging.WARNING)
        for library in ("mcp", "client"):  # they log what a server of tools said, word for word
            logging.getLogger(library).setLevel(logging.CRITICAL)
        return _run(settings)
    except MeadowlarkError as error:
        print(f"meadowlark-server: {error}", file=sys.stderr)
        return error.exit_code


def read_settings(arguments: argparse.Namespace) -> ServerSettings:
    """Settings from flags, environment and file, in this order."""
    flags: dict[str, object] = {}
    if arguments.wyoming is not None:
        flags["wyoming"] = {"uri": arguments.wyoming}
    if arguments.http is not None:
        flags["http"] = {"address": arguments.http}
    if arguments.lan:
        flags["lan"] = True
    if arguments.data_dir is not None:
        flags["data_dir"] = arguments.data_dir
    if arguments.log_level is not None:
        flags["log_level"] = arguments.log_level
    return load_settings(
        ServerSettings,
        flags=flags,
        config_file=arguments.config,
        foreign=SATELLITE_SECTIONS,
        flag_names={
            "wyoming.uri": "--wyoming",
            "http.address": "--http",
            "data_dir": "--data-dir",
            "log_level": "--log-level",
        },
    )


def check_files(settings: ServerSettings) -> None:
    """Read the files that the settings name, as far as that starts nothing; SettingsError for one that is wrong."""
    from handlers.agent.tools.command import CommandTools
    from server.tls import certificate_of

    certificate_of(settings.http)
    for agent in settings.households.values():
        CommandTools(agent.tools)
        _check_sentences(agent.custom_sentences)


def _check_sentences(paths: Sequence[Path]) -> None:
    if paths:
        from handlers.agent.skills.sentence_files import own_intents, read_custom

        for path in paths:
            read_custom(path, own_intents())


def _change_tokens(arguments: argparse.Namespace, settings: ServerSettings) -> None:
    """Make, list or revoke tokens. A running server knows with the next request."""
    from handlers.session import Role
    from server import data_folder
    from server.audit_cli import written_down
    from server.tokens import Tokens

    data_folder.prepare(settings.data_dir)
    tokens = Tokens(settings.data_dir)
    if arguments.action == "add":
        told = {name: getattr(arguments, name) for name in ("name", "role", "user", "tenant")}
        with written_down(settings, "token/add", told, "meadowlark-server token add"):
            _require_tenant(arguments.tenant, settings)
            secret = tokens.add(arguments.name, Role.parse(arguments.role), arguments.user, arguments.tenant)
        print(secret, flush=True)  # alone on stdout, for scripts
        _show_link(settings, secret, code=not arguments.no_qr and sys.stderr.isatty())
        print("Keep it: it is not shown again.", file=sys.stderr)
    elif arguments.action == "revoke":
        with written_down(settings, "token/revoke", {"name": arguments.name}, "meadowlark-server token revoke"):
            tokens.revoke(arguments.name)
        print(f"The token '{arguments.name}' is revoked.")
    else:
        for token in tokens.all():
            print(f"{token.name:24} {token.role:6} {token.user or '-':16} {token.tenant or '-':16} {token.created}")


def _require_tenant(key: str, settings: ServerSettings) -> None:
    if key and key not in settings.tenants:
        there_are = ", ".join(settings.tenants) or "none"
        raise SettingsError(
            f"--tenant: there is no tenant '{key}' in the settings (there are: {there_are}): add it to 'tenants', "
            "or name the settings file that has it with --config"
        )


def _show_link(settings: ServerSettings, secret: str, *, code: bool) -> None:
    from server.pairing import page_address, pairing_link, show_link

    if not settings.asks_for_token:  # then it is for a server that is started with --lan
        settings = settings.model_copy(update={"lan": True})
    _, port = settings.http_bind()
    if port:  # with 0 only the running server knows
        show_link(pairing_link(page_address(settings, port), secret), sys.stderr, code=code)


def _run(settings: ServerSettings) -> int:
    try:
        from server.app import run  # the engines' libraries, which take seconds; settings are checked without them
    except ImportError as error:
        raise MeadowlarkError(
            f"The server's libraries are not installed ({error}): run script/setup, or pip install 'meadowlark[server]'"
        ) from error
    asyncio.run(run(settings))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="meadowlark-server", description="The Meadowlark voice server.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (YAML)")
    parser.add_argument("--wyoming", metavar="URI", help="where Wyoming clients connect (tcp://127.0.0.1:10600)")
    parser.add_argument("--http", metavar="HOST:PORT", help="where the page and the API are (127.0.0.1:10680)")
    parser.add_argument("--lan", action="store_true", help="listen on all addresses, announce, ask for a token on HTTP")
    parser.add_argument("--data-dir", metavar="DIR", help="models, tokens and memories")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    parser.add_argument("--check", action="store_true", help="check the settings, load nothing")
    parser.add_argument("--help-settings", action="store_true", help="print every key of the settings file")
    parser.add_argument("--version", action="version", version=f"meadowlark {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="")
    token = commands.add_parser("token", help="make, list and revoke tokens for HTTP (see token --help)")
    actions = token.add_subparsers(dest="action", required=True, metavar="add|list|revoke")
    add = actions.add_parser("add", help="make a token, and print it")
    add.add_argument("name", help="what it is for: 'phone', 'Home Assistant'")
    add.add_argument("--role", choices=("guest", "user", "admin"), default="user", help="what it may do (user)")
    add.add_argument("--user", default="", metavar="ID", help="the person whose it is, as in agent.access.users")
    add.add_argument("--tenant", default="", metavar="KEY", help="the household or organisation whose it is")
    add.add_argument("--no-qr", action="store_true", help="print no QR code on a terminal")
    actions.add_parser("list", help="names, roles, persons, tenants and dates")
    revoke = actions.add_parser("revoke", help="make a token worthless")
    revoke.add_argument("name")
    audit = commands.add_parser("audit", help="show what was done, by whom and after which words")
    audit.add_argument("--since", default="24h", metavar="TIME", help="how far back: 30m, 24h, 7d, 4w (24h)")
    audit.add_argument("--who", default="", metavar="NAME", help="only what this person or token did")
    audit.add_argument("--tenant", default="", metavar="KEY", help="the log of a tenant, rather than the server's own")
    audit.add_argument("--follow", action="store_true", help="go on with what is done from now on")
    return parser


if __name__ == "__main__":
    sys.exit(main())
