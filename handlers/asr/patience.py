"""How much silence ends an utterance, from what was said and how it sounded. Pure: no audio, no clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Protocol

from handlers import language as languages
from handlers.asr.open_words import open_words
from handlers.asr.stage import EndpointSettings
from handlers.cpu import Ticket

_WAKE_NAMES = frozenset(
    {
        "alexa",
        "nabu",
        "naboo",
        "jarvis",
        "mycroft",
        "rhasspy",
        "meadowlark",
        "meadow lark",
        "computer",
        "google",
        "siri",
    }
)
"""By which assistants are called, as Whisper writes them. Whoever says only that has something else to say."""

_CALLS = frozenset({"hey", "hi", "hello", "okay", "ok", "hallo", "hola", "salut", "hej", "oye", "hé"})
"""Stand before a name."""

_OPEN_END = re.compile(r"(-|–|—|…|\.\.+)\s*$")
"""How Whisper writes a sentence that was broken off. A comma it also writes after finished ones, where names that are
listed in its prompt have put it in the mood."""


class TurnDetector(Protocol):
    """Hears whether a speaker has finished."""

    async def complete(self, pcm: bytes, ticket: Ticket) -> float:
        """Probability that whoever falls silent at the end of `pcm`, internal audio, has finished."""


class Patience:
    """The rules for one language.

    What was said has the first word and how it sounded the second: an open phrase is open however final it sounds.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        is_command: Callable[[str], bool],
        names: Collection[str] = (),
        language: str = "en",
    ) -> None:
        """`is_command` says whether a text is a whole command; `names` are of people and of the assistant."""
        self._settings = settings
        self._is_command = is_command
        self._names = _WAKE_NAMES.union(name for name in map(_key, names) if name)
        self._open = open_words(languages.primary(language))

    def wait_ms(self, guess: str | None, complete: float | None, speech_ms: int | None = None) -> int:
        """How much silence in all ends the utterance.

        `guess` is what was said so far, None when that is not known (yet); `complete` what the turn detector says, None
        without a verdict; `speech_ms` how much speech there was.
        """
        settings = self._settings
        finished_sound = None if complete is None else complete >= settings.complete_threshold
        if guess is None:
            return settings.unsure_ms if finished_sound else settings.patience_ms
        said = words(guess)
        if self._is_name(said):
            return settings.nothing_ms
        if not said or self._is_broken_off(guess, said):
            return settings.patience_ms
        short = speech_ms is not None and speech_ms < settings.short_ms
        if self._is_command(guess):
            return settings.unsure_ms if short else settings.command_ms
        if short or self._is_open(said):
            return settings.patience_ms
        comma = guess.rstrip().endswith(",")
        if comma and not finished_sound:
            return settings.patience_ms
        if comma or len(said) < settings.sentence_words or not finished_sound:
            return settings.unsure_ms
        return settings.finished_ms

    def _is_name(self, said: list[str]) -> bool:
        while said and said[0] in _CALLS:
            said = said[1:]
        return " ".join(said) in self._names

    def _is_broken_off(self, guess: str, said: list[str]) -> bool:
        return bool(_OPEN_END.search(guess)) or all(word in self._open.hesitations for word in said)

    def _is_open(self, said: list[str]) -> bool:
        known, last = self._open, said[-1]
        if last in known.last or (len(said) == 1 and last in known.verbs):
            return True
        if last in known.particles and (len(said) == 1 or said[-2] in known.verbs):
            return True
        text = " ".join(said)
        return f" {text}".endswith(tuple(f" {ending}" for ending in known.endings)) or (
            known.number_of_units is not None and known.number_of_units.search(text) is not None
        )


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation and apostrophes."""
    return re.findall(r"\w+", re.sub(r"['’]", "", text.lower()))


def _key(name: str) -> str:
    return " ".join(words(name))
