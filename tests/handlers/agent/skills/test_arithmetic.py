"""Sums, as they are said and as Whisper writes them."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("What is 12 times 7?", "12 times 7 is 84."),
        ("What is 12 x 7?", "12 times 7 is 84."),
        ("12x7", "12 times 7 is 84."),
        ("What is 15% of 80?", "15 percent of 80 is 12."),
        ("fifteen percent of eighty", "Fifteen percent of eighty is 12."),
        ("80 plus 15 percent", "80 plus 15 percent is 92."),
        ("200 minus 10 percent", "200 minus 10 percent is 180."),
        ("2 plus 3 times 4", "2 plus 3 times 4 is 14."),
        ("3 plus 4 minus 2", "3 plus 4 minus 2 is 5."),
        ("What's the square root of 2?", "The square root of 2 is about 1.41."),
        ("the square root of 144", "The square root of 144 is 12."),
        ("cube root of 27", "Cube root of 27 is 3."),
        ("2 to the power of 10", "2 to the power of 10 is 1024."),
        ("5 squared plus 1", "5 squared plus 1 is 26."),
        ("What's 20% off 50?", "20 percent off 50 is 40."),
        ("15 percent off of 80", "15 percent off of 80 is 68."),
        ("What's 3/4 of 60?", "3/4 of 60 is 45."),
        ("a fourth of 60", "A fourth of 60 is 15."),
        ("1 1/2 times 4", "1 1/2 times 4 is 6."),
        ("half of 80", "Half of 80 is 40."),
        ("a third of 90", "A third of 90 is 30."),
        ("What is 100 divided by 3?", "100 divided by 3 is about 33.33."),
        ("What is 1 divided by 8?", "1 divided by 8 is 0.125."),
        ("0 times minus 5", "0 times minus 5 is 0."),
        ("0.1 plus 0.2", "0.1 plus 0.2 is 0.3."),
        ("three minus five", "Three minus five is minus 2."),
        ("minus five plus three", "Minus five plus three is minus 2."),
        ("1,000 plus 2,500", "1,000 plus 2,500 is 3500."),
        ("What is 7 divided by 0?", "You can't divide by zero."),
        ("0 to the power of minus 1", "You can't divide by zero."),
        ("the square root of minus 4", "A negative number has no real root."),
        ("minus 8 to the power of 0.5", "Minus 8 to the power of 0.5 is about minus 2.83."),
        ("2 to the power of 200", "2 to the power of 200 is about 1.61 times ten to the power of 60."),
        ("9 to the power of 9 to the power of 9", "That's too large a number for me."),
    ],
)
async def test_a_sum_is_answered(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said)
    assert reply is not None
    assert reply.text == answer


async def test_the_decimal_separator_is_the_speakers(skills: Skills) -> None:
    replies = [await ask(skills, "Was ist 1 geteilt durch 4?", tag) for tag in ("de", "de-CH")]
    assert [reply.text for reply in replies if reply] == ["1 geteilt durch 4 ist 0,25.", "1 geteilt durch 4 ist 0.25."]


@pytest.mark.parametrize(
    "said",
    [
        "plus",
        "5 plus",
        "times 7",
        "5 plus plus 3 times",
        "5 plus apples",
        "(5 plus 3",
        "what is percent",
        "5 percent",
        "minus five",
        "(5)",
        "7-11",
        "1/2/2027",
        "1/2",
        "9/11",
        "5 off 50",
        "20 percent off",
        "off 50",
        "1/0 of 60",
    ],
)
def test_what_is_no_sum_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert skills.match(said, "en") is None


def test_an_endless_sum_is_left_alone(skills: Skills) -> None:
    assert skills.match("what is " + "1 plus " * 30 + "1", "en") is None
