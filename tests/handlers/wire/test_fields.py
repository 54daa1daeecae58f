"""Fields of events whose data may be anything."""

from __future__ import annotations

import pytest
from wyoming.event import Event

from handlers.errors import RequestError
from handlers.wire import fields


def test_fields_that_are_there() -> None:
    event = Event("e", {"text": "hello", "names": ["a", "b"], "voice": {"name": "joe"}})
    assert fields.text(event, "text", limit=5) == "hello"
    assert fields.optional_text(event, "text") == "hello"
    assert fields.texts(event, "names", limit=2) == ["a", "b"]
    assert fields.mapping(event, "voice") == {"name": "joe"}


@pytest.mark.parametrize("data", [{}, {"x": None}])
def test_fields_that_may_be_absent(data: dict[str, object]) -> None:
    event = Event("e", data)
    assert fields.optional_text(event, "x") is None
    assert fields.texts(event, "x", limit=1) == []
    assert fields.mapping(event, "x") == {}
    with pytest.raises(RequestError, match="'e' needs a text 'x'"):
        fields.text(event, "x", limit=1)


@pytest.mark.parametrize("value", [1, True, 1.5, [1], ["a", None], {"a": "b"}, "text"])
def test_fields_of_another_kind_are_named(value: object) -> None:
    event = Event("e", {"x": value})
    if not isinstance(value, str):
        for read in (lambda: fields.text(event, "x", limit=9), lambda: fields.optional_text(event, "x")):
            with pytest.raises(RequestError, match="'x'") as caught:
                read()
            assert caught.value.code == "bad-event"
    with pytest.raises(RequestError, match=r"'x' of the event 'e' is not a list of texts"):
        fields.texts(event, "x", limit=9)
    if not isinstance(value, dict):
        with pytest.raises(RequestError, match=r"'x' of the event 'e' is not an object"):
            fields.mapping(event, "x")


def test_what_is_too_much_is_refused() -> None:
    event = Event("e", {"text": "x" * 6, "names": ["a"] * 3})
    with pytest.raises(RequestError, match="6 characters is over the limit of 5") as caught:
        fields.text(event, "text", limit=5)
    assert caught.value.code == "text-too-long"
    with pytest.raises(RequestError, match="3 entries, over 2"):
        fields.texts(event, "names", limit=2)
