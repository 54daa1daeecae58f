"""Who may use HTTP: on loopback whoever is on this machine, beyond it whoever shows a token."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from handlers.agent.caller import Role
from server.tokens import Tokens

_OPEN_PATHS = frozenset({"/health", "/ready"})
"""What a container's health check asks without a token."""

_WRONG_IN_A_MINUTE = 30
"""Wrong tokens from one address, after which it has to wait: nobody types a token so often, and nobody guesses one."""

_MINUTE = 60.0

_MOST_ADDRESSES = 4096
"""Addresses of which wrong tokens are counted; the oldest are forgotten."""


@dataclass(frozen=True)
class Access:
    """What a request may do."""

    token: str = ""
    """Name of the token; empty where none is asked for."""
    role: Role = Role.ADMIN
    user: str = ""
    """The person whose token it is."""

    def covers(self, earlier: Access) -> bool:
        """Whether whoever may do this may still do what they could before, as the same person."""
        return self.role >= earlier.role and self.user == earlier.user

    def conversation(self, chosen: str) -> str:
        """Our name of a conversation. Clients choose theirs; with another token the same is another conversation."""
        return f"{len(self.token)} {self.token} {chosen}" if self.token else chosen


OWNER = Access()
"""Whoever is on this machine could read the data folder as well."""


@dataclass(frozen=True)
class _Shown:
    """A token that was shown, and where it may be looked up again."""

    tokens: Tokens
    secret: str = field(repr=False)

    def access(self) -> Access | None:
        """None for a token that is none, or none any more; SettingsError where the tokens cannot be read."""
        token = self.tokens.find(self.secret)
        return Access(token.name, token.may, token.user) if token is not None else None


_ACCESS = web.RequestKey("access", Access)
_SHOWN = web.RequestKey("shown", _Shown)


def access_of(request: web.Request) -> Access:
    """What this request may do."""
    access: Access = request.get(_ACCESS, OWNER)
    return access


def access_now(request: web.Request) -> Access | None:
    """What it may do by now, for one that lasts: None when its token was revoked. SettingsError where the tokens cannot
    be read."""
    shown: _Shown | None = request.get(_SHOWN)
    return OWNER if shown is None else shown.access()


def ask_for_token(tokens: Tokens) -> Middleware:
    """Lets nobody in without a token, but to the health routes."""
    wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN_PATHS:
            return await handler(request)
        address = request.remote or ""
        began, count = wrong.get(address, (0.0, 0))
        if time.monotonic() - began > _MINUTE:
            began, count = time.monotonic(), 0
        if count >= _WRONG_IN_A_MINUTE:
            return _refused(429, "Too many wrong tokens came from this address: wait a minute")
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        shown = _Shown(tokens, secret.strip())
        access = shown.access() if scheme.lower() == "bearer" else None
        if access is None:
            if secret:  # who shows none has not guessed
                wrong[address] = (began, count + 1)
                wrong.move_to_end(address)
                while len(wrong) > _MOST_ADDRESSES:
                    wrong.popitem(last=False)
            return _refused(
                401,
                "Send 'Authorization: Bearer TOKEN'; a new token is made with  meadowlark-server token add NAME",
                {"WWW-Authenticate": "Bearer"},
            )
        request[_ACCESS], request[_SHOWN] = access, shown
        return await handler(request)

    return check


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)
