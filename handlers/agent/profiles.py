"""Who the assistant is for whom: persona, language, voice and length by wake word, satellite and person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from handlers.settings import Section

Length = Literal["brief", "normal", "detailed"]

LENGTHS: dict[Length, str] = {
    "brief": "Answer in one short sentence.",
    "normal": "Answer in one to three short sentences.",
    "detailed": "Answer in up to six sentences, the most important first.",
}
"""How long an answer is, in the words that the language model reads."""


class ProfileSettings(Section):
    """How the assistant is for some. What is left empty is as everywhere else."""

    wake_words: list[str] = Field(default_factory=list)
    """For turns that began with one of these; none means any."""

    satellites: list[str] = Field(default_factory=list)
    """At these satellites; none means any."""

    users: list[str] = Field(default_factory=list)
    """For these people; none means anybody."""

    persona: str = ""
    """Who the assistant is, in the words that the language model reads."""

    language: str = ""
    """Language of speech and answer where the client names none."""

    voice: str = ""
    """Voice where the client names none."""

    length: Length | Literal[""] = ""
    """How long an answer is: brief, normal or detailed."""

    def fits(self, wake_word: str, satellite: str, user: str) -> bool:
        """Whether a turn is one of those that this profile names."""
        wanted = ((self.wake_words, wake_word), (self.satellites, satellite), (self.users, user))
        return all(not names or name in names for names, name in wanted)


@dataclass(frozen=True)
class Profile:
    """How the assistant is in one turn."""

    persona: str
    length: Length
    language: str = ""
    voice: str = ""


def choose_profile(
    profiles: Sequence[ProfileSettings], default: Profile, wake_word: str, satellite: str, user: str
) -> Profile:
    """Each property from the first profile that fits and has it, else the default's."""
    fitting = [profile for profile in profiles if profile.fits(wake_word, satellite, user)]

    return Profile(
        persona=next((profile.persona for profile in fitting if profile.persona), default.persona),
        length=next((profile.length for profile in fitting if profile.length), default.length),
        language=next((profile.language for profile in fitting if profile.language), default.language),
        voice=next((profile.voice for profile in fitting if profile.voice), default.voice),
    )
