"""What the REST part offers, as OpenAPI and as a page: one table of routes, the bodies from their pydantic models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from handlers import __version__
from server.conversation_api import PATH as CONVERSATION
from server.conversation_api import ConversationBody
from server.openai_api import SPEECH, TRANSCRIPTIONS, SpeechBody
from server.openai_chat import CHAT, ChatBody
from server.openai_errors import PREFIX
from server.voice_api import SYNTHESIZE, TRANSCRIBE, SynthesizeBody

OPENAPI = "/api/v1/openapi.json"
DOCS = "/api/docs"

Schema = Mapping[str, object]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}


def _object(**properties: Schema) -> Schema:
    """An object that has all of these, and perhaps more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_SEGMENT = _object(start=_NUMBER, end=_NUMBER, text=_TEXT, words=_list(_object(start=_NUMBER, end=_NUMBER, word=_TEXT)))
_MODEL = _object(id=_TEXT, object=_TEXT, created={"type": "integer"}, owned_by=_TEXT)


@dataclass(frozen=True)
class Route:
    """One address, and what comes back from it."""

    method: Literal["get", "post"]
    path: str
    summary: str
    answers: Mapping[str, Schema]
    """By content type."""
    errors: Sequence[int]
    """Beside 401, 403 and 429, which a token or its absence has everywhere."""
    body: type[BaseModel] | None = None
    form: Schema | None = None
    file_types: Sequence[str] = ()
    """Of a file that may be the body itself."""
    query: Sequence[str] = ()
    in_path: Sequence[str] = ()
    failing: Sequence[int] = (503,)


ROUTES = [
    Route(
        "get", "/health", "Whether the server lives.", {"application/json": _object(status=_TEXT, version=_TEXT)}, []
    ),
    Route("get", "/ready", "Whether its engines are loaded.", {"application/json": _object(status=_TEXT)}, []),
    Route(
        "get",
        "/api/v1/voice/status",
        "Engines, models, satellites, the last turns.",
        {"application/json": _object(version=_TEXT, id=_TEXT, name=_TEXT, turns=_list({"type": "object"}))},
        [],
    ),
    Route(
        "post",
        TRANSCRIBE,
        "What is said in a recording.",
        {"application/json": _object(text=_TEXT, language=_TEXT, duration=_NUMBER, segments=_list(_SEGMENT))},
        [400, 408, 413, 415, 422],
        form={
            **_object(file={"type": "string", "format": "binary"}),
            "properties": {"file": {"type": "string", "format": "binary"}, "language": _TEXT},
        },
        file_types=["audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/webm"],
        query=["language"],
    ),
    Route(
        "post",
        SYNTHESIZE,
        "A text as sound, sent while it is made.",
        {"audio/wav": {"type": "string", "format": "binary"}},
        [400, 413, 415, 422],
        body=SynthesizeBody,
    ),
    Route(
        "post",
        CONVERSATION,
        "A question and its answer; as events with 'Accept: text/event-stream'.",
        {
            "application/json": _object(
                text=_TEXT, conversation_id=_TEXT, listen={"type": "boolean"}, timeline={"type": "object"}
            ),
            "text/event-stream": _TEXT,
        },
        [400, 413, 415, 422],
        body=ConversationBody,
    ),
    Route(
        "post",
        TRANSCRIPTIONS,
        "What is said in a recording, in OpenAI's shape.",
        {"application/json": _object(text=_TEXT), "text/plain": _TEXT, "text/vtt": _TEXT},
        [400, 404, 408, 413],
        form={
            **_object(file={"type": "string", "format": "binary"}),
            "properties": {
                "file": {"type": "string", "format": "binary"},
                "model": _TEXT,
                "language": _TEXT,
                "prompt": _TEXT,
                "response_format": {"type": "string", "enum": ["json", "text", "srt", "verbose_json", "vtt"]},
                "timestamp_granularities[]": _list({"type": "string", "enum": ["word", "segment"]}),
            },
        },
    ),
    Route(
        "post",
        SPEECH,
        "A text as sound, in OpenAI's shape.",
        {
            kind: {"type": "string", "format": "binary"}
            for kind in ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
        },
        [400, 404, 413],
        body=SpeechBody,
    ),
    Route(
        "post",
        CHAT,
        "A chat and its answer, in OpenAI's shape.",
        {
            "application/json": _object(id=_TEXT, object=_TEXT, choices=_list({"type": "object"})),
            "text/event-stream": _TEXT,
        },
        [400, 404, 413],
        body=ChatBody,
    ),
    Route(
        "get",
        "/v1/models",
        "The names that 'model' may have.",
        {"application/json": _object(object=_TEXT, data=_list(_MODEL))},
        [],
    ),
    Route(
        "get",
        "/v1/models/{name}",
        "One of them.",
        {"application/json": _MODEL},
        [404],
        in_path=["name"],
    ),
]


class OpenApi:
    """`GET /api/v1/openapi.json` and `/api/docs`."""

    def __init__(self) -> None:
        self._document = document()
        self._page = _page()

    def routes(self) -> list[web.RouteDef]:
        return [web.get(OPENAPI, self._show), web.get(DOCS, self._show_page)]

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._document)

    async def _show_page(self, request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", headers=_PAGE_HEADERS)


def document() -> dict[str, object]:
    """The whole of it, OpenAPI 3.1."""
    bodies = [(route.body, "validation") for route in ROUTES if route.body is not None]
    _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    own = _object(error=_TEXT)
    openai = _object(error=_object(message=_TEXT, type=_TEXT, param={}, code={}))
    paths: dict[str, dict[str, object]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meadowlark",
            "version": __version__,
            "description": "Speech to text, text to speech and conversation. The rest is in server/README.md.",
        },
        "paths": paths,
        "security": [{"token": []}, {}],
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": own, "OpenAiError": openai},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, object]:
    error = "OpenAiError" if route.path.startswith(PREFIX) else "Error"
    told: Schema = {"$ref": f"#/components/schemas/{error}"}
    if route.path == "/ready":
        told = _object(status=_TEXT, reason=_TEXT)
    failed = {"content": {"application/json": {"schema": told}}}
    statuses = sorted({*route.errors, *route.failing, 401, 403, 429})
    operation: dict[str, object] = {
        "summary": route.summary,
        "operationId": f"{route.method}{route.path.translate(_AS_NAME)}",
        "parameters": [
            *({"name": name, "in": "query", "schema": _TEXT} for name in route.query),
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in route.in_path),
        ],
        "responses": {
            "200": {
                "description": "As asked for.",
                "content": {kind: {"schema": schema} for kind, schema in route.answers.items()},
            },
            **{str(status): {"description": _WHY[status], **failed} for status in statuses},
        },
    }
    content: dict[str, object] = {}
    if route.body is not None:
        content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{route.body.__name__}"}}
    if route.form is not None:
        content["multipart/form-data"] = {"schema": route.form}
    content.update({kind: {"schema": {"type": "string", "format": "binary"}} for kind in route.file_types})
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    return operation


_AS_NAME = str.maketrans("/{}.", "____")

_WHY = {
    400: "What is sent is no such request; the sentence says why.",
    401: "No token was shown, or a wrong one.",
    403: "The token may not, or the page that asks is not the server's own.",
    404: "There is nothing of this name.",
    408: "The body did not arrive in time.",
    413: "It is too long, or too large.",
    415: "The body is of another kind, or the file no sound.",
    422: "It cannot be served as it is: an empty text, a damaged file, a language or a voice that is not there.",
    429: "Too many at once; Retry-After says when to come again.",
    503: "The engines are loading, or one failed.",
}

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}


def _page() -> str:
    """The same for people: no script, and nothing from elsewhere."""
    sections = []
    for route in ROUTES:
        fields = ""
        if route.body is not None:
            described = route.body.model_json_schema()
            needed = described.get("required", [])
            fields = "".join(
                f"<li><code>{escape(name)}</code>{'' if name in needed else ' (optional)'}</li>"
                for name in described["properties"]
            )
        elif route.form is not None:
            properties = route.form["properties"]
            assert isinstance(properties, Mapping)
            fields = "".join(f"<li><code>{escape(name)}</code></li>" for name in properties)
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in route.answers)
        sections.append(
            f"<section><h2><code>{route.method.upper()} {escape(route.path)}</code></h2>"
            f"<p>{escape(route.summary)} Answers with {kinds}.</p>{f'<ul>{fields}</ul>' if fields else ''}</section>"
        )
    return _PAGE.replace("SECTIONS", "\n".join(sections))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Meadowlark: the API</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
  h2 { font-size: 1rem; margin: 1.6rem 0 .2rem } p, ul { margin: .2rem 0 } code { overflow-wrap: anywhere }
  @media (prefers-color-scheme: dark) { body { background: #14171a; color: #e6e6e6 } a { color: #9cf } }
</style>
<h1>Meadowlark: the API</h1>
<p>The same for programs: <a href="v1/openapi.json">openapi.json</a>. Where the server asks for a token, send it as
<code>Authorization: Bearer TOKEN</code>.</p>
SECTIONS
</html>
"""
