"""What all JSON over HTTP has in common: who may ask, how a body is read, and how a mistake is answered."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, ValidationError

from handlers.errors import RequestError

JSON = frozenset({"application/json"})
"""What the page of a stranger cannot send without asking first, unlike text or a form."""

T = TypeVar("T", bound=BaseModel)


class Body(BaseModel):
    """What a client sends; a key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


def is_text(value: str) -> str:
    """A validator of strings."""
    if "\0" in value:
        raise ValueError("must be text")
    return value


@web.middleware
async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For all of /api: what aiohttp refuses by itself is a sentence in JSON too, and pages of strangers get nothing.
    It stands behind the check of the token: whoever has none is told that first, whatever name they know us by."""
    if not request.path.startswith("/api/"):
        return await handler(request)
    if not _is_own(request):
        return error_answer(403, "This page is not the server's own: open the page that the server itself serves")
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = error_answer(405, f"{request.method} is not for this address: it knows {allowed}")
        answer.headers["Allow"] = allowed
        return answer
    except web.HTTPRequestEntityTooLarge:
        return error_answer(413, "The body is too large: a memory is one sentence, and a file of them goes to …/import")
    except web.HTTPNotFound:
        return error_answer(404, "There is nothing at this address")


def _is_own(request: web.Request) -> bool:
    """Whether a request may come from a page of ours, or from a program. A browser says where its page came from, and
    cannot send 'X-Forwarded-Host' for a stranger; without a token it must also have asked for a name that no stranger
    can point at this machine (DNS rebinding)."""
    origin = request.headers.get("Origin")
    try:
        if origin is not None:
            ours = {request.host.lower(), request.headers.get("X-Forwarded-Host", "").lower()}
            if not (netloc := urlsplit(origin).netloc.lower()) or netloc not in ours:
                return False
        return "Authorization" in request.headers or _is_local_name(urlsplit(f"//{request.host}").hostname or "")
    except ValueError:  # neither is an address
        return False


def _is_local_name(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return "." not in host or host.endswith((".local", ".lan", ".home.arpa", ".internal", ".localhost"))


async def read_body(request: web.Request, shape: type[T]) -> T:
    """A JSON object of this shape; RequestError for another."""
    require_type(request, JSON)
    try:
        return shape.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise RequestError("bad-request", "The body is not JSON") from None
        where = ".".join(map(str, first["loc"])) or "the body"
        raise RequestError("bad-request", f"{where}: {first['msg']}") from None


def require_type(request: web.Request, types: frozenset[str]) -> None:
    """RequestError where a body says that it is something else."""
    if request.content_type not in types:
        wanted = "application/json" if types is JSON else "application/x-ndjson"
        raise RequestError("wrong-type", f"Send it with 'Content-Type: {wanted}'")


def error_answer(status: int, text: str) -> web.Response:
    """A sentence for the person who reads it."""
    return web.json_response({"error": text}, status=status)
