"""`POST /v1/chat/completions`: OpenAI's shape of a conversation, answered by the assistant with its own tools."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Annotated, Literal
from uuid import uuid4

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from handlers.agent.conversations import Elsewhere
from handlers.agent.stage import AnswerPart, Request
from handlers.errors import INTERNAL, MeadowlarkError
from server.access import Access, access_of
from server.event_stream import EventStream
from server.json_api import is_text, while_here
from server.openai_errors import OpenAiError, answered_so, body_of, error_body, read_openai
from server.talk import Answered, Talk, said

CHAT = "/v1/chat/completions"

CHAT_MODEL = "meadowlark"
"""The assistant, whichever language model it asks."""

_LOGGER = logging.getLogger(__name__)

_MOST_CHATS = 1000
"""That are known again when their client goes on with them: as many as the agent has conversations."""

_MOST_MESSAGES = 500
"""Of a chat; only the last few are used."""

_CHARACTERS_PER_TOKEN = 4
"""Of English, about; the agent asks several models, and not all of them count."""

_Text = Annotated[str, AfterValidator(is_text)]


class _Part(BaseModel):
    type: str
    text: _Text = ""


class _ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: _Text | list[_Part] | None = None
    tool_calls: list[object] | None = None


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatBody(BaseModel):
    """A chat. `language` is ours; what is not here is ignored."""

    model: Annotated[str, Field(json_schema_extra={"enum": [CHAT_MODEL]})] = CHAT_MODEL
    messages: Annotated[list[_ChatMessage], Field(min_length=1, max_length=_MOST_MESSAGES)]
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    language: Annotated[str, Field(max_length=35), AfterValidator(is_text)] = ""
    n: int | None = 1
    tools: list[object] | None = None
    functions: list[object] | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = False
    modalities: list[str] | None = None
    response_format: dict[str, object] | None = None


class ChatApi:
    """Chats of OpenAI's clients. They send all of a chat each time; what follows on an answer of ours is the same
    conversation, in which a question of the assistant can be answered with a yes."""

    def __init__(self, talk: Callable[[Access], Talk]) -> None:
        self._talk_of = talk
        self._chats: dict[str, OrderedDict[str, str]] = {}  # by tenant: conversation ids, by all that was said before

    def routes(self) -> list[web.RouteDef]:
        return [web.post(CHAT, answered_so(self._complete))]

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await read_openai(request, ChatBody)
        _check(body)
        turns = _turns(body.messages)
        if turns[-1][0] != "user":
            raise OpenAiError("The last message must be the user's", "messages")
        access = access_of(request)
        # Whoever goes on with it first has it: another chat that began in the same way is another conversation.
        known = self._chats.setdefault(access.tenant, OrderedDict())
        conversation_id = known.pop(_digest(access, turns[:-1]), "") or uuid4().hex
        talk = self._talk_of(access)
        asked = talk.request(access, turns[-1][1], conversation_id, body.language)
        with talk.questions.taken(access):
            chat = _Chat(talk, asked, _earlier(turns), body)
            work = chat.stream(request) if body.stream else chat.whole()
            answer, answered = await while_here(request, work)
        if answered is not None:
            _note(known, _digest(access, [*turns, ("assistant", answered.text)]), conversation_id)
        return answer


class _Chat:
    """One request's way to its answer."""

    def __init__(self, talk: Talk, asked: Request, earlier: Sequence[Elsewhere], body: ChatBody) -> None:
        self._talk = talk
        self._asked = asked
        self._earlier = earlier
        self._read = sum(len(_words(message)) for message in body.messages)
        self._tells_usage = body.stream_options is not None and body.stream_options.include_usage
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())

    async def whole(self) -> tuple[web.StreamResponse, Answered | None]:
        async def nobody(part: AnswerPart) -> None:
            """Nobody is told before all of it is there."""

        answered = await self._talk.answer(self._asked, nobody, self._earlier)
        message = {"role": "assistant", "content": answered.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        completion = {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(answered.text)}
        return web.json_response(completion), answered

    async def stream(self, request: web.Request) -> tuple[web.StreamResponse, Answered | None]:
        answered = None
        async with EventStream(request) as events:

            async def tell(part: AnswerPart) -> None:
                if words := said(part):
                    await events.send(self._chunk({"content": words}))

            await events.send(self._chunk({"role": "assistant", "content": ""}))
            try:
                answered = await self._talk.answer(self._asked, tell, self._earlier)
            except MeadowlarkError as error:
                await events.send(body_of(error)[1])
            except ConnectionError:
                raise
            except Exception:
                _LOGGER.exception("A chat over HTTP failed")
                await events.send(error_body(500, INTERNAL))
            else:
                await events.send(self._chunk({}, "stop"))
                if self._tells_usage:
                    usage = self._usage(answered.text)
                    await events.send({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
                await events.write("data: [DONE]\n\n")
            return await events.end(), answered

    def _head(self, kind: str) -> dict[str, object]:
        return {"id": self._id, "object": kind, "created": self._created, "model": CHAT_MODEL}

    def _chunk(self, delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _usage(self, text: str) -> dict[str, int]:
        """An estimate by the number of letters."""
        read, written = -(-self._read // _CHARACTERS_PER_TOKEN), -(-len(text) // _CHARACTERS_PER_TOKEN)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _check(body: ChatBody) -> None:
    """OpenAiError for what would be another answer than ours."""
    if body.model != CHAT_MODEL:
        raise OpenAiError(
            f"There is no model '{body.model[:100]}' here: ask for '{CHAT_MODEL}'", "model", "model_not_found", 404
        )
    own = "the assistant uses tools of its own, which its settings name"
    refused = {
        "tools": (body.tools, own),
        "functions": (body.functions, own),
        "n": (body.n not in (None, 1), "there is one answer; ask for n=1"),
        "stop": (body.stop, "an answer ends by itself; leave it out"),
        "logprobs": (body.logprobs, "the assistant knows no probabilities; leave it out"),
        "modalities": (
            set(body.modalities or ()) - {"text"},
            "an answer is text here; have it spoken with /v1/audio/speech",
        ),
        "response_format": (
            (body.response_format or {}).get("type", "text") != "text",
            "an answer is plain text; leave it out",
        ),
    }
    for name, (given, why) in refused.items():
        if given:
            raise OpenAiError(f"{name}: {why}", name, "unsupported_parameter")


def _turns(messages: Sequence[_ChatMessage]) -> list[tuple[str, str]]:
    """Who said what, user and assistant by turns. The persona is the assistant's own: instructions are left out."""
    turns: list[tuple[str, str]] = []
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        if message.role in ("system", "developer"):
            continue
        if message.role in ("tool", "function") or message.tool_calls:
            raise OpenAiError(f"{where}: tools of the client cannot be used here", where, "unsupported_parameter")
        if isinstance(message.content, list) and any(part.type not in ("text", "refusal") for part in message.content):
            raise OpenAiError(f"{where}: only text can be answered here", where, "unsupported_parameter")
        text = _words(message).strip()
        if turns and turns[-1][0] == message.role:
            turns[-1] = (message.role, f"{turns[-1][1]}\n{text}")
        else:
            turns.append((message.role, text))
    if not turns:
        raise OpenAiError("There is no message of the user", "messages")
    return turns


def _words(message: _ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""


def _earlier(turns: Sequence[tuple[str, str]]) -> list[Elsewhere]:
    """Questions and answers before the last question. Nobody knows whether the answers were ours."""
    return [
        Elsewhere(question, answer, ours=True)
        for (asker, question), (answerer, answer) in itertools.pairwise(turns)
        if (asker, answerer) == ("user", "assistant")
    ]


def _note(known: OrderedDict[str, str], digest: str, conversation_id: str) -> None:
    known[digest] = conversation_id
    known.move_to_end(digest)
    while len(known) > _MOST_CHATS:
        known.popitem(last=False)


def _digest(access: Access, turns: Sequence[tuple[str, str]]) -> str:
    """Of all that was said in a chat; empty of one that begins, which is none that is known."""
    if not turns:
        return ""
    told = [(role, text.strip()) for role, text in turns]
    return hashlib.sha256(json.dumps([access.token, told]).encode(errors="surrogatepass")).hexdigest()
