"""How a token comes to a phone: a link that signs in, and the same as a QR code."""

from __future__ import annotations

import contextlib
import io
from typing import TextIO
from urllib.parse import quote

import ifaddr
import segno

from handlers.wire.announcement import announced_addresses
from server.settings import ServerSettings, join_address

_QUIET_ZONE = 2
"""Light modules around the code: half of what the standard wants, which phones read all the same."""


def page_address(settings: ServerSettings, port: int) -> str:
    """Where other machines open the page: as the settings say, else at this machine's address in its network. Ends with
    a slash."""
    if settings.http.page:
        return settings.http.page
    hosts, _ = settings.http_bind()
    try:
        addresses = announced_addresses(hosts, list(ifaddr.get_adapters()))
    except ValueError:  # it listens on a name
        addresses = hosts
    return f"{settings.http.scheme}://{join_address(addresses[0], port)}/"


def pairing_link(page: str, secret: str) -> str:
    """What signs a browser in. Nobody is sent what is behind the '#'; the page takes it out of the address."""
    return f"{page}#token={quote(secret, safe='')}"


def show_first(secret: str, link: str, out: TextIO) -> None:
    """Print the token that the server has made for its owner, in every way that it can be taken."""
    print(f"\nNobody had a token for this server. Here is the first, an admin's:\n\n  {secret}\n", file=out)
    show_link(link, out, code=True)
    print(
        "It is not shown again. If it is lost:  meadowlark-server token add NAME --role admin\n", file=out, flush=True
    )


def show_link(link: str, out: TextIO, *, code: bool) -> None:
    """Print the link and, with `code`, below it the QR code, where `out` knows the signs for one."""
    print(f"Open this link on a phone or a computer to sign in there:\n\n  {link}\n", file=out)
    if not code:
        return
    drawn = io.StringIO()
    segno.make(link, micro=False).terminal(drawn, border=_QUIET_ZONE, compact=True)
    with contextlib.suppress(UnicodeEncodeError):
        print(drawn.getvalue(), file=out)
