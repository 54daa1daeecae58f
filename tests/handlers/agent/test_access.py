"""Who may do what: the least of what satellite, person and token allow."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from handlers.agent.access import AccessSettings
from handlers.session import Role, Session

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
        ({}, Session(role=Role.GUEST)),
        ({"satellite": "garden"}, Session(satellite="garden", role=Role.GUEST)),
        ({"satellite": "office"}, Session("anna", "office", "office", Role.ADMIN)),
        ({"satellite": "kitchen"}, Session("", "kitchen", "kitchen", Role.USER)),  # an unknown voice breaks nothing
        ({"satellite": "kitchen", "user": "anna"}, Session("anna", "kitchen", "kitchen", Role.ADMIN)),
        ({"satellite": "kitchen", "user": "kim"}, Session("kim", "kitchen", "kitchen", Role.GUEST)),
        ({"satellite": "kitchen", "user": "stranger"}, Session("stranger", "kitchen", "kitchen", Role.GUEST)),
        ({"satellite": "hall", "user": "anna"}, Session("anna", "hall", "", Role.GUEST)),
        ({"satellite": "hall", "room": "hall"}, Session("", "hall", "hall", Role.GUEST)),
        (
            {"satellite": "kitchen", "room": "garden"},
            Session("", "kitchen", "kitchen", Role.USER),
        ),  # settings know better
    ],
)
def test_the_least_of_all_counts(given: dict[str, str], expected: Session) -> None:
    assert ACCESS.session(**given) == expected


def test_a_token_limits_whom_it_was_given_to() -> None:
    session = ACCESS.session(satellite="office", token="phone", token_role=Role.USER)
    assert session == Session("anna", "office", "office", Role.USER, "phone")


def test_without_settings_everybody_may_act_and_nobody_may_break_things() -> None:
    assert AccessSettings().session(satellite="kitchen").role is Role.USER
    assert AccessSettings().session(satellite="kitchen", user="anna").role is Role.USER


@pytest.mark.parametrize("role", ["boss", "", "GUEST"])
def test_a_role_that_does_not_exist_is_refused(role: str) -> None:
    with pytest.raises(ValidationError):
        AccessSettings.model_validate({"users": {"anna": {"role": role}}})


def test_a_satellite_of_nobody_is_refused() -> None:
    with pytest.raises(ValidationError, match="'hall' belongs to 'nobody'"):
        AccessSettings.model_validate({"satellites": {"hall": {"user": "nobody"}}})
