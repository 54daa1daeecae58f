"""Announcements over HTTP: a text that is spoken at one, some or all of the server's satellites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, Field, StringConstraints

from handlers.agent.safety.audit import Action
from handlers.agent.schedule.entry import Heard
from handlers.errors import MeadowlarkError, RequestError
from handlers.pipeline.notices import LONGEST
from handlers.session import Role
from server.access import Access, access_of
from server.household import Household
from server.json_api import Body, LoadingError, is_text, read_body, refusal

PATH = "/api/v1/announce"

MOST_AT_ONCE = 8
"""Announcements; each has up to a minute of audio, and more would be heard long after they were meant."""

_MOST_SATELLITES = 100
"""That are named: more than a house has."""

_PLAY_SECONDS = 150.0
"""For the longest text, about a minute, behind a turn that a satellite lets end first, and some slack."""

_NOT_CONNECTED = "not-connected"
"""What came of it at a satellite that cannot be called now."""

_Name = Annotated[str, Field(min_length=1, max_length=200)]


class AnnounceBody(Body):
    """What is to be spoken, and where."""

    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST),
        AfterValidator(is_text),
    ]
    satellites: Literal["all"] | Annotated[list[_Name], Field(min_length=1, max_length=_MOST_SATELLITES)] = "all"
    language: Annotated[str, Field(max_length=35)] = ""
    chime: bool = True


class AnnounceApi:
    """`POST /api/v1/announce`. It answers when all satellites have played it or failed, within about three minutes."""

    def __init__(self, household: Callable[[Access], Household | None]) -> None:
        """`household` gives that of a request once it is open, None before."""
        self._open = household
        self._running = Counter[str]()  # by tenant

    def route(self) -> web.RouteDef:
        return web.post(PATH, self._announce)

    async def _announce(self, request: web.Request) -> web.Response:
        access = access_of(request)
        try:
            if (household := self._open(access)) is None:
                raise LoadingError
            if access.role < Role.USER:
                raise RequestError("not-allowed", f"The token '{access.token}' is a guest's, who may not announce")
            wanted = await read_body(request, AnnounceBody)
            if self._running[access.tenant] >= MOST_AT_ONCE:
                raise RequestError("busy", f"{MOST_AT_ONCE} announcements are being spoken: try again in a minute")
            self._running[access.tenant] += 1
            try:
                return web.json_response({"satellites": await _speak(household, wanted, access)})
            finally:
                self._running[access.tenant] -= 1
        except MeadowlarkError as error:
            return refusal(error)


async def _speak(household: Household, wanted: AnnounceBody, access: Access) -> dict[str, str]:
    """What came of it, by the satellites' names."""
    notices, settings = household.notices, household.agent.settings
    names = list(notices.satellites) if wanted.satellites == "all" else list(dict.fromkeys(wanted.satellites))
    if not set(names) & set(notices.connected):
        raise RequestError("not-connected", _nobody(notices.satellites))
    arguments = {"text": wanted.text, "satellites": names}
    async with household.audit.acting(Action("announce", arguments, access.session)) as ending:
        language = wanted.language or settings.language
        heard = await notices.announce(names, wanted.text, language, chime=wanted.chime, seconds=_PLAY_SECONDS)
        told = {name: heard[name].name.lower() if name in heard else _NOT_CONNECTED for name in names}
        ending.text = ", ".join(f"{name}: {came}" for name, came in told.items())
        ending.failed = not any(came is not Heard.NOBODY for came in heard.values())
    return told


def _nobody(connected: Sequence[str]) -> str:
    if not connected:
        return "No satellite is connected to the server: start one, and try again"
    return f"No satellite of this name is connected; there are: {', '.join(connected)}"
