"""`/api/v1/session`: browsers sign in with a token and sign out, and the page asks who it is."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, Field

from handlers.errors import MeadowlarkError
from server.access import OWNER, SESSION, Access, Gate, access_of, asks_for_token, give, take_back
from server.json_api import Body, is_text, read_body, refusal

_MOST_BYTES = 4096
"""Of the body of a sign-in, which anybody may send: a token has 43 characters."""

SECONDS = 5.0
"""For it to arrive."""


class SignInBody(Body):
    """A token, as it was shown when it was made."""

    token: Annotated[str, Field(max_length=200), AfterValidator(is_text), AfterValidator(str.strip)]


class SessionApi:
    """With a `Gate` a token is asked for; without one everybody is the owner."""

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(SESSION, self._sign_in),
            web.get(SESSION, self._who, allow_head=False),
            web.delete(SESSION, self._sign_out),
        ]

    async def _sign_in(self, request: web.Request) -> web.Response:
        try:
            secret = (await read_body(request.clone(client_max_size=_MOST_BYTES), SignInBody, SECONDS)).token
        except MeadowlarkError as error:
            return refusal(error)
        if self._gate is None:
            return _told(OWNER, asks=False)
        access = self._gate.look_up(request, secret)
        if isinstance(access, web.Response):
            return access
        answer = _told(access, asks=True)
        give(answer, request, secret)
        return answer

    async def _who(self, request: web.Request) -> web.Response:
        return _told(access_of(request), asks=asks_for_token(request))

    async def _sign_out(self, request: web.Request) -> web.Response:
        answer = web.Response(status=204)
        take_back(answer, request)
        return answer


def _told(access: Access, *, asks: bool) -> web.Response:
    return web.json_response(
        {
            "asks": asks,
            "role": access.role.word,
            "token": access.token,
            "user": access.user,
            "tenant": access.tenant,
        }
    )
