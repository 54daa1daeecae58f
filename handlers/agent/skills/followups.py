"""Sentences that make sense only after the one before: "And in London?", "What about tomorrow?", "And times 2?"."""

from __future__ import annotations

from collections.abc import Iterator

from handlers.agent.skills.arithmetic import Arithmetic
from handlers.agent.skills.numbers import find_numbers, parse_number
from handlers.agent.skills.skills import Skills
from handlers.agent.skills.stage import Match

_SUM = "Calculate"

_QUESTIONS = frozenset(
    {"GetTime", "GetTimeThere", "GetDate", "GetDateThere", "GetDateOf", "GetDaysUntil", "Calculate", "ConvertUnits"}
)
"""What is asked again about something else. Not "remember that I like tea" – "and coffee?"."""


class FollowUps:
    """Completes a question by the one before."""

    def __init__(self, skills: Skills, questions: frozenset[str] = _QUESTIONS) -> None:
        """`questions` are the intents that can be continued."""
        self._skills = skills
        self._questions = questions
        self._arithmetic = Arithmetic()

    def looks_like_followup(self, text: str, tag: str) -> bool:
        """Whether it begins as only a continuation does; the turn before then decides where it goes."""
        return self._skills.follow_up(text, tag) is not None

    def complete(self, previous: Match, text: str, tag: str) -> Match | None:
        """The previous question asked about something else, None when that makes no known sentence. Pure, and as
        quick as a few matches. `previous` may itself be a completed one."""
        rest = self._skills.follow_up(text, tag)
        if rest is None or not previous.sentence or previous.intent not in self._questions:
            return None
        for sentence in dict.fromkeys(self._sentences(previous, rest, tag)):
            match = self._skills.match(sentence, tag)
            if match is not None and match.intent in _family(previous.intent) and match.sentence != previous.sentence:
                return match
        return None

    def _sentences(self, previous: Match, rest: str, tag: str) -> Iterator[str]:
        """The sentences that may be meant, the likeliest first."""
        if previous.intent == _SUM and "expression" in previous.spans:
            phrases = self._skills.phrases(previous.language)
            continued = self._arithmetic.continued(previous.slots["expression"], rest, phrases)
            if continued is not None:
                yield _replaced(previous, "expression", continued)
        bare = self._without_preposition(rest, tag)
        for name in sorted(previous.spans, key=lambda name: previous.spans[name], reverse=True):
            if bare != rest:
                yield self._with_preposition(previous, name, rest, tag)
            for words in (bare, rest):
                yield _replaced(previous, name, words)
            numbers = find_numbers(previous.slots[name], previous.language)
            if len(numbers) == 1 and parse_number(bare, previous.language) is not None:
                said = previous.slots[name]  # "70 degrees in Celsius" – "And 80?"
                yield _replaced(previous, name, said[: numbers[0].start] + bare + said[numbers[0].end :])
        if previous.spans:
            return
        asked = previous.sentence.rstrip(" ?!.")
        for words in (rest, bare):
            yield f"{asked} {words}"
            yield f"{asked.rpartition(' ')[0]} {words}"  # "What day is it today?" – "And tomorrow?"
            for preposition in self._skills.spoken_words(tag, "prepositions"):
                yield f"{asked} {preposition} {words}"

    def _with_preposition(self, previous: Match, slot: str, words: str, tag: str) -> str:
        """'… à Tokyo' and 'au Japon' make '… au Japon'."""
        start, end = previous.spans[slot]
        before = previous.sentence[:start].rstrip()
        others, _, last = before.rpartition(" ")
        if last.casefold() in self._skills.spoken_words(tag, "prepositions"):
            before = others
        return f"{before} {words}{previous.sentence[end:]}"

    def _without_preposition(self, rest: str, tag: str) -> str:
        first, _, others = rest.partition(" ")
        return others if others and first.casefold() in self._skills.spoken_words(tag, "prepositions") else rest


_FAMILIES = (
    frozenset({"GetTime", "GetTimeThere"}),
    frozenset({"GetDate", "GetDateThere", "GetDateOf"}),
)
"""Intents that are one question to whoever asks."""


def _family(intent: str) -> frozenset[str]:
    return next((family for family in _FAMILIES if intent in family), frozenset({intent}))


def _replaced(previous: Match, slot: str, words: str) -> str:
    start, end = previous.spans[slot]
    return previous.sentence[:start] + words + previous.sentence[end:]
