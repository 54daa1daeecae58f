"""Sums as they are said: '15 percent of 80', 'the square root of 2', 'half of 12 plus 7'."""

from __future__ import annotations

import math
import re

from handlers.agent.skills.spoken_numbers import is_exact, is_sayable, number_text
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply
from handlers.agent.skills.sums import Operators, Sum, SumError, say_sum


class Arithmetic:
    """Sums."""

    def __init__(self) -> None:
        self._languages: dict[str, Operators] = {}

    @property
    def intents(self) -> frozenset[str]:
        return frozenset({"Calculate"})

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        return self._operators(phrases).read(match.slots["expression"]) is not None

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        tokens = self._operators(phrases).read(match.slots["expression"]) or []
        try:
            value = Sum(tokens).value()
        except SumError as error:
            return Reply(phrases.say(str(error)))
        said = say_sum(tokens, phrases)
        if is_sayable(value):
            response = "Calculate" if is_exact(value) else "CalculateAbout"
            return Reply(phrases.say(response, sum=said, result=number_text(value, occasion.locale, phrases)))
        exponent = math.floor(math.log10(abs(value)))
        mantissa = number_text(value / 10**exponent, occasion.locale, phrases)
        exponent_said = number_text(exponent, occasion.locale, phrases)
        return Reply(phrases.say("CalculateHuge", sum=said, number=mantissa, exponent=exponent_said))

    def continued(self, expression: str, rest: str, phrases: Phrases) -> str | None:
        """A sum that goes on from another: 'and 20 percent of it', 'times 2'. None when it does not."""
        operators = self._operators(phrases)
        before = operators.read(expression)
        if before is None:
            return None
        # The second percentage is one of the same whole, every other operation one of the result.
        base = next((at + 1 for at, token in enumerate(before) if token.operator in ("of", "off")), 0)
        percents = any(token.operator == "percent" for token in before[:base])
        of = (*phrases.words("of"), "of")[0]
        new = operators.split(rest)
        if percents and [token.operator for token in new] == ["", "percent"]:
            return f"{rest} {' '.join(token.said for token in before[base - 1 :])}"
        starts = operators.pattern.match(rest)
        if starts and operators.names[starts[0].casefold().strip()] not in (
            "percent",
            "of",
            "off",
            "square_root",
            "cube_root",
        ):
            return f"({expression}) {rest}"
        pronouns = [(word, "") for word in phrases.words("it")] + [(word, f"{of} ") for word in phrases.words("of_it")]
        for pronoun, link in pronouns:
            found = re.search(rf"(?<!\w){re.escape(pronoun)}$", rest, re.IGNORECASE)
            if found:
                again = percents and "percent" in (token.operator for token in operators.split(rest[: found.start()]))
                whole = " ".join(token.said for token in before[base:]) if again else expression
                simple = again and base == len(before) - 1
                return rest[: found.start()] + link + (whole if simple else f"({whole})")
        return None

    def _operators(self, phrases: Phrases) -> Operators:
        if phrases.language not in self._languages:
            self._languages[phrases.language] = Operators.of(phrases)
        return self._languages[phrases.language]
