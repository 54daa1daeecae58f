"""Secrets do not reach what is written down, and other words do."""

from __future__ import annotations

import pytest

from handlers.agent.safety.masking import masked, masked_text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("my pin is 1234", "my pin is •••"),
        ("the door code is 4 5 6 7", "the door code is •••"),
        ("my pin is 1234 and I like it", "my pin is ••• and I like it"),
        ("the code for the gate is 4711", "the code for the gate is •••"),
        ("Der Türcode ist 4711", "Der Türcode ist •••"),
        ("der Code der Alarmanlage lautet 4 7 1 1", "der Code der Alarmanlage lautet •••"),
        ("Alarmcode: 4711.", "Alarmcode: •••."),
        ("Dörrkoden är 4711", "Dörrkoden är •••"),
        ("min larmkod är nu 471-100", "min larmkod är nu •••"),
        ("le code de la porte est 4711", "le code de la porte est •••"),
        ("le code d'entrée est le 4711", "le code d'entrée est le •••"),
        ("el código de la puerta es 4711", "el código de la puerta es •••"),
        ("la clave de la alarma es el 4711", "la clave de la alarma es el •••"),
        ("password: hunter2", "password: •••"),
        ("my password is swordfish", "my password is •••"),
        ("Authorization: Bearer abc123def", "Authorization: Bearer •••"),
        ("https://anna:secret@example.org/x", "https://•••@example.org/x"),
        ("pay with 4111 1111 1111 1111", "pay with •••"),
        ("key sk-abcdefghijklmnopqrstuv", "key •••"),
        ("token=abc", "token=•••"),
        (f"it is eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 20}", "it is •••"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END", "•••"),
    ],
)
def test_secrets_are_masked(text: str, written: str) -> None:
    assert masked_text(text) == written


@pytest.mark.parametrize(
    "text",
    [
        "pin the note to the wall",
        "scale web-1 to 3 at 2026-11-20",
        "timer for 10 minutes",
        "the postcode is 20095",
        "Die Postleitzahl ist 20095",
        "there were 3 codes, and dinner is at 1800",
        "call +49 170 1234567",
        "turn the light in the hall to 50 percent",
        "https://example.org:8123/api/states",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert masked_text(text) == text


def test_values_are_masked_by_their_names_too() -> None:
    arguments = {
        "api_key": "x",
        "door_code": 1234,
        "postcode": "20095",
        "keyboard": "qwerty",
        "items": [{"token": "q", "name": "milk", "count": 2}],
        "note": "the pin is 9876",
        "password": "",
        "on": True,
        "none": None,
    }
    assert masked(arguments) == {
        "api_key": "•••",
        "door_code": "•••",
        "postcode": "20095",
        "keyboard": "qwerty",
        "items": [{"token": "•••", "name": "milk", "count": 2}],
        "note": "the pin is •••",
        "password": "",
        "on": True,
        "none": None,
    }
