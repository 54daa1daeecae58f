"""A server that speaks Ollama's HTTP protocol, with answers that a test writes down or a real model behind it.

Statuses, bodies and refusals are those of Ollama's own server (server/routes.go, api/types.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from aiohttp import web

from handlers.agent.stage import Generation, LanguageModel, Message

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
    parameters: int = 3_000_000_000
    context: int = 131_072
    """Tokens that it was made for."""
    remote_host: str = ""
    """Where it runs, when it does not run here."""
    refuses_think: bool = False
    """Answers 400 to a request with the field `think`, whatever its value."""
    dimensions: int = 64
    """Of its embeddings."""


@dataclass(frozen=True)
class Thought:
    """A token of `message.thinking`."""

    text: str


@dataclass(frozen=True)
class Call:
    """The model wants a tool."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)


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


@dataclass(frozen=True)
class NoEnd:
    """The answer ends here in good order, but without the line that says so."""


Step = str | Thought | Call | Raw | Status | Cut | NoEnd | asyncio.Event
"""Of an answer: a token, a call, a fault, or something that the test sets before the answer goes on."""


@dataclass
class FakeOllama:
    """A context manager: runs on a free port of 127.0.0.1, or on `port`, in the test's loop."""

    models: Sequence[Model] = (Model("llama3.2:latest"),)
    port: int = 0
    answers: deque[Sequence[Step]] = field(default_factory=deque)
    """Of the coming chats; "Certainly." when it is empty."""
    only_talks: bool = False
    """Answers that were written down are for what asks for no format: the memory, which thinks in the background when
    it has something to think about, would take them else. It gets what fits."""
    behind: LanguageModel | None = None
    """Writes the answers that no test wrote down."""
    loaded: set[str] | None = None
    """Models in memory, as /api/ps lists them; None: those that were asked."""
    faults: dict[str, deque[Step]] = field(default_factory=dict)
    """By path, what happens to the coming requests: an event that they wait for, a Status, a Raw body or a Cut."""
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
        body = await request.json() if request.can_read_body else {}
        async with self._changed:
            self.asked.append((request.path, body))
            self._changed.notify_all()
        return dict(body)

    async def _fault(self, request: web.Request) -> web.Response | None:
        """What a test wants to happen instead of an answer to this request."""
        coming = self.faults.get(request.path)
        while coming:
            match coming.popleft():
                case asyncio.Event() as event:
                    await event.wait()
                case Status(code, error):
                    return web.json_response({"error": error}, status=code)
                case Raw(data):
                    return web.Response(body=data, content_type="application/json")
                case Cut():
                    _cut(request)
                    return web.Response()
        return None

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.6"})

    async def _tags(self, request: web.Request) -> web.Response:
        await self._body(request)
        fault = await self._fault(request)
        return fault or web.json_response({"models": [self._listed(model) for model in self.models]})

    async def _ps(self, request: web.Request) -> web.Response:
        await self._body(request)
        if fault := await self._fault(request):
            return fault
        asked = {body["model"]: body.get("options", {}).get("num_ctx") for body in self.chats}
        asked = {name: asked.get(name) for name in (asked if self.loaded is None else self.loaded)}
        running = [(model, asked[name]) for name in asked if (model := self._find(name))]
        expires = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
        return web.json_response(
            {
                "models": [
                    {**self._listed(model), "expires_at": expires, "size_vram": 0, "context_length": context}
                    for model, context in running
                ]
            }
        )

    async def _show(self, request: web.Request) -> web.Response:
        model = self._find((await self._body(request))["model"])
        if fault := await self._fault(request):
            return fault
        if model is None:
            return web.json_response({"error": "model not found"}, status=404)
        info = {
            "general.architecture": "llama",
            "general.parameter_count": model.parameters,
            "llama.context_length": model.context,
        }
        shown: dict[str, Any] = {"details": {"family": "llama"}, "model_info": info, "template": "{{ .Prompt }}"}
        if model.capabilities is not None:
            shown["capabilities"] = list(model.capabilities)
        if model.remote_host:
            shown["remote_host"] = model.remote_host
        return web.json_response(shown)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        model = self._find(body["model"])
        if fault := await self._fault(request):
            return fault
        if model is None:
            return _no_model(body["model"])
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [embedding(text, model.dimensions) for text in texts]
        return web.json_response({"model": body["model"], "embeddings": vectors, "total_duration": 1})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        """Of one prompt; without one, the model is only loaded or, with keep_alive 0, unloaded."""
        body = await self._body(request)
        if fault := await self._fault(request):
            return fault
        if self._find(body["model"]) is None:
            return _no_model(body["model"])
        if not body.get("prompt"):
            reason = "unload" if body.get("keep_alive") == 0 else "load"
            end = {"response": "", "done": True, "done_reason": reason}
            return web.Response(body=_json(body["model"], end), content_type="application/json")
        return await self._answer(request, body, [{"role": "user", "content": body["prompt"]}], chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if fault := await self._fault(request):
            return fault
        model = self._find(body["model"])
        if model is None:
            return _no_model(body["model"])
        if body.get("tools") and "tools" not in (model.capabilities or ()):
            return web.json_response({"error": f"{model.name} does not support tools"}, status=400)
        if "think" in body and model.refuses_think:
            return web.json_response({"error": f'"{model.name}" does not support thinking'}, status=400)
        return await self._answer(request, body, body["messages"], chat=True)

    async def _answer(
        self, request: web.Request, body: dict[str, Any], messages: list[dict[str, Any]], chat: bool
    ) -> web.StreamResponse:
        try:
            async with contextlib.aclosing(self._steps(body, messages)) as steps:
                response = await self._write(request, body, steps, chat)
        except (asyncio.CancelledError, ConnectionError):
            await self._count(abandoned=1)
            raise
        if response.status == 200 and request.transport is not None:
            await self._count(finished=1)
        return response

    async def _write(
        self, request: web.Request, body: dict[str, Any], steps: AsyncGenerator[Step, None], chat: bool
    ) -> web.StreamResponse:
        step: Step | None = await anext(steps, None)
        if isinstance(step, Status):
            return web.json_response({"error": step.error}, status=step.code)
        if not body.get("stream", True):
            whole = str(step or "") + "".join([str(step) async for step in steps])
            part = {"message": {"role": "assistant", "content": whole}} if chat else {"response": whole}
            end = {**part, "done": True, "done_reason": "stop"}
            return web.Response(body=_json(body["model"], end), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while step is not None:
            match step:
                case asyncio.Event():
                    await step.wait()
                case Cut():
                    _cut(request)
                    return response
                case NoEnd():
                    return response
                case _:
                    await response.write(_line(body["model"], step, chat))
            step = await anext(steps, None)
        last = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
        await response.write(_json(body["model"], {**last, "done": True, "done_reason": "stop"}))
        return response

    async def _steps(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> AsyncGenerator[Step, None]:
        if self.answers and not (self.only_talks and isinstance(body.get("format"), dict)):
            for step in self.answers.popleft():
                yield step
        elif self.behind is not None:
            options = body.get("options", {})
            generation = Generation(
                options.get("num_predict", 64), options.get("temperature", 0.0), body.get("format") or None
            )
            told = [Message(message["role"], message["content"]) for message in messages]
            async with contextlib.aclosing(self.behind.chat(told, generation)) as pieces:
                async for piece in pieces:
                    yield piece if isinstance(piece, str) else Call(piece.name, piece.arguments)
        elif isinstance(body.get("format"), dict):
            yield json.dumps(fitting(body["format"]))
        else:
            yield "Certainly."

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


def embedding(text: str, dimensions: int = 64) -> list[float]:
    """A vector of length one that is the same for the same text, and near for texts that share words."""
    vector = [0.0] * dimensions
    for word in text.lower().split():
        vector[zlib.crc32(word.encode()) % dimensions] += 1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def fitting(schema: Mapping[str, Any]) -> object:
    """The plainest value that fits a JSON schema, as a grammar forces even a model without any sense to write."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("anyOf"):
        return fitting(schema["anyOf"][0])
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", schema.get("properties", {}))
            return {name: fitting(schema["properties"][name]) for name in wanted}
        case "array":
            return [fitting(schema["items"]) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
    return "x" * max(1, schema.get("minLength", 1))


def _no_model(name: str) -> web.Response:
    return web.json_response({"error": f"model '{name}' not found"}, status=404)


def _cut(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


def _line(model: str, step: str | Thought | Call | Raw | Status, chat: bool) -> bytes:
    message: dict[str, Any]
    match step:
        case Raw(data):
            return data
        case Status(_, error):
            return json.dumps({"error": error}).encode() + b"\n"
        case Thought(text):
            message = {"role": "assistant", "content": "", "thinking": text}
        case Call(name, arguments):
            call = {"id": "call_zz9", "function": {"index": 0, "name": name, "arguments": dict(arguments)}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
        case str(text):
            message = {"role": "assistant", "content": text}
    part = {"message": message} if chat else {"response": message["content"]}
    return _json(model, {**part, "done": False})


def _json(model: str, part: dict[str, Any]) -> bytes:
    return json.dumps({"model": model, "created_at": _CREATED, **part}).encode() + b"\n"
