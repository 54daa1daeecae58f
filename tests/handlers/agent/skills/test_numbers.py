"""Number words, digits, decimals and fractions of five languages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unicode_rbnf import RbnfEngine

from handlers.agent.skills.numbers import Number, find_numbers, parse_number

CASES = {
    "en": {
        "five": 5,
        "twenty-one": 21,
        "one hundred and five": 105,
        "a hundred": 100,
        "twelve hundred": 1200,
        "two thousand three hundred": 2300,
        "one million two hundred thousand": 1_200_000,
        "2.5 million": 2_500_000,
        "3.5": 3.5,
        "1,000": 1000,
        "1,234.5": 1234.5,
        "three point one four": 3.14,
        "point five": 0.5,
        "zero point twenty five": 0.25,
        "two and a half": 2.5,
        "half": 0.5,
        "half an": 0.5,
        "a quarter": 0.25,
        "three quarters": 0.75,
        "two thirds": 2 / 3,
        "2 ½": 2.5,
        "a dozen": 12,
        "minus five": -5,
        "-5": -5,
        "−5": -5,
    },
    "de": {
        "einundzwanzig": 21,
        "zweitausendfünf": 2005,
        "hundert": 100,
        "hundertzwanzigtausend": 120_000,
        "neunzehnhundertachtzig": 1980,
        "zwei Millionen": 2_000_000,
        "eine": 1,
        "3,5": 3.5,
        "1.000": 1000,
        "1.234,5": 1234.5,
        "drei Komma fünf": 3.5,
        "zweieinhalb": 2.5,
        "anderthalb": 1.5,
        "drei Viertel": 0.75,
        "eine halbe": 0.5,
        "minus drei": -3,
        "dreissig": 30,
    },
    "sv": {
        "tjugoen": 21,
        "tjugoett": 21,
        "hundrafem": 105,
        "tvåtusen": 2000,
        "tusen": 1000,
        "3,5": 3.5,
        "10 000": 10_000,
        "tre komma fem": 3.5,
        "två och en halv": 2.5,
        "en halv": 0.5,
        "trekvart": 0.75,
        "en miljon": 1_000_000,
    },
    "fr": {
        "vingt et un": 21,
        "vingt-et-une": 21,
        "quatre-vingt-dix-sept": 97,
        "septante-deux": 72,
        "nonante et un": 91,
        "deux cents": 200,
        "deux cent trois": 203,
        "deux mille": 2000,
        "10 000,5": 10_000.5,
        "trois virgule quatorze": 3.14,
        "deux et demi": 2.5,
        "la moitié": 0.5,
        "trois quarts": 0.75,
        "moins cinq": -5,
    },
    "es": {
        "veintiuno": 21,
        "veintidos": 22,
        "treinta y cinco": 35,
        "ciento cinco": 105,
        "quinientos": 500,
        "3/4": 0.75,
        "mil quinientos": 1500,
        "dos millones": 2_000_000,
        "tres coma cinco": 3.5,
        "dos y medio": 2.5,
        "media": 0.5,
        "tres cuartos": 0.75,
        "menos cinco": -5,
    },
}

NO_NUMBERS = {
    "en": [
        "",
        "a",
        "and",
        "hello",
        "two three",
        "twenty and five",
        "five apples",
        "1.2.3.4",
        "-",
        "ten-four good buddy",
        "3/0",
        "3/4/2027",
        "3/4 apples",
        "1 3/2",
    ],
    "de": ["", "und", "der", "zwei drei", "fünf Äpfel", "halbwegs"],
    "sv": ["", "och", "två tre", "fem äpplen"],
    "fr": ["", "et", "deux trois", "une heure", "cinq pommes"],
    "es": ["", "y", "dos tres", "cinco manzanas"],
    "xx": ["", "five"],
}


@pytest.mark.parametrize(
    ("language", "text", "value"),
    [(language, text, value) for language, cases in CASES.items() for text, value in cases.items()],
)
def test_a_number_is_read(language: str, text: str, value: float) -> None:
    assert parse_number(text, language) == pytest.approx(value)


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, texts in NO_NUMBERS.items() for text in texts]
)
def test_what_is_not_one_number_is_none(language: str, text: str) -> None:
    assert parse_number(text, language) is None


def test_a_language_without_words_has_digits() -> None:
    assert parse_number("12,5", "xx") == 12.5


@settings(max_examples=300, deadline=None)
@given(language=st.sampled_from(sorted(CASES)), number=st.integers(0, 9999))
def test_every_way_to_spell_a_number_is_read(language: str, number: int) -> None:
    spelled = RbnfEngine.for_language(language).format_number(number).text_by_ruleset
    for text in {text for name, text in spelled.items() if "ordinal" not in name and "year" not in name}:
        assert parse_number(text.replace("\u00ad", ""), language) == number, text


@settings(max_examples=200, deadline=None)
@given(language=st.sampled_from([*CASES, "xx"]), text=st.text(max_size=60))
def test_any_text_is_read_or_not(language: str, text: str) -> None:
    value = parse_number(text, language)
    assert value is None or isinstance(value, float)
    assert all(0 <= number.start < number.end for number in find_numbers(text, language))


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        (
            "en",
            "in two and a half hours and 20 minutes buy three hundred and five eggs",
            [("two and a half", 2.5), ("20", 20), ("three hundred and five", 305)],
        ),
        ("en", "no numbers here", []),
        ("de", "in einer Stunde und zwanzig Minuten 1.000 Eier", [("einer", 1), ("zwanzig", 20), ("1.000", 1000)]),
        ("sv", "om två och en halv timme", [("två och en halv", 2.5)]),
        ("fr", "dans vingt et une minutes", [("vingt et une", 21)]),
        ("es", "en treinta y cinco minutos", [("treinta y cinco", 35)]),
    ],
)
def test_numbers_are_found_in_a_text(language: str, text: str, found: list[tuple[str, float]]) -> None:
    numbers = find_numbers(text, language)
    assert [(text[number.start : number.end], number.value) for number in numbers] == found
    assert all(isinstance(number, Number) for number in numbers)
