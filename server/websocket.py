"""What our WebSocket connections have in common: how they are met, watched and left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from server.json_api import error_answer

_GOODBYE_SECONDS = 2.0
"""For the last words and the other side's farewell."""


class Serves(Protocol):
    """Whoever takes connections."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from the upgrade to its end."""


def websocket_route(path: str, opened: Callable[[], Serves | None]) -> web.RouteDef:
    """`opened` gives who serves them once the engines are loaded, None before."""

    async def serve(request: web.Request) -> web.StreamResponse:
        serves = opened()
        if serves is None:
            return error_answer(503, "The server is loading its engines: try again in a few seconds")
        return await serves.serve(request)

    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = serve
    return web.get(path, handler, allow_head=False)


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
