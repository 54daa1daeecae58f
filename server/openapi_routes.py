"""The REST routes as OpenAPI describes them: one table, with the bodies from their pydantic models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from handlers.agent.memory.rows import LONGEST_NAME
from server.access import SESSION
from server.announce_api import PATH as ANNOUNCE
from server.announce_api import AnnounceBody
from server.audit_api import MOST_ENTRIES
from server.audit_api import PATH as AUDIT
from server.conversation_api import PATH as CONVERSATION
from server.conversation_api import ConversationBody
from server.memory_api import LONGEST_PAGE, LONGEST_QUERY, MOST_FOUND, NewNoteBody, NoteChangesBody
from server.memory_api import PATH as MEMORY
from server.openai_api import SPEECH, TRANSCRIPTIONS, SpeechBody
from server.openai_chat import CHAT, ChatBody
from server.session_api import SignInBody
from server.voice_api import SYNTHESIZE, TRANSCRIBE, SynthesizeBody

Schema = Mapping[str, object]

TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_BYTES: Schema = {"type": "string", "format": "binary"}
_JSON = "application/json"
_LINES = "application/x-ndjson"
_BODY = (400, 408, 413, 415)
"""What may be wrong with any body."""


def object_of(**properties: Schema) -> Schema:
    """An object that has all of these, and perhaps more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def list_of(items: Schema) -> Schema:
    """An array of any length."""
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _limit(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


@dataclass(frozen=True)
class Route:
    """One address, and what comes back from it."""

    method: Literal["get", "post", "patch", "delete"]
    path: str
    summary: str
    answers: Mapping[str, Schema]
    """By content type; empty for an answer without a body."""
    errors: Sequence[int] = ()
    """Beside those in `refused`."""
    status: int = 200
    """Of what went well."""
    body: type[BaseModel] | None = None
    form: Schema | None = None
    file_types: Sequence[str] = ()
    """Of a file that may be the body itself."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    needs: Sequence[str] = ()
    """Names in the query that must be there."""
    in_path: Sequence[str] = ()
    refused: Sequence[int] = (401, 403, 429, 503)
    """Whatever is asked for: by who asks, and how often, and while the engines load."""


_WHO = object_of(asks=_FLAG, role=TEXT, token=TEXT, user=TEXT, tenant=TEXT)

_SEGMENT = object_of(
    start=_NUMBER, end=_NUMBER, text=TEXT, words=list_of(object_of(start=_NUMBER, end=_NUMBER, word=TEXT))
)
_MODEL = object_of(id=TEXT, object=TEXT, created={"type": "integer"}, owned_by=TEXT)

_SOURCE = object_of(origin=TEXT, speaker=TEXT, satellite=TEXT, room=TEXT, turn_id=TEXT)
_MEANING = {
    "keywords": list_of(TEXT),
    "tags": list_of(TEXT),
    "context": TEXT,
    "subject": TEXT,
    "attribute": TEXT,
}
_NOTE_PARTS: Mapping[str, Schema] = {
    "id": TEXT,
    "tenant": TEXT,
    "content": TEXT,
    **_MEANING,
    "source": _SOURCE,
    "created": _NUMBER,
    "event_time": _or_null(_NUMBER),
    "valid_to": _or_null(_NUMBER),
    "version": _COUNT,
}
_NOTE = object_of(**_NOTE_PARTS)
_VERSION = object_of(
    number=_COUNT,
    meaning=object_of(**_MEANING),
    valid_to=_or_null(_NUMBER),
    source=_SOURCE,
    at=_NUMBER,
    restores=_or_null(_COUNT),
    because=list_of(TEXT),
)
_LINK = object_of(first=TEXT, second=TEXT, kind=TEXT, strength=_NUMBER)
_ENTRY = object_of(
    **dict.fromkeys(("id", "at", "action", "turn", "tenant", "user", "token", "role", "satellite", "room"), TEXT),
    **dict.fromkeys(("conversation", "heard", "tool", "result"), TEXT),
    arguments={},
    confirmed=_FLAG,
    outcome={"enum": ["done", "failed", "asked", "unknown"]},
    seconds=_or_null(_NUMBER),
)
_FORGOTTEN = {_JSON: object_of(forgotten=_COUNT)}

_WHOSE: Mapping[str, Schema] = {
    "tenant": {
        "type": "string",
        "default": "household",
        "maxLength": LONGEST_NAME,
        "pattern": r"^(household|(person|guest|satellite):.+)$",
        "description": "Whose memory: 'household', 'person:ID', 'guest:ID' or 'satellite:ID'.",
    }
}

ROUTES = [
    Route(
        "get",
        "/health",
        "Whether the server lives.",
        {_JSON: object_of(status=TEXT, version=TEXT)},
        refused=(),
    ),
    Route("get", "/ready", "Whether its engines are loaded.", {_JSON: object_of(status=TEXT)}, refused=(503,)),
    Route(
        "get",
        "/api/v1/voice/status",
        "Engines, models, satellites, the last turns, and who asks.",
        {
            _JSON: object_of(
                version=TEXT,
                id=TEXT,
                name=TEXT,
                turns=list_of({"type": "object"}),
                access=object_of(role=TEXT, token=TEXT),
            )
        },
    ),
    Route("get", SESSION, "Who asks, and whether a token is asked for.", {_JSON: _WHO}),
    Route(
        "post",
        SESSION,
        "Sign in: a browser shows the token as a cookie from then on.",
        {_JSON: _WHO},
        _BODY,
        body=SignInBody,
    ),
    Route("delete", SESSION, "Sign out.", {}, status=204),
    Route(
        "get",
        AUDIT,
        "What was done, the newest first, for admins; 'after' of the answer leads to the page before.",
        {_JSON: object_of(entries=list_of(_ENTRY), after=_or_null(TEXT))},
        [400],
        query={"after": TEXT, "limit": _limit(MOST_ENTRIES)},
    ),
    Route(
        "post",
        TRANSCRIBE,
        "What is said in a recording.",
        {_JSON: object_of(text=TEXT, language=TEXT, duration=_NUMBER, segments=list_of(_SEGMENT))},
        [*_BODY, 422],
        form={**object_of(file=_BYTES), "properties": {"file": _BYTES, "language": TEXT}},
        file_types=["audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/webm"],
        query={"language": TEXT},
    ),
    Route(
        "post",
        SYNTHESIZE,
        "A text as sound, sent while it is made.",
        {"audio/wav": _BYTES},
        [*_BODY, 422],
        body=SynthesizeBody,
    ),
    Route(
        "post",
        CONVERSATION,
        "A question and its answer; as events with 'Accept: text/event-stream'.",
        {
            _JSON: object_of(text=TEXT, conversation_id=TEXT, listen=_FLAG, timeline={"type": "object"}),
            "text/event-stream": TEXT,
        },
        [*_BODY, 422],
        body=ConversationBody,
    ),
    Route(
        "post",
        ANNOUNCE,
        "Speak a text at satellites; answers when all have played it, or failed.",
        {
            _JSON: object_of(
                satellites={
                    "type": "object",
                    "additionalProperties": {"enum": ["heard", "stopped", "nobody", "not-connected"]},
                }
            )
        },
        [*_BODY, 404, 422],
        body=AnnounceBody,
    ),
    Route(
        "get",
        MEMORY,
        "The notes of a memory, the oldest first; 'after' of the answer leads to the next page.",
        {_JSON: object_of(notes=list_of(_NOTE), after=_or_null(TEXT))},
        [400],
        query={**_WHOSE, "after": TEXT, "limit": _limit(LONGEST_PAGE)},
    ),
    Route(
        "post",
        MEMORY,
        "Keep a note.",
        {_JSON: _NOTE},
        [*_BODY, 409],
        status=201,
        body=NewNoteBody,
        query=_WHOSE,
    ),
    Route(
        "delete",
        MEMORY,
        "Forget all notes that speak of something; of a whole memory with '*'.",
        _FORGOTTEN,
        [400],
        query={**_WHOSE, "about": {"type": "string", "maxLength": LONGEST_QUERY, "pattern": r"\S"}},
        needs=["about"],
    ),
    Route(
        "get",
        f"{MEMORY}/tenants",
        "Which memories there are for whoever asks, with the number of their notes.",
        {_JSON: object_of(tenants={"type": "object", "additionalProperties": _COUNT})},
        [400],
    ),
    Route(
        "get",
        f"{MEMORY}/search",
        "The notes of a memory that fit best.",
        {_JSON: object_of(notes=list_of(object_of(**_NOTE_PARTS, score=_NUMBER)))},
        [400],
        query={
            **_WHOSE,
            "q": {"type": "string", "maxLength": LONGEST_QUERY, "pattern": r"\S"},
            "limit": _limit(MOST_FOUND),
        },
        needs=["q"],
    ),
    Route(
        "get",
        f"{MEMORY}/export",
        "All of a memory, as lines of JSON. Without its last line the file was broken off.",
        {_LINES: _BYTES},
        [400],
        query=_WHOSE,
    ),
    Route(
        "post",
        f"{MEMORY}/import",
        "Take in what was exported. Doing it twice changes nothing.",
        {_JSON: object_of(notes=_COUNT, known=_COUNT, forgotten=_COUNT, secret=_COUNT, vectors=_COUNT)},
        _BODY,
        file_types=[_LINES, _JSON],
        query=_WHOSE,
    ),
    Route(
        "get",
        f"{MEMORY}/{{id}}",
        "One note, with its versions and links.",
        {_JSON: object_of(**_NOTE_PARTS, versions=list_of(_VERSION), links=list_of(_LINK))},
        [400, 404],
        query=_WHOSE,
        in_path=["id"],
    ),
    Route(
        "patch",
        f"{MEMORY}/{{id}}",
        "Change a note. Another content makes a new note, with a new id.",
        {_JSON: _NOTE},
        [*_BODY, 404, 409],
        body=NoteChangesBody,
        query=_WHOSE,
        in_path=["id"],
    ),
    Route(
        "delete",
        f"{MEMORY}/{{id}}",
        "Forget a note.",
        _FORGOTTEN,
        [400, 404],
        query=_WHOSE,
        in_path=["id"],
    ),
    Route(
        "post",
        f"{MEMORY}/{{id}}/undo",
        "Take back the last change of a note.",
        {_JSON: _NOTE},
        [400, 404, 409],
        query=_WHOSE,
        in_path=["id"],
    ),
    Route(
        "post",
        TRANSCRIPTIONS,
        "What is said in a recording, in OpenAI's shape.",
        {_JSON: object_of(text=TEXT), "text/plain": TEXT, "text/vtt": TEXT},
        [400, 404, 408, 413],
        form={
            **object_of(file=_BYTES),
            "properties": {
                "file": _BYTES,
                "model": TEXT,
                "language": TEXT,
                "prompt": TEXT,
                "response_format": {"type": "string", "enum": ["json", "text", "srt", "verbose_json", "vtt"]},
                "timestamp_granularities[]": list_of({"type": "string", "enum": ["word", "segment"]}),
            },
        },
    ),
    Route(
        "post",
        SPEECH,
        "A text as sound, in OpenAI's shape.",
        dict.fromkeys(("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm"), _BYTES),
        [400, 404, 408, 413],
        body=SpeechBody,
    ),
    Route(
        "post",
        CHAT,
        "A chat and its answer, in OpenAI's shape.",
        {
            _JSON: object_of(id=TEXT, object=TEXT, choices=list_of({"type": "object"})),
            "text/event-stream": TEXT,
        },
        [400, 404, 408, 413],
        body=ChatBody,
    ),
    Route(
        "get", "/v1/models", "The names that 'model' may have.", {_JSON: object_of(object=TEXT, data=list_of(_MODEL))}
    ),
    Route("get", "/v1/models/{name}", "One of them.", {_JSON: _MODEL}, [404], in_path=["name"]),
]
