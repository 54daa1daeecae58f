"""Server-sent events: an answer while it is written."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Self

from aiohttp import web

from server.json_api import GoneError

_SILENT_SECONDS = 10.0
"""After which a sign of life is sent: proxies close what is silent for half a minute or a minute."""

_STALL_SECONDS = 30.0
"""For a client to take an event; whoever reads an answer takes it at once."""


class EventStream:
    """One answer of events, begun with the first of them. Inside its `async with` it shows that it lives."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._answer: web.StreamResponse | None = None
        self._sent = asyncio.get_running_loop().time()
        self._beating: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether anything was sent; before, an error can still be an answer of its own."""
        return self._answer is not None

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat(), name="event stream")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def send(self, data: object, event: str = "") -> None:
        """Send an event with JSON as its data. Raises ConnectionError when the client is gone or does not read."""
        named = f"event: {event}\n" if event else ""
        await self.write(f"{named}data: {json.dumps(data, ensure_ascii=False)}\n\n")

    async def write(self, text: str) -> None:
        """Send what is no JSON, such as OpenAI's last event."""
        self._sent = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                if self._answer is None:
                    answer = web.StreamResponse(headers=_HEADERS)
                    await answer.prepare(self._request)
                    self._answer = answer
                await self._answer.write(text.encode())
        except TimeoutError:
            raise GoneError from None

    async def end(self) -> web.StreamResponse:
        """The answer, complete."""
        assert self._answer is not None
        await self._answer.write_eof()
        return self._answer

    async def _beat(self) -> None:
        while True:
            left = self._sent + _SILENT_SECONDS - asyncio.get_running_loop().time()
            if left > 0 or self._answer is None:
                await asyncio.sleep(max(left, 1.0))
            else:
                await self.write(": still here\n\n")


_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would wait for all of it
}
