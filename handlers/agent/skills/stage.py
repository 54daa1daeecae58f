"""What a local skill is: a whole sentence that is known, and who answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from babel import Locale

from handlers.agent.conversations import Turn
from handlers.agent.safety.confirm import Pending
from handlers.agent.stage import Request


@dataclass(frozen=True)
class Match:
    """A sentence that is known whole. Found without side effects, so also on a guess."""

    intent: str
    language: str
    """Of the sentence file, a primary tag: 'en'."""
    slots: Mapping[str, str] = field(default_factory=dict)
    """What stood in the sentence's places, as it was said; of a list with 'out' values, that value."""
    sentence: str = ""
    """The words as they were said, or as a follow-up was completed."""
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Where each slot that was said stands in `sentence`: start and end."""


@dataclass(frozen=True)
class Occasion:
    """Everything about the moment that a skill may need."""

    request: Request
    history: Sequence[Turn]
    """Earlier turns of the conversation, oldest first."""
    now: datetime
    """Where the server stands."""
    locale: Locale
    """How times, dates and numbers are said: 'en-GB' has 15:05 where 'en' has 3:05 PM."""


@dataclass(frozen=True)
class Reply:
    """What a skill says and asks for."""

    text: str
    pending: Pending[Awaitable[str]] | None = None
    """The text is a question, and this happens after a yes."""
    volume: int | None = None
    """By how much louder (or, below zero, quieter) the place becomes, in percent of full."""
    volume_to: int | None = None
    """How loud the place becomes, in percent of full."""


class Phrases(Protocol):
    """The answers and word lists of one language, as its files have them."""

    @property
    def language(self) -> str:
        """A primary tag: 'en'."""

    def say(self, name: str, /, **values: str | int) -> str:
        """The response `name` with its {places} filled. Where the file has a list of forms (`one`, `other`), `count`
        chooses among them by the language's plural rule."""

    def words(self, name: str, /) -> Sequence[str]:
        """The word list `name`, as in 'tomorrow'; empty where the language has none."""


class Skill(Protocol):
    """Answers some intents; may act, so it is only called when the speaker has finished."""

    @property
    def intents(self) -> frozenset[str]: ...

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        """Do it and say so. Quick: a language model or a network has no place here."""


@runtime_checkable
class Acting(Protocol):
    """A skill that changes something: each time is written down in the log of actions."""

    @property
    def acts(self) -> frozenset[str]:
        """The intents that do."""

    @property
    def discreet(self) -> bool:
        """Whether the log leaves out what was said and answered: what is forgotten leaves no trace there either."""


@runtime_checkable
class Selective(Protocol):
    """A skill whose places {…} take only certain words: numbers, cities, durations."""

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        """Whether the slots are ones that it understands; if not, the sentence is not its own. Pure, and within tens
        of microseconds, because it is asked on every guess."""
