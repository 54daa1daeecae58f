"""The Wyoming service `handle`: `transcript` in; `handled-start`, `handled-chunk`…, `handled-stop`, `handled` out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from babel import Locale, UnknownLocaleError
from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop

from handlers.agent.agent import Agent
from handlers.agent.stage import SAME_VOLUME, AgentSettings, Filler, Request, Volume
from handlers.errors import RequestError
from handlers.language import normalize, primary
from handlers.session import Session
from handlers.timeline import Timeline, ignore, recorded
from handlers.wire import fields
from handlers.wire.connection import Connection
from handlers.wire.heartbeat import PING_SECONDS, Heartbeat
from handlers.wire.ordered import Ordered

_MAX_ID = 200
"""Characters of an id; Home Assistant's have 26."""

_SHOWN_TAG = 40
"""Characters of a wrong language tag that its error repeats; a real one has at most half as many."""


class AgentHandler:
    """One connection's conversation."""

    def __init__(
        self,
        connection: Connection,
        agent: Agent,
        on_timeline: Callable[[Timeline], None] = ignore,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        """Work that sends nothing for `ping_seconds` sends a `ping`."""
        self._connection = connection
        self._agent = agent
        self._on_timeline = on_timeline
        self._ping_seconds = ping_seconds
        self._answers = Ordered(connection, "handle")

    def wants(self, event_type: str) -> bool:
        return Transcript.is_type(event_type)

    async def handle(self, event: Event) -> None:
        self._answers.start(self._answer(read_request(event, self._agent)))

    async def _answer(self, request: Request) -> None:
        context = {"conversation_id": request.session.conversation}
        heartbeat = Heartbeat(self._connection, self._ping_seconds)
        await heartbeat.send(HandledStart(context=context).event())
        text = remembered = ""
        volume = SAME_VOLUME
        with (
            self._agent.attending(),
            recorded(Timeline(uuid4().hex, service="handle"), self._on_timeline) as timeline,
        ):
            response = self._agent.respond(request, timeline)
            try:
                async with heartbeat, contextlib.aclosing(response.parts()) as parts:
                    async for part in parts:
                        match part:
                            case str():
                                remembered += part
                                delta = part
                            case Filler(quick):
                                delta = quick + " "
                            case Volume():
                                volume = part
                                continue
                            case _:  # the protocol has no event for tools
                                continue
                        text += delta
                        await heartbeat.send(HandledChunk(delta).event())
            finally:
                response.remember(remembered)
        await self._connection.send(HandledStop().event())
        asks = self._agent.asks(request, text)
        await self._connection.send(handled_event(text, request.session.conversation, volume, asks))


def handled_event(text: str, conversation_id: str, volume: Volume, asks: bool) -> Event:
    """The whole answer as the protocol has it. `volume` is ours, for a satellite that has one, and so is `listen`: the
    answer is a question, and the microphone is to open again."""
    event = Handled(text=text, context={"conversation_id": conversation_id}).event()
    wanted = {"change": volume.change, "to": volume.to}
    if any(value is not None for value in wanted.values()):
        event.data["volume"] = {key: value for key, value in wanted.items() if value is not None}
    if asks:
        event.data["listen"] = True
    return event


def read_request(event: Event, agent: Agent) -> Request:
    """The request of a `transcript` event; a conversation without an id gets one, which the answer carries."""
    text = fields.text(event, "text", limit=agent.settings.longest_question).strip()
    if not text:
        raise RequestError("no-text", "The text is empty: say or write something")
    session = read_session(event, agent, fields.optional_text(event, "language") or "")
    return Request(text, with_language(session, agent.settings))


def read_session(event: Event, agent: Agent, language: str) -> Session:
    """Who speaks, where and in which conversation, as the `context` of an event says it."""
    context = fields.mapping(event, "context")
    return agent.session(
        satellite=context_id(context, "satellite_id"),
        user=context_id(context, "user_id"),
        room=context_id(context, "room"),
        language=language,
        conversation=context_id(context, "conversation_id") or uuid4().hex,
    )


def require_question(text: str, settings: AgentSettings) -> str:
    """A question without the blanks around it; RequestError for one that cannot be asked."""
    text = text.strip()
    if not text:
        raise RequestError("no-text", "The text is empty: say or write something")
    if len(text) > settings.longest_question:
        raise RequestError("text-too-long", f"A question may have {settings.longest_question} characters")
    return text


def with_language(session: Session, settings: AgentSettings) -> Session:
    """With the language of a written question: the session's own, the profile's, or that of the settings. RequestError
    when nobody speaks it."""
    tag = normalize(session.language or settings.profile("", session).language or settings.language)
    check_language(tag)
    return replace(session, language=tag)


def check_language(tag: str) -> None:
    """RequestError when nobody speaks such a language. A language model may know any that exists."""
    try:
        Locale.parse(primary(tag))
    except (UnknownLocaleError, ValueError):
        shown = tag[:_SHOWN_TAG]
        raise RequestError("unknown-language", f"'{shown}' is not the tag of a language; 'en' is one") from None


def context_id(context: fields.Json, key: str) -> str:
    """An id of a context object; empty when it is absent."""
    value = context.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_ID:
        raise RequestError("bad-event", f"'context.{key}' is not a text of at most {_MAX_ID} characters")
    return value
