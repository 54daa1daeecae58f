"""Local skills: whole sentences matched by `hassil`, and handed to the skill that owns them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time

from handlers import language as languages
from handlers.agent.skills.sentence_files import Sentences, phrase_books, read_custom, read_language, sentences_of
from handlers.agent.skills.stage import Acting, Match, Occasion, Phrases, Reply, Selective, Skill
from handlers.errors import MissingExtraError

try:
    from hassil import RecognizeResult, recognize_all
except ImportError:
    raise MissingExtraError("Local skills", "server") from None

_LONGEST = 500
"""Characters: half a minute of speech. Only things to remember are nearly as long, and matching takes time in
proportion."""

_PUNCTUATION = re.compile(r"[,;:.!?…]+(?=\s|$)|,(?=[^\W\d])|(?<!\d)\"|[“”„«»]")
"""Whisper hears commas in commands ("Resume, timer."); a sentence is the same without. Decimal commas and inches
stay."""


class Skills:
    """The sentences of every language folder beside this module and of the household, and the skills that they call."""

    def __init__(
        self, skills: Sequence[Skill] = (), folder: Path = Path(__file__).parent, custom: Sequence[Path] = ()
    ) -> None:
        """`custom` files have the shape of a language's `core.yaml`; an intent of theirs that no skill owns is answered
        from the response of its name. Sentences of a folder whose skill is not there are not known. SettingsError for a
        bad file."""
        self._owners = {intent: skill for skill in skills for intent in skill.intents}
        files = {path.parent.name: read_language(path.parent) for path in sorted(folder.glob("*/core.yaml"))}
        household = [read_custom(path, frozenset(self._owners)) for path in custom]
        self._languages = {tag: language.sentences.of(self._owners) for tag, language in files.items()}
        self._custom = [sentences_of(str(content["language"]), content) for content in household]
        self._follow_ups = {tag: language.follow_ups for tag, language in files.items()}
        self._phrases = phrase_books({tag: language.content for tag, language in files.items()}, household)
        for tag in self._languages:
            # hassil parses sentences, and skills read their tables, when they are first wanted: better now than then.
            for sentence in ("?", *self.spoken_words(tag, "warm_up")):
                self.match(sentence, tag)

    @property
    def languages(self) -> Sequence[str]:
        """Primary tags of the languages that have a folder."""
        return tuple(self._languages)

    def match(self, text: str, tag: str) -> Match | None:
        """The sentence if it is known whole, else None. No side effects; takes about a millisecond."""
        if len(text) > _LONGEST:
            return None
        plain = _blanked(_PUNCTUATION, text)
        for known in self._candidates(tag):
            # What was said comes first: "remember that the bus comes now" keeps its last word.
            readings = (plain, _blanked(known.trailing, plain), _blanked(known.anywhere, plain))
            for reading in dict.fromkeys(readings):
                found = self._match(text, reading, known) if reading.strip() else None
                if found is not None:
                    return found
        return None

    async def perform(self, match: Match, occasion: Occasion) -> Reply:
        """Let the skill that owns the sentence do it; without an owner, fill the response of the intent's name."""
        phrases = self.phrases(match.language)
        owner = self._owners.get(match.intent)
        if owner is not None:
            return await owner.perform(match, occasion, phrases)
        known = {
            "time": format_time(occasion.now, "short", locale=occasion.locale),
            "date": format_date(occasion.now, "full", locale=occasion.locale),
            "last": occasion.history[-1].answer if occasion.history else "",
        }
        return Reply(phrases.say(match.intent, **{**known, **match.slots}))

    def acts(self, intent: str) -> bool:
        """Whether it changes something, and is written down."""
        owner: object = self._owners.get(intent)
        return isinstance(owner, Acting) and intent in owner.acts

    def discreet(self, intent: str) -> bool:
        """Whether it is written down without what was said."""
        owner: object = self._owners.get(intent)
        return isinstance(owner, Acting) and owner.discreet

    def follow_up(self, text: str, tag: str) -> str | None:
        """What is new in a sentence that begins like a follow-up: 'in London' of "And in London?"; else None."""
        found = languages.match(tag, self._follow_ups)
        intents = self._follow_ups[found] if found else None
        if intents is None or len(text) > _LONGEST:
            return None
        plain = _blanked(_PUNCTUATION, text)
        results = recognize_all(plain, intents, language=found)
        rests = [plain[slice(*span)].strip() for result in results if (span := result.entities["rest"].text_span)]
        return min(filter(None, rests), key=len, default=None)

    def phrases(self, tag: str) -> Phrases:
        """The answers of a language; the household's own words first, English ones where there are no others."""
        return self._phrases.get(languages.primary(tag)) or self._phrases["en"]

    def sentence(self, name: str, tag: str) -> str:
        """A fixed sentence in the nearest language, English if there is none."""
        return self.phrases(tag).say(name)

    def spoken_words(self, tag: str, name: str) -> Sequence[str]:
        """A word list of a language, empty where it has none."""
        book = self._phrases.get(languages.primary(tag))
        return book.words(name) if book else ()

    def fixed_answers(self, tag: str) -> list[str]:
        """What skills say word for word in a language, so that it can be spoken beforehand."""
        book = self._phrases.get(languages.primary(tag))
        return book.fixed() if book else []

    def _candidates(self, tag: str) -> Iterator[Sentences]:
        """What may know a sentence in this language; the household's own sentences come first."""
        yield from (custom for custom in self._custom if languages.match(tag, [custom.tag]))
        found = languages.match(tag, self._languages)
        if found:
            yield self._languages[found]

    def _match(self, text: str, plain: str, known: Sentences) -> Match | None:
        for result in sorted(recognize_all(plain, known.intents, language=known.tag), key=_looseness):
            match = self._read(result, text, plain, languages.primary(known.tag))
            owner: object = self._owners.get(match.intent)
            if not isinstance(owner, Selective) or owner.accepts(match, self.phrases(known.tag)):
                return match
        return None

    def _read(self, result: RecognizeResult, text: str, plain: str, language: str) -> Match:
        owned = result.intent.name in self._owners
        slots: dict[str, str] = {}
        spans: dict[str, tuple[int, int]] = {}
        for name, entity in result.entities.items():
            said = entity.text
            if entity.text_span is not None:
                start, end = entity.text_span
                span = plain[start:end]
                start += len(span) - len(span.lstrip())
                end = start + len(span.strip())
                spans[name] = (start, end)
                said = text[start:end]
            # A household's template says what was said; a skill wants to know what it means.
            meant = owned and not entity.is_wildcard and str(entity.value).casefold() != said.casefold()
            slots[name] = str(entity.value) if meant or not said else said
        return Match(result.intent.name, language, slots, text, spans)


def locale_of(tag: str, language: str = "en") -> Locale:
    """How times, dates and numbers are said there: 'en-GB' has 15:05 where 'en' has 3:05 PM. `language` is the locale
    of a tag that nobody knows."""
    for candidate in (languages.normalize(tag), languages.primary(tag), language):
        try:
            return Locale.parse(candidate, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    """Blanks instead of what the pattern finds, each other character where it was."""
    return pattern.sub(lambda found: " " * len(found[0]), text)


def _looseness(result: RecognizeResult) -> tuple[int, int, int]:
    """The sentence that names most of the words is the one that was meant."""
    wild = [entity.text for entity in result.entities_list if entity.is_wildcard]
    return sum(map(len, wild)), len(wild), -result.text_chunks_matched
