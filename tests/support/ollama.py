"""A server that speaks Ollama's HTTP protocol, with answers that a test writes down. It holds no model."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

SOON = 20.0
"""A deadline that only a defect reaches."""

_CREATED = "2026-11-20T12:00:00Z"


@dataclass(frozen=True)
class Model:
    """An entry of /api/tags and /api/show. The server lists them in the order in which they are given."""

    name: str
    modified: str = "2026-01-01T00:00:00Z"
    capabilities: tuple[str, ...] | None = ("completion",)
    """None is an Ollama that is too old to say."""


@dataclass(frozen=True)
class Thought:
    """A token of `message.thinking`."""

    text: str


@dataclass(frozen=True)
class Raw:
    """Written as it is, in place of a JSON line."""

    data: bytes


@dataclass(frozen=True)
class Status:
    """As first step: an error status instead of an answer. Later: an error object within the stream."""

    code: int
    error: str


@dataclass(frozen=True)
class Cut:
    """The connection is lost here."""


Step = str | Thought | Raw | Status | Cut | asyncio.Event
"""Of an answer: a token, a fault, or something that the test sets before the answer goes on."""


@dataclass
class FakeOllama:
    """A context manager: runs on a free port of 127.0.0.1, or on `port`, in the test's loop."""

    models: Sequence[Model] = (Model("llama3.2:latest"),)
    port: int = 0
    answers: deque[Sequence[Step]] = field(default_factory=deque)
    """Of the coming chats; "Certainly." when it is empty."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and body of every request."""
    finished: int = 0
    """Chats that were answered to the end."""
    abandoned: int = 0
    """Chats whose client went away before the end."""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of all /api/chat requests."""
        return [body for path, body in self.asked if path == "/api/chat"]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/tags", self._tags),
                web.get("/api/ps", self._ps),
                web.post("/api/show", self._show),
                web.post("/api/chat", self._chat),
                web.post("/api/generate", self._generate),
                web.post("/api/embed", self._embed),
            ]
        )
        # The handler is cancelled when its client leaves, as Ollama stops its generation.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def will_answer(self, *steps: Step) -> None:
        """Append the answer of one more chat."""
        self.answers.append(steps)

    async def until(self, *, chats: int = 0, finished: int = 0, abandoned: int = 0) -> None:
        """Wait until so many chats were asked, answered and abandoned."""
        async with asyncio.timeout(SOON), self._changed:
            await self._changed.wait_for(
                lambda: len(self.chats) >= chats and self.finished >= finished and self.abandoned >= abandoned
            )

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body = await request.json()
        async with self._changed:
            self.asked.append((request.path, body))
            self._changed.notify_all()
        return dict(body)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.6"})

    async def _tags(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, {}))
        return web.json_response({"models": [self._listed(model) for model in self.models]})

    async def _ps(self, request: web.Request) -> web.Response:
        loaded = {body["model"] for body in self.chats if body.get("keep_alive") != 0}
        return web.json_response({"models": [self._listed(model) for model in self.models if model.name in loaded]})

    async def _show(self, request: web.Request) -> web.Response:
        model = self._find((await self._body(request))["model"])
        if model is None:
            return web.json_response({"error": "model not found"}, status=404)
        shown: dict[str, Any] = {"details": {"family": "llama"}, "model_info": {}, "template": "{{ .Prompt }}"}
        if model.capabilities is not None:
            shown["capabilities"] = list(model.capabilities)
        return web.json_response(shown)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return web.json_response({"model": body["model"], "embeddings": [[1.0, 0.0] for _ in texts]})

    async def _generate(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        return web.json_response({"model": body["model"], "created_at": _CREATED, "response": "", "done": True})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if self._find(body["model"]) is None:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        steps = self.answers.popleft() if self.answers else ("Certainly.",)
        if steps and isinstance(steps[0], Status):
            return web.json_response({"error": steps[0].error}, status=steps[0].code)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            await response.prepare(request)
            for step in steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Cut):
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                else:
                    await response.write(_line(body["model"], step))
            end = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
            await response.write(_json(body["model"], end))
        except (asyncio.CancelledError, ConnectionError):
            await self._count(abandoned=1)
            raise
        await self._count(finished=1)
        return response

    async def _count(self, finished: int = 0, abandoned: int = 0) -> None:
        async with self._changed:
            self.finished += finished
            self.abandoned += abandoned
            self._changed.notify_all()

    def _find(self, name: str) -> Model | None:
        return next((model for model in self.models if model.name in (name, f"{name}:latest")), None)

    def _listed(self, model: Model) -> dict[str, Any]:
        return {
            "name": model.name,
            "model": model.name,
            "modified_at": model.modified,
            "size": 1_000_000,
            "digest": "0" * 64,
            "details": {"family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"},
        }


@contextlib.asynccontextmanager
async def stopped_ollama() -> AsyncIterator[FakeOllama]:
    """One that does not run yet but has a port, on which nobody listens."""
    async with FakeOllama() as ollama:
        port = ollama.port
    yield FakeOllama(port=port)


def _line(model: str, step: str | Thought | Raw | Status) -> bytes:
    match step:
        case Raw(data):
            return data
        case Status(_, error):
            return json.dumps({"error": error}).encode() + b"\n"
        case Thought(text):
            message = {"role": "assistant", "content": "", "thinking": text}
        case str(text):
            message = {"role": "assistant", "content": text}
    return _json(model, {"message": message, "done": False})


def _json(model: str, part: dict[str, Any]) -> bytes:
    return json.dumps({"model": model, "created_at": _CREATED, **part}).encode() + b"\n"
