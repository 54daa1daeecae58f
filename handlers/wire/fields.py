"""Reads fields out of an event's data; a client's mistake is a RequestError that names the field."""

from __future__ import annotations

from wyoming.event import Event

from handlers.errors import RequestError

Json = dict[str, object]


def text(event: Event, key: str, *, limit: int) -> str:
    """A required text of at most `limit` characters."""
    value = event.data.get(key)
    if not isinstance(value, str):
        raise RequestError("bad-event", f"The event '{event.type}' needs a text '{key}'")
    if len(value) > limit:
        raise RequestError(
            "text-too-long", f"A text of {len(value)} characters is over the limit of {limit}; send it in parts"
        )
    return value


def optional_text(event: Event, key: str) -> str | None:
    """A text that may be absent or null."""
    value = event.data.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RequestError("bad-event", f"'{key}' of the event '{event.type}' is not a text")
    return value


def texts(event: Event, key: str, *, limit: int) -> list[str]:
    """A list of at most `limit` texts that may be absent or null."""
    value = event.data.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestError("bad-event", f"'{key}' of the event '{event.type}' is not a list of texts")
    if len(value) > limit:
        raise RequestError("bad-event", f"'{key}' of the event '{event.type}' has {len(value)} entries, over {limit}")
    return list(value)


def mapping(event: Event, key: str) -> Json:
    """An object that may be absent or null."""
    value = event.data.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError("bad-event", f"'{key}' of the event '{event.type}' is not an object")
    return dict(value)
