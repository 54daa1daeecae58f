"""Who may do what: the least of what satellite, person and token allow."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from handlers.agent.caller import AccessSettings, Caller, Role

ACCESS = AccessSettings.model_validate(
    {
        "unknown": "guest",
        "users": {"anna": {"name": "Anna", "role": "admin"}, "kim": {"role": "guest"}},
        "satellites": {
            "office": {"room": "office", "role": "admin", "user": "anna"},
            "kitchen": {"room": "kitchen", "role": "admin"},
            "hall": {"role": "guest"},
        },
    }
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Caller(role=Role.GUEST)),
        ({"satellite": "garden"}, Caller(satellite="garden", role=Role.GUEST)),
        ({"satellite": "office"}, Caller("anna", "office", "office", Role.ADMIN)),
        ({"satellite": "kitchen"}, Caller("", "kitchen", "kitchen", Role.USER)),  # an unknown voice breaks nothing
        ({"satellite": "kitchen", "user": "anna"}, Caller("anna", "kitchen", "kitchen", Role.ADMIN)),
        ({"satellite": "kitchen", "user": "kim"}, Caller("kim", "kitchen", "kitchen", Role.GUEST)),
        ({"satellite": "kitchen", "user": "stranger"}, Caller("stranger", "kitchen", "kitchen", Role.GUEST)),
        ({"satellite": "hall", "user": "anna"}, Caller("anna", "hall", "", Role.GUEST)),
        ({"satellite": "hall", "room": "hall"}, Caller("", "hall", "hall", Role.GUEST)),
        (
            {"satellite": "kitchen", "room": "garden"},
            Caller("", "kitchen", "kitchen", Role.USER),
        ),  # settings know better
    ],
)
def test_the_least_of_all_counts(given: dict[str, str], expected: Caller) -> None:
    assert ACCESS.caller(**given) == expected


def test_a_token_limits_whom_it_was_given_to() -> None:
    caller = ACCESS.caller(satellite="office", token="phone", token_role=Role.USER)
    assert caller == Caller("anna", "office", "office", Role.USER, "phone")


def test_without_settings_everybody_may_act_and_nobody_may_break_things() -> None:
    assert AccessSettings().caller(satellite="kitchen").role is Role.USER
    assert AccessSettings().caller(satellite="kitchen", user="anna").role is Role.USER


@pytest.mark.parametrize("role", ["boss", "", "GUEST"])
def test_a_role_that_does_not_exist_is_refused(role: str) -> None:
    with pytest.raises(ValidationError):
        AccessSettings.model_validate({"users": {"anna": {"role": role}}})


def test_a_satellite_of_nobody_is_refused() -> None:
    with pytest.raises(ValidationError, match="'hall' belongs to 'nobody'"):
        AccessSettings.model_validate({"satellites": {"hall": {"user": "nobody"}}})
