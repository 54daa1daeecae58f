"""Decides how a sentence is answered: at once by a skill, by a language model, or by both.

The decision is pure and quick (a few milliseconds), so it is also made on guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from handlers.agent.conversations import Turn
from handlers.agent.house.house import House
from handlers.agent.house.stage import Understood
from handlers.agent.skills import Skills
from handlers.agent.skills.followups import FollowUps
from handlers.agent.skills.stage import Match
from handlers.agent.stage import Request

SURE = 0.8
"""Below this confidence a skill does not answer: a wrong action is worse than a slow answer."""

_WHOLE = 1.0
"""The whole sentence is one that a skill knows."""

_COMPLETED = 0.9
"""A follow-up became such a sentence with what was asked before."""

_MAY_BE_AN_ANSWER = 0.5
"""One or two words after a question of the assistant are rather its answer than a command."""

_SHORT_WORDS = 2

_ALWAYS = frozenset({"Yes", "No", "Cancel", "Stop", "Repeat", "VolumeUp", "VolumeDown"})
"""Intents that mean the same after a question as before."""

_MAY_GO_ON = frozenset(
    {
        *("TimerSet", "TimerAdd", "TimerRemove", "AlarmSet", "AlarmCancel", "ReminderSet", "ReminderCancel"),
        *("ScheduleAnswer", "Remember", "RememberShared", "KnowAbout", "ForgetAbout", "GetDateOf", "GetTimeThere"),
    }
)
"""Intents whose sentence ends with anybody's words: "remind me to take out the bins" … "tomorrow at eight"."""

_ANSWERS_A_SKILL = "ScheduleAnswer"
"""A bare time, name or text: only where a skill has just asked for one."""

_ASKING_SKILLS = ("Timer", "Alarm", "Reminder")
"""How the intents begin that may ask back."""

_NEEDS_A_QUESTION = frozenset({"Yes", "No"})
"""Intents that are nothing for a skill unless something waits for them."""


class Kind(StrEnum):
    """The three ways to an answer."""

    FAST = "fast"
    """A local skill, or the house's own intents."""
    THINK = "think"
    """The language model."""
    HYBRID = "hybrid"
    """A quick first sentence while the language model is still reading."""


@dataclass(frozen=True)
class Route:
    """How a sentence is answered, and why."""

    kind: Kind
    confidence: float
    """0 to 1: how sure it is that a skill or the house understands the sentence."""
    reason: str
    """In words, without anybody's own."""
    match: Match | None = None
    """What a skill understood; only for FAST."""
    understood: Understood | None = None
    """What the house understood, where no skill did; only for FAST."""


class Router:
    """Chooses by the sentence, the conversation, and what is known of the language model's speed."""

    def __init__(
        self, skills: Skills, house: House, expected_seconds: Callable[[], float], patience_seconds: float = 0.0
    ) -> None:
        """`expected_seconds` is how long the first word of a language model will probably take; from
        `patience_seconds` on, a quick first sentence fills the time (0 never does)."""
        self._skills = skills
        self._house = house
        self._follow_ups = FollowUps(skills)
        self._expected_seconds = expected_seconds
        self._patience_seconds = patience_seconds

    def route(self, request: Request, history: Sequence[Turn], confirming: bool = False) -> Route:
        """The route of a request. `confirming`: an action waits for a yes from where this was said. What the house
        understands counts where it was looked up before."""
        match = self._skills.match(request.text, request.session.language)
        if match is not None:
            return self._known(match, request, history, confirming)
        understood = self._house.understands(request)
        if understood is not None:
            if _may_answer(request, history):
                return self._think(_MAY_BE_AN_ANSWER, "it may be the answer to the assistant's question")
            return Route(Kind.FAST, _WHOLE, "the house knows the whole sentence", understood=understood)
        before = history[-1].match if history else None
        if before is not None:
            match = self._follow_ups.complete(before, request.text, request.session.language)
            if match is not None:
                return self._choose(_COMPLETED, "a follow-up to what a skill answered", match)
        if history and self._follow_ups.looks_like_followup(request.text, request.session.language):
            return self._think(0.0, "a follow-up that no skill can complete")
        return self._think(0.0, "no skill knows the sentence")

    def has_skill(self, request: Request) -> bool:
        """Whether a skill knows the sentence: then the house need not be asked."""
        return self._skills.match(request.text, request.session.language) is not None

    def is_complete(self, request: Request) -> bool:
        """Whether a skill or the house knows the sentence, and no word can follow: then it needs no patience."""
        match = self._skills.match(request.text, request.session.language)
        if match is not None:
            return match.intent not in _MAY_GO_ON
        understood = self._house.understands(request)
        return understood is not None and not understood.open_ended

    def _known(self, match: Match, request: Request, history: Sequence[Turn], confirming: bool) -> Route:
        if match.intent in _NEEDS_A_QUESTION:
            if confirming:
                return self._choose(_WHOLE, "an action waits for it", match)
            return self._think(0.0, "a yes or no, and no action waits for one")
        if match.intent == _ANSWERS_A_SKILL and not _skill_has_asked(history):
            return self._think(0.0, "an answer, and no skill has asked")
        if match.intent not in _ALWAYS and _may_answer(request, history):
            return self._choose(_MAY_BE_AN_ANSWER, "it may be the answer to the assistant's question", match)
        return self._choose(_WHOLE, "a skill knows the whole sentence", match)

    def _choose(self, confidence: float, reason: str, match: Match) -> Route:
        """The skill, where it is sure enough that it understands."""
        return Route(Kind.FAST, confidence, reason, match) if confidence >= SURE else self._think(confidence, reason)

    def _think(self, confidence: float, reason: str) -> Route:
        expected = self._expected_seconds()
        if self._patience_seconds and expected >= self._patience_seconds:
            return Route(Kind.HYBRID, confidence, f"{reason}; the language model will take long")
        return Route(Kind.THINK, confidence, reason)


def _may_answer(request: Request, history: Sequence[Turn]) -> bool:
    """Whether so few words are rather an answer to what the language model has just asked."""
    asked = bool(history) and history[-1].asks and history[-1].match is None
    return asked and len(request.text.split()) <= _SHORT_WORDS


def _skill_has_asked(history: Sequence[Turn]) -> bool:
    before = history[-1] if history else None
    return (
        before is not None
        and before.match is not None
        and before.match.intent.startswith((*_ASKING_SKILLS, _ANSWERS_A_SKILL))
        and before.asks
    )
