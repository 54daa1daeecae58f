"""The HTTP side: health, metrics, status, and a small page that shows them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import web

from handlers import __version__
from handlers.errors import SettingsError
from handlers.timeline import Timeline, ignore
from server.access import access_of, ask_for_token
from server.announce_api import AnnounceApi
from server.conversation_api import ConversationApi
from server.engines import Engines
from server.house_api import PATH as HOUSE_PATH
from server.house_api import Houses
from server.house_protocol import PROTOCOL
from server.json_api import answer_in_json
from server.memory_api import MemoryApi
from server.metrics import Metrics
from server.openai_api import OpenAiApi
from server.openai_errors import openai_shape
from server.openapi import OpenApi
from server.settings import ServerSettings
from server.speech import Speech
from server.talk import Talk
from server.tokens import Tokens
from server.voice_api import VoiceApi
from server.voice_stream import PATH as VOICE_PATH
from server.voice_stream import Voices
from server.websocket import websocket_route

_RECENT_TURNS = 20
"""Timelines that the status shows."""

_TURNS = ("pipeline", "handle")
"""Services that answer questions: each is a turn."""

_SHUTDOWN_SECONDS = 2.0
"""For requests under way when the server stops."""

_EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Status:
    """What the status page knows: engines, connections, the last turns."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._turns: deque[dict[str, object]] = deque(maxlen=_RECENT_TURNS)
        self.server_id = ""
        self.name = ""
        self.wyoming_port: Callable[[], int] = int
        self.engines: Engines | None = None
        self.houses: Houses | None = None
        self.voices: Voices | None = None
        self.connections: Callable[[], int] = int
        self.on_timeline: Callable[[Timeline], None] = ignore
        """Told of every turn that HTTP's clients had."""
        self.ready: Callable[[], Awaitable[str]] | None = None
        """A real round trip through the server; answers with what is wrong, or ''."""

    def observe(self, timeline: Timeline) -> None:
        """Keep a turn that has ended."""
        if timeline.service in _TURNS:
            self._turns.appendleft({"service": timeline.service, **timeline.as_dict()})

    def as_dict(self) -> dict[str, object]:
        return {
            "version": __version__,
            "id": self.server_id,
            "name": self.name,
            "wyoming_port": self.wyoming_port(),
            "house_protocol": PROTOCOL,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "connections": self.connections(),
            "engines": _engines(self.engines) if self.engines else None,
            "satellites": list(self.engines.household.notices.connected) if self.engines else [],
            "houses": self.houses.as_list() if self.houses else [],
            "voice_sessions": self.voices.as_list() if self.voices else [],
            "turns": list(self._turns),
        }


class HttpServer:
    """Serves HTTP on some addresses until closed. With `tokens`, all but the health routes ask for one."""

    def __init__(
        self,
        hosts: list[str],
        port: int,
        status: Status,
        metrics: Metrics,
        tokens: Tokens | None,
        settings: ServerSettings | None = None,
    ) -> None:
        self._hosts = hosts
        self._port = port
        self._status = status
        self._metrics = metrics
        settings = settings or ServerSettings()
        self._speech = Speech(lambda: status.engines, settings)
        talk = Talk(lambda: status.engines, settings.http, lambda timeline: status.on_timeline(timeline))
        ask = [ask_for_token(tokens)] if tokens is not None else []
        app = web.Application(middlewares=[openai_shape, *ask, answer_in_json])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/metrics", self._exposition),
                web.get("/api/v1/voice/status", self._voice_status),
                *MemoryApi(lambda: status.engines.agent.memories if status.engines else None).routes(),
                *VoiceApi(self._speech).routes(),
                *ConversationApi(talk).routes(),
                *OpenAiApi(self._speech, talk).routes(),
                *OpenApi().routes(),
                AnnounceApi(lambda: status.engines.household if status.engines else None).route(),
                websocket_route(HOUSE_PATH, lambda: status.houses),
                websocket_route(VOICE_PATH, lambda: status.voices),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)

    @property
    def port(self) -> int:
        """The port, once started."""
        addresses = self._runner.addresses
        return int(addresses[0][1]) if addresses else self._port

    async def start(self) -> None:
        """Listen; SettingsError when an address cannot be used."""
        await self._runner.setup()
        port = self._port
        for host in self._hosts:
            try:
                await web.TCPSite(self._runner, host, port, reuse_address=True).start()
            except OSError as error:
                await self._runner.cleanup()
                raise SettingsError(
                    f"HTTP cannot listen on {host} port {port} ({error.strerror}): "
                    "stop the program that uses it, or choose another with --http"
                ) from None
            port = self.port  # port 0: the other addresses take the same one

    async def close(self) -> None:
        """Stop listening and end all requests."""
        await self._runner.cleanup()
        await self._speech.close()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "alive", "version": __version__})

    async def _ready(self, request: web.Request) -> web.Response:
        problem = "engines are loading" if self._status.ready is None else await self._status.ready()
        if problem:
            return web.json_response({"status": "not ready", "reason": problem}, status=503)
        return web.json_response({"status": "ready", "version": __version__})

    async def _exposition(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": _EXPOSITION_TYPE})

    async def _voice_status(self, request: web.Request) -> web.Response:
        access = access_of(request)
        shown = {"role": access.role.word, "token": access.token}
        return web.json_response({**self._status.as_dict(), "access": shown})

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html", headers=_PAGE_HEADERS)


def _engines(engines: Engines) -> dict[str, object]:
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
                for model in engines.agent.thinker.status()
            ],
            "memory": engines.household.no_memory or "ready",
            "schedule": engines.household.timers_not_kept or "ready",
        },
    }


_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Meadowlark</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
  table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
  @media (prefers-color-scheme: dark) { body { background: #14171a; color: #e6e6e6 } }
</style>
<h1>Meadowlark</h1>
<p id="state" role="status">Asking the server…</p>
<table id="engines"></table>
<h2>Last turns</h2>
<table id="turns"></table>
<script>
  const row = (table, cells) => {
    const line = table.insertRow();
    for (const cell of cells) line.insertCell().textContent = cell;
  };
  async function show() {
    const state = document.getElementById("state");
    try {
      const status = await (await fetch("api/v1/voice/status")).json();
      const engines = document.getElementById("engines"), turns = document.getElementById("turns");
      engines.replaceChildren(); turns.replaceChildren();
      state.textContent = `Version ${status.version}, ${status.connections} connections`;
      if (!status.engines) { state.textContent += ": engines are loading"; return; }
      row(engines, ["Hears", status.engines.asr.model]);
      row(engines, ["Wakes to", status.engines.wake.words.join(", ")]);
      const agent = status.engines.agent;
      for (const model of agent.models)
        row(engines, ["Answers", model.ready ? model.name : `${model.name}: ${model.problem}`]);
      row(engines, ["Speaks", status.engines.tts.voices.join(", ")]);
      for (const house of status.houses) row(engines, ["Lends its house", house.name || "Home Assistant"]);
      for (const [what, state] of [["Remembers", agent.memory], ["Keeps timers", agent.schedule]])
        if (state !== "ready") row(engines, [what, state]);
      row(turns, ["asked by", "answered by", "because", "sure", "outcome", "end of speech to first audio"]);
      for (const turn of status.turns) {
        const end = turn.marks_ms.speech_end, audio = turn.marks_ms.first_audio;
        const how = turn.decision;
        row(turns, [turn.service, turn.route, how.reason, how.confidence ?? "", turn.outcome,
          end != null && audio != null ? `${Math.round(audio - end)} ms` : ""]);
      }
    } catch (error) {
      state.textContent = "The server does not answer. Is it running?";
    }
  }
  show();
  setInterval(show, 3000);
</script>
</html>
"""
