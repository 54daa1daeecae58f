"""Conversions between units."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("How many cups are in a liter?", "1 liter is about 4.23 cups."),
        ("How many tablespoons are in half a cup?", "0.5 cups is 8 tablespoons."),
        ("3/4 of a cup in tablespoons", "0.75 cups is 12 tablespoons."),
        ("three quarters of an hour in minutes", "0.75 hours is 45 minutes."),
        ("a third of a cup in tablespoons", "0.33 cups is about 5.33 tablespoons."),
        ("How many teaspoons in a tablespoon?", "1 tablespoon is 3 teaspoons."),
        ("What's 70 Fahrenheit in Celsius?", "70 degrees Fahrenheit is about 21.1 degrees Celsius."),
        ("What's 70°F in °C?", "70 degrees Fahrenheit is about 21.1 degrees Celsius."),
        ("minus 40 celsius in fahrenheit", "Minus 40 degrees Celsius is minus 40 degrees Fahrenheit."),
        ("5 feet 10 in centimeters", "5 feet 10 inches is 177.8 centimeters."),
        ("What's 5'10\" in centimeters?", "5 feet 10 inches is 177.8 centimeters."),
        ("five foot ten in meters", "5 feet 10 inches is about 1.78 meters."),
        ("two pounds and three ounces in grams", "2 pounds 3 ounces is about 992.2 grams."),
        ("Convert 5 miles to kilometers.", "5 miles is about 8.05 kilometers."),
        ("How much is two and a half pounds in kilos?", "2.5 pounds is about 1.13 kilograms."),
        ("100 km/h in mph", "100 kilometers per hour is about 62.14 miles per hour."),
        ("How many square meters are in an acre?", "1 acre is about 4047 square meters."),
        ("How many minutes are in a week?", "1 week is 10080 minutes."),
        ("How many megabytes in a gigabyte?", "1 gigabyte is 1000 megabytes."),
        ("one gram in tons", None),
        ("how many horsepower is 100 kilowatts", "100 kilowatts is about 134.1 horsepower."),
    ],
)
async def test_a_conversion_is_answered(skills: Skills, said: str, answer: str | None) -> None:
    reply = await ask(skills, said)
    assert (reply.text if reply else None) == answer


async def test_a_pint_is_larger_in_britain(skills: Skills) -> None:
    replies = [await ask(skills, "How many millilitres are in a pint?", tag) for tag in ("en-US", "en-GB")]
    assert [reply.text for reply in replies if reply] == [
        "1 pint is about 473.2 milliliters.",
        "1 pint is about 568.3 millilitres.",
    ]


@pytest.mark.parametrize(
    "said",
    [
        "How many litres in a mile?",
        "5 feet in feet",
        "5 in feet",
        "feet in metres",
        "20 celsius 5 in fahrenheit",
        "2 pounds in dollars",
        "how many cups in the cupboard",
    ],
)
def test_what_cannot_be_converted_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert skills.match(said, "en") is None
