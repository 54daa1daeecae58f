"""The server as a whole: starts everything in order, waits for a signal, ends everything in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info

from handlers import __version__
from handlers.agent.handler import AgentHandler
from handlers.agent.stage import Request
from handlers.agent.tools.stage import ToolError
from handlers.asr.handler import AsrHandler
from handlers.errors import MeadowlarkError, SettingsError
from handlers.pipeline.handler import PipelineHandler
from handlers.pipeline.notices import NoticeHandler
from handlers.pipeline.turn import Pipeline
from handlers.session import Role
from handlers.timeline import Timeline
from handlers.tts.handler import TtsHandler
from handlers.wake.handler import WakeHandler
from handlers.wire.client import connect
from handlers.wire.connection import Connection, Service
from server import data_folder
from server.audit_cli import written_down
from server.describe import info_event
from server.discovery import Announcer
from server.engines import Engines, load_engines
from server.house_api import Houses
from server.household import Household
from server.http import HttpServer, Status
from server.metrics import Metrics
from server.pairing import page_address, pairing_link, show_first
from server.retention import keep_pruning
from server.settings import ServerSettings, join_address
from server.tenants import Tenant, tenants_of
from server.tokens import FIRST, Tokens
from server.voice_stream import MOST_SESSIONS, Voices
from server.wyoming import WyomingServer

_LOGGER = logging.getLogger(__name__)

_ROUND_TRIP_SECONDS = 5.0
"""For `describe` on our own port; it takes a millisecond, also under load."""


class App:
    """One running server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._status = Status(tenants_of(settings))
        self._owned = contextlib.AsyncExitStack()
        self._served: list[Callable[[], Awaitable[None]]] = []  # how to end what the tenants' clients use
        self._wyoming: WyomingServer | None = None
        self._http: HttpServer | None = None

    @property
    def wyoming_port(self) -> int:
        return self._wyoming.port if self._wyoming else 0

    @property
    def http_port(self) -> int:
        return self._http.port if self._http else 0

    @property
    def engines(self) -> Engines | None:
        """None until they are loaded."""
        return self._status.engines

    async def start(self) -> None:
        """Load the engines and open the ports. Raises MeadowlarkError, with everything closed again."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close everything, the last opened first."""
        await self._owned.aclose()

    async def _start(self) -> None:
        began = time.monotonic()
        settings = self._settings
        await asyncio.to_thread(data_folder.prepare, settings.data_dir)
        self._status.server_id = await asyncio.to_thread(data_folder.server_id, settings.data_dir)
        for tenant in self._status.tenants.values():
            tenant.on_timeline = partial(self._on_timeline, tenant)
        # HTTP first: a health check sees a server that is alive while its engines load.
        self._http = self._make_http()
        await self._http.start()
        self._owned.push_async_callback(self._http.close)
        if settings.asks_for_token:
            await asyncio.to_thread(self._begin_tokens)
        engines = await load_engines(settings)
        self._owned.push_async_callback(engines.close)
        audits = [household.audit for household in engines.households.values()]
        pruning = asyncio.create_task(keep_pruning(audits, engines.recordings.values()))
        self._owned.push_async_callback(_end, pruning)
        self._owned.push_async_callback(self._http.close)  # once more: no request may use engines that are closed
        self._owned.push_async_callback(self._end_serving)
        for tenant in self._status.tenants.values():
            await self._open(tenant, engines)
        self._metrics.watch_cache(engines.synthesizer)
        self._status.engines = engines
        self._status.ready = self._round_trip
        if settings.announced:
            self._announce()
        _LOGGER.info("Meadowlark %s is ready after %.1f s", __version__, time.monotonic() - began)
        _LOGGER.info("Satellites and Home Assistant connect to %s", ", ".join(self._wyoming_uris()))
        _LOGGER.info("Open %s in a browser", self._page_address())

    def _make_http(self) -> HttpServer:
        hosts, port = self._settings.http_bind()
        tokens = Tokens(self._settings.data_dir) if self._settings.asks_for_token else None
        return HttpServer(hosts, port, self._status, self._metrics, tokens, self._settings)

    def _begin_tokens(self) -> None:
        """Make the first token, and show it on the terminal: it is shown nowhere else, and never again."""
        tokens = Tokens(self._settings.data_dir)
        told = {"name": FIRST, "role": Role.ADMIN.word}
        try:
            with contextlib.ExitStack() as making:
                if not tokens.all():
                    making.enter_context(written_down(self._settings, "token/add", told, "meadowlark-server"))
                secret = tokens.add_first()
        except (SettingsError, ToolError) as error:  # the satellites are served all the same
            _LOGGER.error("HTTP lets nobody in without a token: %s", error)
            return
        if secret:
            show_first(secret, pairing_link(page_address(self._settings, self.http_port), secret), sys.stderr)
        else:
            _LOGGER.info("HTTP asks for a token; 'meadowlark-server token add NAME' makes another one")

    async def _open(self, tenant: Tenant, engines: Engines) -> None:
        """Let a household be reached, all that comes to it and nothing else."""
        household = tenant.household = engines.households[tenant.key]
        pipeline = Pipeline(engines.stages(tenant.key), tenant.on_timeline)
        wyoming = self._make_wyoming(tenant, engines, household, pipeline)
        if wyoming is not None:
            try:
                await wyoming.start()
            except SettingsError as error:
                raise SettingsError(f"tenants.{tenant.key}.wyoming: {error}" if tenant.key else str(error)) from None
            self._served.append(wyoming.close)
            tenant.wyoming_port, tenant.connections = lambda: wyoming.port, lambda: wyoming.connections
            if tenant.key:
                _LOGGER.info("Satellites of the tenant %s connect to port %d", tenant.key, wyoming.port)
        port = tenant.wyoming_port()
        houses = Houses(household.agent, household.notices, self._status.server_id, port, tenant.on_timeline)
        self._served.append(houses.close)
        most = MOST_SESSIONS if tenant.limits is None else tenant.limits.sessions
        voices = Voices(pipeline, household.notices, most)
        self._served.append(voices.close)
        tenant.houses, tenant.voices = houses, voices

    def _make_wyoming(
        self, tenant: Tenant, engines: Engines, household: Household, pipeline: Pipeline
    ) -> WyomingServer | None:
        """None where a tenant has no port of its own."""
        settings, agent = self._settings, household.agent
        if tenant.key and not settings.tenants[tenant.key].wyoming:
            return None
        info = info_event(engines)

        def services(connection: Connection) -> Sequence[Service]:
            return [
                NoticeHandler(connection, household.notices),
                PipelineHandler(connection, pipeline, settings.tts.longest_text),
                WakeHandler(connection, engines.wake, engines.wake_workers, settings.wake),
                AsrHandler(
                    connection,
                    pipeline.stages.recognizer,
                    tenant.on_timeline,
                    agent.attending,
                    agent.commands(Request("", agent.session())),
                ),
                AgentHandler(connection, agent, tenant.on_timeline),
                TtsHandler(connection, engines.synthesizer, settings.tts),
            ]

        def describe() -> Event:
            return info

        hosts, port = settings.tenant_bind(tenant.key) if tenant.key else settings.wyoming_bind()
        server = WyomingServer(
            hosts,
            port,
            describe=describe,
            services=services,
            max_connections=settings.wyoming.connections if tenant.limits is None else tenant.limits.connections,
            idle_seconds=settings.wyoming.idle_seconds,
        )
        if not tenant.key:
            self._wyoming = server
            self._metrics.watch_connections(lambda: server.connections, lambda: server.refused)
        return server

    async def _end_serving(self) -> None:
        """End the connections of all households at the same time: each may wait some seconds for its clients."""
        self._status.ready = None
        outcomes = await asyncio.gather(*(close() for close in self._served), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _on_timeline(self, tenant: Tenant, timeline: Timeline) -> None:
        self._metrics.observe(timeline)
        tenant.observe(timeline)
        waits = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in timeline.stages().items())
        _LOGGER.info("Turn %s %s by %s: %s", timeline.turn_id[:8], timeline.outcome, timeline.route or "nobody", waits)

    def _announce(self) -> None:
        settings = self._settings
        announcer = Announcer(
            self._status.server_id,
            __version__,
            self.wyoming_port,
            self.http_port,
            settings.discovery.name,
            settings.discovery.interfaces or None,
        )
        self._owned.push_async_callback(announcer.close)
        addresses = self._wyoming.addresses if self._wyoming else []
        # It takes some seconds to ask whether the name is free; the server serves meanwhile.
        announcing = asyncio.create_task(announcer.start(addresses))
        self._owned.push_async_callback(_end, announcing)

    def _wyoming_uris(self) -> list[str]:
        addresses = self._wyoming.addresses if self._wyoming else []
        return [f"tcp://{join_address(address, self.wyoming_port)}" for address in addresses]

    def _page_address(self) -> str:
        host = self._settings.http_bind()[0][0]
        address = join_address("127.0.0.1" if host == "0.0.0.0" else host, self.http_port)
        return f"{self._settings.http.scheme}://{address}/"

    async def _round_trip(self) -> str:
        """Ask our own Wyoming port what it offers, as a client would."""
        assert self._wyoming is not None
        host = self._settings.wyoming_bind()[0][0]
        try:
            async with connect("127.0.0.1" if host == "0.0.0.0" else host, self._wyoming.port) as client:
                await client.send(Describe().event())
                event = await client.receive(_ROUND_TRIP_SECONDS)
        except (OSError, MeadowlarkError) as error:
            return f"the Wyoming port does not answer ({error})"
        if event is not None and Info.is_type(event.type):
            return ""
        problem = Error.from_event(event).text if event is not None and Error.is_type(event.type) else "it closed"
        return f"the Wyoming port does not serve ({problem})"


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT. Both are handled, so the server also stops as PID 1 of a container."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = App(settings)
    starting = asyncio.create_task(app.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await stopping
        _LOGGER.info("Stopping")
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await app.close()
