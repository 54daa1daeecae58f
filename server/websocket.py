"""What our WebSocket connections have in common: how they are met, read, watched and left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from handlers.errors import RequestError
from server.access import Access, access_of
from server.json_api import LoadingError, refusal

_GOODBYE_SECONDS = 2.0
"""For the last words and the other side's farewell."""

_LONGEST_REASON = 1000
"""Characters of what is wrong with a message, which may name what it holds."""

M = TypeVar("M")


class MessageError(RequestError):
    """A message that is none."""

    def __init__(self, code: str, text: str, places: Sequence[tuple[int | str, ...]] = ()) -> None:
        """`places` are the paths of all that is wrong in it, as in ("turn", "id"); none where it is not JSON."""
        super().__init__(code, text)
        self.places = places


class Serves(Protocol):
    """Whoever takes connections."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from the upgrade to its end."""


def websocket_route(path: str, opened: Callable[[Access], Serves | None]) -> web.RouteDef:
    """`opened` gives who serves them once the engines are loaded, None before."""

    async def serve(request: web.Request) -> web.StreamResponse:
        serves = opened(access_of(request))
        if serves is None:
            return refusal(LoadingError())
        return await serves.serve(request)

    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = serve
    return web.get(path, handler, allow_head=False)


def read_message(shape: TypeAdapter[M], text: str, what: str) -> M | None:
    """A message of the other side; None where its `type` is newer than we are. MessageError says what is wrong with it;
    `what` it is called there, 'frame' or 'message'."""
    try:
        return shape.validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)
    first, code = wrong[0], f"bad-{what}"
    if first["type"] == "union_tag_invalid" and isinstance(first["input"]["type"], str):
        return None
    if first["type"] == "json_invalid":
        raise MessageError(code, f"The {what} is not JSON")
    where = ".".join(map(str, first["loc"])) or f"the {what}"
    raise MessageError(code, f"{where}: {first['msg']}"[:_LONGEST_REASON], [one["loc"] for one in wrong])


async def watch(still_let_in: Callable[[], bool], ended: asyncio.Event, seconds: float) -> None:
    """Ask `still_let_in` every so many seconds, until it says no or the connection has `ended`."""
    while still_let_in():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended.wait()
                return


async def say_goodbye(socket: web.WebSocketResponse, code: int, reason: str, last_word: str | None) -> None:
    """Close it; whether the other side still hears it does not matter."""
    with contextlib.suppress(OSError):  # TimeoutError is one
        async with asyncio.timeout(_GOODBYE_SECONDS):
            if last_word is not None:
                await socket.send_str(last_word)
            await socket.close(code=code, message=reason.encode())
