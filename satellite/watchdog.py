"""Tells systemd how the satellite is (sd_notify), so that one which hangs is started anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping

_LOGGER = logging.getLogger(__name__)

_PINGS = 3
"""In the time that systemd waits for one: two may be late."""


class Watchdog:
    """Speaks to whoever started us, over $NOTIFY_SOCKET. Without it, does nothing."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._pause = _seconds(environ) / _PINGS

    def ready(self) -> None:
        """Start-up is over."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    async def run(self, is_healthy: Callable[[], bool]) -> None:
        """Say again and again that all is well, as long as this loop runs and `is_healthy`; else systemd kills us.

        Never ends by itself; where nobody waits for it, it returns at once.
        """
        told = False
        while self._pause:
            if is_healthy():
                self._tell("WATCHDOG=1")
            elif not told:
                told = True
                _LOGGER.error(
                    "The satellite has stopped hearing for a reason that was not foreseen; systemd restarts it"
                )
            await asyncio.sleep(self._pause)

    def _tell(self, message: str) -> None:
        """Never waits, never raises: a service manager that does not listen is no reason to end."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address  # an abstract one
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), address)


def _seconds(environ: Mapping[str, str]) -> float:
    """How long systemd waits for a ping from this process; 0 where it does not."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0.0, int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000)
    except ValueError:
        return 0.0
