"""What the REST part offers, as OpenAPI and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from aiohttp import web
from pydantic.json_schema import models_json_schema

from handlers import __version__
from server.access import COOKIE
from server.openai_errors import PREFIX
from server.openapi_routes import ROUTES, TEXT, Route, Schema, object_of

OPENAPI = "/api/v1/openapi.json"
DOCS = "/api/docs"


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
    own = object_of(error=TEXT)
    openai = object_of(error=object_of(message=TEXT, type=TEXT, param={}, code={}))
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
        "security": [{"token": []}, {"browser": []}, {}],
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": own, "OpenAiError": openai},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "browser": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _operation(route: Route) -> dict[str, object]:
    error = "OpenAiError" if route.path.startswith(PREFIX) else "Error"
    told: Schema = {"$ref": f"#/components/schemas/{error}"}
    if route.path == "/ready":
        told = object_of(status=TEXT, reason=TEXT)
    failed = {"content": {"application/json": {"schema": told}}}
    statuses = sorted({*route.errors, *route.refused})
    operation: dict[str, object] = {
        "summary": route.summary,
        "operationId": f"{route.method}{route.path.translate(_AS_NAME)}",
        "parameters": [
            *(
                {"name": name, "in": "query", "required": name in route.needs, "schema": schema}
                for name, schema in route.query.items()
            ),
            *({"name": name, "in": "path", "required": True, "schema": TEXT} for name in route.in_path),
        ],
        "responses": {
            str(route.status): {
                "description": "As asked for.",
                **(
                    {"content": {kind: {"schema": schema} for kind, schema in route.answers.items()}}
                    if route.answers
                    else {}
                ),
            },
            **{str(status): _refusal(status, failed) for status in statuses},
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


def _refusal(status: int, failed: Schema) -> Schema:
    told = {"description": _WHY[status], **failed}
    return {**told, "headers": _RETRY} if status in (429, 503) else told


_RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}

_AS_NAME = str.maketrans("/{}.", "____")

_WHY = {
    400: "What is sent is no such request; the sentence says why.",
    401: "No token was shown, or a wrong one.",
    403: "The token may not, or the page that asks is not the server's own.",
    404: "There is nothing of this name.",
    408: "The body did not arrive in time.",
    409: "It is a secret that is not kept, or there is nothing to take back.",
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
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in route.answers)
        fields = "".join(
            f"<li><code>{escape(name)}</code>{'' if needed else ' (optional)'}</li>" for name, needed in _fields(route)
        )
        sections.append(
            f"<section><h2><code>{route.method.upper()} {escape(route.path)}</code></h2>"
            f"<p>{escape(route.summary)}{f' Answers with {kinds}.' if kinds else ''}</p>"
            f"{f'<ul>{fields}</ul>' if fields else ''}</section>"
        )
    return _PAGE.replace("SECTIONS", "\n".join(sections))


def _fields(route: Route) -> Iterator[tuple[str, bool]]:
    """What can be sent, in the address and in the body, and whether it must be."""
    for name in route.query:
        yield name, name in route.needs
    described = route.body.model_json_schema() if route.body is not None else route.form or {}
    properties, needed = described.get("properties", {}), described.get("required", [])
    assert isinstance(properties, Mapping)
    assert isinstance(needed, list)
    for name in properties:
        yield name, name in needed


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
