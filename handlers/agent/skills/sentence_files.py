"""The files of sentences: a language's folder, and those of the household."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from handlers import language as languages
from handlers.agent.skills.phrases import PhraseBook, Response
from handlers.errors import MissingExtraError, SettingsError

try:
    from hassil import Intents, merge_dict
except ImportError:
    raise MissingExtraError("Local skills", "server") from None

_FOLLOW_UP = "FollowUp"
"""Name of the intent under which the beginnings of follow-ups are parsed; `match` never returns it."""


@dataclass(frozen=True)
class Sentences:
    """The sentences of one file or folder."""

    tag: str
    intents: Intents
    trailing: re.Pattern[str]
    """Words that open a sentence, and skip words at its end. hassil leaves these in a place {…} that ends it."""
    anywhere: re.Pattern[str]
    """Words that open a sentence, and skip words. hassil leaves these before such a place, too."""

    def of(self, owned: Container[str]) -> Sentences:
        """Those of the intents that are `owned`."""
        kept = {name: intent for name, intent in self.intents.intents.items() if name in owned}
        return replace(self, intents=replace(self.intents, intents=kept))


@dataclass(frozen=True)
class Language:
    """What the folder of a language holds."""

    content: Mapping[str, object]
    """All files as one."""
    sentences: Sentences
    follow_ups: Intents | None
    """How follow-ups begin, with the place `rest`."""


@cache
def read_language(folder: Path) -> Language:
    """The language that the folder is named after. It is kept, to be read only: each household has skills of its own,
    and half a second goes by until the sentences of five languages are parsed."""
    content: dict[str, object] = {}
    for path in sorted(folder.glob("*.yaml")):
        merge_dict(content, yaml.safe_load(path.read_text(encoding="utf-8")))
    return Language(content, sentences_of(folder.name, content), _follow_ups_of(folder.name, content))


def own_intents() -> frozenset[str]:
    """Names of the intents that Meadowlark's own sentences have."""
    return frozenset(_mapping(read_language(Path(__file__).parent / "en").content, "intents"))


def read_custom(path: Path, owned: frozenset[str]) -> dict[str, object]:
    """Sentences of the household's own; SettingsError says what is wrong with the file."""
    try:
        content: dict[str, object] = yaml.safe_load(path.read_text(encoding="utf-8"))
        intents = Intents.from_dict(content)
        for intent in intents.intents.values():
            for data in intent.data:
                _ = data.sentences  # parsed when first used
        responses = content.get("responses", {})
        if not isinstance(responses, dict) or not all(_is_response(response) for response in responses.values()):
            raise SettingsError(f"{path}: every entry of 'responses' must be a text")
        missing = sorted(set(intents.intents) - set(responses) - owned)
        if missing:
            raise SettingsError(f"{path}: the intent '{missing[0]}' has no entry in 'responses'")
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
    return content


def _is_response(response: object) -> bool:
    """A text, or plural forms of one."""
    if isinstance(response, dict):
        return "other" in response and all(isinstance(form, str) for form in response.values())
    return isinstance(response, str)


def sentences_of(tag: str, content: Mapping[str, object]) -> Sentences:
    """The sentences of all intents."""
    intents = Intents.from_dict(dict(content))
    words = _any_of(intents.skip_words)
    opening = _opening(content)
    return Sentences(
        tag,
        intents,
        re.compile(rf"{opening}|(?:\s+(?:{words}))+\s*$", re.IGNORECASE),
        re.compile(rf"{opening}|(?<!\w)(?:{words})(?!\w)", re.IGNORECASE),
    )


def _opening(content: Mapping[str, object]) -> str:
    """A pattern of "hey", "okay" and "and so" before what is meant. A link takes two words behind it: "and how?" is a
    question of its own."""
    lists = _mapping(content, "openings")
    calls, links = (_any_of([str(word) for word in _sequence(lists.get(name))]) for name in ("calls", "links"))
    return rf"\A[\s¿¡]*(?:(?:{calls})(?!\w)\s*|(?:{links})(?!\w)\s*(?=\S+\s+\S))+"


def _any_of(words: Sequence[str]) -> str:
    """A pattern of any of the words, the longest first; one that finds nothing where there are none."""
    return "|".join(sorted((re.escape(word) for word in words), key=len, reverse=True)) or "(?!)"


def _follow_ups_of(tag: str, content: Mapping[str, object]) -> Intents | None:
    sentences = content.get("follow_ups")
    if not sentences:
        return None
    intents = {_FOLLOW_UP: {"data": [{"sentences": sentences}]}}
    return Intents.from_dict({"language": tag, "intents": intents, "lists": {"rest": {"wildcard": True}}})


def phrase_books(
    files: Mapping[str, Mapping[str, object]], household: Sequence[Mapping[str, object]]
) -> dict[str, PhraseBook]:
    """By primary tag. Of two files of the household, the first one has the word."""
    contents = {languages.primary(tag): [content] for tag, content in files.items()}
    for content in reversed(household):
        contents.setdefault(languages.primary(str(content["language"])), []).append(content)
    books = {}
    for language, parts in contents.items():
        responses: dict[str, Response] = {}
        words: dict[str, Sequence[str]] = {}
        for part in parts:
            for name, response in _mapping(part, "responses").items():
                forms = response if isinstance(response, dict) else None
                responses[name] = str(response) if forms is None else {key: str(form) for key, form in forms.items()}
            for name, found in _mapping(part, "words").items():
                words[name] = [str(word) for word in found] if isinstance(found, list) else [str(found)]
        books[language] = PhraseBook(language, responses, words)
    for book in books.values():
        book.fallback = books.get("en")
    return books


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _mapping(content: Mapping[str, object], key: str) -> dict[str, object]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}
