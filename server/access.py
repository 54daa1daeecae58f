"""Who may use HTTP: on loopback whoever is on this machine, beyond it whoever shows a token.

Programs show it in a header. A browser is given it as a cookie when somebody signs in, and shows it with every request.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from handlers.agent.access import AccessSettings
from handlers.errors import SettingsError
from handlers.session import Role, Session
from server.origin import address_of, is_of_same_origin, is_over_tls, is_own_page
from server.rate import Rates
from server.tokens import Token, Tokens

_LOGGER = logging.getLogger(__name__)

SESSION = "/api/v1/session"
"""Where browsers sign in and out."""

COOKIE = "meadowlark_token"

_COOKIE_SECONDS = 365 * 86_400
"""A tablet on the wall signs in once; whoever loses a phone revokes its token."""

_OPEN_PATHS = frozenset({"/health", "/ready"})
"""What a container's health check asks without a token."""

PAGE: web.AppKey[frozenset[str]] = web.AppKey("page", frozenset)
"""Paths of the page's files: they are the same for everybody, and know nothing before somebody signs in."""

_WRONG_IN_A_MINUTE = 30
"""Wrong tokens from one address, after which more of them are not looked at: nobody types one so often. Whoever has a
good one is let in from there all the same: many may share an address, and a page of a stranger can show junk."""


@dataclass(frozen=True)
class Access:
    """What a request may do."""

    token: str = ""
    """Name of the token; empty where none is asked for."""
    role: Role = Role.ADMIN
    user: str = ""
    """The person whose token it is."""
    tenant: str = ""
    """The household or organisation whose token it is; empty for the server's own."""

    def covers(self, earlier: Access) -> bool:
        """Whether whoever may do this may still do what they could before, as the same person."""
        return self.role >= earlier.role and (self.user, self.tenant) == (earlier.user, earlier.tenant)

    @property
    def session(self) -> Session:
        """As the log of actions has it: at no place, in no conversation."""
        return Session(self.user, role=self.role, token=self.token, tenant=self.tenant)

    def conversation(self, chosen: str) -> str:
        """Our name of a conversation. Clients choose theirs; with another token the same is another conversation."""
        return f"{len(self.token)} {self.token} {chosen}" if self.token else chosen


OWNER = Access()
"""Whoever is on this machine could read the data folder as well."""

_NOBODY = Access(role=Role.GUEST)
"""Who asks for what everybody may have, where a token is asked for."""


@dataclass(frozen=True)
class _Shown:
    """A token that was shown, and where it may be looked up again."""

    tokens: Tokens
    households: Mapping[str, AccessSettings]
    secret: str = field(repr=False)

    def access(self) -> Access | None:
        """None for a token that is none, or none any more; SettingsError where the tokens cannot be read."""
        token = self.tokens.find(self.secret)
        return Access(token.name, self._role(token), token.user, token.tenant) if token is not None else None

    def _role(self, token: Token) -> Role:
        """A person's token allows no more than the person may, as in a turn."""
        household = self.households.get(token.tenant)
        if household is None or not token.user:
            return token.may
        person = household.users.get(token.user)
        return min(token.may, Role.parse(household.unknown if person is None else person.role))


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


def asks_for_token(request: web.Request) -> bool:
    """Whether a token is asked for where this request came in, be it shown or not."""
    return _ACCESS in request


class Gate:
    """Lets nobody in without a token, but to the page and the health routes. Looks up the tokens that are shown, and
    counts: wrong ones, and requests."""

    def __init__(
        self, tokens: Tokens, requests_a_minute: int = 0, households: Mapping[str, AccessSettings] | None = None
    ) -> None:
        """`requests_a_minute` are those of a token or, where none is shown, of an address; 0 is any number. Of the
        `households`, by their tenants' keys, are the persons; tokens of other tenants are refused. None is the
        server's own with plain settings."""
        self._tokens = tokens
        self._households = {"": AccessSettings()} if households is None else households
        self._wrong = Rates(_WRONG_IN_A_MINUTE)
        self._requests = Rates(requests_a_minute)
        self._told = ""

    def middleware(self) -> Middleware:
        """Lets a request in, which then has its `access_of`, or answers it."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[_ACCESS] = _NOBODY
            if _is_open(request):
                often = self._too_often(address_of(request))
                return await handler(request) if often is None else often
            secret, by_cookie = _secret_of(request)
            access = self.look_up(request, secret)
            if isinstance(access, web.Response):
                if by_cookie and secret and access.status == 401:
                    take_back(access, request)
                return access
            if by_cookie and not (is_own_page(request) and is_of_same_origin(request)):
                return _refused(403, "This page is not the server's own: open the page that the server itself serves")
            request[_ACCESS], request[_SHOWN] = access, self._shown(secret)
            return await handler(request)

        return check

    def look_up(self, request: web.Request, secret: str) -> Access | web.Response:
        """What a token allows, or the answer to one that is none. Counts as a request of the token."""
        address = address_of(request)
        try:
            access = self._shown(secret).access() if secret else None
        except SettingsError as error:
            if str(error) != self._told:  # the log has it once, and not for every request
                _LOGGER.error("Nobody is let in over HTTP: %s", error)
            self._told = str(error)
            return _refused(503, "The server cannot read its tokens; its log says what to do", {"Retry-After": "60"})
        self._told = ""
        if access is None and secret and (wait := self._wrong.wait(address)) > 0:
            return _wait(wait, "Too many wrong tokens came from this address: wait a little")
        if (often := self._too_often(f"token {access.token}" if access is not None else address)) is not None:
            return often
        if access is None:
            if secret:  # who shows none has not guessed
                self._wrong.take(address)
            return _refused(
                401,
                "Send 'Authorization: Bearer TOKEN'; a new token is made with  meadowlark-server token add NAME",
                {"WWW-Authenticate": "Bearer"},
            )
        if access.tenant not in self._households:
            return _refused(
                403,
                f"The token '{access.token}' is for the tenant '{access.tenant}', which this server does not have: add "
                "it to the setting tenants, or make another token",
            )
        return access

    def _shown(self, secret: str) -> _Shown:
        return _Shown(self._tokens, self._households, secret)

    def _too_often(self, key: str) -> web.Response | None:
        wait = self._requests.wait(key)
        if wait > 0:
            return _wait(wait, "Too many requests in a minute: wait a little (http.requests_a_minute)")
        self._requests.take(key)
        return None


def give(answer: web.Response, request: web.Request, secret: str) -> None:
    """Have the browser show this token from now on; its scripts cannot read it, and other sites not use it."""
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=_COOKIE_SECONDS,
        path="/",
        secure=is_over_tls(request),
        httponly=True,
        samesite="Strict",
    )


def take_back(answer: web.Response, request: web.Request) -> None:
    """Have the browser forget its token."""
    answer.del_cookie(COOKIE, path="/", secure=is_over_tls(request), httponly=True, samesite="Strict")


def _is_open(request: web.Request) -> bool:
    resource = request.match_info.route.resource  # what will answer, however the address is written
    path = request.path if resource is None else resource.canonical
    if path == SESSION:
        return request.method in ("POST", "DELETE")  # who signs in has no token yet, who signs out needs none
    return path in _OPEN_PATHS or path in request.app.get(PAGE, ())


def _secret_of(request: web.Request) -> tuple[str, bool]:
    """The token that is shown, '' for none, and whether it is a cookie. Any other 'Authorization' is a proxy's own."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip(), False
    return request.cookies.get(COOKIE, ""), True


def _wait(seconds: float, text: str) -> web.Response:
    return _refused(429, text, {"Retry-After": str(math.ceil(seconds))})


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)
