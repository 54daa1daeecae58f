"""`POST /api/v1/conversation`: a question in, its answer out, whole or as events while it is written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated
from uuid import uuid4

from aiohttp import web
from pydantic import AfterValidator, Field

from handlers.agent.stage import AnswerPart, Request
from handlers.agent.tools.stage import ToolFinished, ToolStarted
from handlers.errors import INTERNAL, MeadowlarkError
from server.access import Access, access_of
from server.event_stream import EventStream
from server.json_api import SOME_WORDS, Body, is_text, read_body, refusal, while_here
from server.talk import Answered, Talk, said

PATH = "/api/v1/conversation"

_LOGGER = logging.getLogger(__name__)


class ConversationBody(Body):
    """A question, and the conversation that it belongs to."""

    text: Annotated[str, AfterValidator(is_text), Field(json_schema_extra=SOME_WORDS)]
    conversation_id: Annotated[str, Field(max_length=200), AfterValidator(is_text)] = ""
    language: Annotated[str, Field(max_length=35), AfterValidator(is_text)] = ""


class ConversationApi:
    """Answers with JSON or, where the client accepts `text/event-stream`, with events."""

    def __init__(self, talk: Callable[[Access], Talk]) -> None:
        self._talk_of = talk

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self._converse)]

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await read_body(request, ConversationBody)
            conversation_id = body.conversation_id or uuid4().hex
            access = access_of(request)
            talk = self._talk_of(access)
            asked = talk.request(access, body.text, conversation_id, body.language)
            with talk.questions.taken(access):
                if wants_events(request):
                    return await while_here(request, self._stream(request, talk, asked, conversation_id))
                answered = await while_here(request, talk.answer(asked, _nobody))
        except MeadowlarkError as error:
            return refusal(error)
        return web.json_response(_as_json(answered, conversation_id))

    async def _stream(
        self, request: web.Request, talk: Talk, asked: Request, conversation_id: str
    ) -> web.StreamResponse:
        async with EventStream(request) as events:

            async def tell(part: AnswerPart) -> None:
                if words := said(part):
                    await events.send({"text": words}, "handled_chunk")
                elif isinstance(part, ToolStarted):
                    await events.send({"name": part.call.name, "state": "started"}, "tool")
                elif isinstance(part, ToolFinished):
                    state = "failed" if part.result.failed else "finished"
                    await events.send({"name": part.result.call.name, "state": state}, "tool")

            await events.send({"conversation_id": conversation_id}, "handled_start")
            try:
                answered = await talk.answer(asked, tell)
            except MeadowlarkError as error:
                await events.send({"code": error.code, "error": str(error)}, "error")
            except ConnectionError:
                raise
            except Exception:
                _LOGGER.exception("A question over HTTP failed")
                await events.send({"code": "internal", "error": INTERNAL}, "error")
            else:
                told = _as_json(answered, conversation_id)
                timeline = told.pop("timeline")
                await events.send(told, "handled")
                await events.send({"timeline": timeline}, "done")
            return await events.end()


def wants_events(request: web.Request) -> bool:
    """Whether the client would rather have events than JSON."""
    return "text/event-stream" in request.headers.get("Accept", "").lower()


def _as_json(answered: Answered, conversation_id: str) -> dict[str, object]:
    return {
        "text": answered.text,
        "conversation_id": conversation_id,
        "listen": answered.asks,
        "timeline": answered.timeline.as_dict(),
    }


async def _nobody(part: AnswerPart) -> None:
    """Nobody is told before all of it is there."""
