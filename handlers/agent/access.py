"""The people and satellites of a household, and what each may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from handlers.session import Role, RoleName, Session
from handlers.settings import Section


def _id(value: str) -> str:
    if not value.strip() or len(value) > 200:
        raise ValueError("must be a name of 1 to 200 characters")
    return value


Id = Annotated[str, AfterValidator(_id)]


class UserSettings(Section):
    """A person of the household."""

    name: str = ""
    """As the assistant calls them; empty is the key itself."""

    role: RoleName = "user"
    """What they may do: guest, user or admin."""


class SatelliteSettings(Section):
    """A satellite, by its name."""

    room: str = ""
    """Where it stands, as it is said."""

    role: RoleName = "user"
    """The most that anybody may do from there."""

    user: str = ""
    """Whose it is: who speaks there unless the client says otherwise. Empty for a shared one."""


class AccessSettings(Section):
    """Who may do what. What a satellite, a person and a token allow is the least of the three."""

    unknown: RoleName = "user"
    """Role of a voice at a satellite that is not named here."""

    users: dict[Id, UserSettings] = Field(default_factory=dict)
    """People, by the id that clients send."""

    satellites: dict[Id, SatelliteSettings] = Field(default_factory=dict)
    """Satellites, by the id that they send."""

    @model_validator(mode="after")
    def _owners_are_known(self) -> Self:
        for name, satellite in self.satellites.items():
            if satellite.user and satellite.user not in self.users:
                raise ValueError(f"the satellite '{name}' belongs to '{satellite.user}', who is not among the users")
        return self

    def session(
        self, satellite: str = "", user: str = "", room: str = "", token: str = "", token_role: Role = Role.ADMIN
    ) -> Session:
        """The session that a client describes, still without language and conversation. The Wyoming port knows no
        passwords: what it says is believed up to the role of the satellite, so a satellite in a hall is given the role
        of a guest."""
        place = self.satellites.get(satellite)
        user = user or (place.user if place else "")
        person = self.users.get(user)
        roles = [token_role]
        roles.append(Role.parse(place.role if place else self.unknown))
        if user:
            roles.append(Role.parse(person.role if person else self.unknown))
        elif place is None or not place.user:
            roles.append(Role.USER)  # a voice that nobody knows does not break things
        return Session(user, satellite, (place.room if place else "") or room, min(roles), token)


def names(users: Mapping[str, UserSettings]) -> dict[str, str]:
    """What each person is called, by their id."""
    return {key: person.name or key for key, person in users.items()}
