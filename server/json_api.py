"""What all JSON over HTTP has in common: who may ask, how a body is read, and how a mistake is answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import TypeVar

from aiohttp import ClientConnectionResetError, web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.config import JsonDict

from handlers.errors import BusyError, MeadowlarkError, RequestError
from server.access import Access, asks_for_token
from server.origin import is_brought, is_own_name, is_own_page

_STATUS = {
    "busy": 429,
    "loading": 503,
    "no-room": 503,
    "not-allowed": 403,
    "no-note": 404,
    "not-connected": 404,
    "nothing-to-undo": 409,
    "wrong-type": 415,
    "unsupported-audio": 415,
    "audio-too-long": 413,
    "text-too-long": 413,
    "too-large": 413,
    "timeout": 408,
    "bad-audio": 422,
    "no-text": 422,
    "unknown-language": 422,
    "unknown-speaker": 422,
    "unknown-voice": 422,
}
"""Of what a client did wrong, by its code; else 400."""

_RETRY_SECONDS = 5
"""After which a client may try again where everybody is busy: what runs has made room by then, or most of it."""

_GONE_SECONDS = 0.5
"""Between two looks at whether a client is still there: so long is worked in vain at most."""

BODY_SECONDS = 30.0
"""For a body of JSON to arrive: a few kilobytes at most, sent as soon as the request is."""

_TOO_LARGE = "The body is too large: a memory is one sentence, and a file of them goes to …/import"

_GUARDED = ("/api/", "/v1/", "/metrics")
"""All but the page and the health, which are the same for everybody."""

_GONE = 499
"""What nginx calls it; nobody is there to read it."""

JSON = frozenset({"application/json"})
"""What the page of a stranger cannot send without asking first, unlike text or a form."""

SOME_WORDS: JsonDict = {"pattern": r"\S", "examples": ["Good morning."]}
"""What the schema of a text says that must not be empty; which is told apart from what is no text at all."""

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")


class Body(BaseModel):
    """What a client sends; a key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


class BodyError(RequestError):
    """A body that is not of the shape that was asked for."""

    def __init__(self, where: str, what: str) -> None:
        """`where` is the path of what is wrong, as in 'messages.0.role'; empty where it is all of it."""
        super().__init__("bad-request", what)
        self.where = where


class LoadingError(RequestError):
    """The engines are not there yet."""

    def __init__(self) -> None:
        super().__init__("loading", "The server is loading its engines: try again in a few seconds")


class GoneError(ConnectionResetError):
    """The client went, does not take its answer, or has to be told by a broken connection that it is not complete."""


def is_text(value: str) -> str:
    """A validator of strings."""
    if "\0" in value:
        raise ValueError("must be text")
    return value


@web.middleware
async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For all of /api and /v1, and the metrics: what aiohttp refuses by itself is a sentence in JSON too, and pages of
    strangers get nothing, nor does anybody from elsewhere where no token is asked for. It stands behind the check of
    the token: whoever has none is told that first, whatever name they know us by."""
    if not request.path.startswith(_GUARDED):
        return await handler(request)
    if not asks_for_token(request) and is_brought(request):
        return error_answer(
            403,
            "A proxy brings this request, and without tokens everybody behind it would be the owner of this server: "
            "set http.tokens: on",
        )
    if not is_own_page(request):
        return error_answer(403, "This page is not the server's own: open the page that the server itself serves")
    if not (asks_for_token(request) or is_own_name(request)):
        return error_answer(
            403,
            "Without a token this server answers to its IP address and to 'localhost': use one of them, or add its "
            "other names to the setting http.names",
        )
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = error_answer(405, f"{request.method} is not for this address: it knows {allowed}")
        answer.headers["Allow"] = allowed
        return answer
    except web.HTTPRequestEntityTooLarge:
        return error_answer(413, _TOO_LARGE if request.path.startswith("/api/v1/memory") else "The body is too large")
    except web.HTTPNotFound:
        return error_answer(404, "There is nothing at this address")
    except (GoneError, ClientConnectionResetError):
        # Also for one that is there and does not take its answer, or whose answer broke off: it is to notice.
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=_GONE)


async def read_body(request: web.Request, shape: type[T], seconds: float | None = None) -> T:
    """A JSON object of this shape; BodyError for another, RequestError where none comes in `seconds`, else in those of
    all bodies, GoneError where the client goes first."""
    require_type(request, JSON)
    try:
        async with asyncio.timeout(BODY_SECONDS if seconds is None else seconds):
            body = await request.read()
    except TimeoutError:
        raise RequestError("timeout", "The body did not arrive in time: send it again") from None
    except ConnectionError:
        raise GoneError from None
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise BodyError("", "The body is not JSON") from None
        where = ".".join(map(str, first["loc"]))
        raise BodyError(where, f"{where or 'the body'}: {first['msg']}") from None


def require_type(request: web.Request, types: frozenset[str]) -> None:
    """RequestError where a body says that it is something else."""
    if request.content_type not in types:
        wanted = "application/json" if types is JSON else "application/x-ndjson"
        raise RequestError("wrong-type", f"Send it with 'Content-Type: {wanted}'")


def whole_number(request: web.Request, key: str, default: int, most: int) -> int:
    """A number of the query, from 1 on; RequestError for what is none, or too much."""
    text = request.query.get(key, str(default))
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= most:
            return int(text)
    raise RequestError("bad-request", f"'{key}' must be a whole number from 1 to {most}")


class Places:
    """So many requests of one kind at the same time for each tenant; one more is told to come again. No token has more
    than half of its tenant's."""

    def __init__(self, most: int, what: str) -> None:
        """`what` is being done, as in '8 texts are being spoken'."""
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._what = what
        self._taken: Counter[tuple[str, str]] = Counter()  # by tenant and token

    @contextlib.contextmanager
    def taken(self, access: Access) -> Iterator[None]:
        """Hold a place for the length of the block; RequestError 'busy' where there is none."""
        key, token = (access.tenant, access.token), access.token
        if sum(count for (tenant, _), count in self._taken.items() if tenant == access.tenant) >= self._most:
            raise RequestError("busy", f"{self._most} {self._what}: try again in a few seconds")
        if token and self._taken[key] >= self._most_of_one:
            raise RequestError("busy", f"{self._most_of_one} {self._what} for this token: try again in a few seconds")
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            self._taken += Counter()  # those that hold none are forgotten


async def while_here(request: web.Request, work: Coroutine[None, None, R]) -> R:
    """Work for a client; when it goes, the work is cancelled, and this raises GoneError."""
    working = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({working}, timeout=_GONE_SECONDS))[0]:
            if request.transport is None or request.transport.is_closing():
                raise GoneError
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def status_of(error: MeadowlarkError) -> int:
    """The status that a failed request is answered with."""
    if isinstance(error, RequestError):
        return _STATUS.get(error.code, 400)
    return 429 if isinstance(error, BusyError) else 503


def refusal(error: MeadowlarkError) -> web.Response:
    """What a failed request is answered."""
    return with_retry(error_answer(status_of(error), str(error)))


def with_retry(answer: web.Response) -> web.Response:
    """The answer, which says when to come again where that helps."""
    if answer.status in (429, 503):
        answer.headers["Retry-After"] = str(_RETRY_SECONDS)
    return answer


def error_answer(status: int, text: str) -> web.Response:
    """A sentence for the person who reads it."""
    return web.json_response({"error": text}, status=status)
