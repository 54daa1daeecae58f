"""Servers that cannot run here: too old, too new, another one, still loading. They answer over real HTTP."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

STATUS = {
    "id": "5e0d8a4f-7d3c-4c0e-9a68-0e3a3ae0a001",
    "name": "Attic",
    "version": "0.1.0",
    "wyoming_port": 10600,
    "house_protocol": 1,
    "engines": None,
}
"""What a server of today says of itself while it is loading."""


class HttpServer:
    """Answers as a server's HTTP API does. A context manager; what it says may be changed while it runs."""

    def __init__(self, *, host: str = "127.0.0.1", token: str = "", problem: str = "", **said: object) -> None:
        """`problem` is why it is not ready; `said` replaces parts of the status, and None takes them away."""
        self.host = host
        self.http_port = 0
        self.token = token
        self.problem = problem
        self.status = {key: value for key, value in {**STATUS, **said}.items() if value is not None or key == "engines"}
        self.memory: tuple[int, dict[str, object]] = (503, {"error": "There is no memory: it is switched off"})
        """What every request about the memory is answered with."""
        self.refusal = 0
        """An HTTP status for whoever asks for the status."""
        self.asked: list[str] = []
        """Methods and paths, in order."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app, host=self.host)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        self.http_port = self._server.port or 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    @property
    def id(self) -> str:
        return str(self.status.get("id", ""))

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        if request.path == "/ready":
            if self.problem:
                return web.json_response({"status": "not ready", "reason": self.problem}, status=503)
            return web.json_response({"status": "ready", "version": self.status["version"]})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "Send 'Authorization: Bearer TOKEN'"}, status=401)
        if request.path == "/api/v1/voice/status":
            if self.refusal:
                return web.json_response({"error": "not you"}, status=self.refusal)
            return web.json_response(self.status)
        if request.path.startswith("/api/v1/memory"):
            status, answer = self.memory
            return web.json_response(answer, status=status)
        return web.json_response({"error": "There is nothing at this address"}, status=404)
