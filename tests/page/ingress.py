"""A web server that shows another one below a path of its own, as Home Assistant's ingress does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

_PATH = "/api/hassio_ingress/a1b2c3"

_OF_ONE_HOP = frozenset({"connection", "upgrade", "transfer-encoding", "content-length", "content-encoding"})


@contextlib.asynccontextmanager
async def ingress(target: str) -> AsyncIterator[str]:
    """The address at which `target` is shown, without a '/' at its end."""

    async def forward(request: web.Request) -> web.StreamResponse:
        url = f"{target}/{request.match_info['path']}"
        if request.query_string:
            url += f"?{request.query_string}"
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _forward_socket(session, request, url)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_ONE_HOP}
        async with session.request(request.method, url, headers=headers, data=await request.read()) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP]
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    app = web.Application()
    app.router.add_route("*", _PATH + "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        async with aiohttp.ClientSession() as session:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{_PATH}"
    finally:
        await runner.cleanup()


async def _forward_socket(session: aiohttp.ClientSession, request: web.Request, url: str) -> web.WebSocketResponse:
    near = web.WebSocketResponse()
    origin = {name: request.headers[name] for name in ("Origin", "Host") if name in request.headers}
    async with session.ws_connect(url, headers=origin, max_msg_size=0) as far:
        await near.prepare(request)

        async def up() -> None:
            async for message in near:
                await (
                    far.send_str(message.data) if message.type is web.WSMsgType.TEXT else far.send_bytes(message.data)
                )

        async def down() -> None:
            async for message in far:
                text = message.type is aiohttp.WSMsgType.TEXT
                await (near.send_str(message.data) if text else near.send_bytes(message.data))

        ways = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    return near
