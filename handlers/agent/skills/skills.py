"""Local skills: sentences matched by `hassil`, answered from templates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

from handlers import language as languages
from handlers.agent.conversations import Turn
from handlers.errors import MissingExtraError, SettingsError

try:
    from hassil import Intents, recognize_best
except ImportError:
    raise MissingExtraError("Local skills", "server") from None

_LONGEST = 200
"""Characters; no skill knows a sentence half as long, and matching takes time in proportion to it."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""In a response. What is not known is left out, so that a slip in a file of one's own is not a turn that fails."""

_PUNCTUATION = re.compile(r"[,;:.!?…]+(?=\s|$)|,(?=\w)")
"""Whisper hears commas in commands ("Resume, timer."); a sentence is the same without."""

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
    """The skills of every language folder beside this module, and sentences of the household's own."""

    def __init__(self, folder: Path = Path(__file__).parent, custom: Sequence[Path] = ()) -> None:
        """`custom` files are like a language's `sentences.yaml`, with `responses` in the same file."""
        self._languages = {path.parent.name: _load(path.parent) for path in sorted(folder.glob("*/sentences.yaml"))}
        self._custom = [load_custom(path) for path in custom]

    @property
    def languages(self) -> Sequence[str]:
        return tuple(self._languages)

    def answer(self, text: str, tag: str, history: Sequence[Turn], now: datetime) -> SkillAnswer | None:
        """The answer to a sentence that a skill knows whole, else None. Takes about a millisecond."""
        if len(text) > _LONGEST:
            return None
        for known in self._candidates(tag):
            found = recognize_best(_PUNCTUATION.sub(" ", text), known.intents, language=known.tag)
            if found is not None:
                slots = {name: entity.text_clean for name, entity in found.entities.items()}
                skill = found.intent.name
                return SkillAnswer(skill, _respond(skill, known, slots, _locale(tag, known.tag), history, now))
        return None

    def sentence(self, name: str, tag: str) -> str:
        """A fixed sentence in the nearest language, English if there is none."""
        known = self._find(tag) or self._languages["en"]
        return known.responses[name]

    def fixed_answers(self, tag: str) -> list[str]:
        """What skills say word for word in a language, so that it can be spoken beforehand."""
        answers = [answer for known in self._candidates(tag) for answer in known.responses.values()]
        return [answer for answer in answers if "{" not in answer]

    def _candidates(self, tag: str) -> list[_Language]:
        """What may know a sentence in this language; the household's own sentences come first."""
        own = [custom for custom in self._custom if languages.match(tag, [custom.tag])]
        known = self._find(tag)
        return own if known is None else [*own, known]

    def _find(self, tag: str) -> _Language | None:
        found = languages.match(tag, self._languages)
        return self._languages[found] if found else None


def load_custom(path: Path) -> _Language:
    """Sentences of the household's own; SettingsError says what is wrong with the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        responses = content["responses"]
        intents = Intents.from_dict(content)
        missing = sorted(set(intents.intents) - set(responses))
        if missing:
            raise SettingsError(f"{path}: the intent '{missing[0]}' has no entry in 'responses'")
        if not all(isinstance(response, str) for response in responses.values()):
            raise SettingsError(f"{path}: every entry of 'responses' must be a text")
        return _Language(str(content["language"]), intents, responses)
    except SettingsError:
        raise
    except OSError as error:
        raise SettingsError(
            f"The sentences {path} cannot be read ({error.strerror}); see agent.custom_sentences"
        ) from None
    except Exception as error:  # YAML's, hassil's and those of a wrong shape
        raise SettingsError(
            f"{path} does not hold sentences: it needs 'language', 'intents' as in Home Assistant's custom sentences, "
            f"and 'responses' ({type(error).__name__}: {error})"
        ) from None


def _respond(
    skill: str,
    known: _Language,
    slots: Mapping[str, str],
    locale: Locale,
    history: Sequence[Turn],
    now: datetime,
) -> str:
    template = known.responses[skill]
    if skill == "Repeat" and not history:
        template = known.responses["NothingToRepeat"]
    values = {
        "time": format_time(now, "short", locale=locale).translate(_NARROW_SPACES),
        "date": format_date(now, "full", locale=locale).translate(_NARROW_SPACES),
        "last": history[-1].answer if history else "",
        **slots,
    }
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], ""), template)


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
