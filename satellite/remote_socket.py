"""Where a satellite's Unix socket is, who may open it, and which satellites run here."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from handlers.errors import SettingsError

_LONGEST_PATH = 107
"""Bytes of a Unix socket's path on Linux."""

_LONGEST_NAME = 32
"""Characters of a satellite's name that its socket is called by; with the usual folders it stays below that."""

_QUEUE = 8
"""Connections that wait to be accepted."""


def default_path(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the satellite of this name has its socket: in systemd's RuntimeDirectory, or the user's own."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_NAME]
    if plain != name:  # two names are to have two sockets
        plain += "-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return _folders(environment)[0] / f"satellite-{plain}.sock"


def live_sockets(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The default sockets of the satellites that run here and that this user may steer."""
    found = {path: None for folder in _folders(environment) for path in _sockets_in(folder)}
    return [path for path in found if _answers(path)]


def bind(path: Path) -> socket.socket:
    """A listening socket that only this user can open, in a folder that is made if need be.

    One that a satellite left behind is replaced. Raises SettingsError where somebody answers there, or the path is
    none for a socket, and OSError for what the system refuses.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise SettingsError(f"The socket's path {path} is too long, the system takes {_LONGEST_PATH} bytes; shorten it")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_folder(path.parent)
    _make_room(path)
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.bind(str(path))
        path.chmod(0o600)  # before it listens, so that nobody else was let in
        ours.listen(_QUEUE)
    except BaseException:
        ours.close()
        raise
    return ours


def _folders(environment: Mapping[str, str]) -> list[Path]:
    """The satellite's own first, then where another user's service has it."""
    given = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd's, of which there may be several
    usual = [_user_folder(environment), Path("/run/meadowlark")]
    return [Path(given), *usual] if given else usual


def _user_folder(environment: Mapping[str, str]) -> Path:
    """Not by platformdirs, which warns on stderr where there is no session, as in a container."""
    runtime = Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    if runtime.is_absolute() and os.access(runtime, os.W_OK | os.X_OK):
        return runtime / "meadowlark"
    return Path(tempfile.gettempdir()) / f"meadowlark-{os.getuid()}"


def _sockets_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("satellite-*.sock"))
    except OSError:  # another user's
        return []


def _check_folder(folder: Path) -> None:
    """Who can write in the folder can put a socket of his own in the place of ours."""
    status = folder.stat()
    open_to_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
    if open_to_all or (status.st_uid not in (0, os.getuid())):
        raise SettingsError(f"Others can write in {folder}, so the satellite's socket is not safe there; use another")


def _make_room(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SettingsError(f"{path} is there already, and is no socket; choose another path for the satellite's")
    if _answers(path):
        raise SettingsError(f"Another satellite runs with the socket {path}; stop it, or give this one another name")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # it has a queue
            return True
        except OSError:
            return False
    return True
