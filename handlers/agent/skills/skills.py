"""Local skills: sentences matched by `hassil`, answered from templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

from handlers import language as languages
from handlers.agent.conversations import Turn
from handlers.errors import MissingExtraError

try:
    from hassil import Intents, recognize_best
except ImportError:
    raise MissingExtraError("Local skills", "server") from None

_LONGEST = 200
"""Characters; no skill knows a sentence half as long, and matching takes time in proportion to it."""

_NARROW_SPACES = str.maketrans("\u202f\u00a0", "  ")
"""Babel sets them in times and dates, for the eye."""


@dataclass(frozen=True)
class SkillAnswer:
    """What a skill says, and which one it was."""

    skill: str
    text: str


@dataclass(frozen=True)
class _Language:
    tag: str
    intents: Intents
    responses: dict[str, str]


class Skills:
    """The skills of every language folder beside this module."""

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        self._languages = {path.parent.name: _load(path.parent) for path in sorted(folder.glob("*/sentences.yaml"))}

    @property
    def languages(self) -> Sequence[str]:
        return tuple(self._languages)

    def answer(self, text: str, tag: str, history: Sequence[Turn], now: datetime) -> SkillAnswer | None:
        """The answer to a sentence that a skill knows whole, else None. Takes about a millisecond."""
        known = self._find(tag)
        if known is None or len(text) > _LONGEST:
            return None
        found = recognize_best(text, known.intents, language=known.tag)
        if found is None:
            return None
        skill = found.intent.name
        return SkillAnswer(skill, _respond(skill, known, _locale(tag, known.tag), history, now))

    def sentence(self, name: str, tag: str) -> str:
        """A fixed sentence in the nearest language, English if there is none."""
        known = self._find(tag) or self._languages["en"]
        return known.responses[name]

    def _find(self, tag: str) -> _Language | None:
        found = languages.match(tag, self._languages)
        return self._languages[found] if found else None


def _respond(skill: str, known: _Language, locale: Locale, history: Sequence[Turn], now: datetime) -> str:
    template = known.responses[skill]
    if skill == "Repeat" and not history:
        template = known.responses["NothingToRepeat"]
    return template.format(
        time=format_time(now, "short", locale=locale).translate(_NARROW_SPACES),
        date=format_date(now, "full", locale=locale).translate(_NARROW_SPACES),
        last=history[-1].answer if history else "",
    )


def _locale(tag: str, language: str) -> Locale:
    """How times and dates are said there: 'en-GB' has 15:05 where 'en' has 3:05 PM."""
    try:
        return Locale.parse(languages.normalize(tag), sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale.parse(language, sep="-")


def _load(folder: Path) -> _Language:
    sentences = yaml.safe_load((folder / "sentences.yaml").read_text(encoding="utf-8"))
    responses = yaml.safe_load((folder / "responses.yaml").read_text(encoding="utf-8"))
    return _Language(folder.name, Intents.from_dict(sentences), responses)
