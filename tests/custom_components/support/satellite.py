"""A satellite that the server can call: it keeps the connection for notices and says what came of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.ping import Ping, Pong

from .server import MeadowlarkServer


class CalledSatellite:
    """One that hears whatever it is told at once, or nothing of it."""

    def __init__(self, client: AsyncTcpClient, *, hears: bool) -> None:
        self._client = client
        self._hears = hears
        self.here = asyncio.Event()
        """The server can call it."""
        self.heard: list[float] = []
        """Seconds of each notice that came."""

    async def serve(self) -> None:
        """Answer until the connection ends."""
        while (event := await self._client.read_event()) is not None:
            if Ping.is_type(event.type):
                await self._client.write_event(Pong().event())
                self.here.set()
            elif event.type == "audio-start":
                self.heard.append(0.0)
            elif event.type == "audio-chunk" and event.payload:
                self.heard[-1] += len(event.payload) / (event.data["rate"] * event.data["width"])
            elif event.type == "audio-stop":
                missed = {} if self._hears else {"seconds": 0.0}
                await self._client.write_event(Event("played", {"notice": event.data["notice"], **missed}))


@contextlib.asynccontextmanager
async def satellite(server: MeadowlarkServer, name: str, *, hears: bool = True) -> AsyncIterator[CalledSatellite]:
    """A satellite of this name, once the server can call it."""
    async with AsyncTcpClient(server.host, server.wyoming_port) as client:
        await client.write_event(Event("satellite-connected", {"context": {"satellite_id": name}}))
        called = CalledSatellite(client, hears=hears)
        serving = asyncio.create_task(called.serve())
        try:
            async with asyncio.timeout(30):
                await called.here.wait()
            yield called
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
