"""A server that speaks OpenAI's chat protocol, with answers that a test writes down.

Shapes are those of OpenAI's API reference (chat completions, streaming); thoughts come as vLLM and llama.cpp send them.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.support.ollama import SOON, Call, Cut, NoEnd, Raw, Status, Thought


@dataclass(frozen=True)
class Delta:
    """A delta as it is written here, for shapes that only some servers send."""

    value: dict[str, Any]


EndpointStep = str | Thought | Call | Delta | Raw | Status | Cut | NoEnd | asyncio.Event
"""Of an answer: a token, a call, a fault, or something that the test sets before the answer goes on.

A Status later than the first step is an error object within the stream. NoEnd ends it without a finish_reason.
"""


@dataclass
class FakeEndpoint:
    """A context manager: runs on a free port of 127.0.0.1, or on `port`, in the test's loop."""

    models: Sequence[str] = ("some-model",)
    key: str = ""
    """The only key that is accepted; empty accepts all."""
    port: int = 0
    lists_models: bool = True
    answers: deque[Sequence[EndpointStep]] = field(default_factory=deque)
    """Of the coming chats; "Certainly." when it is empty."""
    refused: dict[str, str] = field(default_factory=dict)
    """Fields of a request that are answered with 400, and what is said of them."""
    context_bytes: int = 0
    """More text than this in a request is answered as llama.cpp does; 0 takes all."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of all chats."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of every request, names in lower case."""
    finished: int = 0
    abandoned: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/v1/models", self._list), web.post("/v1/chat/completions", self._chat)])
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def will_answer(self, *steps: EndpointStep) -> None:
        """Append the answer of one more chat."""
        self.answers.append(steps)

    async def until(self, *, chats: int = 0, finished: int = 0, abandoned: int = 0) -> None:
        """Wait until so many chats were asked, answered and abandoned."""
        async with asyncio.timeout(SOON), self._changed:
            await self._changed.wait_for(
                lambda: len(self.asked) >= chats and self.finished >= finished and self.abandoned >= abandoned
            )

    async def _list(self, request: web.Request) -> web.Response:
        if refusal := self._refuse(request):
            return refusal
        if not self.lists_models:
            return _error(404, "Not Found", "not_found_error")
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refuse(request):
            return refusal
        body = await request.json()
        async with self._changed:
            self.asked.append(body)
            self._changed.notify_all()
        if body["model"] not in self.models:
            return _error(404, f"The model `{body['model']}` does not exist.", "invalid_request_error")
        for name, said in self.refused.items():
            if name in body:
                return _error(400, said, "invalid_request_error", param=name)
        if self.context_bytes and len(json.dumps(body["messages"])) > self.context_bytes:
            said = "the request exceeds the available context size, try increasing it"
            return _error(400, said, "exceed_context_size_error")
        try:
            response = await self._answer(request, self.answers.popleft() if self.answers else ("Certainly.",))
        except (asyncio.CancelledError, ConnectionError):
            await self._count(abandoned=1)
            raise
        await self._count(finished=1)
        return response

    async def _answer(self, request: web.Request, steps: Sequence[EndpointStep]) -> web.StreamResponse:
        if steps and isinstance(steps[0], Status):
            return _error(steps[0].code, steps[0].error, "server_error")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_event(_chunk({"role": "assistant", "content": None})))
        calls = 0
        for step in steps:
            match step:
                case asyncio.Event():
                    await step.wait()
                case Cut():
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                case NoEnd():
                    return response
                case Raw(data):
                    await response.write(data)
                case Status(code, error):
                    await response.write(_event({"error": {"message": error, "code": code, "type": "server_error"}}))
                case Call(name, arguments):
                    for delta in _call(calls, name, json.dumps(dict(arguments))):
                        await response.write(_event(_chunk(delta)))
                    calls += 1
                case Delta(value):
                    await response.write(_event(_chunk(value)))
                case Thought(text):
                    await response.write(_event(_chunk({"reasoning_content": text})))
                case str(text):
                    await response.write(_event(_chunk({"content": text})))
        await response.write(_event(_chunk({}, "tool_calls" if calls else "stop")))
        await response.write(_event({"choices": [], "usage": {"total_tokens": 3}}))
        await response.write(b"data: [DONE]\n\n")
        return response

    def _refuse(self, request: web.Request) -> web.Response | None:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided.", "invalid_request_error")
        return None

    async def _count(self, finished: int = 0, abandoned: int = 0) -> None:
        async with self._changed:
            self.finished += finished
            self.abandoned += abandoned
            self._changed.notify_all()


def _call(index: int, name: str, arguments: str) -> list[dict[str, Any]]:
    """A call as it is streamed: first its name, then the arguments in pieces."""
    begin = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [arguments[at : at + 5] for at in range(0, len(arguments), 5)]
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return [{"tool_calls": [piece]} for piece in (begin, *rest)]


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "some-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _error(status: int, message: str, kind: str, param: str | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "param": param, "code": None}}, status=status)
