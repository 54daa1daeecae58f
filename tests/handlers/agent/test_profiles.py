"""Personas, languages, voices and lengths by wake word, satellite and person."""

from __future__ import annotations

import pytest

from handlers.agent.profiles import Profile, ProfileSettings
from handlers.agent.stage import AgentSettings
from handlers.session import Session

SETTINGS = AgentSettings.model_validate(
    {
        "persona": "You are Meadowlark.",
        "profiles": [
            {"wake_words": ["hey_jarvis"], "users": ["anna"], "length": "brief"},
            {"wake_words": ["hey_jarvis"], "persona": "You are a butler.", "voice": "alan"},
            {"satellites": ["kids"], "persona": "You talk to children.", "language": "de", "length": "detailed"},
            {"users": ["anna"], "language": "sv"},
        ],
    }
)


@pytest.mark.parametrize(
    ("wake_word", "satellite", "user", "expected"),
    [
        ("", "", "", Profile("You are Meadowlark.", "normal")),
        ("alexa", "hall", "bert", Profile("You are Meadowlark.", "normal")),
        ("hey_jarvis", "hall", "", Profile("You are a butler.", "normal", voice="alan")),
        ("hey_jarvis", "hall", "anna", Profile("You are a butler.", "brief", "sv", "alan")),
        ("hey_jarvis", "kids", "anna", Profile("You are a butler.", "brief", "de", "alan")),
        ("", "kids", "", Profile("You talk to children.", "detailed", "de")),
    ],
)
def test_each_property_comes_from_the_first_profile_that_fits_and_has_it(
    wake_word: str, satellite: str, user: str, expected: Profile
) -> None:
    assert SETTINGS.profile(wake_word, Session(user, satellite)) == expected


@pytest.mark.parametrize(
    ("profile", "fits"),
    [
        ({}, True),
        ({"wake_words": ["a"]}, True),
        ({"wake_words": ["b"]}, False),
        ({"wake_words": ["b", "a"], "satellites": ["s"], "users": ["u"]}, True),
        ({"wake_words": ["a"], "satellites": ["t"]}, False),
        ({"users": ["v"]}, False),
    ],
)
def test_all_that_a_profile_names_has_to_fit(profile: dict[str, list[str]], fits: bool) -> None:
    assert ProfileSettings.model_validate(profile).fits("a", "s", "u") is fits
