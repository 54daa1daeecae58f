"""Errors as OpenAI's clients expect them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from handlers.errors import MeadowlarkError
from server.json_api import BodyError, read_body, status_of, with_retry

T = TypeVar("T", bound=BaseModel)

PREFIX = "/v1/"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""Of an error, by its status; other mistakes are `invalid_request_error`."""

_AS_BAD_REQUEST = frozenset({415, 422})
"""Statuses that OpenAI answers as 400."""


class OpenAiError(Exception):
    """A request that is refused: `param` is what is wrong with it."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


def openai_answer(status: int, message: str, param: str | None = None, code: str | None = None) -> web.Response:
    """An error in OpenAI's shape."""
    return with_retry(web.json_response(error_body(status, message, param, code), status=status))


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """The JSON of an error, also in a stream."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(error: MeadowlarkError) -> tuple[int, dict[str, object]]:
    """Status and JSON of an error of ours."""
    status = 400 if (own := status_of(error)) in _AS_BAD_REQUEST else own
    return status, error_body(status, str(error), code=error.code.replace("-", "_"))


def answered_so(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A route whose errors are answered in OpenAI's shape."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except OpenAiError as error:
            return openai_answer(error.status, str(error), error.param, error.code)
        except MeadowlarkError as error:
            status, body = body_of(error)
            return with_retry(web.json_response(body, status=status))

    return handle


@web.middleware
async def openai_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What others refuse below /v1, in the same shape: a wrong token, a stranger's page, an unknown address."""
    answer = await handler(request)
    if not request.path.startswith(PREFIX) or answer.status < 400 or not isinstance(answer, web.Response):
        return answer
    told = json.loads(answer.text or "{}") if answer.content_type == "application/json" else {}
    if isinstance(told, dict) and isinstance(text := told.get("error"), str):
        code = "invalid_api_key" if answer.status == 401 else None
        answer.text = json.dumps(error_body(answer.status, text, code=code))
    return answer


async def read_openai(request: web.Request, shape: type[T]) -> T:
    """A JSON object of this shape; OpenAiError for another."""
    try:
        return await read_body(request, shape)
    except BodyError as error:
        raise OpenAiError(str(error), error.where or None) from None
