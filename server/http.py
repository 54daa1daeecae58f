"""The HTTP side: health, metrics, status, and a small page that shows them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from handlers import __version__
from handlers.agent.safety.audit import Audit
from handlers.errors import SettingsError
from handlers.session import Role
from server.access import PAGE, Access, Gate, access_of
from server.announce_api import AnnounceApi
from server.audit_api import AuditApi
from server.connections import Connections
from server.conversation_api import ConversationApi
from server.engines import Engines
from server.house_api import PATH as HOUSE_PATH
from server.house_protocol import PROTOCOL
from server.household import Household
from server.json_api import LoadingError, answer_in_json, error_answer
from server.memory_api import MemoryApi
from server.metrics import Metrics
from server.openai_api import OpenAiApi
from server.openai_errors import openai_shape
from server.openapi import OpenApi
from server.origin import NAMES
from server.page import DIST, read_page
from server.security import secured
from server.session_api import SessionApi
from server.settings import ServerSettings
from server.speech import Speech
from server.status_page import status_page
from server.talk import Talk
from server.tenants import Tenant
from server.tls import certificate_of
from server.tokens import Tokens
from server.voice_api import VoiceApi
from server.voice_stream import PATH as VOICE_PATH
from server.websocket import websocket_route

_KEEPALIVE_SECONDS = 30.0
"""For a request's headers to arrive, from the start of its connection or the end of the request before."""

_TLS_SECONDS = 10.0
"""For the handshake of TLS, whose connections are not counted yet."""

_READY_SECONDS = 1.0
"""How long what was found out for `/ready` is told to all who ask: anybody may, and each look is a connection."""

_SHUTDOWN_SECONDS = 2.0
"""For requests under way when the server stops."""

_BACKLOG = 128
"""Connections that wait to be taken, as aiohttp has it."""

_EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


_LOGGER = logging.getLogger(__name__)

_CONNECTIONS_LOGGER = logging.getLogger(f"{__name__}.connections")
"""Of what aiohttp says about connections."""


def _is_worth_a_traceback(record: logging.LogRecord) -> bool:
    """Anybody can send what is no HTTP, as often as they like: that is a line for whoever looks for it."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    _LOGGER.debug("What came is not HTTP: %s", type(error).__name__)
    return False


_CONNECTIONS_LOGGER.addFilter(_is_worth_a_traceback)


class Status:
    """What HTTP knows of the server: its engines, and the households that share them."""

    def __init__(self, tenants: Mapping[str, Tenant] | None = None) -> None:
        """Without `tenants` there is the server's own household alone."""
        self._started = time.monotonic()
        self.server_id = ""
        self.engines: Engines | None = None
        self.tenants = tenants or {"": Tenant()}
        self.ready: Callable[[], Awaitable[str]] | None = None
        """A real round trip through the server; answers with what is wrong, or ''."""

    @property
    def own(self) -> Tenant:
        """The server's own household."""
        return self.tenants[""]

    def tenant(self, access: Access) -> Tenant:
        """Whose household a request is for. The gate lets in nobody of one that there is not."""
        return self.tenants[access.tenant]

    def as_dict(self, tenant: Tenant) -> dict[str, object]:
        """What one household is shown, of the server and of itself."""
        engines = self.engines
        return {
            "version": __version__,
            "id": self.server_id,
            "house_protocol": PROTOCOL,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "engines": _engines(engines, engines.households[tenant.key]) if engines else None,
            **tenant.as_dict(),
        }


class _Readiness:
    """What is wrong with the server, looked at by one for all who ask at about the same time."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._looking: asyncio.Task[str] | None = None
        self._until = 0.0

    async def problem(self) -> str:
        """'' where nothing is."""
        if self._status.ready is None:
            return "engines are loading"
        if self._looking is None or (self._looking.done() and time.monotonic() >= self._until):
            self._looking = asyncio.create_task(self._look(self._status.ready), name="look whether all is ready")
        return await asyncio.shield(self._looking)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self, ready: Callable[[], Awaitable[str]]) -> str:
        try:
            return await ready()
        finally:
            self._until = time.monotonic() + _READY_SECONDS


class HttpServer:
    """Serves HTTP on some addresses until closed. With `tokens`, all but the page and the health routes ask for one."""

    def __init__(
        self,
        hosts: list[str],
        port: int,
        status: Status,
        metrics: Metrics,
        tokens: Tokens | None,
        settings: ServerSettings | None = None,
        page: Path = DIST,
    ) -> None:
        self._hosts = hosts
        self._port = port
        self._status = status
        self._metrics = metrics
        settings = settings or ServerSettings()
        self._speech = Speech(lambda: status.engines, settings)
        talks = {key: Talk(tenant, settings.http.questions) for key, tenant in status.tenants.items()}
        households = {key: household.access for key, household in settings.households.items()}
        gate = None if tokens is None else Gate(tokens, settings.http.requests_a_minute, households)

        def talk(access: Access) -> Talk:
            return talks[access.tenant]

        ask = [] if gate is None else [gate.middleware()]
        self._page = page
        self._app = app = web.Application(middlewares=[openai_shape, *ask, answer_in_json])
        app[NAMES] = tuple(settings.http.names)
        secured(app, strict_transport=settings.http.hsts)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/metrics", self._exposition),
                web.get("/api/v1/voice/status", self._voice_status),
                *SessionApi(gate).routes(),
                *MemoryApi(lambda access: status.tenant(access).memories, partial(_audit, status)).routes(),
                *AuditApi(partial(_audit, status)).routes(),
                *VoiceApi(self._speech).routes(),
                *ConversationApi(talk).routes(),
                *OpenAiApi(self._speech, talk).routes(),
                *OpenApi().routes(),
                AnnounceApi(lambda access: status.tenant(access).household).route(),
                websocket_route(HOUSE_PATH, lambda access: status.tenant(access).houses),
                websocket_route(VOICE_PATH, lambda access: status.tenant(access).voices),
            ]
        )
        self._http_settings = settings.http
        self._watching: asyncio.Task[None] | None = None
        self._readiness = _Readiness(status)
        self._listening: list[asyncio.Server] = []
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            logger=_CONNECTIONS_LOGGER,
        )

    @property
    def port(self) -> int:
        """The port, once started."""
        sockets = [socket for server in self._listening for socket in server.sockets]
        return int(sockets[0].getsockname()[1]) if sockets else self._port

    async def start(self) -> None:
        """Listen; SettingsError when an address or the certificate cannot be used."""
        certificate = await asyncio.to_thread(certificate_of, self._http_settings)
        context = None if certificate is None else certificate.context
        page = await asyncio.to_thread(read_page, self._page) or [web.get("/", status_page)]
        self._app[PAGE] = frozenset(route.path for route in page)
        self._app.add_routes(page)
        await self._runner.setup()
        assert self._runner.server is not None
        connections, loop, port = Connections(self._runner.server), asyncio.get_running_loop(), self._port
        handshake_seconds = None if context is None else _TLS_SECONDS
        for host in self._hosts:
            try:
                server = await loop.create_server(
                    connections,
                    host,
                    port,
                    ssl=context,
                    backlog=_BACKLOG,
                    reuse_address=True,
                    ssl_handshake_timeout=handshake_seconds,
                )
                self._listening.append(server)
            except OSError as error:
                await self._stop_listening()
                raise SettingsError(
                    f"HTTP cannot listen on {host} port {port} ({error.strerror}): "
                    "stop the program that uses it, or choose another with --http"
                ) from None
            port = self.port  # port 0: the other addresses take the same one
        if certificate is not None:
            self._watching = asyncio.create_task(certificate.watch(), name="watch the certificate")

    async def close(self) -> None:
        """Stop listening and end all requests."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._stop_listening()
        await self._readiness.close()
        await self._speech.close()

    async def _stop_listening(self) -> None:
        for server in self._listening:
            server.close()
        await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive", "version": __version__})

    async def _ready(self, request: web.Request) -> web.Response:
        problem = await self._readiness.problem()
        if problem:
            return web.json_response({"status": "not ready", "reason": problem}, status=503)
        return web.json_response({"status": "ready", "version": __version__})

    async def _exposition(self, request: web.Request) -> web.Response:
        access = access_of(request)
        if access.tenant:
            return error_answer(
                403, f"The token '{access.token}' is a tenant's, and the metrics are the whole server's"
            )
        needed = Role.ADMIN if len(self._status.tenants) > 1 else Role.USER
        if access.role < needed:
            return error_answer(403, f"The token '{access.token}' may not see the metrics: those of {needed.word}s may")
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": _EXPOSITION_TYPE})

    async def _voice_status(self, request: web.Request) -> web.Response:
        access = access_of(request)
        shown = {"role": access.role.word, "token": access.token}
        return web.json_response({**self._status.as_dict(self._status.tenant(access)), "access": shown})


def _audit(status: Status, access: Access) -> Audit:
    """The log of what is done for whoever asks; LoadingError while the engines are loading."""
    household = status.tenant(access).household
    if household is None:
        raise LoadingError
    return household.audit


def _engines(engines: Engines, household: Household) -> dict[str, object]:
    return {
        "asr": {"model": engines.transcriber.name, "languages": list(engines.transcriber.languages)},
        "tts": {"voices": [voice.name for voice in engines.synthesizer.voices]},
        "wake": {"words": list(engines.wake.words)},
        "agent": {
            "models": [
                {
                    "name": model.name,
                    "ready": model.ready,
                    "problem": model.problem or None,
                    "first_token_ms": None if model.first_token_seconds is None else model.first_token_seconds * 1000,
                }
                for model in engines.agent_engines.thinker.status()
            ],
            "memory": household.no_memory or "ready",
            "schedule": household.timers_not_kept or "ready",
        },
    }
