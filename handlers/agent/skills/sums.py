"""Reads and works out sums in words.

The operators are word lists of the language, by the names of `_OPERATORS`; the first word of each list is how an answer
says it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from handlers.agent.skills.numbers import parse_number
from handlers.agent.skills.spoken_numbers import sentence_case
from handlers.agent.skills.stage import Phrases

_OPERATORS = (
    "plus",
    "minus",
    "times",
    "divided",
    "percent",
    "of",
    "off",
    "power",
    "squared",
    "cubed",
    "square_root",
    "cube_root",
)

_SYMBOLS = {"+": "plus", "×": "times", "*": "times", "÷": "divided", "^": "power", "%": "percent", "√": "square_root"}
"""Whisper writes them. A minus, 'x' and '/' are operators only between blanks: "9/11" and "10-4" are no sums."""

_LOOSE = {"-": "minus", "−": "minus", "–": "minus", "x": "times", "/": "divided"}

_BRACKETS = {"(": "(", ")": ")"}

_ALONE = frozenset({"squared", "cubed", "square_root", "cube_root"})
"""Operators that make a sum of one number."""

_DEEPEST = 12
"""Operators of one sum; a spoken one has two or three."""


class SumError(Exception):
    """A sum without an answer; the message names the response that says so."""


@dataclass(frozen=True)
class Token:
    """A number, or an operator by its name."""

    said: str
    value: float | None = None
    operator: str = ""


@dataclass(frozen=True)
class Operators:
    """The operators of one language."""

    language: str
    names: Mapping[str, str]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, phrases: Phrases) -> Operators:
        names = {word.casefold(): name for name in _OPERATORS for word in phrases.words(name)}
        spoken = "|".join(re.escape(word) for word in sorted(names, key=len, reverse=True))
        loose = "|".join(map(re.escape, _LOOSE))
        symbols = "|".join(map(re.escape, [*_SYMBOLS, *_BRACKETS]))
        pattern = (
            rf"(?<![^\W\d])(?:{spoken or '(?!)'})(?!\w)|{symbols}|(?:(?<=\s)|(?<=\)))(?:{loose})(?=\s)|(?<=\d)x(?=\d)"
        )
        return cls(
            phrases.language,
            {**names, **_SYMBOLS, **_LOOSE, **_BRACKETS},
            re.compile(pattern, re.IGNORECASE),
        )

    def split(self, expression: str) -> list[Token]:
        """Operators and what stands between them, a number or not."""
        tokens = []
        at = 0
        for found in self.pattern.finditer(expression):
            tokens.append(self._operand(expression[at : found.start()]))
            tokens.append(Token(found[0], operator=self.names[found[0].casefold()]))
            at = found.end()
        tokens.append(self._operand(expression[at:]))
        return [token for token in tokens if token.said]

    def read(self, expression: str) -> list[Token] | None:
        """The parts of a sum, None when the words are not one."""
        tokens = self.split(expression)
        operators = [token.operator for token in tokens if token.operator and token.operator not in _BRACKETS]
        numbers = sum(token.value is not None for token in tokens)
        if len(operators) > _DEEPEST or any(token.value is None and not token.operator for token in tokens):
            return None
        if numbers < 2 and _ALONE.isdisjoint(operators):
            return None  # "5 percent" and "minus 3" are answers rather than questions
        try:
            Sum(tokens).value()
        except SumError:
            return tokens  # it has no answer, which is one
        except ValueError:
            return None
        return tokens

    def _operand(self, text: str) -> Token:
        said = text.strip(" ,?.!=\u00a0")
        return Token(said, parse_number(said, self.language) if said else None)


@dataclass
class Sum:
    """Recursive descent: sums of products of powers. ValueError when it is not one."""

    tokens: Sequence[Token]
    at: int = field(default=0)

    def value(self) -> float:
        value = self._sum()
        if self.at < len(self.tokens):
            raise ValueError("words are left")
        if not math.isfinite(value):
            raise SumError("CalculateTooLarge")
        return value + 0.0  # not minus zero

    def _next(self) -> str:
        return self.tokens[self.at].operator if self.at < len(self.tokens) else ""

    def _take(self, *operators: str) -> str:
        operator = self._next()
        if operator not in operators:
            return ""
        self.at += 1
        return operator

    def _sum(self) -> float:
        value = self._product()
        while operator := self._take("plus", "minus"):
            began = self.at
            operand = self._product()
            if self.at == began + 2 and self.tokens[began + 1].operator == "percent":
                operand *= value  # "80 plus 15 percent"
            value += operand if operator == "plus" else -operand
        return value

    def _product(self) -> float:
        value = self._power()
        while operator := self._take("times", "divided", "of", "off"):
            is_share = self.at > 1 and self.tokens[self.at - 2].operator == "percent"
            operand = self._power()
            if operator == "off":
                if not is_share:
                    raise ValueError("only percents are taken off")
                value = operand * (1 - value)
                continue
            if operator == "divided" and operand == 0:
                raise SumError("DividedByZero")
            value = value / operand if operator == "divided" else value * operand
        return value

    def _power(self) -> float:
        value = self._operand()
        while operator := self._take("power", "squared", "cubed", "percent"):
            if operator == "percent":
                value /= 100
                continue
            exponent = {"squared": 2.0, "cubed": 3.0}.get(operator) or self._power()
            try:
                power = value**exponent
            except OverflowError:
                raise SumError("CalculateTooLarge") from None
            except ZeroDivisionError:
                raise SumError("DividedByZero") from None
            if isinstance(power, complex):
                raise SumError("NoRealRoot")
            value = power
        return value

    def _operand(self) -> float:
        if self._take("minus"):
            return -self._power()
        if self._take("square_root"):
            self._take("of")
            value = self._power()
            if value < 0:
                raise SumError("NoRealRoot")
            return math.sqrt(value)
        if self._take("cube_root"):
            self._take("of")
            return math.cbrt(self._power())
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise ValueError("a bracket is open")
            return value
        if self.at >= len(self.tokens) or (number := self.tokens[self.at].value) is None:
            raise ValueError("a number is missing")
        self.at += 1
        return number


def say_sum(tokens: Sequence[Token], phrases: Phrases) -> str:
    """The sum again, signs as words."""
    words = []
    for token in tokens:
        is_sign = token.said in _SYMBOLS or token.said.casefold() in _LOOSE
        words.append((*phrases.words(token.operator), token.said)[0] if is_sign else token.said)
    said = " ".join(words).replace("( ", "").replace(" )", ",")  # a bracket is heard as a pause
    return sentence_case(said.rstrip(","))
