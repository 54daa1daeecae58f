"""A language model that says what a test writes down, behind the part of Ollama's HTTP protocol that is used here."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

_MODEL = {
    "name": "scripted:latest",
    "model": "scripted:latest",
    "modified_at": "2026-01-01T00:00:00Z",
    "size": 1_000_000,
    "digest": "0" * 64,
    "details": {"family": "llama", "parameter_size": "3B", "quantization_level": "Q4_0"},
}

_SHOWN = {
    "details": {"family": "llama"},
    "template": "{{ .Prompt }}",
    "capabilities": ["completion", "tools"],
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 3_000_000_000,
        "llama.context_length": 131_072,
    },
}


@dataclass(frozen=True)
class Offered:
    """A tool as the model is told of it."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Use:
    """The model uses one of the offered tools, chosen as a model does: by what it reads of them."""

    choose: Callable[[Offered], bool]
    arguments: Mapping[str, object] = field(default_factory=dict)


Step = str | Use | asyncio.Event
"""Of an answer: words, a tool, or something that the test sets before the answer goes on."""


@dataclass
class ScriptedModel:
    """A context manager: serves on a free port of 127.0.0.1, in the test's loop."""

    answers: deque[Sequence[Step]] = field(default_factory=deque)
    """Of the coming chats; "Certainly." when it is empty."""
    chats: list[dict[str, Any]] = field(default_factory=list)
    """What was asked, oldest first."""
    used: list[str] = field(default_factory=list)
    """Names of the tools that `Use` found."""
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves before the end of its answer."""
    url: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/version", _version),
                web.get("/api/tags", _tags),
                web.get("/api/ps", _tags),
                web.post("/api/show", _show),
                web.post("/api/generate", _load),
                web.post("/api/chat", self._chat),
            ]
        )
        # The handler is cancelled when its client leaves, as Ollama stops its generation.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def will_answer(self, *steps: Step) -> None:
        """Append the answer of one more chat."""
        self.answers.append(steps)

    def forget(self) -> None:
        """Begin anew, for the next test."""
        self.answers.clear()
        self.chats.clear()
        self.used.clear()
        self.abandoned.clear()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.chats.append(body)
        steps = self.answers.popleft() if self.answers else ("Certainly.",)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            await response.prepare(request)
            for step in steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await response.write(_line(self._message(step, body)))
            await response.write(_line({"role": "assistant", "content": ""}, done=True))
        except asyncio.CancelledError, ConnectionError:
            self.abandoned.set()
            raise
        return response

    def _message(self, step: str | Use, body: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(step, str):
            return {"role": "assistant", "content": step}
        offered = [
            Offered(tool["function"]["name"], tool["function"]["description"], tool["function"]["parameters"])
            for tool in body.get("tools", [])
        ]
        name = next((tool.name for tool in offered if step.choose(tool)), None)
        if name is None:
            return {"role": "assistant", "content": f"None of {[tool.name for tool in offered]} will do."}
        self.used.append(name)
        return {"role": "assistant", "content": "", "tool_calls": [_call(name, step.arguments)]}


def _call(name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    return {"function": {"name": name, "arguments": dict(arguments)}}


def _line(message: Mapping[str, object], *, done: bool = False) -> bytes:
    line = {"model": _MODEL["name"], "created_at": "2026-11-20T12:00:00Z", "message": message, "done": done}
    return json.dumps({**line, "done_reason": "stop"} if done else line).encode() + b"\n"


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"version": "0.12.6"})


async def _tags(_: web.Request) -> web.Response:
    return web.json_response({"models": [_MODEL]})


async def _show(_: web.Request) -> web.Response:
    return web.json_response(_SHOWN)


async def _load(_: web.Request) -> web.Response:
    """Of a request without a prompt, by which a model is loaded."""
    end = {"model": _MODEL["name"], "created_at": "2026-11-20T12:00:00Z", "response": "", "done": True}
    return web.Response(body=json.dumps(end).encode() + b"\n", content_type="application/x-ndjson")
