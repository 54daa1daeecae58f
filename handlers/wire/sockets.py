"""Options of every Wyoming socket, on both ends."""

from __future__ import annotations

import contextlib
import socket

_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 50_000))
"""Asks a silent peer after 20 s, then every 10 s, three times; bytes that nobody acknowledges end it after 50 000 ms.
A satellite whose Wi-Fi or power went is so noticed in under a minute instead of two hours."""

_IMPATIENT = (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 2), ("TCP_USER_TIMEOUT", 4000))
"""For who waits for an answer: a server that is gone without a word is noticed in 4 to 5 s."""


def keep_alive(sock: socket.socket, *, impatient: bool = False) -> None:
    """Make the kernel notice a peer that is gone without a word. Options that a system does not have are left out."""
    with contextlib.suppress(OSError):  # the peer may have left already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _IMPATIENT if impatient else _KEEPALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
